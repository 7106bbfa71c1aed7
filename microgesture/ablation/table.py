"""The table of an ablation, from score files and run records alone: it can be made again at any time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from microgesture.ablation.plan import Plan, Row
from microgesture.ablation.runs import Run
from microgesture.ablation.search import RESULT
from microgesture.data.clips import write_text
from microgesture.evaluation.comparison import MIN_SUBJECTS, holm
from microgesture.evaluation.metrics import classification_metrics
from microgesture.evaluation.results import compare_runs
from microgesture.evaluation.score_file import Scores, same_clips, scores_of
from microgesture.evaluation.text_report import ALL_TRANSDUCTIVE
from microgesture.run_record import read_run_record
from microgesture.streams.adaptation_data import check_one_kind

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
        ValueError: No run is done, runs were tested on different clips, or some of them were adapted to these and
            others were not.
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
        runs: Runs that are done. A seed of a row counts when it is done in every fold; its test clips are those of
            all folds together.

    Returns:
        `recipe`, `primary_metric`, `reference`, `test`, `transductive` (all runs were adapted to the test clips),
        `rows` (each as `_summary` gives it, with `compared`: what `compare` says of the seeds that it shares with the
        reference, and `p_holm` over these rows; `None` for the reference), `commits`, `data` (fingerprints; those of
        the folds joined by `+`), `versions` (of the runs) and `train_hours`.

    Raises:
        ValueError: As for `write_table`.
    """
    whole = _whole(plan, runs)
    if not whole:
        raise ValueError(
            "no run is done" + (" in every fold" if len(plan.folds) > 1 else "") + ", so there is no table yet"
        )
    scores = {key: test_scores(parts) for key, parts in whole.items()}
    first = next(iter(scores.values()))
    kinds = {f"{name}, seed {seed}": value.transductive for (name, seed), value in scores.items()}
    check_one_kind(kinds, first.split)
    scores = {key: same_clips(first, value) for key, value in scores.items()}
    records = {key: [read_run_record(run.output) for run in parts] for key, parts in whole.items()}
    everything = [record for parts in records.values() for record in parts]
    rows = []
    for row in plan.rows.values():
        seeds = sorted(seed for name, seed in scores if name == row.name)
        if seeds:
            mine = {seed: scores[row.name, seed] for seed in seeds}
            folder = whole[row.name, seeds[0]][0].output.parent
            of_row = [record for seed in seeds for record in records[row.name, seed]]
            about = _summary(row, mine, of_row, _searched(folder))
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
        "transductive": first.transductive,
        "rows": rows,
        "commits": sorted({record["commit"] for record in everything}),
        "data": sorted({"+".join(map(_data, parts)) for parts in records.values()}),
        "versions": everything[0]["versions"],
        "train_hours": round(sum(record["train_seconds"] for record in everything) / 3600, 3),
    }  # fmt: skip


def _whole(plan: Plan, runs: Sequence[Run]) -> dict[tuple[str, int], list[Run]]:
    """Row and seed -> their runs in the order of the folds, where every fold is done."""
    found: dict[tuple[str, int], dict[str, Run]] = defaultdict(dict)
    for run in runs:
        found[run.row, run.seed][run.fold] = run
    names = [fold.name for fold in plan.folds]
    return {key: [of[name] for name in names] for key, of in found.items() if set(names) <= set(of)}


def test_scores(runs: Sequence[Run]) -> Scores:
    """The scores on all test splits of all folds as one list of clips.

    Raises:
        ValueError: The folds have other classes, or test a clip twice, or only some were adapted to their test clips.
    """
    named = {f"{run.name} on {split}": scores_of(run.output, split) for run in runs for split in run.test[1]}
    parts, tested = list(named.values()), "+".join(runs[0].test[1])
    check_one_kind({name: part.transductive for name, part in named.items()}, tested)
    if len({part.classes for part in parts}) > 1:
        raise ValueError("the folds have other classes, so their clips cannot be counted together")
    clips = tuple(f"{part.split}/{clip}" for part in parts for clip in part.clips)
    if len(set(clips)) < len(clips):
        twice = next(clip for clip in clips if clips.count(clip) > 1)
        raise ValueError(f"clip {twice} is tested in two folds; the folds must test different people")
    labels, logits = (np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "logits"))
    subjects = tuple(subject for part in parts for subject in part.subjects)
    about = parts[0]
    return Scores(
        about.dataset, tested, about.classes, clips, subjects, labels, logits, transductive=about.transductive
    )


def _data(record: dict[str, Any]) -> str:
    return str(record.get("data_fingerprint", "not recorded"))  # by earlier streams


def _searched(folder: Path) -> dict[str, Any]:
    """What a search found for the row; nothing where there was none."""
    path = folder / RESULT
    return dict(json.loads(path.read_text(encoding="utf-8"))["best"]) if path.is_file() else {}


def _summary(
    row: Row, scores: dict[int, Scores], records: list[dict[str, Any]], searched: dict[str, Any]
) -> dict[str, Any]:
    """One row: `seeds`, k of N of each, by subject too, both metrics, wall time, and how fine its text was."""
    figures = [classification_metrics(s.logits.argmax(1), s.labels, list(s.classes)) for s in scores.values()]
    keys = [entry["fg_keys"] for record in records for entry in record["log"] if "fg_keys" in entry]
    read = [record["sentences"] for record in records if "text" in record["sentences"]]  # a stream reads none
    return {
        "row": row.name,
        "group": row.group,
        "hypothesis": row.hypothesis,
        "fields": row.fields | searched,
        "seeds": list(scores),
        "correct": [f["correct"] for f in figures],
        "total": figures[0]["total"],
        "per_subject": _per_subject(list(scores.values())),
        **{name: _spread([f[name] for f in figures]) for name in ("top1", "macro_f1")},
        "train_seconds": _spread([record["train_seconds"] for record in records]),
        "text": read[0]["text"] if read else "",
        "record_bits_given_class": _spread([s["record_bits_given_class"] for s in read])["mean"] if read else None,
        "provenance": read[0]["provenance"] if read else {},  # of the first seed and fold
        # What L_fg compares a clip with, its own sentence among them: with fewer, eq. 1 is easier.
        "sentences_compared": round(float(np.mean(keys)), 2) if keys else None,
    }


def _per_subject(scores: Sequence[Scores]) -> dict[str, dict[str, Any]]:
    """Subject -> number of `clips`, and how many are `correct` in each run."""
    right = np.stack([s.logits.argmax(1) == s.labels for s in scores])
    people = np.array(scores[0].subjects)
    return {
        str(name): {"clips": int((people == name).sum()), "correct": right[:, people == name].sum(1).tolist()}
        for name in np.unique(people)
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
    whole, other = ([scores[name, seed] for seed in shared] for name in (plan.reference, row.name))
    return {"seeds": shared} | compare_runs(whole, other, plan.primary_metric)


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
        *([f"**Transductive: {ALL_TRANSDUCTIVE}.**", ""] if table["transductive"] else []),
        head,
        "| --- " * (head.count("|") - 1) + "|",
        *(_line(row) for row in table["rows"]),
        "",
        *(_subject_lines(table) if test["subjects"] < MIN_SUBJECTS else []),
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
    compared, bits = row["compared"], row["record_bits_given_class"]
    cells = [
        row["row"], str(len(row["seeds"])), " ".join(map(str, row["correct"])), _per_cent(row["top1"]),
        _per_cent(row["macro_f1"]), _difference(compared), _p(compared and compared["p"]), _p(row["p_holm"]),
        "–" if bits is None else f"{bits:.2f}" + (" (class-level text)" if row["text"].startswith("class") else ""),
        "–" if row["sentences_compared"] is None else f"{row['sentences_compared']:.1f}",
        f"{row['train_seconds']['mean'] / 60:.1f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _subject_lines(table: dict[str, Any]) -> list[str]:
    """The subjects one by one, where they are too few for an interval over them."""
    subjects = {name: about["clips"] for name, about in table["rows"][0]["per_subject"].items()}
    return [
        f"By subject: correct clips, mean over seeds, and the difference to `{table['reference']}` in top-1 points.",
        "",
        "| row | " + " | ".join(f"subject {name}, of {clips}" for name, clips in subjects.items()) + " |",
        "| --- " * (len(subjects) + 1) + "|",
        *(
            "| " + " | ".join([row["row"], *(_of_subject(row, name) for name in subjects)]) + " |"
            for row in table["rows"]
        ),
        "",
    ]


def _of_subject(row: dict[str, Any], subject: str) -> str:
    text = f"{np.mean(row['per_subject'][subject]['correct']):.1f}"
    if row["compared"] is None:
        return text
    return f"{text} ({100 * row['compared']['per_subject'][subject]['difference']:+.1f})"


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
