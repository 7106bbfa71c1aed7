"""FG-Text in ELAN: `.eaf` files with the clips marked and a tier with a controlled vocabulary for each field.

    tier `clip`         one time-aligned annotation per clip, its number
    tier `initiator`    one annotation below each clip (Symbolic_Association), a word of the tier's vocabulary;
                        likewise `side`, `receiver`, `direction`, `motion_type`, `repetition`, `confidence`
    tier `class`        the class, where coders are told it

A clip is finished when its coder has said how sure they are (`confidence`), so that nobody takes words that were
filled in beforehand for words that a coder has seen.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.parsers import expat

from microgesture.annotation.answers import FIELDS, FINISHED, UNFINISHED, Answer, choices
from microgesture.annotation.key import Item

CLIP_TIER, CLASS_TIER = "clip", "class"
LANGUAGE = "eng"
MOVED_MS = 100
"""A clip whose borders a coder moved by more than this is another clip."""


def write(path: Path, items: Sequence[Item], mirrored: bool | str, media: str) -> None:
    """Writes one `.eaf`.

    Args:
        path: The file.
        items: Clips of one video of one coder, which do not overlap.
        mirrored: As in labels.json; with `"unknown"` there are no words for left and right.
        media: The video, relative to the file.

    Raises:
        ImportError: pympi-ling is not installed.
    """
    eaf = new_eaf(items[0].coder or "")
    eaf.add_linked_file(media, relpath=media, mimetype=mimetypes.guess_type(media)[0] or "video/mp4")
    eaf.add_linguistic_type(CLIP_TIER)
    eaf.add_tier(CLIP_TIER, CLIP_TIER, ann=items[0].coder)
    asked = choices(mirrored)
    for name, words in asked.items():
        _add_tier(eaf, name, words, items[0].coder)
    if items[0].shown_label is not None:
        _add_tier(eaf, CLASS_TIER, dict.fromkeys(sorted({str(item.shown_label) for item in items}), ""), None)
    for item in sorted(items, key=lambda item: item.begin_ms):
        eaf.add_annotation(CLIP_TIER, item.begin_ms, item.end_ms, item.number)
        given = {name: word for name, word in (item.prefill or {}).items() if name in asked}
        if item.shown_label is not None:
            given[CLASS_TIER] = item.shown_label
        for name, word in given.items():
            eaf.add_ref_annotation(name, CLIP_TIER, (item.begin_ms + item.end_ms) // 2, word)
    eaf.to_file(path)


def _add_tier(eaf: Any, name: str, words: Mapping[str, str], coder: str | None) -> None:
    """A tier below the clips, whose annotations are chosen from a list."""
    eaf.add_controlled_vocabulary(name)
    for number, (word, meaning) in enumerate(words.items()):
        eaf.add_cv_entry(name, f"cveid_{name}_{number}", [(word, LANGUAGE, meaning or None)])
    constraint = "Symbolic_Association"
    about = {"LINGUISTIC_TYPE_ID": name, "TIME_ALIGNABLE": "false", "GRAPHIC_REFERENCES": "false"}
    about |= {"CONSTRAINTS": constraint, "CONTROLLED_VOCABULARY_REF": name}
    eaf.add_linguistic_type(name, param_dict=about)
    eaf.add_tier(name, name, parent=CLIP_TIER, ann=coder)


def read(path: Path, items: Mapping[str, Item]) -> Iterator[Answer]:
    """Reads an `.eaf` that a coder worked on.

    Args:
        path: The file.
        items: The items of the export by number; they say where each clip has to be.

    Yields:
        One answer per clip.

    Raises:
        ValueError: It is no such file, declares entities, or the coder moved a clip or answered a field twice.
        ImportError: pympi-ling is not installed.
    """
    lines = scan(path.read_bytes(), path.name)
    try:
        eaf = pympi_elan().Eaf(str(path), suppress_version_warning=True)
    except ImportError:
        raise
    except Exception as error:  # pympi raises whatever it stumbles over
        raise ValueError(
            f"{path} cannot be read as an ELAN file ({error!r}); open it in ELAN, save it again"
        ) from error
    absent = [name for name in (CLIP_TIER, *FIELDS) if name not in eaf.tiers and name != "side"]
    if absent:
        raise ValueError(
            f"{path} has no tier {', '.join(absent)}; give a file that `microgesture annotate export` made"
        )
    answers = _answers(eaf, lines, path.name)
    for clip, (first, last, number, _) in eaf.tiers[CLIP_TIER][0].items():
        number, words = number.strip(), answers.get(clip, {})
        where = f"{path.name} line {lines.get(clip, 1)}, clip {number}"
        _check_place(where, eaf.timeslots.get(first), eaf.timeslots.get(last), items.get(number))
        said = {name: word for name, (word, _) in words.items()}
        yield Answer(
            number, path.name, lines.get(clip, 1), eaf.tiers[CLIP_TIER][2].get("ANNOTATOR"), said,
            {name: line for name, (_, line) in words.items()}, FINISHED if said.get("confidence") else UNFINISHED,
        )  # fmt: skip


def _answers(eaf: Any, lines: Mapping[str, int], file: str) -> dict[str, dict[str, tuple[str, int]]]:
    """For each clip's annotation the words below it, each with its line."""
    answers: dict[str, dict[str, tuple[str, int]]] = {}
    for name in FIELDS:
        for annotation, (clip, word, _, _) in eaf.tiers[name][1].items() if name in eaf.tiers else ():
            line, below = lines.get(annotation, 1), answers.setdefault(clip, {})
            if name in below:
                raise ValueError(f"{file} line {line}: a clip has two annotations on the tier {name}; remove one")
            if word.strip():
                below[name] = (word.strip(), line)
    return answers


def _check_place(where: str, begin: int | None, end: int | None, item: Item | None) -> None:
    if item is None:
        return  # `collect` says that it is not of this export
    if begin is None or end is None or max(abs(begin - item.begin_ms), abs(end - item.end_ms)) > MOVED_MS:
        raise ValueError(
            f"{where}: it was exported as {item.begin_ms} to {item.end_ms} ms and now stands at {begin} to {end} ms, "
            "so the words may be about another movement; move it back in ELAN"
        )


def scan(data: bytes, name: str) -> dict[str, int]:
    """Reads XML without building anything of it.

    Args:
        data: The content of an `.eaf`.
        name: Of the file, for messages.

    Returns:
        The line on which each annotation begins, by its id.

    Raises:
        ValueError: It is not XML, or it declares a document type: with it come entities, which can read other files
            or grow beyond all memory. ELAN writes none.
    """
    lines: dict[str, int] = {}
    parser = expat.ParserCreate()

    def begin(tag: str, attributes: dict[str, str]) -> None:
        if "ANNOTATION_ID" in attributes:
            lines[attributes["ANNOTATION_ID"]] = parser.CurrentLineNumber

    def declared(*_: Any) -> None:
        raise ValueError(
            f"{name} line {parser.CurrentLineNumber} declares a document type, which ELAN never writes and which can "
            "make a reader open other files; remove it, or do not trust this file"
        )

    parser.StartElementHandler = begin
    parser.StartDoctypeDeclHandler = declared
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"{name} is not XML ({error}); open it in ELAN and save it again") from error
    return lines


def new_eaf(author: str) -> Any:
    """An ELAN document of pympi without tiers and types, whose words are English.

    Raises:
        ImportError: pympi-ling is not installed.
    """
    eaf = pympi_elan().Eaf(author=author)
    eaf.remove_tier("default")
    eaf.linguistic_types.clear()
    eaf.header = {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"}
    eaf.add_language(LANGUAGE, "http://cdb.iso.org/lg/CDB-00138502-001", "English (eng)")
    return eaf


def pympi_elan() -> Any:
    """The module of pympi-ling that reads and writes ELAN files.

    Raises:
        ImportError: It is not installed.
    """
    try:
        from pympi import Elan
    except ImportError as error:
        raise ImportError('ELAN files need pympi-ling; run: pip install -e ".[annotation]"') from error
    return Elan
