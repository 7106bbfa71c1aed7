"""iMiGUE on a raw folder made here, in the published layout: both protocols, with and without a map to players."""

import json
import pickle
import shutil
import zipfile

import numpy as np
import pytest
from corpus_files import csv, frames_shown, link, numbered_video

from microgesture.cli import frame_times, main
from microgesture.data import corpus, imigue
from microgesture.data.clips import METADATA_FILE, DatasetInfo, load
from microgesture.data.keypoints import read_layout

FRAMES = 30
SPANS = {
    "0012": [[1, 0, 4], [99, 5, 9], [30, 10, 29]],
    "0013": [[31, 0, 4], [1, 5, 9]],
    "0014": [[2, 0, 4], [30, 2, 3]],
    "0001": [[20, 3, 3], [99, 4, 8]],
    "0156": [[8, 0, 4], [8, 5, 9], [99, 10, 14], [29, 15, 19], [29, 20, 24]],  # MiGA lists 4 of these 5
    "0440": [[31, 1, 2]] * 6,
}


def write_xlsx(path, table):
    rows = "".join(
        f'<row r="{y}">' + "".join(f'<c r="X{y}" t="n"><v>{v}</v></c>' for v in row) + "</row>"
        for y, row in enumerate(table.tolist(), start=1)
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", f"<worksheet><sheetData>{rows}</sheetData></worksheet>")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """As MiGA 2025 is unpacked: labels with the skeletons, recordings apart."""
    folder = tmp_path_factory.mktemp("imigue")
    video = numbered_video(folder / "one.mp4", FRAMES)
    points = np.arange(FRAMES * 411, dtype=float).reshape(FRAMES, 411)
    write_xlsx(folder / "one.xlsx", points)
    for key, spans in SPANS.items():
        part = "phase2/imigue_skeleton_test" if key in ("0156", "0440") else "phase1/datasets/imigue_skeleton_train"
        csv(folder / f"{part}/{key}/{key}_label.csv", spans)
        link(folder / f"{part}/{key}/{key}_openpose.xlsx", folder / "one.xlsx")
        link(folder / f"imigue_rgb/{key}/{key}.mp4", video)
    (folder / "one.xlsx").unlink()
    video.unlink()
    return folder


@pytest.fixture
def copy(raw, tmp_path):
    folder = tmp_path / "raw"
    shutil.copytree(raw, folder, copy_function=lambda a, b: link(type(raw)(b), type(raw)(a)))
    return folder


def without_points(folder):
    for path in folder.rglob("*_openpose.xlsx"):
        path.unlink()
    return folder


def replace(path, rows):
    path.unlink()
    csv(path, rows)


def prepare(folder, out, *options):
    return imigue.prepare(folder, out, frame_times, *options, progress=False)


def rows(out, split):
    return [json.loads(line) for line in (out / split / METADATA_FILE).read_text().splitlines()]


def about(out):
    return json.loads((out / "labels.json").read_text())


PLAYERS = [["video", "player"], [1, 2], [12, 2], [13, 4], [14, 5], [156, 1], [440, 3]]  # 1 and 3 are for test


# --- MiGA's protocol -------------------------------------------------------------------------------------------------


def test_miga_list_leaves_one_clip_out(raw, tmp_path):
    out = tmp_path / "out"
    findings = prepare(raw, out)
    data = load(out)
    assert {name: split["clip"][:] for name, split in data.items()} == {
        "train": [f"{v}_{k}" for v in ("0012", "0013", "0014") for k in range(len(SPANS[v]))],
        "validation": ["0001_0", "0001_1"],
        "test": [*(f"0156_{k}" for k in range(4)), *(f"0440_{k}" for k in range(6))],
    }
    assert "0156: 5 clips, MiGA lists 4; the others are left out" in findings
    assert "test: 10 clips, 4562 were published; figures on it are not the published ones" in findings
    assert any("no players.csv" in finding and "nobody knows" in finding for finding in findings)
    assert json.loads((out / corpus.RECORD_FILE).read_text())["findings"] == findings
    names = data["train"].features["label"].names
    assert [names[label] for label in data["train"]["label"]][:3] == [
        "Turtle neck", "Illustrative hand gestures", "Arms akimbo",
    ]  # fmt: skip


def test_clips_show_the_frames_of_their_row(raw, tmp_path):
    prepare(raw, tmp_path / "out")
    row = rows(tmp_path / "out", "train")[2]
    assert frames_shown(row, tmp_path / "out/train", 20) == list(range(10, 30))
    assert (row["start"], row["end"]) == (pytest.approx(0.4), pytest.approx(1.2))
    assert (row["subject"], row["clip"], row["provenance"]) == ("0012", "0012_2", "default")
    assert (tmp_path / "out/train/recordings/0012.mp4").samefile(raw / "imigue_rgb/0012/0012.mp4")


def test_keypoints_of_2025(raw, tmp_path):
    prepare(raw, tmp_path / "out")
    row = rows(tmp_path / "out", "train")[1]
    points = np.load(tmp_path / "out/train" / row["keypoints"], allow_pickle=False)
    assert points.shape == (5, 137, 3)
    assert points[0, 1].tolist() == [5 * 411 + 3, 5 * 411 + 4, 5 * 411 + 5]
    assert about(tmp_path / "out")["keypoints"] == "openpose_137"


def test_csv_stands_for_excel_where_it_is_there(copy, tmp_path):
    np.savetxt(copy / "imigue_rgb/0012/0012_openpose.csv", np.full((FRAMES, 411), 7), delimiter=",")
    prepare(copy, tmp_path / "out")
    first = {
        row["clip"]: np.load(tmp_path / "out/train" / row["keypoints"]) for row in rows(tmp_path / "out", "train")
    }
    assert (first["0012_0"] == 7).all()
    assert first["0013_1"][0, 0, 0] == 5 * 411


def test_keypoints_of_2023(copy, tmp_path):
    for path in without_points(copy).rglob("*_label.csv"):
        table = np.concatenate([np.arange(FRAMES)[:, None], np.arange(FRAMES * 105.0).reshape(FRAMES, 105)], 1)
        csv(path.with_name(path.name.replace("_label", "_light_hand")), table.tolist())
    prepare(copy, tmp_path / "out")
    row = rows(tmp_path / "out", "train")[1]
    points = np.load(tmp_path / "out/train" / row["keypoints"], allow_pickle=False)
    assert points.shape == (5, 35, 3)
    tip = read_layout("openpose_35").names.index("right_thumb_tip")
    assert points[0, tip].tolist() == [5 * 105 + 75, 5 * 105 + 76, 5 * 105 + 77]
    assert about(tmp_path / "out")["keypoints"] == "openpose_35"


def test_keypoints_from_a_pose_pickle(copy, tmp_path):
    without_points(copy)
    annotations = [
        {"frame_dir": f"0012_{k}", "label": 0, "total_frames": b - a + 1,
         "keypoint": np.full((1, b - a + 1, 36, 2), k, np.float32), "keypoint_score": np.ones((1, b - a + 1, 36))}
        for k, (_, a, b) in enumerate(SPANS["0012"])
    ]  # fmt: skip
    (tmp_path / "poses.pkl").write_bytes(pickle.dumps({"split": {}, "annotations": annotations}))
    findings = prepare(copy, tmp_path / "out", "miga", "official", tmp_path / "poses.pkl")
    row = rows(tmp_path / "out", "train")[2]
    points = np.load(tmp_path / "out/train" / row["keypoints"], allow_pickle=False)
    assert points.shape == (20, 36, 3)
    assert points[0, 0].tolist() == [2, 2, 1]
    assert about(tmp_path / "out")["keypoints"] == "openpose_36"
    assert "0013: 2 clips have no keypoints" in findings


def test_without_keypoints(copy, tmp_path):
    prepare(without_points(copy), tmp_path / "out")
    assert "keypoints" not in about(tmp_path / "out")
    assert rows(tmp_path / "out", "train")[0]["keypoints"] is None


def test_classes_withheld_in_the_second_phase(copy, tmp_path):
    without_points(copy)
    for key in ("0156", "0440"):
        replace(copy / f"phase2/imigue_skeleton_test/{key}/{key}_label.csv", [[0, a, b] for _, a, b in SPANS[key]])
    findings = prepare(copy, tmp_path / "out")
    assert "the classes of the 2 test recordings are withheld in this copy; the data set has no test split" in findings
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == ["train", "validation"]


def test_overlap_is_unknown_without_players(raw, tmp_path):
    prepare(raw, tmp_path / "out")
    assert DatasetInfo.read(tmp_path / "out").official_overlap == "unknown"


@pytest.mark.parametrize(("player", "overlap"), [(2, True), (9, False)])
def test_players_tell_the_overlap(copy, tmp_path, player, overlap):
    csv(without_points(copy) / "players.csv", [PLAYERS[0], [1, player], *PLAYERS[2:]])
    findings = prepare(copy, tmp_path / "out")
    assert DatasetInfo.read(tmp_path / "out").official_overlap is overlap
    assert any("a player stands in two splits" in finding for finding in findings) is overlap
    assert {row["subject"] for row in rows(tmp_path / "out", "train")} == {"2", "4", "5"}


def test_player_disjoint_validation(copy, tmp_path):
    csv(without_points(copy) / "players.csv", PLAYERS)
    prepare(copy, tmp_path / "out", "miga", "players")
    people = {
        split: {row["subject"] for row in rows(tmp_path / "out", split)} for split in ("train", "validation", "test")
    }
    assert people["train"] | people["validation"] == {"2", "4", "5"}
    assert not people["train"] & people["validation"]
    assert people["validation"]
    assert people["test"] == {"1", "3"}
    assert DatasetInfo.read(tmp_path / "out").official_overlap is False


def test_player_disjoint_validation_needs_a_map(raw, tmp_path):
    with pytest.raises(ValueError, match=r"cannot be made: this copy does not say who is seen.*players\.csv"):
        prepare(raw, tmp_path / "out", "miga", "players")


# --- the paper's protocol --------------------------------------------------------------------------------------------


def test_paper_keeps_all_test_clips(copy, tmp_path):
    findings = prepare(without_points(copy), tmp_path / "out", "paper")
    assert len(rows(tmp_path / "out", "test")) == 11
    assert "test: 11 clips, 4563 were published; figures on it are not the published ones" in findings
    assert any("stand for the 35 test players" in finding for finding in findings)
    assert about(tmp_path / "out")["protocol"] == "paper"


def test_paper_splits_by_player(copy, tmp_path):
    players = [PLAYERS[0], [1, 2], [12, 7], [13, 4], [14, 5], [156, 62], [440, 3]]
    csv(without_points(copy) / "players.csv", players)
    prepare(copy, tmp_path / "out", "paper")
    held = {
        split: {row["clip"][:4] for row in rows(tmp_path / "out", split)} for split in ("train", "validation", "test")
    }
    assert held == {"train": {"0013", "0014", "0156"}, "validation": {"0001"}, "test": {"0012", "0440"}}


def test_paper_needs_its_own_numbers(copy, tmp_path):
    csv(without_points(copy) / "players.csv", [PLAYERS[0], *([v, f"player {p}"] for v, p in PLAYERS[1:])])
    with pytest.raises(
        ValueError, match=r"needs its own numbers of the players, 1 to 72, in players.csv; it says player 1"
    ):
        prepare(copy, tmp_path / "out", "paper")


# --- what is refused -------------------------------------------------------------------------------------------------


def test_players_file_must_name_everybody(copy, tmp_path):
    csv(without_points(copy) / "players.csv", PLAYERS[:-2])
    with pytest.raises(ValueError, match=r"players.csv names no player for 2 recordings: 0156, 0440"):
        prepare(copy, tmp_path / "out")
    csv(copy / "players.csv", [["recording", "who"], [1, 2]])
    with pytest.raises(ValueError, match=r"must begin with the line video,player"):
        prepare(copy, tmp_path / "out")


def test_unknown_class_numbers(copy, tmp_path):
    replace(without_points(copy) / "phase1/datasets/imigue_skeleton_train/0012/0012_label.csv", [[32, 0, 3]])
    with pytest.raises(ValueError, match=r"0012_label\.csv: the class numbers \[32\] are unknown \(1 to 31 and 99"):
        prepare(copy, tmp_path / "out")


def test_some_unknown_class_numbers_in_test(copy, tmp_path):
    replace(without_points(copy) / "phase2/imigue_skeleton_test/0156/0156_label.csv", [[0, 0, 3], [8, 4, 5]])
    with pytest.raises(ValueError, match=r"the class numbers \['0'\] of test recordings are unknown"):
        prepare(copy, tmp_path / "out")


def test_missing_recordings_and_other_folders(copy, tmp_path):
    (copy / "imigue_rgb/0013/0013.mp4").unlink()
    with pytest.raises(FileNotFoundError, match=r"\(NNNN\.mp4\) is missing for 1 of 6: 0013\. FG-SGL needs the RGB"):
        prepare(copy, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"holds no NNNN_label\.csv"):
        prepare(copy / "imigue_rgb", tmp_path / "out")


def test_shorter_keypoints_are_said(copy, tmp_path):
    path = without_points(copy) / "phase1/datasets/imigue_skeleton_train/0012/0012_openpose.csv"
    np.savetxt(path, np.ones((8, 411)), delimiter=",")
    findings = prepare(copy, tmp_path / "out")
    assert "0012: 8 frames of keypoints, 30 of video; clips may be off in time" in findings
    assert "0012: 2 clips have no keypoints" in findings


def test_command_line(copy, tmp_path, capsys):
    csv(without_points(copy) / "players.csv", PLAYERS)
    argv = [
        "prepare",
        "imigue",
        str(copy),
        "--out",
        str(tmp_path / "out"),
        "--protocol",
        "paper",
        "--validation",
        "players",
    ]
    assert main(argv) == 0
    assert "imigue: " in capsys.readouterr().out
    assert main(["prepare", "imigue"]) == 1
    assert "needs the folder of the original data" in capsys.readouterr().err


# --- data files ------------------------------------------------------------------------------------------------------


def test_lists_have_the_published_sizes():
    card = corpus.card_folder("imigue")
    lists, names = corpus.read_json(card / "splits.json"), corpus.read_json(card / "label_map.json")
    assert (len(lists["miga_test"]), sum(lists["miga_test"].values())) == (104, 4562)
    assert (len(lists["miga_validation"]), sum(lists["miga_validation"].values())) == (10, 777)
    assert not set(lists["miga_test"]) & set(lists["miga_validation"])
    assert len(set(lists["paper_train_players"])) == 37
    paper, miga = lists["expected"]["paper"], lists["expected"]["miga"]
    assert paper["train"] + paper["validation"] == 13_936
    assert {split: sum(counts.values()) for split, counts in names["published_counts"].items()} == {
        "train": miga["train"], "validation": miga["validation"],
    }  # fmt: skip
    assert list(names["names"].values()) == DatasetInfo.read(card).names
    assert list(names["names"]) == [*map(str, range(1, 32)), "99"]


def test_counts_per_class_are_compared():
    names = corpus.read_json(corpus.card_folder("imigue") / "label_map.json")
    published = names["published_counts"]["validation"]

    def clips(counts):
        return [
            imigue.ClipSample("a.mp4", names["names"][key], "1") for key, count in counts.items() for _ in range(count)
        ]

    assert imigue.compare_counts({"validation": clips(published)}, names) == [
        "validation: clips per class are the published ones"
    ]
    other = published | {"2": published["2"] - 1, "3": published["3"] + 1}
    assert (
        "differ from the published ones for ['Bulging face, deep breath', 'Touching hat']"
        in (imigue.compare_counts({"validation": clips(other)}, names)[0])
    )


@pytest.mark.slow
def test_100_000_rows_in_little_memory(tmp_path):
    """1,070 recordings of 100 clips each, in a process of its own, which says its greatest memory."""
    import subprocess
    import sys
    from pathlib import Path

    video = numbered_video(tmp_path / "one.mp4", 60)
    spans = [[1 + k % 31, k % 50, k % 50 + 9] for k in range(100)]
    for number in range(1070):
        link(tmp_path / f"raw/{number:04d}.mp4", video)
        csv(tmp_path / f"raw/{number:04d}_label.csv", spans)
    script = f"""
import sys
from pathlib import Path
sys.path.append({str(Path(__file__).parents[1])!r})
from peak_memory import peak
from microgesture.cli import frame_times
from microgesture.data import imigue
imigue.prepare(Path({str(tmp_path / "raw")!r}), Path({str(tmp_path / "out")!r}), frame_times, progress=False)
print(peak())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2_000_000  # KiB
    held = {
        path.parent.name: len(path.read_text().splitlines()) for path in (tmp_path / "out").glob("*/metadata.jsonl")
    }
    lists = corpus.read_json(corpus.card_folder("imigue") / "splits.json")["miga_test"]
    left_out = sum(100 - min(100, count) for count in lists.values())
    assert sum(held.values()) == 107_000 - left_out > 100_000
