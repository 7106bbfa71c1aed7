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
        "The interval is a bootstrap over people and their clips; with fewer than 8 people there is none. McNemar's "
        "test ignores that clips of one person are not independent; it is secondary."
    )
    rows = tuple(_row(name, row) for name, row in found.items())
    kinds = ("", *["number"] * 6)
    return [
        Heading("Compared with other checkpoints", 4),
        Table("Paired differences on the same clips", head, rows, kinds),
        Text(note),
    ]


def _row(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    interval, exact = "–", row["mcnemar"][0]
    if row["interval"] is not None:
        interval = " to ".join(signed(100 * bound, 1) for bound in row["interval"])
    counts = [f"{row['correct'][key][0]} of {row['clips']}" for key in ("first", "second")]
    mcnemar = f"{exact['only_second']} / {exact['only_first']}, {p_value(exact.get('p_holm'))}"
    return PurePath(name).name, *counts, signed(100 * row["difference"]), interval, p_value(row.get("p_holm")), mcnemar
