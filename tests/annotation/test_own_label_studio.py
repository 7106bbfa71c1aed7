"""Label Studio's export: frames to seconds, one coder per clip, what was cancelled."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from annotation_files import annotation, choice, region, task
from hypothesis import given
from hypothesis import strategies as st

from microgesture.annotation.own_label_studio import _spans, read_label_studio
from microgesture.annotation.readers import VideoFinder
from microgesture.data.fg_text import FGText


@pytest.fixture
def read(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "videos" / name).write_bytes(b"x")

    def write_and_read(*tasks, fps=25.0, coder=None):
        path = tmp_path / "export.json"
        path.write_text(json.dumps(list(tasks)), encoding="utf-8")
        return read_label_studio(path, VideoFinder(tmp_path), fps, coder)

    return write_and_read


def rows(reading):
    return [(a.video.name, a.label, a.subject, a.start, a.end) for a in reading.annotations]


NOD = annotation(region("nod", 1, 25))


def test_frames_count_from_one_with_both_ends_in_them(read):
    one = task(1, "videos/a.mp4", annotation(region("nod", 1, 25), region("rub", 26, 26)), subject="anna")
    assert rows(read(one)) == [("a.mp4", "nod", "anna", 0.0, 1.0), ("a.mp4", "rub", "anna", 1.0, 1.04)]


def test_frame_rate_of_the_task_or_of_the_user(read):
    assert rows(read(task(1, "a.mp4", NOD, fps=50)))[0][4] == 0.5
    with pytest.raises(ValueError, match=r"task 1: its regions are counted in frames; give the frame rate.*--fps 24"):
        read(task(1, "a.mp4", NOD), fps=None)
    with pytest.raises(ValueError, match=r"the frame rate is -1.0; it must be above 0"):
        read(task(1, "a.mp4", NOD), fps=-1.0)


def test_regions_in_seconds_on_a_sound_track(read):
    value = {"start": 1.25, "end": 2.5, "labels": ["nod"], "channel": 0}
    one = task(1, "a.mp4", annotation({"id": "x", "type": "labels", "from_name": "t", "value": value}))
    assert rows(read(one, fps=None)) == [("a.mp4", "nod", None, 1.25, 2.5)]


@pytest.mark.parametrize(
    "address",
    [
        "a.mp4",
        "/data/local-files/?d=study/videos/a.mp4",
        "/data/upload/3/0a1b2c3d-a.mp4",
        "data/upload/0a1b2c3d-a.mp4",
        r"C:\x\a.mp4",
    ],
)
def test_addresses_of_videos(read, address):
    assert rows(read(task(1, address, NOD)))[0][0] == "a.mp4"


@pytest.mark.parametrize(
    "address",
    ["/data/local-files/?d=../../../etc/passwd", "https://x.org/a.mp4", "s3://bucket/a.mp4", "/data/local-files/"],
)
def test_addresses_elsewhere(read, address):
    with pytest.raises(ValueError, match="task 1: "):
        read(task(1, address, NOD))


def test_one_choice_per_clip_with_fg_text(read):
    results = (choice("label", "nod"), choice("initiator", "hand"), choice("direction", "up"), choice("sure", "yes"))
    (found,) = read(task(1, "a.mp4", annotation(*results)), fps=None).annotations
    assert (found.label, found.start, found.end, found.fg_text) == ("nod", None, None, FGText("hand", None, "up"))


def test_choices_of_a_region_are_its_fg_text(read):
    results = (region("nod", 1, 5, "r1"), region("rub", 9, 12, "r2"), choice("initiator", "head", "r1"))
    assert [a.fg_text for a in read(task(1, "a.mp4", annotation(*results))).annotations] == [FGText("head"), None]


def test_cancelled_and_empty_work_is_counted(read):
    tasks = (task(1, "a.mp4", annotation(cancelled=True), NOD), task(2, "b.mp4", annotation()), task(3, "a.mp4"))
    reading = read(*tasks)
    assert len(reading.annotations) == 1
    assert reading.notes == [
        "export.json: 1 cancelled annotations were left out",
        "export.json: 1 empty annotations were left out",
    ]


def test_several_coders_of_one_task(read):
    two = task(
        1,
        "a.mp4",
        annotation(region("nod", 1, 5), by=4),
        annotation(region("rub", 1, 5), by={"id": 7, "email": "eva@x"}),
    )
    with pytest.raises(ValueError, match=r"task 1: 2 annotations by 4, eva@x, .*--coder"):
        read(two)
    assert [rows(read(two, coder=coder))[0][1] for coder in ("4", "7", "eva@x")] == ["nod", "rub", "rub"]


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (task(1, "a.mp4", annotation(region("nod", 9, 5))), "task 1: the clip from 0.32 s to 0.2 s is empty"),
        (task(1, "no.mp4", NOD), "task 1: no.mp4 is not in"),
        ({"annotations": [NOD], "data": {}}, "task 1: "),
        ({"annotations": 3, "data": {"video": "a.mp4"}}, "not as Label Studio exports it"),
        (task(1, "a.mp4", {"result": [{"type": "timelinelabels"}]}), "not as Label Studio exports it"),
        (
            task(1, "a.mp4", annotation(choice("initiator", "elbow"), choice("label", "x"))),
            "'elbow' is not in the vocab",
        ),
    ],
)
def test_tasks_that_cannot_be_read(read, one, message):
    with pytest.raises(ValueError, match=message):
        read(one)


@pytest.mark.parametrize("content", ["", "{}", "[3]", '[{"video": "a.mp4"}]', "[" * 100_000])
def test_files_that_are_no_export(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match=r"x\.json is no "):
        read_label_studio(tmp_path / "x.json", VideoFinder(tmp_path), 25.0)


@given(st.integers(1, 10**6), st.integers(0, 10**4), st.sampled_from([24, 25, 30, 29.97]))
def test_seconds_and_frames_round_trip(first, more, rate):
    (span,) = _spans({"ranges": [{"start": first, "end": first + more}]}, rate)
    start, end = (Fraction(repr(moment)) * Fraction(repr(float(rate))) for moment in span)
    assert (round(start) + 1, round(end)) == (first, first + more)
