"""`microgesture keypoints`, from videos to a stream that trains on what was found in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import DIRECTIONS, moving_square, write_recipe, write_video

import evaluate_fgsgl
import train_fgsgl
import video_fgsgl
from microgesture import cli
from microgesture.data import load
from microgesture.data.clips import ClipSample, write_split
from microgesture.data.keypoints import read_layout
from microgesture.people.extraction import Extractor


def keypoints(*argv: object, detector: Path, pose: Path) -> int:
    return cli.main(
        ["keypoints", *map(str, argv), "--detector", str(detector), "--pose", str(pose), "--device", "cpu"]
    )


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


@pytest.fixture
def data(tiny_dataset, tmp_path) -> Path:
    """Two clips of each class for training, one for validation; those are two spans of one video each."""
    out = tmp_path / "data"
    out.mkdir()
    shutil.copyfile(tiny_dataset / "labels.json", out / "labels.json")
    for split, clips in (("train", 8), ("validation", 4)):
        (out / split / "clips").mkdir(parents=True)
        rows = []
        for number in range(0, clips, 2):
            pair = [DIRECTIONS[(number + k) % 4] for k in (0, 1)]
            rng = np.random.default_rng([number, clips])
            frames = np.concatenate([moving_square(direction, rng, length=14) for direction in pair])
            write_video(out / split / f"clips/{number}.mp4", frames)
            spans = ((None, 0.5), (0.5, None))
            rows += [
                ClipSample(f"clips/{number}.mp4", f"Hand {direction}", split, None, *span)
                for direction, span in zip(pair, spans, strict=True)
            ]
        write_split(out / split, rows)
    return out


def bright(video: Path) -> np.ndarray:
    """The middle of the bright square in each frame, `(T, 2)`; no number where it lies on the border."""
    frames = video_fgsgl.read_frames(video, video_fgsgl.probe(video).frames)[..., 0].numpy() > 130
    places = [np.argwhere(frame)[:, ::-1] for frame in frames]
    whole = [len(place) > 0 and np.ptp(place, 0).min() >= 10 for place in places]
    return np.array([p.mean(0) if w else [np.nan] * 2 for p, w in zip(places, whole, strict=True)])


def test_a_data_set_gets_points_and_a_stream_trains_on_them(
    data, one_person, finds_squares, tmp_path, monkeypatch, capsys
) -> None:
    networks = {"detector": one_person, "pose": finds_squares}
    assert keypoints(data, **networks) == 0
    assert f"{data / 'train'}: 8 clips\n" in capsys.readouterr().out
    assert json.loads((data / "labels.json").read_text())["keypoints"] == "coco_17"
    rows = rows_of(data / "train")
    assert [row["keypoints"] for row in rows[:2]] == [
        "keypoints/clips/0.mp4__0.500.npy",
        "keypoints/clips/0.mp4_0.500_.npy",
    ]
    first, second = (np.load(data / "train" / row["keypoints"]) for row in rows[:2])
    assert (first.shape, second.shape, first.dtype) == ((14, 17, 3), (14, 17, 3), np.float32)
    found = np.concatenate([np.load(data / "train" / row["keypoints"])[:, 9, :2] for row in rows])
    there = np.concatenate([bright(data / "train" / f"clips/{number}.mp4") for number in (0, 2, 4, 6)])
    whole = np.isfinite(there).all(1)
    assert whole.sum() > 80
    assert np.abs(found - there)[whole].mean() < 2  # pixels, of 64
    slopes = [np.polyfit(there[whole, axis], found[whole, axis], 1)[0] for axis in (0, 1)]
    np.testing.assert_allclose(slopes, 1, atol=0.1)  # a wrong margin would show here
    assert cli.main(["check", str(data)]) == 0
    assert "errors: none" in capsys.readouterr().out
    times = {path: path.stat().st_mtime_ns for path in data.rglob("*.npy")}
    monkeypatch.setattr(Extractor, "__call__", None)  # nothing is left to be done
    assert keypoints(data, **networks) == 0
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*.npy")} == times
    assert "0 clips; 8 were there already" in capsys.readouterr().out
    fields = {
        "stream": "skeleton", "stream_config": {"widths": [8, 16], "joint_groups": 4, "temporal_kernel": 3},
        "dataset_dir": str(data), "num_frames": 8, "output_dir": str(tmp_path / "out"), "use_cpu": True, "seed": 0,
        "cache_dir": str(tmp_path / "cache"), "num_train_epochs": 30, "per_device_train_batch_size": 8,
        "learning_rate": "1e-2", "disable_tqdm": True,
    }  # fmt: skip
    train_fgsgl.main(write_recipe(tmp_path / "skeleton.yaml", fields))
    evaluate_fgsgl.main([str(tmp_path / "out"), str(data), "--split", "validation"])
    assert json.loads((tmp_path / "out" / "eval_validation.json").read_text())["metrics"]["total"] == 4
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["validation"]["correct"] >= 3


def test_videos_become_a_split_without_labels(data, two_people, vitpose, tmp_path, capsys) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_video(clips / name, moving_square("up", np.random.default_rng(0)))
    (clips / "bad.mp4").write_text("no video")
    networks = {"detector": two_people, "pose": vitpose}
    out = data / "unlabelled"
    assert keypoints(clips, "--out", clips / "out", **networks) == 3
    assert keypoints(clips, "--out", clips / "out", **networks) == 3
    assert "0 clips; 2 were there already" in capsys.readouterr().out
    shutil.rmtree(clips / "out")
    assert keypoints(clips, "--out", out, "--people", 2, **networks) == 3
    screen = capsys.readouterr()
    assert f"{out}: 2 clips" in screen.out
    assert "bad.mp4: this is a text file, not a video" in screen.err
    assert "1 videos failed" in screen.err
    assert [(row["file_name"], row["label"]) for row in rows_of(out)] == [
        ("videos/a.mp4", None),
        ("videos/b.mp4", None),
    ]
    points = np.load(out / "keypoints" / "videos" / "a.mp4.npy")
    assert points.shape == (2, 20, 17, 3)
    assert points[0, :, :, 0].mean() > points[1, :, :, 0].mean()  # the right person is larger
    write_video(clips / "bad.mp4", moving_square("up", np.random.default_rng(0)))
    assert keypoints(clips, "--out", out, "--people", 2, **networks) == 0
    assert "1 clips; 2 were there already" in capsys.readouterr().out
    assert load(data)["unlabelled"]["keypoints"] == [f"keypoints/videos/{name}.mp4.npy" for name in ("a", "b", "bad")]
    with pytest.raises(SystemExit):
        keypoints(clips, "--out", out, "--people", 3, **networks)
    assert keypoints(clips, "--out", out, **networks) == 1
    assert "was made otherwise (people); remove that folder to begin again" in capsys.readouterr().err


def test_no_video_of_a_split_is_taken_for_another_or_left_out(two_people, vitpose, tmp_path, capsys) -> None:
    networks, out = {"detector": two_people, "pose": vitpose}, tmp_path / "out"
    for day, direction in (("monday", "up"), ("tuesday", "down")):
        (tmp_path / day).mkdir()
        write_video(tmp_path / day / "a.mp4", moving_square(direction, np.random.default_rng(0), length=4))
    assert keypoints(tmp_path / "monday", "--out", out, **networks) == 0
    made = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert keypoints(tmp_path / "tuesday", "--out", out, **networks) == 1
    assert f"{out}/videos/a.mp4 is another video than {tmp_path}/tuesday/a.mp4" in capsys.readouterr().err
    (tmp_path / "tuesday" / "a.mp4").rename(tmp_path / "tuesday" / "b.mp4")
    assert keypoints(tmp_path / "tuesday", "--out", out, **networks) == 1
    assert f"{out} has 1 other clips, such as videos/a.mp4; name all videos at once" in capsys.readouterr().err
    assert keypoints(out / "videos", "--out", out, **networks) == 1
    assert f"all of these videos lie in {out} itself" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == made
    shutil.copyfile(tmp_path / "monday" / "a.mp4", tmp_path / "tuesday" / "a.mp4")  # the same video, copied
    assert keypoints(tmp_path / "tuesday", "--out", out, **networks) == 0
    assert "1 clips; 1 were there already" in capsys.readouterr().out


def test_points_of_mirrored_recordings_have_the_subjects_own_left_and_right(
    data, one_person, vitpose, tmp_path
) -> None:
    networks = {"detector": one_person, "pose": vitpose}
    clip = data / "train" / "clips" / "0.mp4"
    for name, said in (("plain", []), ("mirrored", ["--mirrored"])):
        assert keypoints(clip, "--out", tmp_path / name, *said, **networks) == 0
    plain, mirrored = (np.load(tmp_path / n / "keypoints/videos/0.mp4.npy") for n in ("plain", "mirrored"))
    order = read_layout("coco_17").mirrored_order
    np.testing.assert_array_equal(mirrored, plain[:, order])
    assert not np.array_equal(mirrored, plain)
    labels = json.loads((data / "labels.json").read_text())
    (data / "labels.json").write_text(json.dumps(labels | {"mirrored": True}))
    assert keypoints(data, **networks) == 0
    both = [np.load(data / "train" / row["keypoints"]) for row in rows_of(data / "train")[:2]]
    np.testing.assert_array_equal(np.concatenate(both), mirrored)


def test_a_run_that_stops_leaves_nothing_half_and_goes_on(data, one_person, vitpose, monkeypatch, capsys) -> None:
    networks = {"detector": one_person, "pose": vitpose}
    before = (data / "train" / "metadata.jsonl").read_bytes()
    real, calls = Extractor.__call__, []

    def stops(self, pictures):
        calls.append(1)
        if len(calls) == 3:
            next(iter(pictures))
            raise KeyboardInterrupt
        return real(self, pictures)

    monkeypatch.setattr(Extractor, "__call__", stops)
    with pytest.raises(KeyboardInterrupt):
        keypoints(data, **networks)
    assert (data / "train" / "metadata.jsonl").read_bytes() == before
    done = sorted(data.rglob("*.npy"))
    assert len(done) == 4
    assert all(np.load(path).shape == (14, 17, 3) for path in done)
    done[0].write_bytes(done[0].read_bytes()[:200])  # as a full disk leaves it
    monkeypatch.setattr(Extractor, "__call__", real)
    capsys.readouterr()
    assert keypoints(data, **networks) == 0
    assert f"{data / 'train'}: 5 clips; 3 were there already" in capsys.readouterr().out
    assert all(np.load(path).shape == (14, 17, 3) for path in data.rglob("*.npy"))
    assert not list(data.rglob(".*"))


def test_a_damaged_video_leaves_the_tables_as_they_were(data, one_person, vitpose, capsys) -> None:
    networks = {"detector": one_person, "pose": vitpose}
    video = data / "train" / "clips" / "2.mp4"
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) // 2])
    tables = {path: path.read_bytes() for path in [*data.glob("*/metadata.jsonl"), data / "labels.json"]}
    assert keypoints(data, **networks) == 3
    told = capsys.readouterr().err
    assert str(video) in told
    assert "1 videos failed; the data set's tables are as before" in told
    assert keypoints(data, "--on-error", "stop", **networks) == 1
    assert {path: path.read_bytes() for path in tables} == tables
    video.write_bytes(whole)
    assert keypoints(data, **networks) == 0
    assert all(row["keypoints"] for row in rows_of(data / "train"))


def test_nobody_is_told_and_is_zero(data, two_people, vitpose, capsys) -> None:
    assert keypoints(data, "--min_score", "0.9999", detector=two_people, pose=vitpose) == 0
    assert "8 clips; nobody is seen in 8: 0.mp4__0.500, 0.mp4_0.500_," in capsys.readouterr().out
    assert all(not np.load(path).any() for path in data.rglob("*.npy"))


def test_what_cannot_work_is_said_before_any_work(data, two_people, vitpose, tmp_path, capsys) -> None:
    def told(*argv: object) -> str:
        assert keypoints(*argv, detector=two_people, pose=vitpose) == 1
        return capsys.readouterr().err

    assert "name the split to make of the videos with --out" in told(data / "train" / "clips")
    assert "is a data set; give it alone, or give videos" in told(data, data)
    assert "holds the data sets data; give one of them" in told(tmp_path)
    assert "leave out --out and --mirrored" in told(data, "--mirrored")
    assert "--min_score is 2.0 (0 to 1)" in told(data, "--min_score", "2")
    assert "--detect_every is 0; it must be 1 to 30" in told(data, "--detect_every", "0")
    assert "is a split that this command did not make" in told(data / "train" / "clips", "--out", data / "train")
    (data / "train" / "keypoints").mkdir()
    (data / "train" / "keypoints" / "mine.npy").write_bytes(b"")
    assert "holds keypoints that this command did not make; it replaces none" in told(data)
    assert keypoints(data, detector=two_people, pose=two_people) == 1
    assert "is no ViTPose that transformers can load: it is a yolos" in capsys.readouterr().err
