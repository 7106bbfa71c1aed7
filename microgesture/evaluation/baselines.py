"""What a trained model has to beat: the majority class, and linear models on very small frames.

A linear model sees the pixels of each clip as one row: PCA to at most 150 components, one common scale, and
multinomial logistic regression (L2, C = 1). What the row holds is one of `VIEWS`: the frames one after the other; the
same less the clip's own first frame, so that neither room nor clothes are left and only changes are seen; or the mean
frame, in which the course of the movement is lost. The distances between them say how much of a data set is about
movement at all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

N_COMPONENTS = 150
SIZE = 32
"""Side of the shrunken frames, in pixels."""

VIEWS = ("frames in order", "less the first frame", "mean frame")
"""What a linear model may see of a clip."""

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.floating]


def majority_baseline(train_labels: npt.ArrayLike, n_test: int) -> Ints:
    """Predicts the most frequent class of the training clips for every test clip; the lower id wins a tie.

    Args:
        train_labels: Class ids `(N,)`.
        n_test: Number of test clips.

    Returns:
        Class ids `(n_test,)`.

    Raises:
        ValueError: There is no training label.
    """
    labels = _labels(train_labels)
    return np.full(n_test, np.bincount(labels).argmax(), np.int64)


def linear_baseline(
    train_frames: npt.NDArray[np.uint8], train_labels: npt.ArrayLike, test_frames: npt.NDArray[np.uint8], view: str
) -> Ints:
    """PCA and logistic regression on the pixels, after shrinking every frame to 32×32 colour pixels.

    Args:
        train_frames: Training clips `(N, T, 3, S, S)`, uint8 RGB.
        train_labels: Their class ids `(N,)`.
        test_frames: Test clips `(M, T, 3, S, S)`.
        view: One of `VIEWS`.

    Returns:
        Class ids `(M,)`.

    Raises:
        ValueError: The clips are no uint8 RGB frames of one size, the labels do not fit them, or `view` is none.
    """
    if view not in VIEWS:
        raise ValueError(f"view {view!r} must be one of: {', '.join(VIEWS)}")
    for name, frames in (("train_frames", train_frames), ("test_frames", test_frames)):
        if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[2] != 3 or frames.shape[1] == 0:
            raise ValueError(f"{name} must be uint8 (N, T, 3, S, S) RGB frames, got {frames.dtype} {frames.shape}")
    if train_frames.shape[1:] != test_frames.shape[1:]:
        raise ValueError(
            f"training clips are {train_frames.shape[1:]} and test clips {test_frames.shape[1:]} (T, 3, S, S): "
            "sample and resize both alike"
        )
    train, test = _seen(train_frames, view), _seen(test_frames, view)
    return linear_predictions(train, train_labels, test)


def linear_predictions(train: npt.NDArray, train_labels: npt.ArrayLike, test: npt.NDArray) -> Ints:
    """The linear model itself, on any features: PCA (at most 150 components), one scale, logistic regression.

    Args:
        train: Features `(N, F)` of the training clips.
        train_labels: Their class ids `(N,)`.
        test: Features `(M, F)` of the test clips.

    Returns:
        Class ids `(M,)`. The same input gives the same output.

    Raises:
        ValueError: Shapes differ, a number is not finite, or the labels hold fewer than two classes.
    """
    labels = _labels(train_labels)
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1]:
        raise ValueError(f"features must be (N, F) and (M, F) with one F, got {train.shape} and {test.shape}")
    if len(labels) != len(train):
        raise ValueError(f"{len(train)} training clips but {len(labels)} labels: pass one label per clip")
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise ValueError("features hold NaN or infinity: leave out or mend the clips that they come from")
    if len(np.unique(labels)) < 2:
        raise ValueError("the training labels hold one class only: a classifier needs clips of two classes or more")
    if len(test) == 0:
        return np.empty(0, np.int64)
    pca = PCA(min(N_COMPONENTS, *train.shape), svd_solver="full").fit(train)
    seen, unseen = pca.transform(train), pca.transform(test)
    # One scale for all components: the penalty then means the same for pixels and for metres, and the leading
    # components keep their lead (standardising each would blow up the noise of the last ones).
    scale = float(np.sqrt(np.mean(seen**2))) or 1.0
    model = LogisticRegression(C=1.0, max_iter=1000).fit(seen / scale, labels)
    return model.predict(unseen / scale).astype(np.int64)


def _labels(values: npt.ArrayLike) -> Ints:
    labels = np.asarray(values)
    if labels.ndim != 1 or len(labels) == 0 or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise ValueError(
            f"training labels must be a non-empty list of class ids (0, 1, …), got {labels.dtype} {labels.shape}"
        )
    return labels


def _seen(frames: npt.NDArray[np.uint8], view: str) -> Floats:
    """The rows `(N, F)` of clips `(N, T, 3, S, S)` in a view."""
    small = _shrink(frames)
    if view == "mean frame":
        small = small.mean(1)
    elif view == "less the first frame":
        small = small - small[:, :1]
    return small.reshape(len(small), -1)


def _shrink(frames: npt.NDArray[np.uint8]) -> Floats:
    """Shrinks `(N, T, 3, S, S)` to at most `(N, T, 3, 32, 32)` by area means."""
    S = frames.shape[-1]
    edges = np.arange(min(SIZE, S)) * S // min(SIZE, S)
    counts = np.diff(np.append(edges, S)).astype(np.float32)
    out = np.empty((*frames.shape[:3], len(edges), len(edges)), np.float32)
    for n, clip in enumerate(frames):  # clip by clip, because a float copy of everything may not fit into memory
        sums = np.add.reduceat(np.add.reduceat(clip.astype(np.float32), edges, axis=-2), edges, axis=-1)
        out[n] = sums / (counts[:, None] * counts)
    return out
