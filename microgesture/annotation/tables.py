"""Tables of clips: CSV as Excel, R or people write it, and JSON lines.

One row per clip: `file, label, subject, start, end, split` and the FG-Text columns; all but `file` and `label` may be
missing or empty. Times are seconds, with a decimal point or comma. A table that BORIS exported is recognised.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from microgesture.annotation import boris_export
from microgesture.annotation.readers import (
    TEXT_COLUMNS,
    Annotation,
    Problems,
    Reading,
    VideoFinder,
    one_form,
    read_bytes,
    record,
    seconds,
    span_problem,
)

COLUMNS = ("file", "label", "subject", "start", "end", "split", *TEXT_COLUMNS)
DELIMITERS = ",;\t|"
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes a cell that begins so for a formula, and runs it


def read_table(path: Path, finder: VideoFinder, point_seconds: float | None = None) -> Reading:
    """Reads a CSV, TSV or JSON-lines table of clips.

    Args:
        path: The table; its delimiter and encoding are found out.
        finder: Finds the videos.
        point_seconds: As for `microgesture.annotation.boris.read_boris`, in a table that BORIS exported.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such table, or rows are wrong: the first twenty are named.
    """
    reading, problems = Reading(), Problems()
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        rows = _json_rows(path, problems)
    else:
        text, encoding = decode(path)
        if encoding == "cp1252":
            reading.notes.append(
                f"{path.name} is not UTF-8; it was read as Windows-1252, look at its accented letters"
            )
        export = boris_export.find_export(text, DELIMITERS)
        if export is not None:
            return boris_export.read_export(path, export, finder, point_seconds)
        rows, unused = _csv_rows(path, text, problems)
        if unused:
            reading.notes.append(f"columns of {path.name} that are not used: {', '.join(unused)}")
    for where, row in rows:
        try:
            reading.annotations.append(_annotation(row, where, finder, path.parent))
        except ValueError as error:
            problems.add(where, error)
    problems.check()
    if not reading.annotations:
        raise ValueError(f"{path} names no clip: it has a header and no rows")
    return reading


def decode(path: Path) -> tuple[str, str]:
    """The text of a table, and the encoding it was written in.

    Raises:
        ValueError: It is no text, or in an encoding that cannot be told; names the line.
    """
    data = read_bytes(path)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif data.startswith(b"PK") or b"\0" in data:
        raise ValueError(f"{path} is no text table; in Excel choose Save as, CSV UTF-8")
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding), encoding
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise ValueError(f"{path} is cut off or damaged ({error}); save it again as CSV UTF-8") from error
    try:
        return data.decode("cp1252"), "cp1252"
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path} line {line} is in an unknown encoding; save the table as CSV UTF-8") from error


def _csv_rows(path: Path, text: str, problems: Problems) -> tuple[Iterator[tuple[str, dict[str, str]]], list[str]]:
    """Rows with where they stand, and the columns that nobody asked for."""
    first = re.match(r"\s*sep=(.)\r?\n", text)  # Excel's own hint
    skipped = text[: first.end()].count("\n") if first else 0
    text = text[first.end() :] if first else text
    delimiter, header = _header(path, text)
    known = [name if name in COLUMNS else "" for name in header]
    unused = [name for name in header if name and name not in COLUMNS]

    def rows() -> Iterator[tuple[str, dict[str, str]]]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        seen_header = False
        while True:
            before = reader.line_num
            try:
                cells = next(reader, None)
            except csv.Error as error:
                problems.add(
                    f"{path.name} line {before + skipped + 1}", f"{error}; look for a quote that is not closed"
                )
                return
            if cells is None:
                return
            if not any(cell.strip() for cell in cells):
                continue
            if not seen_header:
                seen_header = True
                continue
            where = f"{path.name} line {before + skipped + 1}"
            if any(cell.strip() for cell in cells[len(header) :]):
                problems.add(
                    where, f"{len(cells)} cells for {len(header)} columns; put text with {delimiter!r} in quotes"
                )
                continue
            yield where, {name: cell for name, cell in zip(known, cells, strict=False) if name}

    return rows(), unused


def _header(path: Path, text: str) -> tuple[str, list[str]]:
    """The delimiter that makes sense of the first line, and the column names it gives."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    headers = {}
    for delimiter in DELIMITERS:
        cells = next(csv.reader([line], delimiter=delimiter), [])
        names = [one_form(cell).strip().lower() for cell in cells]
        headers[delimiter] = ["file" if name == "file_name" else name for name in names]
    delimiter = max(DELIMITERS, key=lambda d: len(set(headers[d]) & set(COLUMNS)))
    header = headers[delimiter]
    missing = [name for name in ("file", "label") if name not in header]
    if missing:
        raise ValueError(
            f"{path} has no column {' and no column '.join(missing)}: its first line must name the columns, such as "
            f"file,label,subject,start,end; it reads: {line[:200]!r}"
        )
    twice = sorted({name for name in header if name in COLUMNS and header.count(name) > 1})
    if twice:
        raise ValueError(f"{path} has the column {', '.join(twice)} twice; keep one of them")
    return delimiter, header


def _json_rows(path: Path, problems: Problems) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(read_bytes(path).splitlines(), start=1):
        where = f"{path.name} line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            problems.add(where, f"this is no JSON in UTF-8 ({error}); write one object per line")
            continue
        if not isinstance(row, dict):
            problems.add(where, 'this is no JSON object; write {"file": ..., "label": ...}')
            continue
        if "file" not in row and "file_name" in row:
            row["file"] = row.pop("file_name")
        yield where, row


def _annotation(row: Mapping[str, Any], where: str, finder: VideoFinder, folder: Path) -> Annotation:
    text = {name: _text(name, row.get(name)) for name in COLUMNS if name not in ("start", "end")}
    if not text["label"]:
        raise ValueError("label is empty; write the class, or leave the row out")
    start, end = seconds(row.get("start")), seconds(row.get("end"))
    problem = span_problem(start, end)
    if problem:
        raise ValueError(problem)
    fg_text = record({name: text[name] for name in TEXT_COLUMNS if text[name]})
    video = finder.find(text["file"] or "", folder)
    return Annotation(video, text["label"], where, text["subject"], start, end, fg_text, text["split"])


def _text(name: str, value: Any) -> str | None:
    if isinstance(value, list | dict | bool):
        raise ValueError(f"{name} is {value!r}; write text")
    return None if value is None else (one_form(unquoted(str(value))).strip() or None)


def quoted(value: Any) -> Any:
    """A cell for CSV: text that a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def unquoted(text: str) -> str:
    """The text of a cell that `quoted` wrote."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text
