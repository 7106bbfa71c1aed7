"""How well coders agree, on words without order: percentage agreement, Cohen's κ, Fleiss' κ, Krippendorff's α.

Codes are one table `(U, R)`: what each of R coders said of each of U units (clips, seconds, …), as numbers from 0 on,
or `MISSING`. Every figure comes with an interval that a bootstrap over *clusters* gives: the clips of one person
resemble each other, so whole persons (or recordings) are drawn, not clips. A figure that is not defined is `None` and
says why; it is never a nan.

Where votes are missing, only units with two votes or more tell about agreement. Sources: Cohen (1960), Educational and
Psychological Measurement 20, 37-46; Fleiss (1971), Psychological Bulletin 76, 378-382; Krippendorff (2019), Content
Analysis, 4th ed., ch. 12, and (2011), Computing Krippendorff's Alpha-Reliability, sec. C.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MISSING = -1
DRAWS = 1000
LEVEL = 0.95
DEFINED = 0.9
"""The share of draws in which a figure has to be defined: leaving out more of them would bend the interval."""

NO_PAIRS = "nothing was coded twice"
NOTHING = "there is nothing to count"
ONE_VALUE = "only one value was used, so agreement cannot be told from chance"
ONE_CLUSTER = "no interval, because all of it is of one person or recording, and drawing needs two"
FEW_DRAWS = "no interval, because too many draws hold one value only"

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_OfWeights = Callable[[Floats], float]
"""A figure, given how often each unit counts; nan where it is not defined."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    Args:
        value: The figure, `None` where it is not defined.
        units: How many units it is about.
        low: Lower end of the 95 % interval, `None` where there is none.
        high: Upper end.
        why: Why there is no figure or no interval, in plain words.
    """

    value: float | None
    units: int
    low: float | None = None
    high: float | None = None
    why: str = ""


def percentage_agreement(
    codes: npt.ArrayLike, clusters: Sequence[Hashable] | None = None, *, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """The share of pairs of coders who said the same, in the mean of the units (Fleiss 1971, P̄); 0 to 1.

    Args:
        codes: `(U, R)` integers, `MISSING` where a coder said nothing.
        clusters: The cluster of each unit; `None`: no interval.
        draws: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: The codes are no such table, or the clusters are not one per unit.
    """
    votes = _Votes(codes, clusters)
    return _estimate(lambda w: _ratio(w @ votes.same, w.sum()), votes, draws, seed)


def krippendorff_alpha(
    codes: npt.ArrayLike, clusters: Sequence[Hashable] | None = None, *, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Krippendorff's α for nominal data, any number of coders and missing votes.

    With o_cc the diagonal and n_c the margins of the coincidence matrix, and n their sum,
    α = 1 - (n - 1)(n - Σ o_cc) / (n² - Σ n_c²).

    Args, Raises: As for `percentage_agreement`.
    """
    votes = _Votes(codes, clusters)

    def alpha(w: Floats) -> float:
        n, observed, margins = w @ votes.size, w @ (votes.size * votes.same), votes.margins(w)
        return 1 - _ratio((n - 1) * (n - observed), n * n - margins @ margins)

    return _estimate(alpha, votes, draws, seed)


def fleiss_kappa(
    codes: npt.ArrayLike, clusters: Sequence[Hashable] | None = None, *, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Fleiss' κ. It asks for the same number of votes everywhere: units with the most common number (≥ 2) count.

    Args, Raises: As for `percentage_agreement`.
    """
    table = _table(codes)
    size = (table != MISSING).sum(1)
    numbers, times = np.unique(size[size > 1], return_counts=True)
    common = (
        numbers[len(times) - 1 - times[::-1].argmax()] if len(numbers) else 0
    )  # of equally common ones the largest
    votes = _Votes(np.where((size == common)[:, None], table, MISSING), clusters)

    def kappa(w: Floats) -> float:
        margins, total = votes.margins(w), w @ votes.size
        expected = _ratio(margins @ margins, total * total)
        return _ratio(_ratio(w @ votes.same, w.sum()) - expected, _ratio(total**2 - margins @ margins, total**2))

    return _estimate(kappa, votes, draws, seed)


def cohen_kappa(
    codes: npt.ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    weights: npt.ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Cohen's κ of two coders, on the units that both coded.

    Args:
        codes: `(U, 2)` integers, `MISSING` where a coder said nothing.
        clusters: As for `percentage_agreement`.
        weights: How much each unit counts `(U,)`, in a sample that is not drawn evenly; default: all the same.
        draws: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: As for `percentage_agreement`, or there are not two coders.
    """
    votes = _Votes(codes, clusters)
    if votes.coders != 2:
        raise ValueError(f"Cohen's κ is of two coders, not of {votes.coders}; use Fleiss' κ or Krippendorff's α")

    first, second = votes.code.reshape(-1, 2).T  # two votes in every unit that counts
    each = np.ones(votes.units) if weights is None else np.asarray(weights, np.float64)[votes.kept]

    def kappa(w: Floats) -> float:
        w = w * each
        total = w.sum()
        chance = np.bincount(first, w, votes.values) @ np.bincount(second, w, votes.values)
        return _ratio((w @ votes.same) * total - chance, total * total - chance)

    return _estimate(kappa, votes, draws, seed)


def share(
    part: npt.ArrayLike,
    whole: npt.ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """A ratio of sums, Σ part / Σ whole, with its interval over clusters.

    Args:
        part: `(U,)` numbers.
        whole: `(U,)` numbers.
        clusters: As for `percentage_agreement`.
        draws: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        The ratio; its `units` are Σ whole.
    """
    above, below = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    count = round(float(below.sum()))
    if not count:
        return Estimate(None, 0, why=NOTHING)
    groups = _groups(clusters, len(below))
    return _with_interval(lambda w: _ratio(w @ above, w @ below), np.ones(len(below)), groups, count, draws, seed)


class _Votes:
    """The votes of the units that have at least two.

    Args:
        codes: `(U, R)`.
        clusters: One per unit, or `None`.
    """

    def __init__(self, codes: npt.ArrayLike, clusters: Sequence[Hashable] | None) -> None:
        table = _table(codes)
        said = table != MISSING
        kept = said.sum(1) > 1
        groups = _groups(clusters, len(table))
        table, said = table[kept], said[kept]
        self.groups = None if groups is None else np.unique(groups[kept], return_inverse=True)[1]
        self.kept = kept
        self.coders = table.shape[1]
        self.units = len(table)
        self.size: Floats = said.sum(1).astype(np.float64)
        self.unit = np.nonzero(said)[0]
        values, code = np.unique(table[said], return_inverse=True)
        self.values, self.code = len(values), code
        pairs, times = np.unique(self.unit * max(1, self.values) + code, return_counts=True)
        alike = np.bincount(pairs // max(1, self.values), times * (times - 1), self.units)
        self.same: Floats = alike / (self.size * (self.size - 1))  # of each unit, the share of pairs who said the same

    def margins(self, weights: Floats) -> Floats:
        """How often each value was said."""
        return np.bincount(self.code, weights[self.unit], self.values).astype(np.float64)


def _estimate(figure: _OfWeights, votes: _Votes, draws: int, seed: int) -> Estimate:
    if not votes.units:
        return Estimate(None, 0, why=NO_PAIRS)
    return _with_interval(figure, np.ones(votes.units), votes.groups, votes.units, draws, seed)


def _with_interval(
    figure: _OfWeights, every: Floats, groups: Ints | None, units: int, draws: int, seed: int
) -> Estimate:
    """The figure, and the middle 95 % of what it is when as many clusters as there are are drawn with replacement."""
    value = figure(every)
    if math.isnan(value):
        return Estimate(None, units, why=ONE_VALUE)
    if groups is None:
        return Estimate(value, units)
    count = int(groups.max()) + 1
    if count < 2:
        return Estimate(value, units, why=ONE_CLUSTER)
    rng = np.random.default_rng(seed)
    drawn = (np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(draws))
    figures = np.array([figure(times.astype(np.float64)[groups]) for times in drawn])
    figures = figures[~np.isnan(figures)]
    if len(figures) < DEFINED * draws:
        return Estimate(value, units, why=FEW_DRAWS)
    low, high = np.quantile(figures, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, units, float(low), float(high))


def _ratio(part: Any, whole: Any) -> float:
    return float(part) / float(whole) if whole else math.nan


def _table(codes: npt.ArrayLike) -> Ints:
    table = np.asarray(codes)
    if table.ndim != 2 or not (np.issubdtype(table.dtype, np.integer) or table.size == 0):
        raise ValueError(f"codes must be a (units, coders) table of integers, got {table.dtype} {table.shape}")
    if (table < MISSING).any():
        raise ValueError(f"codes hold {int(table.min())}; they are 0 or more, or {MISSING} where nothing was said")
    return table.astype(np.int64)


def _groups(clusters: Sequence[Hashable] | None, count: int) -> Ints | None:
    """The clusters as numbers from 0 on."""
    if clusters is None:
        return None
    if len(clusters) != count:
        raise ValueError(f"{count} units but {len(clusters)} clusters: pass the cluster of every unit")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], np.int64)
