"""Attribute heads instead of contrast."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from microgesture.losses.attributes import attribute_nce


def test_it_is_the_mean_cross_entropy_over_known_words() -> None:
    generator = torch.Generator().manual_seed(0)
    clips, words = (torch.randn(n, 8, generator=generator, dtype=torch.float64) for n in (3, 6))
    targets = torch.tensor([[0, 3], [2, -1], [-1, 5]])
    losses = []
    for clip, own in zip(clips, targets.tolist(), strict=True):
        for target, slots in zip(own, (range(0, 2 + 1), range(3, 6)), strict=True):
            if target >= 0:
                cosines = [float(F.cosine_similarity(clip, words[w], dim=0)) / 0.1 for w in slots]
                losses.append(math.log(sum(map(math.exp, cosines))) - cosines[target - slots[0]])
    expected = sum(losses) / 4
    assert float(attribute_nce(clips, words, targets, (3, 3), 0.1)) == pytest.approx(expected)


def test_without_any_known_word_there_is_no_loss_and_a_gradient_of_zero() -> None:
    clips, words = torch.randn(2, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    loss = attribute_nce(clips, words, torch.full((2, 2), -1), (2, 3), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(clips.grad, torch.zeros(2, 4))
    assert torch.equal(words.grad, torch.zeros(5, 4))
