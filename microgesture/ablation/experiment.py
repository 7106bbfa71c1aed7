"""An ablation from its recipe to its table: what is left to do is done, what is done is not done again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from microgesture import arguments
from microgesture.ablation.plan import Fold, Plan, Row, read_plan, write_recipe
from microgesture.ablation.runs import Run, devices_for, run_all
from microgesture.ablation.search import search
from microgesture.ablation.table import TABLE, write_table

logger = logging.getLogger(__name__)


def experiment(
    recipe: Path,
    seeds: int,
    names: Sequence[str] = (),
    out: Path | None = None,
    jobs: int | None = None,
    trials: int | None = None,
    say: Callable[[str], None] = logger.info,
) -> int:
    """Runs what is not done yet, and writes the table of all that is.

    Args:
        recipe: An ablation recipe.
        seeds: Runs of each row, with the seeds 0, 1, …
        names: Rows or groups; default: all.
        out: Folder of the runs and the table; default: the recipe's.
        jobs: Runs at a time, as for `devices_for`.
        trials: Trials per row of a search on validation, before the runs.
        say: Gets what a person wants to know: a line per run, and the table.

    Returns:
        0, or 1 when a run failed; the table then has the others.

    Raises:
        FileNotFoundError: The recipe or a data set is not there.
        ValueError: Something in the recipe or on the command line is not as it must be.
    """
    if seeds < 1:
        raise ValueError(f"--seeds is {seeds}; at least one is needed")
    plan = read_plan(recipe)
    rows = plan.choose(names)
    out = out or Path(plan.fields["output_dir"] + ("_searched" if trials else ""))
    for folder in (folder for fold in plan.folds for folder in (fold.dataset_dir, fold.test_dir)):
        if not folder.is_dir():
            raise FileNotFoundError(
                f"the data set folder {folder} does not exist: make it with `microgesture prepare`, see {plan.recipe}"
            )
    for row in rows:
        _parse(plan, row, out)
    work = partial(run_all, devices=devices_for(jobs, bool(plan.fields.get("use_cpu"))), say=say)
    found = search(plan, rows, trials, out, work) if trials else {}
    for row in rows:
        for fold in plan.folds:
            write_recipe(_recipe(row, fold, out), plan, row, fold.fields | found.get(row.name, {}))
    # Seed by seed, so that a table of all rows is there early.
    runs = [_run(plan, row, fold, seed, out) for seed in range(seeds) for row in rows for fold in plan.folds]
    say(f"{len(runs)} runs, {sum(run.done for run in runs)} of them done before")
    failed = work(runs)
    say(write_table(plan, _all_runs(plan, out), out))
    say(f"table: {out / TABLE}.md")
    for run in failed:
        say(f"NOT DONE: {run.name}; see {run.output}.log, and start the same command again")
    return 1 if failed else 0


def _parse(plan: Plan, row: Row, out: Path) -> None:
    """Reads the row as train_fgsgl.py would, so that a typing error is found now and not after hours."""
    probe = out / ".probe.yaml"
    probe.unlink(missing_ok=True)
    write_recipe(probe, plan, row, {})
    try:
        arguments.parse([str(probe), "--estimate"])  # a GPU for bf16 is not looked for
    except (ValueError, SystemExit) as error:
        raise ValueError(f"{plan.recipe}, row {row.name}: {error}") from error
    finally:
        probe.unlink()


def _recipe(row: Row, fold: Fold, out: Path) -> Path:
    return out / row.name / fold.name / "recipe.yaml"


def _run(plan: Plan, row: Row, fold: Fold, seed: int, out: Path) -> Run:
    recipe, test = _recipe(row, fold, out), (fold.test_dir, plan.test_splits)
    return Run(row.name, seed, recipe, recipe.with_name(f"seed_{seed}"), test, plan.cache, fold.name)


def _all_runs(plan: Plan, out: Path) -> list[Run]:
    """Every run of the recipe's rows in the folder, also those of earlier starts."""
    return [
        _run(plan, row, fold, seed, out)
        for row in plan.rows.values()
        for fold in plan.folds
        for seed in sorted(
            int(path.name.removeprefix("seed_")) for path in _recipe(row, fold, out).parent.glob("seed_*[0-9]")
        )
    ]
