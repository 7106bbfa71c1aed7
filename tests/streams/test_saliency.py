"""Saliency-guided crops: boxes that hold what moves, from frames and from keypoints."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import closing

import numpy as np
import pytest
from conftest import moving_square, write_video

import video_fgsgl
from microgesture import cli
from microgesture.data import load
from microgesture.data.keypoints import read_layout
from microgesture.streams.rgb.cropping import _boxes, _read_clip
from microgesture.streams.rgb.saliency import SaliencyCrop, draw, followed
from video_fgsgl import Recording

H, W, T = 90, 120, 24


def inside(boxes: np.ndarray) -> bool:
    return bool((boxes[:, :2] >= 0).all() and (boxes[:, 2] <= W).all() and (boxes[:, 3] <= H).all())


def square_clip(still: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A square of 10 that wanders right in a noisy picture, and its centre in each frame."""
    rng = np.random.default_rng(0)
    frames = rng.integers(60, 66, (T, H, W, 3)).astype(np.uint8)  # a codec's noise
    centres = np.array([(20 if still else 20 + 3 * t, 60) for t in range(T)])
    for frame, (x, y) in zip(frames, centres, strict=True):
        frame[y - 5 : y + 5, x - 5 : x + 5] = 220
    return frames, centres


def test_the_box_follows_what_moves_and_keeps_its_size_and_place() -> None:
    frames, centres = square_clip()
    boxes = SaliencyCrop().from_frames(frames)
    assert boxes.shape == (T, 4)
    assert inside(boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    assert sides.min() >= 0.4 * H  # never smaller than is stated
    assert sides.max() < 0.7 * H
    for box, (x, y) in zip(boxes, centres, strict=True):
        assert box[0] <= x - 5
        assert x + 5 <= box[2]
        assert box[1] <= y - 5
        assert y + 5 <= box[3]
    assert boxes[-1, 0] > boxes[0, 0] + 15  # it goes along
    assert np.abs(np.diff(boxes, axis=0)).max() <= 6  # and does not jump


def test_the_same_clip_in_grey_has_the_same_boxes() -> None:
    frames, _ = square_clip()
    grey = np.repeat(frames[..., :1], 3, 3)
    np.testing.assert_array_equal(SaliencyCrop().from_frames(grey), SaliencyCrop().from_frames(grey[..., 0]))


@pytest.mark.parametrize("length", [1, 24])
def test_the_whole_frame_where_nothing_moves(length: int) -> None:
    frames, _ = square_clip(still=True)
    assert (SaliencyCrop().from_frames(frames[:length]) == [0, 0, W, H]).all()
    light = np.stack([np.full((H, W, 3), 60 + 30 * (t % 2), np.uint8) for t in range(length)])
    assert (SaliencyCrop().from_frames(light) == [0, 0, W, H]).all()  # the light flickers: nothing moves


def test_of_hands_and_face_the_one_that_moves_counts_more() -> None:
    joints = ["nose", "left_hip", "left_wrist", "right_wrist"]
    points = np.zeros((T, 4, 3))
    points[:] = [[60, 12, 1], [60, 80, 1], [20, 70, 1], [100, 70, 1]]
    still = SaliencyCrop().from_points(points, joints, (H, W))
    assert (still == [0, 0, W, H]).all()
    hips = points.copy()
    hips[:, 1, 0] += 3 * np.arange(T)
    assert (SaliencyCrop().from_points(hips, joints, (H, W)) == still).all()  # no hand, no face
    points[:, 2, 0] += 8 * np.sin(np.arange(T))
    points[5:9] = 0  # the detector loses the person
    boxes = SaliencyCrop(padding=0.1).from_points(points, joints, (H, W))
    assert inside(boxes)
    assert (boxes[:, 0] <= 20).all()
    assert (boxes[:, 2] - boxes[:, 0]).min() >= 0.4 * H
    fewer = SaliencyCrop(padding=0.0).from_points(points[:, [1, 2]], ["left_hip", "left_wrist"], (H, W))
    assert (fewer[:, 2] < 70).all()  # with one hand only, the box is at this hand


def sides(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, 2] - boxes[:, 0]


def middles(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def test_what_changes_all_over_the_picture_is_not_followed() -> None:
    """An uneven light, and a frame that the codec makes anew; the square is followed all the same."""
    frames, centres = square_clip()
    light = np.linspace(14, 30, W)[None, :, None] * (np.arange(T) % 2)[:, None, None, None]
    anew = frames.copy()
    anew[12][np.random.default_rng(1).random((H, W)) < 0.4] += 30
    for clip in ((frames + light).astype(np.uint8), anew):
        boxes = SaliencyCrop().from_frames(clip)
        assert sides(boxes).max() < 0.7 * H
        assert np.abs(middles(boxes) - centres).max() < 25


def test_small_changes_are_no_motion() -> None:
    still = np.full((T, H, W, 3), 100, np.uint8)
    still[::2, 30:60, 40:80] += 6  # of 255, as a codec leaves them in blocks
    assert (SaliencyCrop().from_frames(still) == [0, 0, W, H]).all()
    still[::2, 30:60, 40:80] += 20
    assert sides(SaliencyCrop().from_frames(still)).max() < W
    points = np.tile([[[60.0, 45.0]]], (T, 1, 1))
    points[::2] += 0.1  # pixels, as a detector trembles
    assert (SaliencyCrop().from_points(points, ["left_wrist"], (H, W)) == [0, 0, W, H]).all()


def test_the_box_is_around_what_moves_most_and_its_course_is_smooth() -> None:
    rng, t = np.random.default_rng(0), np.arange(T)
    course = np.stack([25 + 3.0 * t, np.full(T, 45.0)], 1)
    points = np.tile([[[60.0, 12.0], [20.0, 70.0], [100.0, 70.0]]], (T, 1, 1))
    points[:, 1] = course + rng.normal(0, 3, (T, 2))
    joints = ["nose", "left_wrist", "right_wrist"]
    boxes = SaliencyCrop(padding=0.0).from_points(points, joints, (H, W))
    assert sides(boxes).max() == np.ceil(0.4 * H)  # the others rest: no room is made for them
    inner = slice(0, 20)  # then the border of the picture holds the box up
    assert np.abs(middles(boxes) - course)[inner].max() < 5  # also at the first frame: nothing lags behind
    assert np.diff(middles(boxes)[inner], 2, axis=0).std() < 0.3 * np.diff(points[inner, 1], 2, axis=0).std()
    face = np.concatenate([points, np.tile(points[:, :1], (1, 60, 1))], 1)  # much that rests counts together
    boxes = SaliencyCrop(padding=0.0).from_points(face, joints + ["nose"] * 60, (H, W))
    assert boxes[:, 1].max() <= 12


def test_small_motion_after_great_motion_moves_no_box() -> None:
    points = np.tile([[[20.0, 20.0], [100.0, 70.0]]], (T, 1, 1))
    points[: T // 2, 0, 0] += 8 * np.sin(np.arange(T // 2))
    points[T // 2 :, 1, 0] += 0.5 * np.sin(np.arange(T // 2))
    boxes = SaliencyCrop().from_points(points, ["left_wrist", "right_wrist"], (H, W))
    assert (boxes[:, 2] < 70).all()


@pytest.mark.parametrize("padding", [0.0, 0.25])
def test_the_margin_is_a_share_of_the_box_on_every_side(padding) -> None:
    points = np.tile([[[40.0, 45.0], [80.0, 45.0]]], (T, 1, 1))
    points[:, :, 1] += 4 * np.sin(np.arange(T))[:, None]
    boxes = SaliencyCrop(padding=padding).from_points(points, ["left_wrist", "right_wrist"], (H, W))
    assert (sides(boxes) == 40 * (1 + 2 * padding)).all()


@pytest.mark.parametrize(
    "odd", [(90.0, 80.0, 0.05), (1e6, 5.0, 0.9), (-3.0, 40.0, 0.9), (1e30, 1e30, 0.9), (np.nan, 5.0, 0.9)]
)
def test_points_that_are_unsure_or_not_in_the_picture_move_no_box(odd) -> None:
    joints = ["nose", "left_wrist", "right_wrist"]
    points = np.zeros((T, 3, 3))
    points[:] = [[60, 12, 0.9], [20, 70, 0.9], [100, 70, 0.9]]
    points[:, 1, 0] += 8 * np.sin(np.arange(T))
    unseen, false = points.copy(), points.copy()
    unseen[::3, 2], false[::3, 2] = 0, odd
    expected = SaliencyCrop().from_points(unseen, joints, (H, W))
    np.testing.assert_array_equal(SaliencyCrop().from_points(false, joints, (H, W)), expected)


def test_hands_and_faces_of_all_layouts_are_known() -> None:
    for name, count in (("coco_17", 7), ("kinect_20", 5), ("openpose_68", 63), ("openpose_22", None)):
        chosen = [joint for joint in read_layout(name).names if followed(joint)]
        assert count is None or len(chosen) == count, (name, chosen)
        assert chosen
        assert not [joint for joint in chosen if any(w in joint for w in ("hip", "knee", "shoulder", "toe", "elbow"))]


def test_a_picture_shows_the_boxes() -> None:
    frames = moving_square("right", np.random.default_rng(0))
    boxes = SaliencyCrop().from_frames(frames)
    picture = draw(frames, boxes, columns=3, line=2)
    assert picture.shape == (64, 3 * 64, 3)
    left, top, right, bottom = boxes[0]
    assert picture[top, left].tolist() == [255, 176, 0]
    np.testing.assert_array_equal(
        picture[top + 2 : bottom - 2, left + 2 : right - 2], frames[0][top + 2 : bottom - 2, left + 2 : right - 2]
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"min_size": 0}, "min_size is 0"), ({"padding": -1}, "padding is -1"), ({"smoothing": 0}, "smoothing is 0")],
)
def test_settings_that_cannot_be(fields, message) -> None:
    with pytest.raises(ValueError, match=message):
        SaliencyCrop(**fields)


def test_inputs_that_cannot_be() -> None:
    crop = SaliencyCrop()
    with pytest.raises(ValueError, match="frames must be"):
        crop.from_frames(np.zeros((2, 4, 4, 3)))
    with pytest.raises(ValueError, match="points must be"):
        crop.from_points(np.zeros((2, 3, 3)), ["nose"], (H, W))
    with pytest.raises(ValueError, match="none of the joints is of a hand or the face: left_hip"):
        crop.from_points(np.zeros((2, 1, 3)), ["left_hip"], (H, W))


def test_a_data_set_is_cropped_and_read_like_any_other(tiny_dataset, tmp_path, capsys) -> None:
    data, out = tmp_path / "data", tmp_path / "cropped"
    shutil.copytree(tiny_dataset, data, ignore=shutil.ignore_patterns("train", "validation"))
    rows = [json.loads(line) for line in (data / "test" / "metadata.jsonl").read_text().splitlines()]
    rows[1] |= {"start": 0.1, "end": 0.4}
    (data / "test" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cli.main(["crop", str(data), "--out", str(out), "--size", "48"]) == 0
    before, after = load(data)["test"], load(out)["test"]
    for column in ("label", "subject", "direction"):
        assert before[column][:] == after[column][:]
    whole, span = (Recording(after[number]["video"]["path"]) for number in (0, 1))
    assert (len(whole.timeline.pts), len(span.timeline.pts)) == (20, 9)
    assert float(whole.timeline.seconds) == pytest.approx(20 / 28, rel=1e-2)
    frames = np.stack([picture.numpy() for _, picture in whole.pictures(range(20))])
    assert frames.shape == (20, 48, 48, 3)
    source = Recording(before[0]["video"]["path"])
    small = np.stack([picture.numpy() for _, picture in source.pictures(range(20))])
    assert (frames > 150).mean() > 1.5 * (small > 150).mean()  # the square fills more of the picture
    stamp = (out / "test" / "clips" / "000000.mp4").stat().st_mtime_ns
    assert cli.main(["crop", str(data), "--out", str(out), "--size", "48"]) == 0
    assert (out / "test" / "clips" / "000000.mp4").stat().st_mtime_ns == stamp
    assert cli.main(["crop", str(data), "--out", str(data)]) == 1
    assert "the data set itself" in capsys.readouterr().err
    made = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert cli.main(["crop", str(data), "--out", str(out), "--size", "48", "--padding", "0.1"]) == 1
    assert f"{out} was made otherwise (padding); remove that folder to begin again" in capsys.readouterr().err
    table = data / "test" / "metadata.jsonl"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[::-1]))  # other clips in these places
    assert cli.main(["crop", str(data), "--out", str(out), "--size", "48"]) == 1
    assert "was made otherwise (dataset)" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == made
    assert cli.main(["crop", str(data), "--out", str(tiny_dataset)]) == 1
    assert f"{tiny_dataset} holds files that this command did not make" in capsys.readouterr().err


def test_clips_that_have_points_are_cropped_by_them_whatever_the_first_one_has(tiny_dataset, tmp_path, capsys) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_dataset, data, ignore=shutil.ignore_patterns("train", "validation"))
    labels = json.loads((data / "labels.json").read_text()) | {"keypoints": "coco_17"}
    (data / "labels.json").write_text(json.dumps(labels))
    rows = [json.loads(line) for line in (data / "test" / "metadata.jsonl").read_text().splitlines()]
    table = "".join(json.dumps(row | {"keypoints": "b.npy" if n else None}) + "\n" for n, row in enumerate(rows))
    (data / "test" / "metadata.jsonl").write_text(table)
    np.save(data / "test" / "b.npy", np.ones((20, 16, 3), np.float32))
    assert cli.main(["crop", str(data), "--out", str(tmp_path / "out"), "--size", "48"]) == 1
    assert "b.npy holds (20, 16, 3) numbers; expected (frames, 17 joints of coco_17" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out" / "test" / "clips").iterdir()] == ["000000.mp4"]


@pytest.mark.parametrize("people", [1, 2])
def test_points_decide_where_a_hand_is_ever_seen_and_else_the_frames(tmp_path, people) -> None:
    frames, layout, crop = square_clip()[0], read_layout("coco_17"), SaliencyCrop()
    points = np.zeros((people, T, 17, 3))
    points[-1, :, layout.names.index("left_wrist")] = [[100, 30 + 9 * np.sin(t), 1] for t in range(T)]

    def boxes(table: np.ndarray) -> np.ndarray:
        np.save(tmp_path / "a.npy", table if people == 2 else table[0])
        return _boxes(tmp_path, {"keypoints": "a.npy"}, layout, frames, crop)

    np.testing.assert_array_equal(boxes(points), crop.from_points(points[-1], layout.names, (H, W)))
    np.testing.assert_array_equal(boxes(np.zeros_like(points)), crop.from_frames(frames))
    assert not np.array_equal(boxes(points), crop.from_frames(frames))
    np.testing.assert_array_equal(boxes(points[:, :-1]), crop.from_frames(frames))  # which frame is which?
    points[..., 2] *= 0.05
    np.testing.assert_array_equal(boxes(points), crop.from_frames(frames))


def test_of_a_clip_that_is_shorter_than_a_frame_the_one_on_display_is_read(tmp_path) -> None:
    write_video(tmp_path / "a.mp4", moving_square("right", np.random.default_rng(0)))  # 28 frames a second
    frames, _ = _read_clip(tmp_path, {"file_name": "a.mp4", "start": 0.51, "end": 0.52}, video_fgsgl, False)
    with closing(Recording(tmp_path / "a.mp4")) as recording:
        np.testing.assert_array_equal(frames, [dict(recording.pictures([14]))[14].numpy()])


def test_a_clip_whose_frames_are_damaged_is_named(tiny_dataset, tmp_path, capsys) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_dataset, data, ignore=shutil.ignore_patterns("train", "validation"))
    clip = data / "test" / "clips" / "002.mp4"
    whole = bytearray(clip.read_bytes())
    end = whole.index(b"moov") - 100  # among the last frames
    whole[end - 200 : end] = bytes(200)
    clip.write_bytes(whole)
    assert cli.main(["crop", str(data), "--out", str(tmp_path / "out"), "--size", "48"]) == 1
    assert re.search(r"002\.mp4: only \d+ of 20 frames can be decoded", capsys.readouterr().err)
