"""The paper's tables with the figures of runs beside the paper's own, which are marked as the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from microgesture.evaluation.report.ablations import Ablation
from microgesture.evaluation.report.page import Block, Cell, Heading, Items, Table, Text, signed
from microgesture.evaluation.report.published import (
    DATASETS,
    NOT_COMPARABLE,
    NOTES,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TEST_CLIPS,
    Components,
    clips_of,
)
from microgesture.evaluation.report.runs import Run, rate

THEIRS = "number theirs"
YES, NO = "✓", "×"

Rates = list[dict[str, Any]]


@dataclass(frozen=True)
class Ours:
    """A column of our figures.

    Args:
        title: Its name.
        dataset: What was tested on.
        rows: Row of Tables II and III -> `correct` and `total` of each seed.
    """

    title: str
    dataset: str
    rows: dict[Components, Rates]


def paper_tables(runs: Sequence[Run], ablations: Sequence[Ablation]) -> list[Block]:
    """Tables I to III.

    Args:
        runs: Finished runs; those that were evaluated on a split `test` of other people stand in the tables.
        ablations: Their rows stand in a column each.
    """
    ours = _columns(runs)
    ours += [Ours(f"{_tested(a)}, {a.name}", a.dataset, a.paper_rows()) for a in ablations]
    return [
        Heading("Beside the paper"),
        Text(
            "Columns marked “paper” hold the paper's own figures (FG-SGL, arXiv 2603.16269; top-1 in per cent). They "
            "were not measured here. Beside figures of our own stands k of N of each run."
        ),
        _verdict({column.dataset for column in ours}),
        _table_1(ours),
        _components("Table II: components left out", TABLE_2, ours),
        _components("Table III: class-level text instead of FG-Text", TABLE_3, ours),
        Heading("What must not be compared", 3),
        Items(NOTES),
    ]


def _tested(ablation: Ablation) -> str:
    """The data set that an ablation was tested on, and its splits where they are not the test split."""
    name, splits = DATASETS.get(ablation.dataset, ablation.dataset), ablation.table["test"]["splits"]
    return name if splits == ["test"] else f"{name} ({' + '.join(splits)})"


def _columns(runs: Sequence[Run]) -> list[Ours]:
    """A column for the runs that differ in seed and components only."""
    columns: dict[tuple[str, str], Ours] = {}
    for run in runs:
        row = run.components
        if row is None or run.leak or "test" not in run.results or run.results["test"].get("transductive"):
            continue
        dataset = run.tested_on("test")
        new = Ours(f"{DATASETS.get(dataset, dataset)}, settings of {run.name}", dataset, {})
        column = columns.setdefault((dataset, run.shared_settings), new)
        column.rows.setdefault(row, []).append(run.results["test"]["metrics"])
    return list(columns.values())


def _verdict(datasets: set[str]) -> Text:
    other = sorted(datasets - set(DATASETS))
    if other and len(other) == len(datasets):
        return Text(
            f"These runs are on {', '.join(other)}; the paper's figures are on SMG and iMiGUE. Other people, other "
            "classes, another camera: only what a row changes within one column can be compared, not one column with "
            "another.",
            "warning",
        )
    if not datasets:
        return Text("No run here was evaluated on a test split as a row of these tables.", "note")
    return Text("Figures are comparable within a data set only, and only on the same test clips.", "note")


def _table_1(ours: Sequence[Ours]) -> Table:
    rows: list[tuple[str | Cell, ...]] = []
    for row in TABLE_1:
        odd = row.method in NOT_COMPARABLE
        cells: list[str | Cell] = []
        for dataset, value in (("smg", row.smg), ("imigue", row.imigue)):
            count = None if value is None or odd else clips_of(value, TEST_CLIPS[dataset])
            shown = "N/A" if value is None else f"{value:.2f}"
            cells.append(Cell(shown, "not-comparable") if odd else shown)
            cells.append("" if value is None or odd else f"{count[0]}/{count[1]}" if count else "none")
        method = f"{row.method} (emotions, not micro-gestures)" if odd else row.method
        rows.append((method, str(row.year), row.modality, *cells))
    for column in ours:
        if column.dataset in DATASETS and Components() in column.rows:
            own = rate(column.rows[Components()])
            pair = ("", "", own, "") if column.dataset == "imigue" else (own, "", "", "")
            cells = [Cell(text, "ours") if text else "" for text in pair]
            rows.append((f"FG-SGL ({column.title})", "", "RGB", *cells))
    head = ("Method", "Year", "Modality", "SMG, paper", "k of N", "iMiGUE, paper", "k of N")
    kinds = ("", "number", "", THEIRS, THEIRS, THEIRS, THEIRS)
    caption = (
        "Table I: methods, top-1 in per cent (k of N is worked out here from the paper's per cent; “none”: no k fits)"
    )
    return Table(caption, head, tuple(rows), kinds)


def _components(caption: str, table: dict[Components, tuple[float, float]], ours: Sequence[Ours]) -> Table:
    whole = table[Components()]
    rows: list[tuple[str | Cell, ...]] = []
    for row, values in table.items():
        theirs = [
            f"{value:.2f}" + ("" if row == Components() else f" ({signed(value - full)})")
            for value, full in zip(values, whole, strict=True)
        ]
        marks = [YES if on else NO for on in (row.fg_sa, row.cp_a, row.ml_co)]
        text = "Fine-grained" if row.fg_text == "fine" else "Class-level"
        own: list[str | Cell] = [
            Cell(rate(column.rows[row]), "ours") if row in column.rows else "–" for column in ours
        ]
        rows.append((*marks, text, *theirs, *own))
    names = [column.title for column in ours]
    head = ("FG-SA", "CP-A", "ML-CO", "FG-Text", "SMG, paper", "iMiGUE, paper", *names)
    kinds = ("mark", "mark", "mark", "label", THEIRS, THEIRS, *["number"] * len(names))
    return Table(f"{caption}, top-1 in per cent (difference to the full model)", head, tuple(rows), kinds)
