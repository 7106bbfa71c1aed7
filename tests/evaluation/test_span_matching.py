"""Matching of time spans, against the definition tried out on all pairings."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microgesture.evaluation.span_matching import iou, match_moments, match_spans, per_unit

spans = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 8)).map(lambda span: (span[0], span[0] + span[1])), max_size=5
)
moments = st.lists(st.integers(0, 30), max_size=5)


def pairings(n: int, m: int):
    """Every way to pair some of n things with some of m."""
    for size in range(min(n, m) + 1):
        for chosen in combinations(range(n), size):
            for partners in permutations(range(m), size):
                yield list(zip(chosen, partners, strict=True))


def test_iou():
    found = iou([(0, 2), (0, 4)], [(1, 3), (4, 5), (0, 4)])
    assert found.tolist() == [[1 / 3, 0, 0.5], [0.5, 0, 1.0]]


@settings(max_examples=80)
@given(spans, spans, st.sampled_from([0.1, 0.5, 1.0]))
def test_matching_has_the_largest_overlap_of_all(a, b, threshold):
    found = match_spans(a, b, threshold)
    assert len({i for i, _, _ in found}) == len({j for _, j, _ in found}) == len(found)
    overlap = iou(a, b)
    assert all(value == pytest.approx(overlap[i, j]) and value >= threshold for i, j, value in found)
    best = max(
        sum(overlap[i, j] for i, j in pairs)
        for pairs in pairings(len(a), len(b))
        if all(overlap[i, j] >= threshold for i, j in pairs)
    )
    assert sum(value for *_, value in found) == pytest.approx(best)


@settings(max_examples=80)
@given(moments, moments, st.integers(0, 4))
def test_as_many_moments_as_can_be(a, b, tolerance):
    best = max(
        len(pairs) for pairs in pairings(len(a), len(b)) if all(abs(a[i] - b[j]) <= tolerance for i, j in pairs)
    )
    assert match_moments(a, b, tolerance) == best


def test_a_tolerance_holds_its_own_end():
    assert match_moments([1.2], [1.0], 0.2) == 1
    assert match_moments([1.201], [1.0], 0.2) == 0


def test_many_spans_need_no_table_of_all():
    starts = np.arange(20_000.0)
    found = match_spans(np.stack([starts, starts + 0.5], 1), np.stack([starts + 0.1, starts + 0.6], 1))
    assert len(found) == 20_000
    assert found[7][:2] == (7, 7)
    assert found[7][2] == pytest.approx(0.4 / 0.6)


def test_units():
    assert per_unit([(0.1, 0.3), (0.5, 0.6)], [7, 8], 0.1, 0.8, 0).tolist() == [0, 7, 7, 0, 0, 8, 0, 0]
    assert per_unit([(0.14, 0.26)], [7], 0.1, 0.35, 0).tolist() == [0, 7, 7, 0]  # the middles are at 0.15 and 0.25
    assert per_unit([(0.16, 0.24)], [7], 0.1, 0.3, 0).tolist() == [0, 0, 0]
    assert per_unit([(0, 3), (1, 2)], [5, 6], 1, 3, -1).tolist() == [5, 6, 5]
    assert per_unit([], [], 0.1, 0.0, 0).tolist() == []


@settings(max_examples=60)
@given(spans, st.sampled_from([0.25, 1.0, 3.0]))
def test_units_are_what_stands_in_their_middle(times, unit):
    length = max((end for _, end in times), default=0)
    found = per_unit(times, range(len(times)), unit, length, -1)
    for place, code in enumerate(found.tolist()):
        middle = (place + 0.5) * unit
        over = [k for k in sorted(range(len(times)), key=lambda k: times[k][0]) if times[k][0] <= middle < times[k][1]]
        assert code == (over[-1] if over else -1)
    assert len(found) * unit >= length > (len(found) - 1) * unit or not times


def test_wrong_input():
    with pytest.raises(ValueError, match="the span from 3 to 2 s is empty"):
        match_spans([(3, 2)], [])
    with pytest.raises(ValueError, match="the span from nan to 2 s is empty"):
        iou([(float("nan"), 2)], [])
    with pytest.raises(ValueError, match="choose more than 0, up to 1"):
        match_spans([], [], 0)
    with pytest.raises(ValueError, match="the tolerance is nan s; choose 0 or more"):
        match_moments([], [], float("nan"))
    with pytest.raises(ValueError, match="a unit of time is 0 s"):
        per_unit([], [], 0, 1, 0)
