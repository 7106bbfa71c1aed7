"""Records of several coders -> how well they agree, word by word and as whole records, and where they do not.

Only what a coder wrote counts: records that somebody accepted unchanged from a prefilled export (`confirmed`), that a
model proposed or that come from the class are left out, and counted. `not_visible` and `unclear` are words like others
here; what nobody wrote is missing. Second looks tell how well a coder agrees with themselves, and nothing else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from microgesture.annotation.records import CodedClip, refuse
from microgesture.data.fg_text import ATTRIBUTES, SPECIAL, FGText
from microgesture.evaluation.coefficients import (
    DRAWS,
    MISSING,
    Estimate,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    percentage_agreement,
)

WHOLE = "whole record"
"""All four attributes, the same or not; missing where one of them is."""
FIELDS = (*ATTRIBUTES, "side", "repetition", WHOLE)
BY = ("subject", "recording")
COUNTED = "human"


@dataclass(frozen=True)
class Unit:
    """What coders said of one clip, or of one movement that they marked in the same place.

    Args:
        name: What it is called in the table of disagreements.
        clusters: Its subject and its recording, by `BY`.
        said: Coder → field → word; what is missing is not there.
    """

    name: str
    clusters: Mapping[str, str]
    said: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class FieldAgreement:
    """How well all coders agree on one field.

    Args:
        field: Its name.
        same: Percentage agreement.
        cohen: Cohen's κ, `None` where there are more or fewer than two coders.
        fleiss: Fleiss' κ.
        alpha: Krippendorff's α.
        answers: How often coders gave a `word`, each special value, and nothing (`missing`).
    """

    field: str
    same: Estimate
    cohen: Estimate | None
    fleiss: Estimate
    alpha: Estimate
    answers: dict[str, int]


@dataclass(frozen=True)
class PairAgreement:
    """How well two coders agree, or one coder at two looks: for each field percentage agreement and Cohen's κ."""

    coders: tuple[str, str]
    same: dict[str, Estimate]
    cohen: dict[str, Estimate]


@dataclass(frozen=True)
class Confusion:
    """Two words of one field that two coders used of one clip, and how many pairs of coders did."""

    field: str
    words: tuple[str, str]
    times: int


@dataclass(frozen=True)
class Disagreement:
    """One clip that coders do not agree on.

    Args:
        name: Which.
        subject: Who is seen.
        score: Share of disagreeing pairs of coders, in the mean of the four attributes (or of the labels).
        said: The fields in which they differ: word → coders.
    """

    name: str
    subject: str
    score: float
    said: dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class Agreement:
    """All of it.

    Args:
        coders: Their names.
        records: How many records count, first looks only.
        left_out: How many do not, by provenance.
        label_shown: How many of those that count were written by a coder who was told the class.
        clips: How many clips have the words of two coders or more.
        by: What intervals are drawn by, `subject` or `recording`.
        clusters: How many of these there are.
        fields: Between coders.
        pairs: Each pair of coders, where there are more than two.
        themselves: Each coder who has second looks.
        confused: Most often first.
        disagreements: Worst first.
    """

    coders: tuple[str, ...]
    records: int
    left_out: dict[str, int]
    label_shown: int
    clips: int
    by: str
    clusters: int
    fields: list[FieldAgreement]
    pairs: list[PairAgreement]
    themselves: list[PairAgreement]
    confused: list[Confusion]
    disagreements: list[Disagreement]


def agreement(records: Sequence[CodedClip], by: str = "subject", *, draws: int = DRAWS, seed: int = 0) -> Agreement:
    """Measures agreement of coders.

    Args:
        records: What all of them wrote.
        by: Whether subjects or recordings are drawn for the intervals.
        draws: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: There is no record, a coder is not named or wrote twice about a clip, or the records are of
            different data sets.
    """
    if not records:
        raise ValueError("there is no record; name the table that `microgesture annotate import` wrote")
    own = [record for record in records if record.text.provenance == COUNTED]
    _check(own)
    left_out = Counter(record.text.provenance for record in records if record.text.provenance != COUNTED)
    first = [record for record in own if record.look == 1]
    units = _units(first)
    coders = tuple(sorted({str(record.text.coder) for record in first}))
    shared = [unit for unit in units if len(unit.said) > 1]
    options: dict[str, Any] = {"draws": draws, "seed": seed}
    return Agreement(
        coders=coders,
        records=len(first),
        left_out=dict(left_out),
        label_shown=sum(record.label_shown for record in first),
        clips=len(shared),
        by=by,
        clusters=len({unit.clusters[by] for unit in shared}),
        fields=between(units, coders, FIELDS, by, **options),
        pairs=[pair(units, two, FIELDS, by, **options) for two in combinations(coders, 2)] if len(coders) > 2 else [],
        themselves=_themselves(own, by, **options),
        confused=confusions(shared, FIELDS[:-1]),
        disagreements=disagreements(shared, FIELDS[:-1], ATTRIBUTES),
    )


def words_of(text: FGText) -> dict[str, str]:
    """What a record says, by field."""
    said = {name: word for name in FIELDS[:-1] if (word := getattr(text, name)) is not None}
    if all(name in said for name in ATTRIBUTES):
        said[WHOLE] = " ".join(said[name] for name in ATTRIBUTES)
    return said


def between(
    units: Sequence[Unit], coders: Sequence[str], fields: Sequence[str], by: str, *, draws: int = DRAWS, seed: int = 0
) -> list[FieldAgreement]:
    """How well all coders agree, field by field."""
    clusters = [unit.clusters[by] for unit in units]
    found = []
    for name in fields:
        codes = _codes(units, coders, name)
        same, fleiss, alpha = (
            figure(codes, clusters, draws=draws, seed=seed)
            for figure in (percentage_agreement, fleiss_kappa, krippendorff_alpha)
        )
        cohen = cohen_kappa(codes, clusters, draws=draws, seed=seed) if len(coders) == 2 else None
        found.append(FieldAgreement(name, same, cohen, fleiss, alpha, _answers(units, name)))
    return found


def pair(
    units: Sequence[Unit],
    coders: tuple[str, str],
    fields: Sequence[str],
    by: str,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> PairAgreement:
    """How well two coders agree, field by field."""
    clusters = [unit.clusters[by] for unit in units]
    codes = {name: _codes(units, coders, name) for name in fields}
    same, cohen = (
        {name: figure(table, clusters, draws=draws, seed=seed) for name, table in codes.items()}
        for figure in (percentage_agreement, cohen_kappa)
    )
    return PairAgreement(coders, same, cohen)


def confusions(units: Sequence[Unit], fields: Sequence[str]) -> list[Confusion]:
    """The pairs of words that coders used of the same clip, most frequent first."""
    times: Counter[tuple[str, tuple[str, str]]] = Counter()
    for unit in units:
        for name in fields:
            said = sorted(words[name] for words in unit.said.values() if name in words)
            times.update((name, (a, b)) for a, b in combinations(said, 2) if a != b)
    ordered = sorted(times.items(), key=lambda entry: (-entry[1], entry[0]))
    return [Confusion(name, words, count) for (name, words), count in ordered]


def disagreements(units: Sequence[Unit], fields: Sequence[str], scored: Sequence[str]) -> list[Disagreement]:
    """The clips that coders do not agree on, worst first.

    Args:
        units: What they said.
        fields: Where a difference is listed.
        scored: Where it counts.
    """
    found = []
    for unit in units:
        differ: dict[str, dict[str, list[str]]] = {}
        for name in fields:
            said: dict[str, list[str]] = defaultdict(list)
            for coder, words in sorted(unit.said.items()):
                if name in words:
                    said[words[name]].append(coder)
            if len(said) > 1:
                differ[name] = dict(sorted(said.items(), key=lambda entry: (-len(entry[1]), entry[0])))
        if differ:
            score = sum(_differing(differ.get(name, {})) for name in scored) / len(scored)
            found.append(Disagreement(unit.name, unit.clusters["subject"], round(score, 4), differ))
    return sorted(found, key=lambda one: (-one.score, -len(one.said), one.name))


def _differing(said: Mapping[str, Sequence[str]]) -> float:
    """The share of pairs of coders who gave different words."""
    sizes = [len(coders) for coders in said.values()]
    total = sum(sizes)
    return 1 - sum(size * (size - 1) for size in sizes) / (total * (total - 1)) if total > 1 else 0.0


def _units(records: Sequence[CodedClip]) -> list[Unit]:
    by_clip: dict[tuple, list[CodedClip]] = defaultdict(list)
    for record in records:
        by_clip[record.clip.key].append(record)
    return [
        Unit(clip_name(several[0]), _clusters(several[0]), {str(r.text.coder): words_of(r.text) for r in several})
        for several in by_clip.values()
    ]


def _themselves(records: Sequence[CodedClip], by: str, *, draws: int, seed: int) -> list[PairAgreement]:
    looks: dict[tuple[str, tuple], dict[int, CodedClip]] = defaultdict(dict)
    for record in records:
        looks[str(record.text.coder), record.clip.key][record.look] = record
    units: dict[str, list[Unit]] = defaultdict(list)
    for (coder, _), two in looks.items():
        if len(two) == 2:
            said = {str(look): words_of(record.text) for look, record in two.items()}
            units[coder].append(Unit(clip_name(two[1]), _clusters(two[1]), said))
    found = []
    for coder in sorted(units):
        measured = pair(units[coder], ("1", "2"), FIELDS, by, draws=draws, seed=seed)
        found.append(PairAgreement((coder, coder), measured.same, measured.cohen))
    return found


def _check(records: Sequence[CodedClip]) -> None:
    seen: set[tuple] = set()
    subjects: dict[tuple, str] = {}
    problems = []
    for record in records:
        coder, clip = record.text.coder, record.clip
        if not coder:
            problems.append(f"{clip_name(record)}: a record without a coder; agreement is between coders")
        elif (coder, clip.key, record.look) in seen:
            problems.append(
                f"{clip_name(record)}: coder {coder!r} wrote about this clip twice; agreement is about what coders "
                "wrote at first, so leave out the tables of later rounds"
            )
        elif subjects.setdefault(clip.key, clip.subject) != clip.subject:
            problems.append(
                f"{clip_name(record)} shows {subjects[clip.key]!r} in one record and {clip.subject!r} in another; "
                "these records are of different data sets"
            )
        seen.add((coder, clip.key, record.look))
    refuse(problems)


def clip_name(record: CodedClip) -> str:
    """What a clip is called in messages and tables."""
    clip = record.clip
    if clip.start is None and clip.end is None:
        return f"{clip.split}/{clip.file_name}"
    end = "its end" if clip.end is None else f"{clip.end:g} s"
    return f"{clip.split}/{clip.file_name} {clip.start or 0.0:g} to {end}"


def _clusters(record: CodedClip) -> dict[str, str]:
    return {"subject": record.clip.subject, "recording": f"{record.clip.split}/{record.clip.file_name}"}


def _codes(units: Sequence[Unit], coders: Sequence[str], name: str) -> npt.NDArray[np.int64]:
    """The words of a field as numbers `(units, coders)`."""
    numbers: dict[str, int] = {}
    said = [unit.said.get(coder, {}).get(name) for unit in units for coder in coders]
    codes = [MISSING if word is None else numbers.setdefault(word, len(numbers)) for word in said]
    return np.array(codes, np.int64).reshape(len(units), len(coders))


def _answers(units: Sequence[Unit], name: str) -> dict[str, int]:
    counts = Counter({"word": 0} | dict.fromkeys(SPECIAL, 0) | {"missing": 0})
    for unit in units:
        for words in unit.said.values():
            word = words.get(name)
            counts["missing" if word is None else word if word in SPECIAL else "word"] += 1
    return dict(counts)
