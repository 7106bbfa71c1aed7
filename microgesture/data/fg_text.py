"""FG-Text: what a coder writes about one clip, the controlled vocabulary, and the sentence made from it.

A micro-gesture is described by four attributes (FG-SGL, Sec. III-B): who moves (`initiator`), what is touched
(`receiver`), which way (`direction`), in what manner (`motion_type`). Left and right are always the **subject's**
anatomical left and right, never the picture's.

The paper names the four attributes and no words; the words and the sentence templates are this project's proposal
(docs/paper.md). They are data: vocabulary.json beside this file.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ATTRIBUTES = ("initiator", "receiver", "direction", "motion_type")
PROVENANCES = ("default", "model", "confirmed", "human")
"""Where a record comes from, in rising order: none is overwritten by one that stands before it."""
MIRRORED = (True, False, "unknown")

_WORDS: dict[str, Any] = json.loads(Path(__file__).with_name("vocabulary.json").read_text(encoding="utf-8"))
VOCABULARY_VERSION: str = _WORDS["version"]
VOCABULARY: dict[str, tuple[str, ...]] = {attribute: tuple(_WORDS[attribute]) for attribute in ATTRIBUTES}
"""The ordinary words of each attribute, from vocabulary.json; only these have a prototype."""
SPECIAL: dict[str, str] = _WORDS["special"]
"""`not_visible` and `unclear`, with what they mean: values of every attribute and of the side, but no words: they
enter neither the sentence nor a prototype, and they are neither `none` (nothing is touched) nor missing (`None`)."""
SIDES: tuple[str, ...] = tuple(_WORDS["side"])
SIDED: tuple[str, ...] = tuple(word for word, about in _WORDS["initiator"].items() if about.get("sided"))
"""The initiators that a person has two of and moves one of."""
REPETITIONS: dict[str, str] = _WORDS["repetition"]
CONFIDENCES: dict[str, float] = _WORDS["confidence"]
"""How sure a coder is, in words, with the places of these words on a scale from 0 to 1; they are no probabilities."""
QUESTIONS: dict[str, str] = _WORDS["questions"]
"""What a coder is asked for each field."""
SENTENCES: tuple[str, ...] = tuple(_WORDS["sentences"])
"""Sentence templates: the plain default first, then paraphrases. What stands in brackets is left out when it has no
word to hold."""

_MOVES = ("moves", "move", "toward")  # a motion of an unknown kind
_SWAP: dict[str, str] = _WORDS["mirror"]
SIDE_DIRECTIONS = frozenset(_SWAP)
"""The directions that are wrong in a mirrored picture."""


@dataclass(frozen=True)
class FGText:
    """One FG-Text record: the four attributes of one clip, `None` where the coder left one out.

    An attribute is a word of `VOCABULARY`, or `not_visible` or `unclear`.

    Args:
        initiator: The body part that moves.
        receiver: What is touched; `"none"` says that nothing is, `None` that nobody wrote it down.
        direction: The main direction, as the subject sees it.
        motion_type: The manner of the movement.
        side: The subject's own `left` or `right` where one hand, arm or leg moves (or a special value), else `None`.
        provenance: `default` (taken from the class), `model` (proposed), `confirmed` (proposed, and accepted unchanged
            by a coder) or `human`.
        repetition: `single`, `repeated` or `continuous`, `None` where nobody wrote it down.
        coder: Who wrote it.
        confidence: How sure they are, 0 to 1.

    Raises:
        ValueError: A word is not in the vocabulary of its attribute, a field has no such value, or all four attributes
            are missing.
    """

    initiator: str | None = None
    receiver: str | None = None
    direction: str | None = None
    motion_type: str | None = None
    side: str | None = None
    provenance: str = "human"
    repetition: str | None = None
    coder: str | None = None
    confidence: float | None = None

    def __post_init__(self) -> None:
        for attribute in ATTRIBUTES:
            word = getattr(self, attribute)
            words = (*VOCABULARY[attribute], *SPECIAL)
            if word is not None and word not in words:
                raise ValueError(f"FG-Text {attribute} {word!r} is not in the vocabulary{hint(word, words)}")
        if self.side not in (None, *SIDES, *SPECIAL):
            raise ValueError(
                f"FG-Text side {self.side!r} must be 'left', 'right' or empty (the subject's own side), or one of: "
                f"{', '.join(SPECIAL)}"
            )
        if self.repetition not in (None, *REPETITIONS):
            raise ValueError(
                f"FG-Text repetition {self.repetition!r} must be empty or one of: {', '.join(REPETITIONS)}"
            )
        if self.provenance not in PROVENANCES:
            raise ValueError(f"FG-Text provenance {self.provenance!r} must be one of: {', '.join(PROVENANCES)}")
        if self.confidence is not None and not (_is_number(self.confidence) and 0 <= self.confidence <= 1):
            raise ValueError(f"FG-Text confidence {self.confidence!r} must be a number from 0 to 1, or empty")
        if all(getattr(self, attribute) is None for attribute in ATTRIBUTES):
            raise ValueError(
                "an FG-Text record needs at least one of its four attributes; leave the record out instead"
            )

    @classmethod
    def from_mapping(cls, row: Mapping[str, Any]) -> FGText | None:
        """Reads the FG-Text columns of a table row; `None` when the row describes nothing.

        Raises:
            ValueError: As for the class.
        """
        words = {name: row.get(name) or None for name in (*ATTRIBUTES, "side", "repetition", "coder")}
        if all(words[attribute] is None for attribute in ATTRIBUTES):
            return None
        confidence = None if row.get("confidence") == "" else row.get("confidence")
        return cls(**words, provenance=row.get("provenance") or "human", confidence=confidence)

    @property
    def names_a_side(self) -> bool:
        """Whether the record holds a word that is wrong in a mirrored picture."""
        return self.side in SIDES or self.direction in SIDE_DIRECTIONS

    def flipped(self) -> FGText:
        """The record of the same clip after a horizontal flip of the picture."""
        return replace(
            self,
            side=_SWAP.get(self.side, self.side) if self.side else None,
            direction=_SWAP.get(self.direction, self.direction) if self.direction else None,
        )

    def sentence(self, template: str = SENTENCES[0]) -> str:
        """The natural-language description T_fg of Sec. III-B, e.g. `The left hand touches the neck, moving up.`

        Args:
            template: One of `SENTENCES`.

        Returns:
            One sentence; empty where the record holds special values only, because then there is nothing to say.
        """
        seen = {name: word for name in ATTRIBUTES if (word := getattr(self, name)) is not None and word not in SPECIAL}
        if not seen:
            return ""
        words = _phrases(seen, self.side if self.side in SIDES else None)
        text = re.sub(r"\[([^]]*)]", lambda part: part[1] if _filled(part[1], words) else "", template).format(**words)
        return text[0].upper() + text[1:]


def sentence_parts() -> dict[str, Any]:
    """What a checkpoint needs to make sentences of words without this package.

    Returns:
        `template`; for each initiator its noun phrase and whether it is plural; for each motion type singular, plural
        and preposition; for each direction its phrase. Under `""` stands what an unknown word becomes.
    """
    initiators = ["", *VOCABULARY["initiator"]]
    motions = ["", *VOCABULARY["motion_type"]]
    nouns = {word: _WORDS["initiator"].get(word, {}) for word in initiators}
    seen = {word: {"initiator": word} if word else {} for word in initiators}
    return {
        "template": SENTENCES[0],
        "initiator": {w: [_phrases(seen[w], None)["subject"], nouns[w].get("plural", False)] for w in initiators},
        "motion_type": {word: list(_WORDS["motion_type"].get(word, _MOVES)) for word in motions},
        "direction": dict(_WORDS["direction"]),
    }


def _phrases(seen: Mapping[str, str], side: str | None) -> dict[str, str]:
    """The parts of a sentence; an empty one where no word is known."""
    about = _WORDS["initiator"].get(seen.get("initiator"), {"noun": "body part"})
    noun, plural = about["noun"], about.get("plural", False)
    article = "" if noun.startswith("both") else "the " if "initiator" in seen or side else "a "
    singular, plural_verb, preposition = _WORDS["motion_type"].get(seen.get("motion_type"), _MOVES)
    receiver = seen.get("receiver", "none")
    return {
        "subject": f"{article}{side} {noun}" if side and article else f"{article}{noun}",
        "verb": plural_verb if plural else singular,
        "object": "" if receiver == "none" else f"{preposition} the {receiver.replace('_', ' ')}".strip(),
        "direction": _WORDS["direction"].get(seen.get("direction"), ""),
    }


def _filled(part: str, words: Mapping[str, str]) -> bool:
    return all(words[name] for name in re.findall(r"{(\w+)}", part))


def hint(word: Any, words: Sequence[str]) -> str:
    """What to write instead of a word that is not among `words`: the one spelled most like it, and all of them."""
    spelled = re.sub(r"[\s-]+", "_", str(word).strip().lower())
    near = difflib.get_close_matches(spelled, words, n=1)
    meant = f"; did you mean {near[0]!r}? Else" if near else ";"
    return f"{meant} choose one of: {', '.join(words)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_sides(records: Iterable[FGText | None], mirrored: bool | str) -> None:
    """Refuses side words where nobody knows whether the recordings are mirrored.

    Args:
        records: FG-Text records, `None` for clips without one.
        mirrored: What the data set states of its recordings: `True`, `False` or `"unknown"`.

    Raises:
        ValueError: `mirrored` is none of the three, or it is `"unknown"` and a record names a side.
    """
    if mirrored not in MIRRORED:
        raise ValueError(f'mirrored is {mirrored!r}; a data set states true, false or "unknown"')
    if mirrored == "unknown":
        for number, record in enumerate(records):
            if record is not None and record.names_a_side:
                raise ValueError(
                    f"FG-Text record {number} names a side ({record.sentence()!r}) but this data set does not say "
                    'whether its recordings are mirrored; find out, and set "mirrored" in labels.json to true or false'
                )
