"""What `split_results` and its neighbours found, as a short text for a screen."""

from __future__ import annotations

from typing import Any

from microgesture.data.clips import LEAK
from microgesture.evaluation.metrics import format_table, summary

TRANSDUCTIVE = "this checkpoint was adapted to these very clips: not to be compared with figures on new clips"
ALL_TRANSDUCTIVE = (
    "every checkpoint here was adapted to these very clips: not to be compared with figures on new clips"
)


def format_result(result: dict[str, Any], details: bool = False) -> str:
    """The result of an evaluation as text.

    Args:
        result: As `evaluate_fgsgl.evaluate` returns it.
        details: Also one line per class and per bin of the reliability table.

    Returns:
        Several lines, without a newline at the end.
    """
    figures = result["metrics"]
    lines = [f"{result['split']} split"]
    lines += [f"  LEAK: {LEAK}"] if result.get("leak") else []
    lines += [f"  TRANSDUCTIVE: {TRANSDUCTIVE}"] if result.get("transductive") else []
    if result["official_overlap"]:
        lines.append(f"  people of one split are seen in another as published: {result['official_overlap']}")
    rows = {result.get("model", "FG-SGL"): figures, **result["baselines"]}
    width = max(len(name) for name in rows)
    lines += [f"  {name:<{width}}  {summary(row)}" for name, row in rows.items()]
    lines.append(f"  {format_classes(figures)}")
    for column, groups in result["groups"].items():
        lines.append(f"  by {column}: " + ", ".join(f"{v} {g['correct']}/{g['total']}" for v, g in groups.items()))
    lines += _class_groups(result["class_groups"])
    lines += ["", *_calibration(result["calibration"], details)]
    if "text" in result:  # a stream reads no sentences
        lines += ["", *_text(result["text"])]
    lines += _comparisons(result["comparisons"])
    return "\n".join([*lines, *(["", format_table(figures)] if details else [])])


def percent(value: float) -> str:
    """A share as per cent with one digit."""
    return f"{100 * value:.1f} %"


def format_classes(figures: dict[str, Any]) -> str:
    """Weighted F1, and where classes have no clip, the means over all classes."""
    C, weighted = len(figures["per_class"]), f"weighted F1 {percent(figures['weighted_f1'])}"
    if figures["present"] == C:
        return f"{weighted}; all {C} classes have clips"
    over_all = [percent(figures[name]) for name in ("macro_f1_all", "mean_class_accuracy_all")]
    return (
        f"{weighted}; {figures['present']} of {C} classes have clips; over all {C}, macro-F1 {over_all[0]}, "
        f"mean class accuracy {over_all[1]}"
    )


def _class_groups(class_groups: dict[str, Any]) -> list[str]:
    lines = []
    for name, groups in class_groups.items():
        if name == "f1_mean":
            lines.append(f"  mean of micro and macro F1 of classes and body groups (F1_mean): {percent(groups)}")
            continue
        cells = [f"{group} {g['correct']}/{g['total']}" for group, g in groups.items() if g["total"]]
        lines.append(f"  by {name}: " + ", ".join(cells))
    return lines


def _calibration(calibration: dict[str, Any], details: bool) -> list[str]:
    lines = [f"{'calibration':<34}  ECE  Brier    NLL"]
    for row in calibration.values():
        name = "as it is" if row is calibration["plain"] else f"temperature {row['temperature']:.3g} (validation)"
        lines.append(f"  {name:<30} {row['ece']:>6.3f} {row['brier']:>6.3f} {row['nll']:>6.3f}")
    best = list(calibration.values())[-1]
    risk = best["risk_coverage"]
    cells = [f"{p['answered'] - p['correct']}/{p['answered']}" for p in risk["curve"]]
    lines.append(f"  wrong of the surest clips (risk–coverage): {', '.join(cells)}")
    lines.append(f"  area under risk–coverage {risk['aurc']:.3f}, at best {risk['aurc_oracle']:.3f}")
    if details:
        lines.append("  confidence      right of clips   mean confidence   accuracy")
        for b in best["reliability"]:
            lines.append(
                f"  {b['lower']:.2f} to {b['upper']:.2f}   {b['correct']:>5}/{b['total']:<5}   "
                f"{percent(b['confidence']):>15}   {percent(b['accuracy']):>8}"
            )
    return lines


def _text(text: dict[str, Any]) -> list[str]:
    found, lines = text["retrieval"], []
    if "skipped" in found:
        lines.append(f"own sentence: not measured, because {found['skipped']}")
    else:
        cells = [
            f"{name} {row['correct']}/{row['total']} = {percent(row['recall'])} (chance {percent(row['chance'])})"
            for name, row in found.items()
            if name != "sentences"
        ]
        lines.append(f"own sentence among {found['sentences']} distinct ones: {', '.join(cells)}")
    if not text["attributes"]:
        return [*lines, "attributes: no clip of this split has a word"]
    lines.append("attributes right    described   most frequent   class default: predicted       true")
    for attribute, row in text["attributes"].items():
        for name, part in (("all", row["all"]), ("not the class default", row["differing"])):
            label = attribute if name == "all" else "  record differs"
            verdict = "" if name == "all" else _verdict(row)
            lines.append(
                f"  {label:<16} {_of(part, 'described'):>10}   {_of(part, 'most_frequent'):>13}   "
                f"{_of(part, 'predicted_default'):>24}   {_of(part, 'true_default'):>8}{verdict}"
            )
    return [*lines, "  p by McNemar's test and Holm: ignores that clips of one person are not independent"]


def _verdict(row: dict[str, Any]) -> str:
    return "" if row["p"] is None else f"   {'grounded' if row['grounded'] else 'not grounded'} (p {row['p']:.3g})"


def _of(part: dict[str, int], guess: str) -> str:
    return f"{part[guess]}/{part['total']}"


def _seeds(row: dict[str, Any]) -> str:
    seeds = list(row.get("seeds", {}).values())
    if seeds and None not in seeds and len(set(seeds)) > 1:
        return f"one run each, of seeds {seeds[0]} and {seeds[1]}, so the seeds differ as well"
    return "one run each, so other seeds may say otherwise"


def _comparisons(rows: dict[str, Any]) -> list[str]:
    lines = []
    for name, row in rows.items():
        N = row["clips"]
        lines += [
            "",
            f"compared with {name}: {row['correct']['second'][0]}/{N} against {row['correct']['first'][0]}/{N}",
        ]
        lines.append(f"  difference in {row['metric']}: {100 * row['difference']:+.1f} points; {_seeds(row)}")
        if row["interval"] is None:
            each = [f"{s} {100 * p['difference']:+.1f} ({p['clips']} clips)" for s, p in row["per_subject"].items()]
            lines.append(
                f"  {row['subjects']} people are too few for an interval over people; each: {', '.join(each)}"
            )
        else:
            low, high = (100 * bound for bound in row["interval"])
            lines.append(
                f"  95 % interval over {row['subjects']} people and their clips: {low:+.1f} to {high:+.1f}; "
                f"p {row['p']:.3g}, by Holm {row['p_holm']:.3g}"
            )
        exact = row["mcnemar"][0]
        lines.append(
            f"  McNemar, exact: {exact['only_second']} clips right here only, {exact['only_first']} there only, "
            f"p {exact['p']:.3g}, by Holm {exact['p_holm']:.3g} ({exact['note']})"
        )
    return lines
