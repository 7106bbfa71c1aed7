"""A tower that starts from nothing knows where its patches lie."""

from __future__ import annotations

import pytest
import torch
from test_modeling_fgsgl import config

from microgesture.from_scratch import sine_cosine_positions, start_tower
from modeling_fgsgl import FGSGLModel


def test_every_place_is_clearly_different() -> None:
    positions = sine_cosine_positions(6, 32)
    assert positions.shape == (36, 32)
    distances = torch.cdist(positions, positions)
    assert float((distances + torch.eye(36) * 9).min()) > 1.0  # vectors of length 4


def test_the_tower_starts_with_them_and_cls_without() -> None:
    tower = FGSGLModel(config()).vision_tower
    assert not tower.embeddings.position_embeddings.any()
    start_tower(tower)
    assert not tower.embeddings.position_embeddings[0, 0].any()
    assert torch.equal(tower.embeddings.position_embeddings[0, 1:], sine_cosine_positions(4, 32))
    assert tower.embeddings.position_embeddings.requires_grad


def test_a_width_that_cannot_hold_two_directions_is_refused() -> None:
    with pytest.raises(ValueError, match="hidden_size is 30"):
        sine_cosine_positions(4, 30)
