"""What is trained: LoRA on the vision encoder, fully trained heads, everything else frozen (FG-SGL, Sec. IV-A)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn

_BLOCK = r".*vision_tower\.encoder\.layer\.\d+\."
_ATTENTION = r"attention\.(q_proj|k_proj|v_proj|projection_layer)"
_MLP = r"mlp\.(fc1|fc2)"

# Part of the network -> how its parameters' names begin, below the model's prefix.
_PARTS = {
    "vision tower": ("vision_tower.",),
    "projector": ("multi_modal_projector.",),
    "FG-SA head": ("fine_pool.", "fine_proj.", "fine_text_proj."),
    "CP-A head": ("class_pool.", "class_proj.", "class_text_proj."),
    "classifier": ("classifier.",),
    "semantic head": ("semantic.",),
}


def trained_modules(terms: tuple[str, ...], classifier_input: str) -> list[str]:
    """The modules beside the vision tower that take part in the loss, and so are fully trained.

    Args:
        terms: Loss terms of the run, of `cls`, `cp`, `fg`, `sem`.
        classifier_input: `high` or `mid_high`.

    Returns:
        Module names; a head whose term is left out is frozen, as it would never get a gradient.
    """
    names = ["multi_modal_projector", "class_pool", "classifier"]
    if "fg" in terms or classifier_input == "mid_high":
        names.append("fine_pool")
    if "fg" in terms:
        names += ["fine_proj", "fine_text_proj"]
    if "cp" in terms:
        names += ["class_proj", "class_text_proj"]
    if "sem" in terms:
        names.append("semantic")
    return names


def prepare(
    model: Any,
    *,
    terms: tuple[str, ...],
    vision_tuning: str,
    mlp_tuning: str = "projector",
    lora_r: int = 8,
    lora_alpha: int = 16,
    lora_dropout: float = 0.05,
    adapter_dtype: str = "float32",
) -> Any:
    """Freezes what is not trained, and adds LoRA adapters where they are.

    Args:
        model: The whole network, an `FGSGLForVideoClassification`.
        terms: Loss terms of the run.
        vision_tuning: `lora`, `full` or `frozen`.
        mlp_tuning: `projector`, or `vit_mlp`: the MLPs of the vision blocks are fully trained as well.
        lora_r: Rank.
        lora_alpha: Scale.
        lora_dropout: Dropout before the adapters.
        adapter_dtype: `bfloat16` keeps frozen weights and adapters in bfloat16, the heads in float32.

    Returns:
        The same network, inside a `PeftModel` for `lora`.
    """
    modules = trained_modules(terms, model.config.classifier_input)
    if vision_tuning != "lora":
        return _unfreeze(model, modules, whole_tower=vision_tuning == "full")
    targets = _BLOCK + (_ATTENTION if mlp_tuning == "vit_mlp" else f"({_ATTENTION}|{_MLP})")
    config = LoraConfig(
        r=lora_r,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        target_modules=targets,
        modules_to_save=modules + (["mlp"] if mlp_tuning == "vit_mlp" else []),
    )
    adapted = get_peft_model(model, config)
    if adapter_dtype == "bfloat16":
        # peft would keep adapters in float32 and cast every activation for them: slower (RESULTS.md).
        model.base_model.vision_tower.to(torch.bfloat16)
    return adapted


def _unfreeze(model: Any, modules: list[str], whole_tower: bool) -> Any:
    model.requires_grad_(False)
    for name in modules:
        owner = model if hasattr(model, name) else model.base_model
        getattr(owner, name).requires_grad_(True)
    if whole_tower:
        model.base_model.vision_tower.requires_grad_(True)
    return model


def merge(model: nn.Module) -> Any:
    """The plain network with adapters merged into its weights; it needs no PEFT to save or load."""
    return model.merge_and_unload() if isinstance(model, PeftModel) else model


@contextmanager
def merged(model: nn.Module) -> Iterator[None]:
    """Merges adapters for evaluation, and gives the very same frozen weights back afterwards.

    Subtracting the adapters again would round; the frozen weights are kept and restored instead, so that a run that
    evaluates equals one that does not, bit for bit.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    if not layers:
        yield
        return
    kept = [layer.get_base_layer().weight.detach().clone() for layer in layers]
    for layer in layers:
        layer.merge(safe_merge=False)  # type: ignore[operator]
    try:
        yield
    finally:
        for layer, weight in zip(layers, kept, strict=True):
            layer.unmerge()  # type: ignore[operator]
            layer.get_base_layer().weight.data.copy_(weight)


def parameter_table(model: nn.Module) -> list[dict[str, Any]]:
    """Trained and frozen parameters per part of the network.

    Returns:
        Rows `{"part", "trained", "frozen"}`, the LoRA adapters apart, a last row for the whole.
    """
    rows: dict[str, list[int]] = {part: [0, 0] for part in ("vision tower", "LoRA adapters", *list(_PARTS)[1:])}
    for name, parameter in model.named_parameters():
        if "original_module" in name:  # peft keeps the untrained copy of a fully trained module
            continue
        adapter = "lora_" in name
        part = "LoRA adapters" if adapter else next(p for p, keys in _PARTS.items() if any(k in name for k in keys))
        rows[part][0 if parameter.requires_grad else 1] += parameter.numel()
    whole = {"all": [sum(counts[kind] for counts in rows.values()) for kind in (0, 1)]}
    return [{"part": part, "trained": a, "frozen": b} for part, (a, b) in (rows | whole).items() if a or b]
