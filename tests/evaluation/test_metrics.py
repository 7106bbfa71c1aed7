import json

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    recall_score,
    top_k_accuracy_score,
)

from microgesture.evaluation.metrics import (
    classification_metrics,
    format_table,
    grouped,
    score_metrics,
    summary,
    top_k,
)

NAMES = ["nod", "rub", "fold", "wave"]


@pytest.fixture(params=[(0, 200, 5), (1, 37, 27), (2, 1, 3)], ids=["many", "few", "one"])
def sample(request):
    seed, N, C = request.param
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, C, N)
    predictions = np.where(generator.random(N) < 0.5, labels, generator.integers(0, C, N))
    return predictions, labels, [f"class {c}" for c in range(C)]


def test_by_hand():
    # nod: 2 of 3, one taken for rub; rub: 1 of 1 and one too many; fold: 0 of 1, taken for nod; wave: no clip.
    figures = classification_metrics([0, 0, 1, 1, 0], [0, 0, 0, 1, 2], NAMES)
    assert (figures["correct"], figures["total"], figures["top1"]) == (3, 5, 3 / 5)
    f1 = [2 * 2 / (3 + 3), 2 * 1 / (1 + 2), 0.0]
    assert figures["macro_f1"] == pytest.approx(sum(f1) / 3)
    assert figures["macro_f1_all"] == pytest.approx(sum(f1) / 4)
    assert figures["mean_class_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert figures["confusion"] == [[2, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert figures["per_class"][0] == {
        "name": "nod",
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
        "k": 2,
        "n": 3,
        "predicted": 3,
    }
    nothing = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "k": 0, "n": 0, "predicted": 0}
    assert figures["per_class"][3] == {"name": "wave"} | nothing


def test_like_sklearn(sample):
    predictions, labels, names = sample
    ids, present = np.arange(len(names)), np.unique(labels)
    figures = classification_metrics(predictions, labels, names)
    options = {"average": "macro", "zero_division": 0}
    assert figures["macro_f1"] == pytest.approx(f1_score(labels, predictions, labels=present, **options))
    assert figures["macro_f1_all"] == pytest.approx(f1_score(labels, predictions, labels=ids, **options))
    assert figures["correct"] == int((predictions == labels).sum())
    assert figures["confusion"] == confusion_matrix(labels, predictions, labels=ids).tolist()
    theirs = precision_recall_fscore_support(labels, predictions, labels=ids, zero_division=0)
    for key, values in zip(("precision", "recall", "f1", "n"), theirs, strict=True):
        np.testing.assert_allclose([row[key] for row in figures["per_class"]], values)


DEGENERATE = {
    "one class, all right": ([0, 0, 0], [0, 0, 0]),
    "one class, all wrong": ([1, 1], [0, 0]),
    "one clip": ([2], [2]),
    "a class without clips, predicted": ([0, 3, 3, 1], [0, 0, 1, 1]),
    "a class with clips, never predicted": ([0, 0, 0, 0], [0, 1, 2, 2]),
    "nothing right": ([1, 2, 3, 0], [0, 1, 2, 3]),
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_input_like_sklearn(case):
    predictions, labels = DEGENERATE[case]
    figures = classification_metrics(predictions, labels, NAMES)
    ids, present, none = np.arange(4), np.unique(labels), {"zero_division": 0}
    for name, average, over in (
        ("macro_f1", "macro", present),
        ("macro_f1_all", "macro", ids),
        ("weighted_f1", "weighted", ids),
    ):
        theirs = f1_score(labels, predictions, labels=over, average=average, **none)
        assert figures[name] == pytest.approx(theirs), name
    for name, over in (("mean_class_accuracy", present), ("mean_class_accuracy_all", ids)):
        theirs = recall_score(labels, predictions, labels=over, average="macro", **none)
        assert figures[name] == pytest.approx(theirs), name
    assert figures["confusion"] == confusion_matrix(labels, predictions, labels=ids).tolist()
    theirs = precision_recall_fscore_support(labels, predictions, labels=ids, **none)
    for key, values in zip(("precision", "recall", "f1", "n"), theirs, strict=True):
        np.testing.assert_allclose([row[key] for row in figures["per_class"]], values)
    assert figures["present"] == len(present)


def test_no_prediction_at_all_is_refused_as_sklearn_does():
    with pytest.raises(ValueError, match="empty"):
        f1_score(np.array([], int), np.array([], int))
    with pytest.raises(ValueError, match="predictions are empty"):
        classification_metrics([], [], NAMES)


def test_weighted_and_over_all_classes_like_sklearn(sample):
    predictions, labels, names = sample
    ids, figures = np.arange(len(names)), classification_metrics(predictions, labels, names)
    weighted = f1_score(labels, predictions, labels=ids, average="weighted", zero_division=0)
    assert figures["weighted_f1"] == pytest.approx(weighted)
    over_all = recall_score(labels, predictions, labels=ids, average="macro", zero_division=0)
    assert figures["mean_class_accuracy_all"] == pytest.approx(over_all)


def test_scores_give_the_figures_of_the_best_class_and_top_5():
    generator = np.random.default_rng(5)
    scores, labels = generator.normal(size=(40, 7)).astype(np.float32), generator.integers(0, 7, 40)
    names = [str(number) for number in range(7)]
    figures = score_metrics(scores, labels, names)
    five = top_k_accuracy_score(labels, scores, k=5, labels=range(7), normalize=False)
    assert (figures["top5_correct"], figures["top5"]) == (five, five / 40)
    plain = classification_metrics(scores.argmax(1), labels, names)
    assert {name: figures[name] for name in plain} == plain
    assert f"top-5 {int(five)}/40 = " in summary(figures)
    assert "top5" not in score_metrics(scores[:, :5], labels % 5, names[:5])  # every clip would be among five of five
    with pytest.raises(ValueError, match="scores are for 7 classes, but there are 6 class names"):
        score_metrics(scores, labels, names[:6])
    scores[3, 2] = np.nan
    with pytest.raises(ValueError, match="scores of clip 3 hold NaN"):
        score_metrics(scores, labels, names)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_mean_class_accuracy_like_sklearn(sample):
    predictions, labels, names = sample
    expected = balanced_accuracy_score(labels, predictions)
    assert classification_metrics(predictions, labels, names)["mean_class_accuracy"] == pytest.approx(expected)


def test_all_right_and_all_wrong():
    right = classification_metrics([0, 1, 2], [0, 1, 2], NAMES[:3])
    assert right["top1"] == right["macro_f1"] == right["macro_f1_all"] == right["mean_class_accuracy"] == 1
    wrong = classification_metrics([1, 2, 0], [0, 1, 2], NAMES[:3])
    assert wrong["top1"] == wrong["macro_f1"] == wrong["mean_class_accuracy"] == 0


def test_values_are_plain_json(sample):
    predictions, labels, names = sample
    figures = classification_metrics(predictions.astype(np.int32), labels.tolist(), names)
    assert json.loads(json.dumps(figures)) == figures
    groups = grouped(predictions, labels, labels % 2)
    assert json.loads(json.dumps(groups)) == groups
    best = top_k(np.eye(len(names))[labels], labels, 1)
    assert json.loads(json.dumps(best)) == best


def test_order_of_clips_does_not_matter(sample):
    predictions, labels, names = sample
    order = np.random.default_rng(3).permutation(len(labels))
    again = classification_metrics(predictions[order], labels[order], names)
    assert again == classification_metrics(predictions, labels, names)


def test_groups_by_hand():
    assert grouped([0, 1, 1, 2], [0, 0, 1, 2], ["s2", "s2", "s4", "s4"]) == {
        "s2": {"correct": 1, "total": 2, "top1": 0.5, "macro_f1": pytest.approx(2 / 3)},
        "s4": {"correct": 2, "total": 2, "top1": 1.0, "macro_f1": 1.0},
    }


def test_groups_add_up(sample):
    predictions, labels, names = sample
    subjects = np.arange(len(labels)) % 3
    groups = grouped(predictions, labels, subjects)
    whole = classification_metrics(predictions, labels, names)
    assert sum(g["correct"] for g in groups.values()) == whole["correct"]
    assert sum(g["total"] for g in groups.values()) == whole["total"]
    assert list(groups) == sorted(str(s) for s in set(subjects.tolist()))


def test_one_group_is_the_whole(sample):
    predictions, labels, names = sample
    whole = classification_metrics(predictions, labels, names)
    alone = grouped(predictions, labels, [0.5] * len(labels))["0.5"]
    assert alone == {key: whole[key] for key in ("correct", "total", "top1", "macro_f1")}


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_like_sklearn(k):
    generator = np.random.default_rng(k)
    scores, labels = generator.normal(size=(50, 6)), generator.integers(0, 6, 50)
    theirs = top_k_accuracy_score(labels, scores, k=k, labels=range(6), normalize=False)
    assert top_k(scores, labels, k) == {"k": k, "correct": theirs, "total": 50, "accuracy": theirs / 50}


def test_top_1_is_argmax_also_with_equal_scores():
    scores = np.random.default_rng(0).integers(0, 3, (200, 4))
    labels = np.random.default_rng(1).integers(0, 4, 200)
    expected = classification_metrics(scores.argmax(1), labels, NAMES)["correct"]
    assert top_k(scores, labels, 1)["correct"] == expected
    assert top_k(scores, labels, 4)["correct"] == 200


def test_equal_scores_earn_no_credit():
    assert top_k(np.zeros((4, 4)), [0, 1, 2, 3], 2)["correct"] == 2


def test_summary_and_table():
    figures = classification_metrics([0, 0, 1, 1, 0], [0, 0, 0, 1, 2], NAMES)
    line = "top-1 3/5 = 60.00 %, macro-F1 44.44 %, mean class accuracy 55.56 %"
    assert summary(figures) == line
    table = format_table(figures).splitlines()
    assert table[0] == line
    assert len(table) == 3 + len(NAMES)
    assert table[3].split() == ["nod", "2/3", "2/3", "66.7%", "66.7%", "66.7%", "rub", "(1)"]
    assert table[4].split()[:3] == ["rub", "1/1", "1/2"]  # said twice
    assert table[5].split()[-2:] == ["nod", "(1)"]
    assert table[4].split()[-1] == "66.7%"  # rub is never taken for anything else


@pytest.mark.parametrize(
    ("predictions", "labels", "names", "match"),
    [
        ([], [], NAMES, "predictions are empty: there is nothing to measure; check the split"),
        ([0], [], NAMES, "labels are empty"),
        ([0, 1], [0], NAMES, "2 predictions but 1 labels: every clip needs exactly one prediction"),
        ([4], [0], NAMES, r"predictions hold the class id 4, allowed are 0 to 3 \(4 class names\)"),
        ([0], [-100], NAMES, "labels hold the class id -100, allowed are 0 to 3"),
        (
            [[0, 1]],
            [0],
            NAMES,
            r"predictions must be a list of class ids \(N,\), got shape \(1, 2\); use scores.argmax",
        ),
        ([0.0], [0], NAMES, "predictions must be integer class ids, got float64; map the names"),
        ([0], ["nod"], NAMES, "labels must be integer class ids, got <U3; map the names to their ids first"),
        ([0], [0], [], "there are no class names: pass the names of labels.json"),
    ],
)
def test_bad_lists(predictions, labels, names, match):
    with pytest.raises(ValueError, match=match):
        classification_metrics(predictions, labels, names)


def test_bad_groups():
    with pytest.raises(ValueError, match="2 labels but 1 groups: pass the group of every clip"):
        grouped([0, 1], [0, 1], ["a"])
    with pytest.raises(ValueError, match="labels hold the class id -1, allowed are 0 or more"):
        grouped([0, 1], [0, -1], ["a", "b"])


@pytest.mark.parametrize(
    ("scores", "labels", "k", "match"),
    [
        ([0.1, 0.9], [1], 1, r"scores must be a \(clips, classes\) table, got shape \(2,\)"),
        (np.zeros((0, 3)), [], 1, r"got shape \(0, 3\)"),
        ([[0.0, 1.0], [np.nan, 0.0]], [0, 1], 1, "scores of clip 1 hold NaN"),
        ([[0.0, 1.0]], [0], 0, "k is 0, but there are 2 classes: choose 1 to 2"),
        ([[0.0, 1.0]], [0], 3, "k is 3, but there are 2 classes"),
        ([[0.0, 1.0]], [2], 1, "labels hold the class id 2, allowed are 0 to 1"),
        ([[0.0, 1.0]], [0, 1], 1, "1 predictions but 2 labels"),
    ],
)
def test_bad_scores(scores, labels, k, match):
    with pytest.raises(ValueError, match=match):
        top_k(scores, labels, k)
