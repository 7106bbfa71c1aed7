"""Checkpoints that were compared, as a report shows them."""

from __future__ import annotations

import numpy as np

from microgesture.evaluation.comparison import compare
from microgesture.evaluation.report.compared import comparison_blocks
from microgesture.evaluation.report.page import Table, Text


def tables(people: int) -> list[Table]:
    """Of a checkpoint that has the second of two clips of each person right, and one that has person 0's as well."""
    labels, here = np.zeros(2 * people, int), np.tile([1, 0], people)
    there = here.copy()
    there[:2] = 0
    row = compare(there, here, labels, [f"p{n // 2}" for n in range(2 * people)], draws=20)
    blocks = comparison_blocks({"/somewhere/else/other": row | {"p_holm": row["p"]}})
    assert any("One run each" in block.text for block in blocks if isinstance(block, Text))
    return [block for block in blocks if isinstance(block, Table)]


def test_people_too_few_for_an_interval_stand_one_by_one() -> None:
    whole, each = tables(3)
    assert whole.rows[0][:5] == ("other", "4 of 6", "3 of 6", "\N{MINUS SIGN}16.67", "–")
    assert each.head == ("Compared with", "p0, 2 clips", "p1, 2 clips", "p2, 2 clips")
    assert each.rows == (("other", "\N{MINUS SIGN}50.0", "+0.0", "+0.0"),)


def test_seven_people_are_still_too_few() -> None:
    whole, each = tables(7)
    assert whole.rows[0][4] == "–"
    assert len(each.rows[0]) == 1 + 7


def test_people_enough_have_an_interval() -> None:
    (whole,) = tables(8)
    assert " to " in whole.rows[0][4]
