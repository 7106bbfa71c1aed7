"""BORIS projects: pairs, clocks, points, and what cannot become a clip."""

from __future__ import annotations

import json

import pytest
from annotation_files import observation, write_boris
from hypothesis import given, settings
from hypothesis import strategies as st

from microgesture.annotation.boris import read_boris
from microgesture.annotation.readers import VideoFinder
from microgesture.data.fg_text import FGText


@pytest.fixture
def read(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"x")

    def write_and_read(observations, behaviours=None, point=None):
        if isinstance(observations, list):
            observations = {"obs": observation(observations, "/home/x/a.mp4")}
        return read_boris(write_boris(tmp_path / "p.boris", observations, behaviours), VideoFinder(tmp_path), point)

    return write_and_read


def rows(reading):
    return [(a.video.name, a.label, a.subject, a.start, a.end) for a in reading.annotations]


def test_states_are_pairs_of_one_subject_and_behaviour(read):
    events = [
        [1.5, "anna", "nod", "", ""],
        [2, "", "nod", "", "", 50],
        [3.25, "anna", "nod", "", ""],
        [4, "No focal subject", "nod", "", ""],
    ]
    assert rows(read(events)) == [("a.mp4", "nod", "anna", 1.5, 3.25), ("a.mp4", "nod", None, 2.0, 4.0)]


def test_overlapping_states(read):
    events = [[1, "a", "nod", "", ""], [2, "a", "rub", "", ""], [3, "a", "nod", "", ""], [4, "a", "rub", "", ""]]
    assert [row[3:] for row in rows(read(events))] == [(1.0, 3.0), (2.0, 4.0)]


def test_modifiers_take_part_in_pairing_and_blanks_do_not(read):
    events = [
        [1, "", "nod", "x |y", ""],
        [2, "", "nod", "z", ""],
        [3, "", "nod", "x|y ", ""],
        [4, "", "nod", "z ", ""],
    ]
    assert [row[3:] for row in rows(read(events))] == [(1.0, 3.0), (2.0, 4.0)]


def test_unpaired_states_name_the_event(read):
    events = [[1, "", "nod", "", ""], [2, "", "nod", "", ""], [7.5, "anna", "rub", "", ""]]
    with pytest.raises(
        ValueError, match=r"p.boris, observation 'obs', event 3 at 7.5 s \(rub\): this state begins and never"
    ):
        read(events)


def test_clock_runs_over_all_files_of_the_first_player(read):
    events = [[1, "", "nod", "", ""], [2, "", "nod", "", ""], [10.5, "", "nod", "", ""], [11.25, "", "nod", "", ""]]
    both = observation(events, "D:\\x\\a.mp4", "D:\\x\\b.mp4", lengths=(10.0, 5.0))
    assert rows(read({"o": both})) == [("a.mp4", "nod", None, 1.0, 2.0), ("b.mp4", "nod", None, 0.5, 1.25)]
    moved = [[time + 100, *rest] for time, *rest in events]
    assert rows(read({"o": both | {"events": moved, "time offset": 100.0}})) == rows(read({"o": both}))


def test_state_over_the_border_of_two_files(read):
    both = observation([[9, "", "nod", "", ""], [11, "", "nod", "", ""]], "a.mp4", "b.mp4", lengths=(10.0, 5.0))
    with pytest.raises(ValueError, match=r"runs over the border of two files, a.mp4 and b.mp4"):
        read({"o": both})


def test_files_of_unknown_length(read):
    both = observation([[1, "", "nod", "", ""], [2, "", "nod", "", ""]], "a.mp4", "b.mp4")
    with pytest.raises(ValueError, match="several media files and does not say how long each is"):
        read({"o": both})


def test_other_players_are_noted(read):
    events = [[1, "", "nod", "", ""], [2, "", "nod", "", ""]]
    reading = read({"o": observation(events, file={"1": ["a.mp4"], "2": ["b.mp4"]})})
    assert rows(reading) == [("a.mp4", "nod", None, 1.0, 2.0)]
    assert "players other than the first are not used" in reading.notes[0]


def test_point_events(read):
    events = [[0.5, "", "blink", "", ""], [5, "anna", "blink", "", ""], [9.5, "", "blink", "", ""]]
    one = {"o": observation(events, "a.mp4", lengths=(10.0,))}
    with pytest.raises(
        ValueError, match=r"3 problems.*\n.*event 1 at 0.5 s \(blink\): a point event has no duration; .*--point 2"
    ):
        read(one)
    assert [row[2:] for row in rows(read(one, point=2))] == [(None, 0.0, 1.5), ("anna", 4.0, 6.0), (None, 8.5, 10.0)]
    reading = read(one, point=0)
    assert (reading.annotations, reading.notes) == ([], ["p.boris: 3 point events were left out"])


def test_modifier_sets_with_the_names_of_attributes(read):
    sets = {"0": {"name": "Initiator", "values": ["hand"]}, "1": {"name": "mood"}, "2": {"name": "direction"}}
    behaviours = {"nod": {"type": "State event", "modifiers": sets}}
    events = [[1, "", "nod", "hand|good|None", ""], [2, "", "nod", "hand|good|None", ""]]
    assert read(events, behaviours).annotations[0].fg_text == FGText("hand")
    events = [[1, "", "nod", "hand|good|askew", ""], [2, "", "nod", "hand|good|askew", ""]]
    with pytest.raises(ValueError, match=r"event 1 at 1 s.*direction 'askew' is not in the vocabulary"):
        read(events, behaviours)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "LIVE", "file": []}, "observation 'o': it is of type LIVE and has no video to cut clips from"),
        ({"type": "IMAGES"}, "is of type IMAGES"),
        ({"file": {"1": []}}, "its first player has no media file"),
        ({"file": {"1": ["no.mp4"]}}, "observation 'o': no.mp4 is not in"),
        ({"file": {"1": ["/etc/passwd"]}}, "/etc/passwd is not in"),
        ({"media_creation_date_as_offset": True}, "times count from a date"),
        ({"events": [[1, "", "jump", "", ""]]}, "event 1 has the behaviour 'jump', which the ethogram does not list"),
        ({"events": [["x", "", "nod", "", ""]]}, r"event 1 is \['x'"),
        ({"events": [[1]]}, r"event 1 is \[1\]; expected time, subject"),
        ({"events": [[float("nan"), "", "nod", "", ""], [2, "", "nod", "", ""]]}, "start is nan"),
        ({"events": [[2, "", "nod", "", ""], [2, "", "nod", "", ""]]}, "is empty"),
        ({"file": 3}, "this is not as BORIS writes it"),
    ],
)
def test_observations_that_cannot_be_read(read, change, message):
    events = [[1, "", "nod", "", ""], [2, "", "nod", "", ""]]
    with pytest.raises(ValueError, match=message):
        read({"o": observation(events, "a.mp4") | change})


def test_observations_without_events_do_not_matter(read):
    good = observation([[1, "", "nod", "", ""], [2, "", "nod", "", ""]], "a.mp4")
    assert len(read({"live": observation([], type="LIVE", file=[]), "o": good}).annotations) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as a BORIS project"),
        ("[]", "is no BORIS project"),
        ("{}", "lacks observations or behaviors"),
        ('{"observations": {"o": 3}, "behaviors_conf": {}}', "this is not as BORIS writes it"),
        ('{"observations": {}, "behaviors_conf": {"0": 1}}', "an ethogram that is not as BORIS writes it"),
        ("[" * 100_000, "cannot be read"),
    ],
)  # fmt: skip
def test_files_that_are_no_project(tmp_path, content, message):
    (tmp_path / "x.boris").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_boris(tmp_path / "x.boris", VideoFinder(tmp_path))


MOMENTS = st.lists(st.integers(0, 10**7), min_size=2, max_size=12, unique=True).map(
    lambda ms: sorted(ms)[: len(ms) // 2 * 2]
)


@settings(max_examples=30, deadline=None)
@given(MOMENTS, st.sampled_from(["", "anna"]), st.integers(0, 5000))
def test_round_trip(tmp_path_factory, moments, subject, offset):
    folder = tmp_path_factory.mktemp("boris")
    (folder / "a.mp4").write_bytes(b"x")
    events = [[round((ms + offset) / 1000, 3), subject, "nod", "", ""] for ms in moments]
    project = {"o": observation(events, "a.mp4") | {"time offset": offset / 1000}}
    found = read_boris(write_boris(folder / "p.boris", project), VideoFinder(folder)).annotations
    spans = list(zip(moments[::2], moments[1::2], strict=True))
    assert [(a.start, a.end) for a in found] == [(first / 1000, last / 1000) for first, last in spans]
    assert {a.subject for a in found} == {subject or None}


def test_project_with_byte_order_mark(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    path = write_boris(
        tmp_path / "p.boris", {"o": observation([[1, "", "nod", "", ""], [2, "", "nod", "", ""]], "a.mp4")}
    )
    path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
    assert len(read_boris(path, VideoFinder(tmp_path)).annotations) == 1
    assert json.loads(path.read_text(encoding="utf-8-sig"))["observations"]
