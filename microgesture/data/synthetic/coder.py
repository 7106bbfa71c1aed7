"""The simulated coder: who watches a clip, mistakes one word for a near one, and leaves some out.

The rates are stated, not fitted to people: they make the training text imperfect in a known way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from microgesture.data.fg_text import ATTRIBUTES, FGText
from microgesture.data.synthetic.gestures import SCENES

NEIGHBOURS: dict[str, dict[str, str]] = {
    "initiator": {
        "hand": "fingers", "fingers": "hand", "both_hands": "both_arms hand fingers", "arm": "hand both_arms",
        "both_arms": "both_hands arm", "leg": "both_legs", "both_legs": "leg", "shoulders": "neck",
        "neck": "head shoulders", "head": "neck",
    },
    "receiver": {
        "none": "air body", "air": "none", "head": "hair forehead", "hair": "head ear", "forehead": "eyes hair",
        "eyes": "forehead face", "face": "jaw eyes mouth", "ear": "hair face", "mouth": "lips jaw", "lips": "mouth",
        "jaw": "face neck", "neck": "jaw suprasternal_notch", "suprasternal_notch": "neck collar",
        "collar": "clothes suprasternal_notch", "chest": "clothes body", "back": "body waist", "body": "chest waist",
        "arm": "shoulders body", "hands": "fingers object", "fingers": "hands", "waist": "body clothes",
        "clothes": "collar body", "shoulders": "neck arm", "leg": "body none", "object": "hands clothes",
    },
    "direction": {
        "up": "back_and_forth inward", "down": "back_and_forth outward", "sideways": "back_and_forth inward",
        "left": "sideways", "right": "sideways", "forward": "outward", "backward": "inward", "inward": "sideways up",
        "outward": "sideways down", "back_and_forth": "sideways circular", "circular": "back_and_forth",
        "static": "inward",
    },
    "motion_type": {
        "touch": "scratch rub hold", "scratch": "touch rub", "rub": "scratch touch", "cover": "touch hold",
        "pull": "adjust", "adjust": "pull touch", "brush": "adjust scratch", "fold": "cross place",
        "interlace": "hold cross", "steeple": "press interlace", "hold": "place touch", "place": "hold touch",
        "raise": "retract shift", "retract": "raise", "sway": "shift", "shake": "sway shift", "shift": "sway step",
        "cross": "fold shift", "press": "touch hold", "manipulate": "adjust touch", "gesticulate": "wave raise",
        "wave": "gesticulate", "step": "shift raise",
    },
}  # fmt: skip
"""The words that a coder takes for each word, per attribute."""


@dataclass(frozen=True)
class Coder:
    """Rates of a simulated coder, per attribute.

    Args:
        confusion: Probability that a word is replaced by another.
        near: Share of the replacements that are a neighbour; the others are any word that occurs in the data set.
        missing: Probability that an attribute is left out.
        wrong_side: Probability that left and right are exchanged.
    """

    confusion: float = 0.15
    near: float = 0.8
    missing: float = 0.05
    wrong_side: float = 0.03

    def write(self, truth: FGText, rng: np.random.Generator) -> FGText:
        """What this coder writes about a clip that shows `truth`."""
        words: dict[str, Any] = {}
        for attribute in ATTRIBUTES:
            word = getattr(truth, attribute)
            kept, confused, near = rng.uniform(size=3)
            if confused < self.confusion:
                choice = NEIGHBOURS[attribute][word].split() if near < self.near else _others(attribute, word)
                word = str(rng.choice(choice))
            words[attribute] = None if kept < self.missing else word
        if not any(words.values()):
            words["motion_type"] = truth.motion_type  # there is no record without a word
        side = truth.side
        missing, wrong = rng.uniform(size=2)
        if side is not None and wrong < self.wrong_side:
            side = "right" if side == "left" else "left"
        return FGText(**words, side=None if missing < self.missing else side)


def _others(attribute: str, word: str) -> list[str]:
    return [other for other in WORDS[attribute] if other != word]


def _words() -> dict[str, tuple[str, ...]]:
    field = {"initiator": "initiators", "receiver": "receivers", "direction": "directions", "motion_type": "motions"}
    scenes = [scene for scenes in SCENES.values() for scene in scenes]
    return {a: tuple(sorted({w for s in scenes for w in getattr(s, field[a]).split()})) for a in ATTRIBUTES}


WORDS = _words()
"""The words that occur in the data set, per attribute."""
