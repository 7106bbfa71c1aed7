"""What a report says of a run on one split."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from microgesture.evaluation import plots
from microgesture.evaluation.calibration import risk_coverage
from microgesture.evaluation.class_space import ClassSpace, space_path
from microgesture.evaluation.page import Block, Figures, Heading, Picture, Table, Text
from microgesture.evaluation.report_frames import Frames, no_frames
from microgesture.evaluation.runs import Run
from microgesture.evaluation.score_file import Scores

SVG = "image/svg+xml"
GUESSES = {
    "described": "described", "most_frequent": "most frequent word", "predicted_default": "default of predicted class",
    "true_default": "default of true class",
}  # fmt: skip


def results_blocks(run: Run, split: str, prefix: str, frames: Frames | None) -> list[Block]:
    """Everything about a split: figures, classes, groups, calibration, texts, confusions, class space."""
    result, name = run.results[split], f"{prefix}_{split}"
    scores = run.scores(split)
    missing = "The scores of its clips were not kept, so this is missing: evaluate the checkpoint again."
    blocks = [Heading(f"Results on the split {split}", 3), _figures(result), *_baselines(result)]
    blocks += [*_classes(result["metrics"], name), *_groups(result)]
    blocks += [Heading("Does it know what it knows?", 4), *_calibration(result, scores, name)]
    blocks += _texts(result.get("text") or {})
    blocks += _comparisons(result.get("comparisons") or {})
    blocks.append(Heading("The worst confusions", 4))
    if scores is None:
        return [*blocks, Text(missing, "note")]
    blocks += frames.confusion_blocks(run, scores, prefix) if frames else no_frames()
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
    figures.append(("Calibration error (ECE)", calibrated["plain"]["ece"], "as the model is"))
    return Figures(tuple((_percent(value), name, detail) for name, value, detail in figures))


def _baselines(result: dict[str, Any]) -> list[Block]:
    found = result.get("baselines") or {}
    if not found:
        return []
    rows = tuple(
        (name, *_counts(m), _percent(m["macro_f1"])) for name, m in {"FG-SGL": result["metrics"], **found}.items()
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
        figures = [_percent(row[key]) for key in ("precision", "recall", "f1")]
        rows.append((f"{c}  {row['name']}", f"{row['k']} of {row['n']}", *figures, taken))
    weakest = min((row for row in m["per_class"] if row["n"]), key=lambda row: (row["recall"], -row["n"]))
    return [
        Picture(
            f"{name}_confusion", SVG, plots.confusion_matrix(m["confusion"], names),
            f"Confusion matrix of {len(names)} classes: {m['correct']} of {m['total']} clips lie on the diagonal.",
            f"Confusion matrix: {m['correct']} of {m['total']} clips on the diagonal, {wrong} beside it. Rows are true "
            "classes, columns predicted ones, by class id; colour is the share of the row.",
        ),
        Picture(
            f"{name}_classes", SVG, plots.class_bars(m["per_class"]),
            f"Bars of recall per class, from {_percent(weakest['recall'])} ({weakest['name']}) upwards.",
            f"Recall of each class (bar, k of n clips at the right) and precision (diamond). {m['correct']} of "
            f"{m['total']} clips are right.",
        ),
        Table(
            "Each class", ("Class", "Right of clips", "Precision", "Recall", "F1", "Mostly taken for"), tuple(rows),
            ("", *["number"] * 4, "wide"),
        ),
    ]  # fmt: skip


def _groups(result: dict[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    for column, groups in (result["groups"] | result["class_groups"]).items():
        if not isinstance(groups, dict):
            blocks.append(
                Text(f"F1_mean, the mean of micro and macro F1 of classes and body groups: {_percent(groups)}.")
            )
            continue
        rows = tuple((value, *_counts(m), _percent(m["macro_f1"])) for value, m in groups.items() if m["total"])
        head = (column.capitalize(), "Right of clips", "Top-1", "Macro-F1")
        blocks.append(Table(f"By {column}", head, rows, ("", *["number"] * 3)))
    return [Heading("Groups of clips and of classes", 4), *blocks] if blocks else []


def _calibration(result: dict[str, Any], scores: Scores | None, name: str) -> list[Block]:
    found = result["calibration"]
    titles = {
        key: "as it is" if key == "plain" else f"temperature {row['temperature']:.3g}" for key, row in found.items()
    }
    last = list(found.values())[-1]
    total, correct = result["metrics"]["total"], result["metrics"]["correct"]
    blocks: list[Block] = [
        Picture(
            f"{name}_reliability", SVG, plots.reliability({titles[key]: row["reliability"] for key, row in found.items()}),
            f"Reliability diagram; expected calibration error {found['plain']['ece']:.3f}.",
            f"How often it is right where it is so sure, over {total} clips in {len(last['reliability'])} bins; on the "
            f"dashed line it would be as right as it is sure. Bottom: clips per bin ({list(titles.values())[-1]}).",
            "half",
        )
    ]  # fmt: skip
    if scores is not None:
        risk = risk_coverage(scores.logits, scores.labels, last["temperature"])
        half = next(point for point in risk["curve"] if point["coverage"] >= 0.5)
        wrong = half["answered"] - half["correct"]
        blocks.append(
            Picture(
                f"{name}_risk_coverage", SVG, plots.risk_coverage_curve(risk["curve"], correct),
                f"Risk–coverage curve; area {risk['aurc']:.3f}, at best {risk['aurc_oracle']:.3f}.",
                f"Wrong answers when it answers only the clips it is surest of: of the surest {half['answered']} of "
                f"{total} clips {wrong} are wrong, of all {total - correct}. Area {risk['aurc']:.3f}; in the ideal order "
                f"{risk['aurc_oracle']:.3f}.",
                "half",
            )
        )  # fmt: skip
    rows = tuple(
        (
            titles[key],
            f"{row['ece']:.3f}",
            f"{row['brier']:.3f}",
            f"{row['nll']:.3f}",
            f"{row['risk_coverage']['aurc']:.3f}",
        )
        for key, row in found.items()
    )
    head = ("", "ECE", "Brier", "NLL", "Area under risk–coverage")
    note = " (the temperature is fitted on the validation split)" if "scaled" in found else ""
    return [
        *blocks,
        Table(f"Calibration{note}", head, rows, ("", *["number"] * 4)),
        _bins(last, list(titles.values())[-1]),
    ]


def _bins(found: dict[str, Any], title: str) -> Table:
    rows = tuple(
        (f"{row['lower']:.2f} to {row['upper']:.2f}", f"{row['correct']} of {row['total']}", _percent(row["confidence"]),
         _percent(row["accuracy"]))
        for row in found["reliability"]
    )  # fmt: skip
    head = ("Confidence", "Right of clips", "Mean confidence", "Accuracy")
    return Table(f"Reliability, {title}", head, rows, ("", *["number"] * 3))


def _texts(text: dict[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    found = text.get("retrieval") or {}
    if "skipped" in found:
        blocks.append(
            Text(f"Retrieval of a clip's own sentence was not measured, because {found['skipped']}.", "note")
        )
    elif found:
        rows = tuple(
            (name, f"{row['correct']} of {row['total']}", _percent(row["recall"]), _percent(row["chance"]))
            for name, row in found.items() if name != "sentences"
        )  # fmt: skip
        caption = f"A clip's own sentence among {found['sentences']} distinct ones"
        blocks.append(Table(caption, ("", "Clips", "Recall", "Chance"), rows, ("", *["number"] * 3)))
    if text.get("attributes"):
        blocks.append(_attributes(text["attributes"]))
    return [Heading("FG-Text", 4), *blocks] if blocks else []


def _attributes(found: dict[str, Any]) -> Table:
    rows: list[tuple[str, ...]] = []
    for attribute, row in found.items():
        for key, title in (
            ("all", attribute),
            ("differing", f"{attribute}, where the record differs from the class default"),
        ):
            part = row[key]
            counts = [f"{part[guess]} of {part['total']}" for guess in GUESSES]
            verdict = "" if key == "all" or row["p"] is None else "grounded" if row["grounded"] else "not grounded"
            rows.append((title, *counts, verdict and f"{verdict} (p {row['p']:.2g})"))
    caption = (
        "Words that the model gives, beside what could be guessed; grounded: better than the predicted class's default"
    )
    return Table(caption, ("Attribute", *(name.capitalize() for name in GUESSES.values()), "Verdict"), tuple(rows),
                 ("", *["number"] * len(GUESSES), ""))  # fmt: skip


def _comparisons(found: dict[str, Any]) -> list[Block]:
    rows: list[tuple[str, ...]] = []
    for name, row in found.items():
        span = "–"
        if row["interval"] is not None:
            low, high = (100 * bound for bound in row["interval"])
            span = f"{low:+.1f} to {high:+.1f}"
        exact = row["mcnemar"][0]
        counts = [f"{row['correct'][key][0]} of {row['clips']}" for key in ("first", "second")]
        rows.append(
            (PurePath(name).name, *counts, f"{100 * row['difference']:+.2f}", span, _p(row.get("p_holm")),
             f"{exact['only_second']} / {exact['only_first']}, {_p(exact.get('p_holm'))}")
        )  # fmt: skip
    if not rows:
        return []
    head = ("Compared with", "There", "Here", "Difference, points", "95 % interval over people", "p (Holm)",
            "McNemar: right here only / there only, p (Holm)")  # fmt: skip
    return [
        Heading("Compared with other checkpoints", 4),
        Table("Paired differences on the same clips", head, tuple(rows), ("", *["number"] * 6)),
        Text("The interval is a bootstrap over people and their clips. McNemar's test ignores that clips of one person "
             "are not independent; it is secondary. Below 8 people there is no interval."),
    ]  # fmt: skip


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _map(space: ClassSpace, scores: Scores, name: str) -> list[Block]:
    if space.clips != scores.clips:
        return [Text("The class space was written for other clips: evaluate the checkpoint again.", "warning")]
    if len(space.clips) < 3:
        return [Text(f"{len(space.clips)} clips are too few for a map.", "note")]
    clips, categories, variance = space.plane()
    predictions = scores.logits.argmax(1)
    nearest = int((space.nearest() == scores.labels).sum())
    total = len(scores.clips)
    caption = (
        f"Class embeddings of {total} clips in the plane in which they spread most (PCA of the clips; the labels play no "
        f"part). It shows {sum(variance):.0%} of their variance ({variance[0]:.0%} and {variance[1]:.0%}), so what lies "
        "close here need not be close in the whole space. Circles with a number: category prototypes, in the same plane; "
        f"dots: clips that are right, crosses: wrong. In the whole space the nearest prototype is the clip's own for "
        f"{nearest} of {total} clips; the classifier has {int((predictions == scores.labels).sum())} of {total} right."
    )
    alt = f"Map of {total} clips and {len(scores.classes)} category prototypes along two principal axes."
    data = plots.class_map(clips, categories, scores.labels, predictions, scores.classes, variance)
    return [Picture(f"{name}_map", SVG, data, alt, caption)]


def _counts(m: dict[str, Any]) -> tuple[str, str]:
    return f"{m['correct']} of {m['total']}", _percent(m["top1"])


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
