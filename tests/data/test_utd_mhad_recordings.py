"""The UTD-MHAD recordings, where they are: what the card and the class list say about them is so."""

import av
import numpy as np
import pytest
from conftest import ROOT

from microgesture.data import utd_mhad
from microgesture.data.clips import DatasetInfo, load

RECORDINGS = ROOT.parent / "shared" / "data" / "utd_mhad"
ONE_RIGHT_ARM = (0, 1, 2, 4, 7, 8, 9, 10, 14, 18, 19)

pytestmark = pytest.mark.skipif(
    not (RECORDINGS / "labels.csv").is_file(), reason=f"the UTD-MHAD recordings are not at {RECORDINGS}"
)


@pytest.fixture(scope="module")
def info():
    return DatasetInfo.read(ROOT / "datasets" / "utd_mhad")


@pytest.fixture(scope="module")
def recordings(info):
    return utd_mhad.read_labels(RECORDINGS / "labels.csv", info)


def test_whole_data_set(tmp_path):
    utd_mhad.prepare(RECORDINGS, tmp_path / "utd", progress=False)
    data = load(tmp_path / "utd")
    assert {name: len(split) for name, split in data.items()} == {"train": 323, "validation": 108, "test": 216}
    counts = np.bincount([label for split in data.values() for label in split["label"]])
    assert counts.tolist() == [23 if c == 7 else 24 for c in range(27)]


def right_hand(recording):
    """The right hand relative to the hip centre, (frames, 3), and the left one."""
    joints = utd_mhad.read_skeleton(recording.skeleton)
    hip, left, right = (utd_mhad.JOINTS.index(name) for name in ("hip_center", "left_hand", "right_hand"))
    return joints[:, right] - joints[:, hip], joints[:, left] - joints[:, hip]


def test_named_right_hand_is_the_one_that_moves(recordings, info):
    def path_length(points):
        return np.linalg.norm(np.diff(points, axis=0), axis=1).sum()

    arms = [right_hand(r) for r in recordings if info.names.index(r.label) in ONE_RIGHT_ARM]
    assert len(arms) == 263
    assert all(path_length(right) > path_length(left) for right, left in arms)


def test_x_grows_to_the_subjects_right(recordings):
    left, right = utd_mhad.JOINTS.index("left_shoulder"), utd_mhad.JOINTS.index("right_shoulder")
    for recording in recordings:
        joints = utd_mhad.read_skeleton(recording.skeleton)
        assert (joints[:, right, 0] > joints[:, left, 0]).all(), recording.name


@pytest.mark.parametrize(("label", "sign"), [("swipe_left", -1), ("swipe_right", 1)])
def test_swipes_go_where_their_name_says(recordings, label, sign):
    for recording in (r for r in recordings if r.label == label):
        hand, _ = right_hand(recording)
        x = hand[hand[:, 1] > 0.1, 0]  # raised at least 10 cm above the hip
        half = len(x) // 2
        assert sign * (x[half:].mean() - x[:half].mean()) > 0, recording.name


@pytest.mark.parametrize(("label", "sign"), [("draw_circle_cw", -1), ("draw_circle_ccw", 1)])
def test_circles_turn_as_the_subject_sees_them(recordings, label, sign):
    for recording in (r for r in recordings if r.label == label):
        x, y = (right_hand(recording)[0][:, :2] - right_hand(recording)[0][:, :2].mean(0)).T
        area = np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2  # counter-clockwise is positive: x to the right, y up
        assert sign * area > 0, recording.name


def test_left_foot_lunges(recordings):
    left, right = utd_mhad.JOINTS.index("left_foot"), utd_mhad.JOINTS.index("right_foot")
    for recording in (r for r in recordings if r.label == "lunge"):
        joints = utd_mhad.read_skeleton(recording.skeleton)
        ahead = joints[:, right, 2] - joints[:, left, 2]
        assert ahead[np.abs(ahead).argmax()] > 0, recording.name


def test_videos_are_mirrored(recordings, info):
    """The pixels change further right in the picture while the right hand is further to the subject's right."""
    labels = {info.names[label] for label in ONE_RIGHT_ARM}
    sample = [r for r in recordings if r.label in labels and r.trial == 1 and r.subject in (1, 4, 7)]
    correlations = []
    for recording in sample:
        with av.open(str(recording.video)) as container:
            frames = [frame.to_ndarray(format="gray")[::2, ::2] for frame in container.decode(video=0)]
        change = np.abs(np.diff(np.stack(frames).astype(np.int16), axis=0))
        change[change < 16] = 0  # noise of the sensor and of the coding
        energy = change.sum((1, 2))
        column = (change.sum(1) * np.arange(change.shape[2])).sum(1) / np.maximum(energy, 1)
        moving = energy > np.median(energy)
        hand = right_hand(recording)[0][:, 0]
        hand = (hand[1:] + hand[:-1]) / 2  # between the two frames that the change is taken from
        correlations.append(np.corrcoef(column[moving], hand[moving])[0, 1])
    assert len(correlations) == 33
    assert np.mean(np.array(correlations) > 0) >= 0.9  # knocking hardly moves the hand sideways
    assert np.median(correlations) > 0.7
