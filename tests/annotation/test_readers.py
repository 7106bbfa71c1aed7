"""From a name in somebody's annotation file to a file in the data folder, and nowhere else."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microgesture.annotation import readers
from microgesture.annotation.readers import Problems, VideoFinder, read_bytes, record, seconds, span_problem
from microgesture.data.fg_text import FGText


@pytest.fixture
def root(tmp_path):
    for name in ("P01/cam.mp4", "P02/cam.mp4", "P02/talk.mov", "My clip é (1).MP4", "notes.txt", ".hidden/x.mp4"):
        path = tmp_path / "study" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "secret.mp4").write_bytes(b"x")
    return tmp_path / "study"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("P01/cam.mp4", "P01/cam.mp4"),
        ("./P01/../P02/cam.mp4", "P02/cam.mp4"),
        ("talk.mov", "P02/talk.mov"),
        (r"C:\Users\anna\study\P01\cam.mp4", "P01/cam.mp4"),
        (r"P02\talk.mov", "P02/talk.mov"),
        ("file:///C:/Users/anna/study/P02/cam.mp4", "P02/cam.mp4"),
        ("file:///home/anna/My%20clip%20%C3%A9%20(1).MP4", "My clip é (1).MP4"),
        ("file:///home/anna/My clip é (1).MP4", "My clip é (1).MP4"),
        ("FILE:/x/talk.mov", "P02/talk.mov"),
        ("/somewhere/else/P01/cam.mp4", "P01/cam.mp4"),
        ("../../../elsewhere/talk.mov", "P02/talk.mov"),
    ],
)
def test_names_of_other_machines(root, name, expected):
    assert VideoFinder(root).find(name) == root / expected


def test_beside_the_annotation_file_first(root):
    assert VideoFinder(root).find("cam.mp4", root / "P02") == root / "P02" / "cam.mp4"
    assert VideoFinder(root).find("../P01/cam.mp4", root / "P02") == root / "P01" / "cam.mp4"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cam.mp4", r"may be any of 2 files in .*: P01/cam.mp4, P02/cam.mp4; rename them"),
        ("P03/cam.mp4", "may be any of 2 files"),
        ("../secret.mp4", r"\.\./secret.mp4 is not in "),
        ("/etc/passwd", "is not in "),
        ("x.mp4", "x.mp4 is not in "),  # hidden folders are not searched
        ("TALK.mov", r"\(is talk.mov meant\?\)"),
        ("tlak.mov", r"\(is talk.mov meant\?\)"),
        ("https://x.org/talk.mov", "is a web address; download the video"),
        (" ", "no video is named"),
        ("a" * 5000, "is not in "),
        ("nul\0.mp4", "is not in "),
    ],
)
def test_names_that_no_file_fits(root, name, message):
    with pytest.raises(ValueError, match=message):
        VideoFinder(root).find(name)


def test_links_out_of_the_folder(root):
    (root / "out.mp4").symlink_to(root.parent / "secret.mp4")
    (root / "loop.mp4").symlink_to(root / "loop.mp4")
    (root / "in.mp4").symlink_to(root / "P01" / "cam.mp4")
    (root / "folder").symlink_to(root.parent)
    finder = VideoFinder(root)
    for name in ("out.mp4", "loop.mp4", "folder/secret.mp4"):
        with pytest.raises(ValueError, match="is a link that leads nowhere or out of"):
            finder.find(name)
    assert finder.find("in.mp4") == root / "in.mp4"


def test_composed_and_decomposed_letters_are_one_name(root):
    written = unicodedata.normalize("NFD", "elsewhere/My clip é (1).MP4")
    assert VideoFinder(root).find(written) == root / "My clip é (1).MP4"


@pytest.mark.parametrize(
    "name",
    ["-dash.mp4", "http:x.mp4", "concat:a|b.mp4", "手势 ñ 😀.mp4", "%41.mp4", "$(x) 'q\".mp4", "a\\b.mp4", "c:d.mp4"],
)
def test_strange_names_are_names(root, name):
    (root / name).write_bytes(b"x")
    assert VideoFinder(root).find(name) == root / name


def test_the_folder_that_is_being_made_is_not_searched(root):
    (root / "out" / "videos").mkdir(parents=True)
    (root / "out" / "videos" / "talk.mov").write_bytes(b"x")
    assert VideoFinder(root, but=root / "out").find("x/talk.mov") == root / "P02" / "talk.mov"


def test_videos_are_told_by_their_endings(root):
    assert [p.name for p in VideoFinder(root).videos()] == ["My clip é (1).MP4", "cam.mp4", "cam.mp4", "talk.mov"]


def test_size_of_annotation_files(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAX_BYTES", 10)
    (tmp_path / "a.csv").write_bytes(b"x" * 11)
    with pytest.raises(ValueError, match="annotation files are read up to"):
        read_bytes(tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_bytes(tmp_path / "b.csv")


def test_problems_are_listed_together():
    problems = Problems()
    problems.check()
    for k in range(25):
        problems.add(f"line {k}", "no")
    with pytest.raises(ValueError, match="25 problems, nothing was made:\nline 0: no\n") as error:
        problems.check()
    assert str(error.value).endswith("line 19: no\n… and 5 more")


@pytest.mark.parametrize(
    ("text", "value"),
    [("72.5", 72.5), ("72,5", 72.5), (" 3 ", 3.0), ("", None), (None, None), (4, 4.0), ("1e1", 10.0)],
)
def test_seconds(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["1:30", "1.234,5", "nan", "inf", "1_0", "١", True, "5 s"])
def test_no_seconds(text):
    with pytest.raises(ValueError, match=r"is no number; write times in seconds, e\.g\. 72\.5"):
        seconds(text)


@given(st.floats(0, 1e6, allow_nan=False))
def test_seconds_round_trip_with_point_and_comma(value):
    assert seconds(repr(value)) == value == seconds(repr(value).replace(".", ","))


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ((2.0, 1.0), "is empty"), ((1.0, 1.0), "is empty"), ((None, 0.0), "is empty"),
        ((-1.0, 1.0), "before the video"),
        ((float("nan"), 1.0), "start is nan"), ((0.0, float("inf")), "end is inf"),
    ],
)  # fmt: skip
def test_bad_spans(span, message):
    assert message in span_problem(*span)


def test_good_spans():
    assert [span_problem(*span) for span in ((None, None), (0.0, 1.0), (1.0, None), (None, 1.0))] == [""] * 4


def test_words_are_read_as_people_write_them():
    assert record(
        {"initiator": " Both hands ", "direction": "back-and-forth", "receiver": "", "side": None}
    ) == FGText("both_hands", None, "back_and_forth")
    assert record({"initiator": " "}) is None
    with pytest.raises(ValueError, match="initiator 'elbow' is not in the vocabulary"):
        record({"initiator": "elbow"})
