"""The command line of `microgesture report`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def add_report(commands: argparse._SubParsersAction, run: Callable[[argparse.Namespace], None]) -> None:
    """Adds the command.

    Args:
        commands: The commands of `microgesture`.
        run: What it does.
    """
    command = commands.add_parser(
        "report",
        help="make one page with tables and pictures of finished runs",
        description="Writes report.html, one page that holds all its pictures and needs no network, and report.md "
        "with the same. Evaluate the runs first (evaluate_fgsgl.py). Needs: pip install fgsgl[report].",
    )
    command.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="folder of a finished run, e.g. outputs/synthetic, or of an ablation",
    )
    command.add_argument("--out", type=Path, default=Path("report"), help="the folder to write into (default: report)")
    command.add_argument(
        "--data", type=Path, nargs="+", metavar="FOLDER",
        help="data sets: also show frames of the worst confusions; the page then holds pictures of people",
    )  # fmt: skip
    command.set_defaults(run=run)
