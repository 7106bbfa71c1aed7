"""People followed through frames: who is largest, who comes and goes, and how many frames are held."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from microgesture.people.detection import People, PersonDetector
from microgesture.people.extraction import FRAMES, Extractor, Found
from microgesture.people.pose import PoseEstimator


class Painted:
    """A detector of painted people: each is a rectangle of one grey value of their own; 1 is the ground."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self, pictures) -> list[People]:
        self.looks += len(pictures)
        return [self._people(picture.numpy()[..., 0]) for picture in pictures]

    def _people(self, grey: np.ndarray) -> People:
        boxes = []
        for value in sorted(set(grey.ravel().tolist()) - {1}, reverse=True):
            y, x = np.nonzero(grey == value)
            boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
        return People(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9, np.float32))


class Centres:
    """All joints in the middle of the box, with the grey value of the picture there for a confidence."""

    model = SimpleNamespace(config=SimpleNamespace(num_labels=17))

    def __call__(self, pictures, boxes) -> np.ndarray:
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        grey = [picture[int(y), int(x), 0] / 255 for picture, (x, y) in zip(pictures, middle, strict=True)]
        rows = np.concatenate([middle, np.array(grey)[:, None]], 1).astype(np.float32)
        return np.repeat(rows[:, None], 17, 1)


def scene(frame: int, *people: tuple[int, int, int, int, int]) -> tuple[int, torch.Tensor]:
    """A frame with people: grey value, x, y, width, height."""
    picture = torch.ones(60, 120, 3, dtype=torch.uint8)
    for grey, x, y, width, height in people:
        picture[y : y + height, x : x + width] = grey
    return frame, picture


def followed(scenes, **how) -> Found:
    return Extractor(Painted(), Centres(), **how)(iter(scenes))


def test_the_joints_of_every_frame_follow_who_moves() -> None:
    found = followed(scene(t, (200, t, 10, 21, 41)) for t in range(40))
    points = found.clip(range(40), 1)
    assert points.shape == (40, 17, 3)
    np.testing.assert_allclose(points[:, 3, 0], np.arange(40) + 10.5, atol=1e-4)
    np.testing.assert_allclose(points[:, 3, 2], 200 / 255, atol=1e-6)
    np.testing.assert_array_equal(found.clip([5, 6, 7], 1), points[5:8])


def test_the_largest_of_the_clip_is_taken_and_the_second_if_asked() -> None:
    """A second person, smaller at first, comes near: who is largest differs from clip to clip."""
    scenes = [scene(t, (200, 5, 10, 20, 40), (100, 70, 5, 10 + t // 2, 50)) for t in range(60)]
    found = followed(scenes, people=2)
    grey = lambda points: np.round(points[..., 0, 2] * 255)  # noqa: E731
    assert (grey(found.clip(range(10), 1)) == 200).all()
    assert (grey(found.clip(range(50, 60), 1)) == 100).all()
    both = found.clip(range(50, 60), 2)
    assert both.shape == (2, 10, 17, 3)
    assert (grey(both) == [[100], [200]]).all()
    nobody = found.clip(range(100, 103), 2)
    assert nobody.shape == (2, 3, 17, 3)
    assert not nobody.any()


def test_two_people_of_one_size_do_not_take_turns() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(28, 33, (160, 2))
    scenes = [scene(t, (200, 5, 10, 20, int(a)), (100, 70, 10, 20, int(b))) for t, (a, b) in enumerate(sizes)]
    found = followed(scenes)
    assert len(np.unique(found.people)) == 1
    assert len(found.frames) == 160


def test_who_is_gone_has_no_points_and_returns_as_the_same() -> None:
    there = [t < 20 or t >= 33 for t in range(50)]
    scenes = [scene(t, *([(200, 5, 10, 20, 40)] if here else [])) for t, here in enumerate(there)]
    points = followed(scenes, every=1).clip(range(50), 1)
    assert ((points[:, 0, 2] > 0) == there).all()
    assert not points[20:33].any()


def test_where_frames_are_left_out_people_are_found_anew() -> None:
    places = [*range(5), *range(100, 105)]
    found = followed([scene(t, (200, 5, 10, 20, 40)) for t in places])
    assert found.frames.tolist() == places
    assert len(np.unique(found.people)) == 2
    assert len(np.unique(followed([scene(t, (200, 5, 10, 20, 40)) for t in range(40)]).people)) == 1


@pytest.mark.parametrize(("every", "looks", "held"), [(1, 64, FRAMES), (5, 16, FRAMES), (30, 6, 31)])
def test_few_frames_are_held_and_few_are_looked_at(every, looks, held) -> None:
    alive: set[int] = set()
    most = 0

    def frames():
        nonlocal most
        for t in range(64):
            number, picture = scene(t, (200, 5, 10, 20, 40))
            alive.add(t)
            weakref.finalize(picture, alive.discard, t)
            most = max(most, len(alive))
            yield number, picture
            del picture

    detector = Painted()
    found = Extractor(detector, Centres(), every=every)(frames())
    assert found.frames.tolist() == list(range(64))
    assert detector.looks == looks
    assert most <= held + 2


def test_networks_in_the_place_of_painted_people(two_people, vitpose) -> None:
    rng = np.random.default_rng(0)
    frames = [(t, torch.from_numpy(rng.integers(0, 256, (90, 160, 3), dtype=np.uint8))) for t in range(20)]
    pose = PoseEstimator.from_pretrained(str(vitpose))
    extractor = Extractor(PersonDetector.from_pretrained(str(two_people)), pose, people=2)
    points = extractor(frames).clip(range(20), 2)
    boxes = np.array([[96, 4.5, 144, 85.5], [16, 9, 64, 81]], np.float32)  # the right one is larger
    for t in (0, 7, 19):
        np.testing.assert_allclose(points[:, t], pose([frames[t][1]] * 2, boxes), atol=0.1)


def test_numbers_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="--people is 3; streams read one or two people"):
        Extractor(Painted(), Centres(), people=3)
    with pytest.raises(ValueError, match="--detect_every is 31; it must be 1 to 30"):
        Extractor(Painted(), Centres(), every=31)
    assert len(followed([]).frames) == 0
