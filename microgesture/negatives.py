"""What a micro-batch has to know of its optimizer step: which sentences L_fg compares with, and what its clips weigh.

A step is made of micro-batches, on one device or several. Means over micro-batches are not means over the step where
those have unequal numbers of clips or of described clips; the weights here make them so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from microgesture.data.clip_dataset import NO_SENTENCE
from microgesture.distributed import gather_ids

NEGATIVES = ("batch", "global", "bank")
"""Whose sentences a clip's own is told from (`fg_negatives`): those of the clips of its micro-batch; of all clips of
the optimizer step, over devices and accumulation; or all distinct sentences of the training set."""


@dataclass(frozen=True)
class StepShare:
    """One micro-batch of B clips, of which H have a sentence, as a part of its optimizer step.

    Args:
        clip_weight: What the mean over its clips weighs in the step: B over the mean B of the step's micro-batches.
        fine_weight: What the mean over its described clips weighs in the step.
        keys: Rows of the sentence table that L_fg compares with, each once, ascending `(K,)`.
        rows: Which of its clips have a sentence `(H,)`.
        targets: Column of each one's own sentence among the keys `(H,)`.
    """

    clip_weight: float
    fine_weight: float
    keys: torch.Tensor
    rows: torch.Tensor
    targets: torch.Tensor


def share_step(
    sentence_ids: Sequence[torch.Tensor],
    negatives: str,
    sentences: int,
    at_least: int = 0,
    seed: Sequence[int] = (0,),
) -> list[StepShare]:
    """Shares an optimizer step among its micro-batches.

    Weights are such that the mean over micro-batches and processes of (weight · mean) is a mean in which every clip of
    the step counts the same, and in L_fg every described clip. With `batch`, whose terms no other process knows,
    L_fg is weighted by clips, as the other terms are. `global` and `bank` are collective: every process has to call.

    Args:
        sentence_ids: Row of the sentence table per clip, `NO_SENTENCE` where there is none; `(B,)` per micro-batch of
            this process, at least one.
        negatives: One of `NEGATIVES`.
        sentences: Rows of the sentence table.
        at_least: With `batch`: a micro-batch with fewer distinct sentences is given others of the table up to so many.
        seed: Of the draw of these, a function of step and process.

    Returns:
        One share per micro-batch, on the device of the ids.
    """
    device, count = sentence_ids[0].device, len(sentence_ids)
    joined = torch.cat(list(sentence_ids))
    processes = gather_ids(joined) if negatives != "batch" else [joined]
    # The device is waited for here, once per step; the indices that follow are known before any forward.
    whole = torch.cat(processes).cpu()
    said = whole[whole != NO_SENTENCE]
    shares = []
    for number, own in enumerate(joined.cpu().split([len(ids) for ids in sentence_ids])):
        rows = (own != NO_SENTENCE).nonzero().flatten()
        weight = len(own) * count * len(processes) / len(whole)
        if negatives == "batch":
            keys, fine_weight = _filled(torch.unique(own[rows]), at_least, sentences, [*seed, number]), weight
        else:
            keys = torch.unique(said) if negatives == "global" else torch.arange(sentences)
            fine_weight = len(rows) * count * len(processes) / max(len(said), 1)
        targets = torch.searchsorted(keys, own[rows])
        shares.append(StepShare(weight, fine_weight, keys.to(device), rows.to(device), targets.to(device)))
    return shares


def _filled(keys: torch.Tensor, at_least: int, sentences: int, seed: Sequence[int]) -> torch.Tensor:
    if len(keys) >= at_least:
        return keys
    others = np.setdiff1d(np.arange(sentences), keys.numpy())
    drawn = np.random.default_rng(seed).choice(others, at_least - len(keys), replace=False)
    return torch.cat([keys, torch.from_numpy(drawn)]).sort().values
