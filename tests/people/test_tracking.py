"""Who is who from look to look, and where they are in between."""

from __future__ import annotations

import numpy as np

from microgesture.people.detection import People
from microgesture.people.tracking import FORGOTTEN, Tracker, between_looks


def people(*boxes: tuple[float, float, float, float]) -> People:
    return People(np.array(boxes, np.float32).reshape(-1, 4), np.ones(len(boxes), np.float32))


def at(x: float, y: float = 0) -> tuple[float, float, float, float]:
    return (x, y, x + 40, y + 100)


def test_people_keep_their_numbers_in_any_order() -> None:
    tracker = Tracker()
    assert tracker.look(people(at(0), at(100))) == [0, 1]
    assert tracker.look(people(at(95), at(5))) == [1, 0]
    assert tracker.look(people(at(10), at(300), at(90))) == [0, 2, 1]


def test_overlap_is_weighed_for_all_together() -> None:
    """The greatest overlap alone, 20 with 10, would leave 30 without anybody."""
    tracker = Tracker()
    assert tracker.look(people(at(0), at(12))) == [0, 1]
    assert tracker.look(people(at(10), at(30))) == [0, 1]


def test_somebody_who_is_missed_is_remembered_for_a_while() -> None:
    tracker = Tracker()
    tracker.look(people(at(0), at(100)))
    for _ in range(FORGOTTEN):
        assert tracker.look(people(at(100))) == [1]
    assert tracker.look(people(at(3), at(100))) == [0, 1]
    for _ in range(FORGOTTEN + 1):
        tracker.look(people(at(100)))
    assert tracker.look(people(at(3), at(100))) == [2, 1]
    tracker.new_scene()
    assert tracker.look(people(at(3), at(100))) == [3, 4]
    assert tracker.look(people()) == []


def test_between_looks_boxes_move_straight_on() -> None:
    seen = {10: (np.array(at(0), np.float32), 0.6), 20: (np.array(at(50, 10), np.float32), 0.8)}
    frames, boxes, scores = between_looks(seen, [10, 15, 20])
    assert frames == list(range(10, 21))
    np.testing.assert_allclose(boxes[:, 0], 5.0 * np.arange(11))
    np.testing.assert_allclose(boxes[5], at(25, 5))
    np.testing.assert_allclose(scores, 0.6 + 0.02 * np.arange(11), rtol=1e-5)


def test_before_and_after_somebody_may_be_there_up_to_the_looks_without_them() -> None:
    seen = {10: (np.array(at(0), np.float32), 0.6)}
    frames, boxes, _ = between_looks(seen, [5, 10, 15])
    assert frames == list(range(6, 15))
    assert (boxes == at(0)).all()
    assert between_looks(seen, [10, 15])[0] == list(range(10, 15))
