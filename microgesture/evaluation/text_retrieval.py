"""Whether a clip finds its own FG-Text sentence among all sentences of the split."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from microgesture.evaluation.metrics import top_k

RANKS = (1, 5)


def sentence_retrieval(similarities: npt.ArrayLike, own: npt.ArrayLike) -> dict[str, Any]:
    """Recall of a clip's own sentence.

    Args:
        similarities: Cosines of each clip with each distinct sentence `(N, S)`.
        own: The clip's own sentence, a column of `similarities`, `(N,)`.

    Returns:
        `sentences` S; and for each rank k of 1 and 5 that is not above S, under `recall@k`: `correct` of `total` clips
        whose own sentence is among the k nearest (of equal cosines the later column counts as the farther), their
        share `recall`, and `chance` = k/S, that of a random order.

    Raises:
        ValueError: As for `metrics.top_k`.
    """
    table = np.asarray(similarities)
    result: dict[str, Any] = {"sentences": int(table.shape[1]) if table.ndim == 2 else 0}
    for k in RANKS:
        if k <= result["sentences"] or k == 1:
            found = top_k(table, own, k)
            counts = {"correct": found["correct"], "total": found["total"], "recall": found["accuracy"]}
            result[f"recall@{k}"] = counts | {"chance": k / result["sentences"]}
    return result
