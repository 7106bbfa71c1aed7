"""`microgesture validate`: a sample that stands for all recordings, coded blind, and figures that come out right."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import moving_square, write_video
from test_summarise import LABELS, journal

from microgesture import cli
from microgesture.annotation.segments_agreement import Settings
from microgesture.coding.timelines import NOT_CODABLE, Event, Timeline
from microgesture.coding.validation_sample import NOTHING, allocate, cut, draw
from microgesture.coding.validation_score import ALL, ANY, CodedWindow, figures
from microgesture.evaluation.coefficients import cohen_kappa

NO_TIME = np.zeros((0, 2))


def test_strata_and_shares() -> None:
    events = (Event(5, 12, "nod"), Event(31, 33, "nod"), Event(32, 34, "wave"))
    windows = cut([Timeline("a", 61.0, events), Timeline("b", 4.0, ())], 10)
    assert [w.stratum for w in windows] == ["nod", "nod", NOTHING, "wave", NOTHING, NOTHING, NOTHING]
    assert [(w.start, w.end) for w in windows[-2:]] == [(pytest.approx(61 * 5 / 6), 61.0), (0.0, 4.0)]
    sizes = {NOTHING: 1000, "nod": 50, "wave": 3, "rub": 400}
    assert allocate(sizes, 60) == {NOTHING: 34, "nod": 12, "wave": 3, "rub": 11}  # what wave lacks goes to all
    assert allocate({NOTHING: 2, "nod": 1}, 60) == {NOTHING: 2, "nod": 1}
    with pytest.raises(ValueError, match="2 windows are too few"):
        allocate(sizes, 2)
    chosen = draw(windows, 4, seed=1)
    assert {w.stratum for w in chosen} == {NOTHING, "nod", "wave"}
    assert chosen == draw(windows, 4, seed=1)
    assert len(set(chosen)) == 4


def test_kappa_with_weights_is_kappa_of_repeated_units() -> None:
    rng = np.random.default_rng(0)
    codes, times = rng.integers(-1, 3, (40, 2)), rng.integers(1, 4, 40)
    repeated = cohen_kappa(np.repeat(codes, times, axis=0)).value
    assert cohen_kappa(codes, weights=times).value == pytest.approx(repeated)


def test_the_command_line_has_the_defaults_of_what_it_runs(capsys) -> None:
    for words in (["validate", "score", "folder"], ["annotate", "agreement", "a.eaf"]):
        told = cli.parser().parse_args(words)
        assert (told.iou, told.unit) == (Settings.iou, Settings.unit)
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["summarise", "--help"])
    assert f"(default: '{NOT_CODABLE}')" in " ".join(capsys.readouterr().out.split())


def test_figures_are_about_all_recordings() -> None:
    """Worked by hand: 2 of 2 windows with a find, 1 of 8 rejected ones; one find is right, one gesture was missed."""
    nod, wave = Event(1, 2, "nod"), Event(13, 14, "wave")
    windows = [
        CodedWindow(0, 1.0, 0, 10, (nod,), (Event(1.1, 2, "nod"), Event(9.5, 11, "nod")), NO_TIME),
        CodedWindow(0, 1.0, 10, 20, (wave,), (Event(9.5, 11, "nod"),), NO_TIME),
        CodedWindow(1, 8.0, 20, 30, (), (Event(25, 26, "wave"),), np.array([[28.0, 30.0]])),
    ]
    key = {
        "labels": ["nod", "wave"],
        "recordings": [{"seconds": 50, "found": {"nod": 1, "wave": 1}}, {"seconds": 50, "found": {}}],
    }
    got = {(figure, label): one for figure, label, one in figures(key, windows, 0.5, 0.1)}
    value = {name: one.value for name, one in got.items()}
    assert value["precision", ALL] == 0.5
    assert value["recall", ALL] == pytest.approx(1 / (2 + 8))  # the nod that spans two windows counts once
    assert value["precision", "nod"] == 1
    assert value["recall", "nod"] == 0.5
    assert value["recall", "wave"] == 0
    assert value["found per minute", ANY] == pytest.approx(2 / (100 / 60))
    assert value["corrected per minute", ANY] == pytest.approx((2 + 8) / ((20 + 8 * 8) / 60))
    said = np.zeros((3, 100, 2), int)
    said[0, 10:20, 0] = said[0, 11:20, 1] = said[0, 95:, 1] = said[1, :10, 1] = 1
    said[1, 30:40, 0] = said[2, 50:60, 1] = 2
    weights = np.repeat([1, 1, 8], 100)
    seen = np.arange(300) < 280
    expected = cohen_kappa(np.repeat(said.reshape(-1, 2)[seen], weights[seen], axis=0)).value
    assert value["kappa per unit of time", ALL] == pytest.approx(expected)
    assert got["recall", ALL].low is not None  # two recordings: there is an interval


@pytest.mark.parametrize("tool", ["table", "elan"])
def test_sample_code_score(tmp_path, capsys, monkeypatch, tool) -> None:
    if tool == "elan":
        pympi = pytest.importorskip("pympi")
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", moving_square("up", np.random.default_rng(0), length=80), 20)
    found = journal(tmp_path / "found.jsonl", {"a.mp4": (4.0, [(0.2, 0.6, "nod")]), "b.mp4": (4.0, [])})
    argv = ["validate", "sample", str(found), "--out", "v", "--seconds", "1", "--context", "0.5", "--tool", tool]
    assert cli.main([*argv, "--windows", "8"]) == 0
    key = json.loads(Path("v/key.json").read_text())
    assert key["strata"] == {"nod": 1, NOTHING: 7}
    assert len(list(Path("v/coder/clips").glob("*.mp4"))) == 8
    for path in Path("v/coder").rglob("*.*"):
        assert b"nod" not in path.read_bytes() or path.suffix == ".eaf"  # whose vocabulary names every class
    # The coder agrees with the network, leaves one clip out, and sees something in no other.
    (hit,) = [clip for clip in key["clips"] if clip["stratum"] == "nod"]
    left = next(clip["clip"] for clip in key["clips"] if clip["stratum"] == NOTHING)
    rows = [
        (f"clips/{c['clip']}.mp4", *((0.2, 0.6, "nod") if c is hit else (0.1, 0.2, NOTHING)))
        for c in key["clips"]
        if c["clip"] != left
    ]
    if tool == "table":
        with Path("v/coder/coding.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("file", "start", "end", "label"), *rows])
    else:
        for name, start, end, label in rows:
            path = f"v/coder/{Path(name).stem}.eaf"
            eaf = pympi.Elan.Eaf(path)
            eaf.add_annotation("gesture", round(1000 * start), round(1000 * end), label)
            eaf.to_file(path)
    assert cli.main(["validate", "score", "v"]) == 0
    with Path("v/validation.csv").open(newline="") as file:
        got = {(r["figure"], r["label"]): r["value"] for r in csv.DictReader(file)}
    assert float(got["kappa per unit of time", ALL]) == 1
    assert (got["precision", "nod"], got["recall", "nod"], got["precision", LABELS[2]]) == ("1.0", "1.0", "")
    assert float(got["corrected per minute", "nod"]) == float(got["found per minute", "nod"]) == 7.5
    out = capsys.readouterr().out
    assert "1 clips are not coded" in out
    assert "of 2 recordings; with fewer than 10 the intervals are too narrow" in out
    assert cli.main([*argv, "--windows", "8"]) == 1
    assert "exists and is not an empty folder" in capsys.readouterr().err
    found.write_text("file,label\n")
    assert cli.main(["validate", "sample", str(found), "--out", "w"]) == 1
    assert "is no result of `microgesture predict" in capsys.readouterr().err
