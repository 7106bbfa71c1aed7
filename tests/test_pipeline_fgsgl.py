"""The pipeline: what it takes, what it gives, and that a checkpoint carries it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SHARED, moving_square, needs_shared, write_video
from tiny_checkpoint import talking, write_checkpoint
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from configuration_fgsgl import TASK
from explain_fgsgl import blurred, overlay
from microgesture.data.fg_text import VOCABULARY, FGText, sentence_parts
from modeling_fgsgl import FGSGLForVideoClassification
from pipeline_fgsgl import FGSGLPipeline, sentence
from processing_fgsgl import FGSGLProcessor

OUTSIDE = """
import json, sys
from transformers import pipeline
pipe = pipeline("micro-gesture-recognition", model=sys.argv[1], trust_remote_code=True, device="cpu")
out = {"labels": pipe(sys.argv[2], top_k=2), "attributes": pipe(sys.argv[2], attributes=True)}
out["list"] = pipe([sys.argv[2], "absent.mp4", sys.argv[2]], batch_size=2, top_k=1)
out["spot"] = pipe.spot(sys.argv[2], progress=False)
out["frames"] = pipe.explain(sys.argv[2], grid=2).frames.tolist()
out["ours"] = [m for m in sys.modules if m.split(".")[0] in ("microgesture", "modeling_fgsgl", "pipeline_fgsgl")]
pipe.save_pretrained("again")
out["no_task"] = pipeline(model=sys.argv[1], trust_remote_code=True, device="cpu")(sys.argv[2], top_k=2)
print("ANSWERS" + json.dumps(out))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    return write_checkpoint(folder, ("nod", "rub", "Non-MG"), temporal_pooling="learned", **talking(0.3))


@pytest.fixture(scope="module")
def pipe(checkpoint) -> FGSGLPipeline:
    model = FGSGLForVideoClassification.from_pretrained(checkpoint)
    return FGSGLPipeline(model, feature_extractor=FGSGLProcessor.from_pretrained(checkpoint), device="cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("clips")
    for number, direction in enumerate(("up", "left", "down")):
        write_video(folder / f"{number}.mp4", moving_square(direction, np.random.default_rng(number)))
    return sorted(map(str, folder.iterdir()))


def test_an_answer_is_that_of_processor_and_model(pipe, clips) -> None:
    with torch.no_grad():
        scores = pipe.model(pipe.feature_extractor(clips[0])["pixel_values"]).logits.softmax(-1)[0]
    answer = pipe(clips[0])
    assert [item["label"] for item in answer] == [
        pipe.model.config.id2label[k] for k in scores.argsort(descending=True).tolist()
    ]
    assert [item["score"] for item in answer] == pytest.approx(sorted(scores.tolist(), reverse=True))
    assert pipe(clips[0], top_k=1) == answer[:1]


def same(one, other) -> bool:
    return [a["label"] for a in one] == [a["label"] for a in other] and np.allclose(
        [a["score"] for a in one], [a["score"] for a in other], atol=1e-6
    )


def test_every_kind_of_input_gives_the_same(pipe, clips) -> None:
    expected = [pipe(clip) for clip in clips]
    rows = [{"path": clip, "bytes": None} for clip in clips]
    frames = np.stack([np.asarray(f.to_ndarray(format="rgb24")) for f in frames_of(clips[0])])
    assert same(pipe(Path(clips[0]).read_bytes()), expected[0])
    assert same(pipe(frames), expected[0])
    assert same(pipe(torch.from_numpy(frames)), expected[0])
    assert same(pipe({"video": rows[0], "label": 3, "start": None, "end": None}), expected[0])
    table = datasets.Dataset.from_dict({"video": clips}).cast_column("video", datasets.Video())
    undecoded = table.cast_column("video", datasets.Video(decode=False))
    many = [
        pipe(clips),
        pipe(tuple(clips)),
        pipe(clips, batch_size=2),
        pipe(rows, batch_size=3),
        list(pipe(c for c in clips)),
    ]
    many += [pipe(table["video"]), pipe(undecoded["video"]), list(pipe(KeyDataset(undecoded, "video")))]
    many.append(pipe(clips, num_workers=1))
    for answers in many:
        assert all(same(a, b) for a, b in zip(answers, expected, strict=True))
    assert pipe([]) == []


def frames_of(path):
    import av

    with av.open(path) as container:
        yield from container.decode(video=0)


def test_spans_and_mirrored(pipe, clips) -> None:
    whole = pipe(clips[1])
    part = pipe(clips[1], start=0.1, end=0.4)
    assert not same(whole, part)
    assert same(pipe({"path": clips[1], "start": 0.1, "end": 0.4}), part)
    assert not same(pipe(clips[1], mirrored=True), whole)
    with pytest.raises(ValueError, match="top_k is 0"):
        pipe(clips[0], top_k=0)
    with pytest.raises(TypeError, match="topk is no setting"):
        pipe(clips[0], topk=1)
    with pytest.raises(TypeError, match="a row needs"):
        pipe({"file": clips[0]})


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_bad_files_of_a_list_leave_the_good_ones(pipe, clips, batch_size, tmp_path) -> None:
    (tmp_path / "empty.mp4").touch()
    answers = pipe([str(tmp_path / "empty.mp4"), clips[0], "absent.mp4", None, clips[1]], batch_size=batch_size)
    assert [answers[k]["error"]["kind"] for k in (0, 2, 3)] == ["empty", "not_found", "unsupported"]
    assert "0 bytes" in answers[0]["error"]["message"]
    assert same(answers[1], pipe(clips[0]))
    assert same(answers[4], pipe(clips[1]))
    with pytest.raises(ValueError, match="there is no such file"):
        pipe("absent.mp4")


def test_attributes_and_sentence(pipe, clips) -> None:
    answer = pipe([clips[0]], attributes=True, top_k=2)[0]
    ranked = pipe.model.describe(pipe.feature_extractor(clips[0])["pixel_values"])[0]
    for name, words in answer["attributes"].items():
        assert [w["label"] for w in words] == [word for word, _ in ranked[name][:2]]
        assert [w["score"] for w in words] == pytest.approx([score for _, score in ranked[name][:2]], abs=1e-5)
    best = {name: words[0]["label"] for name, words in answer["attributes"].items()}
    assert answer["sentence"] == FGText(**best).sentence()


def test_sentences_are_those_of_fg_text() -> None:
    parts = json.loads(json.dumps(sentence_parts()))
    random = np.random.default_rng(0)
    for _ in range(300):
        words = {name: random.choice([*values, ""]) for name, values in VOCABULARY.items()}
        if any(words.values()):
            text = FGText(**{name: str(word) or None for name, word in words.items()})
            ranked = {name: [{"label": str(word)}] if word else [] for name, word in words.items()}
            assert sentence(parts, ranked) == text.sentence()
    assert sentence(parts, {name: [] for name in VOCABULARY}) is None
    assert sentence(None, {name: [{"label": "hand"}] for name in VOCABULARY}) is None


def test_dtype_and_device(checkpoint, clips) -> None:
    pipe = pipeline(TASK, model=str(checkpoint), trust_remote_code=True, device="cpu", dtype=torch.bfloat16)
    assert pipe.dtype == torch.bfloat16
    answer = pipe(clips[:2], batch_size=2, attributes=True)
    assert all(0 <= item["score"] <= 1 for item in answer[0]["labels"])
    assert pipe.spot(clips[0], progress=False)
    assert pipe.explain(clips[0], grid=2).patches.shape == (4, 2, 2)


def test_a_checkpoint_carries_its_pipeline(checkpoint, clips, pipe, tmp_path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSTARTUP")}
    environment |= {"HF_HOME": str(tmp_path / "hf"), "HF_MODULES_CACHE": str(tmp_path / "mod"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", OUTSIDE, str(checkpoint), clips[0]],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    out = json.loads(done.stdout.split("ANSWERS")[1])
    assert same(out["labels"], pipe(clips[0], top_k=2))
    assert out["attributes"]["sentence"] == pipe(clips[0], attributes=True)["sentence"]
    assert out["list"][1]["error"]["kind"] == "not_found"
    assert same(out["list"][2], out["labels"][:1])
    assert [s["label"] for s in out["spot"]] == [s["label"] for s in pipe.spot(clips[0], progress=False)]
    assert out["frames"] == pytest.approx(pipe.explain(clips[0], grid=2).frames.tolist(), abs=1e-5)
    assert out["ours"] == []
    assert out["no_task"] == out["labels"]
    again = {path.name for path in (tmp_path / "again").iterdir()}
    assert again == {path.name for path in checkpoint.iterdir()}
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["custom_pipelines"][TASK]["impl"] == "pipeline_fgsgl.FGSGLPipeline"


def test_saving_the_model_of_a_pipeline_saves_json(checkpoint, tmp_path) -> None:
    pipe = pipeline(TASK, model=str(checkpoint), trust_remote_code=True, device="cpu")
    pipe.model.save_pretrained(tmp_path)  # transformers had put classes into the configuration
    assert (tmp_path / "pipeline_fgsgl.py").is_file()


def test_explain_covers_and_measures(pipe, clips) -> None:
    """Against the plain way: cover a patch, run the whole clip again."""
    found = pipe.explain(clips[2], grid=4)
    pixels = pipe.feature_extractor(clips[2])["pixel_values"]

    def logp(x):
        with torch.no_grad():
            return F.log_softmax(pipe.model(x).logits, -1)[0]

    label = int(logp(pixels).argmax())
    assert found.label == pipe.model.config.id2label[label]
    assert found.score == pytest.approx(float(logp(pixels)[label].exp()), abs=1e-6)
    for t, row, column in ((0, 0, 0), (3, 2, 1)):
        covered = pixels.clone()
        patch = slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8)
        covered[0, t, :, *patch] = blurred(pixels[0], 4)[t, :, *patch]
        assert found.patches[t, row, column] == pytest.approx(
            float(logp(pixels)[label] - logp(covered)[label]), abs=1e-5
        )
    moved = pixels.clone()
    moved[0, 2] = pixels[0, 1]
    assert found.frames[2] == pytest.approx(float(logp(pixels)[label] - logp(moved)[label]), abs=1e-5)
    assert found.picture.shape == (32, 4 * 32, 3)
    assert found.picture.dtype == np.uint8
    assert pipe.explain(clips[2], grid=1, label="rub").label == "rub"
    with pytest.raises(ValueError, match="'wave' is no class"):
        pipe.explain(clips[2], label="wave")
    with pytest.raises(ValueError, match="grid is 0"):
        pipe.explain(clips[2], grid=0)


def test_red_is_where_it_counted() -> None:
    frames, patches = torch.full((2, 3, 8, 8), 100, dtype=torch.uint8), torch.zeros(2, 2, 2)
    patches[1, 0, 1], patches[0, 0, 0] = 2.0, -1.0
    picture = overlay(frames, patches)
    assert (picture[:, :8] == 100).all()
    assert picture[1, 14].tolist() == [193, 40, 40]


@pytest.mark.slow
@needs_shared
def test_every_shared_file_gives_a_result_or_its_own_error(pipe) -> None:
    good = [p for folder in ("videos", "videos_derived") for p in sorted((SHARED / "data" / folder).iterdir())]
    bad = sorted((SHARED / "data" / "bad_inputs").iterdir())
    answers = []
    for path in good + bad:
        begin = time.process_time()
        answers += pipe([str(path)], top_k=1)
        assert time.process_time() - begin < 10, path
    assert all(isinstance(answer, list) for answer in answers[: len(good)])
    for path in good:
        assert isinstance(pipe.spot(path, progress=False), list), path
    messages = [answer["error"]["message"] for answer in answers[len(good) :]]
    assert len({message.split(": ", 1)[1] for message in messages}) == len(bad)
