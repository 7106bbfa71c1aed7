"""A vision tower that starts from nothing, for the small networks (synthetic, UTD-MHAD)."""

from __future__ import annotations

import math
from typing import Any

import torch


def sine_cosine_positions(side: int, width: int) -> torch.Tensor:
    """Fixed 2-D sine-cosine embeddings `(side², width)`: half of the channels tell the row, half the column.

    Raises:
        ValueError: `width` is no multiple of 4.
    """
    if width % 4:
        raise ValueError(f"hidden_size is {width}; positions in two dimensions need a multiple of 4")
    # From a turn every two patches to one turn over the picture.
    frequencies = (2 / side) ** torch.linspace(0, 1, width // 4)
    angles = math.pi * torch.arange(side)[:, None] * frequencies  # (side, width / 4)
    line = torch.cat([angles.sin(), angles.cos()], -1)
    rows = line[:, None].expand(side, side, -1)
    columns = line[None].expand(side, side, -1)
    return torch.cat([rows, columns], -1).reshape(side * side, width)


@torch.no_grad()
def start_tower(tower: Any) -> None:
    """Gives the patches of a tower without pretrained weights a place to start from.

    transformers starts position embeddings at zero, as weights are loaded over them anyway; a tower that really starts
    there cannot tell places apart until it has learned to.

    Args:
        tower: An `InternVLVisionModel`; its position embeddings are overwritten.
    """
    positions = tower.embeddings.position_embeddings
    N, width = positions.shape[1] - 1, positions.shape[2]
    positions[:, 1:].copy_(sine_cosine_positions(math.isqrt(N), width))
