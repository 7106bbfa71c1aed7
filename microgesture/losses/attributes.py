"""A control for eq. 1: one classifier per attribute of FG-Text instead of contrast with whole sentences."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from microgesture.losses.contrastive import info_nce


def attribute_nce(
    queries: torch.Tensor, words: torch.Tensor, targets: torch.Tensor, sizes: Sequence[int], temperature: float
) -> torch.Tensor:
    """Cross-entropy of the word in each attribute, over cosines as in eq. 1, the mean over all words that are known.

    Args:
        queries: Clip embeddings `(B, E)`.
        words: A direction for each word `(W, E)`, attribute by attribute; they are free, so that this is a linear
            classifier of unit length per attribute.
        targets: Column of each clip's word among `words`, per attribute `(B, A)`; -1 where it is not known.
        sizes: Words of each attribute, A numbers that add up to W.
        temperature: τ, above 0.

    Returns:
        A scalar in float32 or better; 0 where no word is known.

    Raises:
        ValueError: As for `info_nce`.
    """
    total, known, first = (queries.sum() + words.sum()).float() * 0.0, 0, 0
    for attribute, size in enumerate(sizes):
        rows = (targets[:, attribute] >= 0).nonzero().flatten()
        if len(rows):
            own = targets[rows, attribute] - first
            total = total + len(rows) * info_nce(queries[rows], words[first : first + size], temperature, targets=own)
        known, first = known + len(rows), first + size
    return total / max(known, 1)
