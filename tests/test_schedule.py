"""ML-CO's weights are a pure function of progress."""

from __future__ import annotations

import pytest

from microgesture.schedule import stage, term_weights

GIVEN = {"lambda_fg": 0.5, "lambda_cp": 0.25, "stage2_start": 1 / 3}


@pytest.mark.parametrize("steps", [3, 15, 99, 2460])
def test_stage_two_begins_exactly_at_its_share_of_the_steps(steps: int) -> None:
    stages = [stage(done / steps, 1 / 3) for done in range(steps)]
    assert stages == [1] * (steps // 3) + [2] * (steps - steps // 3)


def test_fine_grained_loss_has_weight_zero_in_stage_one_only() -> None:
    assert term_weights(0.0, **GIVEN) == {"cls": 1.0, "cp": 0.25, "fg": 0.0}
    assert term_weights(0.5, **GIVEN) == {"cls": 1.0, "cp": 0.25, "fg": 0.5}


def test_without_ml_co_all_terms_count_from_the_start() -> None:
    assert term_weights(0.0, **GIVEN, ml_co=False) == {"cls": 1.0, "cp": 0.25, "fg": 0.5}


@pytest.mark.parametrize("steps", [3, 15, 99, 2460])
def test_level_gives_l_fg_the_same_sum_over_training_as_ml_co(steps: int) -> None:
    sums = [
        {name: sum(term_weights(k / steps, **GIVEN, order=order)[name] for k in range(steps)) for name in ("cp", "fg")}
        for order in ("cp_first", "level")
    ]
    assert sums[0] == pytest.approx(sums[1])
    weights = [term_weights(k / steps, **GIVEN, order="level")["fg"] for k in range(steps)]
    assert len(set(weights)) == 1


def test_fg_first_turns_the_two_terms_round() -> None:
    assert term_weights(0.0, **GIVEN, order="fg_first") == {"cls": 1.0, "cp": 0.0, "fg": 0.5}
    assert term_weights(0.5, **GIVEN, order="fg_first") == term_weights(0.5, **GIVEN)
