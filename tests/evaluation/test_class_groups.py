import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from microgesture.data.clips import DatasetInfo
from microgesture.evaluation.class_groups import by_class_group, coarse, f1_mean, shots
from microgesture.evaluation.metrics import classification_metrics

NAMES = ["nod", "shake", "rub", "wave"]
GROUPS = ["head", "head", "hand", "hand"]


def test_by_hand() -> None:
    # nod: right, and once taken for shake; shake: taken for rub; rub: right; wave has no clip.
    figures = classification_metrics([0, 1, 2, 2], [0, 0, 1, 2], NAMES)
    groups = by_class_group(figures, GROUPS)
    assert list(groups) == ["head", "hand"]
    assert groups["head"] == {
        "classes": 2, "present": 2, "correct": 1, "in_group": 2, "total": 3, "top1": 1 / 3,
        "macro_f1": pytest.approx((2 / 3 + 0) / 2), "mean_class_accuracy": pytest.approx((1 / 2 + 0) / 2),
    }  # fmt: skip
    assert groups["hand"] == {
        "classes": 2, "present": 1, "correct": 1, "in_group": 1, "total": 1, "top1": 1.0,
        "macro_f1": pytest.approx(2 / 3), "mean_class_accuracy": 1.0,
    }  # fmt: skip
    assert json.loads(json.dumps(groups)) == groups


def test_a_group_without_clips() -> None:
    groups = by_class_group(classification_metrics([0], [0], NAMES), ["a", "a", "b", "b"])
    assert groups["b"]["total"] == groups["b"]["present"] == groups["b"]["macro_f1"] == groups["b"]["top1"] == 0


def test_groups_add_up_to_the_whole() -> None:
    generator = np.random.default_rng(0)
    labels, predictions = generator.integers(0, 4, (2, 60))
    figures = classification_metrics(predictions, labels, NAMES)
    groups = by_class_group(figures, GROUPS)
    assert sum(g["correct"] for g in groups.values()) == figures["correct"]
    assert sum(g["total"] for g in groups.values()) == figures["total"]
    same, _ = coarse(labels, GROUPS)
    said, names = coarse(predictions, GROUPS)
    assert sum(g["in_group"] for g in groups.values()) == int((same == said).sum())
    assert names == ["head", "hand"]


def test_f1_mean_is_the_mean_of_four_of_sklearns() -> None:
    generator = np.random.default_rng(1)
    labels, predictions = generator.integers(0, 4, (2, 50))
    body, said = coarse(labels, GROUPS)[0], coarse(predictions, GROUPS)[0]
    four = [f1_score(y, p, average=a) for y, p in ((labels, predictions), (body, said)) for a in ("micro", "macro")]
    assert f1_mean(classification_metrics(predictions, labels, NAMES), GROUPS) == pytest.approx(np.mean(four))


def test_head_middle_and_tail() -> None:
    expected = ["tail (under 20)", "middle (20 to 100)", "middle (20 to 100)", "head (over 100)"]
    assert shots([19, 20, 100, 101]) == expected


def test_one_group_per_class() -> None:
    with pytest.raises(ValueError, match="3 groups for 4 classes"):
        by_class_group(classification_metrics([0], [0], NAMES), ["a", "b", "c"])


@pytest.mark.parametrize(("name", "sizes"), [("imigue", [4, 9, 8, 3, 7, 1]), ("ma52", [5, 6, 13, 8, 6, 10, 4])])
def test_published_body_groups(name: str, sizes: list[int]) -> None:
    """The sizes as the authors print them; every class has one."""
    info = DatasetInfo.read(Path(__file__).resolve().parents[2] / "datasets" / name)
    groups = [c.group for c in info.classes]
    assert None not in groups
    assert [groups.count(group) for group in dict.fromkeys(groups)] == sizes
