"""The command line of `microgesture ablate`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_options(command: argparse.ArgumentParser) -> None:
    """The options of `microgesture ablate`."""
    command.add_argument("recipe", type=Path, help="an ablation recipe, e.g. recipes/ablation_synthetic.yaml")
    command.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0 to N - 1 of every row (default 5)")
    command.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="rows or groups (default: all)")
    command.add_argument("--out", type=Path, help="folder of the runs and the table (default: the recipe's)")
    command.add_argument(
        "--jobs", type=int, help="runs at a time (default: one per GPU, or one); on CPUs they share the cores"
    )
    command.add_argument(
        "--search", type=int, metavar="TRIALS", help="first choose the recipe's search fields on validation"
    )
    command.set_defaults(run=ablate)


def ablate(args: argparse.Namespace) -> int:
    """Runs what is not done yet, and writes the table of all that is; 1 when a run failed."""
    from microgesture.ablation.experiment import experiment

    def say(text: str) -> None:
        print(text, flush=True)

    return experiment(args.recipe, args.seeds, args.rows, args.out, args.jobs, args.search, say)
