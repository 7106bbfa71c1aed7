"""What a run will cost: parameters, memory per device, steps and FLOPs, before anything is loaded.

Nothing here is a formula of the network that could drift from it: the network itself, adapters included, runs one
forward and backward over tensors that have shapes and no values (torch's fake tensors), while FLOPs and living bytes
are counted.
"""

from __future__ import annotations

import json
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

from microgesture import adapters
from microgesture.arguments import FGSGLTrainingArguments
from microgesture.data.clips import LABELS_FILE, METADATA_FILE, ClassInfo, DatasetInfo
from microgesture.data.fg_text import FGText
from microgesture.run_record import format_parameters

ADAM_STATES = 2  # two moments, each as wide as the parameter
COLUMNS = ("plain", "activation checkpointing")
UNKNOWN_CLASSES = 32
DATASETS = Path(__file__).resolve().parent.parent / "datasets"

# InternVL2.5-8B as published: InternViT-300M, and a language model of width 4,096 (only its width is in the network).
PUBLISHED = {
    "vision_config": {"attention_bias": True},
    "text_config": {"model_type": "llama", "hidden_size": 4096},
}


@dataclass(frozen=True)
class Estimate:
    """What a run will cost. Two figures are one without and one with activation checkpointing, in this order.

    Args:
        parameters: Rows of `adapters.parameter_table`.
        memory: Bytes on each device at the peak, by kind.
        flops: FLOPs of one optimizer step, over all devices; a multiply-add counts as two.
        clips_per_step: Clips of one optimizer step, over all devices.
        steps_per_epoch: Optimizer steps, `None` where the number of training clips is not known.
        steps: Optimizer steps of the run, `None` where they depend on that number.
        checkpointing: Whether the run uses activation checkpointing.
    """

    parameters: list[dict[str, Any]]
    memory: dict[str, tuple[int, int]]
    flops: tuple[int, int]
    clips_per_step: int
    steps_per_epoch: int | None
    steps: int | None
    checkpointing: bool

    def format(self) -> str:
        """The estimate as text; the column of this run has a star."""
        heads = [name + " *" * (number == self.checkpointing) for number, name in enumerate(COLUMNS)]
        rows = {kind: [f"{figure / 1e9:.2f}" for figure in both] for kind, both in self.memory.items()}
        rows["together"] = [f"{sum(both) / 1e9:.2f}" for both in zip(*self.memory.values(), strict=True)]
        lines = [format_parameters(self.parameters), ""]
        lines += [f"{'memory per device, GB':<24}{heads[0]:>10}{heads[1]:>28}"]
        lines += [f"{kind:<24}{plain:>10}{again:>28}" for kind, (plain, again) in rows.items()]
        plain, again = (f"{figure / 1e12:,.4g}" for figure in self.flops)
        lines += [f"{'TFLOP of a step':<24}{plain:>10}{again:>28}", "", f"clips of a step: {self.clips_per_step}"]
        if self.steps_per_epoch is not None:
            lines.append(f"steps per epoch: {self.steps_per_epoch:,}")
        if self.steps is not None:
            lines.append(f"steps of the run: {self.steps:,}")
        return "\n".join(lines)


def estimate(build: Callable[[], nn.Module], args: FGSGLTrainingArguments, train_clips: int | None) -> Estimate:
    """Counts what a run will cost, as a function of its settings alone.

    Args:
        build: Makes the network as it is trained, frozen and adapted; it is called on the meta device.
        args: The training arguments.
        train_clips: Clips of the training split, `None` if not known.
    """
    with torch.device("meta"):
        model: Any = build()
    devices, clips = args.recipe_world_size or args.world_size, args.per_device_train_batch_size
    trained = sum(_bytes(parameter) for parameter in model.parameters() if parameter.requires_grad)
    kept = sum(_bytes(tensor) for tensor in (*model.parameters(), *model.buffers()))
    pixels = clips * model.config.num_frames * 3 * model.config.image_size**2
    table = adapters.parameter_table(model)
    measured = []
    for again in (False, True):
        if again:
            model.activation_checkpointing_enable()
        autocast = torch.bfloat16 if args.bf16 or args.fp16 else None
        measured.append(measure(model, clips=clips, terms=args.terms, autocast=autocast, like_gpu=not args.use_cpu))
    (flops, activations), (flops_again, activations_again) = measured
    memory = {
        "weights": (kept, kept),
        # Distributed data parallel sends gradients in buckets of its own.
        "gradients": (trained * (2 if devices > 1 else 1),) * 2,
        "optimizer states": (trained * ADAM_STATES,) * 2,
        "frames": (pixels * (1 + 4),) * 2,  # as they are read, one byte each, and normalised, four
        "activations": (activations, activations_again),
    }
    micro_batches = args.gradient_accumulation_steps * devices
    per_epoch = None if train_clips is None else steps_per_epoch(train_clips, args, devices)
    steps = math.ceil(args.num_train_epochs * per_epoch) if per_epoch else None
    return Estimate(
        parameters=table,
        memory=memory,
        flops=(flops * micro_batches, flops_again * micro_batches),
        clips_per_step=clips * micro_batches,
        steps_per_epoch=per_epoch,
        steps=args.max_steps if args.max_steps > 0 else steps,
        checkpointing=bool(args.activation_checkpointing),
    )


def known_of_data(folder: Path) -> tuple[DatasetInfo, int | None, list[str]]:
    """The classes and the number of training clips of a data set that may not be prepared yet.

    Args:
        folder: The prepared folder; where it is missing, `datasets/<its name>/labels.json` is asked.

    Returns:
        The class list, the training clips or `None`, and a sentence for each thing that is assumed or unknown.
    """
    metadata = folder / "train" / METADATA_FILE
    if metadata.is_file():
        lines = metadata.read_text(encoding="utf-8").splitlines()
        return DatasetInfo.read(folder), sum(bool(line.strip()) for line in lines), []
    notes, clips = [], None
    expected = DATASETS / folder.name / LABELS_FILE
    if expected.is_file():
        info = DatasetInfo.read(expected.parent)
        clips = json.loads(expected.read_text(encoding="utf-8")).get("expected", {}).get("train")
    else:
        info = DatasetInfo(folder.name, "unknown", "unknown", _UNKNOWN)
        notes.append(f"classes: unknown until {folder} is prepared; {UNKNOWN_CLASSES} are assumed")
    if clips is None:
        notes.append(f"training clips: unknown, and with them the steps, until {folder} is prepared")
    return info, clips, notes


def steps_per_epoch(clips: int, args: FGSGLTrainingArguments, devices: int) -> int:
    """Optimizer steps of one epoch, rounded as the Trainer and accelerate round.

    Args:
        clips: Clips of the training split.
        args: Gives batch size, accumulation and whether a last, smaller batch is left out.
        devices: Processes.
    """
    rounded = math.floor if args.dataloader_drop_last else math.ceil
    batches = rounded(clips / (args.per_device_train_batch_size * devices))
    return max(1, math.ceil(batches / args.gradient_accumulation_steps))


def measure(
    model: Any, *, clips: int, terms: Sequence[str], autocast: torch.dtype | None, like_gpu: bool
) -> tuple[int, int]:
    """FLOPs and greatest memory of forward and backward of one micro-batch, without computing anything.

    The losses, some thousand products between embeddings, are left out: each head's output is summed instead.

    Args:
        model: A network on the meta device, in training mode or not; its parameters are replaced by fake ones.
        clips: Clips of the micro-batch.
        terms: Loss terms of the run.
        autocast: Type of mixed precision, `None` for none.
        like_gpu: Keep for the backward pass what a GPU's kernels keep, and not what a CPU's do.

    Returns:
        FLOPs, a multiply-add counting as two; and bytes beside weights, their gradients and the pixels.
    """
    config = model.config
    if like_gpu:
        _act_like_gpu(model, autocast is not None)
    meter = _Meter()
    with FakeTensorMode():
        shape = (clips, config.num_frames, 3, config.image_size, config.image_size)
        pixels, texts = torch.empty(shape), torch.empty(clips, config.text_config.hidden_size)
        for tensor in (pixels, texts, *_make_fake(model.train())):
            meter.know(tensor)
        with meter:
            with torch.autocast("cpu", dtype=autocast) if autocast else nullcontext():
                out = model(pixel_values=pixels, fine_texts=texts if "fg" in terms else None)
            loss = out.logits.float().sum()
            if "cp" in terms:
                loss = loss + out.class_embeds.float().sum() + out.category_embeds.float().sum()
            if "fg" in terms:
                loss = loss + out.fine_embeds.float().sum() + out.fine_text_embeds.float().sum()
            if "sem" in terms:
                loss = loss + out.semantic_embeds.float().sum()
            del out
            loss.backward()
    return meter.flops, meter.peak


def _make_fake(model: nn.Module) -> Iterator[torch.Tensor]:
    """Replaces parameters and buffers by fake tensors, each trained parameter with a gradient, and yields all."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                empty = torch.empty(parameter.shape, dtype=parameter.dtype)
                module._parameters[name] = fake = nn.Parameter(empty, requires_grad=parameter.requires_grad)
                yield fake
                if fake.requires_grad:
                    gradient: torch.Tensor = torch.empty_like(fake)
                    fake.grad = gradient
                    yield gradient
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = fake_buffer = torch.empty(buffer.shape, dtype=buffer.dtype)
                yield fake_buffer


class _Meter(TorchDispatchMode):
    """Counts FLOPs, and follows the storages that operations make until nothing refers to them any more.

    torch's own FlopCounterMode would keep what activation checkpointing frees.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.now = self.peak = 0
        self._sizes: Any = WeakIdKeyDictionary()

    def know(self, tensor: torch.Tensor) -> None:
        """Leaves a tensor that was there before out of the count."""
        self._sizes[tensor.untyped_storage()] = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        formula = _FLOPS.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=made)
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._follow(tensor.untyped_storage())
        return made

    def _follow(self, storage: torch.UntypedStorage) -> None:
        if storage in self._sizes:
            return
        self._sizes[storage] = size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self.now -= size


def _act_like_gpu(model: nn.Module, autocast: bool) -> None:
    """Lets the layers that keep other things on a GPU than on a CPU keep what they would keep there."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.forward = partial(_gpu_dropout, module)  # type: ignore[method-assign]
        elif isinstance(module, nn.LayerNorm) and autocast:
            module.forward = partial(_gpu_layer_norm, module)  # type: ignore[method-assign]


def _gpu_dropout(module: nn.Dropout, tensor: torch.Tensor) -> torch.Tensor:
    """A GPU keeps the mask in one byte per value, a CPU in the type of the values."""
    return torch.native_dropout(tensor, module.p, True)[0] if module.training and module.p > 0 else tensor


def _gpu_layer_norm(module: nn.LayerNorm, tensor: torch.Tensor) -> torch.Tensor:
    """Autocast normalises in float32 on a GPU, and in the type of the values on a CPU."""
    scale, shift = (None if part is None else part.float() for part in (module.weight, module.bias))
    return F.layer_norm(tensor.float(), module.normalized_shape, scale, shift, module.eps)


_aten = torch.ops.aten
# The CPU's fused attention does the same products as the GPU's, and torch knows how many for the latter only.
_FLOPS: dict[Any, Callable[..., int]] = flop_registry | {
    _aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[_aten._scaled_dot_product_flash_attention],
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        _aten._scaled_dot_product_flash_attention_backward
    ],
}


_UNKNOWN = tuple(
    ClassInfo(f"class {number}", f"Class {number}.", FGText(initiator="hand")) for number in range(UNKNOWN_CLASSES)
)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
