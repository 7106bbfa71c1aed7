"""The command lines of `microgesture summarise` and `microgesture validate`: one function per command."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


def summarise(args: argparse.Namespace, reader: Any) -> None:
    """Counts what stands in recordings."""
    from microgesture.coding.summarise import run

    run(args, reader.probe)


def sample(args: argparse.Namespace, reader: Any) -> None:
    """Makes a folder for coders."""
    from microgesture.coding.validate import sample

    sample(args, reader)


def score(args: argparse.Namespace) -> None:
    """Compares what was found with what coders saw."""
    from microgesture.coding.validation_score import run

    run(args)


def add(commands: Any, video_reader: Callable[[], Any]) -> None:
    """Adds the commands.

    Args:
        commands: The commands of `microgesture`.
        video_reader: Gives the module `video_fgsgl`, when it is needed.
    """
    _add_summarise(commands, video_reader)
    _add_validate(commands, video_reader)


def _add_summarise(commands: Any, video_reader: Callable[[], Any]) -> None:
    count = commands.add_parser(
        "summarise", help="counts, rates, durations and latencies as a table for R, SPSS or Excel",
        description="Counts gestures: a row per recording, person, condition and label, zeros included. A gesture "
        "belongs to where it begins. Times are seconds; a cell is empty where there is nothing to measure.",
    )  # fmt: skip
    count.add_argument(
        "source", type=Path, metavar="SOURCE",
        help="what predict --json wrote; a prepared data set; or coded files that `prepare own` reads",
    )  # fmt: skip
    count.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table to write (CSV)")
    count.add_argument(
        "--recordings", type=Path, metavar="TABLE",
        help="CSV with the columns file, and where wanted subject, condition, start, end: who is seen in a recording, "
        "and its phases; without it, a recording is one phase",
    )  # fmt: skip
    count.add_argument(
        "--not-codable", action="append", metavar="LABEL", default=[],
        help="label of time in which nobody could see the person (default: 'not codable')",
    )  # fmt: skip
    count.add_argument("--tier", action="append", default=[], help="ELAN: tier with the labels (several times)")
    count.add_argument("--coder", help="ELAN, Label Studio: whose work to take where several coded the same")
    count.add_argument("--fps", type=float, help="Label Studio: frame rate of the project's <Video> tag")
    count.set_defaults(run=lambda args: summarise(args, video_reader()))


def _add_validate(commands: Any, video_reader: Callable[[], Any]) -> None:
    validate = commands.add_parser(
        "validate", help="check what predict found in recordings against blind hand-coding",
        description="First `sample`: clips for people to code who do not see what was found. Then `score`: κ per unit "
        "of time, precision, recall and corrected rates, with intervals by recording.",
    )  # fmt: skip
    steps = validate.add_subparsers(required=True, metavar="STEP")
    take = steps.add_parser("sample", help="make a folder for coders")
    take.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="what predict --json wrote")
    take.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make")
    take.add_argument("--windows", type=int, default=100, metavar="N", help="clips to code (default 100)")
    take.add_argument("--seconds", type=float, default=10.0, help="about the length of a window (default 10)")
    take.add_argument(
        "--context", type=float, default=2.0, metavar="SECONDS",
        help="shown before and after a window, so that gestures are not cut (default 2)",
    )  # fmt: skip
    take.add_argument(
        "--tool", choices=("elan", "table"), default="elan", help="ELAN files, or a table (default: elan)"
    )
    take.add_argument("--seed", type=int, default=0, help="of the draw")
    take.set_defaults(run=lambda args: sample(args, video_reader()))
    compare = steps.add_parser("score", help="compare what was found with what coders saw")
    compare.add_argument("folder", type=Path, metavar="DIR", help="the folder that `sample` made")
    compare.add_argument(
        "coded", type=Path, metavar="CODED", nargs="?",
        help="the coder's folder or file, of any kind that `prepare own` reads (default: DIR/coder)",
    )  # fmt: skip
    compare.add_argument("--iou", type=float, default=0.5, help="overlap that makes two gestures one (default 0.5)")
    compare.add_argument("--unit", type=float, default=0.1, help="seconds of a unit of time (default 0.1)")
    compare.add_argument("--fps", type=float, help="Label Studio: frame rate of the project's <Video> tag")
    compare.set_defaults(run=score)
