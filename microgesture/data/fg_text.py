"""FG-Text: what a coder writes about one clip, the controlled vocabulary, and the sentence made from it.

A micro-gesture is described by four attributes (FG-SGL, Sec. III-B): who moves (`initiator`), what is touched
(`receiver`), which way (`direction`), in what manner (`motion_type`). Left and right are always the **subject's**
anatomical left and right, never the picture's.

The paper names the four attributes and no words; the words below are this project's proposal (docs/paper.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

ATTRIBUTES = ("initiator", "receiver", "direction", "motion_type")
PROVENANCES = ("default", "human", "confirmed", "model")
SIDES = ("left", "right")
MIRRORED = (True, False, "unknown")

# initiator -> (how it is written, whether it takes a plural verb)
_INITIATORS = {
    "hand": ("hand", False),
    "both_hands": ("both hands", True),
    "fingers": ("fingers", True),
    "arm": ("arm", False),
    "both_arms": ("both arms", True),
    "leg": ("leg", False),
    "both_legs": ("both legs", True),
    "foot": ("foot", False),
    "both_feet": ("both feet", True),
    "shoulders": ("shoulders", True),
    "neck": ("neck", False),
    "head": ("head", False),
    "torso": ("torso", False),
    "mouth": ("mouth", False),
    "cheeks": ("cheeks", True),
}

_RECEIVERS = (
    "none", "air", "head", "hat", "hair", "forehead", "eyes", "nose", "face", "ear", "mouth", "lips", "jaw", "neck",
    "suprasternal_notch", "collar", "chest", "back", "body", "arm", "hands", "fingers", "waist", "clothes",
    "shoulders", "leg", "foot", "object",
)  # fmt: skip

_DIRECTIONS = {
    "up": "moving up",
    "down": "moving down",
    "sideways": "moving sideways",
    "left": "moving to the person's left",
    "right": "moving to the person's right",
    "forward": "moving forward",
    "backward": "moving backward",
    "inward": "moving inward",
    "outward": "moving outward",
    "back_and_forth": "moving back and forth",
    "circular": "moving in circles",
    "clockwise": "circling clockwise",
    "counter_clockwise": "circling counter-clockwise",
    "static": "without moving on",
}

# motion type -> (third person singular, plural, preposition before the receiver)
_MOTION_TYPES = {
    "touch": ("touches", "touch", ""),
    "scratch": ("scratches", "scratch", ""),
    "rub": ("rubs", "rub", ""),
    "cover": ("covers", "cover", ""),
    "pull": ("pulls", "pull", ""),
    "adjust": ("adjusts", "adjust", ""),
    "brush": ("brushes", "brush", ""),
    "fold": ("folds", "fold", "over"),
    "interlace": ("interlaces", "interlace", "with"),
    "steeple": ("steeples", "steeple", "against"),
    "hold": ("holds", "hold", ""),
    "place": ("rests", "rest", "on"),
    "withdraw": ("withdraws", "withdraw", "from"),
    "raise": ("raises", "raise", "toward"),
    "retract": ("retracts", "retract", "into"),
    "straighten": ("straightens", "straighten", "against"),
    "sway": ("sways", "sway", "against"),
    "shake": ("shakes", "shake", "against"),
    "shift": ("shifts", "shift", "against"),
    "cross": ("crosses", "cross", "over"),
    "press": ("presses", "press", ""),
    "inflate": ("inflates", "inflate", "against"),
    "bite": ("bites", "bite", ""),
    "manipulate": ("manipulates", "manipulate", ""),
    "gesticulate": ("gesticulates", "gesticulate", "in"),
    # Needed by MA-52.
    "turn": ("turns", "turn", "toward"),
    "tilt": ("tilts", "tilt", "toward"),
    "nod": ("nods", "nod", "toward"),
    "point": ("points", "point", "at"),
    "spread": ("spreads", "spread", "over"),
    "pat": ("pats", "pat", ""),
    # Larger actions, needed by UTD-MHAD only.
    "swipe": ("swipes", "swipe", "through"),
    "wave": ("waves", "wave", "in"),
    "clap": ("claps", "clap", "against"),
    "throw": ("throws", "throw", ""),
    "draw": ("draws", "draw", "in"),
    "swing": ("swings", "swing", ""),
    "punch": ("punches", "punch", ""),
    "push": ("pushes", "push", ""),
    "knock": ("knocks", "knock", "on"),
    "catch": ("catches", "catch", ""),
    "lift": ("lifts", "lift", ""),
    "curl": ("curls", "curl", "toward"),
    "step": ("steps", "step", "over"),
    "lower": ("lowers", "lower", "toward"),
    "bend": ("bends", "bend", "toward"),
}

VOCABULARY: dict[str, tuple[str, ...]] = {
    "initiator": tuple(_INITIATORS),
    "receiver": _RECEIVERS,
    "direction": tuple(_DIRECTIONS),
    "motion_type": tuple(_MOTION_TYPES),
}
"""The words a coder may choose from, per attribute."""

_SWAP = {"left": "right", "right": "left", "clockwise": "counter_clockwise", "counter_clockwise": "clockwise"}
_SIDE_DIRECTIONS = frozenset(_SWAP)


@dataclass(frozen=True)
class FGText:
    """One FG-Text record: the four attributes of one clip, `None` where the coder left one out.

    Args:
        initiator: The body part that moves.
        receiver: What is touched; `"none"` says that nothing is, `None` that nobody wrote it down.
        direction: The main direction, as the subject sees it.
        motion_type: The manner of the movement.
        side: The subject's own `left` or `right` where one hand, arm or leg moves, else `None`.
        provenance: `default` (taken from the class), `human`, `confirmed` (a second coder agreed) or `model`.

    Raises:
        ValueError: A word is not in the vocabulary of its attribute, or all four attributes are missing.
    """

    initiator: str | None = None
    receiver: str | None = None
    direction: str | None = None
    motion_type: str | None = None
    side: str | None = None
    provenance: str = "human"

    def __post_init__(self) -> None:
        for attribute in ATTRIBUTES:
            word = getattr(self, attribute)
            if word is not None and word not in VOCABULARY[attribute]:
                raise ValueError(
                    f"FG-Text {attribute} {word!r} is not in the vocabulary; choose one of: "
                    f"{', '.join(VOCABULARY[attribute])}"
                )
        if self.side not in (None, *SIDES):
            raise ValueError(f"FG-Text side {self.side!r} must be 'left', 'right' or empty (the subject's own side)")
        if self.provenance not in PROVENANCES:
            raise ValueError(f"FG-Text provenance {self.provenance!r} must be one of: {', '.join(PROVENANCES)}")
        if all(getattr(self, attribute) is None for attribute in ATTRIBUTES):
            raise ValueError("an FG-Text record needs at least one of its four attributes; leave the record out instead")

    @classmethod
    def from_mapping(cls, row: Mapping[str, Any]) -> FGText | None:
        """Reads the FG-Text columns of a table row; `None` when the row describes nothing.

        Raises:
            ValueError: As for the class.
        """
        words = {name: row.get(name) or None for name in (*ATTRIBUTES, "side")}
        if all(words[attribute] is None for attribute in ATTRIBUTES):
            return None
        return cls(**words, provenance=row.get("provenance") or "human")

    @property
    def names_a_side(self) -> bool:
        """Whether the record holds a word that is wrong in a mirrored picture."""
        return self.side is not None or self.direction in _SIDE_DIRECTIONS

    def flipped(self) -> FGText:
        """The record of the same clip after a horizontal flip of the picture."""
        return replace(
            self,
            side=_SWAP.get(self.side, self.side) if self.side else None,
            direction=_SWAP.get(self.direction, self.direction) if self.direction else None,
        )

    def sentence(self) -> str:
        """The natural-language description T_fg of Sec. III-B, e.g. `The left hand touches the neck, moving up.`"""
        noun, plural = _INITIATORS[self.initiator] if self.initiator else ("body part", False)
        article = "" if noun.startswith("both") else "the " if self.initiator or self.side else "a "
        subject = f"{article}{self.side} {noun}" if self.side and article else f"{article}{noun}"
        if self.motion_type is None:
            verb, preposition = ("move", "toward") if plural else ("moves", "toward")
        else:
            singular, plural_verb, preposition = _MOTION_TYPES[self.motion_type]
            verb = plural_verb if plural else singular
        parts = [subject, verb]
        if self.receiver not in (None, "none"):
            parts += [preposition] if preposition else []
            parts.append(f"the {str(self.receiver).replace('_', ' ')}")
        direction = _DIRECTIONS.get(self.direction or "")
        text = " ".join(parts) + (f", {direction}." if direction else ".")
        return text[0].upper() + text[1:]


def check_sides(records: Iterable[FGText | None], mirrored: bool | str) -> None:
    """Refuses side words where nobody knows whether the recordings are mirrored.

    Args:
        records: FG-Text records, `None` for clips without one.
        mirrored: What the data set states of its recordings: `True`, `False` or `"unknown"`.

    Raises:
        ValueError: `mirrored` is none of the three, or it is `"unknown"` and a record names a side.
    """
    if mirrored not in MIRRORED:
        raise ValueError(f"mirrored is {mirrored!r}; a data set states true, false or \"unknown\"")
    if mirrored == "unknown":
        for number, record in enumerate(records):
            if record is not None and record.names_a_side:
                raise ValueError(
                    f"FG-Text record {number} names a side ({record.sentence()!r}) but this data set does not say "
                    "whether its recordings are mirrored; find out, and set \"mirrored\" in labels.json to true or false"
                )
