"""The `microgesture` command. It is thin: each of its functions introduces rooms to each other."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from microgesture.ablation.command import add_options as add_ablate_options
from microgesture.evaluation.report.command import add_report
from microgesture.onnx_export import add_export


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

    utd_mhad.prepare(args.source, out, leave_one_out=args.leave_one_out)
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
    from microgesture.streams.evaluation import stream_of
    from modeling_fgsgl import FGSGLForVideoClassification
    from pipeline_fgsgl import FGSGLPipeline
    from processing_fgsgl import FGSGLProcessor

    if not (checkpoint / "config.json").is_file():
        raise FileNotFoundError(f"{checkpoint} is no folder with a trained checkpoint: it has no config.json")
    if stream := stream_of(checkpoint):
        raise ValueError(f"{checkpoint} is a {stream} stream, which reads keypoints and no video: see its README.md")
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
    from microgesture import spotting
    from microgesture.data.clips import write_text

    pipe = load_pipeline(args.checkpoint, torch.device(args.device))
    result = spotting.fit(pipe, spotting_fgsgl, args.recordings, print)
    # Weights before settings: a checkpoint that is caught in between has weights that nothing asks for.
    pipe.model.save_pretrained(args.checkpoint)
    write_text(args.checkpoint / spotting.FILE, json.dumps(result, indent=1) + "\n")
    print(spotting.report(result))


def fuse(args: argparse.Namespace) -> None:
    """Fuses checkpoints by their score files."""
    import json

    from microgesture.data.clips import write_text
    from microgesture.evaluation.score_file import score_path, scores_of
    from microgesture.streams import fusion
    from microgesture.streams.adaptation_data import check_one_kind

    split = args.split or args.on
    check_one_kind(args.runs, split)
    short = [run.resolve().name for run in args.runs]
    names = short if len(set(short)) == len(short) else [str(run) for run in args.runs]
    fitted, reported = (fusion.align([scores_of(run, part) for run in args.runs], names) for part in (args.on, split))
    found = fusion.report(fitted, reported, names, args.metric)
    text = fusion.format_report(found).splitlines()
    print("\n".join(text if args.report else text[: len(names) + 3]))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        path = score_path(args.out, split)
        fusion.fuse(reported, fusion.fit(fitted, names, args.metric)).save(path)
        write_text(args.out / f"fusion_{split}.json", json.dumps(found, ensure_ascii=False, indent=1) + "\n")
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


def crop(args: argparse.Namespace) -> None:
    """Makes a data set of clips that are cropped to the hands and the face."""
    from microgesture.streams.rgb.cropping import crop_data
    from microgesture.streams.rgb.saliency import SaliencyCrop
    from video_fgsgl import Recording

    how = SaliencyCrop(args.min_size, args.padding, args.smoothing)
    counts = crop_data(args.folder, args.out, how, args.size, Recording)
    print(f"{args.out}: " + ", ".join(f"{count} clips in {split}" for split, count in counts.items()))


def add_annotate(commands: Any) -> None:
    """The command line of `microgesture annotate`, which gets the video reader from here."""
    from microgesture.annotation import commands as annotate

    def video_reader() -> Any:
        import video_fgsgl

        return video_fgsgl

    annotate.add(commands, video_reader)


def add_coding(commands: Any) -> None:
    """The command lines of `microgesture summarise` and `microgesture validate`, with the video reader."""
    from microgesture.coding.summarise import add_summarise
    from microgesture.coding.validate import add_validate

    def video_reader() -> Any:
        import video_fgsgl

        return video_fgsgl

    add_summarise(commands, lambda video: video_reader().probe(video))
    add_validate(commands, video_reader)


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
    make.add_argument(
        "--leave-one-out", action="store_true",
        help="utd_mhad: six data sets, OUT/fold_1 and so on, in each of which that subject alone tests",
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
    vote = commands.add_parser(
        "fuse",
        help="fuse trained checkpoints by their scores",
        description="Fuses checkpoints of any kind by the scores that evaluate_fgsgl.py wrote: a temperature for "
        "each, then a weighted vote. Both are fitted on the split of --on; evaluate each checkpoint on it first.",
    )
    vote.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of evaluated checkpoints")
    vote.add_argument("--on", default="validation", metavar="SPLIT", help="fit on this split (default: validation)")
    vote.add_argument("--split", help="figures on this split (default: the one of --on, which says too much)")
    vote.add_argument("--metric", choices=("top1", "macro_f1"), default="top1", help="what chooses the weights")
    vote.add_argument("--report", action="store_true", help="also what is left without each of them")
    vote.add_argument("--out", type=Path, metavar="DIR", help="write figures and the fused scores into this folder")
    vote.set_defaults(run=fuse)
    teach = commands.add_parser(
        "adapt",
        help="let trained streams teach each other on unlabelled clips",
        description="Cross-modal pseudo-labelling: each stream is trained on with the unlabelled clips on which the "
        "other streams agree, and with the controls that the recipe names. Goes on where it was stopped.",
    )
    teach.add_argument("recipe", type=Path, help="an adaptation recipe, e.g. recipes/adapt_utd_mhad.yaml")
    teach.set_defaults(run=adapt)
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
    smaller.set_defaults(run=crop)
    add_predict(commands)
    add_coding(commands)
    add_annotate(commands)
    rows = commands.add_parser("ablate", help="train and test every row of an ablation recipe, and make one table")
    add_ablate_options(rows)
    add_report(commands, report)
    add_export(commands, export)
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


def add_predict(commands: argparse._SubParsersAction) -> None:
    """The command lines of `microgesture predict` and `microgesture fit-spotting`."""
    from microgesture.prediction import add_arguments

    look = commands.add_parser(
        "predict", help="recognise micro-gestures in videos",
        description="Recognises the gesture of each clip, or with --spot finds the gestures in untrimmed recordings. "
        "Ends with status 0, with 3 where some files could not be read, and with 1 where nothing could be done.",
    )  # fmt: skip
    add_arguments(look)
    look.set_defaults(run=predict)
    suit = commands.add_parser(
        "fit-spotting", help="fit a checkpoint to untrimmed recordings, for predict --spot",
        description="Trains the head that tells moments without a gesture on the training recordings, chooses "
        "thresholds on the validation recordings, stores both in the checkpoint, and measures on the test recordings.",
    )  # fmt: skip
    suit.add_argument("checkpoint", type=Path, help="folder of a trained checkpoint; it is changed")
    suit.add_argument("recordings", type=Path, help="a folder per split with recordings whose gestures are annotated")
    suit.add_argument("--device", default="cpu", help="e.g. cuda:0 (default: cpu)")
    suit.set_defaults(run=fit_spotting)


def _own_options(make: argparse.ArgumentParser) -> None:
    own = make.add_argument_group(
        "your own clips (own)",
        "SOURCE is a table (.csv, .jsonl) with the columns file, label, subject, start, end; a folder with a folder "
        "per class; ELAN (.eaf), BORIS (.boris) or Label Studio (.json) files; or the folder that holds one of these. "
        "See docs/your_data.md.",
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
