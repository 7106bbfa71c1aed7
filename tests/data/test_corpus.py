"""What the corpora share: spans, files found by name, links, and folders made whole or not at all."""

import json
import os

import numpy as np
import pytest
from corpus_files import csv, frames_shown, numbered_video

from microgesture.cli import frame_times
from microgesture.data import clips, corpus

UNEVEN = [0, 40, 80, 200, 240, 600, 640, 680, 720, 1000]  # milliseconds


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize(("first", "last"), [(0, 0), (3, 6), (5, 9)])
def test_inclusive_frames_become_seconds(tmp_path, ending, first, last):
    video = numbered_video(tmp_path / f"a.{ending}", 10, fps=25)
    start, end, cut = corpus.seconds(frame_times(video), first, last, "row 1")
    assert (start, end, cut) == (pytest.approx(first / 25), pytest.approx((last + 1) / 25), False)
    row = {"file_name": video.name, "start": start, "end": end}
    assert frames_shown(row, tmp_path, last - first + 1) == list(range(first, last + 1))


@pytest.mark.parametrize(("first", "last"), [(0, 9), (2, 5), (4, 4), (3, 8)])
def test_frames_of_uneven_length_have_their_own_times(tmp_path, first, last):
    video = numbered_video(tmp_path / "a.mkv", 10, milliseconds=UNEVEN)
    start, end, _ = corpus.seconds(frame_times(video), first, last, "row 1")
    assert start == pytest.approx(UNEVEN[first] / 1000)
    if last < 9:
        assert end == pytest.approx(UNEVEN[last + 1] / 1000)
    shown = frames_shown({"file_name": video.name, "start": start, "end": end}, tmp_path, 400)
    assert sorted(set(shown)) == list(range(first, last + 1))


def test_frame_times_do_not_decode(tmp_path, monkeypatch):
    import container_fgsgl

    video = numbered_video(tmp_path / "a.mp4", 10)
    monkeypatch.setattr(container_fgsgl.Clip, "all_frames", None)
    monkeypatch.setattr(container_fgsgl.Clip, "wanted_frames", None)
    assert len(frame_times(video)) == 11


def test_odd_frame_rate_is_said(tmp_path):
    times = frame_times(numbered_video(tmp_path / "a.mp4", 10, fps=25))
    assert corpus.odd_rate(times, 25) is None
    assert "25.00 frames per second, published are 28; its label file may count other frames" in str(
        corpus.odd_rate(times, 28)
    )


def test_spans_outside_the_video():
    times = np.arange(11) / 25
    assert corpus.seconds(times, 8, 12, "row 1") == (8 / 25, 10 / 25, True)
    for first, last, match in (
        (10, 12, "frame 10 lies beyond the video, which has 10 frames"),
        (5, 4, "no span"),
        (-1, 4, "no span"),
    ):
        with pytest.raises(ValueError, match=f"row 7: .*{match}"):
            corpus.seconds(times, first, last, "row 7")


def test_label_files(tmp_path):
    assert corpus.read_spans(csv(tmp_path / "a.csv", [[9, 3, 10], [], [17, 12, 20]])) == [(9, 3, 10), (17, 12, 20)]
    for row in (["label", "start", "end"], [1, 2], [1, 2, 3.5], [1, 2, 3, 4]):
        with pytest.raises(ValueError, match=r"b\.csv row 2: expected three whole numbers"):
            corpus.read_spans(csv(tmp_path / "b.csv", [[1, 2, 3], row]))


def test_files_are_found_by_name_wherever_they_lie(tmp_path):
    for name in (
        "x/0002_label.csv",
        "0001_label.csv",
        "y/z/0003_label.csv",
        "y/0003_labels.csv",
        "0004_label.csv.part",
    ):
        csv(tmp_path / name, [[1, 2, 3]])
    found = corpus.find_files(tmp_path, r"(\d{4})_label\.csv")
    assert {key: str(path.relative_to(tmp_path)) for key, path in found.items()} == {
        "0001": "0001_label.csv", "0002": "x/0002_label.csv", "0003": "y/z/0003_label.csv",
    }  # fmt: skip


def test_a_file_may_lie_twice_if_it_is_the_same(tmp_path):
    csv(tmp_path / "a/0001_label.csv", [[1, 2, 3]])
    csv(tmp_path / "b/0001_label.csv", [[1, 2, 3]])
    assert list(corpus.find_files(tmp_path, r"(\d{4})_label\.csv")) == ["0001"]
    csv(tmp_path / "b/0001_label.csv", [[1, 2, 4]])
    with pytest.raises(ValueError, match=r"are different files for '0001'; remove the wrong one"):
        corpus.find_files(tmp_path, r"(\d{4})_label\.csv")
    with pytest.raises(NotADirectoryError, match="is no folder: give the folder that holds the original data"):
        corpus.find_files(tmp_path / "none", "(.*)")


def test_missing_files_are_counted_and_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the clip is missing for 9 of 10: 1, 2, 3, 4, 5, 6, 7, 8 …\. Unpack"):
        corpus.require({"0": tmp_path}, [str(n) for n in range(10)], "the clip", "Unpack it")


def test_recordings_are_linked_or_copied(tmp_path, monkeypatch):
    source = tmp_path / "a.mp4"
    source.write_bytes(b"video")
    (tmp_path / "link.mp4").symlink_to(source)
    clips.link_file(tmp_path / "link.mp4", tmp_path / "out/train/a.mp4")
    assert (tmp_path / "out/train/a.mp4").samefile(source)
    assert not (tmp_path / "out/train/a.mp4").is_symlink()

    def refuse(*_, **__):
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    clips.link_file(source, tmp_path / "out/train/b.mp4")
    assert (tmp_path / "out/train/b.mp4").read_bytes() == b"video"
    assert not (tmp_path / "out/train/b.mp4").samefile(source)


def test_folder_appears_whole_or_not_at_all(tmp_path):
    out = tmp_path / "out"

    def interrupted():
        with corpus.new_folder(out) as building:
            (building / "half").write_text("")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with corpus.new_folder(out) as building:
        (building / "whole").write_text("")
        assert not out.exists()
    assert [path.name for path in out.iterdir()] == ["whole"]
    with pytest.raises(FileExistsError, match="exists and is not an empty folder"), corpus.new_folder(out):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_data_files_of_the_project(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"nothing\.json does not exist: what is known of smg lies in the project"
    ):
        corpus.card_folder("smg", "nothing.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"bad\.json is no JSON .*correct it"):
        corpus.read_json(tmp_path / "bad.json")
    for name in ("smg/label_map", "smg/splits", "imigue/label_map", "imigue/splits", "ma52/splits"):
        dataset, _, file = name.partition("/")
        data = json.loads((corpus.card_folder(dataset) / f"{file}.json").read_text())
        assert {"about", "source", "check"} <= set(data), name
