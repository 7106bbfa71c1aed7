"""A tiny language model with its own tokenizer, made on the spot: the text side where no network and no GPU is.

It is a Llama with seeded random weights. Random features of words are enough for telling sentences apart by the words
they share, which is all that the synthetic set, UTD-MHAD and the tests need; it knows no language.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from microgesture.data.fg_text import VOCABULARY, FGText
from microgesture.text_bank import EncoderKey, LanguageModelEncoder

NAME = "tiny"
SEED = 0
VOCAB_SIZE = 1024
TEXT_CONFIG = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB_SIZE,
    "initializer_range": 0.1,
}


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE over FG-Text's own words; any other text falls into smaller pieces, never into nothing."""
    alone: list[dict[str, Any]] = [{name: word} for name, words in VOCABULARY.items() for word in words]
    corpus = [FGText(**words).sentence() for words in alone]
    corpus += [FGText("hand", "neck", "up", "touch", side).sentence() for side in ("left", "right")]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=["<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus * 2, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>")


def key() -> EncoderKey:
    """Identity of the tiny encoder: a digest of all that its embeddings depend on."""
    recipe = json.dumps([TEXT_CONFIG, SEED, tokenizer().backend_tokenizer.to_str()], sort_keys=True)
    return EncoderKey(NAME, hashlib.sha256(recipe.encode()).hexdigest()[:16])


def encoder() -> LanguageModelEncoder:
    """The tiny encoder; the global random state is left as it was."""
    fields = {name: value for name, value in TEXT_CONFIG.items() if name != "model_type"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = LlamaModel(LlamaConfig(**fields))
    return LanguageModelEncoder(model, tokenizer())
