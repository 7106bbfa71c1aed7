"""Layouts as data: the published lists, the published mistakes, and conversion and mirroring both ways."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from microgesture.data.keypoints import LAYOUTS, Layout, convert, flip, layout_of_size, read_layout

ROOT = Path(__file__).resolve().parents[2]
BODY_25 = [*range(8), 15, 16, 17, 18]
MM_GESTURE_36 = [
    0, 1, 2, 3, 4, 5, 6, 7, 15, 16, 17, 18, 27, 29, 33, 37, 39, 44, 49, 52, 73, 76, 79, 82,
    95, 99, 103, 107, 111, 115, 116, 120, 124, 128, 132, 136,
]  # fmt: skip
RIGHT_TIPS, LEFT_TIPS = [120, 124, 128, 132, 136], [99, 103, 107, 111, 115]
SUBSETS = {
    "openpose_22": BODY_25 + RIGHT_TIPS + LEFT_TIPS,
    "openpose_35": [*range(25), *RIGHT_TIPS, *LEFT_TIPS],
    "openpose_36": MM_GESTURE_36,
    "openpose_68": sorted(BODY_25 + MM_GESTURE_36[12:24] + [93, 94] + [*range(95, 137)]),
}


def points(layout, seed=0, frames=3):
    return np.random.default_rng(seed).uniform(1, 600, (frames, len(read_layout(layout).names), 3)).astype(np.float32)


def bones(layout):
    return {frozenset(bone) for bone in read_layout(layout).bones}


def test_every_layout_reads_and_has_the_size_in_its_name():
    assert set(LAYOUTS) >= {"openpose_137", "kinect_25", "kinect_20", "coco_17", "openpose_41", *SUBSETS}
    for name in LAYOUTS:
        assert len(read_layout(name).names) == int(name.rpartition("_")[2])
        assert layout_of_size(len(read_layout(name).names)).name == name


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_is_installed_with_the_package(name):
    setup = (ROOT / "setup.cfg").read_text()
    assert "data/layouts/*.json" in setup
    assert set(json.loads((ROOT / f"microgesture/data/layouts/{name}.json").read_text())) >= {
        "about",
        "source",
        "channels",
    }


@pytest.mark.parametrize("name", SUBSETS)
def test_subsets_are_the_published_index_lists(name):
    whole = read_layout("openpose_137")
    assert list(read_layout(name).names) == [whole.names[place] for place in SUBSETS[name]]


def test_41_points_extend_the_22():
    assert read_layout("openpose_41").names[:22] == read_layout("openpose_22").names
    assert "not known" in json.loads((ROOT / "microgesture/data/layouts/openpose_41.json").read_text())["doubt"]


def test_order_of_openpose_137():
    """BODY_25, face, left hand, right hand; the hand of a side hangs on the wrist of that side."""
    whole = read_layout("openpose_137")
    assert (whole.names[4], whole.names[7]) == ("right_wrist", "left_wrist")
    assert (whole.names[95], whole.names[116]) == ("left_hand_root", "right_hand_root")
    assert frozenset({7, 95}) in bones("openpose_137")
    assert frozenset({4, 116}) in bones("openpose_137")


def test_face_mirrors_as_its_contour_does():
    """Jaw i and 16 - i, brows 17 and 26, eye corners 36 and 45, mouth corners 48 and 54, pupils 68 and 69."""
    order = read_layout("openpose_137").mirrored_order - 25
    face = {0: 16, 7: 9, 8: 8, 17: 26, 21: 22, 30: 30, 31: 35, 36: 45, 37: 44, 39: 42, 40: 47, 41: 46, 48: 54, 49: 53,
            55: 59, 56: 58, 57: 57, 60: 64, 61: 63, 65: 67, 68: 69}  # fmt: skip
    assert {place: int(order[25 + place]) for place in face} == face
    assert {place: int(order[25 + place]) for place in face.values()} == {b: a for a, b in face.items()}


# --- published mistakes ----------------------------------------------------------------------------------------------


def test_fingers_hang_on_the_wrists_and_not_one_further():
    """The starter kit's graph counts its body bones from 1: there, fingers hang on 5 and 8."""
    names = read_layout("openpose_22").names
    kit = {frozenset(bone) for bone in [(5, 12), (5, 16), (8, 17), (8, 21), (2, 6), (1, 9)]}
    mmn = [(1, 0), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (0, 8), (8, 10), (0, 9), (9, 11)]
    mmn += [(4, tip) for tip in range(12, 17)] + [(7, tip) for tip in range(17, 22)]
    assert bones("openpose_22") == {frozenset(bone) for bone in mmn}
    assert not kit & bones("openpose_22")
    assert (names[5], names[8]) == ("left_shoulder", "right_eye")  # what the kit's fingers hang on


@pytest.mark.parametrize(
    "name", ["openpose_137", "openpose_22", "openpose_35", "openpose_36", "openpose_41", "openpose_68"]
)
def test_points_2_to_4_are_the_subjects_right_arm(name):
    """The starter kit calls them left."""
    assert read_layout(name).names[2:8] == (
        "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    )  # fmt: skip


def test_flip_lists_of_coco_are_wrong_for_22_points():
    """JSSEL exchanges odd and even places, which is right for COCO only."""
    left, right = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19], [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    odd_even = np.arange(22)
    odd_even[left], odd_even[right] = right, left
    ours = read_layout("openpose_22").mirrored_order
    assert ours.tolist() == [0, 1, 5, 6, 7, 2, 3, 4, 9, 8, 11, 10, *range(17, 22), *range(12, 17)]
    assert (odd_even != ours).sum() > 15
    coco = np.arange(17)
    coco[left[:8]], coco[right[:8]] = right[:8], left[:8]
    assert read_layout("coco_17").mirrored_order.tolist() == coco.tolist()


def test_flip_lists_of_mm_gesture_are_right_for_36_points():
    left = [17, 8, 10, 12, 13, 20, 2, 3, 4, 30, 31, 32, 33, 34, 35]
    right = [18, 9, 11, 16, 15, 22, 5, 6, 7, 24, 25, 26, 27, 28, 29]
    order = np.arange(36)
    order[left], order[right] = right, left
    assert read_layout("openpose_36").mirrored_order.tolist() == order.tolist()


def test_joint_2_of_kinect_v2_is_the_neck():
    """SMG's starter kit calls it ShoulderCenter, which is a joint of Kinect v1."""
    old, new = read_layout("kinect_20"), read_layout("kinect_25")
    assert (new.names[2], new.names[20]) == ("neck", "spine_shoulder")
    both = convert(np.arange(75.0).reshape(1, 25, 3), new, old)
    assert both[0, old.names.index("shoulder_center"), 0] == 20 * 3


# --- conversion ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SUBSETS, "openpose_41"])
def test_from_137_and_back(name):
    whole, part = read_layout("openpose_137"), read_layout(name)
    all_points = points("openpose_137")
    few = convert(all_points, whole, part)
    assert few.shape == (3, len(part.names), 3)
    back = convert(few, part, whole, fill=0)
    kept = [place for place, theirs in enumerate(whole.places(part)) if theirs is not None]
    assert len(kept) == len(part.names)
    np.testing.assert_array_equal(back[:, kept], all_points[:, kept])
    assert not np.delete(back, kept, axis=1).any()
    np.testing.assert_array_equal(convert(back, whole, part), few)


def test_kinect_both_ways():
    old, new = read_layout("kinect_20"), read_layout("kinect_25")
    few = points("kinect_20")
    many = convert(few, old, new, fill=np.nan)
    assert np.isnan(many).all((0, 2)).sum() == 5  # neck, finger tips and thumbs
    np.testing.assert_array_equal(convert(many, new, old), few)


def test_coco_takes_what_openpose_has():
    whole, coco = read_layout("openpose_137"), read_layout("coco_17")
    few = convert(points("openpose_137"), whole, coco)
    np.testing.assert_array_equal(few[:, coco.names.index("left_hip")], points("openpose_137")[:, 12])
    np.testing.assert_array_equal(convert(convert(few, coco, whole, 0), whole, coco), few)


@pytest.mark.parametrize("name", LAYOUTS)
def test_flip_and_conversion_commute(name):
    layout, whole = read_layout(name), read_layout("openpose_137")
    if layout.unit == "metres":
        whole, width = read_layout("kinect_20"), None
    else:
        width = 1280
    source = points(whole.name)
    one = flip(convert(source, whole, layout, 0), layout, width)
    np.testing.assert_array_equal(one, convert(flip(source, whole, width), whole, layout, 0))


def test_missing_joints_are_refused():
    with pytest.raises(
        ValueError, match=r"openpose_22 lacks 115 joints of openpose_137: mid_hip, .* …; say with `fill`"
    ):
        convert(points("openpose_22"), read_layout("openpose_22"), read_layout("openpose_137"))


def test_units_are_not_mixed():
    with pytest.raises(ValueError, match="kinect_25 is in metres, coco_17 in pixels"):
        convert(points("kinect_25"), read_layout("kinect_25"), read_layout("coco_17"), 0)


@pytest.mark.parametrize("shape", [(3, 17), (3, 22, 3), (17,)])
def test_wrong_shape_is_named(shape):
    with pytest.raises(ValueError, match=r"points of coco_17 have the shape \(\.\.\., 17 joints"):
        flip(np.zeros(shape), read_layout("coco_17"), 100)


# --- mirror ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYOUTS)
def test_twice_mirrored_is_the_same(name):
    layout = read_layout(name)
    width = 1280 if layout.unit == "pixels" else None
    mirrored = flip(points(name), layout, width)
    assert not np.array_equal(mirrored, points(name))
    np.testing.assert_allclose(flip(mirrored, layout, width), points(name), rtol=1e-4)


def test_mirror_is_that_of_the_picture():
    """The pixel under a joint stays under it, and right becomes left."""
    layout = read_layout("coco_17")
    given = np.zeros((1, 17, 3))
    given[0, layout.names.index("right_wrist")] = (3, 7, 0.9)
    picture = np.zeros((10, 20))
    picture[7, 3] = 1
    mirrored = flip(given, layout, width=20)
    x, y, score = mirrored[0, layout.names.index("left_wrist")]
    assert picture[:, ::-1][int(y), int(x)] == 1
    assert score == 0.9


def test_unseen_points_stay_unseen():
    layout = read_layout("openpose_22")
    assert not flip(np.zeros((2, 22, 3)), layout, 1280).any()


def test_width_is_asked_for_where_it_is_needed():
    with pytest.raises(ValueError, match="mirror points of coco_17, give the width"):
        flip(points("coco_17"), read_layout("coco_17"))
    with pytest.raises(ValueError, match="mirror points of kinect_20, give no width"):
        flip(points("kinect_20"), read_layout("kinect_20"), 320)


# --- files that contradict themselves --------------------------------------------------------------------------------


def test_unknown_layout_names_the_known_ones():
    with pytest.raises(ValueError, match="no keypoint layout 'openpose_18'; choose one of: coco_17, "):
        read_layout("openpose_18")
    with pytest.raises(ValueError, match="no keypoint layout has 28 joints; known are: coco_17"):
        layout_of_size(28)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"pairs": ((1, 2), (4, 3))}, "a pair that is not left and right of one place"),
        ({"pairs": ((1, 4), (3, 2))}, "a pair that is not left and right of one place"),
        ({"pairs": ((1, 2),)}, "a left or right joint without its pair"),
        ({"names": ("nose", "left_eye", "right_eye", "left_eye", "right_ear")}, "two joints of one name"),
        ({"bones": ((0, 1), (1, 0))}, "a bone from a joint to itself, or twice"),
        ({"flip": "y"}, "an unknown way to flip"),
        ({"aliases": {"tail": "spine"}}, "an alias of an unknown joint"),
    ],
)
def test_contradictions_are_refused(changes, match):
    good = Layout(
        "tiny", "pixels", "width - 1 - x", ("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
        ((0, 1), (0, 2)), ((1, 2), (3, 4)),
    )  # fmt: skip
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(good, **changes)
