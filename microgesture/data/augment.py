"""Augmentation of training clips: one tempo, one camera, one side and one colour per clip, all frames alike.

What is drawn depends on (seed, epoch, clip) only: neither on workers, nor on prefetching, nor on where a run was
interrupted. Frames are picked and stored as JPEG where clips are read, so that only frames the network sees travel;
mirroring, moving and colouring happen on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F

try:
    from PIL import Image
except ImportError:
    Image = None  # type: ignore[assignment]

OVERSAMPLING = 3
"""Training clips are sampled this many times finer than the network sees; the middle ones are the clip's frames."""

SHIFT, ZOOM, TURN = 0.10, 0.20, 0.12  # share of the picture, relative size, radians
BRIGHTNESS, CONTRAST, COLOUR = 0.2, 0.2, 0.1  # relative; more costs the small networks sight of skin (docs/log.md)
SHORTEST = 0.7  # share of the clip that is seen at least
PARAMETERS = 4 + 2 + 3 + 2 + 1  # place, light, colours, time, side
QUALITIES = (75, 100)  # lowest and highest JPEG quality, those of InternVL's training transform

_PRIME = 1_000_003


@dataclass(frozen=True)
class Augmentation:
    """Which changes the training clips of a run get, besides mirroring (`ClipDataset.flipped`).

    Args:
        seed: Decides, with the epoch and the clip's number, everything that is drawn.
        vary: Tempo, place and colour. The clips are then sampled `OVERSAMPLING` times finer.
        camera: How much of the full shift, zoom and turn they get, 0 to 1.
        jpeg: Every frame is stored as JPEG of a random quality and read back.

    Raises:
        ImportError: `jpeg` is asked for and Pillow is not installed.
    """

    seed: int
    vary: bool = False
    camera: float = 1.0
    jpeg: bool = False

    def __post_init__(self) -> None:
        if self.jpeg and Image is None:
            raise ImportError("jpeg_degradation needs Pillow. Run: pip install pillow, or leave the option out.")


def draw(seed: int, epoch: int, index: int, camera: float = 1.0) -> torch.Tensor:
    """Draws the parameters of one clip, `(PARAMETERS,)` in -1..1; shift, zoom and turn in -`camera`..`camera`."""
    parameters = torch.rand(PARAMETERS, generator=_generator(seed, epoch, index)) * 2 - 1
    parameters[:4] *= camera
    return parameters


def draw_qualities(seed: int, epoch: int, index: int, frames: int) -> list[int]:
    """Draws a JPEG quality for each frame of one clip, uniformly and independently as InternVL's transform does."""
    low, high = QUALITIES
    # A stream of its own: numbers that `draw` has not seen.
    return torch.randint(low, high + 1, (frames,), generator=_generator(seed, epoch, ~index)).tolist()


def _generator(seed: int, epoch: int, index: int) -> torch.Generator:
    return torch.Generator().manual_seed(((seed * _PRIME + epoch) * _PRIME + index) % 2**63)


def pick(frames: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
    """Picks the frames of a part of the clip: another onset, another tempo.

    Args:
        frames: `(OVERSAMPLING · T, 3, H, W)`.
        parameters: Those of the clip `(PARAMETERS,)`, as `draw` gives them.

    Returns:
        `(T, 3, H, W)`, in order.
    """
    fine = len(frames)
    T = fine // OVERSAMPLING
    tempo, onset = (parameters[9:11] + 1) / 2  # 0..1
    share = SHORTEST + (1 - SHORTEST) * tempo
    start = (1 - share) * onset
    steps = (torch.arange(T) + 0.5) / T
    return frames[((start + share * steps) * fine).long().clamp(max=fine - 1)]


def mirrors(parameters: torch.Tensor) -> bool:
    """Whether a clip with these parameters is mirrored, if its class may be: every other time."""
    return bool(parameters[11] > 0)


def degrade(frames: torch.Tensor, qualities: Sequence[int]) -> torch.Tensor:
    """Stores each frame as JPEG and reads it back, as InternVL's training transform does (`build_transform`).

    Args:
        frames: `(T, 3, H, W)`, uint8.
        qualities: JPEG quality of each frame, 1 to 100.

    Returns:
        `(T, 3, H, W)`, uint8.
    """
    out = torch.empty(frames.shape, dtype=torch.uint8)
    for new, frame, quality in zip(out, frames, qualities, strict=True):
        with BytesIO() as file:
            Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()).save(file, format="JPEG", quality=quality)
            file.seek(0)
            with Image.open(file) as stored:
                new.copy_(torch.from_numpy(np.array(stored)).permute(2, 0, 1))
    return out


def mirror(frames: torch.Tensor, flipped: torch.Tensor) -> torch.Tensor:
    """Mirrors some clips left to right. Whoever calls it exchanges their labels and sentences as well.

    Args:
        frames: `(B, T, 3, H, W)`.
        flipped: Which clips `(B,)`, bool.

    Returns:
        Frames of the same shape and type.
    """
    return torch.where(flipped.to(frames.device).view(-1, 1, 1, 1, 1), frames.flip(-1), frames)


def mirror_keypoints(points: torch.Tensor, pairs: Sequence[tuple[int, int]], width: float) -> torch.Tensor:
    """The keypoints of a clip in its mirrored picture; the same call again gives the first ones back.

    A picture's left hand is its mirror image's right hand, so the joints of a pair change places as well.

    Args:
        points: `(..., J, C)`: x in pixels, then whatever a joint has (y, depth, how well it is seen).
        pairs: Places of the joints that belong together, left and right; joints of the middle are left out.
        width: Width of the picture in pixels, whose first column has x = 0. For coordinates that are centred on 0, 1.

    Returns:
        `(..., J, C)`.

    Raises:
        ValueError: A joint stands in no place of the array, or in two pairs.
    """
    J = points.shape[-2]
    flat = [joint for pair in pairs for joint in pair]
    if len(set(flat)) != len(flat) or not set(flat) <= set(range(J)):
        raise ValueError(f"pairs {list(pairs)} must name each joint of 0 to {J - 1} at most once")
    order = list(range(J))
    for left, right in pairs:
        order[left], order[right] = right, left
    out = points[..., order, :].clone()
    out[..., 0] = width - 1 - out[..., 0]
    return out


def move_points(points: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
    """Where points of a clip are after `apply`.

    Args:
        points: `(..., 3)`: column and row from -1 (left or upper edge of a square picture) to 1, and the confidence.
        parameters: Those of the clip `(PARAMETERS,)`.

    Returns:
        Points of the same shape; the confidence is 0 of one that has left the picture.
    """
    zoom, turn = 1 + ZOOM * parameters[2], TURN * parameters[3]
    x, y = (points[..., :2] - 2 * SHIFT * parameters[:2]).unbind(-1)
    moved = torch.stack([turn.cos() * x + turn.sin() * y, turn.cos() * y - turn.sin() * x], -1) / zoom
    inside = (moved.abs() <= 1).all(-1, keepdim=True)
    return torch.cat([moved, torch.where(inside, points[..., 2:], 0.0)], -1)


def apply(frames: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
    """Shifts, zooms, turns and recolours clips.

    Args:
        frames: `(B, T, 3, H, W)`, uint8.
        parameters: One row of `draw` per clip `(B, PARAMETERS)`.

    Returns:
        float32 `(B, T, 3, H, W)`, 0 to 255.
    """
    B, T, _, H, W = frames.shape
    p = parameters.to(frames.device)
    zoom, turn = 1 + ZOOM * p[:, 2], TURN * p[:, 3]
    rows = [zoom * turn.cos(), -zoom * turn.sin(), 2 * SHIFT * p[:, 0]]
    rows += [zoom * turn.sin(), zoom * turn.cos(), 2 * SHIFT * p[:, 1]]
    grid = F.affine_grid(torch.stack(rows, -1).view(B, 2, 3), [B, 1, H, W], align_corners=False)
    moved = F.grid_sample(
        frames.flatten(1, 2).float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    ).view(B, T, 3, H, W)
    mean = moved.mean((1, 2, 3, 4), keepdim=True)
    gain = ((1 + BRIGHTNESS * p[:, 4:5]) * (1 + COLOUR * p[:, 6:9])).view(B, 1, 3, 1, 1)
    contrast = (1 + CONTRAST * p[:, 5]).view(B, 1, 1, 1, 1)
    return (((moved - mean) * contrast + mean) * gain).clamp(0, 255)
