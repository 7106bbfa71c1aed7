"""The confusions that cost most, each with a clip to look at."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from microgesture.evaluation.score_file import Scores

STRIP_HEIGHT, GAP, QUALITY = 112, 3, 82


@dataclass(frozen=True)
class Confusion:
    """A class that is taken for another.

    Args:
        true: Its class id.
        predicted: That of the other.
        count: Clips of the one that were taken for the other.
        total: Clips of the one.
        row: The clip of these whose wrong answer is the surest.
        probability: How sure it is.
    """

    true: int
    predicted: int
    count: int
    total: int
    row: int
    probability: float


def worst_confusions(scores: Scores, limit: int = 6) -> list[Confusion]:
    """The pairs of classes with the most wrong clips; of equally many, those that are said with more certainty.

    Args:
        scores: Of a split.
        limit: How many pairs at most.
    """
    probabilities = softmax(scores.logits.astype(np.float64), axis=1)
    predicted = probabilities.argmax(1)
    sure = probabilities.max(1)
    found = []
    for true, said in sorted({(int(t), int(p)) for t, p in zip(scores.labels, predicted, strict=True) if t != p}):
        rows = np.flatnonzero((scores.labels == true) & (predicted == said))
        row = int(rows[sure[rows].argmax()])
        total = int((scores.labels == true).sum())
        found.append(Confusion(true, said, len(rows), total, row, float(sure[row])))
    return sorted(found, key=lambda c: (-c.count, -c.probability, c.true, c.predicted))[:limit]


def strip(frames: npt.NDArray[np.uint8]) -> bytes:
    """Frames `(T, H, W, 3)` side by side as one small JPEG.

    Raises:
        ImportError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError('pictures of frames need Pillow: pip install "fgsgl[report]"') from error
    T, H, W = frames.shape[:3]
    width = max(1, round(STRIP_HEIGHT * W / H))
    whole = Image.new("RGB", (T * width + (T - 1) * GAP, STRIP_HEIGHT), "white")
    for t, frame in enumerate(frames):
        whole.paste(
            Image.fromarray(frame).resize((width, STRIP_HEIGHT), Image.Resampling.LANCZOS), (t * (width + GAP), 0)
        )
    file = io.BytesIO()
    whole.save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()
