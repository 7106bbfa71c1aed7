"""SMG on a raw folder made here, in the published layout."""

import json
import logging
import shutil

import numpy as np
import pytest
from corpus_files import csv, frames_shown, link, numbered_video

from microgesture.cli import frame_times, main
from microgesture.data import corpus, smg, smg_checks
from microgesture.data.clips import METADATA_FILE, DatasetInfo, load
from microgesture.data.keypoints import read_layout

FRAMES = 40
SPANS = {1: [[9, 3, 10], [17, 12, 20]], 31: [[1, 0, 39]], 36: [[8, 5, 5], [8, 30, 45], [9, 7, 9]]}
JOINTS = read_layout("kinect_25").names


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smg")
    video = numbered_video(folder / "one.mp4", FRAMES, fps=28)
    skeleton = np.arange(FRAMES * 275, dtype=float).reshape(FRAMES, 275)
    for subject, spans in SPANS.items():
        key = f"Sample{subject:04d}"
        csv(folder / f"labels/{key}/{key}_finelabels.csv", spans)
        csv(folder / f"labels/{key}/{key}_data.csv", [[FRAMES, 28, 4500]])
        csv(folder / f"experimentWell_skeleton/{key}/{key}_skeleton.csv", skeleton.tolist())
        link(folder / f"rgb/{key}_color.mp4", video)
    video.unlink()
    return folder


@pytest.fixture(scope="module")
def prepared(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "smg"
    findings = smg.prepare(raw, out, frame_times, progress=False)
    assert json.loads((out / corpus.RECORD_FILE).read_text())["findings"] == findings
    return out, findings


def rows(out, split):
    return [json.loads(line) for line in (out / split / METADATA_FILE).read_text().splitlines()]


def copy_of(raw, tmp_path, **labels):
    folder = tmp_path / "raw"
    shutil.copytree(raw, folder, copy_function=lambda a, b: link(type(raw)(b), type(raw)(a)))
    for key, spans in labels.items():
        path = folder / f"labels/{key}/{key}_finelabels.csv"
        path.unlink()
        csv(path, spans)
    return folder


def test_it_loads_with_the_published_split(prepared):
    data = load(prepared[0])
    assert {name: sorted(set(split["subject"])) for name, split in data.items()} == {
        "train": ["1"], "validation": ["31"], "test": ["36"],
    }  # fmt: skip
    assert {name: len(split) for name, split in data.items()} == {"train": 2, "validation": 1, "test": 3}
    assert data["train"][0]["provenance"] == "default"
    assert data["train"].features["label"].names[data["train"][0]["label"]] == "Arms akimbo"


def test_clips_show_the_frames_of_their_row(prepared):
    out, _ = prepared
    shown = [
        frames_shown(row, out / "train", row["last_frame"] - row["first_frame"] + 1) for row in rows(out, "train")
    ]
    assert shown == [list(range(3, 11)), list(range(12, 21))]
    row = rows(out, "train")[0]
    assert (row["start"], row["end"]) == (pytest.approx(3 / 28), pytest.approx(11 / 28))
    assert row["clip"] == "Sample0001_0"
    assert row["direction"] == DatasetInfo.read(out).classes[8].default.direction


def test_keypoints_are_those_of_the_span(prepared):
    out, _ = prepared
    row = rows(out, "train")[1]
    points = np.load(out / "train" / row["keypoints"], allow_pickle=False)
    assert points.shape == (9, 25, 3)
    assert points.dtype == np.float32
    assert points[0, 2].tolist() == [12 * 275 + 22 + n for n in range(3)]  # joint 2, its first three of 11 numbers
    assert json.loads((out / "labels.json").read_text())["keypoints"] == "kinect_25"


def test_recording_is_there_once(prepared, raw):
    out, _ = prepared
    assert [path.name for path in (out / "train" / "recordings").iterdir()] == ["Sample0001.mp4"]
    assert (out / "train/recordings/Sample0001.mp4").samefile(raw / "rgb/Sample0001_color.mp4")


def test_doubts_are_answered(prepared):
    _, findings = prepared
    text = "\n".join(findings)
    for part in (
        "this copy lacks the subjects 2, 3, ",
        "Sample0036 frames 8358 to 8373, published as 'Rubbing hands and crossing finger(s)', is not in this copy",
        "test clips per class number differ from the published ones (number 1: 0 against 13",
        "validation subjects: cannot be checked",
        "Sample0036: 1 clips reach beyond the recording and were cut at its end",
        "Sample0036: 1 clips reach beyond the skeleton and have no keypoints",
        "train: 2 clips, 2452 were published",
    ):
        assert part in text, part


def test_without_skeletons(raw, tmp_path):
    folder = copy_of(raw, tmp_path)
    shutil.rmtree(folder / "experimentWell_skeleton")
    findings = smg.prepare(folder, tmp_path / "out", frame_times, progress=False)
    assert "this copy has no skeletons; the data set has no keypoints" in findings
    assert rows(tmp_path / "out", "test")[0]["keypoints"] is None
    assert "keypoints" not in json.loads((tmp_path / "out" / "labels.json").read_text())


def test_doubt_about_frames_is_a_field_of_the_data_file(raw, tmp_path, monkeypatch):
    card = tmp_path / "card"
    shutil.copytree(corpus.card_folder("smg"), card)
    splits = json.loads((card / "splits.json").read_text())
    splits["frames"] |= {"first": 1, "end_included": False}
    (card / "splits.json").write_text(json.dumps(splits))
    monkeypatch.setattr(corpus, "card_folder", lambda *_: card)
    folder = copy_of(raw, tmp_path, Sample0001=[[9, 3, 10]], Sample0031=[[1, 1, 40]], Sample0036=[[8, 1, 3]])
    smg.prepare(folder, tmp_path / "out", frame_times, progress=False)
    row = rows(tmp_path / "out", "train")[0]
    assert frames_shown(row, tmp_path / "out/train", 7) == list(range(2, 9))


def test_lengths_that_differ_are_said(raw, tmp_path):
    folder = copy_of(raw, tmp_path)
    path = folder / "labels/Sample0001/Sample0001_data.csv"
    path.unlink()
    csv(path, [[FRAMES + 2, 28, 4500]])
    findings = smg.prepare(folder, tmp_path / "out", frame_times, progress=False)
    assert any(
        "Sample0001: the numbers of frames differ (recording 40, skeleton 40, its data.csv 42)" in f for f in findings
    )


@pytest.mark.parametrize(
    ("spans", "match"),
    [
        ([[18, 3, 10]], r"Sample0001_finelabels.csv row 1: class number 18 is not in .*label_map.json"),
        ([[9, 3, 10], [9, 40, 41]], "row 2: frame 40 lies beyond the video, which has 40 frames"),
        ([[9, 10, 3]], "row 1: the frames 10 to 3 are no span"),
        ([["nine", 3, 10]], "row 1: expected three whole numbers"),
    ],
)
def test_bad_rows_are_named_and_nothing_is_left(raw, tmp_path, spans, match):
    folder = copy_of(raw, tmp_path, Sample0001=spans)
    with pytest.raises(ValueError, match=match):
        smg.prepare(folder, tmp_path / "out", frame_times, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_copy_without_the_test_subjects(raw, tmp_path):
    folder = copy_of(raw, tmp_path)
    shutil.rmtree(folder / "labels/Sample0036")
    findings = smg.prepare(folder, tmp_path / "out", frame_times, progress=False)
    assert "test: 0 clips, 610 were published; figures on it are not the published ones" in findings
    assert not (tmp_path / "out" / "test").exists()


def test_skeletons_alone_are_not_enough(raw, tmp_path):
    folder = copy_of(raw, tmp_path)
    (folder / "rgb/Sample0031_color.mp4").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"the recording .* is missing for 1 of 3: 0031\. FG-SGL needs the RGB"
    ):
        smg.prepare(folder, tmp_path / "out", frame_times, progress=False)
    with pytest.raises(FileNotFoundError, match=r"holds no SampleNNNN_finelabels\.csv"):
        smg.prepare(folder / "rgb", tmp_path / "out", frame_times, progress=False)


def test_command_line_prints_what_it_found(raw, tmp_path, capsys, caplog):
    with caplog.at_level(logging.WARNING):
        assert main(["prepare", "smg", str(raw), "--out", str(tmp_path / "out")]) == 0
        assert main(["prepare", "smg", str(raw), "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert "  train: 2 clips, 2452 were published" in printed.out
    assert "exists and is not an empty folder" in printed.err


# --- what a copy says about the doubts -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def names():
    return corpus.read_json(corpus.card_folder("smg") / "label_map.json")


@pytest.fixture(scope="module")
def splits():
    return corpus.read_json(corpus.card_folder("smg") / "splits.json")


def test_data_files_agree_with_the_classes(names, splits):
    info = DatasetInfo.read(corpus.card_folder("smg"))
    assert list(names["names"].values()) == info.names
    assert set(names["hands"]) | {a["name"] for a in names["anchors"]} <= set(info.names)
    assert sum(names["published_test_counts"].values()) == 610
    people = [s for subjects in splits["subjects"].values() for s in subjects]
    assert sorted(people) == list(range(1, 41))


def test_anchors(names):
    right = {36: [(8, 8358, 8373)], 37: [(5, 3960, 4026)], 39: [(12, 7327, 7350)]}
    assert all("as in label_map.json" in finding for finding in smg_checks.check_anchors(right, names))
    wrong = smg_checks.check_anchors(right | {37: [(10, 3960, 4026)]}, names)
    assert (
        "has number 10 here, which label_map.json calls 'Crossing legs'; CORRECT datasets/smg/label_map.json"
        in wrong[1]
    )


def test_test_counts(names):
    published = names["published_test_counts"]
    numbers = [int(key) for key, count in published.items() for _ in range(count)]
    assert smg_checks.check_test_counts({36: numbers[:300], 40: numbers[300:]}, published, range(36, 41)) == [
        "test clips per class number are the published ones"
    ]
    assert "number 17: 8 against 9" in smg_checks.check_test_counts({36: numbers[:-1]}, published, [36])[0]


def test_validation_subjects(splits):
    def check(**clips):
        held = {subject: [1] * clips.get(f"s{subject}", 100) for subject in range(1, 41)}
        return smg_checks.check_validation(held, splits["subjects"], 637)[0]

    assert check(s31=237) == "validation subjects: [31, 32, 33, 34, 35] have 637 clips, as published"
    assert "have 500 clips, not the published 637; these do: [[1, 2, 3, 4, 5]]; CORRECT" in check(s1=237)
    assert check().endswith("no five in a row do")


def pose(**hands):
    """A standing person of kinect_25; hands where they are said to be."""
    at = dict.fromkeys(JOINTS, (0, 0, 3)) | {
        "spine_base": (0, 0, 3), "spine_mid": (0, 0.25, 3), "spine_shoulder": (0, 0.5, 3), "neck": (0, 0.58, 3),
        "head": (0, 0.75, 3), "left_hip": (0.12, 0, 3), "right_hip": (-0.12, 0, 3),
        "left_elbow": (0.3, 0.2, 3), "left_wrist": (0.32, 0, 2.9), "left_hand": (0.33, -0.1, 2.9),
        "right_elbow": (-0.3, 0.2, 3), "right_wrist": (-0.32, 0, 2.9), "right_hand": (-0.33, -0.1, 2.9),
    } | hands  # fmt: skip
    return np.repeat(np.array([at[name] for name in JOINTS], float)[None], 12, axis=0)


@pytest.mark.parametrize(
    ("place", "hands"),
    [
        ("free", {}),
        ("head", {"right_hand": (0.05, 0.8, 2.9)}),
        ("neck", {"left_hand": (0.02, 0.55, 2.9)}),
        ("back", {"left_hand": (0.05, 0.1, 3.15), "right_hand": (-0.05, 0.1, 3.15)}),
        ("arms", {"left_hand": (-0.28, 0.18, 2.9), "right_hand": (0.28, 0.18, 2.9)}),
        ("together", {"left_hand": (0.04, 0.1, 2.7), "right_hand": (-0.04, 0.1, 2.7)}),
        ("hips", {"left_hand": (0.2, 0.02, 2.95), "right_hand": (-0.2, 0.02, 2.95)}),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_where_the_hands_are(place, hands, size):
    assert smg_checks.hands_place(pose(**hands) * size) == place


def test_hands_that_do_not_fit_the_name(names):
    said = smg_checks.check_hands({9: ["free"] * 8 + ["hips"] * 2, 2: ["head"] * 3, 5: ["free"]}, names)
    assert "in number 9 ('Arms akimbo') the hands are mostly at 'free' (8 of 10 clips), expected 'hips'" in said[0]
    assert said[1] == "names of the classes: the hands are where the names say for the numbers 2"
