"""Late fusion of any models by their score files: `Σ w_m softmax(z_m / T_m)`, both fitted on validation.

arXiv 2606.13030 fuses its streams by temperature-scaled soft voting and states neither temperatures nor weights; how
they are found here stands in docs/paper.md. Nothing is fitted on the split that is reported.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from microgesture.evaluation.calibration import calibration, fit_temperature
from microgesture.evaluation.comparison import compare
from microgesture.evaluation.metrics import classification_metrics
from microgesture.evaluation.score_file import Scores, same_clips

METRICS = ("top1", "macro_f1")
MOST_POINTS = 5000
"""Points of the grid over the weights at most; with two streams its step is 1/100."""
SMALLEST = 1e-12  # of a probability, before its logarithm

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fusion:
    """What was fitted on the validation clips.

    Args:
        names: The streams.
        temperatures: T of each.
        weights: w of each, 0 or more, summing to 1.
        metric: What the weights were chosen by.
    """

    names: tuple[str, ...]
    temperatures: tuple[float, ...]
    weights: tuple[float, ...]
    metric: str


def checked(scores: Sequence[Scores], names: Sequence[str]) -> list[Scores]:
    """The score files of one split, which are on the same clips and classes, in the same order.

    Args:
        scores: One file per stream.
        names: The streams, for people.

    Raises:
        ValueError: There are fewer than two, a name stands twice, or a file is of another data set or split, or its
            classes, clips, their order or their labels differ; the message names the stream.
    """
    if len(scores) < 2 or len(set(names)) < len(names):
        raise ValueError(f"fusion needs two or more different checkpoints, got: {', '.join(names)}")
    first = scores[0]
    for other, name in zip(scores[1:], names[1:], strict=True):
        if (first.dataset, first.split) != (other.dataset, other.split):
            raise ValueError(
                f"{names[0]} was scored on {first.dataset}/{first.split}, and {name} on "
                f"{other.dataset}/{other.split}: evaluate both on the same split"
            )
        try:
            for what, one, two in (("classes", first.classes, other.classes), ("clips", first.clips, other.clips)):
                if one != two and set(one) == set(two):
                    raise ValueError(f"their {what} stand in another order, so evaluate both on the same data set")
            same_clips(first, other)
        except ValueError as error:
            raise ValueError(f"{names[0]} and {name} cannot be fused: {error}") from error
    return list(scores)


def probabilities(scores: Scores, temperature: float) -> Floats:
    """`softmax(z / T)`, `(N, C)`."""
    return np.asarray(softmax(scores.logits.astype(np.float64) / temperature, axis=1))


def fit(scores: Sequence[Scores], names: Sequence[str], metric: str = "top1") -> Fusion:
    """Fits one temperature per stream, by NLL, and then the weights.

    The weights are the point of an even grid over the simplex with the best metric; of equally good ones, of which a
    small split has many, that with the least NLL of the fused probabilities.

    Args:
        scores: Of the validation split, as `checked` returns them.
        names: The streams.
        metric: `top1` or `macro_f1`.

    Returns:
        The fusion.

    Raises:
        ValueError: There is no such metric, or the grid would be too coarse for so many streams.
    """
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}; choose one of: {', '.join(METRICS)}")
    temperatures = tuple(fit_temperature(s.logits, s.labels) for s in scores)
    tables = np.stack([probabilities(s, T) for s, T in zip(scores, temperatures, strict=True)])  # (M, N, C)
    labels = scores[0].labels
    best: tuple[float, float] | None = None
    chosen = np.zeros(0)
    for weights in simplex(len(scores)):
        fused = np.tensordot(weights, tables, 1)
        rank = (-_value(fused, labels, metric), _nll(fused, labels))
        if best is None or rank < best:
            best, chosen = rank, weights
    return Fusion(tuple(names), temperatures, tuple(float(w) for w in chosen), metric)


def simplex(streams: int) -> Floats:
    """An even grid over the weights of M streams, `(points, M)`, rows summing to 1, fewer than `MOST_POINTS`.

    Raises:
        ValueError: Not even steps of 1/2 fit.
    """
    steps = max((s for s in range(2, 101) if comb(s + streams - 1, streams - 1) <= MOST_POINTS), default=0)
    if not steps:
        raise ValueError(f"{streams} streams are too many to search their weights; fuse fewer at once")
    bars = itertools.combinations(range(steps + streams - 1), streams - 1)
    edges = np.array([(-1, *bar, steps + streams - 1) for bar in bars])
    return (np.diff(edges, axis=1) - 1) / steps


def fuse(scores: Sequence[Scores], fusion: Fusion) -> Scores:
    """The soft vote as a score file of its own: logarithms of the fused probabilities as logits.

    Args:
        scores: As `checked` returns them, in the order of the fusion's streams.
        fusion: As `fit` returns it.
    """
    votes = zip(scores, fusion.temperatures, fusion.weights, strict=True)
    fused = np.sum([w * probabilities(s, T) for s, T, w in votes], axis=0)
    logits = np.log(np.maximum(fused, SMALLEST)).astype(np.float32)
    return replace(scores[0], logits=logits, weights="", transductive=any(s.transductive for s in scores))


def report(
    validation: Sequence[Scores], split: Sequence[Scores], names: Sequence[str], metric: str = "top1"
) -> dict[str, Any]:
    """Fits on validation, applies to a split, and says what each stream is good for.

    Args:
        validation: As `checked` returns them.
        split: Those of the split that is reported, as `checked` returns them; it may be validation itself.
        names: The streams.
        metric: As for `fit`.

    Returns:
        `fitted_on`, `split`, `transductive` (a stream was adapted to these clips), `clips`, `metric`; `streams`, for
        each its `temperature`, `weight`, figures by itself, `ece_before` and `ece` with its temperature, and
        `fused_less_this`, the paired difference as `microgesture.evaluation.comparison.compare` gives it; `fused`,
        figures and `ece`; and `without`, for each stream the figures of a fusion that was fitted without it (of two
        streams those of the other alone).

    Raises:
        ValueError: The two splits are of other data sets or classes, one has clips without labels, or as for `fit`.
    """
    _check_pair(validation[0], split[0])
    fusion = fit(validation, names, metric)
    fused = fuse(split, fusion)
    labels, classes, subjects = split[0].labels, list(split[0].classes), split[0].subjects
    streams = {}
    for name, s, T, w in zip(names, split, fusion.temperatures, fusion.weights, strict=True):
        before, after = (calibration(s.logits, labels, t)["ece"] for t in (1.0, T))
        gain = compare(s.logits.argmax(1), fused.logits.argmax(1), labels, subjects, metric)
        figures = _figures(s, classes) | {"ece_before": before, "ece": after, "fused_less_this": gain}
        streams[name] = {"temperature": T, "weight": w} | figures
    without = {}
    for left_out in range(len(names)):
        rest = [place for place in range(len(names)) if place != left_out]
        if len(rest) == 1:
            without[names[left_out]] = _figures(split[rest[0]], classes)
            continue
        less = fit([validation[place] for place in rest], [names[place] for place in rest], metric)
        without[names[left_out]] = _figures(fuse([split[place] for place in rest], less), classes)
    return {
        "fitted_on": validation[0].split,
        "split": split[0].split,
        "transductive": fused.transductive,
        "clips": len(labels),
        "metric": metric,
        "streams": streams,
        "fused": _figures(fused, classes) | {"ece": calibration(fused.logits, labels)["ece"]},
        "without": without,
    }


def _check_pair(validation: Scores, split: Scores) -> None:
    where = f"{validation.split} of {validation.dataset}, and {split.split} of {split.dataset}"
    if validation.dataset != split.dataset:
        raise ValueError(f"the scores are on {where}: evaluate the checkpoints on two splits of one data set")
    if validation.classes != split.classes:
        known = " against ".join(", ".join(scores.classes) for scores in (validation, split))
        raise ValueError(
            f"{validation.split} was scored with other classes than {split.split}: {known}; evaluate on both again"
        )
    for scores in (validation, split):
        if (scores.labels < 0).any():
            raise ValueError(
                f"{scores.split} has clips without labels, so a fusion can neither be fitted nor measured on it: "
                "choose a split with labels"
            )


def fusion_of(found: dict[str, Any]) -> Fusion:
    """The fusion that a `report` tells of."""
    rows = found["streams"].values()
    temperatures, weights = (tuple(row[name] for row in rows) for name in ("temperature", "weight"))
    return Fusion(tuple(found["streams"]), temperatures, weights, found["metric"])


def format_report(found: dict[str, Any]) -> str:
    """The report as a table for a screen."""
    same = " (the same clips: too good to be reported)" if found["fitted_on"] == found["split"] else ""
    same += " (TRANSDUCTIVE: the streams were adapted to these very clips)" if found["transductive"] else ""
    width = max(len(name) for name in (*found["streams"], "fused", "without it"))
    lines = [
        f"temperatures and weights from {found['fitted_on']}, by {found['metric']}; figures on {found['split']}{same}",
        f"{'':<{width}}  weight  temperature  {'top-1':>18}  macro-F1  ECE before  ECE",
    ]
    for name, row in found["streams"].items():
        lines.append(
            f"{name:<{width}}  {row['weight']:>6.2f}  {row['temperature']:>11.3f}  {_top1(row):>18}  "
            f"{row['macro_f1']:>8.1%}  {row['ece_before']:>10.3f}  {row['ece']:.3f}"
        )
    row = found["fused"]
    lines.append(
        f"{'fused':<{width}}  {'':>6}  {'':>11}  {_top1(row):>18}  {row['macro_f1']:>8.1%}  {'':>10}  {row['ece']:.3f}"
    )
    lines.append(f"fused less one stream, {found['metric']}, paired:")
    lines += [f"{name:<{width}}  {_difference(row['fused_less_this'])}" for name, row in found["streams"].items()]
    lines.append("without one stream, fitted again:")
    for name, row in found["without"].items():
        change = found["fused"]["correct"] - row["correct"]
        lines.append(f"{name:<{width}}  {_top1(row):>18}  {row['macro_f1']:>8.1%}  it brings {change:+d} clips")
    return "\n".join(lines)


def _difference(gain: dict[str, Any]) -> str:
    exact, people = gain["mcnemar"][0], gain["subjects"]
    if gain["interval"] is None:
        sure = f"{people} people are too few for an interval"
    else:
        low, high = (100 * bound for bound in gain["interval"])
        sure = f"95 % from {low:+.1f} to {high:+.1f} over {people} people"
    won = f"{exact['only_second']} clips won, {exact['only_first']} lost"
    return f"{100 * gain['difference']:+.1f} points ({won}); {sure}"


def _top1(row: dict[str, Any]) -> str:
    return f"{row['correct']}/{row['total']} = {row['top1']:.1%}"


def _figures(scores: Scores, classes: list[str]) -> dict[str, Any]:
    whole = classification_metrics(scores.logits.argmax(1), scores.labels, classes)
    return {name: whole[name] for name in ("correct", "total", "top1", "macro_f1")}


def _value(fused: Floats, labels: npt.NDArray[np.int64], metric: str) -> float:
    predicted = fused.argmax(1)
    if metric == "top1":
        return float((predicted == labels).mean())
    C = fused.shape[1]
    hits, said, true = (np.bincount(x, minlength=C) for x in (labels[predicted == labels], predicted, labels))
    f1 = 2 * hits / np.maximum(said + true, 1)
    return float(f1[true > 0].mean())  # over the classes that have a clip, as `classification_metrics` does


def _nll(fused: Floats, labels: npt.NDArray[np.int64]) -> float:
    return float(-np.log(np.maximum(fused[np.arange(len(labels)), labels], SMALLEST)).mean())
