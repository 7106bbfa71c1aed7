"""A checkpoint with random weights for whoever reads one: it answers in milliseconds, and knows nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from conftest import TINY_VISION

from configuration_fgsgl import FGSGLConfig
from microgesture.data.fg_text import VOCABULARY, sentence_parts
from modeling_fgsgl import FGSGLForVideoClassification
from processing_fgsgl import FGSGLProcessor

TEXT = {"model_type": "llama", "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64}  # fmt: skip
WORDS = {name: list(words[:4]) for name, words in VOCABULARY.items()}


def write_checkpoint(folder: Path, names: Sequence[str], **fields: Any) -> Path:
    """Writes a checkpoint for clips of 32 × 32 pixels.

    Args:
        folder: Where it goes.
        names: The classes.
        **fields: Of `FGSGLConfig`; four frames where they do not say otherwise.
    """
    torch.manual_seed(0)
    usual = {"vision_config": dict(TINY_VISION), "text_config": TEXT, "num_frames": 4, "embed_dim": 16}
    config = FGSGLConfig(**usual | {"id2label": dict(enumerate(names))} | fields)
    model = FGSGLForVideoClassification(config)
    if config.words:
        model.set_prototypes("fine", torch.randn(len(config.words), 48), torch.randn(48))
    model.save_pretrained(folder)
    FGSGLProcessor(num_frames=config.num_frames, size=32).save_pretrained(folder)
    return folder


def talking(seconds: float) -> dict[str, Any]:
    """Fields of a network that names attributes, and finds gestures with windows of one length that keep all."""
    limits = {"background": 1.0, "unknown": 0.0, "keep": 1.0, "overlap": 1.0}
    spotting = {"window_seconds": [seconds], "hop": 1, "head": limits, "softmax": limits}
    return {"attribute_words": WORDS, "sentence_parts": sentence_parts(), "spotting": spotting}
