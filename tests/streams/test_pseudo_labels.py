"""Which clips are accepted: closed forms, thresholds, caps, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from microgesture.streams.pseudo_labels import REJECTED, Rule, accept, sure_enough, vote


def table(*rows: tuple[int, float], C: int = 3) -> np.ndarray:
    """Probabilities `(N, C)`: each row has a class and how sure it is."""
    out = np.empty((len(rows), C))
    for row, (c, p) in zip(out, rows, strict=True):
        row[:] = (1 - p) / (C - 1)
        row[c] = p
    return out


VALID = np.stack([table((0, 0.9), (1, 0.9), (2, 0.9), (0, 0.6))] * 2)
TRUE = np.array([0, 1, 2, 1])  # the least sure one is wrong


def test_a_vote_is_the_class_that_most_name_and_its_mean_probability() -> None:
    teachers = np.stack([table((0, 0.8), (1, 0.5)), table((0, 0.6), (2, 0.9)), table((1, 0.9), (0, 0.5))])
    classes, votes, confidence = vote(teachers)
    assert classes.tolist() == [0, 2]  # of three classes with a vote each, the surest
    assert votes.tolist() == [2, 1]
    np.testing.assert_allclose(confidence, [(0.8 + 0.6 + 0.05) / 3, (0.25 + 0.9 + 0.25) / 3])


def test_the_threshold_is_the_least_that_is_precise_and_equal_votes_pass_together() -> None:
    confidence, right = np.array([0.9, 0.8, 0.8, 0.7]), np.array([True, True, False, True])
    assert sure_enough(confidence, right, 1.0) == 0.9
    assert sure_enough(confidence, right, 0.75) == 0.7
    assert sure_enough(confidence, np.zeros(4, bool), 0.5) == 1.0


def test_only_agreed_and_sure_clips_are_accepted_up_to_the_cap() -> None:
    first = table((0, 0.95), (0, 0.95), (1, 0.95), (2, 0.55), (2, 0.7), (0, 0.97))
    second = table((0, 0.95), (1, 0.95), (1, 0.95), (2, 0.55), (2, 0.7), (0, 0.93))
    taught = accept(np.stack([first, second]), VALID, TRUE, [1, 5, 5], Rule())
    # 0: capped at its one source clip; 1: the teachers disagree; 3, 4: the surer half of their class passes below τ.
    assert taught.labels.tolist() == [0, REJECTED, 1, REJECTED, 2, REJECTED]
    assert taught.thresholds.tolist() == pytest.approx([0.9, 0.9, 0.7])
    assert taught.agreement == pytest.approx(5 / 6)
    none = accept(np.stack([first, second]), VALID, TRUE, [0, 0, 0], Rule())
    assert (none.labels == REJECTED).all()  # a class without source clips is not taught


def test_a_quorum_lets_one_teacher_be_overruled_and_the_floor_holds() -> None:
    teachers = np.stack([table((0, 0.99)), table((0, 0.99)), table((1, 0.4))])
    valid = np.stack([VALID[0]] * 3)
    assert accept(teachers, valid, TRUE, [9, 9, 9], Rule()).labels.tolist() == [REJECTED]
    assert accept(teachers, valid, TRUE, [9, 9, 9], Rule(quorum=2)).labels.tolist() == [0]
    assert accept(teachers, valid, TRUE, [9, 9, 9], Rule(quorum=2, floor=0.9)).labels.tolist() == [REJECTED]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"precision": 2}, "precision is 2"), ({"cap": 0}, "cap is 0"), ({"quorum": 0}, "quorum is 0")],
)
def test_rules_that_cannot_be(fields, message) -> None:
    with pytest.raises(ValueError, match=message):
        Rule(**fields)
    with pytest.raises(ValueError, match="quorum is 3, but a stream has 2 teachers"):
        accept(VALID, VALID, TRUE, [1, 1, 1], Rule(quorum=3))
