"""Figures of a classifier, counted clip by clip: accuracy as `k of N`, F1, per class and per group.

Nothing here is averaged over batches, so a padded last batch cannot change a figure. All values are plain Python
numbers, ready for `json.dumps`. Where a class has no clip or no prediction, the undefined 0/0 counts as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

TOP = 5


def classification_metrics(predictions: npt.ArrayLike, labels: npt.ArrayLike, names: Sequence[str]) -> dict[str, Any]:
    """All figures of one list of predictions.

    Args:
        predictions: Predicted class ids `(N,)`.
        labels: True class ids `(N,)`.
        names: Class names in the order of their ids; C = `len(names)`.

    Returns:
        `correct` k and `total` N (integers); `top1` = k/N; `macro_f1`, the mean F1 over the `present` classes, those
        that have a clip in `labels`; `macro_f1_all`, the mean over all C classes; `mean_class_accuracy` and
        `mean_class_accuracy_all`, the mean recall over the same; `weighted_f1`, the mean F1 weighted with the number
        of clips; `per_class`, a list in the order of the ids with `name`, `precision`, `recall`, `f1`, `k`
        (correct), `n` (clips) and `predicted` (how often it was said); `confusion`, a C×C list of counts, row = truth,
        column = prediction.

    Raises:
        ValueError: The lists are empty or of different length, or an id has no name.
    """
    predicted, true = _checked(predictions, labels, len(names))
    C = len(names)
    confusion = np.bincount(true * C + predicted, minlength=C * C).reshape(C, C)
    hits, n, said = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    precision, recall, f1 = _ratio(hits, said), _ratio(hits, n), _ratio(2 * hits, n + said)
    present = n > 0
    return {
        "correct": int(hits.sum()),
        "total": len(true),
        "top1": float(hits.sum() / len(true)),
        "macro_f1": float(f1[present].mean()),
        "macro_f1_all": float(f1.mean()),
        "mean_class_accuracy": float(recall[present].mean()),
        "mean_class_accuracy_all": float(recall.mean()),
        "weighted_f1": float((f1 * n).sum() / n.sum()),
        "present": int(present.sum()),
        "per_class": [
            {
                "name": name,
                "precision": float(precision[c]),
                "recall": float(recall[c]),
                "f1": float(f1[c]),
                "k": int(hits[c]),
                "n": int(n[c]),
                "predicted": int(said[c]),
            }
            for c, name in enumerate(names)
        ],
        "confusion": confusion.tolist(),
    }


def score_metrics(scores: npt.ArrayLike, labels: npt.ArrayLike, names: Sequence[str]) -> dict[str, Any]:
    """All figures of one table of scores: what training, evaluation and `metrics/micro_gesture` report.

    Args:
        scores: Scores `(N, C)`, higher is better.
        labels: True class ids `(N,)`.
        names: Class names in the order of their ids.

    Returns:
        `classification_metrics` of the best scored classes; with more than five classes also `top5_correct` and
        `top5`, as `top_k` counts them.

    Raises:
        ValueError: As for `classification_metrics` and `top_k`, or the scores are of another number of classes.
    """
    table, _ = checked_scores(scores, labels)
    if table.shape[1] != len(names):
        raise ValueError(f"scores are for {table.shape[1]} classes, but there are {len(names)} class names")
    figures = classification_metrics(table.argmax(1), labels, names)
    if len(names) > TOP:
        best = top_k(table, labels, TOP)
        figures |= {f"top{TOP}_correct": best["correct"], f"top{TOP}": best["accuracy"]}
    return figures


def grouped(
    predictions: npt.ArrayLike, labels: npt.ArrayLike, groups: Sequence[Any]
) -> dict[str, dict[str, int | float]]:
    """Figures per group of clips, e.g. per subject or per amplitude.

    Args:
        predictions: Predicted class ids `(N,)`.
        labels: True class ids `(N,)`.
        groups: The group of each clip, N values; the key of the result is `str(group)`.

    Returns:
        `{group: {"correct", "total", "top1", "macro_f1"}}` in sorted order; `macro_f1` is the mean over the classes
        that have a clip in the group.

    Raises:
        ValueError: As for `classification_metrics`, or `groups` is of another length.
    """
    predicted, true = _checked(predictions, labels, None)
    if len(groups) != len(true):
        raise ValueError(f"{len(true)} labels but {len(groups)} groups: pass the group of every clip")
    C = int(max(predicted.max(), true.max())) + 1
    keys = np.array([str(group) for group in groups])
    out: dict[str, dict[str, int | float]] = {}
    for key in sorted(set(keys.tolist())):
        inside = keys == key
        figures = classification_metrics(predicted[inside], true[inside], [""] * C)
        out[key] = {name: figures[name] for name in ("correct", "total", "top1", "macro_f1")}
    return out


def top_k(scores: npt.ArrayLike, labels: npt.ArrayLike, k: int) -> dict[str, int | float]:
    """How often the true class is among the k best scored ones.

    Of equal scores the lower id counts as better, as in `argmax`; so a model that scores all classes alike earns no
    credit for it, and `top_k(scores, labels, 1)` agrees with `classification_metrics(scores.argmax(1), labels, …)`.

    Args:
        scores: Scores `(N, C)`, higher is better: logits, probabilities or similarities.
        labels: True class ids `(N,)`.
        k: 1 to C.

    Returns:
        `{"k": k, "correct": …, "total": N, "accuracy": correct/N}`.

    Raises:
        ValueError: The scores are no `(N, C)` table of numbers, k is not within 1 to C, or as above for the labels.
    """
    table, true = checked_scores(scores, labels)
    if not 1 <= k <= table.shape[1]:
        raise ValueError(f"k is {k}, but there are {table.shape[1]} classes: choose 1 to {table.shape[1]}")
    own = np.take_along_axis(table, true[:, None], 1)
    ids = np.arange(table.shape[1])
    ahead = (table > own) | ((table == own) & (ids < true[:, None]))
    correct = int((ahead.sum(1) < k).sum())
    return {"k": k, "correct": correct, "total": len(true), "accuracy": correct / len(true)}


def summary(metrics: dict[str, Any]) -> str:
    """One line, e.g. `top-1 107/216 = 49.54 %, macro-F1 48.10 %, mean class accuracy 49.50 %`."""
    five = f"top-5 {metrics['top5_correct']}/{metrics['total']} = {metrics['top5']:.2%}, " if "top5" in metrics else ""
    return (
        f"top-1 {metrics['correct']}/{metrics['total']} = {metrics['top1']:.2%}, {five}"
        f"macro-F1 {metrics['macro_f1']:.2%}, mean class accuracy {metrics['mean_class_accuracy']:.2%}"
    ).replace("%", " %")


def format_table(metrics: dict[str, Any]) -> str:
    """The summary line, and one line per class with the class that it is most often taken for.

    Args:
        metrics: What `classification_metrics` returned.

    Returns:
        Plain text of several lines, without a newline at its end.
    """
    rows = metrics["per_class"]
    width = max(len("class"), *(len(row["name"]) for row in rows))
    lines = [summary(metrics), "", f"{'class':<{width}}      k/n   k/said  precision  recall     F1  mostly taken for"]
    for c, row in enumerate(rows):
        wrong = [0 if other == c else count for other, count in enumerate(metrics["confusion"][c])]
        worst = int(np.argmax(wrong))
        taken = f"{rows[worst]['name']} ({wrong[worst]})" if wrong[worst] else ""
        counts = f"{row['k']}/{row['n']}"
        said = f"{row['k']}/{row['predicted']}"
        figures = f"{row['precision']:>9.1%}  {row['recall']:>6.1%}  {row['f1']:>5.1%}"
        lines.append(f"{row['name']:<{width}}  {counts:>7}  {said:>7}  {figures}  {taken}".rstrip())
    return "\n".join(lines)


def _ratio(part: Ints, whole: Ints) -> npt.NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def checked_scores(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], Ints]:
    """Scores `(N, C)` as float64 and labels `(N,)` as int64, or an error that says what is wrong with them.

    Raises:
        ValueError: As for `top_k`.
    """
    table = np.asarray(scores, np.float64)
    if table.ndim != 2 or 0 in table.shape:
        raise ValueError(f"scores must be a (clips, classes) table, got shape {table.shape}")
    if np.isnan(table).any():
        raise ValueError(
            f"scores of clip {int(np.isnan(table).any(1).argmax())} hold NaN: the model has diverged there"
        )
    return table, _checked(np.zeros(len(table), np.int64), labels, table.shape[1])[1]


def _checked(predictions: npt.ArrayLike, labels: npt.ArrayLike, C: int | None) -> tuple[Ints, Ints]:
    """The two lists as int64 `(N,)`; C is the number of classes, `None` where it is not known."""
    if C == 0:
        raise ValueError("there are no class names: pass the names of labels.json in the order of their ids")
    arrays = []
    for what, values in (("predictions", np.asarray(predictions)), ("labels", np.asarray(labels))):
        if values.ndim != 1:
            raise ValueError(
                f"{what} must be a list of class ids (N,), got shape {values.shape}; use scores.argmax(1)"
            )
        if len(values) == 0:
            raise ValueError(f"{what} are empty: there is nothing to measure; check the split that was evaluated")
        if not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"{what} must be integer class ids, got {values.dtype}; map the names to their ids first")
        outside = values[(values < 0) | (values >= C)] if C is not None else values[values < 0]
        if len(outside):
            rule = f"0 to {C - 1} ({C} class names)" if C is not None else "0 or more"
            raise ValueError(
                f"{what} hold the class id {int(outside[0])}, allowed are {rule}: "
                "check that predictions, labels and names come from the same labels.json"
            )
        arrays.append(values.astype(np.int64))
    if len(arrays[0]) != len(arrays[1]):
        raise ValueError(
            f"{len(arrays[0])} predictions but {len(arrays[1])} labels: every clip needs exactly one prediction "
            "(a distributed run may have added padding clips; drop them)"
        )
    return arrays[0], arrays[1]
