"""Hand-worked cases, brute force over all matchings, and COCO's evaluator as an independent oracle of mAP."""

import itertools
import json

import numpy as np
import pytest

from microgesture.evaluation.segments import (
    Segment,
    edit_score,
    f1_at_overlap,
    iou,
    mean_average_precision,
    official_tester_f1,
    segment_f1,
    segment_metrics,
)

A, B = 0, 1


def recordings(*rows: list[tuple]) -> dict[str, list[Segment]]:
    return {f"r{number}": [Segment(*row) for row in part] for number, part in enumerate(rows)}


def random_recordings(seed: int, count: int = 3, labels: int = 2, most: int = 6) -> dict[str, list[Segment]]:
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        starts = generator.integers(0, 30, generator.integers(1, most + 1))
        made.append(
            [(int(generator.integers(labels)), int(s), int(s + generator.integers(1, 15)), float(generator.random()))
             for s in starts]
        )  # fmt: skip
    return recordings(*made)


def test_iou_by_hand() -> None:
    assert iou(Segment(A, 0, 10), Segment(A, 5, 15)) == pytest.approx(5 / 15)
    assert iou(Segment(A, 0, 10), Segment(A, 0, 10)) == 1
    assert iou(Segment(A, 0, 10), Segment(A, 10, 20)) == 0
    assert iou(Segment(A, 0, 30), Segment(A, 10, 20)) == pytest.approx(1 / 3)


def test_one_long_prediction_finds_one_gesture() -> None:
    truth = recordings([(A, 0, 10), (A, 10, 20)])
    long = recordings([(A, 0, 20)])
    strict, loose = segment_f1(long, truth), official_tester_f1(long, truth)
    assert (strict["hits"], strict["precision"], strict["recall"]) == (1, 1.0, 0.5)
    assert strict["f1"] == pytest.approx(2 / 3)
    assert (loose["hits"], loose["precision"], loose["recall"]) == (2, 2.0, 1.0)  # more than right: the tester's way
    assert loose["f1"] == pytest.approx(4 / 3)


def test_repeated_predictions_find_a_gesture_once() -> None:
    result = segment_f1(recordings([(A, 0, 10), (A, 1, 10), (A, 0, 9)]), recordings([(A, 0, 10)]))
    assert (result["hits"], result["predicted"], result["true"]) == (1, 3, 1)
    assert result["f1"] == pytest.approx(2 / 4)


def test_overlap_has_to_be_above_the_threshold_and_of_the_class() -> None:
    truth = recordings([(A, 0, 10)])
    assert segment_f1(recordings([(A, 0, 3)]), truth)["hits"] == 0  # exactly 0.3
    assert segment_f1(recordings([(A, 0, 3.01)]), truth)["hits"] == 1
    assert segment_f1(recordings([(B, 0, 10)]), truth)["hits"] == 0
    assert official_tester_f1(recordings([(B, 0, 10)]), truth)["hits"] == 0


def test_matching_is_the_greatest_and_not_the_first_that_comes() -> None:
    # The first prediction overlaps both; taken for the first gesture it would leave the second prediction without one.
    truth = recordings([(A, 0, 10), (A, 8, 18)])
    found = recordings([(A, 3, 15), (A, 0, 9)])
    assert segment_f1(found, truth)["hits"] == 2


@pytest.mark.parametrize("seed", range(12))
def test_most_pairs_by_brute_force(seed: int) -> None:
    """The greatest number of pairs over all one-to-one assignments, tried one by one."""
    found, truth = random_recordings(seed, most=5), random_recordings(seed + 100, most=5)
    best = loose = 0
    for name, there in truth.items():
        said = found[name]
        fits = [[p.label == t.label and overlap(p, t) > 0.3 for t in there] for p in said]
        slots = [*range(len(there)), *([None] * len(said))]
        best += max(
            sum(t is not None and fits[p][t] for p, t in enumerate(chosen))
            for chosen in set(itertools.permutations(slots, len(said)))
        )
        loose += sum(any(fits[p][t] for p in range(len(said))) for t in range(len(there)))
    assert segment_f1(found, truth)["hits"] == best
    assert official_tester_f1(found, truth)["hits"] == loose


def overlap(p: Segment, t: Segment) -> float:
    """IoU by counting whole steps of time."""
    first, second = (set(range(int(s.start), int(s.end))) for s in (p, t))
    return len(first & second) / len(first | second)


def test_f1_at_overlaps_by_hand() -> None:
    truth = recordings([(A, 0, 10), (B, 10, 20), (A, 20, 40)])
    found = recordings([(A, 0, 9), (B, 10, 13), (A, 13, 30), (A, 30, 40)])
    # IoU 0.9; 0.3; 10/27 = 0.37; 0.5 with a gesture that is hit already at 0.10 and 0.25, and free at 0.50.
    hits = [f1_at_overlap(found, truth, t)["hits"] for t in (0.10, 0.25, 0.50)]
    assert hits == [3, 3, 2]
    assert f1_at_overlap(found, truth, 0.5)["f1"] == pytest.approx(2 * 2 / (4 + 3))


def test_edit_score_by_hand() -> None:
    truth = recordings([(A, 0, 1), (B, 1, 2), (A, 2, 3)], [(A, 0, 1)])
    assert edit_score(truth, truth) == 1
    over_segmented = recordings([(A, 0, 1), (B, 1, 1.5), (B, 1.5, 2), (A, 2, 3)], [(B, 0, 1)])
    assert edit_score(over_segmented, truth) == pytest.approx(((1 - 1 / 4) + 0) / 2)
    swapped = recordings([(B, 0, 1), (A, 1, 2)], [(A, 5, 6)])
    assert edit_score(swapped, truth) == pytest.approx(((1 - 1 / 3) + 1) / 2)
    assert edit_score({}, truth) == 0
    quiet = truth | {"quiet": []}
    assert edit_score(quiet, quiet) == 1  # nothing to say, nothing said: it does not count


def test_map_by_hand() -> None:
    truth = recordings([(A, 0, 10), (A, 20, 30)], [(B, 0, 10)])
    found = recordings([(A, 0, 10, 0.9), (A, 50, 60, 0.8), (A, 20, 30, 0.7)], [(B, 0, 5, 0.5)])
    # A: hit, miss, hit: precision 1, then 2/3 at full recall. B: IoU 0.5.
    result = mean_average_precision(found, truth, (0.5, 0.6))
    assert result["at"] == {"0.5": pytest.approx(((1 + 2 / 3) / 2 + 1) / 2), "0.6": pytest.approx((1 + 2 / 3) / 4)}
    assert result["average"] == pytest.approx(np.mean(list(result["at"].values())))


@pytest.mark.parametrize("seed", range(6))
def test_map_like_coco(seed: int, capsys) -> None:
    """A span as a box of height 1 has the same IoU; COCO's own sampling of recall is set to each gesture."""
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    found, truth = random_recordings(seed, 4, 1, 8), random_recordings(seed + 50, 4, 1, 8)
    side = coco.COCO()
    images = {name: number for number, name in enumerate(truth, 1)}
    rows = [(images[name], s) for name, part in truth.items() for s in part]
    side.dataset = {
        "images": [{"id": number} for number in images.values()],
        "categories": [{"id": 1}],
        "annotations": [
            {"id": n, "image_id": image, "category_id": 1, "bbox": [s.start, 0, s.end - s.start, 1], "iscrowd": 0,
             "area": s.end - s.start}
            for n, (image, s) in enumerate(rows, 1)
        ],
    }  # fmt: skip
    side.createIndex()
    said = side.loadRes(
        np.array([[images[name], s.start, 0, s.end - s.start, 1, s.score, 1] for name, p in found.items() for s in p])
    )
    judge = cocoeval.COCOeval(side, said, "bbox")
    judge.params.iouThrs = np.array([0.1, 0.3, 0.5, 0.7])
    judge.params.recThrs = np.arange(1, len(rows) + 1) / len(rows)
    judge.params.areaRng, judge.params.areaRngLbl, judge.params.maxDets = [[0, 1e10]], ["all"], [1, 10, 100]
    judge.evaluate()
    judge.accumulate()
    theirs = judge.eval["precision"][:, :, 0, 0, 2].mean(1)
    ours = mean_average_precision(found, truth, judge.params.iouThrs)["at"]
    np.testing.assert_allclose(list(ours.values()), theirs, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_what_holds_for_all_input(seed: int) -> None:
    found, truth = random_recordings(seed), random_recordings(seed + 10)
    perfect = segment_metrics(truth, truth)
    assert {perfect[name]["f1"] for name in ("f1@iou>0.3", "f1@10")} == {1.0}
    assert perfect["edit"] == 1
    result = segment_metrics(found, truth)
    assert result["f1@iou>0.3"]["hits"] <= result["f1_official_tester"]["true"]
    assert result["f1@iou>0.3"]["hits"] <= result["f1_official_tester"]["hits"]
    assert result["f1@10"]["hits"] >= result["f1@25"]["hits"] >= result["f1@50"]["hits"]
    shuffled = {name: part[::-1] for name, part in reversed(found.items())}
    for name in ("f1@iou>0.3", "f1_official_tester", "f1@25", "edit"):
        assert segment_metrics(shuffled, truth)[name] == result[name]
    assert json.loads(json.dumps(result)) == result


def test_no_prediction_at_all_is_zero_everywhere() -> None:
    truth = recordings([(A, 0, 10)])
    result = segment_metrics({}, truth)
    for name in ("f1@iou>0.3", "f1_official_tester", "f1@10", "f1@25", "f1@50"):
        figures = {"hits": 0, "predicted": 0, "true": 1, "precision": 0.0, "recall": 0.0, "f1": 0.0}
        assert result[name] == figures
    assert result["edit"] == result["map"]["average"] == 0
    assert segment_metrics({"r0": []}, truth) == result


@pytest.mark.parametrize(
    ("predicted", "true", "match"),
    [
        ({"x": []}, recordings([(A, 0, 1)]), r"no truth for the recordings \['x'\]"),
        ({}, {"r0": []}, "nothing to measure"),
        (recordings([(A, 5, 5)]), recordings([(A, 0, 1)]), "r0 has a predicted segment from 5 to 5"),
        ({}, recordings([(A, 1, 0)]), "r0 has a true segment from 1 to 0: it has to end after its start"),
        (recordings([(A, 0, 1, float("nan"))]), recordings([(A, 0, 1)]), "r0 has a predicted segment"),
    ],
)
def test_bad_input(predicted, true, match) -> None:
    with pytest.raises(ValueError, match=match):
        segment_metrics(predicted, true)
