"""The rules on movements made by hand: each rule, what must not matter, and what must be refused."""

import numpy as np
import pytest
from moving_people import RESTS, at, circle, ease, out_and_back, person, still, swing

from microgesture.annotation.motion_features import UnseenError
from microgesture.annotation.proposals import cannot_judge, propose
from microgesture.data.fg_text import VOCABULARY
from microgesture.data.keypoints import LAYOUTS, read_layout

SEEN_TWO_WAYS = ("kinect_20", "coco_17", "openpose_137", "openpose_35")
UPPER_BODY = (*SEEN_TWO_WAYS, "kinect_25", "openpose_22", "openpose_36", "openpose_41", "openpose_68", "synthetic_32")
SWIPE_LEFT = out_and_back((0.9, 0, 1), (-0.7, 0, 1))
SWIPE_RIGHT = out_and_back((-0.7, 0, 1), (0.9, 0, 1))
FACE = (0.1, 0.55, 0.35)


def words(points, layout="kinect_20", fps=30.0, mirrored=False):
    text = propose(points, read_layout(layout), fps, mirrored)
    assert (text.provenance, text.coder) == ("model", "keypoint rules 1.1")
    assert 0 < text.confidence <= 1
    return text.initiator, text.side, text.receiver, text.direction, text.motion_type


# --- each rule -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", UPPER_BODY)
@pytest.mark.parametrize(
    ("ways", "expected"),
    [
        ({"right": SWIPE_LEFT}, ("arm", "right", "air", "left", "swipe")),
        ({"right": SWIPE_RIGHT}, ("arm", "right", "air", "right", "swipe")),
        (
            {"left": out_and_back((-0.9, 0, 1), (0.7, 0, 1), side="left")},
            ("arm", "left", "air", "right", "swipe"),
        ),
        ({"right": at((0.4, 0.1, 1), circle(0.5, 1))}, ("hand", "right", "air", "clockwise", "draw")),
        ({"right": at((0.4, 0.1, 1), circle(0.5, -1))}, ("hand", "right", "air", "counter_clockwise", "draw")),
        ({"left": at((-0.4, 0.1, 1), circle(0.5, 1), "left")}, ("hand", "left", "air", "clockwise", "draw")),
        ({"right": at((0.6, 0.6, 0.8), swing((0.5, 0, 0), 3))}, ("hand", "right", "air", "back_and_forth", "wave")),
    ],
    ids=["left", "right", "left hand", "clockwise", "counter-clockwise", "circle of the left hand", "wave"],
)
def test_in_the_air(layout, ways, expected):
    assert words(person(layout, **ways), layout) == expected


@pytest.mark.parametrize("layout", SEEN_TWO_WAYS)
@pytest.mark.parametrize(("stroke", "direction"), [(still, "static"), (swing((0.0, 0.25, 0), 3), "back_and_forth")])
def test_at_the_face(layout, stroke, direction):
    initiator, side, receiver, found, motion = words(person(layout, at(FACE, stroke)), layout)
    assert (initiator, side, found) == ("hand", "right", direction)
    assert receiver in (("head",) if layout.startswith("kinect") else ("eyes", "face", "ear"))
    assert motion == ("touch" if direction == "static" else "scratch")


@pytest.mark.parametrize("hand", ["left", "right"])
@pytest.mark.parametrize("thigh", ["left", "right"])
def test_each_hand_on_each_thigh(hand, thigh):
    place = (0.2 if thigh == "right" else -0.2, -1.8, 0.1)
    found = words(person("coco_17", **{hand: at(place, swing((0, 0.3, 0), 3), hand)}), "coco_17")
    assert found[:3] == ("hand", hand, "leg")


@pytest.mark.parametrize("layout", SEEN_TWO_WAYS)
@pytest.mark.parametrize(
    ("start", "end"),
    [(-0.3, -0.3), (0.5, 0.5), (-0.3, 0.3), (0.3, -0.3), (0.5, -0.1)],
    ids=["low", "high", "rising", "sinking", "sinking from high"],
)
def test_a_swipe_at_any_height(layout, start, end):
    for near, far in ((0.9, -0.7), (-0.6, 1.1)):
        for depth in (0.7, 1.2):
            swipe = out_and_back((near, start, depth), (far, end, depth))
            expected = ("arm", "right", "air", "left" if near > far else "right", "swipe")
            for seconds in (1.2, 2.4, 4.0):
                assert words(person(layout, swipe, seconds=seconds), layout) == expected


@pytest.mark.parametrize("sense", [1, -1])
def test_a_circle_that_begins_at_its_bottom_on_the_way_up(sense):
    def way(u):
        come = ease(4 * u - 0.4) * (1 - ease(4 * u - 2.8))
        angle = 2 * np.pi * 1.25 * np.clip(2.2 * u - 0.6, 0, 1)
        ring = 0.8 * np.stack([-sense * np.sin(angle), -np.cos(angle), 0 * u], -1)
        rest = np.array(RESTS["right"])
        return rest + come[:, None] * (np.array((0.65, 0.3, 1.0)) + ring - rest)

    found = words(person(right=way))
    assert found == ("hand", "right", "air", "clockwise" if sense > 0 else "counter_clockwise", "draw")


def test_what_the_hand_passes_on_its_way_is_not_touched():
    assert words(person("coco_17", out_and_back((0.2, -0.4, 0.6), (0.9, 1.2, 0.5))), "coco_17")[2] == "air"


@pytest.mark.parametrize("layout", SEEN_TWO_WAYS)
def test_two_hands_at_each_other(layout):
    hands = {
        "right": at((0.05, -0.5, 0.6), swing((0, 0.3, 0), 3)),
        "left": at((-0.05, -0.5, 0.6), swing((0, -0.3, 0), 3), "left"),
    }
    assert words(person(layout, **hands), layout) == ("both_hands", None, "hands", "back_and_forth", "rub")


def test_two_hands_forward_need_depth():
    hands = {"right": out_and_back((0.4, 0, 1.6)), "left": out_and_back((-0.4, 0, 1.6), side="left")}
    assert words(person(**hands)) == ("both_hands", None, "air", "forward", "push")
    assert words(person("coco_17", **hands), "coco_17")[3] != "forward"


def test_crossed_arms():
    hands = {
        "right": at((-0.35, -0.3, 0.7), still),
        "left": at((0.35, -0.3, 0.6), still, "left"),
    }
    assert words(person(**hands))[:3] == ("both_arms", None, "chest")


@pytest.mark.parametrize("layout", SEEN_TWO_WAYS)
def test_trunk_legs_and_head(layout):
    def shift(*way):
        return lambda u: ease(2 * u - 0.5)[:, None] * np.array(way, float)

    def dip(*way):
        return lambda u: (np.sin(np.pi * u) ** 2)[:, None] * np.array(way, float)

    assert words(person(layout, hips=shift(0, -1.2, -0.6)), layout) == ("torso", None, "none", "down", "lower")
    assert words(person(layout, hips=shift(0, 1.2, 0.6)), layout) == ("torso", None, "none", "up", "raise")
    assert words(person(layout, hips=dip(0, -1.3, 0)), layout) == ("both_legs", None, "none", "down", "bend")
    knee = {"right_knee": dip(0.25, 0, 0)}
    assert words(person(layout, joints=knee), layout) == ("leg", "right", "none", "outward", "shift")
    head = {name: dip(0, 0.2, 0) for name in ("head", "nose", "left_eye", "right_eye", "left_ear", "right_ear")}
    assert words(person(layout, joints=head), layout) == ("head", None, "none", "up", "raise")


def test_who_stands_still_with_a_hand_at_the_face_holds_it_there():
    def stay(u):
        return np.tile(FACE, (len(u), 1))

    assert words(person("coco_17", stay), "coco_17")[:2] == ("hand", "right")
    with pytest.raises(UnseenError, match="nothing moves, and no hand is at anything"):
        words(person("coco_17"), "coco_17")


# --- what must not matter ------------------------------------------------------------------------------------------

GESTURES = (
    SWIPE_LEFT,
    at((0.4, 0.1, 1), circle(0.5, -1)),
    at((0.6, 0.6, 0.8), swing((0.5, 0, 0), 3)),
    at(FACE, swing((0, 0.25, 0), 3)),
)


@pytest.mark.parametrize("layout", ["kinect_20", "coco_17"])
@pytest.mark.parametrize("gesture", GESTURES, ids=["swipe", "circle", "wave", "face"])
def test_size_place_frame_rate_and_tempo(layout, gesture):
    usual = words(person(layout, gesture), layout)
    assert words(person(layout, gesture, size=0.8), layout) == usual
    assert words(person(layout, gesture, size=0.17), layout) == usual
    assert words(person(layout, gesture, where=(-1.0, 0.9, 4.0)), layout) == usual
    for fps in (15.0, 24.0, 59.94, 120.0):
        assert words(person(layout, gesture, fps=fps), layout, fps) == usual
    assert words(person(layout, gesture, seconds=2.0), layout)[:4] == usual[:4]


@pytest.mark.parametrize("gesture", GESTURES, ids=["swipe", "circle", "wave", "face"])
def test_who_is_turned_a_little_or_stands_with_the_back_to_a_depth_camera(gesture):
    points = person(right=gesture)
    usual = words(points)
    for angle in (0.4, -0.4, np.pi):
        turned = points.copy()
        middle = points[..., [0, 2]].mean((0, 1))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turned[..., [0, 2]] = (points[..., [0, 2]] - middle) @ turn + middle
        assert words(turned) == usual


def test_jitter_and_single_missing_joints_change_little():
    rng = np.random.default_rng(0)
    for gesture in GESTURES:
        points = person("coco_17", gesture, size=1.4)  # 140 pixels from shoulder to shoulder
        usual = words(points, "coco_17")
        points[..., :2] += rng.normal(0, 2, points[..., :2].shape)
        points[rng.random(points.shape[:2]) < 0.1] = 0
        assert words(points, "coco_17")[:4] == usual[:4]


# --- left and right ------------------------------------------------------------------------------------------------


def test_a_mirrored_picture_whose_joints_are_named_by_the_person():
    points = person("coco_17", SWIPE_LEFT, mirrored=True)
    assert words(points, "coco_17", mirrored=True)[:4] == ("arm", "right", "air", "left")


def test_a_mirrored_picture_whose_joints_are_named_by_the_picture():
    """A pose estimator that is shown a mirror image calls the right hand left."""
    layout = read_layout("coco_17")
    points = person("coco_17", SWIPE_LEFT, mirrored=True)[:, layout.mirrored_order]
    assert words(points, "coco_17", mirrored=True)[:4] == ("arm", "right", "air", "left")
    assert words(points, "coco_17", mirrored=False)[:4] == ("arm", "left", "air", "right")


@pytest.mark.parametrize(("way", "direction"), [(SWIPE_LEFT, "sideways"), (GESTURES[1], "circular")])
def test_no_word_for_a_side_where_nobody_knows_about_mirrors(way, direction):
    found = words(person("coco_17", way), "coco_17", mirrored="unknown")
    assert (found[1], found[3]) == (None, direction)


# --- what keypoints lack -------------------------------------------------------------------------------------------


def test_gaps_are_bridged_up_to_a_third_of_a_second():
    points = person("coco_17", SWIPE_LEFT)
    wrist = read_layout("coco_17").names.index("right_wrist")
    usual = words(points, "coco_17")
    points[20:30, wrist] = 0
    assert words(points, "coco_17") == usual
    points[20:32, wrist] = 0
    with pytest.raises(UnseenError, match=r"right wrist missing for more than 0\.35 s"):
        words(points, "coco_17")


@pytest.mark.parametrize("what", ["confidence", "nan"])
def test_a_joint_that_was_hardly_seen_is_missing(what):
    points = person("coco_17", SWIPE_LEFT)
    elsewhere = points.copy()
    wrist = read_layout("coco_17").names.index("right_wrist")
    elsewhere[25:30, wrist, :2] = 5.0 if what == "confidence" else np.nan
    elsewhere[25:30, wrist, 2] = 0.1
    assert words(elsewhere, "coco_17") == words(points, "coco_17")


def test_confidence_falls_with_what_is_missing():
    points = person("coco_17", SWIPE_LEFT)
    layout = read_layout("coco_17")
    whole = propose(points, layout, 30.0, False)
    points[10:16, 5:11] = 0
    assert propose(points, layout, 30.0, False).confidence < whole.confidence


def test_a_part_out_of_the_picture_is_no_reason_to_refuse():
    points = person("coco_17", SWIPE_LEFT)
    points[:, [13, 14, 15, 16]] = 0
    assert words(points, "coco_17")[:4] == ("arm", "right", "air", "left")


def test_a_short_clip_and_a_wrong_shape_are_refused():
    points = person("coco_17", SWIPE_LEFT)
    with pytest.raises(UnseenError, match=r"shorter than 0\.3 s"):
        words(points[:8], "coco_17")
    with pytest.raises(
        ValueError, match=r"keypoints of kinect_20 have the shape \(frames, 20, 3\), got \(72, 17, 3\)"
    ):
        words(points, "kinect_20")


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_a_layout_cannot_show_is_said_and_never_proposed(name):
    never = cannot_judge(read_layout(name))
    for attribute, listed in never.items():
        assert set(listed) < set(VOCABULARY[attribute])
    assert ("forward" in never["direction"]) == (not name.startswith("kinect"))
    for gesture in (*GESTURES, out_and_back((0.5, 0, 1.7))):
        text = propose(person(name, gesture), read_layout(name), 30.0, False)
        assert all(getattr(text, attribute) not in listed for attribute, listed in never.items())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", LAYOUTS)
def test_whatever_the_numbers_are_there_is_a_record_or_a_reason(name):
    rng, layout = np.random.default_rng(0), read_layout(name)
    never, made = cannot_judge(layout), 0
    for number in range(25):
        frames = int(rng.integers(5, 60))
        steps = rng.normal(0, 1, (frames, len(layout.names), 3)) * rng.choice([0, 0.01, 1, 20])
        points = np.cumsum(steps, 0) + rng.normal(400, 200, (1, len(layout.names), 3))
        if layout.unit == "pixels":
            points[..., 2] = 1.0
        points[:, rng.random(len(layout.names)) < rng.choice([0, 0.1])] = 0
        points[rng.random(points.shape[:2]) < rng.choice([0, 0.1])] = np.nan
        try:
            text = propose(points, layout, float(rng.choice([10, 25, 60])), (True, False, "unknown")[number % 3])
        except UnseenError:
            continue
        made += 1
        assert all(getattr(text, attribute) not in listed for attribute, listed in never.items())
    assert made > 4
