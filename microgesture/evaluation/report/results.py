"""What a report says of a run on one split."""

from __future__ import annotations

from typing import Any

from microgesture.evaluation.class_space import ClassSpace, space_path
from microgesture.evaluation.report import plots
from microgesture.evaluation.report.calibration import calibration_blocks
from microgesture.evaluation.report.compared import comparison_blocks
from microgesture.evaluation.report.frames import Frames, no_frames
from microgesture.evaluation.report.page import SVG, Block, Figures, Heading, Picture, Table, Text, percent
from microgesture.evaluation.report.runs import Run
from microgesture.evaluation.report.texts import text_blocks
from microgesture.evaluation.score_file import Scores
from microgesture.evaluation.text_report import TRANSDUCTIVE, format_classes


def results_blocks(run: Run, split: str, name: str, frames: Frames | None) -> list[Block]:
    """Everything about a split: figures, classes, groups, calibration, texts, confusions, class space.

    Args:
        run: The run.
        split: The split.
        name: What the files of the pictures begin with.
        frames: Shows clips; `None` for none.
    """
    result = run.results[split]
    scores = run.scores(split)
    missing = "The scores of its clips were not kept, so this is missing: evaluate the checkpoint again."
    blocks: list[Block] = [Heading(f"Results on {run.tested_on(split)}, split {split}", 3)]
    if split == "train":
        blocks.append(
            Text("Where it was trained on these very clips, these figures say nothing of others.", "warning")
        )
    if result.get("transductive"):
        blocks.append(Text(f"Transductive: {TRANSDUCTIVE}.", "warning"))
    blocks += [_figures(result), Text(f"Beside these: {format_classes(result['metrics'])}."), *_baselines(result)]
    blocks += [*_classes(result["metrics"], name), *_groups(result)]
    blocks += calibration_blocks(result, scores, name)
    blocks += text_blocks(result.get("text") or {})
    blocks += comparison_blocks(result.get("comparisons") or {})
    blocks.append(Heading("The worst confusions", 4))
    if scores is None:
        return [*blocks, Text(missing, "note")]
    blocks += frames.confusion_blocks(run, scores, name) if frames else no_frames()
    path = space_path(run.folder, split)
    blocks.append(Heading("Clips and prototypes in the class space", 4))
    return [*blocks, *(_map(ClassSpace.read(path), scores, name) if path.is_file() else [Text(missing, "note")])]


def _figures(result: dict[str, Any]) -> Figures:
    m, calibrated = result["metrics"], result["calibration"]
    classes = len(m["per_class"])
    figures = [("Top-1", m["top1"], f"{m['correct']} of {m['total']} clips")]
    if "top5" in m:
        figures.append(("Top-5", m["top5"], f"{m['top5_correct']} of {m['total']} clips"))
    figures.append(("Macro-F1", m["macro_f1"], f"{m['present']} of {classes} classes have clips"))
    figures.append(("Mean class accuracy", m["mean_class_accuracy"], f"over these {m['present']} classes"))
    shown = [(percent(value), name, detail) for name, value, detail in figures]
    return Figures((*shown, (f"{calibrated['plain']['ece']:.3f}", "Calibration error (ECE)", "as the model is")))


def _baselines(result: dict[str, Any]) -> list[Block]:
    found = result.get("baselines") or {}
    if not found:
        return []
    rows = tuple(
        (name, *_counts(m), percent(m["macro_f1"]))
        for name, m in {result.get("model", "FG-SGL"): result["metrics"], **found}.items()
    )
    head = ("Method", "Right of clips", "Top-1", "Macro-F1")
    return [Table("Beside simple baselines on the same clips", head, rows, ("", *["number"] * 3))]


def _classes(m: dict[str, Any], name: str) -> list[Block]:
    names = [row["name"] for row in m["per_class"]]
    wrong = m["total"] - m["correct"]
    rows = []
    for c, row in enumerate(m["per_class"]):
        others = [(count, -other) for other, count in enumerate(m["confusion"][c]) if other != c and count]
        taken = f"{names[-max(others)[1]]} ({max(others)[0]})" if others else ""
        figures = [percent(row[key]) for key in ("precision", "recall", "f1")]
        counts = [f"{row['k']} of {row[key]}" for key in ("n", "predicted")]
        rows.append((f"{c}  {row['name']}", *counts, *figures, taken))
    weakest = min((row for row in m["per_class"] if row["n"]), key=lambda row: (row["recall"], -row["n"]))
    return [
        Picture(
            f"{name}_confusion", SVG, plots.confusion_matrix(m["confusion"], names),
            f"Confusion matrix of {len(names)} classes: {m['correct']} of {m['total']} clips lie on the diagonal.",
            f"Confusion matrix: {m['correct']} of {m['total']} clips on the diagonal, {wrong} beside it. Rows are "
            "true classes, columns predicted ones, by class id; colour is the share of the row.",
        ),
        Picture(
            f"{name}_classes", SVG, plots.class_bars(m["per_class"]),
            f"Bars of recall per class, from {percent(weakest['recall'])} ({weakest['name']}) upwards.",
            f"Recall of each class (bar, k of n clips at the right) and precision (diamond). {m['correct']} of "
            f"{m['total']} clips are right.",
        ),
        Table(
            "Each class",
            ("Class", "Right of clips", "Right of answers", "Precision", "Recall", "F1", "Mostly taken for"),
            tuple(rows), ("wide", *["number"] * 5, "wide"),
        ),
    ]  # fmt: skip


def _groups(result: dict[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    for column, groups in (result["groups"] | result["class_groups"]).items():
        if not isinstance(groups, dict):
            blocks.append(
                Text(f"F1_mean, the mean of micro and macro F1 of classes and body groups: {percent(groups)}.")
            )
            continue
        rows = tuple((value, *_counts(m), percent(m["macro_f1"])) for value, m in groups.items() if m["total"])
        head = (column.capitalize(), "Right of clips", "Top-1", "Macro-F1")
        blocks.append(Table(f"By {column}", head, rows, ("", *["number"] * 3)))
    return [Heading("Groups of clips and of classes", 4), *blocks] if blocks else []


def _map(space: ClassSpace, scores: Scores, name: str) -> list[Block]:
    if (space.clips, space.weights) != (scores.clips, scores.weights):
        return [Text("The class space is of other clips or weights: evaluate the checkpoint again.", "warning")]
    if len(space.clips) < 3:
        return [Text(f"{len(space.clips)} clips are too few for a map.", "note")]
    clips, categories, variance = space.plane()
    predictions = scores.logits.argmax(1)
    nearest = int((space.nearest() == scores.labels).sum())
    total = len(scores.clips)
    right = int((predictions == scores.labels).sum())
    caption = (
        f"Class embeddings of {total} clips in the plane in which they spread most (PCA of the clips; the labels play "
        f"no part). It shows {sum(variance):.0%} of their variance ({variance[0]:.0%} and {variance[1]:.0%}), so what "
        "lies close here need not be close in the whole space. Numbered circles: category prototypes, in the same "
        "plane; dots: clips that are right, crosses: wrong. In the whole space the nearest prototype is the clip's "
        f"own for {nearest} of {total} clips; the classifier has {right} of {total} right."
    )
    alt = f"Map of {total} clips and {len(scores.classes)} category prototypes along two principal axes."
    data = plots.class_map(clips, categories, scores.labels, predictions, scores.classes, variance)
    return [Picture(f"{name}_map", SVG, data, alt, caption)]


def _counts(m: dict[str, Any]) -> tuple[str, str]:
    return f"{m['correct']} of {m['total']}", percent(m["top1"])
