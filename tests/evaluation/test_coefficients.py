"""Agreement coefficients against published worked examples, the formulas as plain loops, and scikit-learn."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from microgesture.evaluation.coefficients import (
    FEW_DRAWS,
    MISSING,
    NO_PAIRS,
    NOTHING,
    ONE_CLUSTER,
    ONE_VALUE,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    percentage_agreement,
    share,
)

FIGURES = (percentage_agreement, fleiss_kappa, krippendorff_alpha, cohen_kappa)


def coders(*lines: str) -> np.ndarray:
    """One line per coder, one sign per unit, a point where nothing was said."""
    signs = sorted(set("".join(lines)) - {"."})
    return np.array([[MISSING if sign == "." else signs.index(sign) for sign in line] for line in lines]).T


def counted(rows: list[list[int]]) -> np.ndarray:
    """Units from how many coders chose each value."""
    return np.array([[value for value, times in enumerate(row) for _ in range(times)] for row in rows])


# --- published worked examples ---------------------------------------------------------------------------------------

FOUR_OBSERVERS = coders("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
# Fleiss (1971), table 1: 30 patients, 6 psychiatrists, 5 diagnoses.
FLEISS = """00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031 00501 30012 51000
02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006"""


def test_krippendorff_2011_nominal_with_missing_values():
    """Computing Krippendorff's Alpha-Reliability, sec. C: four observers, twelve units."""
    found = krippendorff_alpha(FOUR_OBSERVERS)
    assert found.value == pytest.approx(0.743, abs=5e-4)
    assert found.units == 11  # one unit has a single value


def test_krippendorff_2011_two_observers():
    """Sec. A (two values, 10 units) and sec. B (five values, 12 units)."""
    assert krippendorff_alpha(coders("0100000010", "1110010000")).value == pytest.approx(0.095, abs=5e-4)
    assert krippendorff_alpha(coders("aabbdcccedda", "babbbccceddd")).value == pytest.approx(0.692, abs=5e-4)


def test_fleiss_1971():
    table = [[int(times) for times in row] for row in FLEISS.split()]
    assert np.sum(table, axis=0).tolist() == [26, 26, 30, 55, 43]
    assert fleiss_kappa(counted(table)).value == pytest.approx(0.430, abs=5e-4)
    assert percentage_agreement(counted(table)).value == pytest.approx(0.555, abs=1e-3)


def test_fleiss_with_fourteen_coders():
    """The worked example with ten subjects, fourteen raters and five categories: κ = 0.210."""
    table = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0],
             [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]  # fmt: skip
    assert fleiss_kappa(counted(table)).value == pytest.approx(0.210, abs=5e-4)


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        ([[88, 10, 2], [14, 40, 6], [18, 10, 12]], 0.492),  # Cohen (1960): p_o = .70, p_e = .41
        ([[20, 5], [10, 15]], 0.4),  # p_o = .70, p_e = .50
        ([[45, 15], [25, 15]], 0.1304),  # p_o = .60, p_e = .54
        ([[25, 35], [5, 35]], 0.2593),  # the same p_o, p_e = .46
    ],
)
def test_cohen_by_its_table(table, kappa):
    codes = [(i, j) for i, row in enumerate(table) for j, times in enumerate(row) for _ in range(times)]
    assert cohen_kappa(codes).value == pytest.approx(kappa, abs=5e-4)


# --- the formulas as they are printed --------------------------------------------------------------------------------


def plain_alpha(codes: np.ndarray) -> float:
    """By the coincidence matrix."""
    matrix: Counter[tuple[int, int]] = Counter()
    for row in codes:
        said = [int(code) for code in row if code != MISSING]
        for a, b in permutations(range(len(said)), 2):
            matrix[said[a], said[b]] += 1 / (len(said) - 1)
    margins: Counter[int] = Counter()
    for (a, _), value in matrix.items():
        margins[a] += value
    n = sum(margins.values())
    observed = sum(value for (a, b), value in matrix.items() if a != b) / n
    expected = sum(margins[a] * margins[b] for a in margins for b in margins if a != b) / (n * (n - 1))
    return 1 - observed / expected


def plain_fleiss(codes: np.ndarray) -> float:
    n = codes.shape[1]
    values = sorted(set(codes.ravel().tolist()))
    table = np.array([[(row == value).sum() for value in values] for row in codes])
    p = table.sum(0) / (len(codes) * n)
    agreement = ((table**2).sum(1) - n) / (n * (n - 1))
    return (agreement.mean() - (p**2).sum()) / (1 - (p**2).sum())


def several(missing: bool, coders: int = 3) -> st.SearchStrategy[np.ndarray]:
    code = st.integers(MISSING if missing else 0, 3)
    row = st.lists(code, min_size=coders, max_size=coders)
    return st.lists(row, min_size=2, max_size=12).map(np.array)


@settings(max_examples=60)
@given(several(missing=True))
def test_alpha_is_its_formula(codes):
    paired = codes[(codes != MISSING).sum(1) > 1]
    found = krippendorff_alpha(codes)
    assert found.units == len(paired)
    if len(set(paired[paired != MISSING].tolist())) < 2:
        assert found.value is None
        assert found.why == (ONE_VALUE if len(paired) else NO_PAIRS)
    else:
        assert found.value == pytest.approx(plain_alpha(codes))


@settings(max_examples=40)
@given(several(missing=False))
def test_fleiss_is_its_formula(codes):
    found = fleiss_kappa(codes)
    if len(set(codes.ravel().tolist())) < 2:
        assert (found.value, found.why) == (None, ONE_VALUE)
    else:
        assert found.value == pytest.approx(plain_fleiss(codes))


@settings(max_examples=40)
@given(several(missing=False, coders=2))
def test_cohen_is_that_of_scikit_learn(codes):
    found = cohen_kappa(codes)
    if len(set(codes.ravel().tolist())) < 2:
        assert (found.value, found.why) == (None, ONE_VALUE)
    else:
        assert found.value == pytest.approx(cohen_kappa_score(codes[:, 0], codes[:, 1]))


@settings(max_examples=40)
@given(several(missing=True), st.randoms())
def test_order_and_names_do_not_matter(codes, random):
    order, names = list(range(len(codes))), list(range(4))
    random.shuffle(order)
    random.shuffle(names)
    other = np.array([[MISSING if code == MISSING else 10 * names[code] for code in row] for row in codes])[order]
    for figure in FIGURES[:3]:
        one, same = figure(codes), figure(other[:, ::-1])
        assert one.units == same.units
        assert one.value == (None if same.value is None else pytest.approx(same.value))


def test_fleiss_takes_the_most_common_number_of_votes():
    codes = coders("ab.ab", "ab.ab", "..aba")  # four units with two votes or more: two with 2, two with 3
    assert fleiss_kappa(codes).units == 2
    assert fleiss_kappa(codes).value == pytest.approx(plain_fleiss(codes[3:]))  # of equally common ones the larger
    assert fleiss_kappa(coders("abb", "abb", "..a")).value == 1.0


# --- what is not defined ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", FIGURES)
def test_no_overlap_and_no_unit(figure):
    for codes in (coders("ab..", "..ab"), np.zeros((0, 2), int), coders("..", "..")):
        found = figure(codes, list(range(len(codes))))
        assert (found.value, found.low, found.units, found.why) == (None, None, 0, NO_PAIRS)


@pytest.mark.parametrize("figure", FIGURES[:3])
def test_one_coder(figure):
    assert figure(coders("abc")).why == NO_PAIRS


@pytest.mark.parametrize("figure", FIGURES[1:])
def test_one_value(figure):
    found = figure(coders("aaa", "aaa"), [1, 2, 3])
    assert (found.value, found.units, found.why) == (None, 3, ONE_VALUE)
    assert percentage_agreement(coders("aaa", "aaa"), [1, 2, 3]).value == 1.0


def test_two_coders_who_never_vary_and_never_agree():
    assert cohen_kappa(coders("aaa", "bbb")).value == 0.0
    assert percentage_agreement(coders("aaa", "bbb")).value == 0.0


def test_wrong_input():
    with pytest.raises(ValueError, match="of two coders, not of 3"):
        cohen_kappa(coders("a", "a", "b"))
    with pytest.raises(ValueError, match=r"\(units, coders\) table of integers, got float64"):
        krippendorff_alpha([[0.5, 1.0]])
    with pytest.raises(ValueError, match="hold -2"):
        krippendorff_alpha([[0, -2]])
    with pytest.raises(ValueError, match="2 units but 1 clusters"):
        krippendorff_alpha([[0, 1], [1, 1]], ["p1"])


# --- intervals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", FIGURES)
def test_clusters_are_drawn_whole(figure):
    """The interval is that of data sets written out: every clip of a person as often as the person was drawn."""
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 3, 40)
    codes = np.stack([np.where(rng.random(40) < 0.7, truth, rng.integers(0, 3, 40)) for _ in range(2)], 1)
    clusters = [f"p{number}" for number in rng.integers(0, 5, 40)]
    found = figure(codes, clusters, draws=60, seed=7)
    names = list(dict.fromkeys(clusters))
    rng, written = np.random.default_rng(7), []
    for _ in range(60):
        drawn = [names[number] for number in rng.integers(5, size=5)]
        rows = [row for name in drawn for row in range(40) if clusters[row] == name]
        written.append(figure(codes[rows]).value)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(written, [0.025, 0.975])))
    assert found.low < found.value < found.high
    assert figure(codes, clusters, draws=60, seed=7) == found
    assert figure(codes, clusters, draws=60, seed=8) != found


def test_clips_of_a_person_are_no_independent_evidence():
    """Four people, two of whom agree on all of their clips and two on none."""
    codes = np.array([[k % 2, (k % 2) ^ (person % 2)] for person in range(4) for k in range(20)])
    people = np.repeat(np.arange(4), 20)
    by_person, by_clip = percentage_agreement(codes, people), percentage_agreement(codes, range(80))
    assert by_person.value == by_clip.value == 0.5
    assert by_person.high - by_person.low > 3 * (by_clip.high - by_clip.low)


def test_missing_intervals_say_why():
    codes = coders("aabb", "abbb")
    assert krippendorff_alpha(codes).low is None
    assert krippendorff_alpha(codes, ["p"] * 4).why == ONE_CLUSTER
    alone = krippendorff_alpha(coders("ab", "ab"), ["1", "2"])  # half of the draws are one person twice
    assert (alone.value, alone.low, alone.high, alone.why) == (1.0, None, None, FEW_DRAWS)


def test_clusters_without_pairs_are_not_drawn():
    with_empty = krippendorff_alpha(coders("aabb.", "abbb."), ["1", "1", "2", "2", "3"], seed=3)
    assert with_empty == krippendorff_alpha(coders("aabb", "abbb"), ["1", "1", "2", "2"], seed=3)


def test_share():
    found = share([1, 3, 0], [2, 4, 2], ["a", "b", "c"])
    assert (found.value, found.units) == (0.5, 8)
    assert found.low == 0.0
    assert found.high == 0.75
    assert share([0], [0], ["a"]).why == NOTHING
    assert share([], [], []).why == NOTHING
    assert share([1], [2]).value == 0.5
