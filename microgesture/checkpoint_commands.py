"""The command lines of `microgesture predict`, `fit-spotting` and `export`, which use a checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[[argparse.Namespace], Any]


def add(commands: Any, predict: Run, fit_spotting: Run, export: Run) -> None:
    """Adds the commands.

    Args:
        commands: The commands of `microgesture`.
        predict: What `predict` does.
        fit_spotting: What `fit-spotting` does.
        export: What `export` does.
    """
    _add_predict(commands, predict)
    _add_fit_spotting(commands, fit_spotting)
    _add_export(commands, export)


def _add_predict(commands: Any, run: Run) -> None:
    look = commands.add_parser(
        "predict", help="recognise micro-gestures in videos",
        description="Recognises the gesture of each clip, or with --spot finds the gestures in untrimmed recordings. "
        "Ends with status 0, with 3 where some files could not be read, and with 1 where nothing could be done.",
    )  # fmt: skip
    _add_arguments(look)
    look.set_defaults(run=run)


def _add_fit_spotting(commands: Any, run: Run) -> None:
    suit = commands.add_parser(
        "fit-spotting", help="fit a checkpoint to untrimmed recordings, for predict --spot",
        description="Trains the head that tells moments without a gesture on the training recordings, chooses "
        "thresholds on the validation recordings, stores both in the checkpoint, and measures on the test recordings.",
    )  # fmt: skip
    suit.add_argument("checkpoint", type=Path, help="folder of a trained checkpoint; it is changed")
    suit.add_argument("recordings", type=Path, help="a folder per split with recordings whose gestures are annotated")
    suit.add_argument("--device", default="cpu", help="e.g. cuda:0 (default: cpu)")
    suit.set_defaults(run=run)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="folder of a trained checkpoint, e.g. outputs/synthetic")
    parser.add_argument("files", nargs="+", metavar="FILE", help="videos, or folders of videos")
    parser.add_argument(
        "--spot", action="store_true",
        help="the videos are untrimmed recordings: find the gestures in them (default: each is a clip of one gesture)",
    )  # fmt: skip
    parser.add_argument(
        "--background", choices=("head", "softmax"), help="--spot: how moments without a gesture are told"
    )
    parser.add_argument("--mirrored", action="store_true", help="the camera stored a mirror image")
    out = parser.add_argument_group("results", "Times are seconds; one row, annotation or region per segment.")
    out.add_argument("--json", type=Path, metavar="FILE", help="JSON lines, a line per file; an earlier run goes on")
    out.add_argument("--csv", type=Path, metavar="FILE", help="a table")
    out.add_argument("--eaf", type=Path, metavar="DIR", help="an ELAN file per video")
    out.add_argument("--boris", type=Path, metavar="FILE", help="a BORIS project")
    out.add_argument(
        "--label-studio",
        type=Path,
        metavar="FILE",
        help="Label Studio tasks, and their page beside them; it has to serve the folder that holds all the videos",
    )
    out.add_argument(
        "--explain", type=Path, metavar="DIR",
        help="a picture and an mp4 per segment, red where the frames spoke for the label; slow",
    )  # fmt: skip
    _add_framing(parser)
    parser.add_argument(
        "--on-error", choices=("skip", "stop"), default="skip",
        help="what to do with a file that cannot be read (default: go on without it, and end with status 3)",
    )  # fmt: skip
    parser.add_argument("--batch_size", type=int, default=1, help="clips that pass the network together (default 1)")
    parser.add_argument("--num_workers", type=int, default=0, help="processes that decode clips (default 0: none)")
    parser.add_argument("--device", help="e.g. cpu or cuda:1 (default: the first accelerator, else the CPU)")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"),
        help="arithmetic of the network (default: as the checkpoint is stored); benchmarks/RESULTS.md has bfloat16",
    )  # fmt: skip


def box(text: str) -> list[int]:
    """X,Y,WIDTH,HEIGHT in pixels, as argparse reads it."""
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not X,Y,WIDTH,HEIGHT in pixels, such as 400,80,600,900"
        ) from None
    if min(x, y) < 0 or min(width, height) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: X and Y count from 0, WIDTH and HEIGHT from 1")
    return [x, y, width, height]


def _add_framing(parser: argparse.ArgumentParser) -> None:
    """The options that choose a part of the picture."""
    part = parser.add_argument_group(
        "part of the picture",
        "Pixels of the upright picture, from its upper left corner; with --mirrored, of the picture turned back. "
        "Without --detector nobody is detected, and nothing tells you that several people are visible. With it you "
        "are warned, and still only you can tell who is meant, so give a box.",
    )
    one = part.add_mutually_exclusive_group()
    one.add_argument(
        "--roi", type=box, metavar="X,Y,W,H", help="only this part, squeezed to a square as the paper does"
    )
    one.add_argument(
        "--person", type=box, metavar="X,Y,W,H",
        help="a box around one person: widened to a square, so that nothing is squeezed",
    )  # fmt: skip
    part.add_argument(
        "--detector", metavar="NAME_OR_DIR",
        help="look for people in a few frames of each file, and warn where several are seen: a detector's name on the "
        "Hub, e.g. PekingU/rtdetr_r50vd, or its folder",
    )  # fmt: skip
    part.add_argument(
        "--preview", type=Path, metavar="DIR",
        help="recognise nothing; write a picture of each video with the box (yellow: given, green: what is seen)",
    )  # fmt: skip


def _add_export(commands: Any, run: Run) -> None:
    command = commands.add_parser(
        "export",
        help="write a checkpoint's vision branch as ONNX",
        description="Writes the vision branch of an FG-SGL checkpoint as one ONNX file, with a JSON file of the same "
        "name beside it that has the class names and the preprocessing. onnxruntime's answers are compared with "
        "torch's first. Needs: pip install fgsgl[onnx].",
    )
    command.add_argument("checkpoint", type=Path, help="folder of a trained checkpoint, e.g. outputs/synthetic")
    command.add_argument("--onnx", type=Path, metavar="FILE", required=True, help="the file to write, e.g. fgsgl.onnx")
    command.add_argument(
        "--int8", action="store_true",
        help="weights of the linear layers in 8 bits: a smaller file whose answers differ; measure it on your clips",
    )  # fmt: skip
    command.set_defaults(run=run)
