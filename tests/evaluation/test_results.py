"""From scores to figures to text, with the classes of MA-52 and people enough for an interval."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microgesture.data.clips import DatasetInfo
from microgesture.evaluation.results import compare_runs, comparisons, split_results, tuning_splits
from microgesture.evaluation.score_file import Scores
from microgesture.evaluation.text_report import format_result

INFO = DatasetInfo.read(Path(__file__).resolve().parents[2] / "datasets" / "ma52")
N, C = 120, 52


SPLITS = ("test", "train")


def scored(seed: int, skill: float, split: str = "test") -> Scores:
    generator = np.random.default_rng(seed)
    labels = np.random.default_rng(0).integers(0, 40, N)  # twelve classes have no clip
    logits = generator.normal(size=(N, C)) + skill * np.eye(C)[labels]
    clips, subjects = (tuple(f"{letter}{n % size}" for n in range(N)) for letter, size in (("c", N), ("s", 12)))
    return Scores("ma52", split, tuple(INFO.names), clips, subjects, labels, logits.astype(np.float32))


@pytest.fixture
def result() -> dict:
    scores = scored(1, 3.0)
    made = split_results(
        scores, INFO, {"subject": scores.subjects}, [0] * 200 + [1] * 50, scored(2, 3.0, "validation")
    )
    rows = comparisons(scores, {"weak": scored(3, 0.5), "twin": scores})
    about = {"split": "test", "official_overlap": True, "leak": True, "baselines": {}, "comparisons": rows}
    return made | about | {"text": {"attributes": {}, "retrieval": {"skipped": "there is none"}}}


def test_figures_fit_together_and_are_plain_json(result) -> None:
    figures = result["metrics"]
    assert json.loads(json.dumps(result)) == result
    for groups in (
        result["groups"]["subject"],
        *(result["class_groups"][n] for n in ("body group", "training clips")),
    ):
        assert sum(g["correct"] for g in groups.values()) == figures["correct"]
        assert sum(g["total"] for g in groups.values()) == N
    assert [g["classes"] for g in result["class_groups"]["training clips"].values()] == [1, 1, 50]
    plain, scaled = (result["calibration"][name] for name in ("plain", "scaled"))
    assert (plain["temperature"], scaled["temperature"] != 1) == (1.0, True)
    for table in (plain, scaled):
        assert sum(row["correct"] for row in table["reliability"]) == figures["correct"]
        assert table["risk_coverage"]["curve"][-1]["correct"] == figures["correct"]


def test_clips_of_a_split_train_are_not_grouped_by_their_own_number() -> None:
    groups = {split: split_results(scored(0, 1.0, split), INFO, {}, [0] * 200)["class_groups"] for split in SPLITS}
    assert ["training clips" in groups[split] for split in SPLITS] == [True, False]
    assert "body group" in groups["train"]


def test_comparisons_are_adjusted_over_their_rows(result) -> None:
    weak, twin = (result["comparisons"][name] for name in ("weak", "twin"))
    assert weak["difference"] > 0.3
    assert weak["interval"][0] > 0
    assert weak["p_holm"] == pytest.approx(2 * weak["p"])
    assert weak["mcnemar"][0]["p_holm"] == pytest.approx(2 * weak["mcnemar"][0]["p"])
    assert (twin["difference"], twin["p"], twin["p_holm"]) == (0.0, 1.0, 1.0)


def test_runs_are_compared_clip_by_clip_whatever_their_order() -> None:
    first, second = [scored(seed, 1.0) for seed in (3, 4)], [scored(seed, 2.0) for seed in (5, 6)]
    expected = compare_runs(first, second)
    assert expected["runs"] == 2
    back = slice(None, None, -1)
    turned = [replace(s, clips=s.clips[back], labels=s.labels[back], logits=s.logits[back]) for s in second]
    assert compare_runs(first, turned) == expected
    with pytest.raises(ValueError, match="runs are paired by seed"):
        compare_runs(first, second[:1])
    with pytest.raises(ValueError, match="needs one run at least"):
        compare_runs([], second)


def test_scores_of_other_clips_are_not_compared() -> None:
    scores = scored(1, 3.0)
    with pytest.raises(ValueError, match="the two score files hold other clips"):
        comparisons(scores, {"other": replace(scores, clips=tuple(f"d{n}" for n in range(N)))})


def test_text_says_what_a_reader_has_to_know(result) -> None:
    text = format_result(result, details=True)
    figures = result["metrics"]
    assert figures["present"] < 52
    for part in (
        f"top-1 {figures['correct']}/120 = ", f"top-5 {figures['top5_correct']}/120 = ", "LEAK: ",
        "people of one split are seen in another as published: True",
        f"{figures['present']} of 52 classes have clips; over all 52, macro-F1",
        "by subject: s0 ", "by body group: Body ", "(F1_mean): ", "by training clips: head (over 100) ",
        "as it is", "(validation)", "wrong of the surest clips (risk–coverage): ", "confidence      right of clips",
        "own sentence: not measured, because there is none", "attributes: no clip of this split has a word",
        "compared with weak: ", "95 % interval over 12 people and their clips: +", "by Holm",
        "ignores that clips of one person",
    ):  # fmt: skip
        assert part in text, part
    short = format_result(result)
    assert "right of clips" not in short
    assert "mostly taken for" in text
    assert "mostly taken for" not in short


@pytest.mark.parametrize("measured", ["test", "train", "validation", "validation_official"])
def test_no_temperature_is_fitted_on_what_is_measured(measured: str) -> None:
    expected = [] if measured.startswith("validation") else ["validation"]
    assert tuning_splits(["train", "validation", "test", "validation_official"], measured) == expected
    assert tuning_splits(["train", "test"], measured) == []
