"""What processes tell each other while training: sentence numbers and alarms; clips and features never travel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from transformers.integrations import deepspeed as deepspeed_integration


def gather_ids(ids: torch.Tensor) -> list[torch.Tensor]:
    """Gives every process the ids of all.

    The frozen embeddings behind the ids lie in every process, so gathering the ids gathers the embeddings, without
    gradient, at 8 bytes a clip.

    Args:
        ids: Sentence ids of this process `(B,)`, int64; B may differ between processes.

    Returns:
        The ids of each process, in the order of their ranks.
    """
    if not _several():
        return [ids]
    world = dist.get_world_size()
    sizes = [torch.zeros(1, dtype=torch.int64, device=ids.device) for _ in range(world)]
    dist.all_gather(sizes, torch.tensor([len(ids)], dtype=torch.int64, device=ids.device))
    counts = [int(size) for size in sizes]
    padded = ids.new_zeros(max(counts))
    padded[: len(ids)] = ids
    parts = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded)
    return [part[:count] for part, count in zip(parts, counts, strict=True)]


def any_process(flag: torch.Tensor) -> bool:
    """Whether a flag (a scalar) is set in any process; every process has to ask, and gets the same answer."""
    if not _several():
        return bool(flag)
    raised = flag.to(torch.int32)
    dist.all_reduce(raised, op=dist.ReduceOp.MAX)
    return bool(raised)


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@contextmanager
def built_whole() -> Iterator[None]:
    """Inside, a network is made or read whole in every process, also for DeepSpeed ZeRO-3, as on one device.

    transformers would shard it while it is made, and so draw other first weights than one device does; this way
    DeepSpeed shards when training starts. A process can hold all of FG-SGL: its language model is not in it, and the
    0.3 billion weights of InternViT-300M are 1.2 GB in float32.
    """
    # transformers keeps the configuration of the run as a weak reference, and looks there.
    reference = deepspeed_integration._hf_deepspeed_config_weak_ref
    config = reference() if reference is not None else None
    deepspeed_integration.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if config is not None:
            deepspeed_integration.set_hf_deepspeed_config(config)


@contextmanager
def whole_weights(model: torch.nn.Module) -> Iterator[None]:
    """Inside, every process has every weight, also where DeepSpeed ZeRO-3 trains with a shard in each.

    Args:
        model: The network; every process has to enter, and what is changed inside is lost under ZeRO-3.
    """
    if not deepspeed_integration.is_deepspeed_zero3_enabled():
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(model.parameters())):
        yield
