"""Augmentation of sampled frames on the device: one tempo, one camera and one colour per clip, all frames alike.

What is drawn depends on (seed, epoch, clip) only: neither on workers, nor on prefetching, nor on where a run was
interrupted. Clips are never mirrored: the sentences name sides.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

OVERSAMPLING = 3
"""Training clips are sampled this many times finer than the network sees; the middle ones are the clip's own frames."""

SHIFT, ZOOM, TURN = 0.10, 0.20, 0.12  # share of the picture, relative size, radians
BRIGHTNESS, CONTRAST, COLOUR = 0.2, 0.2, 0.1  # relative; more costs the small networks sight of skin (docs/log.md)
SHORTEST = 0.7  # share of the clip that is seen at least
PARAMETERS = 4 + 2 + 3 + 2


def draw(seed: int, epoch: int, index: int, camera: float = 1.0) -> torch.Tensor:
    """Draws the parameters of one clip, `(PARAMETERS,)` in -1..1; shift, zoom and turn in -`camera`..`camera`."""
    mixed = (seed * 1_000_003 + epoch) * 1_000_003 + index
    generator = torch.Generator().manual_seed(mixed % 2**63)
    parameters = torch.rand(PARAMETERS, generator=generator) * 2 - 1
    parameters[:4] *= camera
    return parameters


def warp_time(frames: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
    """Picks the frames of a part of the clip: another onset, another tempo.

    Args:
        frames: `(B, OVERSAMPLING · T, 3, H, W)`.
        parameters: One row of `draw` per clip `(B, PARAMETERS)`.

    Returns:
        `(B, T, 3, H, W)`, in order.
    """
    fine = frames.shape[1]
    T = fine // OVERSAMPLING
    tempo, onset = (parameters[:, 9:].T.to(frames.device) + 1) / 2  # 0..1
    share = SHORTEST + (1 - SHORTEST) * tempo
    start = (1 - share) * onset
    steps = (torch.arange(T, device=frames.device) + 0.5) / T
    places = ((start[:, None] + share[:, None] * steps) * fine).long().clamp(max=fine - 1)
    return frames[torch.arange(len(frames), device=frames.device)[:, None], places]


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
