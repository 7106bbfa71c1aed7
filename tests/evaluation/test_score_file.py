import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open

from microgesture.evaluation.score_file import Scores, clip_names, same_clips, score_path, scores_of, weights_digest


@pytest.fixture
def scores() -> Scores:
    logits = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    clips = ("clips/ä.mp4", "b.mp4#t=1.5,3.0", "c.mp4")
    return Scores("mine", "test", ("nod", "rub"), clips, ("s1", "s1", "s2"), np.array([0, 1, 1]), logits)


def test_written_and_read_back(scores, tmp_path) -> None:
    path = score_path(tmp_path, "test")
    scores.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["scores_test.safetensors"]
    again = Scores.read(path)
    np.testing.assert_array_equal(again.logits, scores.logits)
    np.testing.assert_array_equal(again.labels, scores.labels)
    for name in ("dataset", "split", "classes", "clips", "subjects"):
        assert getattr(again, name) == getattr(scores, name)


def test_scores_belong_to_the_weights_they_were_made_with(scores, tmp_path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    replace(scores, weights=weights_digest(tmp_path)).save(score_path(tmp_path, "test"))
    assert scores_of(tmp_path, "test").clips == scores.clips
    (tmp_path / "model.safetensors").write_bytes(b"others")
    with pytest.raises(ValueError, match="has been trained again since its scores were written: evaluate it on test"):
        scores_of(tmp_path, "test")


def test_any_program_can_read_it(scores, tmp_path) -> None:
    scores.save(tmp_path / "s")
    with safe_open(tmp_path / "s", "numpy") as file:
        assert file.get_tensor("logits").shape == (3, 2)
        assert json.loads(file.metadata()["clips"]) == list(scores.clips)


def test_what_cannot_be_is_refused(scores, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"clip 'a' stands twice"):
        replace(scores, clips=("a", "a", "b"))
    with pytest.raises(ValueError, match="3 clips and 2 classes need 3 subjects"):
        replace(scores, subjects=("s1",))
    with pytest.raises(ValueError, match=r"1 clips are not finite, such as b\.mp4#t=1\.5,3\.0"):
        replace(scores, logits=np.array([[0, 1], [np.inf, 0], [1, 1]], np.float32))
    with pytest.raises(FileNotFoundError, match="evaluate that checkpoint on that split first"):
        Scores.read(tmp_path / "none")
    (tmp_path / "half").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(ValueError, match="cannot be read"):
        Scores.read(tmp_path / "half")


def test_names_tell_spans_and_repeats_apart() -> None:
    spans = [(None, None), (1.5, 3.0), (1.5, 3.0), (0.0, None), (None, 12345.678)]
    names = clip_names(["a.mp4"] * 5, spans)
    assert names == ["a.mp4", "a.mp4#t=1.5,3.0", "a.mp4#t=1.5,3.0#2", "a.mp4#t=0.0,", "a.mp4#t=0.0,12345.678"]


def test_the_same_clips_in_another_order(scores) -> None:
    turned = replace(
        scores, clips=scores.clips[::-1], subjects=scores.subjects[::-1], labels=scores.labels[::-1],
        logits=scores.logits[::-1],
    )  # fmt: skip
    np.testing.assert_array_equal(same_clips(scores, turned).logits, scores.logits)
    with pytest.raises(ValueError, match="2 stand in one of them only, such as a"):
        same_clips(scores, replace(scores, clips=("a", *scores.clips[1:])))
    with pytest.raises(ValueError, match="give a clip different labels"):
        same_clips(scores, replace(scores, labels=np.array([0, 0, 1])))
    with pytest.raises(ValueError, match=r"know other classes: \['rub', 'wave'\]"):
        same_clips(scores, replace(scores, classes=("nod", "wave")))
