"""Cross-entropy for long-tailed classes: what a clip of a rare class weighs, and its neighbours for comparison.

Weights `(C,)` are made from the number of training clips of each class, and have mean 1 over the classes that have
one, so that the learning rate means the same with and without them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

KINDS = ("none", "square_root", "inverse", "effective_number", "focal", "logit_adjustment")
"""What `balanced_cross_entropy` can do."""


def square_root_weights(counts: Sequence[float], clip: float | None = None) -> torch.Tensor:
    """The square-root-smoothed weights of arXiv 2606.13030: `w_c ∝ sqrt(N_max / N_c)`.

    The source names the smoothing only; the formula is this project's reading (docs/paper.md).

    Args:
        counts: Training clips of each class, in the order of the ids, C of them; one that is mirrored in every second
            epoch counts half for each of its two classes.
        clip: How many times a rare class may weigh the most frequent one at most; `None` for no limit.

    Returns:
        `(C,)`, float32, of mean 1 over the classes that have a clip; 0 for those without.

    Raises:
        ValueError: No class has a clip, a count is negative, or `clip` is below 1.

    Example:
        >>> square_root_weights([1, 4, 16])
        tensor([1.7143, 0.8571, 0.4286])
    """
    n = _checked(counts)
    if clip is not None and not clip >= 1:
        raise ValueError(f"clip is {clip}; it says how many times a rare class may weigh the most frequent: 1 or more")
    ratio = (n[n.isfinite()].max() / n).sqrt()
    return _mean_one(ratio if clip is None else ratio.clamp(max=clip), n)


def inverse_frequency_weights(counts: Sequence[float]) -> torch.Tensor:
    """`w_c ∝ 1 / N_c`: every class weighs the same, however few its clips.

    Args:
        counts: As for `square_root_weights`.

    Returns:
        As `square_root_weights`.

    Raises:
        ValueError: As for `square_root_weights`.
    """
    n = _checked(counts)
    return _mean_one(1 / n, n)


def effective_number_weights(counts: Sequence[float], beta: float = 0.999) -> torch.Tensor:
    """`w_c ∝ (1 - β) / (1 - β^N_c)`, the inverse effective number of clips (Cui et al., CVPR 2019, eq. 3).

    Args:
        counts: As for `square_root_weights`.
        beta: β, from 0 (every class the same) to below 1 (towards inverse frequency).

    Returns:
        As `square_root_weights`.

    Raises:
        ValueError: As for `square_root_weights`, or `beta` is out of range.
    """
    if not 0 <= beta < 1:
        raise ValueError(f"beta is {beta}; it lies from 0 to below 1 (0.999 is usual)")
    n = _checked(counts)
    return _mean_one((1 - beta) / (1 - beta**n), n)


def weighted_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The mean over clips of `w_y · CE`.

    torch's own weighted mean divides by the weights of the batch: a clip would count differently with other
    neighbours, and a batch of tail clips only would have no weight at all.

    Args:
        logits: `(B, C)`.
        labels: Class ids `(B,)`.
        weights: `(C,)`.

    Returns:
        A scalar.
    """
    each = F.cross_entropy(logits, labels, reduction="none")
    return (weights.to(each)[labels] * each).mean()


def focal_loss(logits: torch.Tensor, labels: torch.Tensor, gamma: float = 2.0) -> torch.Tensor:
    """The mean of `-(1 - p_y)^γ log p_y` (Lin et al., ICCV 2017, eq. 4): clips that are sure already weigh less.

    Args:
        logits: `(B, C)`.
        labels: Class ids `(B,)`.
        gamma: γ; 0 is the cross-entropy.

    Returns:
        A scalar.

    Raises:
        ValueError: `gamma` is negative.
    """
    if not gamma >= 0:
        raise ValueError(f"gamma is {gamma}; it must be 0 (plain cross-entropy) or more (2 is usual)")
    log_p = -F.cross_entropy(logits, labels, reduction="none")
    return -((1 - log_p.exp()) ** gamma * log_p).mean()


def logit_adjustment(
    logits: torch.Tensor, labels: torch.Tensor, counts: Sequence[float], tau: float = 1.0
) -> torch.Tensor:
    """Cross-entropy of `z_c + τ log π_c`, π the shares of the classes (Menon et al., ICLR 2021, eq. 10).

    Args:
        logits: z, `(B, C)`; at inference they are used as they are.
        labels: Class ids `(B,)`.
        counts: As for `square_root_weights`. A class without a training clip gets no probability.
        tau: τ; 0 is the cross-entropy.

    Returns:
        A scalar.

    Raises:
        ValueError: As for `square_root_weights`, or a label's class has no clip by `counts`.
    """
    n = _checked(counts)
    prior = (n / n[n.isfinite()].sum()).masked_fill(~n.isfinite(), 0.0).log().to(logits)
    if labels.device.type == "cpu" and not bool(prior[labels].isfinite().all()):
        raise ValueError("a label's class has no training clip by `counts`; count the clips that are trained on")
    # τ = 0 would make 0 · -inf of a class without clips.
    return F.cross_entropy(logits + tau * prior if tau else logits, labels)


def balanced_cross_entropy(
    kind: str, logits: torch.Tensor, labels: torch.Tensor, counts: Sequence[float], clip: float | None = None
) -> torch.Tensor:
    """L_cls as a recipe names it, with each method's usual settings.

    Args:
        kind: One of `KINDS`; `none` is the cross-entropy.
        logits: `(B, C)`.
        labels: Class ids `(B,)`.
        counts: Training clips of each class, C of them.
        clip: As for `square_root_weights`; the others have none.

    Returns:
        A scalar.

    Raises:
        ValueError: There is no such kind, or as for the method.
    """
    if kind == "none":
        return F.cross_entropy(logits, labels)
    if kind == "focal":
        return focal_loss(logits, labels)
    if kind == "logit_adjustment":
        return logit_adjustment(logits, labels, counts)
    if kind == "square_root":
        weights = square_root_weights(counts, clip)
    elif kind == "inverse":
        weights = inverse_frequency_weights(counts)
    elif kind == "effective_number":
        weights = effective_number_weights(counts)
    else:
        raise ValueError(f"class_balance is {kind!r}; choose one of: {', '.join(KINDS)}")
    return weighted_cross_entropy(logits, labels, weights)


def _checked(counts: Sequence[float]) -> torch.Tensor:
    """The counts `(C,)` in float64, infinite for a class without clips: 1 / N_c is then 0."""
    n = torch.as_tensor(counts, dtype=torch.float64)
    if n.ndim != 1 or not len(n) or bool((n < 0).any()) or not bool((n > 0).any()):
        raise ValueError(f"counts must be the number of training clips of each class, some above 0, got {counts!r}")
    return torch.where(n > 0, n, torch.inf)


def _mean_one(weights: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
    present = n.isfinite()
    return torch.where(present, weights / weights[present].mean(), 0.0).float()
