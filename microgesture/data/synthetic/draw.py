"""The rasteriser: anti-aliased unions of tapered capsules, ellipses and rectangles, each only inside its bounding box.

A canvas is uint8 `(H, W, 3)`; a layer carries its own coverage. Only numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Canvas = NDArray[np.uint8]
Mask = NDArray[np.float32]
Rgb = Sequence[float] | NDArray[Any]

DARKEST, BRIGHTEST = 20.0, 235.0
"""Range of painted values; the margin lets sensor noise be added in uint8 without overflow."""

_EDGE = 3.5  # depth of the dark rim inside a shape, in pixels


def clip_colour(colour: Rgb, gain: float = 1.0) -> NDArray[np.float32]:
    """A colour scaled by `gain`, inside the painted range."""
    return np.clip(np.asarray(colour, np.float32) * gain, DARKEST, BRIGHTEST)


def capsules(
    canvas: Canvas,
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    radius_start: Rgb | float,
    radius_end: Rgb | float,
    colour: NDArray[np.float32],
    rim: float = 0.3,
    hidden_by: Mask | None = None,
    mask: Mask | None = None,
) -> None:
    """Paints the union of K tapered capsules in one colour with a darker rim.

    Args:
        canvas: Painted in place, `(H, W, 3)`.
        start: First centres `(K, 2)`, x and y in pixels.
        end: Last centres `(K, 2)`.
        radius_start: Radius at `start`, one or K.
        radius_end: Radius at `end`, one or K.
        colour: RGB.
        rim: How much darker the edge is, 0 to 1.
        hidden_by: Coverage `(H, W)` of what stands in front.
        mask: Coverage `(H, W)` that is raised by what is painted.
    """
    a, b = np.asarray(start, np.float32).reshape(-1, 2), np.asarray(end, np.float32).reshape(-1, 2)
    r0 = np.broadcast_to(np.asarray(radius_start, np.float32), len(a))
    r1 = np.broadcast_to(np.asarray(radius_end, np.float32), len(a))
    margin = float(max(r0.max(), r1.max())) + 1.5
    low, high = np.minimum(a, b).min(0) - margin, np.maximum(a, b).max(0) + margin
    box = _box(canvas, low[0], low[1], high[0], high[1])
    if box is None:
        return
    x0, y0, x1, y1 = box
    xs = np.arange(x0, x1, dtype=np.float32)[None, :]
    ys = np.arange(y0, y1, dtype=np.float32)[:, None]
    depth: Mask | None = None
    for k in range(len(a)):
        inside = _capsule_depth(xs, ys, a[k], b[k], float(r0[k]), float(r1[k]))
        depth = inside if depth is None else np.maximum(depth, inside, out=depth)
    if depth is not None:
        _fill(canvas, box, depth, colour, rim, hidden_by, mask)


def _capsule_depth(xs: Mask, ys: Mask, a: NDArray[np.float32], b: NDArray[np.float32], ra: float, rb: float) -> Mask:
    """How deep each pixel lies inside one tapered capsule, negative outside."""
    dx, dy = float(b[0] - a[0]), float(b[1] - a[1])
    length = dx * dx + dy * dy
    px, py = xs - a[0], ys - a[1]
    if length < 1e-6:
        return max(ra, rb) - np.sqrt(px * px + py * py)
    along = px * np.float32(dx / length) + py * np.float32(dy / length)
    np.clip(along, 0.0, 1.0, out=along)
    qx = px - along * np.float32(dx)
    qy = py - along * np.float32(dy)
    np.multiply(qx, qx, out=qx)
    qx += qy * qy
    np.sqrt(qx, out=qx)
    along *= np.float32(rb - ra)
    along += np.float32(ra)
    along -= qx
    return along


def ellipse(
    canvas: Canvas,
    centre: Rgb,
    radii: Rgb,
    colour: NDArray[np.float32],
    tilt: float = 0.0,
    rim: float = 0.25,
    above: float | None = None,
    below: float | None = None,
    mask: Mask | None = None,
) -> None:
    """Paints an ellipse; `above` and `below` keep the part over or under that height of its own y axis (pixels)."""
    reach = max(radii) + 1.5
    box = _box(canvas, centre[0] - reach, centre[1] - reach, centre[0] + reach, centre[1] + reach)
    if box is None:
        return
    x0, y0, x1, y1 = box
    px = np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(centre[0])
    py = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(centre[1])
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    u, v = px * cos + py * sin, py * cos - px * sin
    norm = np.sqrt((u / np.float32(radii[0])) ** 2 + (v / np.float32(radii[1])) ** 2)
    depth = (1.0 - norm) * np.float32(min(radii))
    if above is not None:
        depth = np.minimum(depth, np.float32(above) - v)
    if below is not None:
        depth = np.minimum(depth, v - np.float32(below))
    _fill(canvas, box, depth.astype(np.float32), colour, rim, None, mask)


def rectangle(canvas: Canvas, low: Rgb, high: Rgb, colour: NDArray[np.float32]) -> None:
    """Paints an upright rectangle, whole pixels."""
    box = _box(canvas, low[0], low[1], high[0], high[1])
    if box is not None:
        canvas[box[1] : box[3], box[0] : box[2]] = colour


def paste(canvas: Canvas, sprite: Canvas, coverage: Mask, x: int, y: int) -> None:
    """Lays a sprite with its coverage on the canvas, its corner at whole pixels `(x, y)`, cut at the border."""
    box = _box(canvas, x, y, x + sprite.shape[1] - 1, y + sprite.shape[0] - 1)
    if box is None:
        return
    x0, y0, x1, y1 = box
    part = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
    _mix(canvas[y0:y1, x0:x1], sprite[part], coverage[part])


def _box(canvas: Canvas, x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int, int] | None:
    height, width = canvas.shape[:2]
    left, top = max(int(np.floor(x0)), 0), max(int(np.floor(y0)), 0)
    right, bottom = min(int(np.ceil(x1)) + 1, width), min(int(np.ceil(y1)) + 1, height)
    return None if left >= right or top >= bottom else (left, top, right, bottom)


def _fill(
    canvas: Canvas,
    box: tuple[int, int, int, int],
    depth: Mask,
    colour: NDArray[np.float32],
    rim: float,
    hidden_by: Mask | None,
    mask: Mask | None,
) -> None:
    x0, y0, x1, y1 = box
    cover = np.clip(depth + np.float32(0.5), 0.0, 1.0)
    if mask is not None:
        np.maximum(mask[y0:y1, x0:x1], cover, out=mask[y0:y1, x0:x1])
    if hidden_by is not None:
        cover = cover * (1.0 - hidden_by[y0:y1, x0:x1])
    shade = np.clip(depth * np.float32(rim / _EDGE) + np.float32(1.0 - rim), 1.0 - rim, 1.0)
    _mix(canvas[y0:y1, x0:x1], shade[..., None] * colour, cover)


def _mix(patch: Canvas, paint: NDArray[np.float32] | Canvas, cover: Mask) -> None:
    """`patch` toward `paint` by `cover`, in place."""
    mixed = patch.astype(np.float32)
    delta = paint - mixed
    delta *= cover[..., None]
    mixed += delta
    patch[...] = mixed
