"""Figures over groups of classes: body groups, and head, middle and tail of the training set.

Both are read from the confusion matrix that `metrics.classification_metrics` counted, so they add up to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

HEAD, TAIL = 100, 20
"""More training clips than `HEAD`: a head class; fewer than `TAIL`: a tail class (Liu et al., "Large-Scale Long-Tailed
Recognition in an Open World", CVPR 2019: many, medium and few shot)."""


def by_class_group(figures: dict[str, Any], groups: Sequence[str]) -> dict[str, dict[str, int | float]]:
    """Figures per group of classes.

    Args:
        figures: What `classification_metrics` returned.
        groups: The group of each class, in the order of the ids; C values.

    Returns:
        For each group in the order of first appearance: `classes`, how many of them have a clip (`present`), `total`
        clips, `correct` ones and `top1`, those that were given any class of the group (`in_group`), and `macro_f1` and
        `mean_class_accuracy` over the group's present classes (0 where there is none).

    Raises:
        ValueError: There is not one group per class.
    """
    confusion = np.array(figures["confusion"], np.int64)
    if len(groups) != len(confusion):
        raise ValueError(f"{len(groups)} groups for {len(confusion)} classes: give the group of every class")
    f1 = np.array([row["f1"] for row in figures["per_class"]])
    recall = np.array([row["recall"] for row in figures["per_class"]])
    names = np.array([str(group) for group in groups])
    out: dict[str, dict[str, int | float]] = {}
    for group in dict.fromkeys(names.tolist()):
        inside = names == group
        rows = confusion[inside]
        present = inside & (confusion.sum(1) > 0)
        total, correct = int(rows.sum()), int(confusion.diagonal()[inside].sum())
        out[group] = {
            "classes": int(inside.sum()),
            "present": int(present.sum()),
            "correct": correct,
            "in_group": int(rows[:, inside].sum()),
            "total": total,
            "top1": correct / total if total else 0.0,
            "macro_f1": float(f1[present].mean()) if present.any() else 0.0,
            "mean_class_accuracy": float(recall[present].mean()) if present.any() else 0.0,
        }
    return out


def coarse(labels: npt.ArrayLike, groups: Sequence[str]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Class ids `(N,)` as ids of their groups `(N,)`, and the groups' names in the order of those ids."""
    names = list(dict.fromkeys(str(group) for group in groups))
    of_class = np.array([names.index(str(group)) for group in groups], np.int64)
    return of_class[np.asarray(labels)], names


def f1_mean(figures: dict[str, Any], groups: Sequence[str]) -> float:
    """MA-52's ranking figure: the mean of micro and macro F1, of actions and of their body groups.

    Args:
        figures: What `classification_metrics` returned.
        groups: The body group of each class.

    Returns:
        The mean of the four, over present classes and groups; a clip's body group is that of its predicted class
        (Guo et al., TCSVT 2024).
    """
    confusion = np.array(figures["confusion"], np.int64)
    ids, names = coarse(np.arange(len(groups)), groups)
    body = np.zeros((len(names), len(names)), np.int64)
    np.add.at(body, (ids[:, None], ids[None]), confusion)
    hits, n, said = body.diagonal(), body.sum(1), body.sum(0)
    f1 = 2 * hits[n > 0] / (n + said)[n > 0]
    return float(np.mean([figures["top1"], figures["macro_f1"], hits.sum() / n.sum(), f1.mean()]))


def shots(train_counts: Sequence[int]) -> list[str]:
    """The group of each class by its number of training clips, worded with the bounds."""
    names = (f"head (over {HEAD})", f"middle ({TAIL} to {HEAD})", f"tail (under {TAIL})")
    return [names[0] if count > HEAD else names[2] if count < TAIL else names[1] for count in train_counts]
