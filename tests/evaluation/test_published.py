"""The paper's own figures stand here as in the paper."""

from __future__ import annotations

import re

import pytest
from conftest import SHARED, needs_shared

from microgesture.evaluation.report.published import (
    NOT_COMPARABLE,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TEST_CLIPS,
    Components,
    clips_of,
)


@needs_shared
def test_the_tables_are_those_of_the_paper() -> None:
    (source,) = (SHARED / "seeds").glob("001_*.txt")
    lines = [line.split("\t") for line in source.read_text(encoding="utf-8").splitlines()]
    first = [(re.sub(r" [\[(].*", "", line[0]), *line[1:]) for line in lines if len(line) == 5 and line[1].isdigit()]
    assert first == [(r.method, str(r.year), r.modality, shown(r.smg), shown(r.imigue)) for r in TABLE_1]

    def marks(row: Components) -> list[str]:
        return ["✓" if on else "×" for on in (row.fg_sa, row.cp_a, row.ml_co)]

    second = [line for line in lines if len(line) == 5 and line[0] in "✓×"]
    assert second == [[*marks(row), *map(shown, values)] for row, values in TABLE_2.items()]
    third = [line for line in lines if len(line) == 6 and line[0] in "✓×"]
    texts = {"class": "Class-level", "fine": "Fine-grained"}
    assert third == [[*marks(row), texts[row.fg_text], *map(shown, values)] for row, values in TABLE_3.items()]


def shown(value: float | None) -> str:
    return "N/A" if value is None else f"{value:.2f}"


@pytest.mark.parametrize(
    ("percent", "found"), [(65.41, (399, 610)), (77.70, (474, 610)), (78.13, None), (73.22, None)]
)
def test_figures_on_smg_that_are_no_share_of_its_610_clips(percent: float, found: tuple[int, int] | None) -> None:
    assert clips_of(percent, TEST_CLIPS["smg"]) == found


def test_only_one_of_the_two_lists_of_imigue_gives_a_figure() -> None:
    assert clips_of(62.58, TEST_CLIPS["imigue"]) == (2855, 4562)
    assert clips_of(66.12, TEST_CLIPS["imigue"]) == (3017, 4563)
    assert clips_of(66.12, (4562,)) is None


def test_emotion_accuracies_are_marked() -> None:
    assert set(NOT_COMPARABLE) == {"H2OFormer"}
    assert set(NOT_COMPARABLE) <= {row.method for row in TABLE_1}
