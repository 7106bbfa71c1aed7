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
    add_annotate(commands)
    return whole


def main(argv: list[str] | None = None) -> int:
    """Runs one command; an error is one line that says what to do."""
    args = parser().parse_args(argv)
    try:
        args.run(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"microgesture: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
