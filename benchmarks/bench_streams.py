"""Streams: clips per second of rendering, inference and training, and where a training step goes.

    python benchmarks/bench_streams.py [--quick] [--device cuda]

Networks of the default sizes on 17 COCO points of one person (skeleton: 64 frames; heatmap: 48 frames of 56 × 56), the
heatmap network of recipes/utd_mhad_heatmap.yaml, and rendering alone. Best of some rounds. `outside` is the share of a
training step's own processor time that is spent outside convolutions and matrix products (torch's profiler).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from microgesture.data.keypoints import read_layout  # noqa: E402
from microgesture.streams.heatmap.configuration_heatmap import HeatmapConfig  # noqa: E402
from microgesture.streams.heatmap.modeling_heatmap import HeatmapForVideoClassification  # noqa: E402
from microgesture.streams.skeleton.configuration_skeleton import SkeletonConfig  # noqa: E402
from microgesture.streams.skeleton.modeling_skeleton import SkeletonForVideoClassification  # noqa: E402

HEAVY = ("conv", "mm", "matmul", "linear", "gemm", "xmma", "cutlass", "cudnn")
SMALL = {"size": 28, "stem_kernel": 3, "base_channels": 16, "stage_blocks": [2, 2, 2], "num_frames": 16}


def tables() -> dict[str, Any]:
    layout = read_layout("coco_17")
    return {
        "layout": layout.name,
        "joints": list(layout.names),
        "bones": [list(bone) for bone in layout.bones],
        "id2label": {number: str(number) for number in range(32)},
    }


def networks() -> dict[str, Any]:
    return {
        "skeleton, decoupled": SkeletonForVideoClassification(SkeletonConfig(**tables())),
        "skeleton, graph": SkeletonForVideoClassification(SkeletonConfig(**tables(), network="graph")),
        "heatmap, joints": HeatmapForVideoClassification(HeatmapConfig(**tables())),
        "heatmap, joints and limbs": HeatmapForVideoClassification(
            HeatmapConfig(**tables(), parts=["joints", "limbs"])
        ),
        "heatmap of the recipe": HeatmapForVideoClassification(HeatmapConfig(**tables(), **SMALL)),
    }


def best(run: Callable[[], Any], rounds: int, device: str) -> float:
    """Shortest time of a call, after one to warm up."""
    times = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return min(times[1:])


def outside(step: Callable[[], Any], device: str) -> float:
    """Share of a step outside convolutions and matrix products."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    with profile(activities=activities) as found:
        step()
    own = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    rows = [(row.key.lower(), getattr(row, own)) for row in found.key_averages()]
    return 1 - sum(t for key, t in rows if any(word in key for word in HEAVY)) / max(sum(t for _, t in rows), 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, two clips")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    args = parser.parse_args()
    B, rounds = (2, 1) if args.quick else (8, 3)
    print(f"{args.device}, {torch.get_num_threads()} threads, {B} clips")
    print("clips per second; shares of a training step")
    heads = ("parameters", "rendering", "inference", "training", "outside", "rendering")
    print(f"{'':<28}" + "".join(f"{head:>12}" for head in heads))
    for name, network in networks().items():
        model = network.to(args.device)
        points = torch.rand(B, 1, model.config.num_frames, 17, 3, device=args.device) * 2 - 1
        points[..., 2] = 1
        labels = torch.zeros(B, dtype=torch.long, device=args.device)

        def infer(model: Any = model, points: torch.Tensor = points) -> None:
            with torch.inference_mode():
                model(points)

        def step(model: Any = model, points: torch.Tensor = points, labels: torch.Tensor = labels) -> None:
            model.zero_grad(set_to_none=True)
            model(points, labels=labels).loss.backward()

        model.eval()
        inference = best(infer, rounds, args.device)
        model.train()
        training = best(step, rounds, args.device)
        rendering = best(lambda m=model, p=points: m.volumes(p), rounds, args.device) if "heatmap" in name else None
        cells = [f"{sum(p.numel() for p in model.parameters()):,}", f"{B / rendering:.1f}" if rendering else "–"]
        cells += [f"{B / inference:.1f}", f"{B / training:.1f}", f"{outside(step, args.device):.1%}"]
        cells += [f"{rendering / training:.1%}" if rendering else "–"]
        print(f"{name:<28}" + "".join(f"{cell:>12}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
