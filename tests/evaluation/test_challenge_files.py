import numpy as np
import pytest

from microgesture.evaluation.challenge_files import (
    FORMS,
    hand_in,
    read_ma52,
    read_online,
    read_submission,
    write_ma52,
    write_online,
    write_submission,
)
from microgesture.evaluation.score_file import Scores

CLASSES = {"0001_0": 31, "0001_1": 0, "0054_12": 7}


@pytest.mark.parametrize(("header", "text"), [(False, ""), (True, "Id,Target\n")])
def test_submission_is_written_and_read_back(header: bool, text: str, tmp_path) -> None:
    path = tmp_path / "Submission.csv"
    write_submission(path, CLASSES, header)
    assert path.read_bytes() == (text + "0001_0,31\n0001_1,0\n0054_12,7\n").encode()
    assert read_submission(path, ["0054_12", "0001_1", "0001_0"]) == CLASSES
    assert list(tmp_path.iterdir()) == [path]


def test_submission_from_a_spreadsheet(tmp_path) -> None:
    path = tmp_path / "Submission.csv"
    path.write_bytes(b"\xef\xbb\xbfId,Target\r\n0001_0, 31\r\n\r\n")
    assert read_submission(path, ["0001_0"]) == {"0001_0": 31}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("0001_0,1\n", r"0001_1, 0054_12 are missing"),
        ("0001_0,1\n0001_1,1\n0054_12,1\n0001_1,2\n", r"0001_1 is there twice"),
        ("0001_0,1\n0001_1,1\n0054_12,1\n0055_0,2\n", r"0055_0 is not of this split"),
        ("0001_0,1\n0001_1\n0054_12,1\n", r"row 2 has 1 cells instead of 2: 0001_1"),
        ("0001_0,1\n0001_1,-1\n0054_12,1\n", r"clip 0001_1: '-1' is no class id"),
        ("0001_0,1\n0001_1,nod\n0054_12,1\n", r"'nod' is no class id"),
        ("", r"0001_0, 0001_1, 0054_12 are missing"),
    ],
)
def test_submission_that_is_not_whole(text: str, match: str, tmp_path) -> None:
    path = tmp_path / "Submission.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=match):
        read_submission(path, CLASSES)


def test_submission_that_must_not_be_written(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"'clips/a\.mp4' is not named like 0054_0"):
        write_submission(tmp_path / "s.csv", {"clips/a.mp4": 1})
    with pytest.raises(ValueError, match="'-1' is no class id"):
        write_submission(tmp_path / "s.csv", {"0001_0": -1})
    with pytest.raises(ValueError, match="no clip to write"):
        write_submission(tmp_path / "s.csv", {})
    assert not list(tmp_path.iterdir())


def test_online_files_are_written_and_read_back(tmp_path) -> None:
    recordings = {"0036": [(3, 0, 50), (1, 60, 60)], "0040": []}
    write_online(tmp_path / "out", recordings)
    assert (tmp_path / "out" / "0036_prediction.csv").read_text() == "3,0,50\n1,60,60\n"
    assert (tmp_path / "out" / "0040_prediction.csv").read_text() == ""
    assert read_online(tmp_path / "out", recordings) == recordings
    with pytest.raises(ValueError, match="0037 is missing"):
        read_online(tmp_path / "out", ["0036", "0037", "0040"])
    with pytest.raises(ValueError, match="0040 is not of this split"):
        read_online(tmp_path / "out", ["0036"])
    (tmp_path / "out" / "0036_prediction.csv").write_text("3,50,0\n")
    with pytest.raises(ValueError, match=r"row 1: the last frame, 0, lies before the first, 50"):
        read_online(tmp_path / "out", recordings)
    with pytest.raises(ValueError, match="a gesture is a class id, its first and its last frame, got 3,5"):
        write_online(tmp_path / "none", {"a": [(3, 5)]})  # type: ignore[list-item]
    assert not (tmp_path / "none").exists()


GROUPS = [name for name in ("body", "head", "arm", "leg", "hand", "foot") for _ in range(2)]


def test_ma52_ranks_actions_and_summed_body_groups(tmp_path) -> None:
    logits = np.log(np.array([30, 1, 25, 24, 5, 4, 3, 2, 2, 2, 1, 1]))
    path = tmp_path / "prediction.csv"
    write_ma52(path, {"v1": logits, "v2": logits[::-1]}, GROUPS)
    lines = path.read_text().splitlines()
    assert lines[0] == (
        "vid,action_pred_1,action_pred_2,action_pred_3,action_pred_4,action_pred_5,"
        "body_pred_1,body_pred_2,body_pred_3,body_pred_4,body_pred_5"
    )
    # Action 0 is the best one, but the two of the head weigh more together than the two of the body.
    assert lines[1] == "v1,0,2,3,4,5,1,0,2,3,4"
    assert read_ma52(path, ["v2", "v1"])["v1"] == ([0, 2, 3, 4, 5], [1, 0, 2, 3, 4])
    assert read_ma52(path, ["v1", "v2"])["v2"][0][0] == 11
    with pytest.raises(ValueError, match="v3 is missing"):
        read_ma52(path, ["v1", "v2", "v3"])
    path.write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(ValueError, match="v1 is there twice"):
        read_ma52(path, ["v1", "v2"])
    path.write_text("\n".join([lines[0], "v1,0,0,3,4,5,1,0,2,3,4"]))
    with pytest.raises(ValueError, match="clip v1 names a class in two ranks"):
        read_ma52(path, ["v1"])
    path.write_text("v1,0\n")
    with pytest.raises(ValueError, match="its first line has to be vid,action_pred_1"):
        read_ma52(path, ["v1"])


def test_ma52_that_must_not_be_written(tmp_path) -> None:
    path = tmp_path / "prediction.csv"
    with pytest.raises(ValueError, match="the scores of v have to be 12 finite numbers"):
        write_ma52(path, {"v": np.zeros(11)}, GROUPS)
    with pytest.raises(ValueError, match="5 body groups at least"):
        write_ma52(path, {"v": np.zeros(2)}, ["body", "head"])
    assert not path.exists()


@pytest.mark.parametrize("form", FORMS)
def test_handing_in_the_scores_of_a_split(form: str, tmp_path) -> None:
    logits = np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32)
    names = tuple(str(number) for number in range(12))
    scores = Scores("x", "test", names, tuple(CLASSES), ("a", "b", "c"), np.zeros(3, np.int64), logits)
    path = hand_in(tmp_path, form, scores, GROUPS)
    if form == "ma52":
        assert read_ma52(path, CLASSES)["0001_1"][0] == np.argsort(-logits[1])[:5].tolist()
        with pytest.raises(ValueError, match=r"labels\.json of x names no body groups"):
            hand_in(tmp_path, form, scores, [None] * 12)
    else:
        assert list(read_submission(path, CLASSES).values()) == logits.argmax(1).tolist()
    with pytest.raises(ValueError, match="challenge form 'kaggle' must be one of: submission, id_target, ma52"):
        hand_in(tmp_path, "kaggle", scores, GROUPS)
