"""Tensors that an evaluation leaves in a checkpoint's folder: one safetensors file, its header says what it is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save


def write_tensors(path: Path, kind: str, header: Mapping[str, str], tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes the file, whole or not at all.

    Args:
        path: The file.
        kind: Name and version of its format.
        header: What stands in the header beside it.
        tensors: The tensors by name.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    whole = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    partial.write_bytes(save(whole, {"format": kind, **header}))
    os.replace(partial, path)


def read_tensors(
    path: Path, kind: str, what: str, header: Sequence[str], names: Sequence[str]
) -> tuple[dict[str, str], list[npt.NDArray[Any]]]:
    """Reads such a file.

    Args:
        path: The file.
        kind: Name and version of the format that it has to be of.
        what: What it has to hold, for the error.
        header: What has to stand in its header.
        names: The tensors.

    Returns:
        The header, and the tensors in the order of their names.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It cannot be read, is of another format, or lacks a tensor or a part of the header.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: evaluate that checkpoint on that split first")
    try:
        with safe_open(path, "numpy") as file:
            about = file.metadata() or {}
            if about.get("format") != kind:
                raise ValueError(f"{path} holds no {what}: its format is {about.get('format')!r}")
            tensors = [file.get_tensor(name) for name in names]
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read ({error}): evaluate the checkpoint again") from error
    missing = [name for name in header if name not in about]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)} in its header: evaluate the checkpoint again")
    return about, tensors
