"""What every reader of annotations shares: the record, the list of what is wrong, and the way from a name to a file.

A file of annotations comes from somebody's laptop and names its videos as they were called there
(`file:///C:/Users/anna/study/P01.mp4`). Such a name is looked up inside the data folder and never leaves it.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from microgesture.data.fg_text import FGText

MAX_BYTES = 64 << 20  # of one annotation file: some 200,000 annotations
LISTED = 20
VIDEO_SUFFIXES = frozenset(
    {
        ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".asf",
        ".flv", ".ogv", ".3gp", ".gif", ".dv", ".mxf",
    }
)  # fmt: skip
TEXT_COLUMNS = tuple(column.name for column in fields(FGText))
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Annotation:
    """One labelled clip: a video or a span of one.

    Args:
        video: The file, absolute, inside the data folder.
        label: Class name as written.
        where: Where it stands, for messages: file and row, tier or event.
        subject: Who is seen; `None` where the source does not say.
        start: Start in seconds from the video's first frame; `None` for its start.
        end: End (exclusive) in seconds; `None` for its end.
        fg_text: What a coder wrote about it.
        split: The split that the source gives it.
    """

    video: Path
    label: str
    where: str
    subject: str | None = None
    start: float | None = None
    end: float | None = None
    fg_text: FGText | None = None
    split: str | None = None


@dataclass
class Reading:
    """What a reader found: annotations, and in words what it left out or assumed."""

    annotations: list[Annotation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def extend(self, other: Reading) -> None:
        """Adds what another file holds."""
        self.annotations += other.annotations
        self.notes += other.notes


class Problems:
    """Everything that is wrong with a source, so that it can be mended in one go."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, where: str, message: object) -> None:
        """Notes one problem and where it is."""
        self.found.append(f"{where}: {message}")

    def check(self) -> None:
        """Raises ValueError when there are any; names the first twenty."""
        if not self.found:
            return
        more = f"\n… and {len(self.found) - LISTED} more" if len(self.found) > LISTED else ""
        head = "" if len(self.found) == 1 else f"{len(self.found)} problems, nothing was made:\n"
        raise ValueError(head + "\n".join(self.found[:LISTED]) + more)


def read_bytes(path: Path) -> bytes:
    """The content of an annotation file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is too large to be one.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; check the spelling and the folder")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(
            f"{path} has {size >> 20} MiB, and annotation files are read up to {MAX_BYTES >> 20} MiB: is it the right "
            "file? Else export it in parts"
        )
    return path.read_bytes()


def one_form(text: str) -> str:
    """The text in Unicode's composed form: macOS writes é as two characters, others as one."""
    return unicodedata.normalize("NFC", text)


def seconds(value: Any) -> float | None:
    """A time in a table: a number, or text with a decimal point or comma; `None` for an empty cell.

    Raises:
        ValueError: It is something else.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value.strip().replace(",", "."))
    raise ValueError(f"{value!r} is no number; write times in seconds, e.g. 72.5 for 1 min 12.5 s")


def span_problem(start: float | None, end: float | None) -> str:
    """What is wrong with a span in seconds; empty when nothing is."""
    for name, value in (("start", start), ("end", end)):
        if value is not None and not math.isfinite(value):
            return f"{name} is {value}; write a number of seconds, or leave it empty"
    if start is not None and start < 0:
        return f"the clip starts at {start:g} s, before the video does; times count from its first frame"
    if end is not None and end <= (start or 0.0):
        return f"the clip from {start or 0:g} s to {end:g} s is empty; the start must lie before the end"
    return ""


def record(words: Mapping[str, Any]) -> FGText | None:
    """The FG-Text record of a row or annotation; `None` when it describes nothing.

    Args:
        words: Values by column, as written: words in any case, with blanks or underscores; empty ones are missing.

    Raises:
        ValueError: A word is not in the vocabulary.
    """
    tidy: dict[str, Any] = {}
    for name in TEXT_COLUMNS:
        value = words.get(name)
        if value is None or not str(value).strip():
            continue
        if name == "confidence":
            tidy[name] = seconds(value)
        elif name == "coder":
            tidy[name] = str(value).strip()
        else:
            tidy[name] = re.sub(r"[\s-]+", "_", str(value).strip().lower())
    return FGText.from_mapping(tidy)


class VideoFinder:
    """Finds the videos that annotations name, inside one folder and nowhere else.

    Args:
        root: The data folder.
        but: A folder inside it that is not searched (the one that is being made).
        cure: What to do about a video that is not there.
    """

    def __init__(self, root: Path, but: Path | None = None, cure: str = "copy it there, or correct the name") -> None:
        self.cure = cure
        self.root = root.resolve()
        self.but = but.resolve() if but else None
        self.used: set[Path] = set()
        self._by_name: dict[str, list[Path]] | None = None
        self._known: dict[tuple[str, Path], Path] = {}

    def find(self, name: str, folder: Path | None = None) -> Path:
        """The file that a name in an annotation file stands for.

        The name is tried as it stands, and as a path relative to the annotation file and to the data folder; then the
        last parts of it are looked for anywhere in the data folder.

        Args:
            name: Path, `file:` URL or bare name, as written.
            folder: Folder of the annotation file; default: the data folder.

        Raises:
            ValueError: No file in the data folder fits, or more than one does, or it leads out of the folder.
        """
        key = name, folder or self.root
        if key not in self._known:
            path = self._find(name, key[1].resolve())
            self._inside(path, name)
            self._known[key] = path
            self.used.add(path)
        return self._known[key]

    def _find(self, name: str, folder: Path) -> Path:
        written = name.strip()
        if not written:
            raise ValueError("no video is named")
        if re.match(r"(?!file:)[a-z][a-z0-9+.-]*://", written, re.IGNORECASE):
            raise ValueError(f"{written} is a web address; download the video into {self.root} first")
        forms = _forms(written)
        for form in forms:
            for where in (Path(form), folder / form.lstrip("/"), self.root / form.lstrip("/")):
                path = Path(os.path.normpath(where))
                if path.is_relative_to(self.root) and _is_file(path):
                    return path
        for form in forms:
            matches = self._matches(form)
            if len(matches) == 1:
                return matches[0]
            if matches:
                listed = ", ".join(str(path.relative_to(self.root)) for path in matches[:5])
                raise ValueError(
                    f"{written} may be any of {len(matches)} files in {self.root}: {listed}; "
                    "rename them so that each name stands once, or write the path"
                )
        raise ValueError(f"{written} is not in {self.root}{self._hint(forms[-1])}; {self.cure}")

    def _matches(self, form: str) -> list[Path]:
        """Files of that name; of several, those that share the most folder names with it."""
        parts = [one_form(part) for part in form.split("/") if part not in ("", ".", "..")]
        files = self.by_name.get(parts[-1], []) if parts else []
        shared = [_shared_end(parts, path.relative_to(self.root).parts) for path in files]
        return [path for path, count in zip(files, shared, strict=True) if count == max(shared)]

    def _hint(self, form: str) -> str:
        name = one_form(form.rsplit("/", 1)[-1])
        by_case = {known.casefold(): known for known in self.by_name}
        near = get_close_matches(name.casefold(), by_case, n=1, cutoff=0.8)
        return f" (is {by_case[near[0]]} meant?)" if near else ""

    def _inside(self, path: Path, name: str) -> None:
        try:
            inside = path.resolve(strict=True).is_relative_to(self.root)
        except (OSError, RuntimeError):
            inside = False
        if not inside:
            raise ValueError(
                f"{name} is a link that leads nowhere or out of {self.root}; copy the file itself there, or name the "
                "folder that holds it as the source"
            )

    @property
    def by_name(self) -> dict[str, list[Path]]:
        """Every file of the data folder by its name; hidden ones are left out."""
        if self._by_name is None:
            self._by_name = defaultdict(list)
            for folder, folders, files in os.walk(self.root):
                here = Path(folder)
                folders[:] = sorted(f for f in folders if not f.startswith(".") and here / f != self.but)
                for file in sorted(files):
                    if not file.startswith("."):
                        self._by_name[one_form(file)].append(here / file)
        return self._by_name

    def videos(self) -> list[Path]:
        """Every file that is a video by its name, in order."""
        return sorted(p for paths in self.by_name.values() for p in paths if p.suffix.lower() in VIDEO_SUFFIXES)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for any file
        return False


def _forms(written: str) -> list[str]:
    """The path as written, and as it reads without URL, percent signs, backslashes and drive letter."""
    path = re.sub(r"^file:/*", "/", written, flags=re.IGNORECASE)
    plain = [re.sub(r"^/?[A-Za-z]:", "", form.replace("\\", "/")) for form in (path, unquote(path))]
    return list(dict.fromkeys([written, *plain]))


def _shared_end(parts: list[str], other: tuple[str, ...]) -> int:
    """How many parts two paths have in common, counted from the file name up."""
    count = 0
    for a, b in zip(reversed(parts), reversed(other), strict=False):
        if a != one_form(b):
            break
        count += 1
    return count
