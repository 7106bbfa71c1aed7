"""Published InternVL weights as parts of FG-SGL: vision tower and projector, and the frozen language model.

    model = from_backbone(FGSGLForVideoClassification, "OpenGVLab/InternVL2_5-8B", id2label=…, category_texts=…)

Both published formats are read (`microgesture.published_format`), and of each only what is wanted: the vision side is
about 0.7 GB of InternVL2.5-8B's 16 GB. The language model is no part of the network: it embeds the sentences that the
text bank lacks, and is gone before training.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import BatchEncoding, InternVLConfig, InternVLVisionModel, PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.models.internvl.modeling_internvl import InternVLMultiModalProjector
from transformers.utils import logging as transformers_logging

from microgesture.checkpoint_files import INDEX_FILE, Checkpoint
from microgesture.published_format import (
    LANGUAGE_MODELS,
    network_fields,
    text_part,
    translate_config,
    vision_part,
)
from microgesture.text_bank import EncoderKey, LanguageModelEncoder

SENTENCEPIECE_FILE = "tokenizer.model"
TOKENIZER_SETTINGS = "tokenizer_config.json"
TOKENIZER_FILES = (TOKENIZER_SETTINGS, "tokenizer.json", SENTENCEPIECE_FILE, "vocab.json", "merges.txt")


def resolve_revision(name_or_path: str | os.PathLike, revision: str | None = None) -> str | None:
    """The commit that a branch or tag of the Hub stands for now; `None` for a folder.

    Raises:
        FileNotFoundError: There is no such repository or folder, or the Hub cannot be reached.
        ValueError: A revision of a folder.
    """
    return Checkpoint.open(name_or_path, revision).revision


def read_config(name_or_path: str | os.PathLike, revision: str | None = None) -> dict[str, Any]:
    """What a checkpoint's config.json says of the network; no weight is fetched or read.

    Args:
        name_or_path: A repository of the Hub, or a folder.
        revision: Branch, tag or commit on the Hub.

    Returns:
        The fields `vision_config`, `text_config`, `downsample_ratio`, `projector_hidden_act` of `FGSGLConfig`.

    Raises:
        FileNotFoundError: There is no such repository or folder, or the Hub cannot be reached.
        ValueError: The checkpoint is none that can be read; the message says which ones can.
    """
    return network_fields(_open(name_or_path, revision)[1])


def vision_from_pretrained(
    name_or_path: str | os.PathLike, revision: str | None = None, dtype: torch.dtype = torch.float32
) -> dict[str, torch.Tensor]:
    """The weights of vision tower and projector.

    Args:
        name_or_path: A repository of the Hub, or a folder.
        revision: Branch, tag or commit on the Hub.
        dtype: What the weights are turned into; published ones are bfloat16.

    Returns:
        A state dict of `vision_tower.…` and `multi_modal_projector.…`, as `FGSGLModel` names them.

    Raises:
        FileNotFoundError: A file is missing, or the Hub cannot be reached.
        ValueError: The checkpoint is none that can be read, or its tensors do not fit its config.json.
    """
    checkpoint, config = _open(name_or_path, revision)
    part = vision_part(checkpoint.config["model_type"], list(checkpoint.tensor_files()))
    with torch.device("meta"):  # names and shapes, no memory
        empty = nn.ModuleDict(
            {
                "vision_tower": InternVLVisionModel(config.vision_config),
                "multi_modal_projector": InternVLMultiModalProjector(config),
            }
        )
    return {name: tensor.to(dtype, copy=True) for name, tensor in checkpoint.tensors(part, _shapes(empty))}


def text_from_pretrained(
    name_or_path: str | os.PathLike,
    revision: str | None = None,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
) -> nn.Module:
    """The language model without its head, frozen, for embedding sentences.

    Args:
        name_or_path: A repository of the Hub, or a folder.
        revision: Branch, tag or commit on the Hub.
        dtype: Of its weights.
        device: Where it goes; 15 GB for InternVL2.5-8B in bfloat16.

    Returns:
        A `LlamaModel` (InternLM2 is one) or a `Qwen2Model`.

    Raises:
        FileNotFoundError: A file is missing, or the Hub cannot be reached.
        ValueError: The checkpoint is none that can be read, or its tensors do not fit its config.json.
    """
    checkpoint, config = _open(name_or_path, revision)
    part = text_part(checkpoint.config["model_type"], list(checkpoint.tensor_files()), config)
    # Not by from_pretrained: under DeepSpeed ZeRO-3 it would wait for the other processes, which do not load this.
    with torch.device("meta"):
        model = LANGUAGE_MODELS[config.text_config.model_type](config.text_config)
    tensors = checkpoint.tensors(part, _shapes(model))
    model.load_state_dict({name: tensor.to(device, dtype) for name, tensor in tensors}, assign=True)
    # The rotary frequencies are computed and not stored, so they are the one thing that is still without values.
    model.rotary_emb = type(model.rotary_emb)(config.text_config).to(device)
    return model.requires_grad_(False).eval()


def from_backbone(
    model_class: Any,
    name_or_path: str | os.PathLike,
    *,
    revision: str | None = None,
    id2label: Mapping[int, str],
    category_texts: Sequence[str],
    dtype: torch.dtype = torch.float32,
    attn_implementation: str | None = None,
    **config_fields: Any,
) -> Any:
    """FG-SGL on published weights: tower and projector as published, the heads new (their start follows torch's seed).

    Args:
        model_class: `FGSGLForVideoClassification` or `FGSGLModel`; its `config_class` is the configuration.
        name_or_path: A repository of the Hub, or a folder.
        revision: Branch, tag or commit on the Hub.
        id2label: Class names by id.
        category_texts: One sentence per class, in the order of `id2label`.
        dtype: Of all weights.
        attn_implementation: Attention code, as for `from_pretrained`.
        **config_fields: Further fields of the configuration, for example `temporal_pooling`.

    Returns:
        The network. Its prototypes are zero until `set_prototypes` is called with embeddings of `text_encoder`.

    Raises:
        FileNotFoundError: A file is missing, or the Hub cannot be reached.
        ValueError: The checkpoint is none that can be read, its tensors do not fit its config.json, or a field of the
            configuration is out of range.
    """
    revision = resolve_revision(name_or_path, revision)
    config = model_class.config_class(
        **read_config(name_or_path, revision),
        id2label=dict(id2label),
        category_texts=list(category_texts),
        **config_fields,
    )
    weights = vision_from_pretrained(name_or_path, revision, dtype)
    with _quiet():  # the report of the heads as missing would alarm people: they are meant to be new
        model, report = model_class.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            dtype=dtype,
            attn_implementation=attn_implementation,
            output_loading_info=True,
        )
    prefix = f"{model_class.base_model_prefix}."
    unused = [*report["unexpected_keys"], *(k for k in report["missing_keys"] if k.removeprefix(prefix) in weights)]
    if unused:
        raise ValueError(f"{model_class.__name__} has no place for the published {', '.join(sorted(unused))}")
    return model


def text_key(
    name_or_path: str | os.PathLike, revision: str | None = None, dtype: torch.dtype = torch.bfloat16
) -> EncoderKey:
    """What the embeddings of `text_encoder` depend on: name, commit (or a digest of a folder's files) and dtype.

    Raises:
        FileNotFoundError: There is no such repository or folder, or the Hub cannot be reached.
        ValueError: The checkpoint is none that can be read.
    """
    checkpoint, _ = _open(name_or_path, revision)
    commit = checkpoint.revision
    if commit is None:
        weights = sorted({f for name, f in checkpoint.tensor_files().items() if "language_model." in name})
        about = [name for name in (INDEX_FILE, *TOKENIZER_FILES) if checkpoint.has(name)]
        commit = checkpoint.fingerprint([*about, *weights])
    return EncoderKey(checkpoint.name, commit, dtype=str(dtype).removeprefix("torch."))


def text_encoder(
    name_or_path: str | os.PathLike,
    revision: str | None = None,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
) -> LanguageModelEncoder:
    """The checkpoint's language model and tokenizer, for a `TextBank`.

        bank = TextBank(folder, text_key(name), lambda: text_encoder(name))

    Raises:
        FileNotFoundError: A file is missing, or the Hub cannot be reached.
        ImportError: The tokenizer needs a library that is not installed.
        ValueError: The checkpoint is none that can be read, or its tensors do not fit its config.json.
    """
    checkpoint, _ = _open(name_or_path, revision)
    tokenizer = _tokenizer(checkpoint)  # first: it fails in a second, the weights take minutes
    return LanguageModelEncoder(text_from_pretrained(name_or_path, checkpoint.revision, dtype, device), tokenizer)


class SentencePieceTokenizer:
    """InternLM2's tokenizer: its sentencepiece model, and a token in front that says where a sentence begins.

    The published one comes as remote code around the same model. Special tokens that stand in a sentence are read as
    plain text.

    Args:
        model_file: The file tokenizer.model.
        add_bos_token: Whether sentences get the token in front.

    Raises:
        ImportError: sentencepiece is not installed.
    """

    def __init__(self, model_file: os.PathLike, add_bos_token: bool) -> None:
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError as error:
            raise ImportError(
                "this checkpoint's tokenizer needs the library sentencepiece: pip install sentencepiece"
            ) from error
        self.model, self.add_bos_token = SentencePieceProcessor(model_file=str(model_file)), add_bos_token

    def __call__(self, sentences: Sequence[str], **_: Any) -> BatchEncoding:
        """Tokenizes to padded `input_ids`, `attention_mask` and `special_tokens_mask`, each `(n, length)`."""
        front = [self.model.bos_id()] if self.add_bos_token else []
        rows = [front + self.model.encode(sentence) for sentence in sentences]
        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        special = 1 - mask
        special[:, : len(front)] = 1
        return BatchEncoding({"input_ids": ids, "attention_mask": mask, "special_tokens_mask": special})


def _tokenizer(checkpoint: Checkpoint) -> Any:
    settings = json.loads(checkpoint.file(TOKENIZER_SETTINGS).read_text(encoding="utf-8"))
    pad = settings.get("pad_token") or settings.get("eos_token")
    pad = pad["content"] if isinstance(pad, dict) else pad
    if checkpoint.has("tokenizer.json"):
        return PreTrainedTokenizerFast(tokenizer_file=str(checkpoint.file("tokenizer.json")), pad_token=pad)
    if checkpoint.has(SENTENCEPIECE_FILE):
        return SentencePieceTokenizer(checkpoint.file(SENTENCEPIECE_FILE), settings.get("add_bos_token", True))
    if not (checkpoint.has("vocab.json") and checkpoint.has("merges.txt")):
        raise FileNotFoundError(
            f"{checkpoint.name} has no tokenizer that can be read: it needs tokenizer.json, {SENTENCEPIECE_FILE}, or "
            "vocab.json with merges.txt"
        )
    vocabulary = json.loads(checkpoint.file("vocab.json").read_text(encoding="utf-8"))
    lines = checkpoint.file("merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    return Qwen2Tokenizer(vocab=vocabulary, merges=merges, pad_token=pad)


def _open(name_or_path: str | os.PathLike, revision: str | None) -> tuple[Checkpoint, InternVLConfig]:
    checkpoint = Checkpoint.open(name_or_path, revision)
    return checkpoint, translate_config(checkpoint.config, checkpoint.name)


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


@contextmanager
def _quiet() -> Iterator[None]:
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
