"""Whether a model is as sure as it is right: ECE, Brier, NLL, reliability, temperature, and abstaining.

Scores are logits `(N, C)`; the confidence of a clip is the greatest of its softmax probabilities.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from microgesture.evaluation.metrics import checked_scores

BINS = 15
TEMPERATURES = (0.05, 20.0)
"""Where `fit_temperature` looks. The best temperature of a model that is never wrong would be 0."""

Floats = npt.NDArray[np.float64]


def calibration(
    scores: npt.ArrayLike, labels: npt.ArrayLike, temperature: float = 1.0, bins: int = BINS
) -> dict[str, Any]:
    """Calibration figures of a table of logits.

    Args:
        scores: Logits `(N, C)`.
        labels: True class ids `(N,)`.
        temperature: What the logits are divided by.
        bins: Number of equally wide confidence bins, `(lower, upper]`, for ECE and the reliability table.

    Returns:
        `temperature`; `ece`, the mean distance of confidence and accuracy over bins, weighted with their clips (Guo et
        al., ICML 2017, eq. 3); `brier`, the squared error summed over classes, 0 to 2; `nll`, the mean negative log
        probability of the true class, in nats; `reliability`, one row per bin that holds a clip, with `lower`,
        `upper`, `correct` of `total`, mean `confidence` and `accuracy`.

    Raises:
        ValueError: As for `metrics.top_k`, or the temperature is not positive.
    """
    log_p, true = _log_probabilities(scores, labels, temperature)
    p, rows = np.exp(log_p), np.arange(len(true))
    confidence, right = p.max(1), p.argmax(1) == true
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    table = []
    for b in np.unique(place):
        inside = place == b
        correct, total = int(right[inside].sum()), int(inside.sum())
        table.append(
            {
                "lower": float(edges[b]),
                "upper": float(edges[b + 1]),
                "correct": correct,
                "total": total,
                "confidence": float(confidence[inside].mean()),
                "accuracy": correct / total,
            }
        )
    ece = sum(row["total"] * abs(row["confidence"] - row["accuracy"]) for row in table) / len(true)
    squared = (p**2).sum(1) - 2 * p[rows, true] + 1
    return {
        "temperature": float(temperature),
        "ece": float(ece),
        "brier": float(squared.mean()),
        "nll": float(-log_p[rows, true].mean()),
        "reliability": table,
    }


def fit_temperature(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The temperature that gives the least NLL (Guo et al., ICML 2017, Sec. 4.2); to be fitted on validation clips.

    Args:
        scores: Logits `(N, C)`.
        labels: True class ids `(N,)`.

    Returns:
        A number within `TEMPERATURES`.

    Raises:
        ValueError: As for `metrics.top_k`.
    """
    table, true = checked_scores(scores, labels)
    rows, (low, high) = np.arange(len(true)), TEMPERATURES

    def nll(inverse: float) -> float:  # convex in 1/T, so the one minimum is found
        return float(-log_softmax(table * inverse, axis=1)[rows, true].mean())

    found = minimize_scalar(nll, bounds=(1 / high, 1 / low), method="bounded", options={"xatol": 1e-6})
    return float(1 / found.x)


def risk_coverage(scores: npt.ArrayLike, labels: npt.ArrayLike, temperature: float = 1.0) -> dict[str, Any]:
    """How often a model is wrong when it may stay silent on the clips that it is least sure of.

    Clips of equal confidence are answered all or none, so every point can be had by a threshold on the confidence.

    Args:
        scores: Logits `(N, C)`.
        labels: True class ids `(N,)`.
        temperature: What the logits are divided by; it can change the order of clips.

    Returns:
        `aurc`, the mean risk over the clips' own thresholds (Geifman, El-Yaniv, 2017), `aurc_oracle`, that of an order
        which has all errors at its end, and `curve`, from the surest clips to all: `threshold`, `answered` of `total`
        clips, `correct` of these, `coverage` and `risk` = 1 - correct/answered.

    Raises:
        ValueError: As for `calibration`.
    """
    log_p, true = _log_probabilities(scores, labels, temperature)
    confidence, right = np.exp(log_p.max(1)), log_p.argmax(1) == true
    order = np.argsort(-confidence, kind="stable")
    correct, answered = right[order].cumsum(), np.arange(1, len(true) + 1)
    ends = np.append(np.flatnonzero(np.diff(confidence[order])), len(true) - 1)
    risk = 1 - correct[ends] / answered[ends]
    sizes = np.diff(answered[ends], prepend=0)
    ideal = 1 - np.minimum(answered, right.sum()) / answered
    curve = [
        {
            "threshold": float(confidence[order][end]),
            "answered": int(answered[end]),
            "correct": int(correct[end]),
            "total": len(true),
            "coverage": float(answered[end] / len(true)),
            "risk": float(r),
        }
        for end, r in zip(ends, risk, strict=True)
    ]
    return {"aurc": float((risk * sizes).sum() / len(true)), "aurc_oracle": float(ideal.mean()), "curve": curve}


def at_coverages(curve: list[dict[str, Any]], steps: int = 10) -> list[dict[str, Any]]:
    """The points of a risk–coverage curve that first answer at least 1/steps, 2/steps, … of the clips."""
    chosen: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        point = next(p for p in curve if p["answered"] * steps >= step * p["total"])
        if not chosen or chosen[-1] is not point:
            chosen.append(point)
    return chosen


def _log_probabilities(
    scores: npt.ArrayLike, labels: npt.ArrayLike, temperature: float
) -> tuple[Floats, npt.NDArray[np.int64]]:
    if not temperature > 0:
        raise ValueError(f"the temperature is {temperature}; it divides the logits and must be more than 0")
    table, true = checked_scores(scores, labels)
    return log_softmax(table / temperature, axis=1), true
