"""The `microgesture` command. It is thin: each of its functions introduces rooms to each other."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from microgesture import checkpoint_commands as checkpoint
from microgesture.ablation.command import add_options as add_ablate_options
from microgesture.annotation import commands as annotate
from microgesture.coding import commands as coding
from microgesture.evaluation.report.command import add_report
from microgesture.keypoint_commands import add_keypoints
from microgesture.streams import commands as streams


def prepare(args: argparse.Namespace) -> None:
    """Makes a data set folder."""
    out = args.out or Path("data") / args.name
    if args.name == "synthetic" and args.recordings:
        from microgesture.data.synthetic import generate_recordings

        for number, split in enumerate(("train", "validation", "test")):
            # With one seed the recordings of all splits would show the same gestures at the same seconds.
            generate_recordings(out / split, args.recordings, args.seed + number, args.size, split)
    elif args.name == "synthetic":
        from microgesture.data.synthetic import generate

        generate(out, args.size, seed=args.seed)
    else:
        if args.source is None:
            raise ValueError(f"prepare {args.name} needs the folder of the original data: prepare {args.name} SOURCE")
        if args.name == "own":
            prepare_own(args, out)
            return
        for finding in prepare_published(args, out):
            print(f"  {finding}")
    print(f"{args.name}: {out}")


def prepare_own(args: argparse.Namespace, out: Path) -> None:
    """Makes a data set folder of people's own clips."""
    from microgesture.annotation.sources import ReadingOptions
    from microgesture.data.own import OwnOptions, parse_shares
    from microgesture.data.own import prepare as make

    options = OwnOptions(
        reading=ReadingOptions(args.tier, args.coder, args.fps, args.point),
        videos=args.videos,
        subject_from=args.subject_from,
        labels=args.labels,
        mirrored=None if args.mirrored is None else args.mirrored == "yes",
        shares=parse_shares(args.ratio),
        folds=args.folds,
        seed=args.seed,
        allow_leak=args.allow_leak,
    )
    print("\n".join(make(args.source, out, options)))


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

    utd_mhad.prepare(args.source, out, leave_one_out=args.leave_one_out, adaptation=args.adaptation)
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


def check(args: argparse.Namespace) -> int:
    """Looks a data set over before training; 1 when something must be mended."""
    import json

    from microgesture.data.check import check as check_folder
    from microgesture.data.clips import write_text
    from video_fgsgl import SPAN_SLACK, probe, read_frames

    read = read_frames if args.decode else None
    report = check_folder(args.folder, probe, read, args.num_frames, float(SPAN_SLACK))
    print(report.as_text())
    if args.json is not None:
        write_text(args.json, json.dumps(report.as_json(), ensure_ascii=False, indent=1) + "\n")
    return 1 if report.errors else 0


def load_pipeline(checkpoint: Path, device: Any, dtype: str | None = None) -> Any:
    """The pipeline over a checkpoint in a folder, with the code of this installation; `dtype` as it is stored."""
    from microgesture.streams.evaluation import VIDEO_STREAMS, stream_of
    from modeling_fgsgl import FGSGLForVideoClassification
    from pipeline_fgsgl import FGSGLPipeline
    from processing_fgsgl import FGSGLProcessor

    if not (checkpoint / "config.json").is_file():
        raise FileNotFoundError(f"{checkpoint} is no folder with a trained checkpoint: it has no config.json")
    if stream := stream_of(checkpoint):
        reads = "knows clips only, no recordings" if stream in VIDEO_STREAMS else "reads keypoints and no video"
        raise ValueError(f"{checkpoint} is a {stream} stream, which {reads}: see its README.md")
    model = FGSGLForVideoClassification.from_pretrained(checkpoint, local_files_only=True, dtype=dtype or "auto")
    processor = FGSGLProcessor.from_pretrained(checkpoint, local_files_only=True)
    return FGSGLPipeline(model.to(device), feature_extractor=processor, device=device)


def predict(args: argparse.Namespace) -> int:
    """Recognises clips, or finds gestures in recordings."""
    from microgesture import prediction
    from video_fgsgl import probe, read_frames

    return prediction.run(args, load_pipeline, probe, read_frames)


def export(args: argparse.Namespace) -> None:
    """Writes a checkpoint's vision branch as ONNX."""
    from microgesture import onnx_export

    print(onnx_export.run(args, load_pipeline))


def fit_spotting(args: argparse.Namespace) -> None:
    """Fits a checkpoint to untrimmed recordings."""
    import json

    import torch

    import spotting_fgsgl
    from microgesture import checkpoints, disk, spotting
    from microgesture.data.clips import write_text

    pipe = load_pipeline(args.checkpoint, torch.device(args.device))
    result = spotting.fit(pipe, spotting_fgsgl, args.recordings, print)
    cure = "It is as it was before. Make room, then start the same line again."
    with (
        disk.explaining("the fitted checkpoint", args.checkpoint, cure),
        checkpoints.publishing(args.checkpoint) as folder,  # the weights that were trained are not written over
    ):
        pipe.model.save_pretrained(folder)
        write_text(folder / spotting.FILE, json.dumps(result, indent=1) + "\n")
    print(spotting.report(result))


def video_reader() -> Any:
    """The module that reads videos, for the commands whose files may not import it."""
    import video_fgsgl

    return video_fgsgl


def push(args: argparse.Namespace) -> None:
    """Publishes a checkpoint, or its adapters alone."""
    from microgesture.hub.checkpoint import adapter_only, publish, whole_checkpoint

    if args.adapter != (args.base is not None):
        raise ValueError(
            "--adapter and --base belong together: adapters are of no use without the network they change"
        )
    upload = (
        adapter_only(args.folder, args.repo, args.base) if args.adapter else whole_checkpoint(args.folder, args.repo)
    )
    print(upload.listing())
    if not args.dry_run:
        publish(args.folder, upload, print, private=args.private, revision=args.revision)


def push_data(args: argparse.Namespace) -> None:
    """Publishes a data set."""
    from microgesture.hub.dataset import dataset_upload, publish_dataset

    upload = dataset_upload(args.folder, args.repo, args.with_videos)
    print(upload.listing())
    if not args.dry_run:
        publish_dataset(args.folder, upload, print, private=args.private, revision=args.revision)


def report(args: argparse.Namespace) -> None:
    """Makes a page of finished runs."""
    from microgesture.evaluation.report.frames import Frames
    from microgesture.evaluation.report.write import write_report
    from video_fgsgl import read_frames

    frames = Frames(args.data, read_frames) if args.data else None
    print("\n".join(str(path) for path in write_report(args.runs, args.out, frames)))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    whole = argparse.ArgumentParser(prog="microgesture", description="Micro-gestures in video: FG-SGL.")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    make = commands.add_parser("prepare", help="make a data set folder that training reads")
    make.add_argument("name", choices=("synthetic", "smg", "imigue", "ma52", "utd_mhad", "own"), help="which data set")
    make.add_argument(
        "source",
        type=Path,
        nargs="?",
        help="folder of the original data (not for synthetic), or annotation file (own)",
    )
    make.add_argument("--out", type=Path, help="the folder to make (default: data/NAME)")
    make.add_argument("--size", choices=("demo", "full"), default="demo", help="synthetic: demo or full")
    make.add_argument(
        "--seed", type=int, default=0, help="another seed: other people and clips (synthetic), another split (own)"
    )
    make.add_argument(
        "--recordings", type=int, metavar="N", help="synthetic: N untrimmed recordings per split in place of clips"
    )
    _own_options(make)
    make.add_argument("--protocol", choices=("miga", "paper"), default="miga", help="imigue: whose splits")
    make.add_argument(
        "--validation", choices=("official", "players"), default="official",
        help="imigue: players takes a validation split with no player of the training split (needs players.csv)",
    )  # fmt: skip
    make.add_argument("--keypoints", type=Path, help="imigue, ma52: a pose pickle of mmaction2 or pyskl")
    plan = make.add_mutually_exclusive_group()
    plan.add_argument(
        "--leave-one-out", action="store_true",
        help="utd_mhad: six data sets, OUT/fold_1 and so on, in each of which that subject alone tests",
    )  # fmt: skip
    plan.add_argument(
        "--adaptation", action="store_true",
        help="utd_mhad: OUT/adapt_2 and OUT/adapt_4, to adapt streams to that subject and test on the other",
    )  # fmt: skip
    make.set_defaults(run=prepare)
    look_over = commands.add_parser("check", help="look a data set over before training")
    look_over.add_argument("folder", type=Path, help="data set folder, e.g. data/own")
    look_over.add_argument(
        "--num_frames", type=int, default=8, help="frames the network takes from a clip (default 8)"
    )
    look_over.add_argument("--decode", action="store_true", help="also decode every clip: finds damage and stillness")
    look_over.add_argument("--json", type=Path, help="also write the report to this file")
    look_over.set_defaults(run=check)
    streams.add(commands, video_reader)
    add_keypoints(commands, video_reader)
    checkpoint.add(commands, predict, fit_spotting, export)
    coding.add(commands, video_reader)
    annotate.add(commands, video_reader)
    rows = commands.add_parser("ablate", help="train and test every row of an ablation recipe, and make one table")
    add_ablate_options(rows)
    add_report(commands, report)
    send = commands.add_parser(
        "push",
        help="publish a checkpoint on the Hugging Face Hub",
        description="Publishes a checkpoint on the Hugging Face Hub: lists the files, loads the checkpoint, sends all "
        "in one commit, loads that commit back into empty caches, and compares the answers. Loading runs the Python "
        "files of the checkpoint, here as for everybody who uses it.",
    )
    send.add_argument(
        "folder", type=Path, metavar="DIR", help="folder of a trained checkpoint, e.g. outputs/synthetic"
    )
    send.add_argument("--adapter", action="store_true", help="only LoRA, heads and prototypes (see --base)")
    send.add_argument("--base", metavar="REPO", help="repository of the network that the run started from")
    send.set_defaults(run=push)
    give = commands.add_parser(
        "push-data",
        help="publish a data set on the Hugging Face Hub",
        description="Publishes card, labels, splits and FG-Text of a data set, lists the files first, and loads the "
        "commit back with load_dataset (with videos, it downloads them once). The column `subject` goes along: use "
        "codes, not names.",
    )
    give.add_argument("folder", type=Path, metavar="DIR", help="a data set folder, e.g. data/synthetic")
    give.add_argument(
        "--with-videos", action="store_true", help='also clips and keypoints; labels.json must say "redistributable"'
    )
    give.set_defaults(run=push_data)
    for command in (send, give):
        command.add_argument("repo", metavar="REPO", help="OWNER/NAME on the Hub; made if it is not there")
        command.add_argument("--private", action="store_const", const=True, help="make the repository private")
        command.add_argument("--revision", metavar="BRANCH", help="another branch than main; made if it is not there")
        command.add_argument("--dry-run", action="store_true", help="list the files, and publish nothing")
    return whole


def _own_options(make: argparse.ArgumentParser) -> None:
    own = make.add_argument_group(
        "your own clips (own)",
        "SOURCE is a table (.csv, .jsonl) with the columns file, label, subject, start, end; a folder with a folder "
        "per class; ELAN (.eaf), BORIS (.boris) or Label Studio (.json) files; or the folder that holds one of these. "
        "See docs/your_data.md.",
    )
    own.add_argument(
        "--videos", type=Path, metavar="DIR", help="where the videos are (default: beside the annotations)"
    )
    own.add_argument("--subject-from", metavar="RULE", help="who is seen: folder, file, or a pattern as '{subject}_*'")
    own.add_argument("--labels", type=Path, metavar="FILE", help="your labels.json, with a sentence for each class")
    own.add_argument(
        "--mirrored", choices=("yes", "no"), help="whether the recordings are mirrored (default: unknown)"
    )
    own.add_argument("--ratio", default="70,15,15", help="train, validation, test in per cent (default 70,15,15)")
    own.add_argument("--folds", type=int, metavar="K", help="make K folds by person, in OUT/fold_1 and so on")
    own.add_argument("--allow-leak", action="store_true", help="split at random; every result is marked")
    own.add_argument(
        "--tier", action="append", default=[], help="ELAN: tier with the classes (may stand several times)"
    )
    own.add_argument("--coder", help="ELAN, Label Studio: whose work to take where several coded the same")
    own.add_argument("--fps", type=float, help="Label Studio: frame rate of the project's <Video> tag")
    own.add_argument(
        "--point", type=float, metavar="SECONDS", help="BORIS: video around point events; 0: without them"
    )


def main(argv: list[str] | None = None) -> int:
    """Runs one command; an error is one line that says what to do."""
    args = parser().parse_args(argv)
    try:
        return args.run(args) or 0
    except (ValueError, OSError, ImportError) as error:
        print(f"microgesture: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
