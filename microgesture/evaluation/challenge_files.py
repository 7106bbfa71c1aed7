"""The files that the MiGA challenges and MA-52 take: written, and read back.

    Submission.csv               NNNN_k,class              no header    MiGA 2023, classification
    submission.csv               Id,Target                 header       MiGA 2024 and 2025, classification (Kaggle)
    <sequence>_prediction.csv    class,start,end           no header    MiGA, online recognition; one per recording
    prediction.csv               vid,action_pred_1..5,body_pred_1..5    MA-52 (Codabench)

Class ids are counted from 0 (of iMiGUE 0 to 31), frames as in the data set, the last one included. Every reader takes
the clips or recordings that are asked for, and refuses a file in which one is missing, there twice, or not among them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from microgesture.data.clips import write_text
from microgesture.evaluation.score_file import Scores

CLIP = re.compile(r"\d{4}_\d+")
ID_TARGET = ("Id", "Target")
RANKS = 5
MA52 = ("vid", *(f"{level}_pred_{rank}" for level in ("action", "body") for rank in range(1, RANKS + 1)))
FORMS = {"submission": "Submission.csv", "id_target": "submission_id_target.csv", "ma52": "prediction.csv"}
"""Name of a form -> the file that `hand_in` writes."""
ONLINE_SUFFIX = "_prediction.csv"

FrameSpan = tuple[int, int, int]
"""Class id, first frame, last frame."""


def hand_in(folder: Path, form: str, scores: Scores, groups: Sequence[str | None]) -> Path:
    """Writes the challenge file of a split, and reads it back.

    Args:
        folder: Where to.
        form: One of `FORMS`.
        scores: Of the split.
        groups: The body group of each class; `ma52` needs them.

    Returns:
        The file.

    Raises:
        ValueError: There is no such form, or as for the function that writes it.
    """
    if form not in FORMS:
        raise ValueError(f"challenge form {form!r} must be one of: {', '.join(FORMS)}")
    path = folder / FORMS[form]
    if form == "ma52":
        if not all(groups):
            raise ValueError(f"labels.json of {scores.dataset} names no body groups, which {path.name} has to rank")
        write_ma52(path, dict(zip(scores.clips, scores.logits, strict=True)), [str(group) for group in groups])
        read_ma52(path, scores.clips)
        return path
    classes = dict(zip(scores.clips, scores.logits.argmax(1).tolist(), strict=True))
    write_submission(path, classes, header=form == "id_target")
    if read_submission(path, scores.clips) != classes:
        raise ValueError(f"{path} does not hold what was written; look at the disk")
    return path


def write_submission(path: Path, classes: Mapping[str, int], header: bool = False) -> None:
    """Writes the class of each clip.

    Args:
        path: The file, e.g. `Submission.csv`.
        classes: Clip (`NNNN_k`) -> class id.
        header: `True` for the form with the header `Id,Target`.

    Raises:
        ValueError: A clip is not named `NNNN_k`, a class id is negative, or there is no clip.
    """
    if not classes:
        raise ValueError(f"{path}: there is no clip to write")
    for clip, label in classes.items():
        if not CLIP.fullmatch(clip):
            raise ValueError(f"{path}: clip {clip!r} is not named like 0054_0 (recording, row of its label file)")
        _class_id(str(label), str(path))
    _write(path, [*([ID_TARGET] if header else []), *classes.items()])


def read_submission(path: Path, clips: Iterable[str]) -> dict[str, int]:
    """Reads what `write_submission` writes, in either form.

    Args:
        path: The file.
        clips: The clips that it has to hold.

    Returns:
        Clip -> class id, in the order of `clips`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A row is not a clip and a class id, or a clip is missing, unknown or there twice.
    """
    rows = _read(path)
    if rows and tuple(rows[0]) == ID_TARGET:
        rows = rows[1:]
    return {clip: _class_id(row[0], f"{path}, clip {clip}") for clip, row in _by_name(path, rows, 2, clips).items()}


def write_online(folder: Path, recordings: Mapping[str, Sequence[FrameSpan]]) -> None:
    """Writes one `<sequence>_prediction.csv` per recording; one without a gesture gets an empty file.

    Args:
        folder: Where to; made when missing.
        recordings: Recording -> class id, first and last frame of each gesture.

    Raises:
        ValueError: A gesture ends before it starts, or an id or a frame is negative.
    """
    for name, spans in recordings.items():
        for span in spans:
            _frame_span([str(value) for value in span], f"{name}, gesture {tuple(span)}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, spans in recordings.items():
        _write(folder / f"{name}{ONLINE_SUFFIX}", spans)


def read_online(folder: Path, recordings: Iterable[str]) -> dict[str, list[FrameSpan]]:
    """Reads the files of a folder.

    Args:
        folder: The folder.
        recordings: The recordings that it has to hold.

    Returns:
        Recording -> class id, first and last frame of each gesture.

    Raises:
        ValueError: A file is missing or of no such recording, or a row is no gesture.
    """
    wanted = list(recordings)
    found = {path.name.removesuffix(ONLINE_SUFFIX): path for path in sorted(folder.glob(f"*{ONLINE_SUFFIX}"))}
    _compare(str(folder), list(found), wanted)
    return {
        name: [_frame_span(row, f"{found[name]}, row {number}") for number, row in enumerate(_read(found[name]), 1)]
        for name in wanted
    }


def write_ma52(path: Path, scores: Mapping[str, npt.ArrayLike], groups: Sequence[str]) -> None:
    """Writes MA-52's `prediction.csv`: the five best actions of each clip, and the five best body groups.

    The score of a body group is the summed probability of its actions.

    Args:
        path: The file.
        scores: Clip -> logits of the actions `(C,)`.
        groups: The body group of each action in the order of their ids; groups are numbered as they first appear.

    Raises:
        ValueError: There is no clip, there are fewer than five actions or groups, or scores are not of C actions.
    """
    numbers = list(dict.fromkeys(groups))
    if not scores or len(numbers) < RANKS:
        raise ValueError(f"{path}: one clip and {RANKS} body groups at least are needed to rank {RANKS} of them")
    member = np.array([[group == number for number in numbers] for group in groups], float)
    rows: list[Sequence[str | int]] = [MA52]
    for clip, values in scores.items():
        logits = np.asarray(values, np.float64)
        if logits.shape != (len(groups),) or not np.isfinite(logits).all():
            raise ValueError(f"{path}: the scores of {clip} have to be {len(groups)} finite numbers, one per action")
        bodies = np.exp(logits - logits.max()) @ member
        best = [np.argsort(-order, kind="stable")[:RANKS].tolist() for order in (logits, bodies)]
        rows.append([clip, *best[0], *best[1]])
    _write(path, rows)


def read_ma52(path: Path, clips: Iterable[str]) -> dict[str, tuple[list[int], list[int]]]:
    """Reads MA-52's `prediction.csv`.

    Args:
        path: The file.
        clips: The clips that it has to hold.

    Returns:
        Clip -> its five actions and its five body groups, best first.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The header is another, a rank repeats a class, or a clip is missing, unknown or there twice.
    """
    rows = _read(path)
    if not rows or tuple(rows[0]) != MA52:
        raise ValueError(f"{path}: its first line has to be {','.join(MA52)}")
    result = {}
    for clip, row in _by_name(path, rows[1:], len(MA52), clips).items():
        ids = [_class_id(value, f"{path}, clip {clip}") for value in row]
        actions, bodies = ids[:RANKS], ids[RANKS:]
        if len(set(actions)) < RANKS or len(set(bodies)) < RANKS:
            raise ValueError(f"{path}: clip {clip} names a class in two ranks")
        result[clip] = (actions, bodies)
    return result


def _write(path: Path, rows: Iterable[Sequence[str | int]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())


def _read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [[cell.strip() for cell in row] for row in csv.reader(file) if row]


def _by_name(path: Path, rows: Sequence[Sequence[str]], width: int, clips: Iterable[str]) -> dict[str, list[str]]:
    """The rows by their first cell, in the order of the clips that are asked for."""
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise ValueError(f"{path}: row {number} has {len(row)} cells instead of {width}: {','.join(row)}")
    wanted = list(clips)
    _compare(str(path), [row[0] for row in rows], wanted)
    found = {row[0]: list(row[1:]) for row in rows}
    return {clip: found[clip] for clip in wanted}


def _compare(where: str, found: Sequence[str], wanted: Sequence[str]) -> None:
    twice = sorted({name for name in found if found.count(name) > 1} if len(set(found)) < len(found) else ())
    missing, unknown = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    for what, names in (("missing", missing), ("there twice", twice), ("not of this split", unknown)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ValueError(f"{where}: {', '.join(names[:3])}{more} {'is' if len(names) == 1 else 'are'} {what}")


def _class_id(text: str, where: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise ValueError(f"{where}: {text!r} is no class id; ids are whole numbers from 0")
    return int(text)


def _frame_span(row: Sequence[str], where: str) -> FrameSpan:
    if len(row) != 3:
        raise ValueError(f"{where}: a gesture is a class id, its first and its last frame, got {','.join(row)}")
    label, first, last = (_class_id(value, where) for value in row)
    if last < first:
        raise ValueError(f"{where}: the last frame, {last}, lies before the first, {first}")
    return label, first, last
