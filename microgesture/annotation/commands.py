"""The command line of `microgesture annotate`. It is thin: one function per step."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
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


def propose_records(args: argparse.Namespace, reader: Any) -> None:
    """Proposes records from keypoints, and says what was left out and what cannot be told."""
    from microgesture.annotation.proposals import cannot_judge
    from microgesture.annotation.proposing import propose_all, refuse_words_of_people
    from microgesture.annotation.records import write_records

    refuse_words_of_people(args.out)
    records, without, layouts = propose_all(args.folder, reader.probe, args.split)
    for reason, count in without.most_common():
        print(f"left out: {count} clips, {reason}")
    for layout in layouts:
        never = "; ".join(f"{name}: {', '.join(words)}" for name, words in cannot_judge(layout).items() if words)
        print(f"never proposed from {layout.name}: {never}")
    if not records:
        raise ValueError("no record can be proposed, so nothing is written")
    write_records(args.out, records)
    print(f"{len(records)} proposed records: {args.out}")
    print(f"next: microgesture annotate apply {args.folder} {args.out}")


def measure_agreement(args: argparse.Namespace) -> None:
    """Says how well coders agree."""
    timed = [path.suffix.lower() == ".eaf" or path.is_dir() for path in args.files]
    if any(timed) != all(timed):
        raise ValueError("give either tables of records (.jsonl) or ELAN files (.eaf), not both at once")
    if args.tier and not any(timed):
        raise ValueError("--tier is for ELAN files (.eaf); tables of records have no tiers")
    found, text = (_timed_agreement if any(timed) else _record_agreement)(args)
    print(text)
    if args.json is not None:
        from microgesture.data.clips import write_text

        write_text(args.json, json.dumps(found, ensure_ascii=False, indent=1) + "\n")


def _record_agreement(args: argparse.Namespace) -> tuple[Any, str]:
    from microgesture.annotation.agreement import agreement
    from microgesture.annotation.agreement_text import as_text
    from microgesture.annotation.records import read_records

    records = [record for path in args.files for record in read_records(path)]
    found = agreement(records, args.by, seed=args.seed)
    return asdict(found), as_text(found)


def _timed_agreement(args: argparse.Namespace) -> tuple[Any, str]:
    from microgesture.annotation.agreement_text import segments_as_text
    from microgesture.annotation.elan_codings import read_codings
    from microgesture.annotation.segments_agreement import Settings, segment_agreement

    settings = Settings(args.iou, args.tolerance, args.unit, args.by, seed=args.seed)
    recordings = read_codings(args.files, args.tier)
    found = segment_agreement(recordings, settings)
    notes = [one.note for one in recordings if one.note]
    whole = {"settings": asdict(settings), "notes": notes, "pairs": [asdict(one) for one in found]}
    return whole, "\n\n\n".join([*notes, *(segments_as_text(one, settings) for one in found)])


def adjudicate_records(args: argparse.Namespace, reader: Any) -> None:
    """Brings the records of several coders to one per clip."""
    from microgesture.annotation.adjudication import ALONE, MAJORITY, TIE, UNANIMOUS, Places, adjudicate, write
    from microgesture.annotation.records import read_records

    places = Places.beside(args.out, args.ties)
    verdicts, without = adjudicate([read_records(path) for path in args.records])
    key = write(places, args.folder, verdicts, reader, tool=args.format, coders=args.coders, seed=args.seed)
    counts = Counter(one.outcome for one in verdicts)
    outcomes = ", ".join(f"{counts[name]} {name}" for name in (UNANIMOUS, MAJORITY, ALONE, TIE) if counts[name])
    print(f"{len(verdicts)} clips: {outcomes}")
    for what, count in without.items():
        print(f"without a vote: {count} {what if what == 'second looks' else f'records of provenance {what}'}")
    print(f"{len(verdicts) - counts[TIE]} records: {args.out}; who said what of every clip: {places.votes}")
    if key is None:
        print(f"next: microgesture annotate apply {args.folder} {args.out}")
        return
    tables = " ".join(map(str, args.records))
    print(f"back to {_whom(key)}: {places.ties}; READ_ME.txt in it says how")
    again = f"{places.ties.name}.jsonl"
    print(f"when they are coded: microgesture annotate import {places.ties} ... --out {again}")
    print(f"then: microgesture annotate adjudicate {args.folder} {tables} {again} --out another_name.jsonl")


def _whom(key: Any) -> str:
    named = sorted({item.coder for item in key.items if item.coder})
    return ", ".join(named) or "the coders"


def add(commands: Any, video_reader: Callable[[], Any]) -> None:
    """Adds `annotate` and its steps to a command line.

    Args:
        commands: The sub-commands of `microgesture`.
        video_reader: Gives the module `video_fgsgl`, when it is needed.
    """
    group = commands.add_parser(
        "annotate", help="have people describe clips (FG-Text), and use what they wrote",
        description="Have people describe clips: export a folder for coders, import what they wrote, see how well "
        "they agree, bring their words to one record per clip, apply these to the data set. They work in Label Studio "
        "(in the browser) or in ELAN, both free.",
    ).add_subparsers(required=True, metavar="STEP")  # fmt: skip
    _add_export(group, video_reader)
    _add_import(group)
    _add_agreement(group)
    _add_adjudicate(group, video_reader)
    _add_apply(group)
    _add_propose(group, video_reader)


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


def _add_agreement(group: Any) -> None:
    see = group.add_parser(
        "agreement", help="see how well coders agree, and where they do not",
        description="Says how well coders agree: on the words that they wrote (the tables of `annotate import`), or "
        "on the movements that they marked in time (ELAN files). Percentage agreement, Cohen's and Fleiss' kappa and "
        "Krippendorff's alpha, each with a 95 % interval; then the words that are confused and the clips that coders "
        "agree on least. Only what coders wrote themselves counts, at their first look; clips that came twice tell "
        "how well coders agree with themselves.",
    )  # fmt: skip
    see.add_argument("files", type=Path, nargs="+", metavar="FILE",
                     help="tables of records; or one .eaf file with the tiers of several coders, or an .eaf file of "
                     "each coder, or a folder of each coder with the same file names")  # fmt: skip
    see.add_argument("--by", choices=("subject", "recording"), default="subject",
                     help="draw whole subjects or whole recordings for the intervals (default: subject)")  # fmt: skip
    see.add_argument("--json", type=Path, metavar="FILE", help="also write everything, every clip included, to a file")
    see.add_argument("--seed", type=int, default=0, help="other draws with another number")
    timed = see.add_argument_group("movements marked in time (ELAN)")
    timed.add_argument("--tier", action="append", default=[], metavar="NAME",
                       help="tier with the movements (may stand several times): its name, what stands before an @ in "
                       "it, or its type (default: the tiers without a parent, if they are of one type)")  # fmt: skip
    timed.add_argument("--iou", type=float, default=0.5, metavar="SHARE",
                       help="two movements are one from this overlap on: what they share, by what either covers "
                       "(default: 0.5)")  # fmt: skip
    timed.add_argument("--tolerance", type=float, default=0.2, metavar="SECONDS",
                       help="beginnings, and ends, are the same within so much (default: 0.2)")  # fmt: skip
    timed.add_argument("--unit", type=float, default=0.1, metavar="SECONDS",
                       help="unit of time that kappa is counted in (default: 0.1)")  # fmt: skip
    see.set_defaults(run=measure_agreement)


def _add_adjudicate(group: Any, video_reader: Callable[[], Any]) -> None:
    one = group.add_parser(
        "adjudicate", help="bring the records of several coders to one per clip, by majority",
        description="Brings the records of several coders to one per clip. For each question the word counts that "
        "more than half of those who answered gave. Clips without such a word for one of the four attributes or the "
        "side go back to the coders as a new export, blind and in random order. Every coder's words are kept in a "
        "table of votes. Nothing is overwritten.",
    )  # fmt: skip
    one.add_argument("folder", type=Path, help="the data set")
    one.add_argument("records", type=Path, nargs="+", metavar="RECORDS",
                     help="tables of `annotate import`, those of later rounds last: what a coder wrote in a later one "
                     "replaces what they wrote about the same clip before")  # fmt: skip
    one.add_argument("--out", type=Path, required=True, metavar="TABLE",
                     help="the table to write, e.g. final.jsonl; final_votes.jsonl is written beside it")  # fmt: skip
    one.add_argument("--ties", type=Path, metavar="FOLDER",
                     help="the folder to make for the clips that go back (default: final_ties)")  # fmt: skip
    one.add_argument("--coders", nargs="+", default=[], metavar="NAME",
                     help="who gets these clips, e.g. somebody new (default: those who wrote about them)")  # fmt: skip
    one.add_argument("--format", choices=("label-studio", "elan"), default="label-studio",
                     help="for which tool (default: label-studio)")  # fmt: skip
    one.add_argument("--seed", type=int, default=0, help="another order with another number")
    one.set_defaults(run=lambda args: adjudicate_records(args, video_reader()))


def _add_apply(group: Any) -> None:
    use = group.add_parser(
        "apply", help="write records into the data set, for training",
        description="Writes records into the data set's metadata.jsonl: one record per clip, of one coder or "
        "adjudicated. Words that a human wrote are never replaced by others than a human's.",
    )  # fmt: skip
    use.add_argument("folder", type=Path, help="the data set")
    use.add_argument("records", type=Path, help="the table that `annotate import` or `annotate adjudicate` wrote")
    use.set_defaults(run=apply_records)


def _add_propose(group: Any, video_reader: Callable[[], Any]) -> None:
    rules = group.add_parser(
        "propose", help="propose words from keypoints, by rules",
        description="Proposes each clip's words from its keypoints, by fixed rules that do not look at the class: "
        "which part moves, what the hand is at, which way it goes, in what manner. Proposals are often wrong "
        "(docs/log.md says how often), are marked as a model's, and never replace the words of people.",
    )  # fmt: skip
    rules.add_argument("folder", type=Path, help="the data set, with keypoints")
    rules.add_argument("--out", type=Path, required=True, metavar="TABLE",
                       help="the table to write, e.g. proposed.jsonl")  # fmt: skip
    rules.add_argument("--split", nargs="+", default=[], metavar="NAME", help="only these splits, e.g. train")
    rules.set_defaults(run=lambda args: propose_records(args, video_reader()))
