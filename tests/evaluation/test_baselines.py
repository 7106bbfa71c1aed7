import numpy as np
import pytest

from microgesture.evaluation.baselines import linear_baseline, linear_predictions, majority_baseline


def moving_bars(n, seed, S=40, T=4):
    """A bar that goes right (class 0) or left (class 1) through the same places: only the order tells them apart."""
    generator = np.random.default_rng(seed)
    frames = generator.integers(0, 20, (n, T, 3, S, S), dtype=np.uint8)
    labels = np.arange(n) % 2
    for clip, label in zip(frames, labels, strict=True):
        places = np.arange(T) if label == 0 else np.arange(T)[::-1]
        for frame, place in zip(clip, places, strict=True):
            frame[:, :, place * S // T : (place + 1) * S // T] += 100
    return frames, labels


def test_majority():
    assert majority_baseline([3, 1, 1, 3, 3, 0], 2).tolist() == [3, 3]
    assert majority_baseline([2, 1, 1, 2], 1).tolist() == [1]  # the lower id wins a tie
    assert majority_baseline(np.array([0]), 0).shape == (0,)


def test_order_is_seen_only_by_the_ordered_one():
    train, labels = moving_bars(40, 0)
    test, truth = moving_bars(40, 1)
    ordered = linear_baseline(train, labels, test, "frames in order")
    mean = linear_baseline(train, labels, test, "mean frame")
    assert (ordered == truth).all()
    assert abs((mean == truth).mean() - 0.5) < 0.3


def test_less_the_first_frame_sees_changes_alone():
    """Rooms differ far more than the movement does; taken off with the first frame, the movement is left."""
    generator = np.random.default_rng(0)
    train, labels = moving_bars(40, 0)
    test, truth = moving_bars(40, 1)
    rooms = generator.integers(0, 130, (80, 1, 3, 40, 40), dtype=np.uint8)
    found = linear_baseline(train + rooms[:40], labels, test + rooms[40:], "less the first frame")
    assert (found == truth).all()
    first = np.repeat(train[:, :1], 4, axis=1)  # clips in which nothing changes
    assert len(set(linear_baseline(train, labels, first, "less the first frame"))) == 1


def test_unknown_view():
    with pytest.raises(ValueError, match="view 'grey' must be one of: frames in order, less the first frame, mean fr"):
        linear_baseline(CLIPS, [0, 1, 0, 1], CLIPS, "grey")


def test_mean_frame_sees_places():
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 20, (30, 2, 3, 16, 16), dtype=np.uint8)
    labels = np.arange(30) % 3
    for clip, label in zip(frames, labels, strict=True):
        clip[:, :, label * 5 : label * 5 + 5] += 60
    assert (linear_baseline(frames[:15], labels[:15], frames[15:], "mean frame") == labels[15:]).all()


def test_same_input_same_output():
    train, labels = moving_bars(20, 0)
    test, _ = moving_bars(10, 1)
    before = train.copy()
    first = linear_baseline(train, labels, test, "frames in order")
    assert first.dtype == np.int64
    assert (first == linear_baseline(train, labels, test, "frames in order")).all()
    assert (train == before).all()


def test_labels_need_not_be_consecutive():
    train, labels = moving_bars(20, 0)
    test, truth = moving_bars(10, 1)
    assert (linear_baseline(train, labels * 7 + 4, test, "frames in order") == truth * 7 + 4).all()


def test_scale_of_features_does_not_matter():
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(60, 9)), generator.integers(0, 3, 60)
    features[:, 0] += labels
    metres = linear_predictions(features[:40], labels[:40], features[40:])
    millimetres = linear_predictions(features[:40] * 1000, labels[:40], features[40:] * 1000)
    assert (metres == millimetres).all()


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")  # scikit-learn's explained variance
def test_features_that_never_change():
    assert len(linear_predictions(np.ones((4, 3)), [0, 1, 0, 1], np.ones((2, 3)))) == 2


def test_no_test_clips():
    assert linear_predictions(np.eye(4), [0, 1, 0, 1], np.empty((0, 4))).shape == (0,)


CLIPS = np.zeros((4, 2, 3, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("train", "labels", "test", "match"),
    [
        (
            CLIPS.astype(float),
            [0, 1, 0, 1],
            CLIPS,
            r"train_frames must be uint8 \(N, T, 3, S, S\) RGB frames, got float64",
        ),
        (CLIPS, [0, 1, 0, 1], CLIPS[:, :, 0], r"test_frames must be uint8 .* got uint8 \(4, 2, 8, 8\)"),
        (CLIPS[:, :0], [0, 1, 0, 1], CLIPS, r"train_frames must be uint8"),
        (CLIPS, [0, 1, 0, 1], CLIPS[:, :1], r"test clips \(1, 3, 8, 8\) \(T, 3, S, S\): sample and resize both alike"),
        (CLIPS, [0, 1, 0], CLIPS, "4 training clips but 3 labels: pass one label per clip"),
        (CLIPS, [1, 1, 1, 1], CLIPS, "hold one class only: a classifier needs clips of two classes or more"),
        (CLIPS, [], CLIPS, "training labels must be a non-empty list of class ids"),
        (CLIPS, [0, 1, -1, 1], CLIPS, "training labels must be a non-empty list of class ids"),
        (CLIPS, ["a", "b", "a", "b"], CLIPS, "training labels must be a non-empty list of class ids .*, got <U1"),
    ],
)
def test_bad_clips(train, labels, test, match):
    with pytest.raises(ValueError, match=match):
        linear_baseline(train, labels, test, "frames in order")


def test_bad_features():
    with pytest.raises(
        ValueError, match=r"features must be \(N, F\) and \(M, F\) with one F, got \(2, 3\) and \(2, 4\)"
    ):
        linear_predictions(np.zeros((2, 3)), [0, 1], np.zeros((2, 4)))
    with pytest.raises(ValueError, match="features hold NaN or infinity: leave out or mend the clips"):
        linear_predictions(np.full((2, 3), np.inf), [0, 1], np.zeros((2, 3)))


def test_majority_without_labels():
    with pytest.raises(ValueError, match="training labels must be a non-empty list"):
        majority_baseline([], 3)
