"""`microgesture check`: each finding by itself, the report, the command, and its size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_sets import CLASSES, WORDS, data_set, kinds, look, messages
from object_arrays import write_npy
from video_files import write

from microgesture import cli
from microgesture.data.check import check
from microgesture.data.clips import load
from video_fgsgl import probe

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Six videos of one second, all different."""
    folder = tmp_path_factory.mktemp("videos")
    return [write(folder / f"v{k}.mp4", frames=25 + k, size=(48, 32)) for k in range(6)]


@pytest.fixture
def good(tmp_path, videos):
    """Nothing is wrong with this one."""
    texts = ({"motion_type": "rub"}, {"motion_type": "touch"})
    spans = ({"start": 0.0, "end": 0.5}, {"start": 0.5, "end": 1.0})
    splits = {"train": videos[:2], "validation": videos[2:3], "test": videos[3:4]}
    clips = {
        split: [{"file": v, "subject": v.stem, **spans[k], **texts[k]} for v in files for k in (0, 1)]
        for split, files in splits.items()
    }
    return data_set(tmp_path / "good", clips, expected={"train": 4, "validation": 2, "test": 2})


def change(root, split, line, **fields):
    """Replaces fields of one row."""
    path = root / split / "metadata.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[line - 1] = json.dumps(json.loads(lines[line - 1]) | fields)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_nothing_to_say(good):
    report = look(good, decode=True)
    assert kinds(report) == ({}, {})
    assert report.splits["train"] == {"clips": 4, "people": 2, "classes": 2, "videos": 2, "seconds": 2.0}
    assert "errors: none\nwarnings: none" in report.as_text()
    assert report.as_json()["ok"] is True
    assert set(load(good)) == {"train", "validation", "test"}


def test_what_cannot_be_loaded_is_an_error(good):
    path = good / "train" / "metadata.jsonl"
    path.write_text(path.read_text().replace('"subject": "v0"', '"subject": 7', 1))  # numbers and text in one column
    errors, _ = kinds(report := look(good))
    assert errors == {"not_loadable": 1}
    assert "subject" in messages(report, "not_loadable")[0]
    path.write_text(path.read_text().replace("side", "sides"))
    errors, _ = kinds(report := look(good))
    assert errors == {"missing_column": 1}
    assert messages(report, "missing_column")[0].startswith("no row has the column side; write it into every row")


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"label": "wink"}, "unknown_label", "'wink' is not in labels.json"),
        ({"label": None}, "unknown_label", "None is not in labels.json"),
        ({"subject": None}, "no_subject", "nobody is named"),
        ({"start": 0.5, "end": 0.5}, "bad_span", "is empty"),
        ({"start": "a"}, "bad_span", "'a' is no number of seconds"),
        ({"start": -1.0}, "bad_span", "before the video does"),
        ({"start": 0.0, "end": 9.5}, "bad_span", "reaches beyond the video, which is 1.000 s long; times are seconds"),
        ({"start": 12, "end": 20}, "bad_span", "if 12 and 20 are frame numbers, divide them by 25 frames per second"),
        ({"direction": "askew"}, "bad_text", "'askew' is not in the vocabulary"),
        ({"file_name": "clips/no.mp4"}, "not_found", "there is no such file"),
        ({"file_name": "clips"}, "is_directory", "this is a folder"),
        ({"file_name": "../test/clips/v3.mp4"}, "outside_root", "leads out of the split's folder"),
        ({"file_name": "/etc/passwd"}, "outside_root", "leads out of the split's folder"),
        ({"file_name": None}, "bad_row", "it names no file"),
    ],
)
def test_rows_that_stop_training(good, fields, kind, message):
    change(good, "train", 1, **fields)
    errors, _ = kinds(report := look(good))
    assert errors[kind] == 1
    assert message in messages(report, kind)[0]
    assert (report.findings[kind].examples[0]["split"], report.findings[kind].examples[0]["line"]) == ("train", 1)


def test_lines_that_are_no_rows(good):
    path = good / "train" / "metadata.jsonl"
    path.write_text(path.read_text() + "\n{\n[]\n" + "[" * 100_000 + "\n")
    errors, _ = kinds(report := look(good))
    assert errors == {"bad_row": 3}
    assert [e["line"] for e in report.findings["bad_row"].examples] == [6, 7, 8]


def test_labels_that_cannot_be_read(good):
    (good / "labels.json").write_text("{")
    errors, _ = kinds(report := look(good))
    assert errors == {"bad_labels": 1}
    assert len(report.splits) == 3


def test_splits(good, tmp_path):
    (good / "validation" / "metadata.jsonl").write_text("")
    (good / "test" / "metadata.jsonl").unlink()
    errors, warnings = kinds(report := look(good))
    assert errors == {"empty_split": 1, "no_split": 1, "count": 2}
    assert warnings == {"no_test": 1}
    assert messages(report, "count") == ["0 clips, and labels.json expects 2; prepare the data set again"] * 2
    (tmp_path / "empty").mkdir()
    assert kinds(look(tmp_path / "empty"))[0] == {"bad_labels": 1, "no_split": 1}
    (good.parent / "folds").mkdir()
    os.rename(good, good.parent / "folds" / "fold_1")
    assert "it holds the data sets fold_1: check each" in messages(look(good.parent / "folds"), "no_split")[0]
    with pytest.raises(FileNotFoundError, match="does not exist; make a data set with"):
        look(tmp_path / "nowhere")


def test_people_on_two_sides(good):
    change(good, "test", 1, subject="v0")
    errors, _ = kinds(report := look(good))
    assert errors == {"leak": 1}
    assert "subject 'v0' is in test and train (test line 1, train line 1)" in messages(report, "leak")[0]
    labels = json.loads((good / "labels.json").read_text()) | {"leak": True}
    (good / "labels.json").write_text(json.dumps(labels))
    errors, warnings = kinds(look(good))
    assert (errors, warnings) == ({}, {"leak": 2})


def test_lists_over_the_same_people_are_one_side(tmp_path, videos):
    row = {"file": videos[4], "subject": "e"}
    rows = {
        "train": [{"file": videos[0]}, {"file": videos[1]}],
        "validation": [{"file": videos[2]}, {"file": videos[3]}],
    }
    root = data_set(tmp_path / "x", rows | {"test": [row], "test_natural": [row]})
    errors, _ = kinds(look(root))
    assert errors == {}


# --- the same pictures twice ------------------------------------------------------------------


def overlap(tmp_path, videos, first, second, **labels):
    """Kinds of findings about two clips of equal content under two names."""
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(videos[0].read_bytes())
    rows = {
        "train": [{"file": videos[1]}, {"file": videos[2]}],
        "validation": [{"file": videos[3]}],
        "test": [{"file": videos[4]}],
    }
    for row, file in ((first, videos[0]), (second, copy)):
        row = {"file": file, "label": "nod", "subject": row["split"]} | row
        rows[row.pop("split")].append(row)
    report = look(data_set(tmp_path / "x", rows, **labels))
    wanted = ("conflict", "duplicate", "near_duplicate", "overlap")
    return {kind: f.count for kind, f in report.findings.items() if kind in wanted}, report


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ({"split": "train"}, {"split": "train"}, {"duplicate": 1}),
        ({"split": "train"}, {"split": "train", "label": "rub"}, {"conflict": 1}),
        ({"split": "train"}, {"split": "test"}, {"near_duplicate": 1}),
        ({"split": "train"}, {"split": "test", "label": "rub"}, {"conflict": 1, "near_duplicate": 1}),
        ({"split": "train", "end": 0.5}, {"split": "test", "start": 0.3, "end": 1}, {"near_duplicate": 1}),
        ({"split": "train", "end": 0.5}, {"split": "train", "start": 0.3, "end": 1, "label": "rub"}, {"overlap": 1}),
        ({"split": "train", "start": 0, "end": 0.5}, {"split": "train", "start": 0.3, "end": 1}, {}),
        ({"split": "train", "start": 0, "end": 0.5}, {"split": "test", "start": 0.46, "end": 1}, {}),  # a frame
        ({"split": "train"}, {"split": "test", "start": 0.3, "end": 0.6}, {"near_duplicate": 1}),
        ({"split": "train", "end": 0.5}, {"split": "train", "start": 0, "end": 0.5}, {"duplicate": 1}),
    ],
)  # fmt: skip
def test_two_clips_of_one_content(tmp_path, videos, first, second, found):
    assert overlap(tmp_path, videos, first, second)[0] == found


def test_near_duplicates_are_tolerated_where_the_data_set_says_leak(tmp_path, videos):
    _, report = overlap(tmp_path, videos, {"split": "train"}, {"split": "test"}, leak=True)
    assert "near_duplicate" in {f.kind for f in report.warnings}


def test_the_longest_running_clip_is_remembered(tmp_path, videos):
    spans = [(0.0, 0.9, "train"), (0.1, 0.2, "train"), (0.5, 0.8, "test")]
    rows = {"train": [], "test": [], "validation": [{"file": videos[2]}, {"file": videos[3]}]}
    for start, end, split in spans:
        rows[split].append({"file": videos[0], "start": start, "end": end})
    _, report = kinds(look(data_set(tmp_path / "x", rows)))[0], look(tmp_path / "x")
    assert messages(report, "near_duplicate") == [
        "overlaps in time with train line 1 ('nod'), in the same recording; keep all clips of a moment in one split"
    ]


# --- warnings ---------------------------------------------------------------------------------


def test_short_long_tiny_and_still_clips(tmp_path, videos):
    still = write(tmp_path / "still.mp4", frames=2, size=(24, 24))
    slow = write(tmp_path / "slow.mp4", frames=20, times=[k * 4000 for k in range(20)])
    slower = write(tmp_path / "slower.mp4", frames=20, times=[k * 60_000 for k in range(20)])
    rows = [{"file": videos[0], "end": 0.08}, {"file": still}, {"file": slow}, {"file": slower}]
    errors, warnings = kinds(look(data_set(tmp_path / "x", {"train": rows, "validation": [{"file": videos[1]}]})))
    assert (errors, warnings) == (
        {"too_long": 1},
        {"too_short": 2, "tiny": 1, "long": 1, "no_test": 1, "absent_class": 1, "same_text": 1},
    )


def test_nothing_moves(tmp_path, videos):
    import av

    path = tmp_path / "black.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(20):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        file.mux(stream.encode(None))
    root = data_set(
        tmp_path / "x", {"train": [{"file": path}, {"file": videos[0]}], "validation": [{"file": videos[1]}]}
    )
    assert "static" not in look(root).findings
    assert [e["file"] for e in look(root, decode=True).findings["static"].examples] == ["clips/black.mp4"]


def test_classes_and_texts(tmp_path, videos):
    classes = [*CLASSES, {"name": "blink", "text": "A person blinks. " * 30}]
    empty = dict.fromkeys(WORDS)
    rows = [
        {"file": videos[0]},
        {"file": videos[1], "label": "nod", **empty, "initiator": "hand"},
        {"file": videos[2], **empty},
    ]
    root = data_set(
        tmp_path / "x", {"train": rows, "validation": [{"file": videos[3], "label": "rub"}]}, classes=classes
    )
    errors, warnings = kinds(report := look(root))
    assert (errors, warnings) == (
        {},
        {"no_test": 1, "unused_class": 1, "long_sentence": 1, "absent_class": 2, "partial_text": 1, "no_text": 1},
    )
    assert messages(report, "no_text") == ["1 of 3 training clips have no FG-Text and take no part in L_fg"]
    for split in ("train", "validation"):
        for line in range(1, 1 + (3 if split == "train" else 1)):
            change(root, split, line, label="nod", **empty)
    errors, warnings = kinds(report := look(root))
    assert errors == {"one_class": 1}
    assert messages(report, "no_text") == [
        "no training clip has FG-Text; describe them, or train with --fg_text class"
    ]


def test_sides_where_nobody_knows_about_mirrors(good):
    labels = json.loads((good / "labels.json").read_text()) | {"mirrored": "unknown"}
    (good / "labels.json").write_text(json.dumps(labels))
    change(good, "train", 1, side="left")
    assert kinds(look(good))[0] == {"unknown_mirror": 1}


# --- keypoints --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "errors", "warnings"),
    [
        (lambda a: a, {}, {}),
        (lambda a: a[:-1], {}, {"keypoints_length": 1}),
        (lambda a: a[:5], {"keypoints": 1}, {}),
        (lambda a: a[:, :4], {"keypoints": 1}, {}),
        (lambda a: np.stack([a, a]), {}, {}),  # two people
        (lambda a: np.stack([a, a, a]), {"keypoints": 1}, {}),
        (lambda a: a[:0], {"keypoints": 1}, {}),
        (lambda a: a.astype(int), {"keypoints": 1}, {}),
        (lambda a: a.astype(object), {"keypoints": 1}, {}),
        (lambda a: np.where(a > 1.4, np.nan, a), {}, {"keypoints_incomplete": 1}),
        (lambda a: np.where(np.arange(len(a))[:, None, None] < 6, 0, a), {}, {"keypoints_incomplete": 1}),
        (lambda a: a * 1000, {}, {"keypoints_unit": 1}),
        (lambda a: None, {"keypoints": 1}, {}),
    ],
)
def test_keypoint_files(good, array, errors, warnings):
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("validation", 2), ("test", 2)):
        for line in range(1, count + 1):
            points = rng.uniform(0.5, 1.5, (12, 5, 3))
            if (split, line) == ("train", 1):
                points = array(points)
            if points is not None:
                with (good / split / f"{line}.npy").open("wb") as file:
                    (write_npy if points.dtype == object else np.save)(file, points)
            change(good, split, line, keypoints=f"{line}.npy")
    assert kinds(look(good)) == (errors, warnings)


def test_keypoints_elsewhere_or_damaged(good, tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 2, 3), }".ljust(117) + b"\n"
    (good / "train" / "1.npy").write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + header)
    change(good, "train", 1, keypoints="1.npy")
    change(good, "train", 2, keypoints="../test/2.npy")
    change(good, "train", 3, keypoints="no.npy")
    (good / "train" / "4.npy").write_bytes(b"PK\x03\x04 an npz")
    change(good, "train", 4, keypoints="4.npy")
    report = look(good)
    assert kinds(report)[0] == {"keypoints": 4}
    assert "leads out of the split's folder" in " ".join(messages(report, "keypoints"))


# --- how it goes about it ---------------------------------------------------------------------


def test_a_file_is_probed_once_and_hashed_only_beside_one_of_its_size(good, tmp_path, monkeypatch):
    from microgesture.data import check_videos

    probed, hashed = [], []
    original = check_videos._digest
    monkeypatch.setattr(check_videos, "_digest", lambda path: hashed.append(path.name) or original(path))
    os.link(good / "train" / "clips" / "v0.mp4", good / "train" / "clips" / "again.mp4")
    change(good, "train", 2, file_name="clips/again.mp4")
    (good / "train" / "clips" / "same_size.mp4").write_bytes((good / "train" / "clips" / "v1.mp4").read_bytes())
    change(good, "train", 4, file_name="clips/same_size.mp4")
    report = check(good, lambda path: probed.append(path) or probe(path), progress=False)
    assert kinds(report) == ({}, {})
    assert len(probed) == 5  # v0 under two names, v1, its copy, v2, v3
    assert sorted(hashed) == ["same_size.mp4", "v1.mp4"]


def test_report_lists_some_and_counts_all(good):
    for split, count in (("train", 4), ("validation", 2), ("test", 2)):
        for line in range(1, count + 1):
            change(good, split, line, label="wink")
    text = look(good).as_text()
    assert "unknown_label (8)" in text
    assert "… and 3 more" in text
    assert "test line 1 (clips/v3.mp4): the label 'wink' is not in labels.json" in text


def test_command(good, tmp_path, capsys):
    report = tmp_path / "report.json"
    assert cli.main(["check", str(good), "--json", str(report), "--decode"]) == 0
    assert "errors: none" in capsys.readouterr().out
    assert json.loads(report.read_text())["ok"] is True
    change(good, "train", 1, label="wink")
    assert cli.main(["check", str(good), "--json", str(report)]) == 1
    data = json.loads(report.read_text())
    assert [e["kind"] for e in data["errors"]] == ["unknown_label", "count"]
    assert data["errors"][0]["examples"][0]["line"] == 1
    assert cli.main(["check", str(tmp_path / "nowhere")]) == 1
    assert "microgesture: " in capsys.readouterr().err


def test_warnings_do_not_fail(good, capsys):
    assert cli.main(["check", str(good), "--num_frames", "20"]) == 0
    assert "too_short (8)" in capsys.readouterr().out


MANY = """
import json, sys
from pathlib import Path
sys.path.append("tests")
from peak_memory import peak
from microgesture.data.check import check
from microgesture.data.own import prepare
from video_fgsgl import probe
source, out = Path(sys.argv[1]), Path(sys.argv[2])
prepare(source, out)
probed = []
report = check(out, lambda path: probed.append(path) or probe(path))
mib = peak() / 1024
print(json.dumps({"errors": report.as_json()["errors"], "probed": len(probed), "mib": mib,
                  "clips": sum(s["clips"] for s in report.splits.values())}))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_hundred_thousand_rows(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    people = [f"p{k}" for k in range(20)]
    lines = ["file,label,subject,start,end,initiator,receiver,direction,motion_type"]
    for k, person in enumerate(people):
        write(source / f"{person}.mp4", frames=20 + k, times=[j * 60_000 for j in range(20 + k)])
        lines += [
            f"{person}.mp4,class {i % 17},{person},{i * 0.2:.1f},{i * 0.2 + 0.19:.2f},hand,neck,up,touch"
            for i in range(5000)
        ]
    (source / "clips.csv").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-c", MANY, str(source), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=880)
    result = json.loads(done.stdout)
    assert (result["errors"], result["clips"], result["probed"]) == ([], 100_000, 20)
    assert result["mib"] < 2048
    assert "clips: 100%" in done.stderr or "rows of train" in done.stderr  # progress was shown
