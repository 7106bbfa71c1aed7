"""Pose pickles of mmaction2 and pyskl: into our keypoints, or refused with the reason."""

import os
import pickle

import numpy as np
import pytest

from microgesture.data.pose_pickle import PosePickle
from microgesture.data.safe_pickle import UnsafePickleError


def annotation(name="a_0", people=1, frames=4, joints=17, **changes):
    rng = np.random.default_rng(len(name) + people)
    return {
        "frame_dir": name,
        "label": 3,
        "total_frames": frames,
        "img_shape": (720, 1280),
        "original_shape": (720, 1280),
        "keypoint": rng.uniform(1, 700, (people, frames, joints, 2)).astype(np.float16),
        "keypoint_score": rng.uniform(0.5, 1, (people, frames, joints)).astype(np.float16),
    } | changes


def save(tmp_path, annotations, split=None, protocol=4):
    path = tmp_path / "poses.pkl"
    content = {"split": {"train": []} if split is None else split, "annotations": annotations}
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_points_scores_labels_and_splits(tmp_path, protocol):
    given = [annotation("a_0"), annotation("b_1", label=np.int64(31))]
    poses = PosePickle.read(save(tmp_path, given, {"train": ["a_0"], "all": ["a_0", "b_1"], "val": []}, protocol))
    assert dict(poses) == {"a_0": 3, "b_1": 31}
    assert poses.layout.name == "coco_17"
    assert poses.splits == {"a_0": ("train", "all"), "b_1": ("all",)}
    points = poses.points("a_0")
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points[..., :2], given[0]["keypoint"][0])
    np.testing.assert_array_equal(points[..., 2], given[0]["keypoint_score"][0])


@pytest.mark.parametrize(("joints", "layout"), [(22, "openpose_22"), (36, "openpose_36"), (137, "openpose_137")])
def test_layout_is_known_by_its_size(tmp_path, joints, layout):
    assert PosePickle.read(save(tmp_path, [annotation(joints=joints)])).layout.name == layout


def test_surest_person_is_taken(tmp_path):
    given = annotation(people=3)
    given["keypoint_score"][1] += 0.6
    poses = PosePickle.read(save(tmp_path, [given]))
    np.testing.assert_array_equal(poses.points("a_0")[..., :2], given["keypoint"][1])


def test_without_scores_unseen_points_have_confidence_0(tmp_path):
    given = annotation(people=2, keypoint_score=None)
    given["keypoint"][0] = 0
    given["keypoint"][1, :, 5] = 0
    points = PosePickle.read(save(tmp_path, [given])).points("a_0")
    assert points[:, 5, 2].tolist() == [0] * 4
    assert points[:, 6, 2].tolist() == [1] * 4


def test_three_numbers_are_kept(tmp_path):
    given = annotation(joints=25)
    given["keypoint"] = np.random.default_rng(0).normal(size=(1, 4, 25, 3)).astype(np.float32)
    del given["keypoint_score"]
    poses = PosePickle.read(save(tmp_path, [given]))
    np.testing.assert_array_equal(poses.points("a_0"), given["keypoint"][0])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"keypoint": np.zeros((4, 17, 2))},
            r"'a_0'\): keypoint must be \(people, frames, points, 2 or 3\), got \(4, 17",
        ),
        ({"keypoint": np.zeros((1, 4, 17, 4))}, "keypoint must be"),
        ({"keypoint": [[1, 2]]}, "got no array"),
        ({"keypoint": np.zeros((1, 0, 17, 2))}, "keypoint is empty"),
        ({"keypoint_score": np.zeros((1, 4, 16))}, r"keypoint_score must be \(1, 4, 17\), got \(1, 4, 16\)"),
        ({"total_frames": 5}, "total_frames is 5, but keypoint has 4 frames"),
        ({"frame_dir": 7}, "frame_dir must be text and label a whole number, got 7 and 3"),
        ({"label": "3"}, "frame_dir must be text and label a whole number"),
    ],
)
def test_bad_annotations(tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        PosePickle.read(save(tmp_path, [annotation() | changes]))


def test_bad_files(tmp_path):
    for content, match in (
        ([1], "is no pose pickle"),
        ({"annotations": {}}, "is no pose pickle"),
        ({"annotations": []}, "holds no annotation"),
        ({"annotations": [{"frame_dir": "a"}]}, "annotation 0 lacks label, keypoint"),
        ({"annotations": [annotation(), annotation()]}, "'a_0' is annotated twice"),
        ({"annotations": [annotation("a"), annotation("b", joints=20)]}, r"mixes clips with \[17, 20\] points"),
        ({"annotations": [annotation(joints=28)]}, "no keypoint layout has 28 joints"),
        (
            {"annotations": [annotation()], "split": {"train": ["z"]}},
            "split 'train' lists 'z', which has no annotation",
        ),
        ({"annotations": [annotation()], "split": ["a_0"]}, "split must be a dictionary of lists"),
    ):
        path = tmp_path / "poses.pkl"
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match=match):
            PosePickle.read(path)


def test_nan_is_named(tmp_path):
    given = annotation()
    given["keypoint"][0, 1, 2, 0] = np.nan
    poses = PosePickle.read(save(tmp_path, [given]))
    with pytest.raises(ValueError, match="the points of 'a_0' hold NaN or infinity"):
        poses.points("a_0")


class Attack:
    def __reduce__(self):
        return os.system, ("true",)


def test_nothing_is_run(tmp_path):
    with pytest.raises(UnsafePickleError, match=r"wants posix\.system"):
        PosePickle.read(save(tmp_path, [annotation(keypoint=Attack())]))
