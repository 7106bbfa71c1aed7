"""Time of a training step and of evaluation: the choices of the recipes against the usual ones, in one run.

    python benchmarks/bench_training_step.py            a few minutes
    python benchmarks/bench_training_step.py --quick    under a minute

Rows run in turn within each round, so that a busy machine slows all of them; a ratio is the median over rounds of
(row / first row of its block).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from configuration_fgsgl import FGSGLConfig
from microgesture import adapters
from modeling_fgsgl import FGSGLForVideoClassification

TEXT = {"model_type": "llama", "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1024}  # fmt: skip
DEMO = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512,
        "image_size": 96, "patch_size": 16, "attention_bias": True}  # fmt: skip
WIDE = {"hidden_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 16, "intermediate_size": 4096,
        "image_size": 224, "patch_size": 14, "attention_bias": True}  # fmt: skip


def network(vision: dict, attention: str) -> FGSGLForVideoClassification:
    torch.manual_seed(0)
    config = FGSGLConfig(vision_config=vision, text_config=TEXT, num_frames=8, id2label={i: str(i) for i in range(17)})
    return FGSGLForVideoClassification._from_config(config, attn_implementation=attention)


def training_step(model: torch.nn.Module, size: int, clips: int) -> Callable[[], None]:
    pixels, labels = torch.randn(clips, 8, 3, size, size), torch.arange(clips) % 17
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        model(pixel_values=pixels, labels=labels).loss.backward()
        optimizer.step()

    return step


def compare(title: str, rows: dict[str, Callable[[], None]], rounds: int) -> None:
    """Runs the rows in turn and prints the best time and the median ratio of each."""
    for run in rows.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, run in rows.items():
            begin = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begin)
    first = times[next(iter(rows))]
    print(f"\n{title}\n{'':<44}{'best ms':>10}{'ratio':>8}")
    for name, seconds in times.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, first, strict=True))
        print(f"{name:<44}{min(seconds) * 1e3:>10.1f}{ratio:>8.2f}")


def with_precision(precision: str, step: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        torch.set_float32_matmul_precision(precision)
        step()
        torch.set_float32_matmul_precision("highest")

    return run


def demo_rows() -> dict[str, Callable[[], None]]:
    """The demo tower, 8 clips, forward, backward and AdamW."""
    return {
        f"{attention}, matmul_precision {precision}": with_precision(
            precision, training_step(network(DEMO, attention), 96, 8)
        )
        for attention, precision in (
            ("sdpa", "highest"),
            ("eager", "highest"),
            ("sdpa", "medium"),
            ("eager", "medium"),
        )
    }


def evaluation_rows() -> dict[str, Callable[[], None]]:
    """Two blocks as wide as InternViT-300M's, one clip, bfloat16, evaluation."""
    pixels = torch.randn(1, 8, 3, 224, 224, dtype=torch.bfloat16)

    def forward(model: torch.nn.Module, merge: bool = False) -> Callable[[], None]:
        def run() -> None:
            with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
                model(pixel_values=pixels)

        if merge:
            model = adapters.merge(model)
        return run

    def adapted(dtype: str) -> torch.nn.Module:
        model = network(WIDE, "sdpa")
        model.fgsgl.vision_tower.to(torch.bfloat16)
        return adapters.prepare(model, terms=("cls", "cp", "fg"), vision_tuning="lora", adapter_dtype=dtype).eval()

    return {
        "merged adapters": forward(adapted("bfloat16"), merge=True),
        "bfloat16 adapters": forward(adapted("bfloat16")),
        "float32 adapters (peft's default)": forward(adapted("float32")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    rounds = 5 if parser.parse_args().quick else 15
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {rounds} rounds")
    compare("training step of the demo tower (96 px, 8 clips)", demo_rows(), rounds)
    compare("evaluation, 2 blocks of width 1024 (224 px, 1 clip, bfloat16)", evaluation_rows(), rounds)


if __name__ == "__main__":
    main()
