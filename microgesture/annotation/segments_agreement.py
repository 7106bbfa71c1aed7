"""Timed codings of several coders -> whether they saw a movement at the same time, and called it the same.

Movements of two coders are matched one to one by how much they overlap (IoU, Hungarian algorithm), whatever they are
called; what they are called is compared for those that match. Beginnings and ends are also matched by themselves,
within a tolerance. Cut into units of time, the recording gives Cohen's κ without any matching.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from microgesture.annotation.agreement import (
    FIELDS,
    WHOLE,
    Confusion,
    Disagreement,
    FieldAgreement,
    Unit,
    between,
    confusions,
    disagreements,
)
from microgesture.annotation.elan_codings import LABEL, Recording, Span
from microgesture.evaluation.coefficients import DRAWS, Estimate, cohen_kappa, share
from microgesture.evaluation.span_matching import match_moments, match_spans, per_unit

NOTHING = "(nothing)"
UNIT_FIELDS = ("marked", LABEL)


@dataclass(frozen=True)
class Settings:
    """How movements are compared.

    Args:
        iou: Two movements are one where they overlap at least so much.
        tolerance: Seconds by which beginnings, or ends, may differ.
        unit: Seconds of a unit of time.
        by: What intervals are drawn by, `subject` or `recording`.
        draws: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: A figure is out of its range.
    """

    iou: float = 0.5
    tolerance: float = 0.2
    unit: float = 0.1
    by: str = "subject"
    draws: int = DRAWS
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.iou <= 1:
            raise ValueError(f"--iou is {self.iou:g}; the overlap that makes two movements one is above 0, up to 1")
        if not (self.tolerance >= 0 and np.isfinite(self.tolerance)):
            raise ValueError(f"--tolerance is {self.tolerance:g}; it is a number of seconds, 0 or more")
        if not (self.unit > 0 and np.isfinite(self.unit)):
            raise ValueError(f"--unit is {self.unit:g}; a unit of time is a number of seconds, more than 0")


@dataclass(frozen=True)
class SegmentAgreement:
    """How well two coders agree on when movements are.

    Args:
        coders: The two.
        clusters: How many subjects, or recordings, intervals are drawn by.
        marked: How many movements each marked.
        matched: How many of them match one to one.
        both: Share of all movements that have a match: 2 · matched / (all of both).
        iou: Mean IoU of those that match.
        onsets: Share of beginnings that have one of the other coder's within the tolerance, one to one.
        offsets: Likewise of ends.
        later: Mean seconds by which the second coder's beginnings and ends come later, of movements that match;
            `None` where none does.
        units: Cohen's κ per unit of time: whether there is a movement (`marked`), and which (`label`).
        seconds: How much time that is: of each recording up to the last end that anybody marked, times its people.
        fields: What matching movements are called.
        confused: Most often first.
        disagreements: Worst first.
    """

    coders: tuple[str, str]
    clusters: int
    marked: tuple[int, int]
    matched: int
    both: Estimate
    iou: Estimate
    onsets: Estimate
    offsets: Estimate
    later: tuple[float, float] | None
    units: dict[str, Estimate]
    seconds: float
    fields: list[FieldAgreement]
    confused: list[Confusion]
    disagreements: list[Disagreement]


def segment_agreement(recordings: Sequence[Recording], settings: Settings | None = None) -> list[SegmentAgreement]:
    """Measures agreement of each pair of coders on when movements are, and what they are.

    Args:
        recordings: What they marked.
        settings: How movements are compared.

    Raises:
        ValueError: There are not two coders, or the recordings have different ones.
    """
    settings = settings or Settings()
    coders = list(recordings[0].codings) if recordings else []
    if len(coders) < 2:
        raise ValueError("agreement needs the codings of two coders; name two files or two tiers")
    return [_pair(recordings, two, settings) for two in combinations(coders, 2)]


@dataclass
class _Strand:
    """One person in one recording, as two coders marked it."""

    recording: str
    person: str
    spans: tuple[Sequence[Span], Sequence[Span]]
    length: float
    pairs: list[tuple[int, int, float]] = field(default_factory=list)

    @property
    def clusters(self) -> dict[str, str]:
        return {"subject": self.person or self.recording, "recording": self.recording}

    def times(self, coder: int) -> npt.NDArray[np.float64]:
        """`(N, 2)` seconds."""
        return np.array([(span.start, span.end) for span in self.spans[coder]], np.float64).reshape(-1, 2)


def _pair(recordings: Sequence[Recording], coders: tuple[str, str], settings: Settings) -> SegmentAgreement:
    strands = _strands(recordings, coders, settings.iou)
    clusters = [strand.clusters[settings.by] for strand in strands]
    options: dict[str, Any] = {"draws": settings.draws, "seed": settings.seed}
    counts = np.array([[len(spans) for spans in strand.spans] for strand in strands])
    matched = np.array([len(strand.pairs) for strand in strands])
    overlap = [sum(iou for *_, iou in strand.pairs) for strand in strands]
    edges = [
        [2 * match_moments(s.times(0)[:, edge], s.times(1)[:, edge], settings.tolerance) for s in strands]
        for edge in (0, 1)
    ]
    units = [unit for strand in strands for unit in _units(strand, coders)]
    fields = [name for name in (LABEL, *FIELDS) if any(name in words for u in units for words in u.said.values())]
    listed = [name for name in fields if name != WHOLE] or [LABEL]
    alone = [unit for strand in strands for unit in _alone(strand, coders)]
    return SegmentAgreement(
        coders=coders,
        clusters=len(set(clusters)),
        marked=(int(counts[:, 0].sum()), int(counts[:, 1].sum())),
        matched=int(matched.sum()),
        both=share(2 * matched, counts.sum(1), clusters, **options),
        iou=share(overlap, matched, clusters, **options),
        onsets=share(edges[0], counts.sum(1), clusters, **options),
        offsets=share(edges[1], counts.sum(1), clusters, **options),
        later=_later(strands),
        units=_per_unit(strands, settings),
        seconds=round(sum(strand.length for strand in strands), 3),
        fields=between(units, coders, fields, settings.by, **options),
        confused=confusions(units, listed),
        disagreements=sorted(
            [*disagreements(alone, [LABEL], [LABEL]), *disagreements(units, listed, listed)],
            key=lambda one: -one.score,
        ),
    )


def _strands(recordings: Sequence[Recording], coders: tuple[str, str], iou: float) -> list[_Strand]:
    strands = []
    for recording in recordings:
        if not set(coders) <= set(recording.codings):
            raise ValueError(f"{recording.name} was not coded by {' and '.join(coders)}")
        length = max(
            (s.end for coding in recording.codings.values() for spans in coding.values() for s in spans), default=0.0
        )
        for person in recording.codings[coders[0]]:
            first, second = (recording.codings[coder][person] for coder in coders)
            strand = _Strand(recording.name, person, (first, second), length)
            strand.pairs = match_spans(strand.times(0), strand.times(1), iou)
            strands.append(strand)
    return strands


def _units(strand: _Strand, coders: tuple[str, str]) -> list[Unit]:
    """The movements that match."""
    return [
        Unit(_name(strand, strand.spans[0][i]), strand.clusters,
             {coders[0]: strand.spans[0][i].words, coders[1]: strand.spans[1][j].words})
        for i, j, _ in strand.pairs
    ]  # fmt: skip


def _alone(strand: _Strand, coders: tuple[str, str]) -> list[Unit]:
    """The movements that one coder alone marked."""
    matched = [{pair[which] for pair in strand.pairs} for which in (0, 1)]
    return [
        Unit(_name(strand, span), strand.clusters,
             {coders[which]: {LABEL: span.words.get(LABEL, "a movement")}, coders[1 - which]: {LABEL: NOTHING}})
        for which in (0, 1)
        for place, span in enumerate(strand.spans[which])
        if place not in matched[which]
    ]  # fmt: skip


def _name(strand: _Strand, span: Span) -> str:
    return f"{strand.recording} {span.start:.2f} to {span.end:.2f} s"


def _later(strands: Sequence[_Strand]) -> tuple[float, float] | None:
    apart = [
        (strand.spans[1][j].start - strand.spans[0][i].start, strand.spans[1][j].end - strand.spans[0][i].end)
        for strand in strands
        for i, j, _ in strand.pairs
    ]
    if not apart:
        return None
    onset, offset = np.mean(apart, axis=0)
    return round(float(onset), 4), round(float(offset), 4)


def _per_unit(strands: Sequence[_Strand], settings: Settings) -> dict[str, Estimate]:
    """Cohen's κ of what the coders say of each unit of time: whether there is a movement, and which."""
    numbers: dict[str, int] = {NOTHING: 0}
    codes, clusters = [], []
    for strand in strands:
        said = [
            per_unit(strand.times(coder), [_number(span, numbers) for span in strand.spans[coder]], settings.unit,
                     strand.length, 0)
            for coder in (0, 1)
        ]  # fmt: skip
        codes.append(np.stack(said, axis=1))
        clusters += [strand.clusters[settings.by]] * len(said[0])
    table = np.concatenate(codes)
    found = {}
    for name, one in zip(UNIT_FIELDS, (np.minimum(table, 1), table), strict=True):
        found[name] = cohen_kappa(one, clusters, draws=settings.draws, seed=settings.seed)
    return found


def _number(span: Span, numbers: dict[str, int]) -> int:
    label: Mapping[str, str] = span.words
    return numbers.setdefault(label.get(LABEL, "a movement"), len(numbers))
