"""Class weights and their neighbours: closed forms, limits, and refusals."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from microgesture.losses.class_balance import (
    KINDS,
    balanced_cross_entropy,
    effective_number_weights,
    focal_loss,
    inverse_frequency_weights,
    logit_adjustment,
    square_root_weights,
    weighted_cross_entropy,
)

COUNTS = [100, 25, 4, 1]


def batch(C: int = 4, B: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(B, C, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 2])


def test_square_root_weights_in_closed_form() -> None:
    weights = square_root_weights(COUNTS)  # sqrt(100 / n) = 1, 2, 5, 10, whose mean is 4.5
    torch.testing.assert_close(weights, torch.tensor([1.0, 2.0, 5.0, 10.0]) / 4.5)


def test_the_clip_limits_how_often_a_rare_class_counts_the_most_frequent() -> None:
    weights = square_root_weights(COUNTS, clip=4)  # 1, 2, 4, 4, whose mean is 2.75
    torch.testing.assert_close(weights, torch.tensor([1.0, 2.0, 4.0, 4.0]) / 2.75)
    assert float(weights.max() / weights.min()) == pytest.approx(4)
    torch.testing.assert_close(square_root_weights(COUNTS, clip=1), torch.ones(4))


def test_square_root_on_the_published_counts_of_imigue_spans_sixty_times() -> None:
    """3,600 clips of the most frequent class against one: sqrt(3600) = 60."""
    weights = square_root_weights([3600, 1])
    assert float(weights[1] / weights[0]) == pytest.approx(60)


def test_inverse_frequency_in_closed_form() -> None:
    expected = torch.tensor([0.01, 0.04, 0.25, 1.0]) / 0.325
    torch.testing.assert_close(inverse_frequency_weights(COUNTS), expected)


@pytest.mark.parametrize("beta", [0.9, 0.999])
def test_effective_number_in_closed_form(beta: float) -> None:
    raw = [1 / sum(beta**k for k in range(n)) for n in COUNTS]  # 1 + β + … + β^(n-1)
    expected = torch.tensor(raw) / (sum(raw) / 4)
    torch.testing.assert_close(effective_number_weights(COUNTS, beta), expected)


def test_the_ends_of_the_effective_number_are_no_weights_and_inverse_frequency() -> None:
    torch.testing.assert_close(effective_number_weights(COUNTS, 0.0), torch.ones(4))
    near = effective_number_weights(COUNTS, 1 - 1e-7)
    torch.testing.assert_close(near, inverse_frequency_weights(COUNTS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weigh", [square_root_weights, inverse_frequency_weights, effective_number_weights])
def test_weights_have_mean_1_over_the_classes_with_a_clip_and_0_elsewhere(weigh) -> None:
    weights = weigh([7, 0, 300, 2, 0])
    assert weights[[1, 4]].tolist() == [0, 0]
    assert float(weights[[0, 2, 3]].mean()) == pytest.approx(1, rel=1e-6)
    torch.testing.assert_close(weigh([5, 5, 5]), torch.ones(3))


def test_a_clip_counts_the_same_whoever_its_neighbours_are() -> None:
    logits, labels = batch()
    weights = square_root_weights(COUNTS).double()
    whole = weighted_cross_entropy(logits, labels, weights)
    expected = sum(
        float(weights[y]) * -math.log(float(z.softmax(0)[y])) for z, y in zip(logits, labels.tolist(), strict=True)
    )
    assert float(whole) == pytest.approx(expected / 6, rel=1e-9)
    halves = [weighted_cross_entropy(logits[part], labels[part], weights) for part in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(sum(halves) / 2, whole)


def test_focal_loss_is_its_formula_and_with_gamma_0_the_cross_entropy() -> None:
    logits, labels = batch()
    p = logits.softmax(1)[torch.arange(6), labels]
    expected = (-((1 - p) ** 2) * p.log()).mean()
    torch.testing.assert_close(focal_loss(logits, labels), expected)
    torch.testing.assert_close(focal_loss(logits, labels, 0.0), F.cross_entropy(logits, labels))
    assert float(focal_loss(torch.zeros(5, 8), torch.arange(5))) == pytest.approx((7 / 8) ** 2 * math.log(8), rel=1e-6)


def test_focal_loss_of_a_clip_that_is_certain_has_a_gradient() -> None:
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    focal_loss(logits, torch.tensor([0])).backward()
    assert bool(logits.grad.isfinite().all())


def test_logit_adjustment_of_equal_logits_is_minus_the_log_of_the_share() -> None:
    logits, labels = torch.zeros(4, 4), torch.arange(4)
    expected = -torch.tensor(COUNTS).div(130).log().mean()
    torch.testing.assert_close(logit_adjustment(logits, labels, COUNTS), expected)
    torch.testing.assert_close(logit_adjustment(logits, labels, COUNTS, tau=0.0), F.cross_entropy(logits, labels))


def test_logit_adjustment_gives_a_class_without_clips_no_probability() -> None:
    logits, labels = batch(5)
    adjusted = logit_adjustment(logits, labels, [3, 3, 3, 3, 0])
    torch.testing.assert_close(adjusted, F.cross_entropy(logits[:, :4], labels))
    torch.testing.assert_close(
        logit_adjustment(logits, labels, [3, 3, 3, 3, 0], tau=0.0), F.cross_entropy(logits, labels)
    )
    with pytest.raises(ValueError, match="has no training clip"):
        logit_adjustment(logits, labels, [3, 3, 3, 0, 3])


@pytest.mark.parametrize("kind", KINDS)
def test_with_equal_counts_every_kind_but_focal_is_the_cross_entropy(kind: str) -> None:
    logits, labels = batch()
    loss = balanced_cross_entropy(kind, logits, labels, [9, 9, 9, 9])
    expected = focal_loss(logits, labels) if kind == "focal" else F.cross_entropy(logits, labels)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)


def test_what_a_recipe_names_is_what_it_gets() -> None:
    logits, labels = batch()
    expected = {
        "square_root": weighted_cross_entropy(logits, labels, square_root_weights(COUNTS, 2.0)),
        "inverse": weighted_cross_entropy(logits, labels, inverse_frequency_weights(COUNTS)),
        "effective_number": weighted_cross_entropy(logits, labels, effective_number_weights(COUNTS)),
        "logit_adjustment": logit_adjustment(logits, labels, COUNTS),
    }
    for kind, value in expected.items():
        torch.testing.assert_close(balanced_cross_entropy(kind, logits, labels, COUNTS, clip=2.0), value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: square_root_weights([0, 0]), "some above 0"),
        (lambda: square_root_weights([3, -1]), "some above 0"),
        (lambda: square_root_weights([3, 1], clip=0.5), "clip is 0.5"),
        (lambda: effective_number_weights([3, 1], beta=1.0), "beta is 1.0"),
        (lambda: focal_loss(*batch(), gamma=-1.0), "gamma is -1.0"),
        (lambda: balanced_cross_entropy("sqrt", *batch(), COUNTS), "class_balance is 'sqrt'; choose one of: none"),
    ],
)
def test_refusals(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
