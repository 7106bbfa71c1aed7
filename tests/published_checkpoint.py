"""Checkpoints in the published formats with tiny widths, and what they must compute, written out in plain PyTorch.

The names of tensors, their layout and the fields of config.json are those of OpenGVLab/InternVL2_5-8B (InternLM2) and
InternVL2_5-1B (Qwen2); widths are tiny and in the ratios of the 8B: tower to language model 1:4, MLPs 4 and 3.5 times
as wide, 4 query heads to a key-value head. Nothing here uses the code under test.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import InternVLConfig, InternVLForConditionalGeneration

D, LAYERS, HEADS, SIDE, PATCH = 32, 3, 4, 56, 14
D_T, TEXT_LAYERS, TEXT_HEADS, KV_HEADS, HEAD = 128, 2, 8, 2, 16
FF = 7 * D_T // 2
VOCABULARY, THETA, EPS = 600, 1e6, 1e-5

VISION_CONFIG = {
    "architectures": ["InternVisionModel"], "attention_dropout": 0.0, "drop_path_rate": 0.0, "dropout": 0.0,
    "hidden_act": "gelu", "hidden_size": D, "image_size": SIDE, "initializer_factor": 1.0, "initializer_range": 0.02,
    "intermediate_size": 4 * D, "layer_norm_eps": 1e-06, "model_type": "intern_vit_6b", "norm_type": "layer_norm",
    "num_attention_heads": HEADS, "num_channels": 3, "num_hidden_layers": LAYERS, "output_attentions": False,
    "patch_size": PATCH, "qk_normalization": False, "qkv_bias": True, "return_dict": True, "torch_dtype": "bfloat16",
    "transformers_version": "4.37.2", "use_bfloat16": True, "use_flash_attn": True,
}  # fmt: skip
_TEXT = {
    "hidden_act": "silu", "hidden_size": D_T, "intermediate_size": FF, "max_position_embeddings": 512,
    "num_attention_heads": TEXT_HEADS, "num_hidden_layers": TEXT_LAYERS, "num_key_value_heads": KV_HEADS,
    "rms_norm_eps": EPS, "rope_theta": THETA, "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": VOCABULARY,
    "attn_implementation": "flash_attention_2",
}  # fmt: skip
TEXT_CONFIGS = {
    "internlm2": {
        **_TEXT, "_name_or_path": "internlm/internlm2_5-7b-chat", "architectures": ["InternLM2ForCausalLM"],
        "auto_map": {"AutoConfig": "configuration_internlm2.InternLM2Config"}, "model_type": "internlm2",
        "rope_scaling": {"factor": 2.0, "type": "dynamic"}, "tie_word_embeddings": False,
        "bias": False, "pad_token_id": 2,
    },
    "qwen2": {
        **_TEXT, "_name_or_path": "Qwen/Qwen2.5-0.5B-Instruct", "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2", "rope_scaling": None, "sliding_window": 32768, "use_sliding_window": False,
        "tie_word_embeddings": True,
    },
}  # fmt: skip


def original_config(language_model: str) -> dict:
    return {
        "architectures": ["InternVLChatModel"], "model_type": "internvl_chat", "downsample_ratio": 0.5,
        "auto_map": {"AutoModel": "modeling_internvl_chat.InternVLChatModel"}, "force_image_size": SIDE,
        "ps_version": "v2", "select_layer": -1, "template": "internvl2_5", "torch_dtype": "bfloat16",
        "transformers_version": None, "use_backbone_lora": 0, "vision_config": VISION_CONFIG,
        "llm_config": TEXT_CONFIGS[language_model],
    }  # fmt: skip


def original_weights(language_model: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint in the original format, in bfloat16 as published."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, mean: float = 0.0, std: float = 0.15) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * std + mean).bfloat16()

    w = {
        "vision_model.embeddings.class_embedding": normal(1, 1, D),
        "vision_model.embeddings.position_embedding": normal(1, (SIDE // PATCH) ** 2 + 1, D),
        "vision_model.embeddings.patch_embedding.weight": normal(D, 3, PATCH, PATCH, std=0.05),
        "vision_model.embeddings.patch_embedding.bias": normal(D),
    }
    for layer in range(LAYERS):
        p = f"vision_model.encoder.layers.{layer}."
        for norm in ("norm1", "norm2"):
            w |= {f"{p}{norm}.weight": normal(D, mean=1.0), f"{p}{norm}.bias": normal(D)}
        for name, out, into in (
            ("attn.qkv", 3 * D, D),
            ("attn.proj", D, D),
            ("mlp.fc1", 4 * D, D),
            ("mlp.fc2", D, 4 * D),
        ):
            w |= {f"{p}{name}.weight": normal(out, into), f"{p}{name}.bias": normal(out)}
        w |= {f"{p}ls1": normal(D, mean=0.8), f"{p}ls2": normal(D, mean=0.8)}
    w |= {"mlp1.0.weight": normal(4 * D, mean=1.0), "mlp1.0.bias": normal(4 * D)}
    w |= {"mlp1.1.weight": normal(D_T, 4 * D), "mlp1.1.bias": normal(D_T)}
    w |= {"mlp1.3.weight": normal(D_T, D_T), "mlp1.3.bias": normal(D_T)}
    return w | (_internlm2(normal) if language_model == "internlm2" else _qwen2(normal))


def _internlm2(normal) -> dict[str, torch.Tensor]:
    b = "language_model.model."
    w = {f"{b}tok_embeddings.weight": normal(VOCABULARY, D_T), f"{b}norm.weight": normal(D_T, mean=1.0)}
    for layer in range(TEXT_LAYERS):
        p = f"{b}layers.{layer}."
        w[f"{p}attention.wqkv.weight"] = normal((TEXT_HEADS + 2 * KV_HEADS) * HEAD, D_T)
        w[f"{p}attention.wo.weight"] = normal(D_T, D_T)
        w |= {f"{p}feed_forward.w1.weight": normal(FF, D_T), f"{p}feed_forward.w2.weight": normal(D_T, FF)}
        w |= {f"{p}feed_forward.w3.weight": normal(FF, D_T), f"{p}attention_norm.weight": normal(D_T, mean=1.0)}
        w[f"{p}ffn_norm.weight"] = normal(D_T, mean=1.0)
    return w | {"language_model.output.weight": normal(VOCABULARY, D_T)}


def _qwen2(normal) -> dict[str, torch.Tensor]:
    b = "language_model.model."
    w = {f"{b}embed_tokens.weight": normal(VOCABULARY, D_T), f"{b}norm.weight": normal(D_T, mean=1.0)}
    for layer in range(TEXT_LAYERS):
        p = f"{b}layers.{layer}."
        for name, out in (("q", D_T), ("k", KV_HEADS * HEAD), ("v", KV_HEADS * HEAD)):
            w |= {f"{p}self_attn.{name}_proj.weight": normal(out, D_T), f"{p}self_attn.{name}_proj.bias": normal(out)}
        w[f"{p}self_attn.o_proj.weight"] = normal(D_T, D_T)
        w |= {f"{p}mlp.gate_proj.weight": normal(FF, D_T), f"{p}mlp.up_proj.weight": normal(FF, D_T)}
        w |= {f"{p}mlp.down_proj.weight": normal(D_T, FF), f"{p}input_layernorm.weight": normal(D_T, mean=1.0)}
        w[f"{p}post_attention_layernorm.weight"] = normal(D_T, mean=1.0)
    return w | {"language_model.lm_head.weight": normal(VOCABULARY, D_T)}


def shard_of(name: str) -> int:
    """The shard of four that holds a tensor; as in InternVL2_5-8B the vision side is in the first and the last."""
    if name.startswith(("vision_model.", "model.vision_tower.", "vision_tower.")) or "embed" in name:
        return 1
    if ".layers." in name:
        return 2 + int(name.split(".layers.")[1].split(".")[0]) % 2
    return 4


def write_weights(folder: Path, weights: dict[str, torch.Tensor], sharded: bool = True) -> None:
    if not sharded:
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        return
    files = {name: f"model-{shard_of(name):05d}-of-00004.safetensors" for name in weights}
    for file in sorted(set(files.values())):
        save_file({n: t for n, t in weights.items() if files[n] == file}, folder / file, {"format": "pt"})
    index = {"metadata": {"total_size": sum(2 * t.numel() for t in weights.values())}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_original(folder: Path, language_model: str, sharded: bool = True, seed: int = 0) -> dict[str, torch.Tensor]:
    """A whole checkpoint in the original format, without a tokenizer; gives its tensors."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(original_config(language_model)))
    weights = original_weights(language_model, seed)
    write_weights(folder, weights, sharded)
    return weights


def write_native(folder: Path, language_model: str, weights: dict[str, torch.Tensor], old_names: bool) -> None:
    """The same network as transformers publishes it, named as its releases before 5 did (`old_names`) or since."""
    llm = TEXT_CONFIGS[language_model]
    kind = {"internlm2": "llama", "qwen2": "qwen2"}[language_model]
    keep = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
            "vocab_size", "rms_norm_eps", "rope_theta", "rope_scaling", "max_position_embeddings")  # fmt: skip
    config = InternVLConfig(
        vision_config={"hidden_size": D, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "image_size": SIDE,
                       "intermediate_size": 4 * D, "patch_size": PATCH, "attention_bias": True},
        text_config={"model_type": kind, **{name: llm[name] for name in keep}}, tie_word_embeddings=False,
    )  # fmt: skip
    model = InternVLForConditionalGeneration(config).bfloat16()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(_native_value(name.removeprefix("model."), weights))
    model.save_pretrained(folder)
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if old_names:
        tensors = {_old_name(name): tensor for name, tensor in tensors.items()}
    (folder / "model.safetensors").unlink()
    write_weights(folder, tensors)


def _old_name(name: str) -> str:
    if name.startswith("lm_head."):
        return f"language_model.{name}"
    return name.removeprefix("model.").replace("language_model.", "language_model.model.", 1)


def _native_value(name: str, w: dict[str, torch.Tensor]) -> torch.Tensor:
    """One tensor of transformers' InternVL, looked up in the original by hand."""
    kind = name.rsplit(".", 1)[-1]
    if name == "lm_head.weight":
        return w.get("language_model.output.weight", w.get("language_model.lm_head.weight"))
    if name.startswith("vision_tower.embeddings."):
        last = {"cls_token": "class_embedding", "position_embeddings": "position_embedding"}
        return w[f"vision_model.embeddings.{last.get(kind, f'patch_embedding.{kind}')}"]
    if name.startswith("multi_modal_projector."):
        return w[f"mlp1.{ {'layer_norm': 0, 'linear_1': 1, 'linear_2': 3}[name.split('.')[1]] }.{kind}"]
    if name.startswith("vision_tower."):
        layer, rest = name.removeprefix("vision_tower.encoder.layer.").split(".", 1)
        p = f"vision_model.encoder.layers.{layer}."
        for row, letter in enumerate("qkv"):
            if rest.startswith(f"attention.{letter}_proj"):
                return w[f"{p}attn.qkv.{kind}"][row * D : (row + 1) * D]
        table = {"attention.projection_layer": "attn.proj", "layernorm_before": "norm1", "layernorm_after": "norm2"}
        table |= {"lambda_1": "ls1", "lambda_2": "ls2"}
        stem = rest.removesuffix(f".{kind}")
        return w[p + table[rest]] if rest in table else w[f"{p}{table.get(stem, stem)}.{kind}"]
    rest = name.removeprefix("language_model.")
    if f"language_model.model.{rest}" in w:
        return w[f"language_model.model.{rest}"]
    if "." not in rest.removesuffix(".weight"):
        return w["language_model.model.tok_embeddings.weight"]
    _, layer, stem = rest.removesuffix(".weight").split(".", 2)
    p = f"language_model.model.layers.{layer}."
    if stem.startswith("self_attn.") and stem[10] in "qkv" and "wqkv" not in stem:
        return torch.cat(wqkv_heads(w[f"{p}attention.wqkv.weight"])[stem[10]])
    table = {"self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.up_proj": "feed_forward.w3",
             "mlp.down_proj": "feed_forward.w2", "input_layernorm": "attention_norm",
             "post_attention_layernorm": "ffn_norm"}  # fmt: skip
    return w[f"{p}{table[stem]}.weight"]


# ---- what the original computes -------------------------------------------------------------------------------------


def reference_features(w: dict[str, torch.Tensor], pixels: torch.Tensor, mid_layer: int) -> tuple[torch.Tensor, ...]:
    """The original's vision tower and projector on `(n, 3, H, W)`: patch tokens after `mid_layer`, and the output."""
    w = {name: tensor.float() for name, tensor in w.items()}
    e = "vision_model.embeddings."
    patches = F.conv2d(pixels, w[f"{e}patch_embedding.weight"], w[f"{e}patch_embedding.bias"], stride=PATCH)
    x = torch.cat([w[f"{e}class_embedding"].expand(len(pixels), 1, D), patches.flatten(2).transpose(1, 2)], 1)
    x = x + w[f"{e}position_embedding"]
    states = []
    for layer in range(LAYERS):
        p = f"vision_model.encoder.layers.{layer}."
        normed = F.layer_norm(x, (D,), w[f"{p}norm1.weight"], w[f"{p}norm1.bias"], 1e-6)
        x = x + _attention(w, f"{p}attn.", normed) * w[f"{p}ls1"]
        normed = F.layer_norm(x, (D,), w[f"{p}norm2.weight"], w[f"{p}norm2.bias"], 1e-6)
        hidden = F.gelu(F.linear(normed, w[f"{p}mlp.fc1.weight"], w[f"{p}mlp.fc1.bias"]))
        x = x + F.linear(hidden, w[f"{p}mlp.fc2.weight"], w[f"{p}mlp.fc2.bias"]) * w[f"{p}ls2"]
        states.append(x[:, 1:])
    joined = F.layer_norm(_shuffle_v2(states[-1]), (4 * D,), w["mlp1.0.weight"], w["mlp1.0.bias"])
    hidden = F.gelu(F.linear(joined, w["mlp1.1.weight"], w["mlp1.1.bias"]))
    return states[mid_layer - 1], F.linear(hidden, w["mlp1.3.weight"], w["mlp1.3.bias"])


def _attention(w: dict[str, torch.Tensor], p: str, x: torch.Tensor) -> torch.Tensor:
    n, length, _ = x.shape
    qkv = F.linear(x, w[f"{p}qkv.weight"], w[f"{p}qkv.bias"]).reshape(n, length, 3, HEADS, D // HEADS)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    weights = (q * (D // HEADS) ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
    return F.linear((weights @ v).transpose(1, 2).reshape(n, length, D), w[f"{p}proj.weight"], w[f"{p}proj.bias"])


def _shuffle_v2(tokens: torch.Tensor) -> torch.Tensor:
    """Pixel shuffle "v2", one output token at a time: the 2 x 2 tokens row by row, each with all its channels."""
    side = SIDE // PATCH
    grid = tokens.reshape(len(tokens), side, side, D)
    rows = [
        torch.cat([grid[:, 2 * i + a, 2 * j + b] for a in (0, 1) for b in (0, 1)], -1)
        for i in range(side // 2)
        for j in range(side // 2)
    ]
    return torch.stack(rows, 1)


def wqkv_heads(fused: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    """The rows of each head, in order: per key-value head its queries, then its key, then its value."""
    heads: dict[str, list[torch.Tensor]] = {"q": [], "k": [], "v": []}
    place = 0
    for _ in range(KV_HEADS):
        for letter in "q" * (TEXT_HEADS // KV_HEADS) + "kv":
            heads[letter].append(fused[place : place + HEAD])
            place += HEAD
    return heads


def reference_states(w: dict[str, torch.Tensor], ids: list[int]) -> torch.Tensor:
    """The last hidden states `(length, D_t)` of InternLM2 or Qwen2 for one sentence, head by head."""
    w = {name: tensor.float() for name, tensor in w.items()}
    b = "language_model.model."
    internlm2 = f"{b}tok_embeddings.weight" in w
    x = w[f"{b}tok_embeddings.weight" if internlm2 else f"{b}embed_tokens.weight"][ids]
    names = ("attention_norm", "attention.wo", "ffn_norm", "feed_forward.w1", "feed_forward.w3", "feed_forward.w2")
    if not internlm2:
        names = ("input_layernorm", "self_attn.o_proj", "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj",
                 "mlp.down_proj")  # fmt: skip
    for layer in range(TEXT_LAYERS):
        p = f"{b}layers.{layer}."
        norm1, out, norm2, gate, up, down = (w[f"{p}{name}.weight"] for name in names)
        normed = _rms(x, norm1)
        q, k, v = _heads(w, p, normed, internlm2)
        mixed = []
        for head in range(TEXT_HEADS):
            own = head // (TEXT_HEADS // KV_HEADS)  # neighbouring query heads share a key-value head
            scores = _rotate(q[head]) @ _rotate(k[own]).T / HEAD**0.5
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), float("-inf"))
            mixed.append(scores.softmax(-1) @ v[own])
        x = x + torch.cat(mixed, -1) @ out.T
        normed = _rms(x, norm2)
        x = x + (F.silu(normed @ gate.T) * (normed @ up.T)) @ down.T
    return _rms(x, w[f"{b}norm.weight"])


def _heads(w: dict[str, torch.Tensor], p: str, x: torch.Tensor, internlm2: bool) -> list[list[torch.Tensor]]:
    if internlm2:
        heads = wqkv_heads(w[f"{p}attention.wqkv.weight"])
        return [[x @ rows.T for rows in heads[letter]] for letter in "qkv"]
    projected = [F.linear(x, w[f"{p}self_attn.{s}_proj.weight"], w[f"{p}self_attn.{s}_proj.bias"]) for s in "qkv"]
    return [list(rows.split(HEAD, -1)) for rows in projected]


def _rms(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return weight * x / (x.square().mean(-1, keepdim=True) + EPS).sqrt()


def _rotate(x: torch.Tensor) -> torch.Tensor:
    """Rotary positions: channels c and c + d/2 turn together, by position · θ^(-2c/d)."""
    angles = torch.arange(len(x))[:, None] * THETA ** (-torch.arange(0, HEAD, 2) / HEAD)
    first, second = x[:, : HEAD // 2], x[:, HEAD // 2 :]
    return torch.cat([first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()], -1)
