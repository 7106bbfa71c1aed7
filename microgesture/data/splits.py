"""Who trains, who validates, who tests: by person, so that nobody is seen on two sides.

A model that has seen a person recognises the person, so a random split flatters it. One is made only on demand, and
marks every result.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

SPLITS = ("train", "validation", "test")
DEFAULT_SHARES = (0.7, 0.15, 0.15)
_SHUFFLES = 20


def people(subjects: Sequence[Hashable], recordings: Sequence[Hashable]) -> npt.NDArray[np.int64]:
    """Groups that must not be torn apart: all clips of a person, and of all who share a recording with that person.

    Args:
        subjects: Who each clip is of.
        recordings: The video each clip lies in.

    Returns:
        Number of the group of each clip `(N,)`.
    """
    _, rows = np.unique(np.array([str(s) for s in subjects]), return_inverse=True)
    _, columns = np.unique(np.array([str(r) for r in recordings]), return_inverse=True)
    count = int(rows.max()) + 1
    edges = (np.ones(len(rows)), (rows, columns + count))
    size = count + int(columns.max()) + 1
    _, group = connected_components(coo_array(edges, shape=(size, size)), directed=False)
    return np.asarray(group[rows], dtype=np.int64)


def by_group(
    labels: Sequence[str], groups: npt.NDArray[np.int64], shares: Sequence[float] = DEFAULT_SHARES, seed: int = 0
) -> list[str]:
    """Splits by group, near the shares, with as many classes on every side as can be.

    Args:
        labels: Class of each clip.
        groups: Group of each clip, as `people` gives it.
        shares: Of train, validation and test; a share of 0 leaves the split out.
        seed: Another seed, another split of the same people.

    Returns:
        `train`, `validation` or `test` for each clip.

    Raises:
        ValueError: There are fewer groups than splits.
    """
    wanted = sum(share > 0 for share in shares)
    _enough(groups, wanted, "splits")
    names = np.full(len(labels), "train", dtype=object)
    left = np.arange(len(labels))
    classes = _numbers(labels)
    for place, name in ((2, "test"), (1, "validation")):
        if shares[place] > 0:
            share = shares[place] / sum(shares[: place + 1])
            wanted -= 1
            held = _hold_out(classes[left], groups[left], share, wanted, seed)
            names[left[held]] = name
            left = np.delete(left, held)
    return list(names)


def folds(labels: Sequence[str], groups: npt.NDArray[np.int64], number: int, seed: int = 0) -> list[list[str]]:
    """Stratified group folds: each group tests in one of them, validates in the one before, and else trains.

    Args:
        labels: Class of each clip.
        groups: Group of each clip.
        number: How many folds, at least 3.
        seed: Another seed, other folds.

    Returns:
        For each fold the split of each clip.

    Raises:
        ValueError: There are fewer groups than folds, or fewer than three folds are asked for.
    """
    _three_folds(number)
    _enough(groups, number, "folds")
    fold = np.empty(len(labels), dtype=np.int64)
    for place, held in enumerate(_group_folds(_numbers(labels), groups, number, seed)):
        fold[held] = place
    return [_fold_names(fold, place, number) for place in range(number)]


def at_random(labels: Sequence[str], shares: Sequence[float] = DEFAULT_SHARES, seed: int = 0) -> list[str]:
    """Splits clip by clip, whoever is in them; classes in equal shares. Figures on such a split are too good.

    Args:
        labels: Class of each clip.
        shares: Of train, validation and test.
        seed: Another seed, another split.

    Returns:
        The split of each clip.
    """
    borders = np.cumsum(shares) / sum(shares)
    return [SPLITS[min(int(np.searchsorted(borders, p)), len(SPLITS) - 1)] for p in _positions(labels, seed)]


def random_folds(labels: Sequence[str], number: int, seed: int = 0) -> list[list[str]]:
    """Folds clip by clip, whoever is in them, as `folds` otherwise.

    Raises:
        ValueError: Fewer than three folds are asked for.
    """
    _three_folds(number)
    fold = (_positions(labels, seed) * number).astype(np.int64)
    return [_fold_names(fold, place, number) for place in range(number)]


def _numbers(labels: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.unique(np.array(labels), return_inverse=True)[1].astype(np.int64)


def _positions(labels: Sequence[str], seed: int) -> npt.NDArray[np.float64]:
    """A place between 0 and 1 for each clip, shuffled and spread evenly within its class."""
    rng = np.random.default_rng(seed)
    places = np.empty(len(labels))
    names = np.array(labels)
    for name in sorted(set(labels)):
        members = rng.permutation(np.flatnonzero(names == name))
        places[members] = (np.arange(len(members)) + 0.5) / len(members)
    return places


def _fold_names(fold: npt.NDArray[np.int64], place: int, number: int) -> list[str]:
    return ["test" if f == place else "validation" if f == (place + 1) % number else "train" for f in fold]


def _hold_out(
    labels: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], share: float, left: int, seed: int
) -> npt.NDArray[np.int64]:
    """Clips of the groups to hold out: near the share, and with all classes on both sides where that can be.

    At least `left` groups remain.
    """
    names, members = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), int(labels.max()) + 1), dtype=np.int64)
    np.add.at(counts, (members, labels), 1)
    total = counts.sum(0)
    number = min(max(2, round(1 / share)), len(names))
    # Without a better one, the smallest group alone.
    best: tuple[tuple[float, ...], npt.NDArray[np.int64]] = ((np.inf,), np.array([counts.sum(1).argmin()]))
    for shuffle in range(_SHUFFLES):
        for held in _group_folds(labels, groups, number, seed * _SHUFFLES + shuffle):
            chosen = np.unique(members[held])
            if len(names) - len(chosen) < left:
                continue
            inside = counts[chosen].sum(0)
            absent = [np.count_nonzero((part == 0) & (total > 0)) for part in (total - inside, inside)]
            cost = (float(absent[0]), float(absent[1]), abs(float(inside.sum()) - share * len(labels)))
            if cost < best[0]:
                best = cost, chosen
            if best[0] <= (0.0, 0.0, 0.01 * len(labels)):
                break
    return np.flatnonzero(np.isin(members, best[1]))


def _group_folds(
    labels: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], number: int, seed: int
) -> list[npt.NDArray[np.int64]]:
    """Clips of each of the folds. Rare classes are a warning of `microgesture check`, not of scikit-learn."""
    # scikit-learn refuses more folds than the commonest class has clips; stratification means nothing there.
    stratify = labels if np.bincount(labels).max() >= number else np.zeros_like(labels)
    splitter = StratifiedGroupKFold(n_splits=number, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return [held for _, held in splitter.split(np.zeros(len(labels)), stratify, groups)]


def _enough(groups: npt.NDArray[np.int64], number: int, what: str) -> None:
    there = len(set(groups.tolist()))
    if there < number:
        raise ValueError(
            f"{number} {what} need {number} people who share no recording, and here are {there}: nobody may be seen "
            "on two sides. Record more people, ask for fewer (--ratio 80,20,0 makes no test split), or try things out "
            "with --allow-leak, which marks every result"
        )


def _three_folds(number: int) -> None:
    if number < 3:
        raise ValueError(f"{number} folds leave no clips to train on; ask for at least 3")
