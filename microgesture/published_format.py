"""How published InternVL checkpoints describe themselves: fields of config.json, names and layout of tensors.

Two formats hold the same network. `internvl_chat` is OpenGVLab's own, which comes with remote code (for example
OpenGVLab/InternVL2_5-8B); `internvl` is transformers' (repositories that end in "-hf"). Only names and numbers are
translated here; no file is opened and nobody's code is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import InternVLConfig, LlamaModel, PreTrainedConfig, Qwen2Model

ORIGINAL, NATIVE = "internvl_chat", "internvl"
READABLE = "InternVL2.5 1B, 2B, 4B and 8B, and repositories of these sizes that end in -MPO or -hf"

# transformers' field -> the original's, in vision_config.
_VISION_FIELDS = {
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "hidden_act": "hidden_act",
    "image_size": "image_size",
    "patch_size": "patch_size",
    "attention_bias": "qkv_bias",
    "attention_dropout": "attention_dropout",
    "projection_dropout": "dropout",
    "use_qk_norm": "qk_normalization",
    "norm_type": "norm_type",
    "layer_norm_eps": "layer_norm_eps",
    "layer_scale_init_value": "initializer_factor",
}
# The fields of llm_config that decide what the language model makes of a sentence; the rest says how it was run
# (attention code, cache, sliding windows, which are longer than any sentence).
_TEXT_FIELDS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_theta",
)  # fmt: skip
LANGUAGE_MODELS = {"llama": LlamaModel, "qwen2": Qwen2Model}
# llm_config's architecture -> transformers' name of the same network. InternLM2 is a Llama with fused projections.
_ARCHITECTURES = {"InternLM2ForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2"}
# What FGSGLModel computes from the tower's output; a checkpoint that was made for anything else is refused.
_EXPECTED = {
    ORIGINAL: {"select_layer": -1, "ps_version": "v2"},
    NATIVE: {"vision_feature_layer": -1, "vision_feature_select_strategy": "default"},
}

# Our names -> the original's. Three of ours come from one fused `qkv` or `wqkv`.
_VISION_NAMES = (
    (r"^vision_tower\.encoder\.layer\.", "vision_model.encoder.layers."),
    (r"^vision_tower\.", "vision_model."),
    (r"\.cls_token$", ".class_embedding"),
    (r"\.position_embeddings$", ".position_embedding"),
    (r"\.patch_embeddings\.projection\.", ".patch_embedding."),
    (r"\.lambda_([12])$", r".ls\1"),
    (r"\.attention\.[qkv]_proj\.", ".attn.qkv."),
    (r"\.attention\.projection_layer\.", ".attn.proj."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"^multi_modal_projector\.layer_norm\.", "mlp1.0."),
    (r"^multi_modal_projector\.linear_1\.", "mlp1.1."),
    (r"^multi_modal_projector\.linear_2\.", "mlp1.3."),
)
_INTERNLM2_NAMES = (
    (r"^embed_tokens\.", "tok_embeddings."),
    (r"\.self_attn\.[qkv]_proj\.", ".attention.wqkv."),
    (r"\.self_attn\.o_proj\.", ".attention.wo."),
    (r"\.mlp\.gate_proj\.", ".feed_forward.w1."),
    (r"\.mlp\.up_proj\.", ".feed_forward.w3."),
    (r"\.mlp\.down_proj\.", ".feed_forward.w2."),
    (r"\.input_layernorm\.", ".attention_norm."),
    (r"\.post_attention_layernorm\.", ".ffn_norm."),
)


@dataclass(frozen=True)
class Part:
    """Where a checkpoint keeps one part of the network.

    Args:
        source: Our name of a tensor to the checkpoint's name of the tensor that holds it.
        split: A fused tensor to ours, in the order in which our network names them.
        others: Pattern of the names that belong to the other parts, which are left alone.
    """

    source: Callable[[str], str]
    split: Callable[[torch.Tensor], Sequence[torch.Tensor]]
    others: re.Pattern[str]


def translate_config(raw: Mapping[str, Any], name: str) -> InternVLConfig:
    """A checkpoint's configuration in transformers' terms, from either format.

    Args:
        raw: The checkpoint's config.json.
        name: The checkpoint's name, for messages.

    Raises:
        ValueError: It is no InternVL that can be read here, or a field is missing; the message says which ones can.
    """
    kind = raw.get("model_type")
    if kind not in _EXPECTED:
        raise ValueError(
            f"{name} is no InternVL checkpoint (its config.json says model_type {kind!r}); those that can be read are "
            f"{READABLE}"
        )
    for field, expected in _EXPECTED[kind].items():
        # transformers leaves out of config.json what has its default value; the original writes every field.
        found = raw.get(field, expected if kind == NATIVE else None)
        if found != expected:
            raise ValueError(f"{name} has {field} {found!r}, and FG-SGL computes {expected!r}; use one of {READABLE}")
    config = _from_original(raw, name) if kind == ORIGINAL else _from_native(raw, name)
    vision = config.vision_config
    if vision.use_qk_norm or vision.norm_type != "layer_norm":
        raise ValueError(
            f"{name} has the vision tower InternViT-6B (it normalises queries and keys, and has {vision.norm_type}), "
            f"as the sizes from 26B on do; FG-SGL is built on InternViT-300M: use {READABLE}"
        )
    return config


def _from_original(raw: Mapping[str, Any], name: str) -> InternVLConfig:
    vision = {ours: _get(raw, ("vision_config", theirs), name) for ours, theirs in _VISION_FIELDS.items()}
    size, forced = vision["image_size"], raw.get("force_image_size")
    if forced not in (None, size):
        raise ValueError(f"{name} was trained on {forced} px over positions for {size} px; use one of {READABLE}")
    architecture = _get(raw, ("llm_config", "architectures"), name)[0]
    if architecture not in _ARCHITECTURES:
        raise ValueError(
            f"{name} has the language model {architecture}; those that can be read are {', '.join(_ARCHITECTURES)} "
            f"(in {READABLE})"
        )
    text = {field: _get(raw, ("llm_config", field), name) for field in _TEXT_FIELDS}
    text["rope_scaling"] = raw["llm_config"].get("rope_scaling")  # only where there is one
    if architecture == "InternLM2ForCausalLM":
        text["attention_bias"] = _get(raw, ("llm_config", "bias"), name)
    return InternVLConfig(
        vision_config=vision,
        text_config={"model_type": _ARCHITECTURES[architecture], **text},
        downsample_ratio=_get(raw, ("downsample_ratio",), name),
    )


def _from_native(raw: Mapping[str, Any], name: str) -> InternVLConfig:
    config = InternVLConfig.from_dict(dict(raw))
    kind = config.text_config.model_type
    if kind not in LANGUAGE_MODELS:
        raise ValueError(
            f"{name} has the language model {kind}; those that can be read are {', '.join(LANGUAGE_MODELS)} "
            f"(in {READABLE})"
        )
    return config


def _get(raw: Mapping[str, Any], path: tuple[str, ...], name: str) -> Any:
    value: Any = raw
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            raise ValueError(f"config.json of {name} lacks {'.'.join(path)}; is the file complete?")
        value = value[key]
    return value


def network_fields(config: InternVLConfig) -> dict[str, Any]:
    """The fields of `FGSGLConfig` that a checkpoint decides: what is computed, without dtype, paths and versions."""
    vision, text = config.vision_config, config.text_config
    return {
        "vision_config": _own_fields(vision),
        "text_config": {"model_type": text.model_type, **_own_fields(text)},
        "downsample_ratio": config.downsample_ratio,
        "projector_hidden_act": config.projector_hidden_act,
    }


def _own_fields(config: PreTrainedConfig) -> dict[str, Any]:
    return {field: getattr(config, field) for field in type(config).__annotations__}


def vision_part(kind: str, names: Sequence[str]) -> Part:
    """Vision tower and projector; our names begin with `vision_tower.` and `multi_modal_projector.`.

    Args:
        kind: The checkpoint's model_type.
        names: The names of all its tensors.
    """
    if kind == ORIGINAL:
        others = re.compile(r"language_model\.")
        return Part(lambda name: _rename(name, _VISION_NAMES), lambda fused: fused.chunk(3), others)
    begin = "model." if any(name.startswith("model.vision_tower.") for name in names) else ""
    return Part(lambda name: begin + name, _alone, re.compile(r"(model\.)?language_model\.|lm_head\."))


def text_part(kind: str, names: Sequence[str], config: InternVLConfig) -> Part:
    """The language model without its head; our names are those of `LlamaModel` and `Qwen2Model`.

    Args:
        kind: The checkpoint's model_type.
        names: The names of all its tensors.
        config: Its configuration.
    """
    text = config.text_config
    if kind == ORIGINAL:
        renames = _INTERNLM2_NAMES if text.model_type == "llama" else ()
        others = re.compile(r"vision_model\.|mlp1\.|language_model\.(output|lm_head)\.")
        heads = (text.num_attention_heads, text.num_key_value_heads)
        return Part(
            lambda name: f"language_model.model.{_rename(name, renames)}", lambda w: split_wqkv(w, *heads), others
        )
    begins = ("language_model.model.", "model.language_model.", "language_model.")
    begin = next((b for b in begins if f"{b}embed_tokens.weight" in names), begins[0])
    others = re.compile(r"(model\.)?(vision_tower|multi_modal_projector)\.|(language_model\.)?lm_head\.")
    return Part(lambda name: begin + name, _alone, others)


def split_wqkv(fused: torch.Tensor, num_heads: int, num_key_value_heads: int) -> list[torch.Tensor]:
    """InternLM2's `wqkv` to the weights (or biases) of queries, keys and values.

    Its rows are ordered by key-value head: first the queries that share the head, then its key, then its value.

    Args:
        fused: `((H + 2·H_kv) · d, ...)`, d the width of a head.
        num_heads: H.
        num_key_value_heads: H_kv.
    """
    groups = fused.unflatten(0, (num_key_value_heads, num_heads // num_key_value_heads + 2, -1))
    return [part.flatten(0, 2) for part in (groups[:, :-2], groups[:, -2:-1], groups[:, -1:])]


def _alone(tensor: torch.Tensor) -> list[torch.Tensor]:
    return [tensor]


def _rename(name: str, renames: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name
