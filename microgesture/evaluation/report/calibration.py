"""What a report says of how sure a model is, and of how it does when it may stay silent."""

from __future__ import annotations

from typing import Any

from microgesture.evaluation.calibration import risk_coverage
from microgesture.evaluation.report import plots
from microgesture.evaluation.report.page import SVG, Block, Heading, Picture, Table, percent
from microgesture.evaluation.score_file import Scores


def calibration_blocks(result: dict[str, Any], scores: Scores | None, name: str) -> list[Block]:
    """Reliability, risk–coverage and the figures of both.

    Args:
        result: All figures of a split.
        scores: Of its clips; without them the risk–coverage curve is left out.
        name: What the files of the pictures begin with.
    """
    found = result["calibration"]
    titles = {
        key: "as it is" if key == "plain" else f"temperature {row['temperature']:.3g}" for key, row in found.items()
    }
    blocks: list[Block] = [Heading("Calibration and abstaining", 4), _reliability(found, titles, name)]
    last = list(found)[-1]
    if scores is not None:
        blocks.append(_risk_coverage(scores, found[last]["temperature"], result["metrics"]["correct"], name))
    rows = tuple(
        (
            titles[key],
            *(f"{value:.3f}" for value in (row["ece"], row["brier"], row["nll"], row["risk_coverage"]["aurc"])),
        )
        for key, row in found.items()
    )
    note = " (the temperature is fitted on the validation split)" if "scaled" in found else ""
    head = ("", "ECE", "Brier", "NLL", "Area under risk–coverage")
    blocks.append(Table(f"Calibration{note}", head, rows, ("", *["number"] * 4)))
    return [*blocks, _bins(found[last], titles[last])]


def _reliability(found: dict[str, Any], titles: dict[str, str], name: str) -> Picture:
    last = list(found)[-1]
    bins = found[last]["reliability"]
    total = sum(row["total"] for row in bins)
    caption = (
        f"How often it is right where it is so sure, over {total} clips in {len(bins)} bins; on the dashed line it "
        f"would be as often right as it is sure. Below: clips per bin ({titles[last]})."
    )
    alt = f"Reliability diagram; expected calibration error {found['plain']['ece']:.3f}."
    data = plots.reliability({titles[key]: row["reliability"] for key, row in found.items()})
    return Picture(f"{name}_reliability", SVG, data, alt, caption, "half")


def _risk_coverage(scores: Scores, temperature: float, correct: int, name: str) -> Picture:
    risk, total = risk_coverage(scores.logits, scores.labels, temperature), len(scores.labels)
    half = next(point for point in risk["curve"] if point["coverage"] >= 0.5)
    caption = (
        f"Wrong answers when it answers only the clips that it is surest of: of the surest {half['answered']} of "
        f"{total} clips {half['answered'] - half['correct']} are wrong, of all {total} it is {total - correct}. "
        f"Area {risk['aurc']:.3f}; in the ideal order {risk['aurc_oracle']:.3f}."
    )
    alt = f"Risk–coverage curve; area {risk['aurc']:.3f}, at best {risk['aurc_oracle']:.3f}."
    data = plots.risk_coverage_curve(risk["curve"], correct)
    return Picture(f"{name}_risk_coverage", SVG, data, alt, caption, "half")


def _bins(found: dict[str, Any], title: str) -> Table:
    rows = []
    for row in found["reliability"]:
        figures = (f"{row['correct']} of {row['total']}", percent(row["confidence"]), percent(row["accuracy"]))
        rows.append((f"{row['lower']:.2f} to {row['upper']:.2f}", *figures))
    head = ("Confidence", "Right of clips", "Mean confidence", "Accuracy")
    return Table(f"Reliability, {title}", head, tuple(rows), ("", *["number"] * 3))
