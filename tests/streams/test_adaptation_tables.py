"""The tables of an adaptation: closed forms."""

from __future__ import annotations

import numpy as np

from microgesture.streams.adaptation_tables import as_text, round_row
from microgesture.streams.pseudo_labels import REJECTED, Accepted


def row(method: str, number: int, stream: str) -> dict:
    """Six targets: three are accepted, of two of them the truth is known, and one of these is right."""
    labels = np.array([0, 0, 1, REJECTED, REJECTED, REJECTED])
    taught = Accepted(labels, np.zeros(6), np.zeros(3), 0.5)
    found = round_row(taught, np.array([0, 1, -1, 2, 2, 0]), [7, 5, 3], ["nod", "rub", "wave"])
    return {"method": method, "round": number, "stream": stream} | found | {"validation": 3, "validation_clips": 4}


def test_a_round_counts_what_was_accepted_and_what_of_it_is_right() -> None:
    found = row("cmpl", 1, "x")
    assert {name: found[name] for name in ("clips", "accepted", "agreement", "known", "right")} == {
        "clips": 6, "accepted": 3, "agreement": 0.5, "known": 2, "right": 1,
    }  # fmt: skip
    assert found["classes"] == {
        "nod": {"source": 7, "accepted": 2, "known": 2, "right": 1},
        "rub": {"source": 5, "accepted": 1, "known": 0, "right": 0},
        "wave": {"source": 3, "accepted": 0, "known": 0, "right": 0},  # a class that nobody accepts has its line
    }


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def result(streams: list[str], protocol: str = "inductive") -> dict:
    figures = {"streams": {name: {"correct": 1, "total": 2} for name in streams}}
    if len(streams) > 1:
        figures["fused"] = {"correct": 2, "total": 2}
    rounds = [row("self_training", number, name) for number in (1, 2) for name in streams]
    chosen = {"self_training": 2}
    return {"protocol": protocol, "rounds": rounds, "chosen_round": chosen, "test": {"self_training": figures}}


def test_every_table_has_as_many_cells_in_each_line_also_with_one_stream() -> None:
    for streams in (["x"], ["x", "y"]):
        lines = cells(as_text(result(streams)))
        first, test, classes = lines[: 2 + 2 * len(streams)], lines[2 + 2 * len(streams) :][:3], lines[-5:]
        assert first[2] == ["self_training", "1", "x", "3 of 6", "50.0%", "1/2 = 50.0%", "3/4 = 75.0%"]
        fused = ["2/2 = 100.0%"] * (len(streams) > 1)
        assert test[-1] == ["self_training, round 2 of 2", *["1/2 = 50.0%"] * len(streams), *fused]
        assert classes[0][:3] == ["class", "source", "self_training 1: x"]
        assert classes[-1] == ["wave", "3", *["0"] * 2 * len(streams)]
        for table in (first, test, classes):
            assert len({len(line) for line in table}) == 1


def test_a_transductive_table_says_so() -> None:
    assert "Test, **transductive**" in as_text(result(["x", "y"], "transductive"))
    assert "ransductive" not in as_text(result(["x", "y"]))
