"""The command line of `microgesture annotate`. It is thin: one function per step."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


def export_clips(args: argparse.Namespace, reader: Any) -> None:
    """Makes a folder for coders."""
    from microgesture.annotation.export import export, sources

    key = export(
        args.folder, args.out, reader, clips=sources(args.folder, args.split), tool=args.format,
        coders=args.coders, prefill=args.prefill, show_label=args.show_label, seed=args.seed,
    )  # fmt: skip
    twice = sum(item.look == 2 for item in key.items)
    print(f"{len(key.items)} clips to look at, {twice} of them for the second time: {args.out}")
    print(f"what to do next: {args.out / 'READ_ME.txt'}")


def import_records(args: argparse.Namespace) -> None:
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


def apply_records(args: argparse.Namespace) -> None:
    """Writes records into a data set."""
    from microgesture.annotation.apply import apply
    from microgesture.annotation.records import read_records

    counts = apply(args.folder, read_records(args.records))
    print(f"{args.folder}: {', '.join(f'{number} {what}' for what, number in counts.items())}")


def add(commands: Any, video_reader: Callable[[], Any]) -> None:
    """Adds `annotate` and its steps to a command line.

    Args:
        commands: The sub-commands of `microgesture`.
        video_reader: Gives the module `video_fgsgl`, when it is needed.
    """
    group = commands.add_parser(
        "annotate", help="have people describe clips (FG-Text), and use what they wrote",
        description="Have people describe clips: export a folder for coders, import what they wrote, apply it to the "
        "data set. They work in Label Studio (in the browser) or in ELAN, both free.",
    ).add_subparsers(required=True, metavar="STEP")  # fmt: skip
    _add_export(group, video_reader)
    _add_import(group)
    _add_apply(group)


def _add_export(group: Any, video_reader: Callable[[], Any]) -> None:
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
    out.set_defaults(run=lambda args: export_clips(args, video_reader()))


def _add_import(group: Any) -> None:
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
    read.set_defaults(run=import_records)


def _add_apply(group: Any) -> None:
    use = group.add_parser(
        "apply", help="write records into the data set, for training",
        description="Writes records into the data set's metadata.jsonl: one record per clip, of one coder or "
        "adjudicated. Words that a human wrote are never replaced by others than a human's.",
    )  # fmt: skip
    use.add_argument("folder", type=Path, help="the data set")
    use.add_argument("records", type=Path, help="the table that `annotate import` or `annotate adjudicate` wrote")
    use.set_defaults(run=apply_records)
