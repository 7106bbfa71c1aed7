"""The `microgesture` command. It is thin: each of its functions introduces rooms to each other."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def prepare(args: argparse.Namespace) -> None:
    """Makes a data set folder."""
    out = args.out or Path("data") / args.name
    if args.name == "synthetic":
        from microgesture.data.synthetic import generate

        generate(out, args.size, seed=args.seed)
    else:
        if args.source is None:
            raise ValueError(f"prepare {args.name} needs the folder of the original data: prepare {args.name} SOURCE")
        from microgesture.data import utd_mhad

        utd_mhad.prepare(args.source, out)
    print(f"{args.name}: {out}")


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
    make.add_argument("name", choices=("synthetic", "utd_mhad"), help="which data set")
    make.add_argument("source", type=Path, nargs="?", help="folder of the original data (not for synthetic)")
    make.add_argument("--out", type=Path, help="the folder to make (default: data/NAME)")
    make.add_argument("--size", choices=("demo", "full"), default="demo", help="synthetic: demo or full")
    make.add_argument("--seed", type=int, default=0, help="synthetic: other people and clips with another seed")
    make.set_defaults(run=prepare)
    look = commands.add_parser("predict", help="recognise the micro-gesture in video clips")
    look.add_argument("checkpoint", type=Path, help="folder of a trained checkpoint, e.g. outputs/synthetic")
    look.add_argument("files", type=Path, nargs="+", help="video clips, each with one gesture")
    look.set_defaults(run=predict)
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
