"""What a report says of checkpoints that were compared on the same clips."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from microgesture.evaluation.report.page import Block, Heading, Table, Text, p_value, signed


def comparison_blocks(found: dict[str, Any]) -> list[Block]:
    """The paired differences that `evaluate_fgsgl.py --compare` measured; nothing where it did not."""
    if not found:
        return []
    head = (
        "Compared with", "There", "Here", "Difference, points", "95 % interval over people", "p (Holm)",
        "McNemar: right only here / only there, p (Holm)",
    )  # fmt: skip
    note = (
        "One run each, so other seeds may say otherwise. The interval is a bootstrap over people and their clips; "
        "with fewer than 8 people there is none, and their own differences are shown. McNemar's test ignores that "
        "clips of one person are not independent; it is secondary."
    )
    rows = tuple(_row(name, row) for name, row in found.items())
    kinds = ("", *["number"] * 6)
    return [
        Heading("Compared with other checkpoints", 4),
        Table("Paired differences on the same clips", head, rows, kinds),
        *_subjects({name: row["per_subject"] for name, row in found.items() if row["interval"] is None}),
        Text(note),
    ]


def _subjects(found: dict[str, dict[str, Any]]) -> list[Block]:
    """The people one by one, where they are too few for an interval over them."""
    if not found:
        return []
    people = {name: about["clips"] for name, about in next(iter(found.values())).items()}
    rows = tuple(
        (PurePath(other).name, *(signed(100 * row[name]["difference"], 1) for name in people))
        for other, row in found.items()
    )
    head = ("Compared with", *(f"{name}, {clips} clips" for name, clips in people.items()))
    return [Table("Difference in top-1 of each person, in points", head, rows, ("", *["number"] * len(people)))]


def _row(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    interval, exact = "–", row["mcnemar"][0]
    if row["interval"] is not None:
        interval = " to ".join(signed(100 * bound, 1) for bound in row["interval"])
    counts = [f"{row['correct'][key][0]} of {row['clips']}" for key in ("first", "second")]
    mcnemar = f"{exact['only_second']} / {exact['only_first']}, {p_value(exact.get('p_holm'))}"
    return PurePath(name).name, *counts, signed(100 * row["difference"]), interval, p_value(row.get("p_holm")), mcnemar
