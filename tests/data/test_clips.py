import json
import shutil
from dataclasses import asdict
from pathlib import Path

import datasets as hf_datasets
import pytest

from microgesture.data.clips import (
    LABELS_FILE,
    METADATA_FILE,
    ClassInfo,
    ClipSample,
    DatasetInfo,
    check_subjects,
    load,
    write_split,
    write_text,
)
from microgesture.data.fg_text import FGText

CLASSES = [
    {"name": "nod", "text": "A person nods.", "default": {"initiator": "head", "direction": "down"}},
    {"name": "rub", "text": "A person rubs the eyes.", "default": {"initiator": "hand", "receiver": "eyes"}},
]
NECK = FGText("hand", "neck", "up", "touch", "left", "confirmed")


def write_labels(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    data = {"name": "tiny", "version": "1", "mirrored": False, "classes": CLASSES} | changes
    (folder / LABELS_FILE).write_text(json.dumps(data), encoding="utf-8")


def write_clips(folder, *clips):
    for clip in clips:
        path = folder / clip.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"never decoded here")
    write_split(folder, clips)


@pytest.fixture
def folder(tmp_path):
    """Two splits: every kind of row."""
    write_labels(tmp_path / "set")
    write_clips(
        tmp_path / "set" / "train",
        ClipSample("clips/b.mp4", "rub", "p1", NECK, 0.5, 2.0, extra={"amplitude": 0.25}),
        ClipSample("clips/a.mp4", "nod", "p2", None, extra={"amplitude": 1.0}),
    )
    write_clips(tmp_path / "set" / "test", ClipSample("clips/é 1.mp4", "nod", "07", extra={"amplitude": 0.5}))
    return tmp_path / "set"


# --- rows ----------------------------------------------------------------------------------------------------------


def test_row_has_every_column():
    row = ClipSample("a.mp4", "nod", "p", NECK, 1.0, 2.0, {"trial": 3}).row()
    assert row == {
        "file_name": "a.mp4", "label": "nod", "subject": "p", "start": 1.0, "end": 2.0,
        **asdict(NECK), "trial": 3,
    }  # fmt: skip
    assert ClipSample("a.mp4", "nod", "p", extra={"trial": 3}).row().keys() == row.keys()


def test_split_is_written_whole(tmp_path):
    write_clips(tmp_path, ClipSample("clips/a.mp4", "nod", "pé"))
    rows = [json.loads(line) for line in (tmp_path / METADATA_FILE).read_text(encoding="utf-8").splitlines()]
    assert [row["subject"] for row in rows] == ["pé"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", METADATA_FILE]


@pytest.mark.parametrize("name", ["/clips/a.mp4", "../a.mp4", "clips/../../a.mp4"])
def test_file_name_that_leaves_the_folder(tmp_path, name):
    with pytest.raises(ValueError, match=r"must be a path inside .*, so that the folder can be moved"):
        write_split(tmp_path, [ClipSample(name, "nod", "p")])
    assert not (tmp_path / METADATA_FILE).exists()


def test_clip_without_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a.mp4 is missing: write the clips before metadata.jsonl"):
        write_split(tmp_path, [ClipSample("clips/a.mp4", "nod", "p")])
    assert not (tmp_path / METADATA_FILE).exists()


def test_write_text_replaces_and_leaves_nothing_behind(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    write_text(tmp_path / "a.txt", "ü")
    assert (tmp_path / "a.txt").read_bytes() == "ü".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


# --- labels.json ---------------------------------------------------------------------------------------------------


def test_info(folder):
    info = DatasetInfo.read(folder)
    assert (info.name, info.version, info.mirrored) == ("tiny", "1", False)
    assert info.names == ["nod", "rub"]
    assert info.texts == ["A person nods.", "A person rubs the eyes."]
    assert info.classes[0] == ClassInfo(
        "nod", "A person nods.", FGText("head", direction="down", provenance="default")
    )


def test_info_of_no_data_set(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"labels.json does not exist: .*; run `microgesture prepare`"):
        DatasetInfo.read(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"name": "x"}', '{"name": "x", "version": "1", "mirrored": false, "classes": [{}]}']
)
def test_labels_that_cannot_be_read(tmp_path, text):
    (tmp_path / LABELS_FILE).write_text(text)
    with pytest.raises(ValueError, match=r"labels.json cannot be read as the class list of a data set"):
        DatasetInfo.read(tmp_path)


def test_default_with_unknown_attribute(tmp_path):
    write_labels(tmp_path, classes=[CLASSES[0] | {"default": {"initiator": "head", "speed": "fast"}}])
    with pytest.raises(ValueError, match=r"cannot be read as the class list .*speed"):
        DatasetInfo.read(tmp_path)


def test_default_with_unknown_word(tmp_path):
    write_labels(tmp_path, classes=[CLASSES[0] | {"default": {"initiator": "elbow"}}])
    with pytest.raises(ValueError, match="initiator 'elbow' is not in the vocabulary"):
        DatasetInfo.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"name": "nod"}, r"every class name must be there and stand once; mend \['nod'\]"),
        (
            {"text": "A person nods."},
            r"every category sentence must be there and stand once; mend \['A person nods.'\]",
        ),
        ({"text": " "}, r"every category sentence must be there and stand once; mend \[' '\]"),
        ({"name": ""}, r"every class name must be there and stand once; mend \[''\]"),
    ],
)
def test_class_twice_or_without_name(tmp_path, change, match):
    write_labels(tmp_path, classes=[CLASSES[0], CLASSES[1] | change])
    with pytest.raises(ValueError, match=match):
        DatasetInfo.read(tmp_path)


def test_mirrored_must_be_stated(tmp_path):
    write_labels(tmp_path, mirrored="perhaps")
    with pytest.raises(ValueError, match="mirrored is 'perhaps'"):
        DatasetInfo.read(tmp_path)


def test_default_with_side_where_mirroring_is_unknown(tmp_path):
    write_labels(
        tmp_path, mirrored="unknown", classes=[CLASSES[0] | {"default": {"initiator": "hand", "side": "left"}}]
    )
    with pytest.raises(ValueError, match="FG-Text record 0 names a side"):
        DatasetInfo.read(tmp_path)


# --- load ----------------------------------------------------------------------------------------------------------


def test_load(folder):
    data = load(folder)
    assert list(data) == ["test", "train"]
    train = data["train"]
    assert train.features["label"].names == ["nod", "rub"]
    assert isinstance(train.features["video"], hf_datasets.Video)
    by_path = {Path(row["video"]["path"]).name: row for row in train}
    row = by_path["b.mp4"]
    assert (row["label"], row["subject"], row["start"], row["end"], row["amplitude"]) == (1, "p1", 0.5, 2.0, 0.25)
    assert FGText.from_mapping(row) == NECK
    assert FGText.from_mapping(by_path["a.mp4"]) is None
    assert (by_path["a.mp4"]["start"], by_path["a.mp4"]["end"]) == (None, None)


def test_columns_are_typed_also_where_a_split_leaves_them_empty(folder):
    data = load(folder)
    assert data["test"].features == data["train"].features
    row = data["test"][0]
    assert Path(row["video"]["path"]).is_file()
    assert row["subject"] == "07"  # stays text
    assert row["direction"] is None


def test_load_relative_path(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert Path(load("set")["train"][0]["video"]["path"]).is_absolute()


def test_moved_folder(folder):
    load(folder)
    moved = folder.parent / "elsewhere"
    shutil.move(folder, moved)
    for split in load(moved).values():
        for row in split:
            path = Path(row["video"]["path"])
            assert path.is_file()
            assert path.is_relative_to(moved.resolve())


def test_other_files_beside_the_clips_do_no_harm(folder):
    (folder / "train" / "keypoints").mkdir()
    (folder / "train" / "keypoints" / "a.npy").write_bytes(b"x")
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("x")
    assert {name: len(split) for name, split in load(folder).items()} == {"test": 1, "train": 2}


def test_folder_with_clips_but_without_metadata_is_no_split(folder):
    (folder / "train" / METADATA_FILE).unlink()
    assert list(load(folder)) == ["test"]


def test_load_without_labels(folder):
    (folder / LABELS_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"labels.json does not exist"):
        load(folder)


def test_load_without_splits(tmp_path):
    write_labels(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no split: expected .*/train/metadata.jsonl and the like"):
        load(tmp_path)


def test_unknown_label(folder):
    write_clips(folder / "train", ClipSample("clips/a.mp4", "wink", "p1", extra={"amplitude": 0.1}))
    with pytest.raises(ValueError, match=r"has labels that labels.json does not name: \['wink'\]"):
        load(folder)


def test_unknown_word(folder):
    row = ClipSample("clips/a.mp4", "nod", "p1", NECK).row() | {"direction": "askew"}
    (folder / "train" / METADATA_FILE).write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match="line 1: FG-Text direction 'askew' is not in the vocabulary"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subject": None}, "line 1 has no subject"),
        ({"start": 1.0, "end": 1.0}, r"line 1: the clip from 1\.0 to 1\.0 seconds is empty"),
        ({"start": -0.5, "end": 1.0}, r"line 1: the clip from -0\.5"),
    ],
)
def test_bad_rows(folder, change, message):
    row = ClipSample("clips/a.mp4", "nod", "p1", NECK).row() | change
    (folder / "train" / METADATA_FILE).write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_empty_split(folder):
    (folder / "train" / METADATA_FILE).write_text("")
    with pytest.raises(ValueError, match=r"metadata\.jsonl is empty"):
        load(folder)


def test_missing_video(folder):
    (folder / "train" / "clips" / "a.mp4").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.mp4"):
        load(folder)


def test_subject_in_two_splits(folder):
    write_clips(folder / "validation", ClipSample("clips/c.mp4", "nod", "p1", extra={"amplitude": 0.1}))
    with pytest.raises(
        ValueError, match=r"subject 'p1' is in both 'train' and 'validation'.*move all clips of a person"
    ):
        load(folder)


def test_subject_in_two_splits_of_a_data_set_that_says_leak(folder, caplog):
    write_clips(folder / "validation", ClipSample("clips/c.mp4", "nod", "p1", extra={"amplitude": 0.1}))
    write_labels(folder, leak=True)
    assert set(load(folder)) == {"test", "train", "validation"}
    assert "the same people are, or may be, in training and evaluation" in caplog.text


@pytest.mark.parametrize("change", [{"leak": "no"}, {"expected_clips": 3}])
def test_leak_and_expected_clips_have_types(tmp_path, change):
    write_labels(tmp_path, **change)
    with pytest.raises(ValueError, match="leak is true or false, expected_clips are numbers by split"):
        DatasetInfo.read(tmp_path)


def test_class_without_default(tmp_path):
    write_labels(tmp_path, classes=[{"name": "nod", "text": "A person nods."}, CLASSES[1] | {"default": {}}])
    assert [c.default for c in DatasetInfo.read(tmp_path).classes] == [None, None]


def test_side_where_mirroring_is_unknown(folder):
    write_labels(folder, mirrored="unknown")
    with pytest.raises(ValueError, match=r"names a side \('The left hand touches the neck, moving up.'\)"):
        load(folder)


def test_test_lists_may_share_people():
    check_subjects({"train": ["a"], "test": ["b", "b"], "test_natural": ["b", "c"]})
    with pytest.raises(ValueError, match="subject 'b' is in both 'test' and 'validation'"):
        check_subjects({"train": ["a"], "test": ["b"], "validation": ["b"]})
