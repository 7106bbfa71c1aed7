"""Speed and accuracy of the network on a CPU in float32, bfloat16, and as ONNX in float32 and int8, in one run.

    microgesture export outputs/synthetic --onnx fgsgl.onnx
    microgesture export outputs/synthetic --onnx fgsgl8.onnx --int8
    python benchmarks/bench_precision.py outputs/synthetic data/synthetic fgsgl.onnx fgsgl8.onnx

Every clip of the split passes each form once in each round, in batches of 8. CPU time of this process, one thread,
without decoding; ratios are medians over the rounds to float32 of the same round, as a busy machine slows all alike.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from microgesture.data import load
from modeling_fgsgl import FGSGLForVideoClassification
from processing_fgsgl import FGSGLProcessor

BATCH = 8
Forward = Callable[[torch.Tensor], torch.Tensor]


def with_torch(checkpoint: Path, dtype: str) -> Forward:
    """The network as `microgesture predict --dtype` runs it."""
    model = FGSGLForVideoClassification.from_pretrained(checkpoint, dtype=dtype).eval()
    return lambda clips: model(pixel_values=clips.to(model.dtype)).logits.float()


def with_onnxruntime(path: Path) -> Forward:
    """An exported file, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda clips: torch.from_numpy(session.run(["logits"], {"pixel_values": clips.numpy()})[0])


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("checkpoint", "data", "float32", "int8"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    processor = FGSGLProcessor.from_pretrained(args.checkpoint)
    rows = load(args.data)[args.split]
    labels = torch.tensor(rows["label"])
    clips = torch.stack([
        processor.sample(row["video"]["bytes"] or row["video"]["path"], row["start"], row["end"]) for row in rows
    ])  # fmt: skip
    batches = processor.normalize(clips).split(BATCH)
    forms = {
        "torch, float32": with_torch(args.checkpoint, "float32"),
        "torch, bfloat16": with_torch(args.checkpoint, "bfloat16"),
        "onnxruntime, float32": with_onnxruntime(args.float32),
        "onnxruntime, int8": with_onnxruntime(args.int8),
    }
    spent: dict[str, list[float]] = {name: [] for name in forms}
    logits = {name: torch.cat([forward(batch) for batch in batches]) for name, forward in forms.items()}  # warms up
    for _ in range(args.rounds):
        for name, forward in forms.items():
            begin = time.process_time()
            for batch in batches:
                forward(batch)
            spent[name].append(time.process_time() - begin)
    N, first = len(labels), next(iter(forms))
    print(
        f"{platform.machine()}; torch {torch.__version__}, onnxruntime {onnxruntime.__version__}; {N} clips, 1 thread"
    )
    print(f"{'form':22} {'clips per CPU s':>15} {'ratio':>6} {'right':>10} {'as float32':>11} {'logit off by':>13}")
    for name, times in spent.items():
        speed = N / statistics.median(times)
        ratio = statistics.median(base / own for own, base in zip(times, spent[first], strict=True))
        right = int((logits[name].argmax(1) == labels).sum())
        same = int((logits[name].argmax(1) == logits[first].argmax(1)).sum())
        off = float((logits[name] - logits[first]).abs().max())
        print(f"{name:22} {speed:15.1f} {ratio:6.2f} {right:3} of {N:3} {same:4} of {N:3} {off:13.2g}")


if __name__ == "__main__":
    main()
