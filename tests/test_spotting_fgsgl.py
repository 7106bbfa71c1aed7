"""Untrimmed recordings: windows share frames and equal clips; how windows become segments."""

from __future__ import annotations

import copy
import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from video_files import video_file

import spotting_fgsgl
import video_fgsgl
from configuration_fgsgl import FGSGLConfig
from microgesture import spotting
from modeling_fgsgl import FGSGLForVideoClassification
from pipeline_fgsgl import FGSGLPipeline
from processing_fgsgl import FGSGLProcessor
from spotting_fgsgl import UNKNOWN_ID, Candidate, plan_windows, scan, segments

VISION = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32,
    "patch_size": 8, "attention_bias": True,
}  # fmt: skip
LIMITS = {"background": 1.0, "unknown": 0.0, "keep": 1.0, "overlap": 1.0}
SETTINGS = {"window_seconds": [0.4], "hop": 1, "head": LIMITS, "softmax": LIMITS}


@pytest.fixture(scope="module")
def pipe() -> FGSGLPipeline:
    torch.manual_seed(0)
    text = {"model_type": "llama", "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64}  # fmt: skip
    config = FGSGLConfig(
        vision_config=VISION, text_config=text, num_frames=4, embed_dim=16, id2label={0: "a", 1: "b", 2: "c"},
        temporal_pooling="learned", attribute_words={"initiator": ["hand", "leg"]},
    )  # fmt: skip
    model = FGSGLForVideoClassification(config)
    model.set_prototypes("fine", torch.randn(2, 48), torch.randn(48))
    return FGSGLPipeline(model, feature_extractor=FGSGLProcessor(num_frames=4, size=32), device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("videos")


def test_windows_cover_the_recording_and_share_their_frames() -> None:
    spans = plan_windows(Fraction(10), [1.2, 2.0], 2, 8)
    assert spans == sorted(spans, key=lambda s: (s[1], s[0]))
    assert all(0 <= a < b <= 10 for a, b in spans)
    for length in (Fraction(6, 5), Fraction(2)):
        starts = sorted(a for a, b in spans if b - a == length)
        assert starts[0] == 0
        assert starts[-1] == 10 - length
        assert max(b - a for a, b in pairwise(starts)) == length / 4
    assert plan_windows(Fraction(1, 2), [1.2, 2.0], 2, 8) == [(0, Fraction(1, 2))]


# Of the last two the packets do not tell the times: they are measured by a decode first.
@pytest.mark.parametrize("name", ["b_frames.mp4", "open_gop.mp4", "vfr.webm", "b_frames.avi", "false_keys.mp4"])
def test_a_window_is_the_clip_of_its_span_and_each_frame_is_decoded_once(pipe, folder, name, monkeypatch) -> None:
    path = video_file(folder, name)
    seen: list[int] = []
    resize = FGSGLProcessor.resize

    def counted(self, frames):
        seen.append(len(frames))
        return resize(self, frames)

    monkeypatch.setattr(FGSGLProcessor, "resize", counted)
    for measured in (False, True):
        seen.clear()
        try:
            parts = list(scan(pipe.model, pipe.feature_extractor, path, [0.4, 0.7], 1, measured=measured))
            break
        except video_fgsgl.UnplannedError:
            assert not measured
    monkeypatch.undo()
    with video_fgsgl.closing(video_fgsgl.Recording(path, measured=measured)) as recording:
        spans = plan_windows(recording.timeline.seconds, [0.4, 0.7], 1, 4)
        numbers = {place for span in spans for place in recording.places(4, *span)}
    assert sum(seen) == len(numbers)
    assert sum(len(part.start) for part in parts) == len(spans)
    logits = torch.cat([part.logits for part in parts])
    for (start, end), row in list(zip(spans, logits, strict=True))[::3]:
        clip = pipe.feature_extractor(path, float(start), float(end))["pixel_values"]
        with torch.no_grad():
            torch.testing.assert_close(pipe.model(clip).logits[0], row, atol=1e-5, rtol=1e-4)


def window(start: float, end: float, label: int = 0, score: float = 0.8, likely: float = 0.9) -> Candidate:
    return Candidate(start, end, label, score, likely, np.zeros(2))


def spans(found: list[Candidate]) -> list[tuple]:
    return [(round(s.start, 6), round(s.end, 6), s.label) for s in found]


def test_neighbours_of_one_class_and_length_are_one_segment() -> None:
    run = [window(1.0, 2.0), window(1.25, 2.25), window(1.5, 2.5), window(5.0, 6.0)]
    assert spans(segments(run, 0.0, 1.0, 1.0)) == [(1.0, 2.5, 0), (5.0, 6.0, 0)]
    assert spans(segments(run, 0.0, 0.5, 1.0)) == [(1.25, 2.25, 0), (5.25, 5.75, 0)]
    assert segments([], 0.0, 1.0, 1.0) == []


def test_of_one_class_the_best_stays_and_other_classes_may_overlap() -> None:
    found = [window(1.0, 2.0, 0, 0.9), window(1.2, 2.6, 0, 0.5), window(1.5, 2.5, 1, 0.4), window(2.0, 3.0, 0, 0.3)]
    assert spans(segments(found, 0.0, 1.0, 1.0)) == [(1.0, 2.0, 0), (1.5, 2.5, 1), (2.0, 3.0, 0)]
    assert spans(segments(found, 0.0, 1.0, 0.3)) == [(1.0, 2.0, 0), (2.0, 3.0, 0)]  # two share a third of both


def test_gestures_of_two_classes_at_once_both_stay_and_of_one_class_the_better() -> None:
    once = [window(1.0, 2.0, 0, 0.9), window(1.0, 2.0, 1, 0.5), window(1.0, 3.0, 1, 0.4)]
    assert spans(segments(once, 0.0, 1.0, 1.0)) == [(1.0, 2.0, 0), (1.0, 2.0, 1)]
    # What shares exactly the cap stays (IoU 0.5), what shares more does not.
    assert spans(segments(once[::2], 0.0, 1.0, 0.5)) == [(1.0, 2.0, 0), (1.0, 3.0, 1)]
    assert spans(segments(once[::2], 0.0, 1.0, 0.49)) == [(1.0, 2.0, 0)]
    assert spans(segments(once[1:], 0.0, 1.0, 1.0)) == [(1.0, 2.0, 1)]


def test_a_window_names_one_class_so_gestures_at_once_are_told_by_windows_of_two_lengths(pipe) -> None:
    logits = torch.tensor([[5.0, 4.9, 0], [0, 0, 5.0]])
    start, end = np.array([1.0, 0.5]), np.array([2.0, 2.5])
    windows = spotting_fgsgl.Windows(start, end, logits, torch.zeros(2, 1), torch.zeros(2, 2))
    found = spotting_fgsgl.candidates(windows, np.zeros(2), 0.5)
    assert spans(segments(found, 0.0, 1.0, 1.0)) == [(0.5, 2.5, 2), (1.0, 2.0, 0)]


def test_unknown_is_kept_and_gives_way() -> None:
    found = [window(1.0, 2.0, 0, 0.2, 0.9), window(1.5, 2.5, 1, 0.9, 0.3), window(4.0, 5.0, 2, 0.9, 0.3)]
    assert spans(segments(found, 0.5, 1.0, 1.0)) == [(1.0, 2.0, 0), (4.0, 5.0, UNKNOWN_ID)]


def test_what_is_background_is_dropped(pipe) -> None:
    many = torch.tensor([[5.0, 0, 0], [0, 0, 0], [0, 4.0, 0]])
    windows = spotting_fgsgl.Windows(np.arange(3.0), np.arange(3.0) + 1, many, torch.zeros(3, 1), torch.zeros(3, 2))
    scores = spotting_fgsgl.background_scores(pipe.model, windows, "softmax")
    assert scores[1] == pytest.approx(2 / 3)
    assert [c.label for c in spotting_fgsgl.candidates(windows, scores, 0.5)] == [0, 1]


def headed(pipe, classifier: list[float], background: float, limits: dict) -> FGSGLPipeline:
    """A pipeline that gives every window the same logits, and the head the same logit of being background."""
    config = copy.deepcopy(pipe.model.config)
    config.id2label = {0: "a", 1: "b", 2: "Non-MG"}
    model = FGSGLForVideoClassification(config)
    model.load_state_dict(pipe.model.state_dict())
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor(classifier))
    width = model.classifier.in_features
    model.set_background(torch.zeros(1, width), torch.tensor([background]), SETTINGS | {"head": LIMITS | limits})
    return FGSGLPipeline(model, feature_extractor=pipe.feature_extractor, device="cpu")


@pytest.mark.parametrize(
    ("classifier", "background", "labels"),
    [
        ([0.0, 0.0, 6.0], -4.0, ["Non-MG"]),  # an annotated class, however little it interests
        ([0.0, 0.0, 6.0], 4.0, []),  # background, whatever the class would be
        ([6.0, 0.0, 0.0], 4.0, []),
        ([0.0, 0.0, 0.2], -4.0, ["unknown"]),  # something happens, and no class is likely
        ([0.2, 0.0, 0.0], -4.0, ["unknown"]),
        ([0.0, 0.0, 0.2], 4.0, []),  # nothing happens: that is not unknown
        ([6.0, 0.0, 0.0], -4.0, ["a"]),
    ],
)
def test_background_non_mg_and_unknown_are_three_things(pipe, folder, classifier, background, labels) -> None:
    judge = headed(pipe, classifier, background, {"background": 0.5, "unknown": 0.6})
    found = judge.spot(video_file(folder, "b_frames.mp4"), progress=False)
    assert [segment["label"] for segment in found] == labels


def test_background_non_mg_and_unknown_side_by_side(pipe) -> None:
    judge = headed(pipe, [0.0, 0.0, 0.0], 0.0, {})
    with torch.no_grad():
        judge.model.background.weight[0, 0] = 1.0  # the first feature says how likely background is
    logits = torch.tensor([[0.0, 0, 6], [6.0, 0, 0], [0.2, 0, 0], [6.0, 0, 0]])
    pooled = torch.zeros(4, judge.model.classifier.in_features)
    pooled[:, 0] = torch.tensor([-4.0, 4.0, -4.0, -4.0])
    windows = spotting_fgsgl.Windows(np.arange(4.0), np.arange(4.0) + 1, logits, pooled, torch.zeros(4, 16))

    def labels(way: str) -> list[tuple[float, str]]:
        background = spotting_fgsgl.background_scores(judge.model, windows, way)
        found = segments(spotting_fgsgl.candidates(windows, background, 0.5), 0.6, 1.0, 1.0)
        return [(item["start"], item["label"]) for item in map(judge._segment, found)]

    assert labels("head") == [(0.0, "Non-MG"), (2.0, "unknown"), (3.0, "a")]
    # The baseline cannot tell background from what no class is likely for.
    assert labels("softmax") == [(0.0, "Non-MG"), (1.0, "a"), (3.0, "a")]


def test_the_cap_in_config_json_is_the_one_that_spot_obeys(pipe, folder, tmp_path) -> None:
    path = video_file(folder, "b_frames.mp4")
    model = FGSGLForVideoClassification(copy.deepcopy(pipe.model.config))
    model.load_state_dict(pipe.model.state_dict())
    # A classifier that calls short windows a, and the one over the whole recording b.
    parts = list(scan(model, pipe.feature_extractor, path, [0.4, 1.2], 2))
    pooled = torch.cat([part.pooled for part in parts])
    short = np.concatenate([part.end - part.start for part in parts]) < 0.5
    wanted = torch.tensor(np.stack([short, ~short, short & ~short], axis=1), dtype=torch.float32) * 8
    with torch.no_grad():
        model.classifier.weight.copy_(torch.linalg.lstsq(pooled, wanted).solution.T)
        model.classifier.bias.zero_()
    settings = SETTINGS | {"window_seconds": [0.4, 1.2], "hop": 2}
    model.set_background(torch.zeros(1, pooled.shape[1]), torch.tensor([-4.0]), settings)
    model.save_pretrained(tmp_path)
    labels = []
    for cap in (1.0, 0.3):
        config = json.loads((tmp_path / "config.json").read_text())
        config["spotting"]["head"]["overlap"] = cap
        (tmp_path / "config.json").write_text(json.dumps(config))
        judge = FGSGLForVideoClassification.from_pretrained(tmp_path)
        found = FGSGLPipeline(judge, feature_extractor=pipe.feature_extractor, device="cpu").spot(path, progress=False)
        labels.append({segment["label"] for segment in found})
    assert labels[0] == {"a", "b"}
    assert len(labels[1]) == 1


def test_the_progress_bar_counts_to_the_last_frame(pipe, folder, capsys) -> None:
    path = video_file(folder, "b_frames.mp4")
    pipe.spot(path, settings=SETTINGS, progress=True)
    with video_fgsgl.closing(video_fgsgl.Recording(path)) as recording:
        spans = plan_windows(recording.timeline.seconds, [0.4], 1, 4)
        frames = len({place for span in spans for place in recording.places(4, *span)})
    shown = capsys.readouterr().err.split("\r")
    assert f"b_frames.mp4:   0%|          | 0/{frames} " in shown[1]
    assert f"b_frames.mp4: 100%|██████████| {frames}/{frames} " in shown[-1]
    pipe.spot(path, settings=SETTINGS, progress=False)
    assert capsys.readouterr().err == ""


def test_spot_gives_segments_with_attributes(pipe, folder) -> None:
    path = video_file(folder, "b_frames.mp4")
    with pytest.raises(ValueError, match="fit-spotting"):
        pipe.spot(path)
    found = pipe.spot(path, settings=SETTINGS, progress=False)
    assert found
    for segment in found:
        assert set(segment) == {"start", "end", "label", "score", "attributes", "sentence"}
        assert 0 <= segment["start"] < segment["end"] <= 1.2
        assert {item["label"] for item in segment["attributes"]["initiator"]} == {"hand", "leg"}
    strict = SETTINGS | {"softmax": LIMITS | {"background": 0.0}}
    assert pipe.spot(path, settings=strict, progress=False) == []
    with pytest.raises(ValueError, match="background is 'head'"):
        pipe.spot(path, background="head", settings=SETTINGS, progress=False)


def test_a_background_head_is_saved_and_used(pipe, folder, tmp_path) -> None:
    width = pipe.model.classifier.in_features
    model = FGSGLForVideoClassification(copy.deepcopy(pipe.model.config))
    model.load_state_dict(pipe.model.state_dict())
    model.set_background(torch.randn(1, width), torch.zeros(1), SETTINGS)
    model.save_pretrained(tmp_path)
    again = FGSGLForVideoClassification.from_pretrained(tmp_path)
    assert torch.equal(again.background.weight, model.background.weight)
    assert again.config.spotting == SETTINGS
    other = FGSGLPipeline(again, feature_extractor=pipe.feature_extractor, device="cpu")
    assert other.spot(video_file(folder, "b_frames.mp4"), progress=False)
    with pytest.raises(ValueError, match=r"background weight has shape \(1, 3\)"):
        model.set_background(torch.zeros(1, 3), torch.zeros(1), SETTINGS)
    with pytest.raises(ValueError, match="it needs"):
        model.config.set_spotting({"hop": 1})
    with pytest.raises(ValueError, match="hop 9 from 1 to 4"):
        model.config.set_spotting(SETTINGS | {"hop": 9})
    with pytest.raises(ValueError, match="'head' must be from 0 to 1"):
        model.config.set_spotting(SETTINGS | {"head": {"background": 2, "unknown": 0, "keep": 1, "overlap": 1}})


def test_a_damaged_recording_is_named_wherever_it_is_read_whole(pipe, folder, tmp_path) -> None:
    data = bytearray(video_file(folder, "b_frames.mp4").read_bytes())
    data[3300:3500] = bytes(200)  # its packets promise frames that no decoder shows
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    with video_fgsgl.closing(video_fgsgl.Recording(path)) as recording, pytest.raises(video_fgsgl.UnplannedError):
        list(recording.pictures(range(30)))
    message = r"damaged\.mp4: only 27 of 30 frames can be decoded"
    with pytest.raises(ValueError, match=message):
        pipe.spot(path, settings=SETTINGS, progress=False)
    with pytest.raises(ValueError, match=message):
        spotting.scan(pipe, spotting_fgsgl, path, [0.4], 1, lambda part: part.logits)


def test_a_broken_recording_is_named(pipe, tmp_path, folder) -> None:
    data = video_file(folder, "b_frames.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"cut\.mp4"):
        pipe.spot(tmp_path / "cut.mp4", settings=SETTINGS, progress=False)
