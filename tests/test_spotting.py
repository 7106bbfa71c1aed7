"""Fitting to untrimmed recordings: who trains, who chooses, who is measured; and the figures, by hand."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pytest
from conftest import moving_square, write_video
from safetensors import SafetensorError
from tiny_checkpoint import write_checkpoint

from microgesture import cli, spotting
from microgesture.evaluation.segments import Segment
from modeling_fgsgl import FGSGLForVideoClassification

NAMES = ("up", "left")


def recording(path: Path, gestures: list[tuple[float, str]], seed: int) -> None:
    """Eight seconds of a resting square that moves for a second at the given times."""
    random = np.random.default_rng(seed)
    frames = np.repeat(moving_square("up", random, length=20)[:1], 160, axis=0)
    for start, direction in gestures:
        first = round(20 * start)
        frames[first : first + 20] = moving_square(direction, random, length=20)
    write_video(path, frames, 20)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Two recordings for training, two for validation, and for test one with gestures and one without."""
    out = tmp_path_factory.mktemp("recordings")
    for number, split in enumerate(("train", "validation", "test")):
        (out / split).mkdir()
        index, rows = [], []
        for k in range(2):
            name = f"R{k}.mp4"
            gestures = [] if (split, k) == ("test", 1) else [(1.0 + k / 2, "up"), (4.0, "left"), (6.0, "up")]
            recording(out / split / name, gestures, 10 * number + k)
            index.append({"file_name": name, "subject": f"{split}{k}"})
            rows += [{"file_name": name, "label": "moves", "start": s, "end": s + 1} for s, _ in gestures]
        for name, lines in (("recordings.jsonl", index), ("segments.jsonl", rows)):
            (out / split / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return out


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint", ("moves",), num_frames=8, temporal_pooling="learned")


def test_fit_stores_a_head_and_limits_and_spots(recordings, checkpoint, tmp_path, capsys) -> None:
    before = (checkpoint / "model.safetensors").read_bytes()
    assert cli.main(["fit-spotting", str(checkpoint), str(recordings)]) == 0
    assert "segment F1" in capsys.readouterr().out
    model = FGSGLForVideoClassification.from_pretrained(checkpoint)
    assert model.config.spotting["window_seconds"] == [1.0]
    assert model.config.spotting["hop"] == 2
    assert (checkpoint / "model.safetensors").read_bytes() != before
    figures = json.loads((checkpoint / spotting.FILE).read_text())
    assert set(figures["test"]) == {"head", "softmax"}
    # The square moves or rests: no network has to be trained to tell that, only the head.
    found = figures["test"]["head"]["alarms_any_class"]
    assert found["gestures"] == 3
    assert found["misses"] == 0
    assert found["false_alarms_per_minute_in_empty"] == 0
    argv = ["predict", checkpoint, recordings / "test", "--spot", "--json", tmp_path / "o.jsonl", "--device", "cpu"]
    assert cli.main(list(map(str, argv))) == 0
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()[1:]]
    assert [len(line["segments"]) > 0 for line in lines] == [True, False]


def test_a_full_disk_leaves_the_checkpoint_as_it_was(recordings, checkpoint) -> None:
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before["model.safetensors"]) // 2, limits[1]))
    try:
        with pytest.raises(SafetensorError, match="File too large"):
            cli.main(["fit-spotting", str(checkpoint), str(recordings)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir() if path.is_file()} == before


def test_a_person_in_two_splits_and_reserved_names_are_refused(recordings, checkpoint, tmp_path, capsys) -> None:
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        for path in (recordings / "train").iterdir():
            (tmp_path / split / path.name).write_bytes(path.read_bytes())
    assert cli.main(["fit-spotting", str(checkpoint), str(tmp_path)]) == 1
    assert "subject 'train0' is in both" in capsys.readouterr().err
    config = json.loads((checkpoint / "config.json").read_text())
    config["id2label"]["0"] = "background"
    (checkpoint / "config.json").write_text(json.dumps(config))
    assert cli.main(["fit-spotting", str(checkpoint), str(recordings)]) == 1
    assert "a class is called background" in capsys.readouterr().err


def test_recordings_of_a_prepared_data_set(recordings, tmp_path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.mp4").write_bytes(b"")
    row = {"file_name": "a.mp4", "label": "left", "subject": "anna", "start": 1.5, "end": 2.0}
    metadata = tmp_path / "train" / "metadata.jsonl"
    metadata.write_text(json.dumps(row) + "\n" + json.dumps(row | {"start": 3, "end": 4}) + "\n")
    (only,) = spotting.read_recordings(tmp_path, "train", NAMES)
    assert (only.subject, only.segments) == ("anna", [Segment(1, 1.5, 2.0), Segment(1, 3.0, 4.0)])
    for change, message in (
        ({"label": "nod"}, "does not know the class 'nod'"),
        ({"start": None}, "this clip is a whole file"),
        ({"file_name": "b.mp4"}, "is missing"),
    ):
        metadata.write_text(json.dumps(row | change) + "\n")
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            spotting.read_recordings(tmp_path, "train", NAMES)
    with pytest.raises(FileNotFoundError, match="has no split 'validation'"):
        spotting.read_recordings(tmp_path, "validation", NAMES)


def test_what_a_window_shows() -> None:
    start, end = np.array([0.0, 1.0, 2.0, 2.9, 5.0, 8.0]), np.array([2.0, 3.0, 4.0, 4.9, 7.0, 10.0])
    truth = spotting.window_truth(start, end, [Segment(0, 2.0, 3.0), Segment(1, 5.5, 5.9)])
    # Half of the window, all of the gesture, a twentieth of it, all of a short one, nothing.
    assert truth.tolist() == [1, 0, 0, 1, 0, 1]
    assert spotting.window_truth(np.array([1.7]), np.array([2.4]), [Segment(0, 2.0, 4.0)]).tolist() == [0]
    assert spotting.window_truth(np.array([1.0]), np.array([2.3]), [Segment(0, 2.0, 4.0)]).tolist() == [-1]


def test_one_kind_of_window_cannot_train_a_head() -> None:
    with pytest.raises(ValueError, match="only background, or only gestures"):
        spotting.fit_background(np.zeros((3, 2)), np.ones(3))


def test_alarms_by_hand() -> None:
    truth = {"a": [Segment(0, 1, 2), Segment(1, 5, 6)], "b": []}
    found = {"a": [Segment(0, 1.1, 2.2), Segment(0, 1.2, 2.0), Segment(0, 5, 6)], "b": [Segment(1, 0, 1)]}
    figures = spotting.alarms(found, truth, {"a": 30.0, "b": 30.0})
    assert figures["false_alarms_per_minute"] == 3
    assert figures["false_alarms_per_minute_in_empty"] == 2
    assert (figures["misses"], figures["gestures"]) == (1, 2)
    # IoU 0.75 and 0.8: the second is the partner.
    assert figures["onset_error"] == pytest.approx(0.2)
    assert figures["offset_error"] == pytest.approx(0.0)
    none = spotting.alarms({"a": []}, {"a": truth["a"]}, {"a": 60.0})
    assert (none["misses"], none["onset_error"], none["false_alarms_per_minute_in_empty"]) == (2, None, None)
