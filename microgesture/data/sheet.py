"""Large tables of numbers, as skeletons are published: CSV, or the first sheet of an Excel file without a heading."""

from __future__ import annotations

import csv
import re
import warnings
import zipfile
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

# A sheet is read row by row as text: no XML parser, so no entities, and a row at a time in memory.
_ROW = re.compile(rb"<row\b[^>]*>(.*?)</row>", re.DOTALL)
_CELL = re.compile(rb"<c\b([^>]*)>(?:<f>[^<]*</f>)?<v>([^<]*)</v></c>")
_NOT_A_NUMBER = re.compile(rb'\bt="(?!n")')
_CHUNK = 1 << 20
_LONGEST_ROW = 8 << 20


def read_numbers(path: Path, columns: int) -> npt.NDArray[np.float32]:
    """Reads a table of numbers.

    Args:
        path: A .csv or .xlsx file without a heading.
        columns: How many columns it must have.

    Returns:
        float32 `(rows, columns)`.

    Raises:
        ValueError: The file is damaged, has another number of columns, or holds something other than numbers.
    """
    table = _read_xlsx(path, columns) if path.suffix.lower() == ".xlsx" else _read_csv(path, columns)
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(1))[0])
        raise ValueError(f"{path} row {row + 1} holds NaN or infinity: copy the file again from the data set")
    return table


def _read_csv(path: Path, columns: int) -> npt.NDArray[np.float32]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = next(csv.reader(file), [])
    if len(first) != columns:
        raise ValueError(
            f"{path} has {len(first)} columns in its first row, expected {columns} numbers and no heading"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return np.loadtxt(path, np.float32, delimiter=",", ndmin=2, encoding="utf-8-sig")
    except (ValueError, UserWarning) as error:
        raise ValueError(f"{path} cannot be read as {columns} columns of numbers ({error})") from error


def _read_xlsx(path: Path, columns: int) -> npt.NDArray[np.float32]:
    numbers = array("f")
    try:
        for number, row in enumerate(_rows(path), start=1):
            cells = _CELL.findall(row)
            if len(cells) != columns or row.count(b"<c ") != columns:
                raise ValueError(f"row {number} has {len(cells)} numbers, expected {columns}")
            if any(_NOT_A_NUMBER.search(kind) for kind, _ in cells):
                raise ValueError(f"row {number} holds text; expected numbers and no heading")
            numbers.extend([float(value) for _, value in cells])
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise ValueError(
            f"{path} cannot be read as {columns} columns of numbers ({error}). "
            "Copy it again, or open it and save it as CSV beside it, with the same name and .csv at its end"
        ) from error
    return np.frombuffer(numbers, np.float32).reshape(-1, columns).copy()


def _rows(path: Path) -> Iterator[bytes]:
    with zipfile.ZipFile(path) as archive:
        sheets = sorted(name for name in archive.namelist() if re.fullmatch(r"xl/worksheets/[^/]+\.xml", name))
        if len(sheets) != 1:
            raise ValueError(f"it has {len(sheets)} sheets, expected one")
        rest = b""
        with archive.open(sheets[0]) as sheet:
            while chunk := sheet.read(_CHUNK):
                rest += chunk
                end = 0
                for found in _ROW.finditer(rest):
                    yield found[1]
                    end = found.end()
                rest = rest[end:]
                if len(rest) > _LONGEST_ROW:
                    raise ValueError("a row is longer than any row of numbers")
