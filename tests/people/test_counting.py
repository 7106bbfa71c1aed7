"""A warning where several people are visible: in the whole picture, or in the box that was given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import moving_square, write_video
from tiny_checkpoint import write_checkpoint

from microgesture import cli
from microgesture.people.counting import inside, several
from microgesture.people.detection import People

NONE, TWO = [1, 1, 0, 1, 1], [2, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("counts", "given", "told"),
    [
        (NONE, False, None),
        (TWO, False, "several people are visible (2 in 5 of 5 frames looked at): give --person or --roi"),
        ([1, 3, 2], False, "several people are visible (up to 3 in 2 of 3 frames looked at): give --person or --roi"),
        (TWO, True, "several people are in the box (2 in 5 of 5 frames looked at): give one around one person alone"),
    ],
)
def test_what_is_told(counts, given, told) -> None:
    assert several(counts, given) == told


def test_who_is_in_a_box() -> None:
    boxes = np.array([[0, 0, 100, 200], [120, 0, 220, 200], [0, 0, 20, 20]], np.float32)
    people = People(boxes, np.ones(3, np.float32))
    assert inside(people, (0, 0, 300, 300)) == [0, 1, 2]
    assert inside(people, (110, 0, 100, 200)) == [1]
    assert inside(people, (30, 50, 40, 40)) == [0]  # a hand of somebody
    assert inside(people, (60, 0, 100, 200)) == []  # 40 % of two people, each
    assert inside(People(boxes[:0], np.ones(0, np.float32)), (0, 0, 9, 9)) == []


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), ["a", "b"])


def warnings(path: Path) -> list[list[str]]:
    return [json.loads(line).get("warnings", []) for line in path.read_text().splitlines()[1:]]


def test_predict_warns_and_counts_in_the_box_alone(checkpoint, two_people, one_person, tmp_path, capsys) -> None:
    """The detector sees one person on the left and one on the right."""
    video = tmp_path / "clip.mp4"
    write_video(video, moving_square("up", np.random.default_rng(0)))

    def told(name: str, *argv: object, detector: Path | None = two_people) -> list[list[str]]:
        looked = [] if detector is None else ["--detector", detector]
        argv = ("predict", checkpoint, video, "--json", tmp_path / name, "--device", "cpu", *looked, *argv)
        assert cli.main(list(map(str, argv))) == 0
        return warnings(tmp_path / name)

    visible = "several people are visible (2 in 5 of 5 frames looked at): give --person or --roi"
    assert told("a.jsonl") == [[visible]]
    screen = capsys.readouterr()
    assert f"  warning: {visible}" in screen.err
    assert "clip.mp4" in screen.out
    assert told("b.jsonl", "--roi", "0,0,32,64") == [[]]
    assert told("c.jsonl", "--person", "40,10,16,40") == [[]]
    assert told("d.jsonl", "--roi", "0,0,64,40", "--mirrored") == [
        ["several people are in the box (2 in 5 of 5 frames looked at): give one around one person alone"]
    ]
    assert told("e.jsonl", detector=one_person) == [[]]
    assert told("f.jsonl", detector=None) == [[]]
    one = moving_square("up", np.random.default_rng(0))[:1]
    write_video(video, one)
    assert told("g.jsonl") == [[visible.replace("5 of 5", "1 of 1")]]
    assert cli.main(["predict", str(checkpoint), str(video), "--json", str(tmp_path / "a.jsonl")]) == 1
    assert "a.jsonl was made otherwise (detector)" in capsys.readouterr().err
    assert cli.main(["predict", str(checkpoint), str(video), "--detector", str(checkpoint)]) == 1
    assert "is no detector that transformers can load" in capsys.readouterr().err


def test_the_help_does_not_pretend(capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main(["predict", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "Without --detector nobody is detected, and nothing tells you that several people are visible." in told
