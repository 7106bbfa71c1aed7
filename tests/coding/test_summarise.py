"""`microgesture summarise`: counts that add up, zeros that are rows, minutes that somebody could see."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import moving_square, write_video

from microgesture import cli

LABELS = ["nod", "=rub", "wave"]


def journal(path: Path, files: dict[str, tuple[float, list[tuple[float, float, str]]]], **made_by: object) -> Path:
    """What `predict --json` writes."""
    lines = [{"made_by": {"spot": True, "labels": LABELS, "mirrored": False} | made_by}]
    for file, (seconds, spans) in files.items():
        segments = [{"start": a, "end": b, "label": label, "score": 0.5} for a, b, label in spans]
        lines.append({"file": file, "seconds": seconds, "fps": 25.0, "segments": segments})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def predictions(tmp_path) -> Path:
    """Two recordings, one of them with nothing in it, and a file that could not be read."""
    first = [(10, 12, "nod"), (20, 21, "nod"), (50, 55, "not codable"), (52, 53, "nod"), (70, 74, "=rub")]
    path = journal(tmp_path / "found.jsonl", {"a/one.mp4": (120.0, first), "two.mp4": (60.0, [])})
    with path.open("a") as file:
        file.write('{"file": "bad.mp4", "error": {"kind": "unreadable", "message": "no"}}\n')
    return path


def summarise(source: Path, *options: object) -> list[dict[str, str]]:
    out = source.parent / "summary.csv"
    assert cli.main(["summarise", str(source), "--out", str(out), *map(str, options)]) == 0
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def test_counts_rates_and_zeros(predictions, capsys) -> None:
    rows = summarise(predictions)
    assert [(r["recording"], r["label"], r["count"]) for r in rows] == [
        ("a/one.mp4", "nod", "2"), ("a/one.mp4", "'=rub", "1"), ("a/one.mp4", "wave", "0"),
        ("two.mp4", "nod", "0"), ("two.mp4", "'=rub", "0"), ("two.mp4", "wave", "0"),
    ]  # fmt: skip
    nod, _, wave = rows[:3]
    assert float(nod["codable_minutes"]) == pytest.approx(115 / 60, abs=1e-4)
    assert float(nod["rate_per_minute"]) == pytest.approx(2 / (115 / 60), abs=1e-4)
    assert [float(nod[f"{name}_seconds"]) for name in ("total", "mean", "median", "latency")] == [3, 1.5, 1.5, 10]
    assert float(nod["sd_seconds"]) == pytest.approx(np.std([2, 1], ddof=1), abs=1e-3)
    assert (wave["rate_per_minute"], wave["mean_seconds"], wave["latency_seconds"]) == ("0.0", "", "")
    told = capsys.readouterr().out
    assert "bad.mp4 could not be read" in told
    assert "1 of 4 gestures are not counted" in told


def test_persons_conditions_and_phases(predictions, capsys) -> None:
    table = predictions.parent / "recordings.csv"
    table.write_text("file;subject;condition;start;end\none.mp4;anna;calm;0;15,5\none.mp4;anna;stress;15,5;\n")
    rows = summarise(predictions, "--recordings", table)
    nods = [r for r in rows if r["label"] == "nod"]
    assert [(r["subject"], r["condition"], r["count"]) for r in nods] == [
        ("anna", "calm", "1"),
        ("anna", "stress", "1"),
    ]
    assert [float(r["latency_seconds"]) for r in nods] == [10, 4.5]
    assert sum(float(r["codable_minutes"]) for r in nods) == pytest.approx(115 / 60, abs=1e-3)
    for text, message in (
        ("file,condition\nthree.mp4,calm\n", "three.mp4 is not among the recordings"),
        ("file,start\none.mp4,500\n", "does not lie in the recording"),
        ("file,start,end\none.mp4,0,30\none.mp4,0,30\n", "belongs to two rows"),
        ("name\none.mp4\n", "must name the columns"),
        ("file,start,end\none.mp4,9,3\n", "line 2: the clip from 9 s to 3 s is empty"),
    ):
        table.write_text(text)
        argv = ["summarise", str(predictions), "--out", str(table.parent / "o.csv"), "--recordings", str(table)]
        assert cli.main(argv) == 1
        assert message in capsys.readouterr().err


def test_coded_tables_and_recordings_without_a_gesture(tmp_path) -> None:
    for name in ("one", "two"):
        write_video(tmp_path / f"{name}.mp4", moving_square("up", np.random.default_rng(0)), 20)
    rows = ["file,label,subject,start,end", "one.mp4,nod,anna,0.1,0.3", "one.mp4,nod,ben,0.5,0.6"]
    (tmp_path / "coded.csv").write_text("\n".join(rows) + "\n")
    people = summarise(tmp_path / "coded.csv")
    assert [(r["subject"], r["count"], r["latency_seconds"]) for r in people] == [
        ("anna", "1", "0.1"),
        ("ben", "1", "0.5"),
    ]
    table = tmp_path / "recordings.csv"
    table.write_text(f"file,subject\none.mp4,anna\n{tmp_path / 'two.mp4'},carl\n")
    rows = summarise(tmp_path / "coded.csv", "--recordings", table)
    assert [(r["subject"], r["count"], r["codable_minutes"]) for r in rows] == [
        ("anna", "1", "0.0167"), ("carl", "0", "0.0167"),
    ]  # fmt: skip
