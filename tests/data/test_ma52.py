"""MA-52 on a raw folder made here, in the published layout."""

import json
import logging
import pickle
import shutil

import numpy as np
import pytest
from corpus_files import link, numbered_video

from microgesture.cli import main
from microgesture.data import corpus, ma52
from microgesture.data.clips import METADATA_FILE, DatasetInfo, load

LISTS = {
    "train": {"0003_00_0001": 1, "0003_01_0005": 8, "0010_02_0001": 12, "0030_06_0002": 51},
    "val": {"0010_02_0002": 21, "0011_05_0001": 43},
    "test": {"test0000": 0, "test0001": 0, "test0002": 0},
}


def write_lists(folder, lists):
    for split, rows in lists.items():
        text = "".join(f"{name}.mp4 {label}\n" for name, label in rows.items())
        (folder / f"{split}_list_videos.txt").write_text(text)


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    video = numbered_video(tmp_path / "one.mp4", 5)
    for split, rows in LISTS.items():
        for name in rows:
            link(folder / f"{split}/{name}.mp4", video)
    video.unlink()
    write_lists(folder, LISTS)
    return folder


def rows(out, split):
    return [json.loads(line) for line in (out / split / METADATA_FILE).read_text().splitlines()]


def test_published_overlap_is_kept_and_said(raw, tmp_path, caplog):
    out = tmp_path / "out"
    findings = ma52.prepare(raw, out, progress=False)
    with caplog.at_level(logging.WARNING):
        data = load(out)
    assert "people of one split are seen in another (official_overlap)" in caplog.text
    assert {name: split["subject"][:] for name, split in data.items()} == {
        "train": ["0003", "0003", "0010", "0030"], "validation": ["0010", "0011"],
    }  # fmt: skip
    assert DatasetInfo.read(out).official_overlap is True
    for part in (
        "1 people of the validation list train as well (such as 0010)",
        "the classes of the 3 test clips are withheld; the data set has no test split",
        "every clip is named for the part of the body that its class is of",
        "train: 4 clips, 11250 were published",
    ):
        assert any(part in finding for finding in findings), part
    assert json.loads((out / corpus.RECORD_FILE).read_text())["findings"] == findings


def test_rows(raw, tmp_path):
    ma52.prepare(raw, tmp_path / "out", progress=False)
    row = rows(tmp_path / "out", "train")[3]
    assert row == {
        "file_name": "clips/0030_06_0002.mp4", "label": "scratching feet", "subject": "0030",
        "start": None, "end": None,
        "initiator": "hand", "receiver": "foot", "direction": "back_and_forth", "motion_type": "scratch", "side": None,
        "provenance": "default", "clip": "0030_06_0002", "keypoints": None,
    }  # fmt: skip
    assert (tmp_path / "out/train/clips/0030_06_0002.mp4").samefile(raw / "train/0030_06_0002.mp4")


def test_disjoint_lists_have_no_overlap(raw, tmp_path):
    write_lists(raw, {"val": {"0011_05_0001": 43}})
    ma52.prepare(raw, tmp_path / "out", progress=False)
    assert DatasetInfo.read(tmp_path / "out").official_overlap is False


def test_test_clips_with_classes(raw, tmp_path):
    write_lists(raw, {"test": {"test0000": 0, "test0001": 5, "test0002": 7}})
    ma52.prepare(raw, tmp_path / "out", progress=False)
    assert [row["subject"] for row in rows(tmp_path / "out", "test")] == [ma52.NOBODY] * 3


def test_keypoints_from_a_pose_pickle(raw, tmp_path):
    annotation = {"frame_dir": "0003_01_0005", "label": 8, "keypoint": np.ones((2, 5, 17, 2), np.float16)}
    (tmp_path / "poses.pkl").write_bytes(pickle.dumps({"annotations": [annotation]}))
    findings = ma52.prepare(raw, tmp_path / "out", tmp_path / "poses.pkl", progress=False)
    row = rows(tmp_path / "out", "train")[1]
    assert np.load(tmp_path / "out/train" / row["keypoints"], allow_pickle=False).shape == (5, 17, 3)
    assert json.loads((tmp_path / "out/labels.json").read_text())["keypoints"] == "coco_17"
    assert any("5 clips have no keypoints in" in finding for finding in findings)


def test_clip_named_for_another_part_of_the_body(raw, tmp_path):
    write_lists(raw, {"val": {"0010_02_0002": 41, "0011_05_0001": 43}})
    findings = ma52.prepare(raw, tmp_path / "out", progress=False)
    assert "1 clips are named for another part of the body than their class, such as 0010_02_0002" in findings


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "0010_02_0002.mp4 52\n",
            "val_list_videos.txt line 1: expected a file and a class 0 to 51, got '0010_02_0002.mp4 52'",
        ),
        ("0010_02_0002.mp4\n", "line 1: expected a file and a class"),
        ("0010_02_0002.mp4 1\n\n0010_02_0002.mp4 2\n", "line 3: 0010_02_0002 is listed twice"),
        ("0099_02_0002.mp4 21\n", r"the clip is missing for 1 of 5: 0099_02_0002\. Unpack train\.zip"),
        ("../../etc/passwd 21\n", r"the clip is missing for 1 of 5: passwd"),
    ],
)
def test_bad_lists(raw, tmp_path, text, match):
    (raw / "val_list_videos.txt").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        ma52.prepare(raw, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_lists_must_be_there(raw, tmp_path):
    (raw / "train_list_videos.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"the list NAME_list_videos\.txt is missing for 1 of 2: train"):
        ma52.prepare(raw, tmp_path / "out", progress=False)


def test_interrupted_run_leaves_nothing(raw, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus, "write_split", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ma52.prepare(raw, tmp_path / "out", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_command_line(raw, tmp_path, capsys):
    assert main(["prepare", "ma52", str(raw), "--out", str(tmp_path / "out")]) == 0
    assert "  train: 4 clips, 11250 were published" in capsys.readouterr().out
    shutil.rmtree(raw / "val")
    assert main(["prepare", "ma52", str(raw), "--out", str(tmp_path / "out2")]) == 1
    assert "the clip is missing for 2 of 6" in capsys.readouterr().err


def test_class_list():
    info = DatasetInfo.read(corpus.card_folder("ma52"))
    assert len(info.classes) == 52
    assert len({c.default for c in info.classes}) == 52
    parts = corpus.read_json(corpus.card_folder("ma52") / "splits.json")["body_parts"]
    assert [n for a, b in parts.values() for n in range(a, b + 1)] == list(range(52))
    assert [b - a + 1 for a, b in parts.values()] == [5, 6, 13, 8, 6, 10, 4]
