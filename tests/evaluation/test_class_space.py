"""The class space: its file, its map, and the confusions that are shown beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from microgesture.evaluation.class_space import ClassSpace, space_path
from microgesture.evaluation.report.confusions import Confusion, worst_confusions
from microgesture.evaluation.score_file import Scores


@pytest.fixture
def space() -> ClassSpace:
    """Four clips on a line that is long in x, short in y and flat in z; prototypes beyond both ends."""
    clips = np.array([[3, 0, 5], [-3, 0, 5], [0, 1, 5], [0, -1, 5]], np.float32)
    return ClassSpace(("a", "b", "c", "d"), clips, np.array([[4, 0, 5], [-4, 0, 9]], np.float32), "w")


def test_written_and_read_back(space, tmp_path) -> None:
    path = space_path(tmp_path, "test")
    space.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["class_space_test.safetensors"]
    again = ClassSpace.read(path)
    assert (again.clips, again.weights) == (space.clips, "w")
    np.testing.assert_array_equal(again.class_embeds, space.class_embeds)
    np.testing.assert_array_equal(again.category_embeds, space.category_embeds)


def test_the_plane_is_that_of_the_clips_and_prototypes_are_seen_in_it(space) -> None:
    clips, categories, variance = space.plane()
    assert variance == pytest.approx((0.9, 0.1))  # 18 and 2 of 20
    np.testing.assert_allclose(np.abs(clips[:, 0]), [3, 3, 0, 0], atol=1e-5)
    np.testing.assert_allclose(np.abs(categories[:, 0]), [4, 4], atol=1e-5)
    assert np.sign(categories[0, 0]) == np.sign(clips[0, 0])
    with pytest.raises(ValueError, match="2 clips span no plane"):
        replace(space, clips=space.clips[:2], class_embeds=space.class_embeds[:2]).plane()


def test_the_nearest_prototype_is_the_one_of_the_greatest_cosine() -> None:
    space = ClassSpace(("a", "b"), np.array([[0.6, 0.8], [1, 0]], np.float32), np.array([[1, 0], [0, 1]], np.float32))
    assert space.nearest().tolist() == [1, 0]


def test_what_is_no_class_space_is_refused(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="evaluate that checkpoint on that split first"):
        ClassSpace.read(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"cannot be read .*: evaluate the checkpoint again"):
        ClassSpace.read(tmp_path / "bad")
    scores = Scores("d", "test", ("x",), ("a",), ("p",), np.array([0]), np.zeros((1, 1), np.float32))
    scores.save(tmp_path / "scores")
    with pytest.raises(ValueError, match="holds no class space: its format is 'fgsgl-scores-1'"):
        ClassSpace.read(tmp_path / "scores")


def test_the_worst_confusions_are_the_frequent_ones_then_the_sure_ones() -> None:
    shares = np.array([[0.1, 0.9, 0], [0.3, 0.7, 0], [0.1, 0.1, 0.8], [0.5, 0.4, 0.1], [0, 0, 1]])
    logits = np.log(shares + 1e-9)
    labels = np.array([0, 0, 0, 1, 2])
    scores = Scores("d", "test", tuple("xyz"), tuple("abcde"), ("p",) * 5, labels, logits.astype(np.float32))
    found = worst_confusions(scores)
    assert [(c.true, c.predicted, c.count, c.total, c.row) for c in found] == [
        (0, 1, 2, 3, 0),
        (0, 2, 1, 3, 2),
        (1, 0, 1, 1, 3),
    ]
    assert found[0].probability == pytest.approx(0.9)
    assert worst_confusions(scores, 1) == found[:1]
    assert isinstance(found[0], Confusion)
