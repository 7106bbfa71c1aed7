"""FG-SGL at full size on a GPU: InternViT-300M, 448 px, 8 frames, bfloat16, LoRA r = 8, random weights.

    python benchmarks/bench_gpu.py                        all rows; --minutes 8.5 ends it
    python benchmarks/bench_gpu.py --batches 8 16         fewer rows
    python benchmarks/bench_gpu.py --device cpu --tiny    a tiny network: shows that the script runs, nothing else

Prints a Markdown table: clips per second for inference and for training, peak memory, and model FLOPs utilisation: the
FLOPs that the network needs (what activation checkpointing computes again is not counted) per second, as a share of
what the same card reaches in one large bfloat16 matrix product, measured first.
"""

from __future__ import annotations

import argparse
import gc
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode
from transformers.utils.output_capturing import maybe_install_capturing_hooks

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from configuration_fgsgl import FGSGLConfig
from microgesture import adapters, estimate
from microgesture.losses.contrastive import info_nce, prototype_nce
from modeling_fgsgl import FGSGLForVideoClassification
from processing_fgsgl import FGSGLProcessor

TERMS = ("cls", "cp", "fg")
CLASSES, SENTENCES = 17, 64  # of SMG; clips of a step in the paper, each with a sentence of its own
# Vision tower, text width, side of the matrix product, steps of a row that warm up and that are timed.
FULL = {"vision": {"attention_bias": True}, "text_width": 4096, "matrix": 8192, "steps": (2, 5)}  # InternViT-300M
TINY = {
    "vision": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128,
               "image_size": 56, "patch_size": 14, "attention_bias": True},
    "text_width": 96,
    "matrix": 512,
    "steps": (1, 1),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    batch: int
    training: bool
    checkpointing: bool
    compiled: bool


def rows(batches: list[int]) -> list[Row]:
    """All rows; compiled ones come last, those near the paper's batch first, as compiling takes most of the time."""
    modes = ((False, False), (True, False), (True, True))
    plain = [Row(batch, *mode, compiled=False) for mode in modes for batch in batches]
    nearest = sorted(batches, key=lambda batch: abs(math.log2(batch / 8)))
    return plain + [Row(batch, *mode, compiled=True) for batch in nearest for mode in modes]


def compile_blocks(network: Any, backend: str) -> None:
    """Compiles the vision blocks, which are alike, so that one of them is compiled and serves all.

    transformers' hooks that record hidden states and attention maps would break the graph. Those on the blocks stay
    outside when the forward is compiled and not the module; those on attention are taken off: nobody reads the maps.
    """
    torch._dynamo.reset()
    tower = network.base_model.vision_tower
    maybe_install_capturing_hooks(tower)
    for block in tower.encoder.layer:
        block.attention._forward_hooks.clear()
        block.forward = torch.compile(block.forward, dynamic=False, backend=backend)


class Bench:
    """Makes and times the network on one device.

    Args:
        device: `cuda` or `cpu`.
        tiny: A network that a CPU runs in a moment; what would compile it hands it on unchanged.
    """

    def __init__(self, device: str, tiny: bool) -> None:
        self.device, self.sizes, self.backend = device, TINY if tiny else FULL, "eager" if tiny else "inductor"
        self.config = FGSGLConfig(
            vision_config=self.sizes["vision"],
            text_config={"model_type": "llama", "hidden_size": self.sizes["text_width"]},
            num_frames=8,
            id2label={number: str(number) for number in range(CLASSES)},
        )
        self.processor = FGSGLProcessor(num_frames=8, size=self.config.image_size)
        # Of one clip, for inference and for training.
        self.flops = {False: self._forward_flops(), True: self._training_flops()}
        self.matrix_rate = self._matrix_rate()

    def network(self, adapted: bool, device: str, attention: str = "sdpa") -> Any:
        """Tower in bfloat16, heads in float32, with LoRA of rank 8 or without."""
        torch.manual_seed(0)
        with torch.device(device):
            network = FGSGLForVideoClassification._from_config(self.config, attn_implementation=attention)
            if not adapted:
                network.fgsgl.vision_tower.to(torch.bfloat16)
                return network.eval()
            return adapters.prepare(
                network, terms=TERMS, vision_tuning="lora", lora_r=8, adapter_dtype="bfloat16"
            ).train()

    def _training_flops(self) -> int:
        model = self.network(adapted=True, device="meta")
        return estimate.measure(model, clips=1, terms=TERMS, autocast=torch.bfloat16, like_gpu=True)[0]

    def _forward_flops(self) -> int:
        model = self.network(adapted=False, device="meta", attention="eager")  # the counter sees each product of it
        pixels = torch.empty(1, 8, 3, self.config.image_size, self.config.image_size, device="meta")
        with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.device("meta"):
            model.float()(pixel_values=pixels)
        return counter.get_total_flops()

    def _matrix_rate(self) -> float:
        """FLOP/s of one large bfloat16 matrix product, the best of some."""
        n = self.sizes["matrix"]
        a, b = (torch.randn(n, n, device=self.device, dtype=torch.bfloat16) for _ in range(2))
        return 2 * n**3 / min(self._seconds(lambda: a @ b, warm_up=5, timed=20))

    def _seconds(self, run: Callable[[], object], warm_up: int, timed: int) -> list[float]:
        for _ in range(warm_up):
            run()
        self._wait()
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        times = []
        for _ in range(timed):
            begin = time.perf_counter()
            run()
            self._wait()
            times.append(time.perf_counter() - begin)
        return times

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def _step(self, row: Row) -> Callable[[], object]:
        model = self.network(row.training, self.device)
        if row.checkpointing:
            model.activation_checkpointing_enable()
        if row.compiled:
            compile_blocks(model.get_base_model() if row.training else model, self.backend)
        size = self.config.image_size
        frames = torch.randint(256, (row.batch, 8, 3, size, size), dtype=torch.uint8, device=self.device)
        if not row.training:
            return lambda: self._infer(model, frames)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=True)
        return lambda: self._train(model, frames, optimizer)

    @torch.inference_mode()
    def _infer(self, model: Any, frames: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device, dtype=torch.bfloat16):
            return model(pixel_values=self.processor.normalize(frames)).logits

    def _train(self, model: Any, frames: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        clips = torch.arange(len(frames), device=self.device)
        texts = torch.ones(SENTENCES, self.sizes["text_width"], device=self.device)
        with torch.autocast(self.device, dtype=torch.bfloat16):
            out = model(pixel_values=self.processor.normalize(frames), fine_texts=texts)
            loss = F.cross_entropy(out.logits.float(), clips % CLASSES)
            loss = loss + 0.5 * prototype_nce(out.class_embeds, out.category_embeds, clips % CLASSES, 0.07)
            sentences = torch.arange(SENTENCES, device=self.device)
            loss = loss + 0.5 * info_nce(out.fine_embeds, out.fine_text_embeds, 0.07, sentences, clips)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def measure(self, row: Row) -> list[str]:
        """Clips per second, peak memory and utilisation of one row, as cells."""
        seconds = statistics.median(self._seconds(self._step(row), *self.sizes["steps"]))
        peak = f"{torch.cuda.max_memory_allocated() / 1e9:.1f}" if self.device == "cuda" else "–"
        rate = row.batch / seconds
        return [f"{rate:.1f}", peak, f"{rate * self.flops[row.training] / self.matrix_rate:.0%}"]


def attempt(bench: Bench, row: Row) -> list[str]:
    """The cells of a row; a row that cannot be run says why, and the others go on."""
    try:
        return bench.measure(row)
    except torch.OutOfMemoryError:
        return ["out of memory", "–", "–"]
    except RuntimeError as error:
        return [f"failed: {str(error).splitlines()[0][:80]}", "–", "–"]
    finally:
        gc.collect()
        if bench.device == "cuda":
            torch.cuda.empty_cache()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a tiny network, to see that the script runs")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32], help="clips per forward")
    parser.add_argument("--minutes", type=float, default=8.5, help="begin no further row after this time")
    args = parser.parse_args(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit(
            "bench_gpu: torch sees no CUDA device here. Run it on a machine with an NVIDIA GPU and a CUDA build of "
            "torch; `--device cpu --tiny` only shows that the script runs."
        )
    begin = time.perf_counter()
    bench = Bench(args.device, args.tiny)
    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}; bfloat16 matrix product of side {bench.sizes['matrix']}: "
          f"{bench.matrix_rate / 1e12:.4g} TFLOP/s; FLOPs of a clip: inference {bench.flops[False] / 1e12:.4g} T, "
          f"training {bench.flops[True] / 1e12:.4g} T\n")  # fmt: skip
    heads = ("mode", "clips", "activation checkpointing", "torch.compile", "clips/s", "peak GB", "utilisation")
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for row in rows(args.batches):
        late = time.perf_counter() - begin > 60 * args.minutes
        cells = ["not run: out of time", "–", "–"] if late else attempt(bench, row)
        settings = ["training" if row.training else "inference", str(row.batch)]
        settings += ["yes" if flag else "no" for flag in (row.checkpointing, row.compiled)]
        print("| " + " | ".join([*settings, *cells]) + " |", flush=True)
    print(f"\n{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
