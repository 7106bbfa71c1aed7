"""What processes tell each other while training: sentence numbers; clips and features never travel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from transformers.integrations import is_deepspeed_zero3_enabled


def gather_ids(ids: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Joins the ids of all processes, in the order of their ranks.

    The frozen embeddings behind the ids lie in every process, so gathering the ids gathers the embeddings, without
    gradient, at 8 bytes a clip.

    Args:
        ids: Sentence ids of this process `(B,)`, int64; B may differ between processes.

    Returns:
        All ids `(ΣB,)`, and where this process's own begin.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return ids, 0
    world, rank = dist.get_world_size(), dist.get_rank()
    sizes = [torch.zeros(1, dtype=torch.int64, device=ids.device) for _ in range(world)]
    dist.all_gather(sizes, torch.tensor([len(ids)], dtype=torch.int64, device=ids.device))
    counts = [int(size) for size in sizes]
    padded = ids.new_zeros(max(counts))
    padded[: len(ids)] = ids
    parts = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]), sum(counts[:rank])


@contextmanager
def whole_weights(model: torch.nn.Module, change: bool = False) -> Iterator[None]:
    """Inside, every process has every weight, also where DeepSpeed ZeRO-3 gives each only a shard.

    Args:
        model: The network; every process has to enter.
        change: Whether weights are changed inside, by every process alike.
    """
    if not is_deepspeed_zero3_enabled():
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(model.parameters()), modifier_rank=0 if change else None):
        yield
