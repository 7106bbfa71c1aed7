"""Augmentation of keypoints: another tempo, another view, other proportions, and points that the detector loses.

As for frames, what is drawn depends on (seed, epoch, clip) only. The parameters are those of
`microgesture.data.augment.draw`, where turn and zoom follow `augment_camera`.
"""

from __future__ import annotations

import torch

SHORTEST = 0.7  # share of the clip that is seen at least
TURN, TILT = 0.5, 0.15  # radians, about the vertical axis (or in the picture: a third of it) and about the other two
ZOOM = 0.15  # relative size, all axes together and each by itself
JITTER = 0.01  # of each point of each frame, in the processor's unit: body sizes, or half the box of a clip
LOST = 0.03  # share of joints that are lost for the whole clip

_PRIME = 1_000_003


def span(parameters: torch.Tensor) -> tuple[float, float]:
    """The part of the clip that is seen: begin and end, 0 to 1."""
    tempo, onset = ((parameters[9:11] + 1) / 2).tolist()
    share = SHORTEST + (1 - SHORTEST) * tempo
    return (1 - share) * onset, (1 - share) * onset + share


def apply(points: torch.Tensor, parameters: torch.Tensor, seed: int, epoch: int, index: int) -> torch.Tensor:
    """Turns, stretches and shakes the people of a clip, all frames alike, and loses some joints.

    Args:
        points: Normalised points `(M, T, J, D + 1)`, the last number the confidence.
        parameters: Those of the clip, as `microgesture.data.augment.draw` gives them.
        seed: Decides, with epoch and index, what else is drawn.
        epoch: Counted from 0.
        index: Number of the clip.

    Returns:
        Points of the same shape.
    """
    generator = torch.Generator().manual_seed((((seed + 1) * _PRIME + epoch) * _PRIME + index) % 2**63)
    D = points.shape[-1] - 1
    place, seen = points[..., :D], points[..., D:]
    stretch = 1 + ZOOM * (parameters[2] + parameters[4 : 4 + D]) / 2
    place = place * stretch @ turn(parameters, D)
    place = place + JITTER * torch.randn(place.shape, generator=generator)
    kept = (torch.rand(points.shape[0], 1, points.shape[2], 1, generator=generator) >= LOST) & (seen > 0)
    ever = seen.amax(1, keepdim=True) > 0
    lost = ever & ~kept.any(1, keepdim=True)
    # What the processor makes of a joint that is never seen: it stands in the centre.
    return torch.cat([torch.where(lost | ~ever, 0.0, place), torch.where(lost, 0.0, seen)], -1)


def turn(parameters: torch.Tensor, dimensions: int) -> torch.Tensor:
    """The rotation `(D, D)`: mostly about the vertical axis (y) in space, within the picture in two dimensions."""
    yaw, pitch, roll = TURN * parameters[3], TILT * parameters[0], TILT * parameters[1]
    if dimensions == 2:
        c, s = (yaw / 3).cos(), (yaw / 3).sin()
        return torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
    zero = torch.zeros(())
    generators = torch.stack(
        [torch.stack([zero, -roll, yaw]), torch.stack([roll, zero, -pitch]), torch.stack([-yaw, pitch, zero])]
    )
    return torch.linalg.matrix_exp(generators)
