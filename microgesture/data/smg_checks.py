"""What a copy of SMG says about the things that its authors have not published (datasets/smg/*.json)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from microgesture.data.keypoints import read_layout

Spans = Mapping[int, Sequence[tuple[int, int, int]]]
NEAR = {"head": 0.5, "neck": 0.4, "arms": 0.3, "together": 0.35, "hips": 0.4}
"""How near a hand has to be, in lengths of the trunk; rough, and used for a hint only."""
_LEAST_SHARE = 1 / 3


def check(
    spans: Spans, names: Mapping[str, Any], splits: Mapping[str, Any], hands: Mapping[int, list[str]]
) -> list[str]:
    """Everything that can be checked on a copy, a sentence each.

    Args:
        spans: Subject -> (class number, first frame, last frame) as in the label files.
        names: label_map.json.
        splits: splits.json.
        hands: Class number -> where the hands are in each of its clips, as `hands_place` says.

    Returns:
        The findings.
    """
    numbers = {subject: [label for label, _, _ in rows] for subject, rows in spans.items()}
    return [
        *check_anchors(spans, names),
        *check_test_counts(numbers, names["published_test_counts"], splits["subjects"]["test"]),
        *check_validation(numbers, splits["subjects"], 637),
        *check_hands(hands, names),
    ]


def check_anchors(spans: Spans, names: Mapping[str, Any]) -> list[str]:
    """Looks up clips whose class name is published elsewhere."""
    findings = []
    for anchor in names["anchors"]:
        start, end, name = anchor["start"], anchor["end"], anchor["name"]
        label = {(a, b): number for number, a, b in spans.get(anchor["sample"], ())}.get((start, end))
        where = f"Sample{anchor['sample']:04d} frames {start} to {end}, published as {name!r}"
        if label is None:
            findings.append(f"names of the classes: {where}, is not in this copy")
        elif names["names"].get(str(label)) == name:
            findings.append(f"names of the classes: {where}, has number {label} here: as in label_map.json")
        else:
            findings.append(
                f"names of the classes: {where}, has number {label} here, which label_map.json calls "
                f"{names['names'].get(str(label))!r}; CORRECT datasets/smg/label_map.json and prepare again"
            )
    return findings


def check_test_counts(
    numbers: Mapping[int, Sequence[int]], published: Mapping[str, int], test: Sequence[int]
) -> list[str]:
    """Compares the test clips per class number with the published label file."""
    held = Counter(label for subject in test for label in numbers.get(subject, ()))
    if not held:
        return []
    different = [
        f"number {key}: {held[int(key)]} against {count}"
        for key, count in published.items()
        if held[int(key)] != count
    ]
    if different:
        return [f"test clips per class number differ from the published ones ({'; '.join(different)})"]
    return ["test clips per class number are the published ones"]


def check_validation(
    numbers: Mapping[int, Sequence[int]], subjects: Mapping[str, Sequence[int]], published: int
) -> list[str]:
    """Says whether the supposed validation subjects have the published number of clips, and who else has."""
    people = sorted({*subjects["train"], *subjects["validation"]})
    if any(person not in numbers for person in people):
        return ["validation subjects: cannot be checked, because this copy lacks some of the subjects 1 to 35"]
    supposed = list(subjects["validation"])
    held = sum(len(numbers[person]) for person in supposed)
    if held == published:
        return [f"validation subjects: {supposed} have {held} clips, as published"]
    rows = [people[i : i + len(supposed)] for i in range(len(people) - len(supposed) + 1)]
    fit = [row for row in rows if sum(len(numbers[person]) for person in row) == published]
    found = f"these do: {fit}; CORRECT datasets/smg/splits.json and prepare again" if fit else "no five in a row do"
    return [f"validation subjects: {supposed} have {held} clips, not the published {published}; {found}"]


def check_hands(hands: Mapping[int, list[str]], names: Mapping[str, Any]) -> list[str]:
    """Says for each class number whether the hands are where its name lets one expect them."""
    agreed, findings = [], []
    for label, places in sorted(hands.items()):
        name = names["names"][str(label)]
        expected = names["hands"].get(name)
        place, count = Counter(places).most_common(1)[0]
        if expected is None:
            continue
        if place in expected:
            agreed.append(str(label))
        else:
            findings.append(
                f"names of the classes: in number {label} ({name!r}) the hands are mostly at {place!r} "
                f"({count} of {len(places)} clips), expected {' or '.join(expected)!r}; look at some of its clips"
            )
    if agreed:
        findings.append(f"names of the classes: the hands are where the names say for the numbers {', '.join(agreed)}")
    return findings


def hands_place(points: npt.NDArray[np.floating]) -> str:
    """Where the hands are in a clip, roughly.

    Args:
        points: `(T, 25, 3)` in the layout `kinect_25`.

    Returns:
        The first of head, neck, back, arms, together and hips at which a hand is in a third of the frames, else free.
    """
    at = dict(zip(read_layout("kinect_25").names, np.moveaxis(points, 1, 0), strict=True))
    trunk = np.linalg.norm(at["spine_shoulder"] - at["spine_base"], axis=-1)

    def near(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating], place: str) -> npt.NDArray[np.bool_]:
        return np.linalg.norm(a - b, axis=-1) < NEAR[place] * trunk

    seen = dict.fromkeys(("head", "neck", "back", "arms", "together", "hips"), np.zeros(len(points), bool))
    for side, other in (("left", "right"), ("right", "left")):
        hand = at[f"{side}_hand"]
        forearm = (at[f"{other}_elbow"] + at[f"{other}_wrist"]) / 2
        seen["neck"] = seen["neck"] | near(hand, at["spine_shoulder"], "neck")
        seen["head"] = seen["head"] | (near(hand, at["head"], "head") & ~near(hand, at["spine_shoulder"], "neck"))
        # Behind the body: further from the camera than the spine, at the height of the trunk.
        low = hand[:, 1] < at["spine_mid"][:, 1]
        seen["back"] = seen["back"] | (low & (hand[:, 2] > at["spine_mid"][:, 2] + 0.1 * trunk))
        seen["arms"] = seen["arms"] | near(hand, at[f"{other}_elbow"], "arms") | near(hand, forearm, "arms")
        seen["hips"] = seen["hips"] | near(hand, at[f"{side}_hip"], "hips")
    seen["together"] = near(at["left_hand"], at["right_hand"], "together")
    return next((place for place, frames in seen.items() if frames.mean() >= _LEAST_SHARE), "free")
