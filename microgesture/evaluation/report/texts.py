"""What a report says of FG-Text: whether a clip finds its own sentence, and whether its words are about the clip."""

from __future__ import annotations

from typing import Any

from microgesture.evaluation.report.page import Block, Heading, Table, Text, percent

GUESSES = {
    "described": "Described", "most_frequent": "Most frequent word", "predicted_default": "Default of predicted class",
    "true_default": "Default of true class",
}  # fmt: skip


def text_blocks(text: dict[str, Any]) -> list[Block]:
    """Retrieval and attributes, as `evaluate_fgsgl.py` measured them; nothing where it did not."""
    blocks: list[Block] = []
    found = text.get("retrieval") or {}
    if "skipped" in found:
        reason = f"Retrieval of a clip's own sentence was not measured, because {found['skipped']}."
        blocks.append(Text(reason, "note"))
    elif found:
        blocks.append(_retrieval(found))
    if text.get("attributes"):
        blocks.append(_attributes(text["attributes"]))
    return [Heading("FG-Text", 4), *blocks] if blocks else []


def _retrieval(found: dict[str, Any]) -> Table:
    ranks = {name: row for name, row in found.items() if name != "sentences"}
    rows = tuple(
        (name, f"{row['correct']} of {row['total']}", percent(row["recall"]), percent(row["chance"]))
        for name, row in ranks.items()
    )
    caption = f"A clip's own sentence among {found['sentences']} distinct ones"
    return Table(caption, ("", "Clips", "Recall", "Chance"), rows, ("", *["number"] * 3))


def _attributes(found: dict[str, Any]) -> Table:
    rows: list[tuple[str, ...]] = []
    for attribute, row in found.items():
        for key, which in (("all", "all clips"), ("differing", "record differs from its class default")):
            part = row[key]
            verdict = ""
            if key == "differing" and row["p"] is not None:
                verdict = f"{'grounded' if row['grounded'] else 'not grounded'} (p {row['p']:.2g})"
            counts = [f"{part[guess]} of {part['total']}" for guess in GUESSES]
            rows.append((attribute, which, *counts, verdict))
    caption = (
        "Right words, beside what could be guessed (grounded: better than the predicted class's default, p by "
        "McNemar's test and Holm, which ignores that clips of one person are not independent)"
    )
    head = ("Attribute", "Clips", *GUESSES.values(), "Verdict")
    return Table(caption, head, tuple(rows), ("", "", *["number"] * len(GUESSES), ""))
