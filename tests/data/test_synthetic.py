"""The synthetic data set: plans without drawing, a few drawn clips, and a small folder that is loaded."""

import json
import shutil
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import av
import numpy as np
import pytest

from microgesture.data import synthetic
from microgesture.data.clips import DatasetInfo, load
from microgesture.data.fg_text import ATTRIBUTES, VOCABULARY, FGText
from microgesture.data.synthetic import card, coder, dataset, motion, plan, recordings, render
from microgesture.data.synthetic.figure import JOINTS
from microgesture.data.synthetic.gestures import AMPLITUDES, CLASSES, SCENES

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    plan.SplitPlan("train", range(0, 4), (1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0)),
    plan.SplitPlan("validation", range(4, 5), (0,) * 16 + (1,)),
    plan.SplitPlan("test", range(5, 6), (0, 0, 1) + (0,) * 14),
)


@pytest.fixture(scope="module")
def demo() -> dict[str, list[plan.ClipPlan]]:
    return plan.plan_clips("demo", 0)


@pytest.fixture(scope="module")
def full() -> dict[str, list[plan.ClipPlan]]:
    return plan.plan_clips("full", 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of six clips, drawn by one process."""
    out = tmp_path_factory.mktemp("synthetic") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(plan.SIZES, "tiny", TINY)
        synthetic.generate(out, "tiny", seed=3, workers=1, progress=False)
    return out


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


# The plan


def test_classes_are_smgs_and_the_class_list_of_the_data_set_agrees() -> None:
    info = DatasetInfo.read(ROOT / "datasets" / "synthetic")
    assert info.names == list(CLASSES)
    assert len(CLASSES) == 17
    assert info.mirrored is False
    assert info.version == synthetic.VERSION
    assert not (ROOT / "datasets" / "__init__.py").exists()


def test_counts_of_the_demo(demo: dict[str, list[plan.ClipPlan]]) -> None:
    assert sum(map(len, demo.values())) <= 400
    for split, least in (("train", 8), ("validation", 3), ("test", 3)):
        counts = Counter(clip.programme.label for clip in demo[split])
        assert set(counts) == set(CLASSES)
        assert min(counts.values()) >= least


def test_counts_of_the_full_size(full: dict[str, list[plan.ClipPlan]]) -> None:
    for split, people in (("train", 20), ("validation", 5), ("test", 10)):
        assert len({clip.subject.name for clip in full[split]}) >= people
    for split in ("validation", "test"):
        counts = Counter(clip.programme.label for clip in full[split])
        assert set(counts) == set(CLASSES)
        assert min(counts.values()) >= 10
        assert len(set(counts.values())) == 1  # the long tail is in training only
    train = Counter(clip.programme.label for clip in full["train"])
    assert train["Arms akimbo"] > 30 * train["Pulling shirt collar"] > 0
    natural = Counter(clip.programme.label for clip in full["test_natural"])
    assert tuple(natural[label] for label in CLASSES) == plan.SMG_TEST_COUNTS


@pytest.mark.parametrize("size", ["demo", "full"])
def test_subjects_clothes_rooms_and_cameras_are_disjoint(size: str) -> None:
    seen: dict[str, dict[object, str]] = {what: {} for what in ("name", "shirt", "wall", "camera")}
    for split, clips in plan.plan_clips(size, 1).items():
        side = split.split("_")[0]
        for clip in clips:
            for what, owners in seen.items():
                assert owners.setdefault(getattr(clip.subject, what), side) == side, (what, split)


def test_a_plan_is_the_same_for_the_same_seed_and_another_for_another(demo: dict[str, list[plan.ClipPlan]]) -> None:
    again, other = plan.plan_clips("demo", 0), plan.plan_clips("demo", 1)
    assert again == demo
    assert other["train"][0] != demo["train"][0]


def test_lengths(demo: dict[str, list[plan.ClipPlan]]) -> None:
    frames = {clip.timing.frames for clips in demo.values() for clip in clips}
    assert min(frames) == 30
    assert max(frames) == 70


def test_unknown_size() -> None:
    with pytest.raises(ValueError, match=r"size 'huge' must be one of: demo, full"):
        plan.plan_clips("huge", 0)


def test_nuisances_say_nothing_about_the_class(full: dict[str, list[plan.ClipPlan]]) -> None:
    """A linear model on everything that is drawn without the class stays at the rate of guessing."""
    subjects = [clip.subject for clip in full["test"]]
    rows, labels = [], []
    for index in range(17 * 60):
        label = CLASSES[index % 17]
        clip = plan.draw_clip(
            "train", index, label, subjects[(index // 17) % len(subjects)], [5, index], coder.Coder()
        )
        rows.append(clip.nuisances())
        labels.append(label)
    half = 17 * 30
    x, x_test = card._one_hot(rows[:half], rows[half:])
    accuracy = card._accuracy(card._linear(), (x, labels[:half]), (x_test, labels[half:]))
    guessing, deviation = 100 / 17, 100 * np.sqrt(1 / 17 * 16 / 17 / half)
    assert accuracy < guessing + 3 * deviation


def test_nuisances_do_not_change_with_the_class(demo: dict[str, list[plan.ClipPlan]]) -> None:
    subject = demo["train"][0].subject
    clips = [plan.draw_clip("train", 0, label, subject, [1, 2, 3], coder.Coder()) for label in CLASSES]
    assert all(clip.nuisances() == clips[0].nuisances() for clip in clips)
    assert len({clip.programme.amplitude for clip in clips}) == 1


# The movement


def test_every_class_defining_motion_spans_four_pixels_of_96(
    demo: dict[str, list[plan.ClipPlan]], full: dict[str, list[plan.ClipPlan]]
) -> None:
    limit = 4 * 448 / 96
    for clip in [*demo["train"], *demo["validation"], *demo["test"], *full["test"]]:
        low, high = AMPLITUDES[clip.programme.amplitude]
        assert low <= clip.programme.amplitude_px <= high
        points = render.pose(clip)[2]
        assert points.shape == (clip.timing.frames, len(JOINTS), 3)
        assert np.isfinite(points).all()
        joint = points[:, JOINTS.index(motion.defining_joint(clip.programme)), :2]
        assert np.ptp(joint, axis=0).max() >= limit, (clip.split, clip.name, clip.programme)


def test_the_subjects_left_hand_is_on_the_pictures_right(demo: dict[str, list[plan.ClipPlan]]) -> None:
    clip = next(c for c in demo["train"] if c.timing.onset > 0.1 and c.timing.rest == "hanging")
    first = render.pose(clip)[2][0]
    assert first[JOINTS.index("hand_left"), 0] > first[JOINTS.index("hand_right"), 0]


def test_up_and_down_are_the_same_places_in_another_order(demo: dict[str, list[plan.ClipPlan]]) -> None:
    clip = next(c for c in demo["train"] if c.programme.site == "notch")
    timing = replace(clip.timing, onset=0.0, returns=False, sway=0.0)
    strokes = {}
    for direction in ("up", "down"):
        truth = FGText("hand", "suprasternal_notch", direction, "cover", side=clip.programme.side)
        still = replace(clip, timing=timing, programme=replace(clip.programme, truth=truth))
        hand = JOINTS.index(f"hand_{clip.programme.side}")
        strokes[direction] = render.pose(still)[2][timing.frames // 2 :, hand, 1]
    assert strokes["up"][-1] < strokes["up"][0] - 5
    assert strokes["down"][-1] > strokes["down"][0] + 5


# The coder


def test_the_words_are_in_the_vocabulary_and_have_neighbours() -> None:
    for attribute, words in coder.WORDS.items():
        for word in words:
            assert word in VOCABULARY[attribute]
            near = coder.NEIGHBOURS[attribute][word].split()
            assert near
            assert word not in near
            assert set(near) <= set(VOCABULARY[attribute])


def test_words_vary_inside_a_class_and_are_shared_between_classes() -> None:
    for attribute in ("receivers", "directions", "motions"):
        owners = Counter(
            word for scenes in SCENES.values() for word in {w for s in scenes for w in getattr(s, attribute).split()}
        )
        assert np.mean([count > 1 for count in owners.values()]) >= 0.6
    for label, scenes in SCENES.items():
        records = {
            (r, d, m)
            for s in scenes
            for r in s.receivers.split()
            for d in s.directions.split()
            for m in s.motions.split()
        }
        assert len(records) >= 12, label


def test_the_coders_rates() -> None:
    truth = FGText("hand", "eyes", "up", "scratch", side="left")
    rng = np.random.default_rng(0)
    written = [coder.Coder().write(truth, rng) for _ in range(4000)]
    for attribute in ATTRIBUTES:
        words = [getattr(text, attribute) for text in written]
        missing = sum(word is None for word in words) / len(words)
        wrong = sum(word not in (None, getattr(truth, attribute)) for word in words) / (len(words) * (1 - missing))
        assert missing == pytest.approx(0.05, abs=0.012)
        assert wrong == pytest.approx(0.15, abs=0.02)
        near = coder.NEIGHBOURS[attribute][getattr(truth, attribute)].split()
        mistakes = Counter(word for word in words if word not in (None, getattr(truth, attribute)))
        assert sum(mistakes[word] for word in near) / sum(mistakes.values()) > 0.75
    assert sum(text.side == "right" for text in written) / len(written) == pytest.approx(0.03, abs=0.012)


def test_a_coder_without_error_writes_the_truth() -> None:
    truth = FGText("both_arms", "chest", "inward", "fold")
    perfect = coder.Coder(confusion=0.0, missing=0.0, wrong_side=0.0)
    assert perfect.write(truth, np.random.default_rng(0)) == truth
    silent = coder.Coder(missing=1.0)
    assert silent.write(truth, np.random.default_rng(0)).motion_type == "fold"


# The files


def test_files_are_playable_h264(folder: Path) -> None:
    rows = card.read_rows(folder / "train")
    for row in rows[:2]:
        with av.open(str(folder / "train" / row["file_name"])) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert (stream.width, stream.height) == (448, 448)
            assert float(stream.average_rate) == 28.0
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert 30 <= len(frames) == row["nuisance"]["frames"] <= 70
        assert frames[0].std() > 15
        points = synthetic.load_keypoints(folder / "train", row["keypoints"])
        assert points.shape == (len(frames), len(JOINTS), 3)


def test_the_bytes_depend_on_neither_workers_nor_an_earlier_stop(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plan.SIZES, "tiny", TINY)
    out = tmp_path / "again"
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(dataset, "_source", fail)  # stops after the clips, before anything is called whole
        with pytest.raises(KeyboardInterrupt):
            synthetic.generate(out, "tiny", seed=3, workers=2, progress=False)
    assert not list(out.glob("*/metadata.jsonl"))
    synthetic.generate(out, "tiny", seed=3, workers=1, progress=False)
    assert files(out) == files(folder)


def test_a_full_folder_is_left_alone_and_another_data_set_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(plan.SIZES, "tiny", TINY)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with caplog.at_level("INFO"):
        synthetic.generate(folder, "tiny", seed=3, workers=1, progress=False)
    assert "nothing to do" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with pytest.raises(ValueError, match="holds another data set"):
        synthetic.generate(folder, "tiny", seed=4, workers=1, progress=False)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="was not made by this generator"):
        synthetic.generate(tmp_path, "tiny", workers=1, progress=False)


def test_load_also_after_moving(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    for place in (folder, moved):
        loaded = load(place)
        assert {name: len(split) for name, split in loaded.items()} == {"train": 4, "validation": 1, "test": 1}
        row = loaded["train"][0]
        assert Path(row["video"]["path"]).is_relative_to(place.resolve())
        assert set(row["truth"]) == {*ATTRIBUTES, "side"}
        assert row["amplitude"] in AMPLITUDES
        assert (place / "train" / row["keypoints"]).is_file()


def test_rows_keep_truth_and_text_apart(folder: Path) -> None:
    by_name = {clip.name: clip for clip in plan._plan_split(TINY[0], 3, coder.Coder())}
    for row in card.read_rows(folder / "train"):
        clip = by_name[Path(row["file_name"]).stem]
        assert row["truth"] == dataset.record(clip.programme.truth)
        assert {a: row[a] for a in ATTRIBUTES} == {a: asdict(clip.written)[a] for a in ATTRIBUTES}


def test_hash_names_the_generator() -> None:
    assert len(synthetic.generator_hash()) == 16
    assert synthetic.generator_hash() == synthetic.generator_hash()


def test_card_measures() -> None:
    assert card.conditional_entropy(["a", "b", "a", "b"], [0, 0, 0, 0]) == pytest.approx(1.0)
    assert card.conditional_entropy(["a", "b"], [0, 1]) == 0.0
    bits = card.record_measures(draws=150)
    assert bits["H(record | class), truth"] > 3.0
    assert bits["H(record | class), written"] > bits["H(record | class), truth"]
    assert bits["H(class | record), truth"] > 0.1


# Recordings


def test_recordings(tmp_path: Path) -> None:
    synthetic.generate_recordings(tmp_path, 2, seed=2, seconds=(8.0, 9.0), workers=1, progress=False)
    index = [json.loads(line) for line in (tmp_path / "recordings.jsonl").read_text().splitlines()]
    segments = [json.loads(line) for line in (tmp_path / "segments.jsonl").read_text().splitlines()]
    assert [row["gestures"] > 0 for row in index] == [True, False]
    assert segments
    for row in index:
        with av.open(str(tmp_path / row["file_name"])) as container:
            assert container.streams.video[0].frames == round(row["seconds"] * 28)
    for segment in segments:
        assert segment["file_name"] == index[0]["file_name"]
        assert 0 < segment["start"] < segment["end"] < index[0]["seconds"]
        assert segment["label"] in CLASSES
        assert set(segment["truth"]) == set(segment["fg_text"]) == {*ATTRIBUTES, "side"}
    with pytest.raises(ValueError, match=r"segments\.jsonl exists"):
        synthetic.generate_recordings(tmp_path, 1, workers=1, progress=False)


def test_planned_recordings_are_timed_and_of_test_subjects() -> None:
    people = {clip.subject.name for clip in plan.plan_clips("demo", 0)["test"]}
    plans = recordings.plan_recordings(6, seed=0)
    assert not plans[-1].segments
    for recording in plans:
        assert recording.subject.name in people
        assert 30 * 28 <= recording.timing.frames <= 90 * 28
        ends = [0, *(s.last for s in recording.segments)]
        starts = [*(s.first for s in recording.segments), recording.timing.frames]
        assert all(end < start for end, start in zip(ends, starts, strict=True))
