"""A training step with looked-up sentences against the step with the language model in the loop: time and memory.

    python benchmarks/bench_text.py [--quick]

Both steps are whole ones (LoRA, three loss terms, AdamW) at 448 px and 8 frames, taken in turn, round by round. Widths
are smaller than InternVL2.5-8B's and in about its ratio: the language model has some 20 times the parameters of the
vision tower. Beside the measured figures stands what the language model adds by count, at this size and at full size,
where nothing was measured.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from transformers import InternVLVisionConfig, InternVLVisionModel, LlamaConfig, LlamaModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from configuration_fgsgl import FGSGLConfig
from microgesture import adapters, tiny
from microgesture.data.fg_text import ATTRIBUTES, VOCABULARY, FGText
from microgesture.losses.contrastive import info_nce, prototype_nce
from microgesture.text_bank import LanguageModelEncoder
from modeling_fgsgl import FGSGLForVideoClassification

CLIPS, FRAMES, SIDE, CLASSES = 2, 8, 448, 17
VISION = {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 1024,
          "image_size": SIDE, "patch_size": 14, "attention_bias": True}  # fmt: skip
TEXT = {"model_type": "llama", "hidden_size": 1024, "intermediate_size": 3584, "num_hidden_layers": 8,
        "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 1024}  # fmt: skip
FULL_VISION = {"attention_bias": True}  # transformers' defaults are InternViT-300M
FULL_TEXT = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
             "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 92553}  # fmt: skip
SENTENCES = [
    FGText(*(VOCABULARY[name][i % len(VOCABULARY[name])] for name in ATTRIBUTES), ("left", "right")[i % 2]).sentence()
    for i in range(32)
]


def language_model(fields: dict) -> LlamaModel:
    return LlamaModel(LlamaConfig(**{name: value for name, value in fields.items() if name != "model_type"}))


def encoder() -> LanguageModelEncoder:
    torch.manual_seed(0)
    return LanguageModelEncoder(language_model(TEXT).bfloat16(), tiny.tokenizer())


class Step:
    """One training step; `embed` gives the embeddings of its sentences, looked up or computed."""

    def __init__(self, embed: Callable[[list[int]], torch.Tensor]) -> None:
        torch.manual_seed(0)
        config = FGSGLConfig(
            vision_config=VISION, text_config=TEXT, num_frames=FRAMES, id2label={i: str(i) for i in range(CLASSES)}
        )
        model = FGSGLForVideoClassification._from_config(config)
        model.set_prototypes("class", torch.randn(CLASSES, TEXT["hidden_size"]), torch.zeros(TEXT["hidden_size"]))
        self.model = adapters.prepare(model, terms=("cls", "cp", "fg"), vision_tuning="lora").train()
        self.optimizer = torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=1e-4)
        self.pixels, self.labels = torch.randn(CLIPS, FRAMES, 3, SIDE, SIDE), torch.arange(CLIPS)
        self.embed, self.seconds_of_text = embed, 0.0

    def __call__(self, number: int) -> float:
        begin = time.perf_counter()
        sentences = [(number * CLIPS + i) % len(SENTENCES) for i in range(CLIPS)]
        texts = self.embed(sentences)
        self.seconds_of_text = time.perf_counter() - begin
        out = self.model(pixel_values=self.pixels, fine_texts=texts)
        loss = F.cross_entropy(out.logits, self.labels)
        loss = loss + 0.5 * prototype_nce(out.class_embeds, out.category_embeds, self.labels, 0.07)
        loss = loss + 0.5 * info_nce(out.fine_embeds, out.fine_text_embeds, 0.07, torch.tensor(sentences))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return time.perf_counter() - begin


def looked_up() -> Step:
    table = torch.randn(len(SENTENCES), TEXT["hidden_size"])  # the values make no difference to the time
    return Step(lambda rows: table[rows])


def in_the_loop() -> Step:
    model = encoder()
    return Step(lambda rows: model.encode([SENTENCES[row] for row in rows]))


ARMS = {"looked up": looked_up, "language model in the loop": in_the_loop}


def peak_memory(arm: str) -> float:
    """Peak memory in GB of a process of its own that takes two steps."""
    command = [sys.executable, "-W", "ignore", __file__, "--peak_of", arm]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def own_peak(arm: str) -> float:
    step = ARMS[arm]()
    for number in range(2):
        step(number)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def arithmetic(vision: dict, text: dict, lengths: tuple[float, ...]) -> str:
    """What the language model adds to a step by count: operations per clip, for sentences of n tokens, and memory."""
    config = InternVLVisionConfig(**vision)
    D, L, N = config.hidden_size, config.num_hidden_layers, (SIDE // 14) ** 2 + 1
    D_t = text["hidden_size"]
    with torch.device("meta"):
        tower, words = InternVLVisionModel(config), language_model(text)
    linear = 2 * count(tower.encoder) * FRAMES * N
    attention = 4 * N**2 * D * L * FRAMES
    projector = 2 * (4 * D * D_t + D_t**2) * FRAMES * (N - 1) // 4
    # Backward through frozen weights costs as much as forward; the projector has gradients of its own.
    step = 2 * (linear + attention) + 3 * projector
    more = [f"{n:.0f} tokens {100 * 2 * count(words.layers) * n / step:.1f} %" for n in lengths]
    head = text["vocab_size"] * D_t
    return (
        f"tower {count(tower) / 1e6:.1f} M and language model {count(words) / 1e6:,.1f} M parameters; the step is "
        f"{step / 1e12:.2f} Tflop a clip, and the language model adds, for a sentence of {', '.join(more)}; in "
        f"bfloat16 it is {2 * count(words) / 1e9:.2f} GB, {2 * (count(words) + head) / 1e9:.2f} GB with the head that "
        "embeddings do not need"
    )


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--peak_of", choices=ARMS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak_of:
        print(own_peak(args.peak_of))
        return
    peaks = {name: peak_memory(name) for name in ARMS}
    steps = {name: make() for name, make in ARMS.items()}
    for step in steps.values():
        step(0)
    times: dict[str, list[float]] = {name: [] for name in ARMS}
    shares = []
    for number in range(1, 3 if args.quick else 6):
        for name, step in steps.items():
            times[name].append(step(number))
        shares.append(step.seconds_of_text / times[name][-1])
    ids = tiny.tokenizer()(SENTENCES)["input_ids"]
    tokens = sum(map(len, ids)) / len(ids)
    first = next(iter(ARMS))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {CLIPS} clips a step, {len(shares)} rounds")
    print(f"sentences of {tokens:.0f} tokens")
    print(f"{'':<30}{'best s':>10}{'ratio':>8}{'peak GB':>10}{'ratio':>8}")
    for name, seconds in times.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, times[first], strict=True))
        print(f"{name:<30}{min(seconds):>10.2f}{ratio:>8.3f}{peaks[name]:>10.2f}{peaks[name] / peaks[first]:>8.2f}")
    print(f"share of the step that is the language model: {100 * statistics.median(shares):.1f} %")
    print("by count, at this size:", arithmetic(VISION, TEXT, (tokens,)))
    print("by count, InternVL2.5-8B (nothing measured):", arithmetic(FULL_VISION, FULL_TEXT, (10, 20)))


if __name__ == "__main__":
    main()
