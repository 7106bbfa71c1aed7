"""An export that coders have worked on -> records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from microgesture.annotation import fg_elan, fg_label_studio
from microgesture.annotation.answers import Answer, collect
from microgesture.annotation.key import Item, Key
from microgesture.annotation.records import CodedClip


def read_coded(folder: Path, files: Sequence[Path] = ()) -> tuple[list[CodedClip], Counter[str]]:
    """Reads what coders made of an export. Paths inside their files are not followed; the key says what each clip is.

    Args:
        folder: The folder that `export` made.
        files: JSON files that Label Studio exported, `.eaf` files, or folders of these; none: the `.eaf` files in
            `folder`.

    Returns:
        The records of all coders, and how many answers were `finished`, `cancelled` and `unfinished`.

    Raises:
        FileNotFoundError: A file is missing, or there is none.
        ValueError: A file is not what it should be, or has answers that are not; the first ones are named.
    """
    key = Key.read(folder)
    items = {item.number: item for item in key.items}
    if not files and key.tool == "label-studio":
        raise FileNotFoundError("name the JSON files that Label Studio exported, after the folder of the export")
    return collect(key, _answers(_paths(files or [folder]), items))


def _paths(files: Sequence[Path]) -> list[Path]:
    paths: list[Path] = []
    for path in files:
        inside = sorted(path.rglob("*.eaf")) if path.is_dir() else [path]
        if not inside or not inside[0].is_file():
            raise FileNotFoundError(f"{path} {'holds no .eaf file' if path.is_dir() else 'does not exist'}")
        paths += inside
    return paths


def _answers(paths: Sequence[Path], items: Mapping[str, Item]) -> Iterator[Answer]:
    for path in paths:
        if path.suffix.lower() == ".eaf":
            yield from fg_elan.read(path, items)
        elif path.suffix.lower() == ".json":
            yield from fg_label_studio.read(path)
        else:
            raise ValueError(f"{path}: give .eaf files of ELAN or .json files of Label Studio")
