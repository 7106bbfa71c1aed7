"""Fitting to untrimmed recordings: who trains, who chooses, who is measured; and the figures, by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from conftest import moving_square, write_video
from full_disk import largest_file
from tiny_checkpoint import write_checkpoint

import spotting_fgsgl
from microgesture import cli, spotting
from microgesture.evaluation.segments import Segment
from modeling_fgsgl import FGSGLForVideoClassification

NAMES = ("up", "left")


# Split -> recording -> (start in seconds, direction, seconds). Each split has durations of its own.
GESTURES: dict[str, list[list[tuple[float, str, float]]]] = {
    "train": [[(1.0, "up", 0.5), (4.0, "left", 1.0), (6.0, "up", 0.7)], [(1.5, "up", 0.6), (4.0, "left", 0.9)]],
    "validation": [[(start, "up", 0.8), (4.0, "left", 0.8), (6.0, "up", 0.8)] for start in (1.0, 1.5)],
    "test": [[(1.0, "up", 0.95), (4.0, "left", 0.95), (6.0, "up", 0.95)], []],
}
TRAIN_QUARTILES = [0.6, 0.7, 0.9]


def recording(path: Path, gestures: list[tuple[float, str, float]], seed: int) -> None:
    """Eight seconds of a square that rests, and moves at the given times."""
    random = np.random.default_rng(seed)
    frames = np.repeat(moving_square("up", random, length=20)[:1], 160, axis=0)
    for start, direction, seconds in gestures:
        first, length = round(20 * start), round(20 * seconds)
        frames[first : first + length] = moving_square(direction, random, length=length)
    write_video(path, frames, 20)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Two recordings for training, two for validation, and for test one with gestures and one without."""
    out = tmp_path_factory.mktemp("recordings")
    for number, (split, parts) in enumerate(GESTURES.items()):
        (out / split).mkdir()
        index, rows = [], []
        for k, gestures in enumerate(parts):
            name = f"R{k}.mp4"
            recording(out / split / name, gestures, 10 * number + k)
            index.append({"file_name": name, "subject": f"{split}{k}"})
            rows += [{"file_name": name, "label": "moves", "start": s, "end": s + d} for s, _, d in gestures]
        for name, lines in (("recordings.jsonl", index), ("segments.jsonl", rows)):
            (out / split / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return out


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint", ("moves",), num_frames=8, temporal_pooling="learned")


class Fitted(NamedTuple):
    """One run of `fit-spotting`: the checkpoint, its weights before, what was printed, and function -> its calls."""

    checkpoint: Path
    before: bytes
    said: str
    calls: dict[str, list[tuple[tuple, Any]]]

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.checkpoint / spotting.FILE).read_text())


@pytest.fixture(scope="module")
def fitted(recordings, tmp_path_factory) -> Fitted:
    folder = write_checkpoint(
        tmp_path_factory.mktemp("fitted") / "checkpoint", ("moves",), num_frames=8, temporal_pooling="learned"
    )
    before = (folder / "model.safetensors").read_bytes()
    calls: dict[str, list[tuple[tuple, Any]]] = {}

    def noted(name: str, real: Callable) -> Callable:
        """The real function; what it was given and gave back is kept."""

        def wrapper(*given: Any) -> Any:
            calls.setdefault(name, []).append((given, real(*given)))
            return calls[name][-1][1]

        return wrapper

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as said:
        for name in ("scan", "training_windows", "fit_background", "choose", "evaluate"):
            patch.setattr(spotting, name, noted(name, getattr(spotting, name)))
        assert cli.main(["fit-spotting", str(folder), str(recordings)]) == 0
    return Fitted(folder, before, said.getvalue(), calls)


def test_fit_stores_a_head_and_limits_and_spots(recordings, fitted, tmp_path) -> None:
    assert "segment F1" in fitted.said
    model = FGSGLForVideoClassification.from_pretrained(fitted.checkpoint)
    assert model.config.spotting == fitted.result["spotting"]
    assert model.config.spotting["hop"] == 2
    assert (fitted.checkpoint / "model.safetensors").read_bytes() != fitted.before
    figures = fitted.result["test"]
    assert set(figures) == {"head", "softmax"}
    # The square moves or rests: no network has to be trained to tell that, only the head.
    found = figures["head"]["alarms_any_class"]
    assert found["gestures"] == 3
    assert found["misses"] == 0
    assert found["false_alarms_per_minute_in_empty"] == 0
    out = tmp_path / "o.jsonl"
    argv = ["predict", fitted.checkpoint, recordings / "test", "--spot", "--json", out, "--device", "cpu"]
    assert cli.main(list(map(str, argv))) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()[1:]]
    assert [len(line["segments"]) > 0 for line in lines] == [True, False]


def split_files(recordings: Path, split: str) -> list[Path]:
    return [recordings / split / f"R{k}.mp4" for k in range(2)]


def test_the_head_learns_from_training_recordings_only(recordings, fitted) -> None:
    drawn = fitted.calls["training_windows"]
    assert [given[2].path for given, _ in drawn] == split_files(recordings, "train")
    (((pooled, is_background), _),) = fitted.calls["fit_background"]
    for k, learned in enumerate((pooled, is_background)):
        assert np.array_equal(learned, np.concatenate([windows[k] for _, windows in drawn]))


def test_limits_are_chosen_on_validation_recordings_only(recordings, fitted) -> None:
    truth = [
        [Segment(0, start, start + seconds) for start, _, seconds in gestures] for gestures in GESTURES["validation"]
    ]
    assert [given[2] for given, _ in fitted.calls["choose"]] == ["head", "softmax"]
    for (_, given, way), (limits, _) in fitted.calls["choose"]:
        assert [item.recording.path for item in given] == split_files(recordings, "validation")
        assert [item.recording.segments for item in given] == truth
        assert fitted.result["spotting"][way] == limits


def test_test_recordings_are_looked_at_once_and_last(recordings, fitted) -> None:
    in_order = [path for split in GESTURES for path in split_files(recordings, split)]
    assert [given[2] for given, _ in fitted.calls["scan"]] == in_order
    assert [given[2] for given, _ in fitted.calls["evaluate"]] == ["head", "softmax"]
    for (_, given, way, limits), figures in fitted.calls["evaluate"]:
        assert [item.recording.path for item in given] == split_files(recordings, "test")
        assert limits == fitted.result["spotting"][way]
        assert figures == fitted.result["test"][way]


def test_windows_are_as_long_as_the_quartiles_of_training_gestures(fitted) -> None:
    assert fitted.result["spotting"]["window_seconds"] == TRAIN_QUARTILES
    for (_, given, _), _ in fitted.calls["choose"]:
        for item in given:
            lengths = np.unique((item.windows.end - item.windows.start).round(6))
            assert lengths.tolist() == TRAIN_QUARTILES


def test_a_full_disk_leaves_the_checkpoint_as_it_was(recordings, checkpoint, monkeypatch, capsys) -> None:
    monkeypatch.setattr(spotting, "STEPS", 1)  # which thresholds are chosen does not matter here
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    with largest_file(len(before["model.safetensors"]) // 2):
        assert cli.main(["fit-spotting", str(checkpoint), str(recordings)]) == 1
    assert f"could not be written to {checkpoint}: a file would be larger than is allowed" in capsys.readouterr().err
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


def by_hand(windows: list[tuple[float, float, int, float]], truth: list[Segment], background: list[float]):
    """Scored windows of a recording: (start, end, class of two, its logit)."""
    start, end, label, logit = map(np.array, zip(*windows, strict=True))
    logits = torch.zeros(len(windows), 2)
    logits[torch.arange(len(windows)), torch.tensor(label)] = torch.tensor(logit, dtype=torch.float32)
    parts = spotting_fgsgl.Windows(start, end, logits, torch.zeros(0), torch.zeros(len(windows), 2))
    return spotting.Scored(spotting.Recording(Path("a.mp4"), "anna", truth), parts, {"head": np.array(background)})


def test_an_annotated_non_mg_counts_and_unknown_does_not(tmp_path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.mp4").write_bytes(b"")
    row = {"file_name": "a.mp4", "label": "Non-MG", "subject": "anna", "start": 1.0, "end": 2.0}
    (tmp_path / "train" / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    (only,) = spotting.read_recordings(tmp_path, "train", ("rub", "Non-MG"))
    assert only.segments == [Segment(1, 1.0, 2.0)]
    assert spotting.window_truth(np.array([1.0, 4.0]), np.array([2.0, 5.0]), only.segments).tolist() == [0, 1]
    # Non-MG, background, something that is no likely class, and a gesture.
    item = by_hand([(1, 2, 1, 6), (4, 5, 1, 6), (7, 8, 1, 0.2), (9, 10, 0, 6)], only.segments, [0.1, 0.9, 0.1, 0.1])
    limits = {"background": 0.5, "unknown": 0.7, "keep": 1.0, "overlap": 1.0}
    found = spotting.found_segments(spotting_fgsgl, item, "head", limits)
    assert [(s.label, s.start, s.end) for s in found] == [(1, 1.0, 2.0), (0, 9.0, 10.0)]


@pytest.mark.parametrize(("second", "cap"), [([Segment(1, 0.9, 2.1)], 1.0), ([], 0.1)])
def test_the_cap_on_overlap_follows_the_validation_recordings(second, cap) -> None:
    # Windows of two lengths name two classes; whether both are right, only the annotation tells.
    item = by_hand([(1, 2, 0, 6), (0.9, 2.1, 1, 5), (5, 6, 0, 0)], [Segment(0, 1, 2), *second], [0.1, 0.1, 0.9])
    limits, figures = spotting.choose(spotting_fgsgl, [item], "head")
    assert (limits["overlap"], figures["f1"]) == (cap, 1.0)


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
