"""From the scores of a split to all figures about them, ready for `json.dumps`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from microgesture.data.clips import DatasetInfo
from microgesture.evaluation.calibration import at_coverages, calibration, fit_temperature, risk_coverage
from microgesture.evaluation.class_groups import by_class_group, f1_mean, shots
from microgesture.evaluation.comparison import compare, holm
from microgesture.evaluation.metrics import grouped, score_metrics
from microgesture.evaluation.score_file import Scores, same_clips


def tuning_splits(splits: Iterable[str], measured: str) -> list[str]:
    """The splits on which a temperature is fitted: the validation split, unless its own people are measured.

    Args:
        splits: Those of the data set.
        measured: The one that is measured; lists over the people of a split begin with its name.
    """
    return ["validation"] if "validation" in splits and measured.split("_")[0] != "validation" else []


def split_results(
    scores: Scores,
    info: DatasetInfo,
    groups: dict[str, Sequence[Any]],
    train_labels: Sequence[int] | None = None,
    validation: Scores | None = None,
) -> dict[str, Any]:
    """All figures of a checkpoint on a split that its scores tell.

    Args:
        scores: Of the split.
        info: The data set.
        groups: Columns by which clips are grouped, N values each.
        train_labels: Class ids of the data set's split `train`, for head, middle and tail. They are left out where
            that split is evaluated: of a data set that nobody trained on, it tells nothing of training.
        validation: Scores of the validation split, for the temperature; `None` where there is none, or when it is the
            split that is evaluated.

    Returns:
        `metrics`, `groups`, `class_groups` (with `f1_mean` where the data set has body groups) and `calibration`.
    """
    figures = score_metrics(scores.logits, scores.labels, scores.classes)
    predictions = scores.logits.argmax(1)
    return {
        "metrics": figures,
        "groups": {column: grouped(predictions, scores.labels, values) for column, values in groups.items()},
        "class_groups": _class_groups(figures, info, None if scores.split == "train" else train_labels),
        "calibration": calibration_results(scores, validation),
    }


def _class_groups(figures: dict[str, Any], info: DatasetInfo, train_labels: Sequence[int] | None) -> dict[str, Any]:
    """Body groups as labels.json has them, or else what moves by the class default; and head, middle, tail."""
    found: dict[str, Any] = {}
    groups = [c.group or "" for c in info.classes]
    moving = [(c.default.initiator if c.default else None) or "" for c in info.classes]
    if all(groups):
        found["body group"] = by_class_group(figures, groups)
        found["f1_mean"] = f1_mean(figures, groups)
    elif all(moving):
        found["moving part of the class default"] = by_class_group(figures, moving)
    if train_labels is not None:
        counts = np.bincount(train_labels, minlength=len(info.classes))
        found["training clips"] = by_class_group(figures, shots(counts.tolist()))
    return found


def calibration_results(scores: Scores, validation: Scores | None) -> dict[str, Any]:
    """Calibration as the model is, and with the temperature fitted on the validation split.

    Returns:
        `plain` and, with a validation split, `scaled`, each as `calibration` returns it and with `risk_coverage`:
        `aurc`, `aurc_oracle` and the `curve` at tenths of the clips.
    """

    def at(temperature: float) -> dict[str, Any]:
        risk = risk_coverage(scores.logits, scores.labels, temperature)
        figures = calibration(scores.logits, scores.labels, temperature)
        return figures | {"risk_coverage": risk | {"curve": at_coverages(risk["curve"])}}

    result = {"plain": at(1.0)}
    if validation is not None:
        result["scaled"] = at(fit_temperature(validation.logits, validation.labels))
    return result


def compare_runs(first: Sequence[Scores], second: Sequence[Scores], metric: str = "top1") -> dict[str, Any]:
    """The paired difference of two models from the scores of their runs.

    Args:
        first: One model's runs; run i of both has the same seed, so the same first weights and order of data.
        second: The other's, as many.
        metric: As for `compare`.

    Returns:
        `compare(first, second)`.

    Raises:
        ValueError: There is no run, or as for `same_clips` and `compare`.
    """
    if not first or not second:
        raise ValueError("each of the two models needs one run at least")
    about = first[0]
    one, other = (
        np.stack([same_clips(about, scores).logits.argmax(1) for scores in side]) for side in (first, second)
    )
    return compare(one, other, about.labels, about.subjects, metric)


def comparisons(scores: Scores, others: dict[str, Scores]) -> dict[str, Any]:
    """The paired difference in top-1 of a checkpoint with each of others, one run each, with Holm over these rows.

    Args:
        scores: Of the checkpoint that is evaluated.
        others: Name -> scores of another checkpoint on the same clips.

    Returns:
        Name -> `compare(other, this)`, positive where this one is better, with `p_holm` beside `p`, and in each entry
        of `mcnemar`.

    Raises:
        ValueError: As for `same_clips`.
    """
    rows = {name: compare_runs([other], [scores]) for name, other in others.items()}
    adjusted = holm([row["p"] for row in rows.values()])
    exact = holm([row["mcnemar"][0]["p"] for row in rows.values()])
    for row, p, p_exact in zip(rows.values(), adjusted, exact, strict=True):
        row["p_holm"] = p
        row["mcnemar"][0]["p_holm"] = p_exact
    return rows
