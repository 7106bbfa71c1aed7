"""The `microgesture` command. It is thin: each of its functions introduces rooms to each other."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def prepare(args: argparse.Namespace) -> None:
    """Makes a data set folder."""
    out = args.out or Path("data") / args.name
    if args.name == "synthetic":
        from microgesture.data.synthetic import generate

        generate(out, args.size, seed=args.seed)
    else:
        if args.source is None:
            raise ValueError(f"prepare {args.name} needs the folder of the original data: prepare {args.name} SOURCE")
        for finding in prepare_published(args, out):
            print(f"  {finding}")
    print(f"{args.name}: {out}")


def prepare_published(args: argparse.Namespace, out: Path) -> list[str]:
    """Makes the folder of a published data set; returns what was found in the user's copy."""
    if args.name == "smg":
        from microgesture.data import smg

        return smg.prepare(args.source, out, frame_times)
    if args.name == "imigue":
        from microgesture.data import imigue

        return imigue.prepare(args.source, out, frame_times, args.protocol, args.validation, args.keypoints)
    if args.name == "ma52":
        from microgesture.data import ma52

        return ma52.prepare(args.source, out, args.keypoints)
    from microgesture.data import utd_mhad

    utd_mhad.prepare(args.source, out)
    return []


def frame_times(video: Path) -> Any:
    """When each frame of a video is shown and when the last one ends, in seconds from the first; decodes nothing."""
    from contextlib import closing

    import numpy as np

    from container_fgsgl import Clip

    with closing(Clip(video, 1)) as clip:
        timeline = clip.timeline() or clip.measured_timeline()  # a few formats do not say, and have to be decoded
    ticks = [pts - timeline.pts[0] for pts in (*timeline.pts, timeline.end)]
    return np.array([float(tick * timeline.time_base) for tick in ticks])


def predict(args: argparse.Namespace) -> None:
    """Recognises clips: the best classes and, for each attribute, the best word."""
    import torch

    from modeling_fgsgl import FGSGLForVideoClassification
    from processing_fgsgl import FGSGLProcessor

    model = FGSGLForVideoClassification.from_pretrained(args.checkpoint).eval()
    processor = FGSGLProcessor.from_pretrained(args.checkpoint)
    for file in args.files:
        pixels = processor(file)["pixel_values"]
        with torch.inference_mode():
            scores = model(pixels).logits.float().softmax(-1)[0]
        print(file)
        for score, number in zip(*(part.tolist() for part in scores.topk(min(3, len(scores)))), strict=True):
            print(f"  {score:6.1%}  {model.config.id2label[number]}")
        best = {attribute: words[0][0] for attribute, words in model.describe(pixels)[0].items() if words}
        if best:
            print("  " + ", ".join(f"{attribute}: {word}" for attribute, word in best.items()))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    whole = argparse.ArgumentParser(prog="microgesture", description="Micro-gestures in video: FG-SGL.")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    make = commands.add_parser("prepare", help="make a data set folder that training reads")
    make.add_argument("name", choices=("synthetic", "smg", "imigue", "ma52", "utd_mhad"), help="which data set")
    make.add_argument("source", type=Path, nargs="?", help="folder of the original data (not for synthetic)")
    make.add_argument("--out", type=Path, help="the folder to make (default: data/NAME)")
    make.add_argument("--size", choices=("demo", "full"), default="demo", help="synthetic: demo or full")
    make.add_argument("--seed", type=int, default=0, help="synthetic: other people and clips with another seed")
    make.add_argument("--protocol", choices=("miga", "paper"), default="miga", help="imigue: whose splits")
    make.add_argument(
        "--validation", choices=("official", "players"), default="official",
        help="imigue: players takes a validation split with no player of the training split (needs players.csv)",
    )  # fmt: skip
    make.add_argument("--keypoints", type=Path, help="imigue, ma52: a pose pickle of mmaction2 or pyskl")
    make.set_defaults(run=prepare)
    look = commands.add_parser("predict", help="recognise the micro-gesture in video clips")
    look.add_argument("checkpoint", type=Path, help="folder of a trained checkpoint, e.g. outputs/synthetic")
    look.add_argument("files", type=Path, nargs="+", help="video clips, each with one gesture")
    look.set_defaults(run=predict)
    return whole


def main(argv: list[str] | None = None) -> int:
    """Runs one command; an error is one line that says what to do."""
    args = parser().parse_args(argv)
    try:
        args.run(args)
    except (ValueError, OSError) as error:
        print(f"microgesture: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
