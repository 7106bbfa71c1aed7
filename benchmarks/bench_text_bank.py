"""Sentence embeddings: looked up, or computed by the language model in every step.

    python benchmarks/bench_text_bank.py [--quick]

The language model is one block as wide as InternLM2.5-7B's (it has 32), so a real one costs about 32 times as much.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from microgesture import tiny
from microgesture.data.fg_text import ATTRIBUTES, VOCABULARY, FGText
from microgesture.text_bank import EncoderKey, LanguageModelEncoder, TextBank


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a narrower model")
    width = 1024 if parser.parse_args().quick else 4096
    config = LlamaConfig(
        hidden_size=width, intermediate_size=width * 7 // 2, num_hidden_layers=1, num_attention_heads=32,
        num_key_value_heads=8, vocab_size=1024,
    )  # fmt: skip
    torch.manual_seed(0)
    encoder = LanguageModelEncoder(LlamaModel(config), tiny.tokenizer())
    sentences = [FGText(**{name: word}).sentence() for name in ATTRIBUTES for word in VOCABULARY[name]][:64]
    with tempfile.TemporaryDirectory() as folder:
        bank = TextBank(folder, EncoderKey("bench", str(width)), lambda: encoder)
        begin = time.perf_counter()
        table = bank.embed(sentences)
        once = time.perf_counter() - begin
    rows = torch.arange(8)
    looked, computed = [], []
    for _ in range(20):
        begin = time.perf_counter()
        _ = table[rows]
        looked.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        encoder.encode(sentences[:8])
        computed.append(time.perf_counter() - begin)
    print(f"torch {torch.__version__}, width {width}, one block, 8 sentences per step")
    print(f"table of {len(sentences)} sentences, once per run   {once * 1e3:10.2f} ms")
    print(f"8 sentences computed in the step         {statistics.median(computed) * 1e3:10.2f} ms")
    print(f"8 sentences looked up in the step        {statistics.median(looked) * 1e3:10.4f} ms")


if __name__ == "__main__":
    main()
