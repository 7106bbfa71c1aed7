"""Eq. 1 and 2 against the formulas as plain loops, in closed form, and for refusals."""

from __future__ import annotations

import math

import pytest
import torch

from microgesture.losses.contrastive import info_nce, prototype_nce


def sim(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def loop_info_nce(queries, keys, temperature, key_ids, targets) -> float:
    """Eq. 1 as written, the denominator over distinct sentences."""
    distinct: dict[int, torch.Tensor] = {}
    for number, key in zip(key_ids, keys, strict=True):
        distinct.setdefault(int(number), key)
    losses = []
    for i, query in enumerate(queries):
        if len(distinct) < 2:
            continue
        own = math.exp(sim(query, keys[targets[i]]) / temperature)
        losses.append(-math.log(own / sum(math.exp(sim(query, key) / temperature) for key in distinct.values())))
    return sum(losses) / len(losses) if losses else 0.0


def table(rows: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.07, 0.5, 1.0])
@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 4, 5], [3, 3, 1, 1, 1, 0], [7, 7, 7, 7, 7, 2]])
def test_info_nce_is_eq_1_over_distinct_sentences(ids: list[int], temperature: float) -> None:
    sentences = table(8, 5, 1)
    keys, queries, key_ids = sentences[ids], table(6, 5, 2), torch.tensor(ids)
    expected = loop_info_nce(queries, keys, temperature, key_ids, list(range(6)))
    assert float(info_nce(queries, keys, temperature, key_ids)) == pytest.approx(expected, rel=1e-12)


def test_info_nce_with_targets_reads_its_own_columns() -> None:
    ids, targets = torch.tensor([4, 2, 4, 0, 1]), torch.tensor([2, 3, 1])
    keys, queries = table(5, 4, 3)[ids], table(3, 4, 4)
    expected = loop_info_nce(queries, keys, 0.1, ids, targets.tolist())
    assert float(info_nce(queries, keys, 0.1, ids, targets)) == pytest.approx(expected, rel=1e-12)


def test_equal_sentences_are_no_negatives_for_each_other() -> None:
    keys, queries = table(3, 4, 5), table(3, 4, 6)
    once = info_nce(queries, keys, 0.1, torch.arange(3))
    twice = info_nce(queries, torch.cat([keys, keys]), 0.1, torch.arange(3).repeat(2), torch.arange(3))
    assert torch.equal(once, twice)


@pytest.mark.parametrize("K", [2, 8, 64])
def test_equal_similarities_give_log_k(K: int) -> None:
    keys = torch.eye(K + 1)[:K]
    query = torch.eye(K + 1)[K:].repeat(K, 1)  # at right angles to every key
    assert float(info_nce(query, keys, 0.07)) == pytest.approx(math.log(K), rel=1e-6)
    assert float(prototype_nce(query, keys, torch.arange(K), 0.07)) == pytest.approx(math.log(K), rel=1e-6)


def test_a_query_without_any_negative_gives_zero_with_a_gradient_of_zero() -> None:
    queries = table(3, 4, 7).requires_grad_()
    loss = info_nce(queries, table(1, 4, 8).repeat(3, 1), 0.1, torch.zeros(3, dtype=torch.long))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(queries.grad, torch.zeros_like(queries))


def test_prototype_nce_is_eq_2() -> None:
    queries, prototypes, labels = table(5, 6, 9), table(4, 6, 10), torch.tensor([0, 3, 3, 1, 2])
    expected = [
        -math.log(math.exp(sim(q, prototypes[c]) / 0.2) / sum(math.exp(sim(q, p) / 0.2) for p in prototypes))
        for q, c in zip(queries, labels, strict=True)
    ]
    assert float(prototype_nce(queries, prototypes, labels, 0.2)) == pytest.approx(sum(expected) / 5, rel=1e-12)


def test_terms_are_float32_under_autocast_and_for_bfloat16() -> None:
    queries, keys = table(4, 8, 11).float(), table(4, 8, 12).float()
    exact = info_nce(queries, keys, 0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(info_nce(queries, keys, 0.07), exact)
    assert info_nce(queries.bfloat16(), keys.bfloat16(), 0.07).dtype == torch.float32


def test_gradients_reach_both_sides() -> None:
    queries, keys = table(4, 3, 13).requires_grad_(), table(4, 3, 14).requires_grad_()
    assert torch.autograd.gradcheck(lambda q, k: info_nce(q, k, 0.5, torch.tensor([0, 1, 2, 3])), (queries, keys))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda q, k: info_nce(q, k, 0.0), "temperature is 0.0"),
        (lambda q, k: info_nce(q, k[:2], 0.1), "4 queries and 2 keys"),
        (lambda q, k: info_nce(q, k, 0.1, torch.arange(3)), "key_ids has shape"),
        (lambda q, k: info_nce(q, k, 0.1, targets=torch.arange(3)), "targets has shape"),
        (lambda q, k: info_nce(q, k, 0.1, targets=torch.tensor([0, 1, 2, 4])), r"must lie in 0\.\.3"),
        (lambda q, k: info_nce(q[:, :2], k, 0.1), "same width"),
        (lambda q, k: info_nce(q[:0], k, 0.1), "at least one row"),
        (lambda q, k: prototype_nce(q, k, torch.tensor([0, 1, 2, -1]), 0.1), "labels runs from -1"),
        (lambda q, k: prototype_nce(q, k, torch.arange(4), -1.0), "temperature is -1.0"),
    ],
)
def test_refusals(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(table(4, 3, 15), table(4, 3, 16))
