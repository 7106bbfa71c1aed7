"""The two contrastive terms of FG-SGL (arXiv 2603.16269): eq. 1 (FG-SA) and eq. 2 (CP-A)."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def info_nce(
    queries: torch.Tensor,
    keys: torch.Tensor,
    temperature: float,
    key_ids: torch.Tensor | None = None,
    targets: torch.Tensor | None = None,
) -> torch.Tensor:
    """Fine-grained semantic alignment, eq. 1 of Sec. III-C, over the distinct sentences among the keys.

    `-log exp(sim(q_i, k_own) / τ) / Σ_j exp(sim(q_i, k_j) / τ)`, the mean over i. Equal sentences are one key: another
    clip's equal sentence is no negative. Without any other sentence there is nothing to tell apart, and the loss is 0.

    Args:
        queries: Clip embeddings `(B, E)`; need not have unit length.
        keys: Sentence embeddings `(K, E)`; need not have unit length.
        temperature: τ, above 0.
        key_ids: Sentence of each key `(K,)`; keys of equal id count once. Default: all keys differ.
        targets: Column of each query's own sentence `(B,)`. Default: column i for query i, then K = B.

    Returns:
        The mean loss, a scalar in float32 or better.

    Raises:
        ValueError: A shape does not fit, a target is out of range, or τ is not above 0.

    Example:
        >>> info_nce(torch.eye(2), torch.eye(2), temperature=1.0)
        tensor(0.3133)
    """
    _check(queries, keys, temperature)
    B, K = len(queries), len(keys)
    if targets is None:
        if B != K:
            raise ValueError(f"{B} queries and {K} keys: give `targets`, the column of each query's own sentence")
        targets = torch.arange(B, device=queries.device)
    _check_index("targets", targets, B, K)
    if key_ids is not None:
        if key_ids.shape != (K,):
            raise ValueError(f"key_ids has shape {tuple(key_ids.shape)}; expected ({K},), one id per key")
        distinct, column = torch.unique(key_ids, return_inverse=True)
        first = torch.full_like(distinct, K).scatter_reduce_(0, column, torch.arange(K, device=column.device), "amin")
        keys, targets = keys[first], column[targets]
    if len(keys) < 2:  # no query has a negative
        return (queries.sum() + keys.sum()) * 0.0
    return F.cross_entropy(_cosines(queries, keys) / temperature, targets)


def prototype_nce(
    queries: torch.Tensor, prototypes: torch.Tensor, labels: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Category prototype alignment, eq. 2 of Sec. III-D: a clip against the sentences of all classes.

    Args:
        queries: Clip embeddings `(B, E)`.
        prototypes: Category sentence embeddings `(C, E)`.
        labels: Class ids `(B,)`.
        temperature: τ, above 0.

    Returns:
        The mean loss, a scalar in float32 or better.

    Raises:
        ValueError: A shape does not fit, a label is out of range, or τ is not above 0.
    """
    _check(queries, prototypes, temperature)
    _check_index("labels", labels, len(queries), len(prototypes))
    return F.cross_entropy(_cosines(queries, prototypes) / temperature, labels)


def _cosines(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    wide = torch.promote_types(torch.promote_types(queries.dtype, keys.dtype), torch.float32)
    # Autocast would bring the product back to 16 bits, where 1/τ turns rounding into error.
    with torch.autocast(queries.device.type, enabled=False):
        return F.normalize(queries.to(wide), dim=-1) @ F.normalize(keys.to(wide), dim=-1).T


def _check(queries: torch.Tensor, keys: torch.Tensor, temperature: float) -> None:
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1] != keys.shape[1]:
        raise ValueError(
            f"queries {tuple(queries.shape)} and keys {tuple(keys.shape)} must be two tables of the same width"
        )
    if not len(queries) or not len(keys):
        raise ValueError("queries and keys must each have at least one row")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0 (0.07 is usual)")


def _check_index(name: str, index: torch.Tensor, rows: int, columns: int) -> None:
    if index.shape != (rows,):
        raise ValueError(f"{name} has shape {tuple(index.shape)}; expected ({rows},), one per query")
    # Reading values of a GPU tensor would stop the device at every step; there the kernel itself refuses them.
    if index.device.type == "cpu" and rows and not (int(index.min()) >= 0 and int(index.max()) < columns):
        raise ValueError(f"{name} runs from {int(index.min())} to {int(index.max())}; it must lie in 0..{columns - 1}")
