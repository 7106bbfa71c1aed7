"""Fixtures: folders of published checkpoints, in both formats and with either language model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import published_checkpoint as published
import pytest
from sentencepiece import SentencePieceTrainer
from tokenizers.processors import TemplateProcessing

from microgesture import tiny
from microgesture.data.fg_text import ATTRIBUTES, VOCABULARY, FGText

MODELS = ("internlm2", "qwen2")
FORMATS = ("original", "native", "native, old names")


@pytest.fixture(scope="session")
def tokenizer_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentencepiece BPE with byte fallback, as InternLM2's, over the sentences of FG-Text."""
    folder = tmp_path_factory.mktemp("sentencepiece")
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(FGText(**{name: word}).sentence() for name in ATTRIBUTES for word in VOCABULARY[name]))
    SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "tokenizer"), vocab_size=500, model_type="bpe",
        byte_fallback=True, minloglevel=2, normalization_rule_name="identity",
    )  # fmt: skip
    return folder / "tokenizer.model"


@pytest.fixture(scope="session")
def published_folders(tmp_path_factory: pytest.TempPathFactory, tokenizer_model: Path) -> dict[tuple[str, str], Path]:
    """The same network of each language model in each format, whole, with tokenizers."""
    root, folders = tmp_path_factory.mktemp("published"), {}
    for language_model in MODELS:
        for kind in FORMATS:
            folder = folders[language_model, kind] = root / f"{language_model} {kind}"
            if kind == "original":
                weights = published.write_original(folder, language_model)
            else:
                published.write_native(folder, language_model, weights, old_names=kind.endswith("old names"))
            _write_tokenizer(folder, language_model, kind, tokenizer_model)
    return folders


def _write_tokenizer(folder: Path, language_model: str, kind: str, tokenizer_model: Path) -> None:
    settings = {"pad_token": "<pad>", "add_bos_token": True}
    if kind != "original":
        # As the -hf repositories: one file, which also puts the token in front of a sentence.
        backend = tiny.tokenizer().backend_tokenizer
        if language_model == "internlm2":
            backend.add_special_tokens(["<s>"])
            token = ("<s>", backend.token_to_id("<s>"))
            backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[token])
        backend.save(str(folder / "tokenizer.json"))
    elif language_model == "internlm2":
        shutil.copy(tokenizer_model, folder / "tokenizer.model")
        settings |= {"auto_map": {"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]}}
    else:
        model = json.loads(tiny.tokenizer().backend_tokenizer.to_str())["model"]
        (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
        merges = [" ".join(merge) for merge in model["merges"]]
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
        settings["pad_token"] = {"content": "<pad>", "special": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
