import itertools
import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from microgesture.evaluation import comparison
from microgesture.evaluation.comparison import compare, holm, mcnemar


def people(count: int, clips: int) -> list[str]:
    return [f"s{number // clips}" for number in range(count * clips)]


def test_few_people_get_their_own_differences_and_no_interval() -> None:
    labels = [0, 0, 1, 1, 1]
    result = compare([0, 1, 0, 1, 1], [0, 0, 1, 1, 0], labels, ["b", "b", "a", "a", "a"])
    assert (result["correct"], result["clips"]) == ({"first": [3], "second": [4]}, 5)
    assert result["difference"] == pytest.approx(1 / 5)
    assert result["per_subject"] == {
        "a": {"clips": 3, "difference": pytest.approx(0.0)},
        "b": {"clips": 2, "difference": pytest.approx(0.5)},
    }
    assert result["interval"] is None
    assert result["p"] is None
    exact = result["mcnemar"][0]
    assert (exact["only_first"], exact["only_second"]) == (1, 2)
    assert "ignores" in exact["note"]
    assert json.loads(json.dumps(result)) == result


@pytest.mark.parametrize(("count", "enough"), [(7, False), (8, True)])
def test_an_interval_needs_eight_people(count: int, enough: bool) -> None:
    second = np.arange(3 * count) % 2
    result = compare(np.ones(3 * count, int), second, np.zeros(3 * count, int), people(count, 3), draws=20)
    assert (result["interval"] is not None, result["p"] is not None) == (enough, enough)
    assert len(result["per_subject"]) == count


def test_equal_models_do_not_differ() -> None:
    labels = np.arange(40) % 3
    result = compare(labels, labels, labels, people(10, 4), draws=200)
    assert (result["difference"], result["interval"], result["p"]) == (0.0, [0.0, 0.0], 1.0)
    assert result["mcnemar"][0]["p"] == 1.0


def test_the_draws_of_people_decide_when_clips_of_one_person_are_alike() -> None:
    """10 people, 6 of whom gain on all of their clips: the spread is that of 10 draws, and not of 200."""
    labels, who = np.zeros(200, int), people(10, 20)
    second = np.array([0 if number // 20 < 6 else 1 for number in range(200)])
    result = compare(np.ones(200, int), second, labels, who)
    assert result["difference"] == pytest.approx(0.6)
    spread = (0.6 * 0.4 / 10) ** 0.5
    low, high = result["interval"]
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    assert result["p"] < 0.01
    independent = 2 * 1.96 * (0.6 * 0.4 / 200) ** 0.5
    assert high - low > 3 * independent


def test_clips_within_people_are_drawn_as_well() -> None:
    """10 people alike, half of the clips of each are gained: all of the spread comes from the clips."""
    second = np.arange(200) % 2
    result = compare(np.ones(200, int), second, np.zeros(200, int), people(10, 20))
    low, high = result["interval"]
    assert high - low == pytest.approx(2 * 1.96 * (0.25 / 200) ** 0.5, rel=0.1)


def test_resamples_take_people_whole_and_as_many_clips() -> None:
    member = np.array([0, 0, 0, 1, 2, 2])
    drawn = np.concatenate(list(comparison._resamples(member, 700, np.random.default_rng(0))))
    assert drawn.shape == (700, 6)
    sizes = np.array([3, 1, 2])
    times = np.stack([drawn[:, member == s].sum(1) for s in range(3)], 1) / sizes
    assert set(times.sum(1)) == {3.0}
    np.testing.assert_allclose(times.mean(0), 1, atol=0.15)
    np.testing.assert_allclose(drawn.mean(0), 1, atol=0.15)


def test_the_value_of_a_draw_is_sklearns_on_the_repeated_clips() -> None:
    generator = np.random.default_rng(3)
    labels, runs = generator.integers(0, 4, 30), generator.integers(0, 5, (2, 30))
    weights = generator.integers(0, 3, (4, 30)).astype(float)
    for metric in ("top1", "macro_f1"):
        values = comparison._value(weights, runs, labels, metric)
        for (r, predicted), (w, times) in itertools.product(enumerate(runs), enumerate(weights)):
            y, p = (np.repeat(part, times.astype(int)) for part in (labels, predicted))
            if metric == "top1":
                expected = (y == p).mean()
            else:
                expected = f1_score(y, p, labels=np.unique(y), average="macro", zero_division=0)
            assert values[r, w] == pytest.approx(expected)


def test_runs_are_paired_and_averaged() -> None:
    generator = np.random.default_rng(4)
    labels, who = generator.integers(0, 3, 90), people(9, 10)
    first, second = generator.integers(0, 3, (2, 3, 90))
    for metric in ("top1", "macro_f1"):
        result = compare(first, second, labels, who, metric, draws=300)
        single = [
            compare(a, b, labels, who, metric, draws=10)["difference"] for a, b in zip(first, second, strict=True)
        ]
        assert result["per_run"] == pytest.approx(single)
        assert result["difference"] == pytest.approx(np.mean(single))
        assert result["difference"] == pytest.approx(result["second"] - result["first"])
        assert result["interval"][0] < result["difference"] < result["interval"][1]
        assert len(result["mcnemar"]) == 3
        back = compare(second, first, labels, who, metric, draws=300)
        assert back["interval"] == pytest.approx([-bound for bound in result["interval"][::-1]])
        assert back["p"] == pytest.approx(result["p"])
        assert compare(first, second, labels, who, metric, draws=300) == result  # the same draws again


def test_mcnemar_by_hand() -> None:
    labels = np.zeros(20, int)
    first, second = np.zeros(20, int), np.zeros(20, int)
    first[:9], second[9:10] = 1, 1  # 9 clips that the second model alone gets right, 1 that the first does
    result = mcnemar(first, second, labels)
    assert (result["only_first"], result["only_second"]) == (1, 9)
    assert result["p"] == pytest.approx(2 * (1 + 10) / 2**10)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    with_gaps = holm([None, 0.02, None, 0.5])
    assert with_gaps == [None, pytest.approx(0.04), None, pytest.approx(0.5)]
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([1.2])


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="runs are paired by seed"):
        compare([[0, 1]], [[0, 1], [1, 1]], [0, 1], ["a", "b"])
    with pytest.raises(ValueError, match="do not fit"):
        compare([0, 1], [0, 1], [0, 1], ["a"])
    with pytest.raises(ValueError, match="do not fit"):
        compare([], [], [], [])
    with pytest.raises(ValueError, match="must be one of: top1, macro_f1"):
        compare([0], [0], [0], ["a"], metric="accuracy")
