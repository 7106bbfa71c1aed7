"""The table of an ablation, from score files and run records alone: it can be made again at any time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from microgesture.ablation.plan import Plan, Row
from microgesture.ablation.runs import Run
from microgesture.ablation.search import RESULT
from microgesture.data.clips import write_text
from microgesture.evaluation.comparison import compare, holm
from microgesture.evaluation.metrics import classification_metrics
from microgesture.evaluation.score_file import Scores, same_clips, scores_of
from microgesture.run_record import RECORD_FILE

TABLE = "ablation"


def write_table(plan: Plan, runs: Sequence[Run], out: Path) -> str:
    """Writes `OUT/ablation.json` and `OUT/ablation.md`.

    Args:
        plan: The ablation.
        runs: All runs that belong in the table; those that are not done are left out.
        out: The folder.

    Returns:
        The Markdown.

    Raises:
        ValueError: No run is done, or runs were tested on different clips.
    """
    table = make_table(plan, [run for run in runs if run.done])
    text = as_markdown(table)
    write_text(out / f"{TABLE}.json", json.dumps(table, indent=1, ensure_ascii=False) + "\n")
    write_text(out / f"{TABLE}.md", text)
    return text


def make_table(plan: Plan, runs: Sequence[Run]) -> dict[str, Any]:
    """All figures of the table, ready for `json.dumps`.

    Args:
        plan: The ablation.
        runs: Runs that are done.

    Returns:
        `recipe`, `primary_metric`, `reference`, `test`, `rows` (each as `_summary` gives it, with `compared`: what
        `compare` says of the seeds that it shares with the reference, and `p_holm` over these rows; `None` for the
        reference), `commits`, `data`, `versions` (of the runs) and `train_hours`.

    Raises:
        ValueError: As for `write_table`.
    """
    if not runs:
        raise ValueError("no run is done, so there is no table yet")
    scores = {(run.row, run.seed): test_scores(run) for run in runs}
    first = next(iter(scores.values()))
    scores = {key: same_clips(first, value) for key, value in scores.items()}
    records = {(run.row, run.seed): _record(run) for run in runs}
    rows = []
    for row in plan.rows.values():
        seeds = sorted(seed for name, seed in scores if name == row.name)
        if seeds:
            mine = {seed: scores[row.name, seed] for seed in seeds}
            folder = next(run.output.parent for run in runs if run.row == row.name)
            about = _summary(row, mine, [records[row.name, seed] for seed in seeds], _searched(folder))
            rows.append(about | {"compared": _compared(plan, row, scores, seeds)})
    adjusted = holm([row["compared"] and row["compared"]["p"] for row in rows])
    for about, p in zip(rows, adjusted, strict=True):
        about["p_holm"] = p
    return {
        "recipe": plan.recipe.name,
        "primary_metric": plan.primary_metric,
        "reference": plan.reference,
        "test": {"dataset": first.dataset, "splits": list(plan.test_splits), "clips": len(first.clips),
                 "subjects": len(set(first.subjects))},
        "rows": rows,
        "commits": sorted({record["commit"] for record in records.values()}),
        "data": sorted({record["data_fingerprint"] for record in records.values()}),
        "versions": next(iter(records.values()))["versions"],
        "train_hours": round(sum(record["train_seconds"] for record in records.values()) / 3600, 3),
    }  # fmt: skip


def test_scores(run: Run) -> Scores:
    """The scores of a run on all its test splits as one list of clips."""
    parts = [scores_of(run.output, split) for split in run.test[1]]
    clips = tuple(f"{part.split}/{clip}" for part in parts for clip in part.clips)
    labels, logits = (np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "logits"))
    subjects = tuple(subject for part in parts for subject in part.subjects)
    return Scores(parts[0].dataset, "+".join(run.test[1]), parts[0].classes, clips, subjects, labels, logits)


def _record(run: Run) -> dict[str, Any]:
    return dict(json.loads((run.output / RECORD_FILE).read_text(encoding="utf-8")))


def _searched(folder: Path) -> dict[str, Any]:
    """What a search found for the row; nothing where there was none."""
    path = folder / RESULT
    return dict(json.loads(path.read_text(encoding="utf-8"))["best"]) if path.is_file() else {}


def _summary(
    row: Row, scores: dict[int, Scores], records: list[dict[str, Any]], searched: dict[str, Any]
) -> dict[str, Any]:
    """One row: `seeds`, k of N of each, mean and deviation of both metrics, wall time, and how fine its text was."""
    figures = [classification_metrics(s.logits.argmax(1), s.labels, list(s.classes)) for s in scores.values()]
    keys = [entry["fg_keys"] for record in records for entry in record["log"] if "fg_keys" in entry]
    return {
        "row": row.name,
        "group": row.group,
        "hypothesis": row.hypothesis,
        "fields": row.fields | searched,
        "seeds": list(scores),
        "correct": [f["correct"] for f in figures],
        "total": figures[0]["total"],
        **{name: _spread([f[name] for f in figures]) for name in ("top1", "macro_f1")},
        "train_seconds": _spread([record["train_seconds"] for record in records]),
        "text": records[0]["sentences"]["text"],
        "record_bits_given_class": _spread([r["sentences"]["record_bits_given_class"] for r in records])["mean"],
        "provenance": records[0]["sentences"]["provenance"],
        # What L_fg compares a clip with, its own sentence among them: with fewer, eq. 1 is easier.
        "sentences_compared": round(float(np.mean(keys)), 2) if keys else None,
    }


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and sample deviation; no deviation of one value."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "deviation": deviation}


def _compared(
    plan: Plan, row: Row, scores: dict[tuple[str, int], Scores], seeds: Sequence[int]
) -> dict[str, Any] | None:
    shared = [seed for seed in seeds if (plan.reference, seed) in scores]
    if row.name == plan.reference or not shared:
        return None
    whole, other = (
        np.stack([scores[name, seed].logits.argmax(1) for seed in shared]) for name in (plan.reference, row.name)
    )
    clips = scores[row.name, shared[0]]
    return {"seeds": shared} | compare(whole, other, clips.labels, clips.subjects, plan.primary_metric)


# ---- as Markdown ---------------------------------------------------------------------------------------------------


def as_markdown(table: dict[str, Any]) -> str:
    """The table as Markdown, with what has to be known to read it."""
    test, metric = table["test"], table["primary_metric"].replace("top1", "top-1").replace("macro_f1", "macro-F1")
    head = (
        f"| row | seeds | k of {test['clips']} | top-1 % | macro-F1 % | {metric} less that of {table['reference']}, "
        "points [95 %] | p | p (Holm) | H(record, given class), bits | sentences in L_fg | min per run |"
    )
    lines = [
        f"# {table['recipe']}",
        "",
        f"Test: {test['clips']} clips of {test['subjects']} people ({test['dataset']}, {', '.join(test['splits'])}), "
        f"read once per run. Primary: paired difference in {metric} to `{table['reference']}` over the seeds of both, "
        "with a bootstrap over people and, within them, clips; p adjusted over the rows (Holm). ± is the sample "
        "deviation over seeds.",
        "",
        head,
        "| --- " * (head.count("|") - 1) + "|",
        *(_line(row) for row in table["rows"]),
        "",
        *(f"* `{row['row']}` ({row['group']}): {row['hypothesis']}{_fields(row)}" for row in table["rows"]),
        "",
        f"Training took {table['train_hours']:.2f} hours in all. Commit: {', '.join(table['commits'])}. Data: "
        f"{', '.join(table['data'])}. McNemar's exact test of each seed, which ignores that clips of one person are "
        f"not independent, stands in {TABLE}.json.",
    ]
    for kind in ("commits", "data"):
        if len(table[kind]) > 1:
            lines.append(f"\n**Runs of more than one {kind.removesuffix('s')} stand in this table.**")
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any]) -> str:
    compared = row["compared"]
    cells = [
        row["row"], str(len(row["seeds"])), " ".join(map(str, row["correct"])), _per_cent(row["top1"]),
        _per_cent(row["macro_f1"]), _difference(compared), _p(compared and compared["p"]), _p(row["p_holm"]),
        f"{row['record_bits_given_class']:.2f}" + (" (class-level text)" if row["text"].startswith("class") else ""),
        "–" if row["sentences_compared"] is None else f"{row['sentences_compared']:.1f}",
        f"{row['train_seconds']['mean'] / 60:.1f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _per_cent(spread: dict[str, Any]) -> str:
    deviation = spread["deviation"]
    return f"{100 * spread['mean']:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


def _difference(compared: dict[str, Any] | None) -> str:
    if compared is None:
        return "–"
    interval = compared["interval"]
    text = f"{100 * compared['difference']:+.1f}"
    return text + (f" [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]" if interval else " (too few people)")


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _fields(row: dict[str, Any]) -> str:
    changed = ", ".join(f"{name}: {json.dumps(value)}" for name, value in row["fields"].items())
    return f" `{changed}`" if changed else ""
