"""Two models on the same clips: is one better, or was it the choice of people, of clips, or of the seed?

Clips of one person are not independent. The primary result is therefore the paired difference with a bootstrap over
people and, within them, clips, averaged over seeds that are paired: run i of both models started from the same weights
and saw the data in the same order. McNemar's exact test is given beside it; it takes clips for independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

MIN_SUBJECTS = 8
"""With fewer people a bootstrap over people says nothing; their own differences are shown instead."""
DRAWS = 10_000
METRICS = ("top1", "macro_f1")
MCNEMAR_NOTE = "ignores that clips of one person are not independent; secondary"

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def compare(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    labels: npt.ArrayLike,
    subjects: Sequence[str],
    metric: str = "top1",
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """The paired difference `second - first`.

    Args:
        first: Predicted class ids of one model `(N,)`, or of its runs `(R, N)`.
        second: Those of the other, in the same order of clips and of runs.
        labels: True class ids `(N,)`.
        subjects: Who is seen in each clip, N values.
        metric: `top1`, or `macro_f1` over the classes that have a clip (in each draw anew).
        draws: Draws of the bootstrap.
        seed: Of the draws; the same input gives the same output.

    Returns:
        `metric`, `runs` R, `clips` N, `subjects`; `correct`, k of N of each run, of both models; `first` and `second`,
        the metric, mean over runs; their `difference`, that of each run (`per_run`) and, in top-1, of each subject
        (`per_subject`: `clips`, `difference`); `interval` (95 %, percentiles) and `p` (two-sided) of the bootstrap,
        both `None` below `MIN_SUBJECTS` people; `mcnemar`, what the function of that name says of each run.

    Raises:
        ValueError: The shapes do not fit, there is no clip, or there is no such metric.
    """
    a, b, true, people = _checked(first, second, labels, subjects)
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} must be one of: {', '.join(METRICS)}")
    whole = np.ones((1, len(true)))
    values = [_value(whole, runs, true, metric)[:, 0] for runs in (a, b)]  # (R,) each
    gain = ((b == true).astype(float) - (a == true)).mean(0)
    names, member = np.unique(people, return_inverse=True)
    result: dict[str, Any] = {
        "metric": metric,
        "runs": len(a),
        "clips": len(true),
        "subjects": len(names),
        "correct": {"first": (a == true).sum(1).tolist(), "second": (b == true).sum(1).tolist()},
        "first": float(values[0].mean()),
        "second": float(values[1].mean()),
        "difference": float((values[1] - values[0]).mean()),
        "per_run": (values[1] - values[0]).tolist(),
        "per_subject": {
            str(name): {"clips": int((member == s).sum()), "difference": float(gain[member == s].mean())}
            for s, name in enumerate(names)
        },
        "interval": None,
        "p": None,
        "mcnemar": [mcnemar(x, y, true) for x, y in zip(a, b, strict=True)],
    }
    if len(names) >= MIN_SUBJECTS:
        drawn = [
            (_value(weights, b, true, metric) - _value(weights, a, true, metric)).mean(0)
            for weights in _resamples(member, draws, np.random.default_rng(seed))
        ]
        differences = np.concatenate(drawn)
        result["interval"] = np.quantile(differences, [0.025, 0.975]).tolist()
        beyond = min((differences <= 0).sum(), (differences >= 0).sum())
        result["p"] = float(min(1.0, 2 * (beyond + 1) / (draws + 1)))
    return result


def mcnemar(first: npt.ArrayLike, second: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, Any]:
    """McNemar's exact test: of the clips that one model alone gets right, is either model's share above a half?

    Args:
        first: Predicted class ids of one model `(N,)`.
        second: Those of the other.
        labels: True class ids `(N,)`.

    Returns:
        `only_first` and `only_second`, how many clips one alone gets right; the two-sided `p`; and `note`.
    """
    true = np.asarray(labels)
    right = np.asarray(first) == true, np.asarray(second) == true
    one, other = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    p = float(binomtest(one, one + other).pvalue) if one + other else 1.0
    return {"only_first": one, "only_second": other, "p": p, "note": MCNEMAR_NOTE}


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P values adjusted for the number of rows in a table (Holm, 1979).

    Args:
        p_values: One per row; `None` for a row without a test, which does not count.

    Returns:
        The adjusted ones in the same order: below α, the row is significant at a family-wise error of α.

    Raises:
        ValueError: A value is not between 0 and 1.
    """
    tested = [(p, row) for row, p in enumerate(p_values) if p is not None]
    if any(not 0 <= p <= 1 for p, _ in tested):
        raise ValueError(f"p values lie between 0 and 1, got {[p for p, _ in tested]}")
    adjusted: list[float | None] = [None] * len(p_values)
    greatest = 0.0
    for place, (p, row) in enumerate(sorted(tested)):
        greatest = max(greatest, min(1.0, p * (len(tested) - place)))
        adjusted[row] = greatest
    return adjusted


def _resamples(member: Ints, draws: int, generator: np.random.Generator, chunk: int = 500) -> Iterator[Floats]:
    """Yields how often each clip is drawn, `(≤ chunk, N)`: people with replacement, then as many clips of each."""
    sizes = np.bincount(member)
    for begin in range(0, draws, chunk):
        n = min(chunk, draws - begin)
        times = generator.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), n)
        weights = np.empty((n, len(member)))
        for s, size in enumerate(sizes):
            weights[:, member == s] = generator.multinomial(times[:, s] * size, np.full(size, 1 / size))
        yield weights


def _value(weights: Floats, runs: Ints, true: Ints, metric: str) -> Floats:
    """The metric of each run under each weighting of the clips: weights `(W, N)`, runs `(R, N)` → `(R, W)`."""
    if metric == "top1":
        return ((runs == true) @ weights.T) / weights.sum(1)
    C = int(max(runs.max(), true.max())) + 1
    truth = np.eye(C)[true]
    n = weights @ truth
    out = []
    for predicted in runs:
        said, hits = weights @ np.eye(C)[predicted], weights @ (truth * (predicted == true)[:, None])
        f1 = np.divide(2 * hits, n + said, out=np.zeros_like(n), where=n > 0)
        out.append(f1.sum(1) / (n > 0).sum(1))
    return np.stack(out)


def _checked(
    first: npt.ArrayLike, second: npt.ArrayLike, labels: npt.ArrayLike, subjects: Sequence[str]
) -> tuple[Ints, Ints, Ints, npt.NDArray[np.str_]]:
    a, b = (np.atleast_2d(np.asarray(runs, np.int64)) for runs in (first, second))
    true, people = np.asarray(labels, np.int64), np.array([str(subject) for subject in subjects])
    if a.shape != b.shape:
        raise ValueError(f"runs are paired by seed, but there are {a.shape} and {b.shape} predictions (runs, clips)")
    if a.ndim != 2 or true.ndim != 1 or len(true) == 0 or a.shape[1] != len(true) or len(people) != len(true):
        raise ValueError(
            f"predictions {a.shape}, labels {true.shape} and {len(people)} subjects do not fit: one of each per clip, "
            "and at least one clip"
        )
    return a, b, true, people
