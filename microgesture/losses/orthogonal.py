"""Class sentences as targets: the Orthogonal Semantic Embedding loss (arXiv 2606.13030), and JSSEL's plain one.

Sentences of neighbouring classes are alike, so their embeddings lie close together, and a network that is drawn to
them mixes the classes up. Orthogonalised, every class is as far from every other as it can be. The source names the
loss and gives no formula; what is here is this project's reading (docs/paper.md).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

RANK_TOLERANCE = 1e-6
"""Smallest singular value, relative to the greatest, at which sentences count as independent of each other."""


def orthogonal_targets(embeddings: torch.Tensor) -> torch.Tensor:
    """The orthonormal set nearest to the unit-length embeddings of the class sentences (symmetric orthogonalisation).

    With the singular value decomposition `E = U S V^T` of the unit rows, `U V^T` is the set of orthonormal rows with
    the least sum of squared distances to them (Löwdin, 1950; Schönemann, 1966); no class is preferred, as the first
    is in Gram-Schmidt. More classes than dimensions cannot all be orthogonal. `U V^T` is then the nearest tight frame,
    whose rows are brought to unit length; where they had equal lengths before, the mean square of all cosines is the
    least that any C unit vectors in D dimensions can have (Welch, 1974).

    Args:
        embeddings: Sentence embeddings `(C, D)`, in the order of the class ids.

    Returns:
        Targets `(C, D)`, float32, of unit length; orthogonal where C ≤ D.

    Raises:
        ValueError: It is no such table, or sentences are so alike that no nearest set exists; the message names the
            two classes that are nearest to each other.
    """
    if embeddings.ndim != 2 or not len(embeddings) or not bool(embeddings.isfinite().all()):
        raise ValueError(f"embeddings must be a table (C, D) of finite numbers, got {tuple(embeddings.shape)}")
    if not bool((embeddings != 0).any(1).all()):
        raise ValueError("the embedding of a class sentence is 0 throughout; give every class a sentence")
    unit = F.normalize(embeddings.double(), dim=1)
    U, S, Vt = torch.linalg.svd(unit, full_matrices=False)
    if S[-1] < RANK_TOLERANCE * S[0]:
        cosines = (unit @ unit.T).fill_diagonal_(-1)
        a, b = divmod(int(cosines.argmax()), len(unit))
        raise ValueError(
            f"the class sentences are not independent of each other, so there is no nearest orthogonal set; classes "
            f"{a} and {b} are nearest, with cosine {float(cosines[a, b]):.6f}: give each class a sentence of its own"
        )
    return F.normalize(U @ Vt, dim=1).float()


def orthogonal_semantic_loss(
    features: torch.Tensor, targets: torch.Tensor, labels: torch.Tensor, off_diagonal: float = 0.0
) -> torch.Tensor:
    """The mean over clips of `1 - cos(f, t_y)`, plus `off_diagonal` times the mean `cos²(f, t_c)` of other classes.

    Args:
        features: Clip features, projected to the width of the targets `(B, D)`; need not have unit length.
        targets: Class targets `(C, D)`, as `orthogonal_targets` makes them.
        labels: Class ids `(B,)`.
        off_diagonal: Weight of the penalty on the cosines with the other classes; 0 leaves it out.

    Returns:
        A scalar in float32 or better: 0 for a clip that is its target, 1 at right angles to it.

    Raises:
        ValueError: A shape does not fit, or the weight is negative.
    """
    _check(features, targets, labels)
    if not off_diagonal >= 0:
        raise ValueError(f"off_diagonal is {off_diagonal}; it is the weight of a penalty, 0 or more")
    wide = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        cosines = F.normalize(features.to(wide), dim=1) @ F.normalize(targets.to(wide), dim=1).T  # (B, C)
    own = cosines.gather(1, labels[:, None])[:, 0]
    loss = (1 - own).mean()
    if off_diagonal and len(targets) > 1:
        others = (cosines.square().sum(1) - own.square()) / (len(targets) - 1)
        loss = loss + off_diagonal * others.mean()
    return loss


def semantic_embedding_loss(features: torch.Tensor, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """JSSEL's joint semantic embedding loss: the mean squared error to the embedding of the clip's class.

    JSSEL (Li et al., MiGA at IJCAI 2023) weighs it 20 against the cross-entropy, with 300-d GloVe vectors.

    Args:
        features: Clip features, projected to the width of the embeddings `(B, D)`.
        embeddings: Embeddings of the class sentences `(C, D)`, as they are.
        labels: Class ids `(B,)`.

    Returns:
        A scalar in float32 or better, the mean over clips and dimensions.

    Raises:
        ValueError: A shape does not fit.
    """
    _check(features, embeddings, labels)
    wide = torch.promote_types(features.dtype, torch.float32)
    return F.mse_loss(features.to(wide), embeddings.to(wide)[labels])


def _check(features: torch.Tensor, targets: torch.Tensor, labels: torch.Tensor) -> None:
    if features.ndim != 2 or targets.ndim != 2 or features.shape[1] != targets.shape[1]:
        raise ValueError(
            f"features {tuple(features.shape)} and targets {tuple(targets.shape)} must be two tables of one width"
        )
    if labels.shape != features.shape[:1]:
        raise ValueError(f"labels has shape {tuple(labels.shape)}; expected ({len(features)},), one per clip")
