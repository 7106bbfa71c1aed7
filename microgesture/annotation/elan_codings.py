"""What several coders marked in time, in ELAN: tiers of one file, a file of each coder, or a folder of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from microgesture.annotation.agreement import words_of
from microgesture.annotation.elan import Eaf, ElanTier, read_eaf, span_of, videos_of, words_below
from microgesture.annotation.readers import Problems, one_form, record
from microgesture.data.fg_text import ATTRIBUTES

LABEL = "label"


@dataclass(frozen=True)
class Span:
    """One movement that a coder marked: seconds of the video, its label, and the words of FG-Text below it."""

    start: float
    end: float
    words: Mapping[str, str]


@dataclass(frozen=True)
class Recording:
    """One recording as its coders marked it.

    Args:
        name: What it is called.
        codings: Coder → person → spans in the order of time.
        note: What looks wrong about it.
    """

    name: str
    codings: Mapping[str, Mapping[str, Sequence[Span]]]
    note: str = ""


def read_codings(paths: Sequence[Path], tiers: Sequence[str] = ()) -> list[Recording]:
    """Reads timed codings that are to be compared.

    Args:
        paths: One file in which several coders have tiers; or a file of each coder, of one recording; or a folder of
            each coder, with a file of the same name for each recording.
        tiers: The tiers with the movements, by name, by what stands before an `@`, or by type; default: the tiers
            without a parent, if they are all of one type.

    Raises:
        FileNotFoundError: There is no such file, or a folder lacks one.
        ValueError: A file cannot be read, or does not say which tiers are of which coder or which person.
    """
    if len(paths) == 1 and not paths[0].is_dir():
        return [Recording(paths[0].stem, _same_people(paths[0].name, _coders_in(paths[0], tiers)))]
    if len(paths) == 1:
        raise ValueError(f"{paths[0]} is the folder of one coder; name a folder of each coder, or one file with both")
    if any(path.is_dir() for path in paths):
        names = [path.resolve().name for path in paths]
        coders = names if len(set(names)) == len(names) else [str(path) for path in paths]
        return [_together(files, coders, tiers) for files in _same_names(paths)]
    return [_together(paths, (), tiers)]


def _same_names(folders: Sequence[Path]) -> list[list[Path]]:
    """The files of each recording, one of each folder."""
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        raise FileNotFoundError(f"{missing[0]} is not a folder; name a folder of each coder, or a file of each")
    names = [{path.name for path in folder.glob("*.eaf")} for folder in folders]
    all_have = names[0].intersection(*names)
    both, some = sorted(all_have), sorted(names[0].union(*names) - all_have)
    if some or not both:
        listed = ", ".join(some[:5]) or "no .eaf file at all"
        raise FileNotFoundError(
            f"{' and '.join(map(str, folders))} must hold files of the same names, one for each recording; not in all "
            f"of them: {listed}"
        )
    return [[folder / name for folder in folders] for name in both]


def _together(files: Sequence[Path], coders: Sequence[str], tiers: Sequence[str]) -> Recording:
    """One recording of which each coder has a file; without names, coders are called as their files say."""
    if len({file.resolve() for file in files}) < len(files):
        raise ValueError(f"{', '.join(map(str, files))}: the same file stands here twice; name those of other coders")
    people, annotators, videos = [], [], []
    for file in files:
        eaf = read_eaf(file)
        found = _tiers(file, eaf, tiers)
        who = sorted({tier.annotator for tier in found if tier.annotator})
        if len(who) > 1:
            raise ValueError(
                f"{file} holds the work of several coders ({', '.join(who)}); name the tiers of one with --tier, or "
                "compare them within this file alone"
            )
        people.append(_people(file, eaf, found))
        annotators.append(who[0] if who else "")
        videos += [re.split(r"[/\\]", video.names[0])[-1] for video in videos_of(eaf)[:1]]
    paths = [str(file) for file in files]
    choices = [coders, annotators, [file.stem for file in files], paths]
    names = next(names for names in choices if all(names) and len(set(names)) == len(files))
    name = files[0].stem if len({file.name for file in files}) == 1 else " and ".join(file.name for file in files)
    note = f"{' and '.join(paths)} are of different videos: {', '.join(videos)}" if len(set(videos)) > 1 else ""
    return Recording(name, _same_people(name, dict(zip(names, people, strict=True))), note)


def _coders_in(path: Path, names: Sequence[str]) -> dict[str, dict[str, list[Span]]]:
    """The coders of one file: its annotators, or the tiers that are named."""
    eaf = read_eaf(path)
    found = _tiers(path, eaf, names)
    annotators = sorted({tier.annotator for tier in found})
    if len(annotators) > 1 and all(annotators):
        return {who: _people(path, eaf, [tier for tier in found if tier.annotator == who]) for who in annotators}
    if len(found) > 1 and {tier.name for tier in found} == set(names):
        return {tier.name: {"": _spans(path, eaf, tier)} for tier in found}
    raise ValueError(
        f"{path} does not say which tiers are of which coder; name two of them with --tier NAME --tier NAME, or give "
        f"a file of each coder. It has: {_listed(eaf)}"
    )


def _tiers(path: Path, eaf: Eaf, names: Sequence[str]) -> list[ElanTier]:
    """The tiers with the movements; an empty one is of a coder who saw none."""
    if names:
        for name in names:
            if not any(name in (tier.name, tier.topic, tier.type) for tier in eaf.tiers.values()):
                raise ValueError(f"{path} has no tier {name}; it has: {_listed(eaf)}")
        return [tier for tier in eaf.tiers.values() if {tier.name, tier.topic, tier.type} & set(names)]
    free = [tier for tier in eaf.tiers.values() if tier.parent is None and tier.topic.lower() not in ATTRIBUTES]
    types = {tier.type for tier in free if tier.annotations}
    if len(types) != 1:
        raise ValueError(
            f"{path} does not tell which tiers hold the movements; name them with --tier. It has: {_listed(eaf)}"
        )
    return [tier for tier in free if tier.type in types]


def _listed(eaf: Eaf) -> str:
    return ", ".join(f"{tier.name} ({len(tier.annotations)})" for tier in eaf.tiers.values()) or "none"


def _people(path: Path, eaf: Eaf, tiers: Sequence[ElanTier]) -> dict[str, list[Span]]:
    """The spans of each person; several tiers of one person are taken together."""
    people: dict[str, list[Span]] = {}
    for tier in tiers:
        people.setdefault(tier.subject or "", []).extend(_spans(path, eaf, tier))
    return {person: sorted(spans, key=lambda span: (span.start, span.end)) for person, spans in people.items()}


def _spans(path: Path, eaf: Eaf, tier: ElanTier) -> list[Span]:
    videos = videos_of(eaf)
    origin = videos[0].origin if videos else 0
    below = words_below(eaf, tier)
    problems, spans = Problems(), []
    for annotation in tier.annotations:
        try:
            text = record(below.get(annotation.id, {}))
            start, end = span_of(annotation, origin)
        except ValueError as error:
            problems.add(f"{path.name}, tier {tier.name}, annotation {annotation.id}", error)
            continue
        label = one_form(annotation.value).strip()
        words = ({LABEL: label} if label else {}) | (words_of(text) if text else {})
        spans.append(Span(start, end, words))
    problems.check()
    return spans


def _same_people(name: str, codings: Mapping[str, dict[str, list[Span]]]) -> dict[str, Mapping[str, Sequence[Span]]]:
    """Refuses codings of different people; where only one is named and each coder marked one, it is that one."""
    named = {person for coding in codings.values() for person in coding if person}
    if len(named) < 2 and all(len(coding) == 1 for coding in codings.values()):
        person = next(iter(named), "")
        return {coder: {person: next(iter(coding.values()))} for coder, coding in codings.items()}
    people = [set(coding) for coding in codings.values()]
    if any(one != people[0] for one in people):
        told = "; ".join(
            f"{coder} has {', '.join(sorted(who or 'nobody named' for who in coding))}"
            for coder, coding in codings.items()
        )
        raise ValueError(
            f"{name}: the coders marked different people ({told}), so nobody knows what to compare; who is seen is "
            "the participant of a tier, or what follows an @ in its name"
        )
    return dict(codings)
