"""Which unlabelled clips a stream is taught, and as what: Cross-Modal Pseudo-Labelling without its training runs.

arXiv 2606.13030 names the strategy and gives neither rule nor number; what is chosen stands in docs/paper.md. Nothing
here takes a label of a target clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

REJECTED = -1
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rule:
    """When a clip is accepted.

    Args:
        quorum: How many teachers have to name the same class; `None` for all of them.
        precision: On source validation, the votes that are sure enough have to be right as often as this.
        floor: A vote that is less sure than this is never accepted.
        share: Class by class, the surest clips of this share are sure enough, however sure they are (above `floor`).
        cap: How many clips of a class are accepted at most, as a multiple of its source clips.

    Raises:
        ValueError: A value is out of range; the message names it.
    """

    quorum: int | None = None
    precision: float = 0.95
    floor: float = 0.5
    share: float = 0.5
    cap: float = 1.0

    def __post_init__(self) -> None:
        for name in ("precision", "floor", "share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it lies between 0 and 1")
        if not self.cap > 0:
            raise ValueError(f"cap is {self.cap}; it is a multiple of a class's source clips, above 0 (1 is usual)")
        if self.quorum is not None and self.quorum < 1:
            raise ValueError(f"quorum is {self.quorum}; one teacher at least has to vote for a class")


@dataclass(frozen=True, eq=False)
class Accepted:
    """What a stream is taught.

    Args:
        labels: Class ids `(N,)`, `REJECTED` for a clip that is not accepted.
        confidence: Of the vote on each clip `(N,)`.
        thresholds: The confidence that a vote for each class needed `(C,)`.
        agreement: The share of clips on which all teachers name one class.
    """

    labels: Ints
    confidence: Floats
    thresholds: Floats
    agreement: float


def vote(teachers: Floats) -> tuple[Ints, Ints, Floats]:
    """The class that most teachers name; of equally many, the one with the greater mean probability.

    Args:
        teachers: Calibrated probabilities `(M, N, C)`.

    Returns:
        Class ids `(N,)`, how many teachers named that class `(N,)`, and its mean probability over all teachers `(N,)`.
    """
    mean, rows = teachers.mean(0), np.arange(teachers.shape[1])
    counts = (teachers.argmax(2)[..., None] == np.arange(teachers.shape[2])).sum(0)  # (N, C)
    classes = (2 * counts + mean).argmax(1)
    return classes.astype(np.int64), counts[rows, classes].astype(np.int64), mean[rows, classes]


def sure_enough(confidence: Floats, right: npt.NDArray[np.bool_], precision: float) -> float:
    """The least threshold at or above which votes are right as often as `precision`; 1 where there is none.

    Args:
        confidence: Of N votes.
        right: Whether each is right.
        precision: From 0 to 1.
    """
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence = confidence[order]
    ends = np.append(np.flatnonzero(np.diff(sorted_confidence)), len(order) - 1)  # equal votes pass together
    good = right[order].cumsum()[ends] >= precision * (ends + 1)
    return float(sorted_confidence[ends[good].max()]) if good.any() else 1.0


def accept(
    target: Floats, validation: Floats, validation_labels: Ints, source_counts: Sequence[int], rule: Rule
) -> Accepted:
    """What teachers teach: the clips on which they agree and are sure enough, so many per class at most.

    A vote for class c has to be as sure as `t_c = clip(q_c, floor, τ)`: τ is the threshold at which source validation
    has the wanted precision, and q_c the confidence of the last of the surest `share` of the clips that are voted into
    c (as in class-balanced self-training, Zou et al., ECCV 2018), which lets classes in that no stream is sure of.

    Args:
        target: The teachers' calibrated probabilities on the target clips `(M, N, C)`.
        validation: On the source's validation clips `(M, V, C)`.
        validation_labels: True class ids of these `(V,)`.
        source_counts: Training clips of each class, C of them.
        rule: When a clip is accepted.

    Returns:
        The accepted clips.

    Raises:
        ValueError: There are fewer teachers than the quorum.
    """
    M, _, C = target.shape
    quorum = M if rule.quorum is None else rule.quorum
    if quorum > M:
        raise ValueError(f"quorum is {quorum}, but a stream has {M} teachers; lower it or add a stream")
    known, votes, confidence = vote(validation)
    agreed = votes >= quorum
    right = known[agreed] == validation_labels[agreed]
    tau = max(rule.floor, sure_enough(confidence[agreed], right, rule.precision) if agreed.any() else 1.0)
    classes, votes, confidence = vote(target)
    labels, thresholds = np.full(len(classes), REJECTED, np.int64), np.full(C, tau)
    for c in range(C):
        rows = np.flatnonzero((classes == c) & (votes >= quorum))
        rows = rows[np.argsort(-confidence[rows], kind="stable")]
        surest = int(np.ceil(rule.share * len(rows)))
        if surest:
            thresholds[c] = np.clip(confidence[rows[surest - 1]], rule.floor, tau)
        kept = rows[confidence[rows] >= thresholds[c]]
        labels[kept[: int(rule.cap * source_counts[c])]] = c
    return Accepted(labels, confidence, thresholds, float((votes == M).mean()))
