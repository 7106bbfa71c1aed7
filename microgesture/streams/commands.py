"""The command lines of `microgesture fuse`, `adapt` and `crop`. They are thin: one function per command."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


def fuse(args: argparse.Namespace) -> None:
    """Fuses checkpoints by their score files."""
    import json

    from microgesture.data.clips import write_text
    from microgesture.evaluation.score_file import score_path, scores_of
    from microgesture.streams import fusion
    from microgesture.streams.adaptation_data import check_one_kind

    split = args.split or args.on
    short = [run.resolve().name for run in args.runs]
    names = short if len(set(short)) == len(short) else [str(run) for run in args.runs]
    fitted, reported = (
        fusion.checked([scores_of(run, part) for run in args.runs], names) for part in (args.on, split)
    )
    check_one_kind({name: scores.transductive for name, scores in zip(names, reported, strict=True)}, split)
    found = fusion.report(fitted, reported, names, args.metric)
    text = fusion.format_report(found).splitlines()
    print("\n".join(text if args.report else text[: len(names) + 3]))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        path = score_path(args.out, split)
        write_text(args.out / f"fusion_{split}.json", json.dumps(found, ensure_ascii=False, indent=1) + "\n")
        fusion.fuse(reported, fusion.fusion_of(found)).save(path)
        print(f"scores of every clip: {path}")


def adapt(args: argparse.Namespace) -> None:
    """Adapts streams to unlabelled clips."""
    from collections.abc import Sequence

    from microgesture.ablation.runs import Run, run_all
    from microgesture.streams import adaptation
    from microgesture.streams.adaptation_tables import as_text

    def work(runs: Sequence[Run]) -> list[Run]:
        return run_all(runs, [None], say)

    def say(text: str) -> None:
        print(text, flush=True)

    recipe = adaptation.read(args.recipe)
    say("\n" + as_text(adaptation.adapt(recipe, work, say)))
    say(f"tables: {recipe.output_dir}/adaptation.md")


def crop(args: argparse.Namespace, reader: Any) -> None:
    """Makes a data set of clips that are cropped to the hands and the face."""
    from microgesture.streams.rgb.cropping import crop_data
    from microgesture.streams.rgb.saliency import SaliencyCrop

    how = SaliencyCrop(args.min_size, args.padding, args.smoothing)
    counts = crop_data(args.folder, args.out, how, args.size, reader)
    print(f"{args.out}: " + ", ".join(f"{count} clips in {split}" for split, count in counts.items()))


def add(commands: Any, video_reader: Callable[[], Any]) -> None:
    """Adds the commands.

    Args:
        commands: The commands of `microgesture`.
        video_reader: Gives the module `video_fgsgl`, when it is needed.
    """
    _add_fuse(commands)
    _add_adapt(commands)
    _add_crop(commands, video_reader)


def _add_fuse(commands: Any) -> None:
    vote = commands.add_parser(
        "fuse",
        help="fuse trained checkpoints by their scores",
        description="Fuses checkpoints of any kind by the scores that evaluate_fgsgl.py wrote: each one's "
        "probabilities are made as sure as they are right (by a temperature), then they vote, each with a weight. All "
        "of it is fitted on the split of --on; evaluate each checkpoint on it first.",
    )
    vote.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of evaluated checkpoints")
    vote.add_argument("--on", default="validation", metavar="SPLIT", help="fit on this split (default: validation)")
    vote.add_argument("--split", help="figures on this split (default: the one of --on, where they are too good)")
    vote.add_argument("--metric", choices=("top1", "macro_f1"), default="top1", help="what chooses the weights")
    vote.add_argument("--report", action="store_true", help="also what is left without each of them")
    vote.add_argument("--out", type=Path, metavar="DIR", help="write figures and the fused scores into this folder")
    vote.set_defaults(run=fuse)


def _add_adapt(commands: Any) -> None:
    teach = commands.add_parser(
        "adapt",
        help="let trained streams teach each other on unlabelled clips",
        description="Cross-modal pseudo-labelling: each stream is trained on with the unlabelled clips on which the "
        "other streams agree, and, to compare with, in the other ways that the recipe names. Train the streams first. "
        "Goes on where it was stopped.",
    )
    teach.add_argument("recipe", type=Path, help="an adaptation recipe, e.g. recipes/adapt_utd_mhad.yaml")
    teach.set_defaults(run=adapt)


def _add_crop(commands: Any, video_reader: Callable[[], Any]) -> None:
    smaller = commands.add_parser(
        "crop",
        help="crop a data set's clips to the hands and the face",
        description="Writes a data set whose frames follow what moves, by keypoints in pixels where a clip has them, "
        "else by the differences of frames. Goes on where it was stopped.",
    )
    smaller.add_argument("folder", type=Path, help="data set folder, e.g. data/smg")
    smaller.add_argument("--out", type=Path, required=True, help="the folder to make")
    smaller.add_argument("--size", type=int, default=448, help="side of the frames in pixels (default 448)")
    smaller.add_argument("--min_size", type=float, default=0.4, help="smallest box, share of the shorter side (0.4)")
    smaller.add_argument("--padding", type=float, default=0.25, help="added on every side, share of the box (0.25)")
    smaller.add_argument("--smoothing", type=float, default=4.0, help="frames over which a box follows (4)")
    smaller.set_defaults(run=lambda args: crop(args, video_reader()))
