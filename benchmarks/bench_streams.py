"""Streams: clips per second of rendering, inference and training, and where a training step goes.

    python benchmarks/bench_streams.py [--quick] [--device cuda]

Networks of the default sizes on 17 COCO points of one person (skeleton: 64 frames; heatmap: 48 frames of 56 × 56),
those of recipes/utd_mhad_skeleton.yaml and utd_mhad_heatmap.yaml, and MS-G3D. A step is forward, backward and AdamW's
update, from keypoints that are on the device. Rounds of rendering, inference and training follow each other; the best
of each counts. `outside` is the share of a training step's operator time that is not spent in convolutions and matrix
products (torch's profiler); `of inference` and `of training` are the shares that go into drawing the volumes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from microgesture.arguments import read_recipe  # noqa: E402
from microgesture.baselines.ms_g3d import MSG3DConfig, MSG3DForVideoClassification  # noqa: E402
from microgesture.data.keypoints import read_layout  # noqa: E402
from microgesture.streams.heatmap.configuration_heatmap import HeatmapConfig  # noqa: E402
from microgesture.streams.heatmap.modeling_heatmap import HeatmapForVideoClassification  # noqa: E402
from microgesture.streams.skeleton.configuration_skeleton import SkeletonConfig  # noqa: E402
from microgesture.streams.skeleton.modeling_skeleton import SkeletonForVideoClassification  # noqa: E402

HEAVY = ("conv", "mm", "linear")  # in the names of operators: convolution, mm, bmm, addmm, linear
HEADS = ("parameters", "rendered", "inference", "training", "outside", "of inference", "of training")


class Figures(NamedTuple):
    """Seconds of a batch, and the share of a training step outside convolutions and matrix products."""

    rendering: float
    inference: float
    training: float
    outside: float


def tables(layout: str = "coco_17", **fields: Any) -> dict[str, Any]:
    found = read_layout(layout)
    return {
        "layout": found.name,
        "joints": list(found.names),
        "bones": [list(bone) for bone in found.bones],
        "dimensions": 2 if found.unit == "pixels" else 3,
        "id2label": {number: str(number) for number in range(32)},
    } | fields


def of_recipe(stream: str) -> dict[str, Any]:
    """What a recipe says of its network, on the data set's 20 points in space."""
    fields = read_recipe(ROOT / "recipes" / f"utd_mhad_{stream}.yaml")
    return tables("kinect_20", num_frames=fields["num_frames"], **fields["stream_config"])


def networks() -> dict[str, Callable[[], Any]]:
    """Name -> makes the network."""
    skeleton, heatmap = SkeletonForVideoClassification, HeatmapForVideoClassification
    return {
        "skeleton, decoupled": lambda: skeleton(SkeletonConfig(**tables())),
        "skeleton, graph": lambda: skeleton(SkeletonConfig(**tables(network="graph"))),
        "skeleton of the recipe": lambda: skeleton(SkeletonConfig(**of_recipe("skeleton"))),
        "MS-G3D": lambda: MSG3DForVideoClassification(MSG3DConfig(**tables())),
        "heatmap, joints": lambda: heatmap(HeatmapConfig(**tables())),
        "heatmap, joints and limbs": lambda: heatmap(HeatmapConfig(**tables(parts=["joints", "limbs"]))),
        "heatmap of the recipe": lambda: heatmap(HeatmapConfig(**of_recipe("heatmap"))),
        "the same, with limbs": lambda: heatmap(
            HeatmapConfig(**of_recipe("heatmap") | {"parts": ["joints", "limbs"]})
        ),
    }


def measure(model: Any, clips: int, rounds: int, device: str) -> Figures:
    """Times a network on random clips of one person."""
    config = model.to(device).config
    shape = (clips, 1, config.num_frames, len(config.joints), config.dimensions + 1)
    points = torch.rand(shape, device=device) * 2 - 1
    points[..., -1] = 1
    labels = torch.zeros(clips, dtype=torch.long, device=device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def infer() -> None:
        with torch.inference_mode():
            model.eval()(points)

    def step() -> None:
        model.train()(points, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    parts = [infer, step, *([lambda: model.volumes(points)] if hasattr(model, "volumes") else [])]
    times = [[timed(part, device) for part in parts] for _ in range(rounds + 1)][1:]  # the first one warms up
    inference, training, *rendering = (min(column) for column in zip(*times, strict=True))
    return Figures(rendering[0] if rendering else 0.0, inference, training, outside(step, device))


def timed(run: Callable[[], Any], device: str) -> float:
    """Seconds of a call."""
    begun = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def outside(step: Callable[[], Any], device: str) -> float:
    """Share of a step outside convolutions and matrix products, by the operators' own time on the device."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    with profile(activities=activities) as found:
        step()
    # On a GPU a kernel's time also stands in a row of its own: that of the operator which started it is counted.
    own = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    rows = [(row.key, getattr(row, own)) for row in found.key_averages()]
    rows = [(key, time) for key, time in rows if device == "cpu" or key.startswith("aten::")]
    heavy = sum(time for key, time in rows if key.startswith("aten::") and any(word in key for word in HEAVY))
    return 1 - heavy / max(sum(time for _, time in rows), 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two rounds, two clips")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    args = parser.parse_args()
    B, rounds = (2, 2) if args.quick else (8, 3)
    print(f"{args.device}, {torch.get_num_threads()} threads, {B} clips, best of {rounds} rounds")
    print("clips per second; shares of a training step outside products, and of rendering")
    print(f"{'':<26}" + "".join(f"{head:>14}" for head in HEADS))
    for name, make in networks().items():
        model = make()
        found = measure(model, B, rounds, args.device)
        cells = [f"{sum(p.numel() for p in model.parameters()):,}"]
        cells += [f"{B / found.rendering:.1f}" if found.rendering else "–"]
        cells += [f"{B / found.inference:.1f}", f"{B / found.training:.2f}", f"{found.outside:.1%}"]
        shares = (found.rendering / found.inference, found.rendering / found.training)
        cells += [f"{share:.1%}" if share else "–" for share in shares]
        print(f"{name:<26}" + "".join(f"{cell:>14}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
