"""What coders wrote, as one table: records.jsonl, one line per clip, coder and look.

    {"split", "file_name", "start", "end", "subject", "coder", "look", "label_shown", "initiator", "receiver",
     "direction", "motion_type", "side", "repetition", "confidence", "provenance"}

`split`, `file_name`, `start` and `end` are those of the clip's line in the data set's metadata.jsonl, and name it.
`look` is 2 where the coder saw the clip a second time, for the agreement of a coder with themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from microgesture.data.clips import write_text
from microgesture.data.fg_text import FGText

MOST_PROBLEMS = 20  # that one message lists


@dataclass(frozen=True)
class Clip:
    """Which clip of a data set.

    Args:
        split: Its split.
        file_name: Its video, relative to the folder of the split.
        start: Seconds, `None` for the whole file.
        end: Seconds, `None` for the whole file.
        subject: Who is seen.

    Raises:
        ValueError: The path leaves the folder of the data set.
    """

    split: str
    file_name: str
    start: float | None
    end: float | None
    subject: str

    def __post_init__(self) -> None:
        path = PurePosixPath(self.split, self.file_name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{str(path)!r} must be a path inside the data set")

    @property
    def key(self) -> tuple[str, str, float | None, float | None]:
        """What tells it from other clips."""
        return self.split, self.file_name, self.start, self.end


@dataclass(frozen=True)
class CodedClip:
    """What one coder wrote about one clip at one look.

    Args:
        clip: Which clip.
        text: The record; it names the coder, its confidence and its provenance.
        look: 1, or 2 where the coder saw the clip a second time.
        label_shown: Whether the coder was told the class.
    """

    clip: Clip
    text: FGText
    look: int = 1
    label_shown: bool = False

    def row(self) -> dict[str, Any]:
        """The line of records.jsonl."""
        return asdict(self.clip) | {"look": self.look, "label_shown": self.label_shown} | asdict(self.text)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> CodedClip:
        """Reads a line of records.jsonl.

        Raises:
            KeyError: The line does not name a clip.
            ValueError: A word or a value is not as it must be, or there is no word.
        """
        clip = Clip(*(row[name] for name in ("split", "file_name", "start", "end", "subject")))
        text = FGText.from_mapping(row)
        if text is None:
            raise ValueError("none of the four attributes is filled in; leave the line out")
        look = row.get("look", 1)
        if look not in (1, 2):
            raise ValueError(f"look is {look!r}; it must be 1, or 2 for a second look at the same clip")
        return cls(clip, text, look, bool(row.get("label_shown", False)))


def write_records(path: Path, records: Iterable[CodedClip]) -> None:
    """Writes records.jsonl, whole or not at all."""
    write_text(path, "".join(json.dumps(record.row(), ensure_ascii=False) + "\n" for record in records))


def read_records(path: Path) -> list[CodedClip]:
    """Reads records.jsonl.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Lines are not as they must be; the first ones are named.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: `microgesture annotate import` makes it")
    records, problems = [], []
    for where, row in read_lines(path):
        try:
            records.append(CodedClip.from_row(row))
        except KeyError as error:
            problems.append(f"{where}: {error} is missing; a record names its clip")
        except ValueError as error:
            problems.append(f"{where}: {error}")
    refuse(problems)
    return records


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields where each row of a JSONL file stands, and the row.

    Raises:
        ValueError: A line is not a JSON object.
    """
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{where} is not JSON ({error}); each line is one object in braces") from error
        if not isinstance(row, dict):
            raise ValueError(f"{where} must be one object in braces, it is {type(row).__name__}")
        yield where, row


def refuse(problems: list[str]) -> None:
    """Raises one error that lists the problems, where there are any.

    Raises:
        ValueError: There are.
    """
    if problems:
        more = len(problems) - MOST_PROBLEMS
        listed = problems[:MOST_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
        raise ValueError("\n".join(listed))
