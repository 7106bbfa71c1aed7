"""An ablation recipe: the fields that all rows share, what each row changes, and what was expected before it ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from microgesture.data.clips import write_text
from microgesture.data.fg_text import hint
from microgesture.evaluation.comparison import METRICS
from microgesture.recipes import read_recipe

OWN = ("rows", "reference", "primary_metric", "folds", "test_dataset_dir", "test_splits", "search")
"""The lines of an ablation recipe that are no settings of a run."""
ROW = ("group", "hypothesis", "fields")
PER_RUN = ("output_dir", "seed")


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Args:
        name: Its name, also that of its folder.
        group: Rows that are chosen together, e.g. `paper`, `own`, `controls`.
        hypothesis: What was expected, written before the run.
        fields: Settings of train_fgsgl.py that differ from the shared ones.
    """

    name: str
    group: str
    hypothesis: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Fold:
    """Data that every row is trained and tested on.

    Args:
        name: Name of its folder, also in the rows' folders; empty where there are no folds.
        dataset_dir: The data set that is trained on.
        test_dir: The data set that is tested on.
    """

    name: str
    dataset_dir: Path
    test_dir: Path

    @property
    def fields(self) -> dict[str, str]:
        """What a run's recipe has of it."""
        return {"dataset_dir": str(self.dataset_dir)} if self.name else {}


@dataclass(frozen=True)
class Plan:
    """An ablation recipe.

    Args:
        recipe: Its file.
        fields: Settings that all rows share, complete.
        rows: The rows by name.
        reference: The row that the others are compared with.
        primary_metric: `top1` or `macro_f1`, chosen before the runs.
        folds: The data sets, of which each row is run on every one and tested on all together; one without a name
            where the recipe has no folds.
        test_splits: The splits that are tested on, taken together.
        search: With `--search`: `metric` (of validation) and `fields`, each a list of values or `{low, high, log}`.
    """

    recipe: Path
    fields: dict[str, Any]
    rows: dict[str, Row]
    reference: str
    primary_metric: str
    folds: tuple[Fold, ...]
    test_splits: tuple[str, ...]
    search: dict[str, Any]

    @property
    def cache(self) -> str:
        """The folder of cached frames and sentences, which all runs share."""
        return str(self.fields.get("cache_dir", "cache"))

    def choose(self, names: Sequence[str]) -> list[Row]:
        """The rows of these names or groups, in the order of the recipe; all where none is named.

        Raises:
            ValueError: There is no such row or group.
        """
        groups = dict.fromkeys(row.group for row in self.rows.values())
        for name in names:
            if name not in self.rows and name not in groups:
                raise ValueError(f"{self.recipe} has no row or group {name!r}{hint(name, [*groups, *self.rows])}")
        return [row for row in self.rows.values() if not names or {row.name, row.group} & set(names)]


def read_plan(recipe: Path) -> Plan:
    """Reads an ablation recipe.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is no ablation recipe, or a part of it is not as it must be.
    """
    fields = read_recipe(recipe)
    if not isinstance(fields.get("rows"), dict) or not fields["rows"]:
        raise ValueError(f"recipe {recipe} has no `rows`, so there is nothing to compare; see recipes/ablation_*.yaml")
    own = {name: fields.pop(name) for name in OWN if name in fields}
    output, rows = fields.get("output_dir"), {str(n): _row(recipe, str(n), r or {}) for n, r in own["rows"].items()}
    if not output:
        raise ValueError(f"recipe {recipe} does not say where its runs go: add a line `output_dir: outputs/NAME`")
    reference, metric = own.get("reference", next(iter(rows))), own.get("primary_metric", "top1")
    if reference not in rows:
        raise ValueError(f"recipe {recipe}: reference {reference!r} is none of its rows: {', '.join(rows)}")
    if metric not in METRICS:
        raise ValueError(f"recipe {recipe}: primary_metric {metric!r} must be one of: {', '.join(METRICS)}")
    splits = own.get("test_splits", ["test"])
    if not isinstance(splits, list) or not splits:
        raise ValueError(f"recipe {recipe}: test_splits must be a list of splits, such as [test]")
    folds = _folds(recipe, own, fields, rows)
    return Plan(recipe, fields, rows, reference, metric, folds, tuple(splits), own.get("search") or {})


def _folds(recipe: Path, own: dict[str, Any], fields: dict[str, Any], rows: dict[str, Row]) -> tuple[Fold, ...]:
    if "folds" not in own:
        trained = Path(fields["dataset_dir"])
        return (Fold("", trained, Path(own.get("test_dataset_dir") or trained)),)
    listed = own["folds"]
    paths = [Path(str(path)) for path in listed] if isinstance(listed, list) else []
    if len({path.name for path in paths} - {""}) < max(2, len(paths)):
        raise ValueError(
            f"recipe {recipe}: folds must be a list of two data set folders or more, each of another name"
        )
    if "test_dataset_dir" in own:
        raise ValueError(f"recipe {recipe}: each of its folds is tested on its own people; leave test_dataset_dir out")
    odd = [row.name for row in rows.values() if "dataset_dir" in row.fields]
    if odd:
        raise ValueError(f"recipe {recipe}, row {odd[0]}: the folds say what it is trained on; leave dataset_dir out")
    return tuple(Fold(path.name, path, path) for path in paths)


def _row(recipe: Path, name: str, about: dict[str, Any]) -> Row:
    odd = [key for key in about if key not in ROW]
    if odd:
        raise ValueError(f"recipe {recipe}, row {name}: {odd[0]!r} is no part of a row{hint(odd[0], ROW)}")
    fields = about.get("fields") or {}
    fixed = [field for field in fields if field in PER_RUN]
    if fixed:
        raise ValueError(f"recipe {recipe}, row {name}: {fixed[0]} is given to each run by itself; leave it out")
    return Row(name, str(about.get("group", "rows")), " ".join(str(about.get("hypothesis", "")).split()), fields)


def write_recipe(path: Path, plan: Plan, row: Row, fields: dict[str, Any]) -> None:
    """Writes a row as an ordinary recipe, complete, so that `train_fgsgl.py PATH` is a run of it.

    Args:
        path: The file; one that is there has to say the same.
        plan: Gives what all rows share.
        row: The row.
        fields: What the run has beyond it, e.g. what a search found.

    Raises:
        ValueError: The file is there and says something else: runs made from it would be another experiment.
    """
    whole = plan.fields | row.fields | fields
    whole = {name: value for name, value in whole.items() if name != "seed"} | {"output_dir": str(path.parent)}
    if path.is_file():
        before = read_recipe(path)
        other = sorted(name for name in {*before, *whole} if before.get(name) != whole.get(name))
        if other:
            raise ValueError(
                f"{path} has another {', '.join(other)} than {plan.recipe}: runs beside it are another experiment. "
                "Give another --out, or remove the folder of this row"
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f"# Row {row.name} of {plan.recipe.name}, complete; each run adds its own seed and folder.\n"
    write_text(path, head + yaml.safe_dump(whole, sort_keys=False, allow_unicode=True))
