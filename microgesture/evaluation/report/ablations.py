"""What a report says of an ablation: the table that `microgesture ablate` wrote, as a table and as a picture."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microgesture.evaluation.comparison import MIN_SUBJECTS
from microgesture.evaluation.report import plots
from microgesture.evaluation.report.page import SVG, Block, Cell, Heading, Items, Picture, Table, Text, p_value, signed
from microgesture.evaluation.report.published import Components
from microgesture.evaluation.report.runs import PLAIN, read_json
from microgesture.evaluation.text_report import ALL_TRANSDUCTIVE

ABLATION_FILE = "ablation.json"
METRICS = {"top1": "top-1", "macro_f1": "macro-F1"}


@dataclass(frozen=True)
class Ablation:
    """The table of an ablation.

    Args:
        name: What the report calls it: the folder's name.
        table: Its ablation.json.
    """

    name: str
    table: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Ablation:
        """Reads the folder of an ablation.

        Raises:
            ValueError: Its table cannot be read.
        """
        path = folder / ABLATION_FILE
        return cls(folder.resolve().name, read_json(path, ("recipe", "primary_metric", "reference", "test", "rows")))

    @property
    def dataset(self) -> str:
        """The data set that it was tested on."""
        return str(self.table["test"]["dataset"])

    def paper_rows(self) -> dict[Components, list[dict[str, Any]]]:
        """The rows that stand in Tables II and III: k of N of each seed; none of a table of transductive figures."""
        found: dict[Components, list[dict[str, Any]]] = {}
        if self.table.get("transductive"):
            return found
        for row in self.table["rows"]:
            if not row["text"]:
                continue  # a stream, which none of these tables is about
            fields = set(row["fields"])
            controls, components = fields & set(PLAIN), fields <= {"fg_sa", "cp_a", "ml_co", "fg_text"}
            if components or (row["group"] == "paper" and not controls):  # which may have been searched
                text = "class" if row["text"].startswith("class") else "fine"
                fg_sa, cp_a, ml_co = (bool(row["fields"].get(name, True)) for name in ("fg_sa", "cp_a", "ml_co"))
                found[Components(fg_sa, cp_a, ml_co, text)] = [
                    {"correct": correct, "total": row["total"]} for correct in row["correct"]
                ]
        return found


def ablation_blocks(ablation: Ablation, prefix: str) -> list[Block]:
    """The table, the differences as a picture, and what was expected before the runs."""
    table, rows = ablation.table, ablation.table["rows"]
    test, metric, reference = table["test"], METRICS[table["primary_metric"]], table["reference"]
    where = f"{test['clips']} clips of {test['subjects']} people ({test['dataset']}, {', '.join(test['splits'])})"
    blocks: list[Block] = [
        Heading(f"Ablation: {ablation.name}"),
        Text(
            f"Tested on {where}. Primary: the paired difference in {metric} to the row {reference} over the seeds of "
            "both, with a bootstrap over people and, within them, clips; p adjusted over the rows (Holm). ± is the "
            "sample deviation over seeds. H(record | class), in bits, is how much FG-Text says beyond the class. What "
            "shuffled FG-Text or an encoder without language gives as well is no effect of what the sentences mean."
        ),
    ]
    blocks += _doubts(table)
    compared = [row for row in rows if row["compared"]]
    if compared:
        blocks.append(_picture(compared, metric, reference, prefix))
    blocks.append(_table(rows, metric, reference, test["clips"]))
    if test["subjects"] < MIN_SUBJECTS:
        blocks.append(_subjects(rows, reference))
    rows_in_words = tuple(f"{row['row']} ({row['group']}): {row['hypothesis']}{_fields(row)}" for row in rows)
    blocks += [Heading("What was expected before the runs, and what each row changes", 3), Items(rows_in_words)]
    return blocks


def _fields(row: dict[str, Any]) -> str:
    changed = ", ".join(f"{name}: {json.dumps(value)}" for name, value in row["fields"].items())
    return f" [{changed}]" if changed else ""


def _doubts(table: dict[str, Any]) -> list[Block]:
    names = {"commits": "commit", "data": "version of the data"}
    doubts: list[Block] = [Text(f"Transductive: {ALL_TRANSDUCTIVE}.", "warning")] if table.get("transductive") else []
    return doubts + [
        Text(f"Runs of more than one {name} stand in this table: {', '.join(table[key])}.", "warning")
        for key, name in names.items()
        if len(table.get(key, ())) > 1
    ]


def _picture(compared: Sequence[dict[str, Any]], metric: str, reference: str, prefix: str) -> Picture:
    clear = sum(
        row["compared"]["interval"] is not None and _excludes_0(row["compared"]["interval"]) for row in compared
    )
    caption = (
        f"Difference of each row to {reference} in {metric}, with its 95 % interval where there are people enough; "
        f"small dots are single seeds. The interval leaves out 0 in {clear} of {len(compared)} rows."
    )
    alt = f"Differences of {len(compared)} rows to {reference}, as points with intervals."
    return Picture(f"{prefix}_differences", SVG, plots.differences(compared, metric), alt, caption)


def _excludes_0(interval: Sequence[float]) -> bool:
    return interval[0] > 0 or interval[1] < 0


def _table(rows: Sequence[dict[str, Any]], metric: str, reference: str, clips: int) -> Table:
    head = (
        "Row", f"Right of {clips}, each seed", "Top-1", "Macro-F1", f"{metric} less {reference} [95 %]",
        "p (Holm)", "H(record | class)", "Sentences in L_fg", "Minutes a run",
    )  # fmt: skip
    cells = []
    for row in rows:
        text = f"{row['record_bits_given_class']:.2f}" if row["text"] else "–"
        compared = row["sentences_compared"]
        cells.append(
            (
                row["row"], " ".join(map(str, row["correct"])), spread(row["top1"]),
                spread(row["macro_f1"]), _difference(row["compared"]), p_value(row["p_holm"]),
                Cell(f"{text} (class-level text)", "note") if row["text"].startswith("class") else text,
                "–" if compared is None else f"{compared:.1f}", f"{row['train_seconds']['mean'] / 60:.1f}",
            )
        )  # fmt: skip
    return Table("Rows of the ablation, in per cent", head, tuple(cells), ("label", "wide", *["number"] * 7))


def _subjects(rows: Sequence[dict[str, Any]], reference: str) -> Table:
    """The people one by one, where they are too few for an interval over them."""
    people = {name: about["clips"] for name, about in rows[0]["per_subject"].items()}
    cells = tuple((row["row"], *(_of_subject(row, name) for name in people)) for row in rows)
    caption = f"Right of each person's clips, mean over seeds, and top-1 less that of {reference} in points"
    head = ("Row", *(f"{name}, of {clips}" for name, clips in people.items()))
    return Table(caption, head, cells, ("label", *["number"] * len(people)))


def _of_subject(row: dict[str, Any], name: str) -> str:
    text = f"{statistics.mean(row['per_subject'][name]['correct']):.1f}"
    if row["compared"] is None:
        return text
    return f"{text} ({signed(100 * row['compared']['per_subject'][name]['difference'], 1)})"


def spread(values: dict[str, Any]) -> str:
    """Mean ± deviation in per cent."""
    deviation = values["deviation"]
    return f"{100 * values['mean']:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


def _difference(compared: dict[str, Any] | None) -> str:
    if compared is None:
        return "–"
    text = signed(100 * compared["difference"], 1)
    if compared["interval"] is None:
        return f"{text} (too few people)"
    return f"{text} [{', '.join(signed(100 * bound, 1) for bound in compared['interval'])}]"
