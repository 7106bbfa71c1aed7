"""Keypoint layouts: which joint stands where, which bones join them, and what a mirror exchanges.

A layout is a data file, `layouts/<name>.json`. Left and right in it are the subject's own. Points are arrays
`(T, J, C)`: frames, joints, and x, y and confidence in pixels, or x, y and z in metres.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

PICTURE_FLIP = "width - 1 - x"
ORIGIN_FLIP = "-x"

Points = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Layout:
    """The joints of one kind of skeleton.

    Args:
        name: As in `LAYOUTS`.
        unit: `pixels` or `metres`.
        flip: How x changes in a mirror: `width - 1 - x` (a picture) or `-x` (a camera at the origin).
        names: The joints, in the order of the second axis of an array of points.
        bones: Which joints are joined, as places in `names`.
        pairs: (left, right), as places in `names`: what a mirror exchanges.
        aliases: Joint -> the name that another layout gives the same place of the body.

    Raises:
        ValueError: A joint stands twice, or bones, pairs, aliases and names contradict each other.
    """

    name: str
    unit: str
    flip: str
    names: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]
    pairs: tuple[tuple[int, int], ...]
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        known = set(self.names)
        sided = {name for name in known if name.startswith(("left_", "right_"))}
        paired = [(self.names[left], self.names[right]) for left, right in self.pairs]
        faults = {
            "two joints of one name": len(known) < len(self.names),
            "a pair that is not left and right of one place": any(
                (left[:5], right) != ("left_", f"right_{left[5:]}") for left, right in paired
            ),
            "a left or right joint without its pair": {name for pair in paired for name in pair} != sided,
            "a bone from a joint to itself, or twice": len({frozenset(bone) for bone in self.bones}) < len(self.bones)
            or any(a == b for a, b in self.bones),
            "an alias of an unknown joint": not set(self.aliases) <= known,
            "an unknown way to flip": self.flip not in (PICTURE_FLIP, ORIGIN_FLIP),
        }
        found = [fault for fault, there in faults.items() if there]
        if found:
            raise ValueError(f"the keypoint layout {self.name!r} has {', '.join(found)}; correct its file")

    @property
    def mirrored_order(self) -> npt.NDArray[np.intp]:
        """Which joint stands at each place after left and right are exchanged, `(J,)`."""
        order = np.arange(len(self.names))
        for left, right in self.pairs:
            order[left], order[right] = right, left
        return order

    def places(self, other: Layout) -> list[int | None]:
        """For each joint of this layout its place in `other`, `None` where `other` does not have it."""
        theirs = {name: place for place, name in enumerate(other.names)}
        theirs |= {alias: theirs[name] for name, alias in other.aliases.items()}
        return [theirs.get(name, theirs.get(self.aliases.get(name, name))) for name in self.names]


def _names() -> tuple[str, ...]:
    files = (resources.files(__package__) / "layouts").iterdir()
    return tuple(sorted(file.name.removesuffix(".json") for file in files if file.name.endswith(".json")))


LAYOUTS = _names()
"""The names of the layouts."""


@cache
def read_layout(name: str) -> Layout:
    """Reads the layout `name`.

    Raises:
        ValueError: There is no such layout, or its file contradicts itself.
    """
    if name not in LAYOUTS:
        raise ValueError(f"there is no keypoint layout {name!r}; choose one of: {', '.join(LAYOUTS)}")
    data = json.loads((resources.files(__package__) / "layouts" / f"{name}.json").read_text(encoding="utf-8"))
    place = {joint: number for number, joint in enumerate(data["joints"])}
    try:
        bones = tuple((place[a], place[b]) for a, b in data["bones"])
        pairs = tuple((place[left], place[right]) for left, right in data["pairs"])
    except KeyError as error:
        raise ValueError(f"the keypoint layout {name!r} joins {error}, which is none of its joints") from error
    return Layout(name, data["unit"], data["flip"], tuple(data["joints"]), bones, pairs, data.get("aliases", {}))


def layout_of_size(joints: int) -> Layout:
    """The layout with this number of joints; no two have the same.

    Raises:
        ValueError: None has.
    """
    sizes = {len(read_layout(name).names): name for name in LAYOUTS}
    if joints not in sizes:
        known = ", ".join(f"{name} ({size})" for size, name in sorted(sizes.items()))
        raise ValueError(f"no keypoint layout has {joints} joints; known are: {known}")
    return read_layout(sizes[joints])


def open_points(folder: Path, name: str) -> Points:
    """Opens a keypoint file of a split.

    Args:
        folder: The split's folder.
        name: The file, relative to it.

    Returns:
        What it holds, of any shape. Mapped, so that a header that promises more than the file holds costs no memory.

    Raises:
        ValueError: There is no such file inside the folder, it is damaged, or it holds something else than
            floating-point numbers; the message names it.
        OSError: It cannot be opened.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name} leads out of the split's folder; copy the file there")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; make the data set again")
    try:
        points: Points = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:  # also where it holds Python objects
        raise ValueError(f"{path} is damaged, or no array of numbers ({error}); make or save it again") from error
    if points.dtype.kind != "f":
        raise ValueError(f"{path} holds {points.dtype}, and points are floating-point numbers; save it as float32")
    return points


def convert(points: Points, source: Layout, target: Layout, fill: float | None = None) -> Points:
    """Brings points from one layout into another, joint by joint.

    Args:
        points: `(..., J, C)` in the layout `source`.
        source: Their layout.
        target: The layout wanted.
        fill: Value of the joints that `source` does not have. OpenPose writes 0 for a point that it does not see.

    Returns:
        `(..., J', C)`, a copy.

    Raises:
        ValueError: The points are not of `source`, the units differ, or joints are missing and `fill` is not given.
    """
    _check(points, source)
    if source.unit != target.unit:
        raise ValueError(
            f"{source.name} is in {source.unit}, {target.name} in {target.unit}; they cannot be converted"
        )
    places = target.places(source)
    missing = [name for name, place in zip(target.names, places, strict=True) if place is None]
    if missing and fill is None:
        listed = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        raise ValueError(
            f"{source.name} lacks {len(missing)} joints of {target.name}: {listed}; "
            "say with `fill` what stands for them"
        )
    out = points[..., [place or 0 for place in places], :].copy()
    if fill is not None:
        out[..., [place is None for place in places], :] = fill
    return out


def flip(points: Points, layout: Layout, width: int | None = None) -> Points:
    """What the points are in the mirrored picture: x is turned round, and left and right joints change places.

    A joint whose numbers are all 0 was not seen, and stays so.

    Args:
        points: `(..., J, C)`, x first.
        layout: Their layout.
        width: Width of the picture in pixels, for layouts in pixels.

    Returns:
        `(..., J, C)`, a copy.

    Raises:
        ValueError: The points are not of `layout`, or `width` is missing or not asked for.
    """
    _check(points, layout)
    if (layout.flip == PICTURE_FLIP) != (width is not None):
        need = "the width of the picture" if width is None else "no width: its x counts from the camera's middle"
        raise ValueError(f"to mirror points of {layout.name}, give {need}")
    out = points[..., layout.mirrored_order, :].copy()
    seen = (out != 0).any(-1)
    x = out[..., 0]
    out[..., 0] = np.where(seen, -x if width is None else width - 1 - x, x)
    return out


def _check(points: Points, layout: Layout) -> None:
    if points.ndim < 2 or points.shape[-2] != len(layout.names):
        raise ValueError(
            f"points of {layout.name} have the shape (..., {len(layout.names)} joints, numbers of a joint), "
            f"got {points.shape}"
        )
