"""SMG's 17 classes as motion programmes: which scenes a class has, and what is drawn for one clip.

A class is what the body does (its scenes); receiver, direction, motion type, initiator and side vary inside a class, and
most of their words are shared between classes, so that a record alone does not name the class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from microgesture.data.fg_text import FGText

AMPLITUDES: dict[str, tuple[float, float]] = {"small": (22.0, 26.0), "medium": (29.0, 34.0), "large": (38.0, 45.0)}
"""Extent of the class-defining motion (peak to peak) in pixels of the 448 px picture; at 96 pixels 22 are 4.7."""

BOTH = ("both_hands", "both_arms", "shoulders", "neck", "head")
"""Initiators that have no side."""


@dataclass(frozen=True)
class Scene:
    """One way to perform a class.

    Args:
        weight: How often, relative to the class's other scenes.
        site: Where it happens, a key of `motion.py`.
        initiators: Words with their weight given by repetition, separated by spaces.
        receiver: What a coder would call the site.
        directions: As `initiators`.
        motions: As `initiators`.
    """

    weight: float
    site: str
    initiators: str
    receiver: str
    directions: str
    motions: str


_FREE = "up down sideways back_and_forth back_and_forth circular"
_RUBS = "scratch scratch touch touch rub"

SCENES: dict[str, tuple[Scene, ...]] = {
    "Turtling neck and shoulder": (
        Scene(4, "shoulders", "shoulders", "neck", "up up up back_and_forth", "retract retract raise"),
        Scene(3, "sink", "head neck neck", "shoulders", "down down down back_and_forth", "retract retract shift"),
        Scene(1, "sink", "neck shoulders", "none", "down back_and_forth", "retract"),
        Scene(2, "shoulders", "shoulders neck", "none", "back_and_forth up", "shake raise retract"),
    ),
    "Rubbing eyes and forehead": (
        Scene(5, "eyes", "hand hand fingers", "eyes", _FREE + " inward", "rub rub rub touch scratch cover"),
        Scene(4, "forehead", "hand hand fingers", "forehead", _FREE + " inward", "rub rub rub touch scratch cover"),
        Scene(1, "eyes_both", "both_hands", "eyes", "inward up down sideways circular", "rub rub cover"),
    ),
    "Folding arms": (
        Scene(5, "fold", "both_arms both_arms both_hands", "chest", "inward inward up static", "fold fold cross place"),
        Scene(3, "fold", "both_arms", "arm", "inward inward up static", "fold cross hold"),
        Scene(1, "fold", "both_arms", "body", "inward up static", "fold place"),
    ),
    "Touching or covering suprasternal notch": (
        Scene(7, "notch", "hand hand fingers", "suprasternal_notch", "inward static " + _FREE, "cover cover touch press rub"),
        Scene(2, "notch", "hand fingers", "neck", "inward static up down sideways", "cover touch"),
        Scene(1, "notch", "hand fingers", "collar", "inward static sideways", "touch cover"),
    ),
    "Moving legs": (
        Scene(5, "leg_shift", "leg leg leg both_legs", "none", "sideways back_and_forth outward up", "shift shift sway shake"),
        Scene(3, "leg_raise", "leg", "none", "up up back_and_forth", "raise shift shake step"),
        Scene(2, "leg_shift", "leg", "leg", "inward outward sideways", "shift step"),
    ),
    "Touching or scratching neck": (
        Scene(5, "neck_side", "hand hand fingers", "neck", _FREE + " static", _RUBS + " cover"),
        Scene(3, "neck_front", "hand fingers", "neck", _FREE, _RUBS + " hold"),
        Scene(2, "neck_base", "hand fingers", "shoulders", _FREE, _RUBS),
    ),
    "Folding arms behind body": (
        Scene(5, "behind", "both_arms both_arms both_hands", "back", "backward backward inward static", "fold fold place hold"),
        Scene(3, "behind", "both_arms both_hands", "body", "backward inward static", "fold place"),
        Scene(1, "behind", "both_hands", "waist", "backward inward", "place hold"),
    ),
    "Rubbing hands and crossing finger(s)": (
        Scene(5, "hands", "both_hands both_hands fingers", "hands", "back_and_forth back_and_forth up circular sideways", "rub rub hold"),
        Scene(4, "fingers", "fingers fingers both_hands", "fingers", "inward inward up back_and_forth", "interlace cross rub"),
        Scene(2, "steeple", "fingers both_hands", "fingers", "up inward back_and_forth", "steeple press"),
        Scene(1, "hands", "hand", "hands", "back_and_forth circular", "rub touch manipulate"),
    ),
    "Arms akimbo": (
        Scene(5, "akimbo", "both_hands both_hands both_arms", "waist", "outward outward inward static up", "place place hold"),
        Scene(2, "akimbo_one", "hand arm", "waist", "outward inward static up", "place hold"),
        Scene(2, "akimbo", "both_hands both_arms", "body", "outward inward backward", "place press"),
    ),
    "Crossing legs": (
        Scene(6, "cross", "leg", "leg", "inward inward inward sideways", "cross cross cross place"),
        Scene(2, "cross", "leg both_legs", "none", "inward sideways", "cross shift"),
    ),
    "Scratching some part of body": (
        Scene(3, "body_arm", "hand fingers", "arm", _FREE, "scratch scratch rub brush"),
        Scene(3, "body_chest", "hand fingers", "chest", _FREE, "scratch scratch rub brush"),
        Scene(2, "body_back", "hand", "back", "up down back_and_forth sideways", "scratch scratch rub"),
        Scene(2, "body_belly", "hand fingers", "body", _FREE, "scratch scratch rub"),
        Scene(2, "body_leg", "hand", "leg", "up down back_and_forth", "scratch scratch rub brush"),
        Scene(2, "body_shoulder", "hand fingers", "shoulders", _FREE, "scratch scratch rub"),
    ),
    "Scratching or touching facial parts other than eyes": (
        Scene(3, "cheek", "hand hand fingers", "face", _FREE, _RUBS + " cover"),
        Scene(3, "mouth", "hand fingers fingers", "mouth", _FREE + " inward", _RUBS + " cover"),
        Scene(1, "mouth", "fingers", "lips", "sideways back_and_forth static inward", "touch rub press"),
        Scene(3, "jaw", "hand fingers", "jaw", _FREE, _RUBS + " hold"),
        Scene(2, "ear", "hand fingers", "ear", "up down back_and_forth circular", "touch scratch rub pull"),
    ),
    "Playing or adjusting hair": (
        Scene(4, "hair_top", "hand hand fingers", "hair", "backward sideways up back_and_forth circular", "adjust adjust brush touch scratch"),
        Scene(4, "hair_side", "hand fingers fingers", "hair", "up down backward outward back_and_forth", "adjust adjust pull brush touch"),
        Scene(1, "hair_top", "hand", "head", "sideways up back_and_forth", "scratch brush touch"),
        Scene(1, "hair_both", "both_hands", "hair", "backward up outward down", "adjust brush"),
    ),
    "Holding arms": (
        Scene(5, "hold_upper", "hand hand arm", "arm", "inward inward static up down", "hold hold place rub"),
        Scene(4, "hold_fore", "hand", "arm", "inward static back_and_forth up", "hold hold touch press"),
        Scene(1, "hold_fore", "hand", "hands", "inward static", "hold"),
    ),
    "Pulling shirt collar": (
        Scene(6, "collar", "hand hand fingers", "collar", "outward outward down sideways up back_and_forth", "pull pull pull adjust"),
        Scene(2, "collar_both", "both_hands", "collar", "outward down up", "pull adjust"),
        Scene(2, "collar", "hand fingers", "clothes", "outward down", "pull adjust"),
    ),
    "Playing with jewelry, and manipulating other objects": (
        Scene(4, "pendant", "fingers fingers hand", "object", "back_and_forth sideways up down circular", "manipulate manipulate touch pull"),
        Scene(3, "watch", "hand fingers", "object", "back_and_forth circular sideways", "manipulate manipulate adjust rub"),
        Scene(4, "pen", "hand fingers both_hands", "object", "back_and_forth circular up down", "manipulate manipulate hold"),
        Scene(2, "hem", "fingers both_hands hand", "clothes", "down sideways back_and_forth", "manipulate adjust pull"),
    ),
    "Illustrative hand gestures": (
        Scene(5, "air_both", "both_hands both_hands both_arms", "air", "outward outward up down back_and_forth inward circular", "gesticulate gesticulate gesticulate raise"),
        Scene(4, "air_one", "hand hand arm", "air", "outward up down back_and_forth sideways circular", "gesticulate gesticulate gesticulate raise wave"),
        Scene(1, "air_one", "hand", "none", "outward up back_and_forth", "gesticulate shake"),
    ),
}  # fmt: skip
"""Class name (SMG's, in the order of its ids) to its scenes."""

CLASSES: tuple[str, ...] = tuple(SCENES)


@dataclass(frozen=True)
class Programme:
    """What one clip shows, before anything is drawn.

    Args:
        label: Class name.
        site: Where it happens.
        truth: What is drawn, as a record without error.
        side: The subject's side that was drawn, also where both sides move.
        amplitude: `small`, `medium` or `large`.
        amplitude_px: Peak to peak in picture pixels.
        heading: Which of the two ways an undirected line is first followed, -1 or 1.
    """

    label: str
    site: str
    truth: FGText
    side: str
    amplitude: str
    amplitude_px: float
    heading: int


def draw_programme(label: str, rng: np.random.Generator) -> Programme:
    """Draws the programme of one clip of a class; side and amplitude do not look at the class."""
    side = ("left", "right")[rng.integers(2)]
    amplitude = tuple(AMPLITUDES)[rng.integers(3)]
    amplitude_px = float(rng.uniform(*AMPLITUDES[amplitude]))
    heading = int(rng.integers(2)) * 2 - 1
    scenes = SCENES[label]
    weights = np.array([scene.weight for scene in scenes])
    scene = scenes[rng.choice(len(scenes), p=weights / weights.sum())]
    initiator, direction, motion = (
        str(rng.choice(words.split())) for words in (scene.initiators, scene.directions, scene.motions)
    )
    has_side = initiator not in (*BOTH, "both_legs") and scene.site not in ("fingers", "steeple")
    truth = FGText(initiator, scene.receiver, direction, motion, side=side if has_side else None)
    return Programme(label, scene.site, truth, side, amplitude, amplitude_px, heading)
