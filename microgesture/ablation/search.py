"""`--search`: the named fields of every row, chosen on validation with equally many trials, before anything is tested.

A row that got no tuning and a full model that got all of it cannot be compared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from microgesture.ablation.plan import Plan, Row, write_recipe
from microgesture.ablation.runs import Run
from microgesture.data.clips import write_text
from microgesture.run_record import read_run_record

RESULT = "search.json"


def search(
    plan: Plan, rows: Sequence[Row], trials: int, out: Path, run_all: Callable[[list[Run]], object]
) -> dict[str, dict[str, Any]]:
    """Searches every row with Optuna's TPE; goes on where an interrupted search stopped.

    Args:
        plan: Its `search` names metric and fields. A field that a row sets itself is not searched in that row.
        rows: The rows.
        trials: Trials of each row.
        out: Folder of the ablation; trials lie in `OUT/ROW/trials/N`, the result in `OUT/ROW/search.json`.
        run_all: Does runs; the trials of a round, one per row, are handed over together.

    Returns:
        Row name -> the fields of its best trial.

    Raises:
        ImportError: Optuna is not installed.
        ValueError: The recipe names no fields or has folds, or no trial of a row gave a figure.
    """
    optuna = _optuna()
    if len(plan.folds) > 1:
        raise ValueError(
            f"{plan.recipe} has folds, and who validates in one of them is tested in another: what a search chooses "
            "there has been chosen on the test people; leave --search out, or use a recipe without folds"
        )
    if not plan.search.get("fields"):
        raise ValueError(
            f"{plan.recipe} names nothing to search: add `search: {{fields: {{lambda_fg: [0.25, 0.5]}}}}`"
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    out.mkdir(parents=True, exist_ok=True)
    journal = optuna.storages.journal
    storage = optuna.storages.JournalStorage(journal.JournalFileBackend(str(out / "search.log")))
    studies = {row.name: _study(optuna, storage, row.name) for row in rows}
    by_name = {row.name: row for row in rows}
    while True:
        asked = {name: trial for name, study in studies.items() if (trial := _next(optuna, study, trials)) is not None}
        if not asked:
            break
        runs = {}
        for name, trial in asked.items():
            folder = out / name / "trials" / str(trial.number)
            write_recipe(folder / "recipe.yaml", plan, by_name[name], _suggest(trial, plan.search, by_name[name]))
            nothing = (plan.folds[0].test_dir, ())
            runs[name] = Run(name, 0, folder / "recipe.yaml", folder / "seed_0", nothing, plan.cache)
        run_all(list(runs.values()))
        for name, trial in asked.items():
            value = _value(runs[name], plan.search.get("metric", "top1"))
            state = optuna.trial.TrialState.FAIL if value is None else None
            studies[name].tell(trial.number, value, state=state)
    return {name: _best(optuna, study, out / name) for name, study in studies.items()}


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError("--search needs Optuna: pip install -e '.[search]'") from error
    return optuna


def _study(optuna: Any, storage: Any, name: str) -> Any:
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    # A sampler that started anew at every resumption with one seed would suggest its first trials again.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.get_trials(deepcopy=False)))
    return study


def _next(optuna: Any, study: Any, trials: int) -> Any:
    """The trial that was interrupted, or a new one, or `None` when there are enough."""
    known = study.get_trials(deepcopy=False)
    interrupted = [trial for trial in known if trial.state == optuna.trial.TrialState.RUNNING]
    if interrupted:
        return optuna.trial.Trial(study, interrupted[0]._trial_id)
    return study.ask() if len(known) < trials else None


def _suggest(trial: Any, space: dict[str, Any], row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, values in space["fields"].items():
        if name in row.fields:
            continue
        if isinstance(values, list):
            found[name] = trial.suggest_categorical(name, values)
        else:
            low, high = float(values["low"]), float(values["high"])
            found[name] = trial.suggest_float(name, low, high, log=bool(values.get("log", False)))
    return found


def _value(run: Run, metric: str) -> float | None:
    """The trial's figure on validation; `None` where it failed or is not finite."""
    if not run.trained:
        return None
    validation = read_run_record(run.output)["validation"]
    if metric not in validation:
        raise ValueError(f"search.metric {metric!r} is not measured; it must be one of: {', '.join(validation)}")
    return float(validation[metric]) if math.isfinite(validation[metric]) else None


def _best(optuna: Any, study: Any, folder: Path) -> dict[str, Any]:
    trials = study.get_trials(deepcopy=False)
    if not any(trial.state == optuna.trial.TrialState.COMPLETE for trial in trials):
        raise ValueError(f"no trial in {folder / 'trials'} gave a figure; see the .log files there")
    listed = [{"number": t.number, "fields": t.params, "value": t.value} for t in trials]
    result = {"best": dict(study.best_params), "value": study.best_value, "trials": listed}
    write_text(folder / RESULT, json.dumps(result, indent=1) + "\n")
    return dict(study.best_params)
