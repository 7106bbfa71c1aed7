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


def predict(args: argparse.Namespace) -> None:
    """Recognises clips: the best classes and, for each attribute, the best word."""
    import torch

    from microgesture.streams.evaluation import stream_of
    from modeling_fgsgl import FGSGLForVideoClassification
    from processing_fgsgl import FGSGLProcessor

    if stream := stream_of(args.checkpoint):
        raise ValueError(
            f"{args.checkpoint} is a {stream} stream, which reads keypoints and no video: see its README.md"
        )
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


def fuse(args: argparse.Namespace) -> None:
    """Fuses checkpoints by their score files."""
    import json

    from microgesture.data.clips import write_text
    from microgesture.evaluation.score_file import score_path, scores_of
    from microgesture.streams import fusion

    split = args.split or args.on
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


def annotate_export(args: argparse.Namespace) -> None:
    """Makes a folder for coders."""
    import video_fgsgl
    from microgesture.annotation.export import export, sources

    key = export(
        args.folder, args.out, video_fgsgl, clips=sources(args.folder, args.split), tool=args.format,
        coders=args.coders, prefill=args.prefill, show_label=args.show_label, seed=args.seed,
    )  # fmt: skip
    twice = sum(item.look == 2 for item in key.items)
    print(f"{len(key.items)} clips to look at, {twice} of them for the second time: {args.out}")
    print(f"what to do next: {args.out / 'READ_ME.txt'}")


def annotate_import(args: argparse.Namespace) -> None:
    """Reads what coders made into one table."""
    from microgesture.annotation.reading import read_coded
    from microgesture.annotation.records import write_records

    records, states = read_coded(args.folder, args.files)
    print(", ".join(f"{states[state]} {state}" for state in ("finished", "cancelled", "unfinished")))
    if not records:
        raise ValueError("no clip is finished, so there is nothing to write")
    write_records(args.out, records)
    coders = sorted({str(record.text.coder) for record in records})
    print(f"{len(records)} records of {len(coders)} coders ({', '.join(coders)}): {args.out}")


def annotate_apply(args: argparse.Namespace) -> None:
    """Writes records into a data set."""
    from microgesture.annotation.apply import apply
    from microgesture.annotation.records import read_records

    counts = apply(args.folder, read_records(args.records))
    print(f"{args.folder}: {', '.join(f'{number} {what}' for what, number in counts.items())}")


def add_annotate(commands: argparse._SubParsersAction) -> None:
    """The command line of `microgesture annotate`."""
    group = commands.add_parser(
        "annotate", help="have people describe clips (FG-Text), and use what they wrote",
        description="Have people describe clips: export a folder for coders, import what they wrote, apply it to the "
        "data set. They work in Label Studio (in the browser) or in ELAN, both free.",
    ).add_subparsers(required=True, metavar="STEP")  # fmt: skip
    out = group.add_parser(
        "export", help="make a folder for coders out of a data set",
        description="Makes a folder for coders: the clips in random order under names that tell nothing, a tenth of "
        "them twice, and the questions. Coders work blind unless you say otherwise.",
    )  # fmt: skip
    out.add_argument("folder", type=Path, help="the data set, e.g. data/mydata")
    out.add_argument("--out", type=Path, required=True, help="the folder to make")
    out.add_argument("--format", choices=("label-studio", "elan"), default="label-studio",
                     help="for which tool (default: label-studio)")  # fmt: skip
    out.add_argument("--split", nargs="+", default=[], metavar="NAME", help="only these splits, e.g. train")
    out.add_argument("--coders", nargs="+", default=[], metavar="NAME",
                     help="a set of clips for each, in an order of their own; without names: one set")  # fmt: skip
    out.add_argument("--prefill", action="store_true",
                     help="fill in the words that the data set has already (not blind): what a coder accepts "
                     "unchanged is marked as confirmed, and does not count as a coder's own")  # fmt: skip
    out.add_argument("--show-label", action="store_true", help="tell coders the class of each clip (not blind)")
    out.add_argument("--seed", type=int, default=0, help="another order with another number")
    out.set_defaults(run=annotate_export)
    read = group.add_parser(
        "import", help="read what coders made into one table",
        description="Reads what coders made: one line per clip and coder, checked word by word. Clips that a coder "
        "cancelled or did not finish are counted and left out.",
    )  # fmt: skip
    read.add_argument("folder", type=Path, help="the folder that `annotate export` made")
    read.add_argument("files", type=Path, nargs="*", metavar="FILE",
                      help="what the tool exported: JSON of Label Studio, .eaf files, folders of them (default: the "
                      ".eaf files in the folder)")  # fmt: skip
    read.add_argument("--out", type=Path, required=True, help="the table to write, e.g. records.jsonl")
    read.set_defaults(run=annotate_import)
    use = group.add_parser(
        "apply", help="write records into the data set, for training",
        description="Writes records into the data set's metadata.jsonl: one record per clip, of one coder or "
        "adjudicated. Words that a human wrote are never replaced by others than a human's.",
    )  # fmt: skip
    use.add_argument("folder", type=Path, help="the data set")
    use.add_argument("records", type=Path, help="the table that `annotate import` or `annotate adjudicate` wrote")
    use.set_defaults(run=annotate_apply)


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
    _own_options(make)
    make.add_argument("--protocol", choices=("miga", "paper"), default="miga", help="imigue: whose splits")
    make.add_argument(
        "--validation", choices=("official", "players"), default="official",
        help="imigue: players takes a validation split with no player of the training split (needs players.csv)",
    )  # fmt: skip
    make.add_argument("--keypoints", type=Path, help="imigue, ma52: a pose pickle of mmaction2 or pyskl")
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
    look = commands.add_parser("predict", help="recognise the micro-gesture in video clips")
    look.add_argument("checkpoint", type=Path, help="folder of a trained checkpoint, e.g. outputs/synthetic")
    look.add_argument("files", type=Path, nargs="+", help="video clips, each with one gesture")
    look.set_defaults(run=predict)
    add_annotate(commands)
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
