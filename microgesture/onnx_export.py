"""`microgesture export --onnx`: the vision branch as one ONNX file, compared with torch before it gets its name.

What goes in and out, the class names and the preprocessing stand in a JSON file of the same name beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

OUTPUTS = ("logits", "class_embeds", "fine_embeds")
TOLERANCE = 1e-4
LARGEST = 2**31 - 2**20  # bytes: a protocol buffer ends at 2 GiB, and the graph needs some of it
SAMPLING = (
    "the frame shown at the middle of each of num_frames equal parts of the clip; frames upright and not mirrored"
)


class VisionBranch(torch.nn.Module):
    """The network as ONNX has it: one tensor in, a tuple of tensors out.

    Args:
        model: An `FGSGLForVideoClassification`.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Normalised frames `(B, T, 3, S, S)` to `logits (B, C)`, `class_embeds (B, E)`, `fine_embeds (B, E)`."""
        output = self.model(pixel_values)
        return tuple(output[name] for name in OUTPUTS)


def check(checkpoint: Path, path: Path) -> None:
    """Says before any work what would fail after it.

    Raises:
        ValueError: The checkpoint is no FG-SGL network, or the file is not named as it must be.
        FileNotFoundError: The folder to write into does not exist.
        ImportError: A package is missing.
    """
    config = checkpoint / "config.json"
    kind = json.loads(config.read_text(encoding="utf-8")).get("model_type") if config.is_file() else "fgsgl"
    if kind != "fgsgl":
        raise ValueError(
            f"{checkpoint} holds a network of the kind {kind}; only FG-SGL's vision branch, which reads video frames, "
            "can be exported, and no stream"
        )
    if path.suffix != ".onnx":
        raise ValueError(f"{path} must end in .onnx; its description gets the same name and the ending .json")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"the folder {path.absolute().parent} for {path.name} does not exist; make it first")
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"export needs the package {error.name}: pip install 'fgsgl[onnx]'") from error


def export(model: Any, processor: Any, path: Path, int8: bool = False) -> float:
    """Writes FILE.onnx and FILE.json, whole or not at all.

    Args:
        model: An `FGSGLForVideoClassification` in float32, on the CPU.
        processor: Its processor.
        path: The file.
        int8: Quantise the weights of linear layers to 8 bits, and their inputs as they come.

    Returns:
        The greatest difference between a logit of onnxruntime and of torch, for random clips in batches of 1 and 3.

    Raises:
        ValueError: The network is too large for one file, or onnxruntime's answers are not torch's.
    """
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    if size > LARGEST:
        raise ValueError(f"one ONNX file holds 2 GiB at most, and this network has {size / 2**30:.1f} GiB of weights")
    branch = VisionBranch(model).eval()
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.absolute().parent) as folder:
        whole = Path(folder, "float32.onnx")
        clips = torch.zeros(2, processor.num_frames, 3, processor.size, processor.size)
        _write_graph(branch, clips, whole)
        _compare(branch, whole, clips.shape[1:], TOLERANCE)
        if int8:
            whole = _quantised(whole)
        difference = _compare(branch, whole, clips.shape[1:], float("inf") if int8 else TOLERANCE)
        about = description(model.config, processor, "int8" if int8 else "float32", difference)
        about["sha256"] = hashlib.sha256(whole.read_bytes()).hexdigest()
        words = Path(folder, "about.json")
        words.write_text(json.dumps(about, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        # The network last: where it stands, its description does; the digest tells an older one apart.
        for file, name in ((words, path.with_suffix(".json")), (whole, path)):
            with file.open("rb+") as stream:
                os.fsync(stream.fileno())
            os.replace(file, name)
    return difference


def description(config: Any, processor: Any, precision: str, difference: float) -> dict[str, Any]:
    """What somebody needs who has the ONNX file alone."""
    T, S, C, E = processor.num_frames, processor.size, config.num_labels, config.embed_dim
    return {
        "labels": [config.id2label[number] for number in range(C)],
        "inputs": {"pixel_values": {"type": "float32", "shape": ["batch", T, 3, S, S]}},
        "outputs": {
            name: {"type": "float32", "shape": ["batch", width]}
            for name, width in zip(OUTPUTS, (C, E, E), strict=True)
        },
        "preprocessing": {
            "num_frames": T,
            "sampling": SAMPLING,
            "size": S,
            "resize": "bicubic with antialiasing to size x size, the aspect ratio not kept, rounded to whole levels",
            "colours": "red, green, blue",
            "normalise": "(pixel / 255 - image_mean) / image_std",
            "image_mean": processor.image_mean,
            "image_std": processor.image_std,
        },
        "precision": precision,
        "greatest_logit_difference_from_torch": difference,
    }


def _write_graph(branch: VisionBranch, clips: torch.Tensor, path: Path) -> None:
    with _quiet("torch.onnx"):
        program: Any = torch.onnx.export(
            branch, (clips,), dynamo=True, verbose=False, input_names=["pixel_values"], output_names=list(OUTPUTS),
            dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}},
        )  # fmt: skip
    program.save(path, external_data=False)


def _quantised(path: Path) -> Path:
    """The network with linear layers in 8 bits; products of two activations, as in attention, stay in float32."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    small = path.with_name("int8.onnx")
    network = onnx.load(path)
    del network.graph.value_info[:]  # the quantiser transposes weights, and then stumbles over their noted shapes
    with _quiet("root"):  # it recommends a preprocessing that changes nothing here
        quantize_dynamic(
            network, small, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8
        )
    return small


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Drops warnings that nobody can act on, such as those about packages that a network does not need."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@torch.inference_mode()
def _compare(branch: VisionBranch, path: Path, shape: torch.Size, tolerance: float) -> float:
    """The greatest difference of a logit.

    Raises:
        ValueError: A value differs by more than `tolerance`, or is not a number.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    logits = 0.0
    for batch in (1, 3):
        clips = torch.randn(batch, *shape, generator=generator)
        answers = session.run(list(OUTPUTS), {"pixel_values": clips.numpy()})
        for name, got, wanted in zip(OUTPUTS, answers, branch(clips), strict=True):
            worst = float(np.abs(got - wanted.numpy()).max())
            if not worst <= tolerance:
                raise ValueError(
                    f"onnxruntime's {name} differ from torch's by {worst:.2g} (allowed: {tolerance:g}) for a batch of "
                    f"{batch}; nothing was written. Try the versions of constraints.txt"
                )
            logits = max(logits, worst) if name == "logits" else logits
    return logits


def run(args: argparse.Namespace, load: Callable[..., Any]) -> str:
    """Runs the command.

    Args:
        args: The command line.
        load: Makes the pipeline of a checkpoint, given a device and a dtype.

    Returns:
        What was written, for the screen.

    Raises:
        ValueError: The checkpoint cannot be exported; the message says why.
        ImportError: A package is missing.
    """
    check(args.checkpoint, args.onnx)
    pipe = load(args.checkpoint, torch.device("cpu"), "float32")
    difference = export(pipe.model, pipe.feature_extractor, args.onnx, args.int8)
    return (
        f"{args.onnx} and {args.onnx.with_suffix('.json')}\n"
        f"greatest difference of a logit from torch, random clips: {difference:.2g}"
    )
