"""`microgesture.data.utd_mhad` on a tiny raw folder made here; test_utd_mhad_recordings.py has the real ones."""

import csv
import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import scipy.io

from microgesture import cli
from microgesture.data import corpus, utd_mhad
from microgesture.data.clips import METADATA_FILE, DatasetInfo, load
from microgesture.data.fg_text import FGText
from microgesture.data.frame_cache import FrameCache
from processing_fgsgl import FGSGLProcessor

ROOT = Path(__file__).resolve().parents[2]
CARD = ROOT / "datasets" / "utd_mhad"
FRAMES = 3


@pytest.fixture(scope="module")
def info():
    return DatasetInfo.read(CARD)


@pytest.fixture(scope="module")
def raw(tmp_path_factory, info):
    """The whole raw layout, 647 recordings that are links to one tiny video and one tiny skeleton."""
    folder = tmp_path_factory.mktemp("raw")
    (folder / "depth_video").mkdir()
    (folder / "skeleton").mkdir()
    video, skeleton = folder / "one.mp4", folder / "one.mat"
    write_video(video, FRAMES)
    write_skeleton(skeleton, np.arange(20 * 3 * FRAMES, dtype=float).reshape(20, 3, FRAMES))
    rows = []
    for label, name in enumerate(info.names):
        for subject in (1, 2, 3, 4, 5, 7):
            for trial in (1, 2, 3, 4):
                if (label, subject, trial) == (7, 1, 4):
                    continue
                clip = f"a{label + 1}_s{subject}_t{trial}"
                (folder / f"depth_video/{clip}.mp4").hardlink_to(video)
                (folder / f"skeleton/{clip}_skeleton.mat").hardlink_to(skeleton)
                files = [f"depth_video/{clip}.mp4", f"skeleton/{clip}_skeleton.mat"]
                rows.append([*files, label, name, subject, trial, FRAMES, "train" if subject % 2 else "test"])
    write_csv(folder, rows)
    return folder


@pytest.fixture(scope="module")
def prepared(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "utd"
    utd_mhad.prepare(raw, out, progress=False)
    return out


@pytest.fixture
def broken(raw, tmp_path):
    """A raw folder with a labels.csv and a folder `bad` of its own; the other files are those of `raw`."""
    folder = tmp_path / "raw"
    (folder / "bad").mkdir(parents=True)
    shutil.copyfile(raw / "labels.csv", folder / "labels.csv")
    for name in ("depth_video", "skeleton"):
        (folder / name).symlink_to(raw / name)
    return folder


def write_video(path, frames):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 60 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_skeleton(path, joints):
    scipy.io.savemat(path, {"d_skel": joints})


def write_csv(folder, rows, columns=utd_mhad.COLUMNS):
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


def change_row(folder, clip, **values):
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["video"].endswith(f"/{clip}.mp4"):
            row.update(values)
    write_csv(folder, [list(row.values()) for row in rows])


# --- what prepare makes ------------------------------------------------------------------------------------------


def test_counts_and_subjects_of_the_splits(prepared):
    data = load(prepared)
    assert {name: len(split) for name, split in data.items()} == {"train": 323, "validation": 108, "test": 216}
    assert {name: sorted(set(split["subject"])) for name, split in data.items()} == {
        "train": ["1", "3", "5"],
        "validation": ["7"],
        "test": ["2", "4"],
    }
    assert data["train"].features["label"].names == DatasetInfo.read(CARD).names


def test_row_holds_default_text_and_extra_columns(prepared):
    rows = [json.loads(line) for line in (prepared / "test" / METADATA_FILE).read_text().splitlines()]
    row = next(row for row in rows if row["file_name"] == "clips/a2_s4_t3.mp4")
    assert row == {
        "file_name": "clips/a2_s4_t3.mp4",
        "label": "swipe_right",
        "subject": "4",
        "start": None,
        "end": None,
        "initiator": "arm",
        "receiver": "air",
        "direction": "right",
        "motion_type": "swipe",
        "side": "right",
        "provenance": "default",
        "trial": 3,
        "frames": FRAMES,
        "keypoints": "keypoints/a2_s4_t3.npy",
        "published_split": "test",
    }


def test_keypoints_are_frames_joints_axes(prepared):
    joints = np.load(prepared / "train" / "keypoints" / "a1_s1_t1.npy", allow_pickle=False)
    assert joints.dtype == np.float32
    assert joints.shape == (FRAMES, 20, 3)
    raw = np.arange(20 * 3 * FRAMES).reshape(20, 3, FRAMES)
    assert joints[2, 11, 1] == raw[11, 1, 2]


def test_moved_folder_still_loads(prepared, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(prepared, moved)
    row = load(moved)["validation"][0]
    assert row["video"]["path"].startswith(str(moved.resolve()))
    assert (moved / "validation" / row["keypoints"]).is_file()


def test_card_and_labels_are_copied(prepared):
    for name in ("labels.json", "README.md"):
        assert (prepared / name).read_bytes() == (CARD / name).read_bytes()


# --- leave one subject out -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folds(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("folds") / "utd"
    assert cli.main(["prepare", "utd_mhad", str(raw), "--leave-one-out", "--out", str(out)]) == 0
    return out


def test_every_subject_tests_once_and_validates_once(folds):
    plans = utd_mhad.folds()
    assert sorted(path.name for path in folds.iterdir()) == sorted(plans)
    assert plans["fold_5"] == {"train": (1, 2, 3, 4), "validation": (7,), "test": (5,)}
    assert plans["fold_7"] == {"train": (2, 3, 4, 5), "validation": (1,), "test": (7,)}
    for split in ("test", "validation"):
        assert sorted(splits[split] for splits in plans.values()) == [(s,) for s in utd_mhad.SUBJECTS]
    for splits in plans.values():
        assert sorted(sum(splits.values(), ())) == list(utd_mhad.SUBJECTS)


def test_folds_hold_the_clips_of_their_subjects_and_say_how_many(folds):
    tested = []
    for name, splits in utd_mhad.folds().items():
        counts = {}
        for split, subjects in splits.items():
            lines = (folds / name / split / METADATA_FILE).read_text().splitlines()
            rows = [json.loads(line) for line in lines]
            assert sorted({row["subject"] for row in rows}) == [str(subject) for subject in subjects]
            counts[split] = len(rows)
            tested += [row["file_name"] for row in rows] if split == "test" else []
        assert DatasetInfo.read(folds / name).expected == counts
    assert len(tested) == len(set(tested)) == 647
    data = load(folds / "fold_1")
    assert {name: len(split) for name, split in data.items()} == {"train": 432, "validation": 108, "test": 107}


def test_folds_share_their_files(folds, prepared, raw):
    for file in ("clips/a1_s1_t1.mp4", "keypoints/a1_s1_t1.npy"):
        assert len({path.stat().st_ino for path in folds.glob(f"*/*/{file}")}) == 1
        assert len(list(folds.glob(f"*/*/{file}"))) == 6
        assert next(folds.glob(f"*/*/{file}")).read_bytes() == (prepared / "train" / file).read_bytes()


def test_streams_adapt_to_one_test_subject_and_are_tested_on_the_other(raw, tmp_path):
    out = tmp_path / "utd"
    assert cli.main(["prepare", "utd_mhad", str(raw), "--adaptation", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["adapt_2", "adapt_4"]
    data = load(out / "adapt_4")
    assert {name: set(split["subject"]) for name, split in data.items()} == {
        "train": {"1", "3", "5"}, "validation": {"7"}, "target": {"4"}, "test": {"2"}
    }  # fmt: skip
    expected = {"train": 323, "validation": 108, "target": 108, "test": 108}
    assert DatasetInfo.read(out / "adapt_4").expected == {name: len(split) for name, split in data.items()} == expected


def test_where_files_cannot_have_two_names_they_are_copied(raw, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("another disk")

    monkeypatch.setattr(corpus.os, "link", refuse)
    utd_mhad.prepare(raw, tmp_path / "out", progress=False)
    clip = tmp_path / "out" / "train" / "clips" / "a1_s1_t1.mp4"
    assert clip.read_bytes() == (raw / "one.mp4").read_bytes()
    assert clip.stat().st_nlink == 1


def test_a_clip_is_decoded_once_for_all_folds(folds, tmp_path):
    processor = FGSGLProcessor(num_frames=2, size=16)
    cache = FrameCache(tmp_path, processor)
    clips = sorted(folds.glob("*/*/clips/a1_s1_t1.mp4"))
    assert len(clips) == 6
    assert len({cache.path(clip) for clip in clips}) == 1


# --- labels.json ---------------------------------------------------------------------------------------------------


def test_class_list(info):
    assert len(info.classes) == 27
    assert info.mirrored is True
    assert (len(utd_mhad.JOINTS), utd_mhad.JOINTS[:4]) == (20, ("head", "shoulder_center", "spine", "hip_center"))
    defaults = [c.default for c in info.classes]
    assert len(set(defaults)) == 27
    assert len({record.sentence() for record in defaults}) == 27
    assert all(None not in (d.initiator, d.receiver, d.direction, d.motion_type) for d in defaults)


def test_subject_sees_directions(info):
    default = {c.name: c.default for c in info.classes}
    assert (default["swipe_left"].side, default["swipe_left"].direction) == ("right", "left")
    assert (default["swipe_right"].side, default["swipe_right"].direction) == ("right", "right")
    assert default["draw_circle_cw"].direction == "clockwise"
    assert default["draw_circle_ccw"].direction == "counter_clockwise"
    assert default["lunge"].side == "left"


def test_default_text_flips_to_the_other_side(info):
    """Why a clip must not be flipped for augmentation without its text: the record would be another class's."""
    default = {c.name: c.default for c in info.classes}
    flipped = default["draw_circle_cw"].flipped()
    assert flipped.direction == default["draw_circle_ccw"].direction
    assert isinstance(flipped, FGText)
    assert flipped.side == "left"


# --- what prepare refuses ------------------------------------------------------------------------------------------


def refused(error, folder, out, match):
    with pytest.raises(error, match=match) as caught:
        utd_mhad.prepare(folder, out, progress=False)
    assert not out.exists()
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []
    return str(caught.value)


def test_source_without_labels(tmp_path):
    refused(FileNotFoundError, tmp_path, tmp_path / "out", "labels.csv does not exist: give the folder that holds")


def test_labels_without_column(broken, tmp_path):
    write_csv(broken, [], columns=[c for c in utd_mhad.COLUMNS if c != "trial"])
    refused(ValueError, broken, tmp_path / "out", r"lacks the columns \['trial'\]; its first line must be: video,")


def test_output_that_is_not_empty(raw, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not an empty folder: remove it or name another one"):
        utd_mhad.prepare(raw, tmp_path, progress=False)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_project_without_class_list(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(utd_mhad, "NAME", "no_such_set")
    refused(FileNotFoundError, raw, tmp_path / "out", "run this from a clone")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"label": "x"}, "label, subject, trial and frames must be whole numbers"),
        ({"label_name": "wave"}, "label 0 is called 'wave', in datasets/utd_mhad/labels.json it is swipe_left"),
        ({"label": "27"}, r"in datasets/utd_mhad/labels.json it is no class \(0 to 26 exist\)"),
        ({"subject": "6"}, "subject 6 is in no split of the protocol .* leave the line out"),
        ({"trial": "5"}, "trial 5 must be 1 to 4"),
        ({"frames": "0"}, "frames 0 at least 1"),
        ({"trial": "2"}, "video is 'depth_video/a1_s1_t1.mp4', expected a path inside .* to a1_s1_t2.mp4"),
        ({"video": "../a1_s1_t1.mp4"}, "video is '../a1_s1_t1.mp4', expected a path inside"),
        ({"split": ""}, "every column must be filled, and split must be train or test"),
    ],
)
def test_bad_row(broken, tmp_path, values, match):
    clip = "a1_s1_t1"
    change_row(broken, clip, **values)
    assert "labels.csv, line 2" in refused(ValueError, broken, tmp_path / "out", match)


def test_row_twice(broken, tmp_path):
    lines = (broken / "labels.csv").read_text().splitlines()
    (broken / "labels.csv").write_text("\n".join([*lines, lines[1]]) + "\n")
    refused(ValueError, broken, tmp_path / "out", "line 649: a1_s1_t1 is there twice; remove one line")


def test_missing_rows(broken, tmp_path):
    lines = (broken / "labels.csv").read_text().splitlines()
    (broken / "labels.csv").write_text("\n".join(lines[:1] + lines[3:]) + "\n")
    refused(ValueError, broken, tmp_path / "out", "lacks 2 of 647 recordings: a1_s1_t1, a1_s1_t2; add their files")


@pytest.mark.parametrize(("column", "name"), [("video", "a3_s7_t2.mp4"), ("skeleton", "a3_s7_t2_skeleton.mat")])
def test_missing_file(broken, tmp_path, column, name):
    change_row(broken, "a3_s7_t2", **{column: f"bad/{name}"})
    refused(FileNotFoundError, broken, tmp_path / "out", f"bad/{name} is missing; copy it again")


def test_video_with_other_number_of_frames(broken, tmp_path):
    write_video(broken / "bad/a27_s4_t4.mp4", FRAMES + 1)
    change_row(broken, "a27_s4_t4", video="bad/a27_s4_t4.mp4")
    refused(ValueError, broken, tmp_path / "out", "a27_s4_t4.mp4 holds 4 frames, labels.csv says 3: copy the file")


def test_skeleton_with_other_number_of_frames(broken, tmp_path):
    write_skeleton(broken / "bad/a1_s2_t1_skeleton.mat", np.zeros((20, 3, FRAMES + 2)))
    change_row(broken, "a1_s2_t1", skeleton="bad/a1_s2_t1_skeleton.mat")
    refused(ValueError, broken, tmp_path / "out", "a1_s2_t1_skeleton.mat holds 5 frames, labels.csv says 3")


def test_video_that_is_none(broken, tmp_path):
    (broken / "bad/a1_s1_t1.mp4").write_bytes(b"no video")
    change_row(broken, "a1_s1_t1", video="bad/a1_s1_t1.mp4")
    refused(ValueError, broken, tmp_path / "out", r"a1_s1_t1.mp4 cannot be read as a video \(.*copy it again")


def test_file_without_video(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match=r"sound.mp4 holds no video"):
        utd_mhad.count_frames(tmp_path / "sound.mp4")


@pytest.mark.parametrize("read", [utd_mhad.count_frames, utd_mhad.read_skeleton])
def test_readers_name_missing_files(tmp_path, read):
    with pytest.raises(FileNotFoundError, match=r"nothing is missing: copy it again"):
        read(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"d_skel": np.zeros((25, 3, 4))}, r"20 joints × 3 × frames, it holds float64 \(25, 3, 4\)"),
        ({"other": np.zeros((20, 3, 4))}, "it holds nothing"),
        ({"d_skel": np.full((20, 3, 4), np.nan)}, "holds NaN or infinity: copy it again"),
    ],
)
def test_bad_skeletons(tmp_path, content, match):
    scipy.io.savemat(tmp_path / "bad.mat", content)
    with pytest.raises(ValueError, match=match):
        utd_mhad.read_skeleton(tmp_path / "bad.mat")


@pytest.mark.parametrize("content", [b"", b"no matlab file", b"\0" * 400])
def test_damaged_skeleton(tmp_path, content):
    (tmp_path / "bad.mat").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad.mat cannot be read as a MATLAB file"):
        utd_mhad.read_skeleton(tmp_path / "bad.mat")


def test_truncated_skeleton(raw, tmp_path):
    (tmp_path / "bad.mat").write_bytes((raw / "one.mat").read_bytes()[:500])
    with pytest.raises(ValueError, match=r"bad.mat (cannot be read|must hold)"):
        utd_mhad.read_skeleton(tmp_path / "bad.mat")


def test_interrupted_run_leaves_nothing(raw, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(utd_mhad, "write_split", interrupt)
    refused(KeyboardInterrupt, raw, tmp_path / "out", None)


def test_empty_output_folder_is_taken(raw, tmp_path):
    (tmp_path / "out").mkdir()
    utd_mhad.prepare(raw, tmp_path / "out", progress=False)
    assert (tmp_path / "out" / "test" / METADATA_FILE).is_file()
