"""SMG's 17 classes as motion programmes: which scenes a class has, and what is drawn for one clip.

A class is what the body does (its scenes); receiver, direction, motion type, initiator and side vary inside a class,
and most of their words are shared between classes, so that a record alone does not name the class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from microgesture.data.fg_text import FGText

AMPLITUDES: dict[str, tuple[float, float]] = {"small": (20.5, 23.0), "medium": (26.0, 29.0), "large": (33.0, 37.0)}
"""Extent of the class-defining motion (peak to peak) in pixels of the 448 px picture; at 96 pixels 20.5 are 4.4."""

BOTH = ("both_hands", "both_arms", "shoulders", "neck", "head")
"""Initiators that have no side."""


@dataclass(frozen=True)
class Scene:
    """One way to perform a class.

    Args:
        weight: How often, relative to the class's other scenes.
        site: Where it happens, a key of `motion.py`.
        initiators: Words with their weight given by repetition, separated by spaces.
        receivers: What the site may be called, finely or coarsely; as `initiators`.
        directions: As `initiators`.
        motions: As `initiators`.
    """

    weight: float
    site: str
    initiators: str
    receivers: str
    directions: str
    motions: str


_FREE = "up down sideways back_and_forth back_and_forth circular"
_RUBS = "scratch scratch touch touch rub"

SCENES: dict[str, tuple[Scene, ...]] = {
    "Turtling neck and shoulder": (
        Scene(
            5,
            "shoulders",
            "shoulders shoulders neck",
            "neck neck none",
            "up up up back_and_forth",
            "retract retract raise shake",
        ),
        Scene(
            4,
            "sink",
            "head neck neck",
            "shoulders shoulders none",
            "down down down back_and_forth",
            "retract retract shift",
        ),
    ),
    "Rubbing eyes and forehead": (
        Scene(5, "eyes", "hand hand fingers", "eyes eyes eyes face", _FREE, "rub rub rub touch scratch cover"),
        Scene(
            3, "forehead", "hand hand fingers", "forehead forehead face head", _FREE, "rub rub rub touch scratch cover"
        ),
        Scene(2, "eyes_both", "both_hands", "eyes eyes face", "inward up down sideways circular", "rub rub cover"),
    ),
    "Folding arms": (
        Scene(
            1,
            "fold",
            "both_arms both_arms both_hands",
            "chest chest arm arm body",
            "inward inward up static",
            "fold fold fold cross hold place",
        ),
    ),
    "Touching or covering suprasternal notch": (
        Scene(
            1,
            "notch",
            "hand hand fingers",
            "suprasternal_notch suprasternal_notch neck collar chest",
            "inward static " + _FREE,
            "cover cover touch touch press rub",
        ),
    ),
    "Moving legs": (
        Scene(
            5,
            "leg_shift",
            "leg leg leg both_legs",
            "none none none leg",
            "sideways back_and_forth outward inward",
            "shift shift shift sway shake",
        ),
        Scene(3, "leg_raise", "leg", "none none none leg", "up up back_and_forth", "raise shift shake step"),
    ),
    "Touching or scratching neck": (
        Scene(5, "neck_side", "hand hand fingers", "neck neck neck body", _FREE + " static", _RUBS + " cover"),
        Scene(2, "neck_base", "hand fingers", "neck shoulders body", _FREE, _RUBS),
    ),
    "Folding arms behind body": (
        Scene(
            1,
            "behind",
            "both_arms both_arms both_hands",
            "back back back body body waist",
            "backward backward inward static",
            "fold fold place hold",
        ),
    ),
    "Rubbing hands and crossing finger(s)": (
        Scene(
            5,
            "hands",
            "both_hands both_hands fingers",
            "hands hands fingers",
            "back_and_forth back_and_forth up circular sideways",
            "rub rub hold manipulate",
        ),
        Scene(
            4,
            "fingers",
            "fingers fingers both_hands",
            "fingers fingers hands",
            "inward inward up back_and_forth",
            "interlace cross rub hold",
        ),
        Scene(2, "steeple", "fingers both_hands", "fingers hands", "up inward back_and_forth", "steeple press"),
    ),
    "Arms akimbo": (
        Scene(
            7,
            "akimbo",
            "both_hands both_hands both_arms",
            "waist waist body clothes",
            "outward outward inward static up",
            "place place hold press",
        ),
        Scene(1, "akimbo_one", "hand arm", "waist waist body", "outward inward static up", "place hold"),
    ),
    "Crossing legs": (
        Scene(
            1,
            "cross",
            "leg leg leg both_legs",
            "leg leg none",
            "inward inward inward sideways",
            "cross cross cross shift step",
        ),
    ),
    "Scratching some part of body": (
        Scene(4, "body_arm", "hand fingers", "arm arm body", _FREE, "scratch scratch rub brush"),
        Scene(4, "body_chest", "hand fingers", "chest chest body clothes", _FREE, "scratch scratch rub brush"),
        Scene(1, "body_back", "hand", "back body waist", "up down back_and_forth sideways", "scratch scratch rub"),
        Scene(2, "body_belly", "hand fingers", "body body clothes waist", _FREE, "scratch scratch rub"),
        Scene(1, "body_leg", "hand", "leg clothes body", "up down back_and_forth", "scratch scratch rub brush"),
        Scene(3, "body_shoulder", "hand fingers", "shoulders shoulders body", _FREE, "scratch scratch rub touch"),
    ),
    "Scratching or touching facial parts other than eyes": (
        Scene(3, "cheek", "hand hand fingers", "face", _FREE, _RUBS + " cover"),
        Scene(3, "mouth", "hand fingers fingers", "mouth mouth lips face", _FREE, _RUBS + " cover press"),
        Scene(3, "jaw", "hand fingers", "jaw jaw face neck", _FREE, _RUBS + " hold"),
        Scene(
            1, "ear", "hand fingers", "ear ear face head", "up down back_and_forth circular", "touch scratch rub pull"
        ),
    ),
    "Playing or adjusting hair": (
        Scene(
            4,
            "hair_top",
            "hand hand fingers",
            "hair hair head",
            "backward sideways up down back_and_forth circular",
            "adjust adjust brush touch scratch rub",
        ),
        Scene(
            4,
            "hair_side",
            "hand fingers fingers",
            "hair hair head ear",
            "up down backward outward back_and_forth",
            "adjust adjust pull brush touch",
        ),
        Scene(1, "hair_both", "both_hands", "hair hair head", "backward up outward down", "adjust brush"),
    ),
    "Holding arms": (
        Scene(
            5,
            "hold_upper",
            "hand hand arm",
            "arm arm arm body",
            "inward static up down back_and_forth",
            "hold hold place rub",
        ),
        Scene(
            4,
            "hold_fore",
            "hand hand arm",
            "arm arm hands body",
            "inward static up back_and_forth",
            "hold hold touch rub",
        ),
    ),
    "Pulling shirt collar": (
        Scene(
            6,
            "collar",
            "hand hand fingers",
            "collar collar collar clothes neck",
            "outward outward down sideways up back_and_forth",
            "pull pull pull adjust touch",
        ),
        Scene(3, "collar_both", "both_hands", "collar collar clothes", "outward down up", "pull adjust"),
    ),
    "Playing with jewelry, and manipulating other objects": (
        Scene(
            4,
            "pendant",
            "fingers fingers hand",
            "object object clothes chest",
            "back_and_forth sideways up down circular",
            "manipulate manipulate touch pull adjust",
        ),
        Scene(
            3,
            "watch",
            "hand fingers",
            "object object arm hands",
            "back_and_forth circular sideways",
            "manipulate manipulate adjust rub",
        ),
        Scene(
            4,
            "pen",
            "hand fingers both_hands",
            "object object object hands",
            "back_and_forth circular up down",
            "manipulate manipulate hold",
        ),
    ),
    "Illustrative hand gestures": (
        Scene(
            5,
            "air_both",
            "both_hands both_hands both_arms",
            "air air air none",
            "outward outward up down back_and_forth inward circular",
            "gesticulate gesticulate gesticulate raise",
        ),
        Scene(
            4,
            "air_one",
            "hand hand arm",
            "air air air none",
            "outward up down back_and_forth sideways circular",
            "gesticulate gesticulate gesticulate raise wave",
        ),
    ),
}
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
    choices = (scene.initiators, scene.receivers, scene.directions, scene.motions)
    initiator, receiver, direction, motion = (str(rng.choice(words.split())) for words in choices)
    has_side = initiator not in (*BOTH, "both_legs") and scene.site not in ("fingers", "steeple")
    truth = FGText(initiator, receiver, direction, motion, side=side if has_side else None)
    return Programme(label, scene.site, truth, side, amplitude, amplitude_px, heading)
