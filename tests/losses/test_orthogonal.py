"""Orthogonal targets and both semantic embedding losses: closed forms, loops, and refusals."""

from __future__ import annotations

import pytest
import torch

from microgesture.losses.orthogonal import orthogonal_semantic_loss, orthogonal_targets, semantic_embedding_loss


def table(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def alike(C: int = 6, D: int = 20) -> torch.Tensor:
    """Sentences as a language model gives them: nearly parallel."""
    return table(1, D, 1) * 5 + table(C, D, 2)


def unit(rows: torch.Tensor) -> torch.Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).square().sum())


def test_targets_are_orthonormal_however_alike_the_sentences_are() -> None:
    embeddings = alike()
    cosines = unit(embeddings) @ unit(embeddings).T
    assert float(cosines.min()) > 0.8
    targets = orthogonal_targets(embeddings)
    torch.testing.assert_close(targets @ targets.T, torch.eye(6), rtol=0, atol=1e-5)


def test_they_are_the_inverse_root_of_the_gram_matrix_times_the_sentences() -> None:
    """Löwdin's own form, by another road than the singular values."""
    E = unit(alike())
    values, vectors = torch.linalg.eigh(E @ E.T)
    expected = vectors @ torch.diag(values.rsqrt()) @ vectors.T @ E
    torch.testing.assert_close(orthogonal_targets(E).double(), expected, rtol=1e-5, atol=1e-5)


def test_no_orthonormal_set_is_nearer() -> None:
    E = unit(alike())
    best = distance(orthogonal_targets(E), E)
    gram_schmidt = torch.linalg.qr(E.T).Q.T
    gram_schmidt = gram_schmidt * (gram_schmidt * E).sum(1, keepdim=True).sign()
    assert best < distance(gram_schmidt, E)
    for seed in range(20):  # small rotations of the answer
        A = table(20, 20, seed + 10) * 0.05
        turned = orthogonal_targets(E).double() @ torch.linalg.matrix_exp(A - A.T)
        assert best < distance(turned, E)


def test_what_is_orthonormal_stays_and_length_does_not_matter() -> None:
    E = torch.linalg.qr(table(8, 8, 3)).Q[:5]
    torch.testing.assert_close(orthogonal_targets(E), E.float(), rtol=1e-5, atol=1e-6)
    scale = torch.tensor([0.1, 1, 10, 100, 3], dtype=torch.float64)[:, None]
    torch.testing.assert_close(orthogonal_targets(alike(5) * scale), orthogonal_targets(alike(5)))


def test_two_vectors_are_opened_evenly_to_a_right_angle() -> None:
    angle = torch.tensor(0.3, dtype=torch.float64)
    E = torch.tensor([[1.0, 0.0], [float(angle.cos()), float(angle.sin())]], dtype=torch.float64)
    opening = (torch.pi / 2 - angle) / 2  # each turns by half of what is missing
    expected = torch.stack([torch.stack([(-opening).cos(), (-opening).sin()]),
                            torch.stack([(angle + opening).cos(), (angle + opening).sin()])])  # fmt: skip
    torch.testing.assert_close(orthogonal_targets(E), expected.float())


def test_more_classes_than_dimensions_become_a_frame_near_the_welch_bound() -> None:
    C, D = 12, 5
    E = table(1, D, 4) * 2 + table(C, D, 5)
    targets = orthogonal_targets(E)
    torch.testing.assert_close(targets.norm(dim=1), torch.ones(C))

    def mean_square(rows: torch.Tensor) -> float:
        return float((unit(rows) @ unit(rows).T).square().mean())

    assert mean_square(targets) < mean_square(E.float())
    assert 1 / D - 1e-6 <= mean_square(targets) < 1.1 / D  # Welch: no C unit vectors in D dimensions are below 1 / D
    corners = torch.eye(3, dtype=torch.float64).repeat(2, 1) * torch.tensor([1, 1, 1, -1, -1, -1.0])[:, None]
    assert mean_square(orthogonal_targets(corners)) == pytest.approx(1 / 3, rel=1e-5)  # equal lengths: on the bound


def test_the_loss_is_its_formula_as_a_loop() -> None:
    features, targets, labels = (
        table(5, 7, 6),
        orthogonal_targets(table(4, 7, 7)).double(),
        torch.tensor([3, 0, 1, 1, 2]),
    )
    total = 0.0
    for f, y in zip(unit(features), labels.tolist(), strict=True):
        others = [float(f @ t) ** 2 for c, t in enumerate(targets) if c != y]
        total += 1 - float(f @ targets[y]) + 0.7 * sum(others) / 3
    assert float(orthogonal_semantic_loss(features, targets, labels, 0.7)) == pytest.approx(total / 5, rel=1e-5)


def test_closed_forms() -> None:
    targets, labels = torch.eye(4, 6), torch.arange(4)
    assert float(orthogonal_semantic_loss(3 * targets, targets, labels, 1.0)) == pytest.approx(0, abs=1e-6)
    assert float(orthogonal_semantic_loss(targets.roll(1, 0), targets, labels)) == pytest.approx(1)
    # On another class's target: 1, and one of the three other cosines is 1.
    assert float(orthogonal_semantic_loss(targets.roll(1, 0), targets, labels, 1.0)) == pytest.approx(1 + 1 / 3)
    assert float(orthogonal_semantic_loss(-targets, targets, labels)) == pytest.approx(2)
    assert float(semantic_embedding_loss(targets + 2, targets, labels)) == pytest.approx(4)


def test_both_losses_have_gradients_and_are_float32_under_autocast() -> None:
    features, targets, labels = table(4, 6, 8).requires_grad_(), table(3, 6, 9), torch.tensor([0, 2, 1, 1])
    assert torch.autograd.gradcheck(lambda f: orthogonal_semantic_loss(f, targets, labels, 0.5), (features,))
    assert torch.autograd.gradcheck(lambda f: semantic_embedding_loss(f, targets, labels), (features,))
    narrow = features.detach().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert orthogonal_semantic_loss(narrow, targets.float(), labels).dtype == torch.float32
        assert semantic_embedding_loss(narrow, targets.float(), labels).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: orthogonal_targets(torch.zeros(3)), r"a table \(C, D\)"),
        (lambda: orthogonal_targets(torch.tensor([[1.0, torch.nan]])), "finite"),
        (lambda: orthogonal_targets(torch.tensor([[1.0, 0], [0, 0]])), "is 0 throughout"),
        (lambda: orthogonal_targets(table(4, 8)[[0, 1, 2, 1]]), "classes 1 and 3 are nearest, with cosine 1.0000"),
        (lambda: orthogonal_semantic_loss(torch.ones(2, 3), torch.eye(4), torch.zeros(2).long()), "of one width"),
        (lambda: orthogonal_semantic_loss(torch.ones(2, 4), torch.eye(4), torch.zeros(3).long()), "labels has shape"),
        (lambda: orthogonal_semantic_loss(torch.ones(2, 4), torch.eye(4), torch.zeros(2).long(), -1), "is -1"),
        (lambda: semantic_embedding_loss(torch.ones(2, 3), torch.eye(4), torch.zeros(2).long()), "of one width"),
    ],
)
def test_refusals(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
