"""From what the readers of the annotation tools find to checked records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from microgesture.annotation.key import PREFILLED, Item, Key
from microgesture.annotation.records import CodedClip, refuse
from microgesture.data.fg_text import (
    ATTRIBUTES,
    CONFIDENCES,
    REPETITIONS,
    SIDE_DIRECTIONS,
    SIDED,
    SIDES,
    SPECIAL,
    VOCABULARY,
    FGText,
    check_sides,
    hint,
)

FIELDS = ("initiator", "side", "receiver", "direction", "motion_type", "repetition", "confidence")
"""What coders answer, in the order in which they are asked."""
FINISHED, CANCELLED, UNFINISHED = "finished", "cancelled", "unfinished"


@dataclass(frozen=True)
class Answer:
    """What one file says about one item, not checked yet.

    Args:
        number: Of the item.
        file: Name of the file, for messages.
        line: Where in the file.
        coder: Who wrote it, as far as the file says.
        words: The answers by field.
        lines: Where each answer stands, if not at `line`.
        state: Whether the coder finished, cancelled or did not finish.
    """

    number: str
    file: str
    line: int
    coder: str | None
    words: Mapping[str, str]
    lines: Mapping[str, int] = field(default_factory=dict)
    state: str = FINISHED

    def where(self, name: str = "") -> str:
        """Where a field of it stands."""
        return f"{self.file} line {self.lines.get(name, self.line)}, clip {self.number}"


def choices(mirrored: bool | str) -> dict[str, dict[str, str]]:
    """What coders choose from: for each field its words, and what they mean where that needs saying.

    Args:
        mirrored: As in labels.json; with `"unknown"` there are no words for left and right.
    """
    sides = mirrored != "unknown"
    offered: dict[str, dict[str, str]] = {
        name: {word: "" for word in VOCABULARY[name] if sides or word not in SIDE_DIRECTIONS} | SPECIAL
        for name in ATTRIBUTES
    }
    if sides:
        offered["side"] = dict.fromkeys(SIDES, "") | SPECIAL
    offered["repetition"] = dict(REPETITIONS)
    offered["confidence"] = dict.fromkeys(CONFIDENCES, "")
    return {name: offered[name] for name in FIELDS if name in offered}


def collect(key: Key, answers: Iterable[Answer]) -> tuple[list[CodedClip], Counter[str]]:
    """Checks answers and makes records of the finished ones.

    Args:
        key: The key of the export.
        answers: What the readers found.

    Returns:
        The records, in the order of coder, look and clip, and how many answers were `finished`, `cancelled` or
        `unfinished`.

    Raises:
        ValueError: A word is not in the vocabulary, an item is not of this export or was answered twice by one coder,
            or nobody knows who the coder is; the first ones are named with their lines.
    """
    items = {item.number: item for item in key.items}
    states: Counter[str] = Counter()
    found: dict[tuple[str, str], tuple[Answer, CodedClip]] = {}
    problems: list[str] = []
    unseen = set(items)
    for answer in answers:
        unseen.discard(answer.number)
        finished = answer.state == FINISHED and any(answer.words.get(name) for name in ATTRIBUTES)
        try:
            item = _item_of(answer, items)
            if finished:
                record = _record(key, item, answer)
                _once(found, record.text.coder or "", answer, record)
        except ValueError as error:
            problems.append(str(error))
            continue
        states[UNFINISHED if answer.state == FINISHED and not finished else answer.state] += 1
    refuse(problems)
    states[UNFINISHED] += len(unseen)
    records = [record for _, record in found.values()]
    return sorted(records, key=lambda r: (r.text.coder or "", r.look, _place(r))), states


def _place(record: CodedClip) -> tuple[str, str, float]:
    return record.clip.split, record.clip.file_name, record.clip.start or 0.0


def _once(
    found: dict[tuple[str, str], tuple[Answer, CodedClip]], coder: str, answer: Answer, record: CodedClip
) -> None:
    before, _ = found.setdefault((coder, answer.number), (answer, record))
    if before is not answer:
        raise ValueError(
            f"{answer.where()}: coder {coder!r} has answered this clip already ({before.where()}); keep one of the "
            "two. If two people worked on it, export with --coders and their names, so that each has their own"
        )


def _item_of(answer: Answer, items: Mapping[str, Item]) -> Item:
    if answer.number not in items:
        raise ValueError(
            f"{answer.where()}: this export has no clip of that number; name the folder that these files were "
            "exported from"
        )
    return items[answer.number]


def _record(key: Key, item: Item, answer: Answer) -> CodedClip:
    words: dict[str, Any] = {name: word for name in FIELDS if (word := answer.words.get(name))}
    problems = []
    for name, word in words.items():
        try:
            check_word(name, word)
        except ValueError as error:
            problems.append(f"{answer.where(name)}: {error}")
    refuse(problems)
    coder = item.coder or answer.coder
    if not coder:
        raise ValueError(f"{answer.where()}: the file does not say who the coder is; export with --coders and a name")
    confidence = CONFIDENCES.get(words.pop("confidence", ""))
    provenance = "confirmed" if accepted(item.prefill, words) else "human"
    text = FGText(**words, coder=coder, confidence=confidence, provenance=provenance)
    try:
        check_sides([text], key.mirrored)
    except ValueError as error:
        raise ValueError(f"{answer.where()}: {error}") from error
    return CodedClip(item.clip, text, item.look, item.shown_label is not None)


def check_word(name: str, word: str) -> None:
    """Refuses a word that is not among those of its field.

    Raises:
        ValueError: Names the word and the nearest that is.
    """
    alone: dict[str, Any] = {name: word}
    if name in ATTRIBUTES:
        FGText(**alone)
        return
    allowed = {"side": (*SIDES, *SPECIAL), "repetition": tuple(REPETITIONS), "confidence": tuple(CONFIDENCES)}[name]
    if word not in allowed:
        raise ValueError(f"FG-Text {name} {word!r} is not one of its words{hint(word, allowed)}")


def accepted(prefill: Mapping[str, str] | None, words: Mapping[str, str]) -> bool:
    """Whether a coder left unchanged what was filled in; what they added beside it (how often, say) is no change."""
    if not prefill:
        return False
    if any(words.get(name) != prefill.get(name) for name in ATTRIBUTES):
        return False
    unasked = () if prefill.get("initiator") in SIDED else ("side",)
    return all(words.get(name) == prefill.get(name) for name in PREFILLED if name in prefill and name not in unasked)
