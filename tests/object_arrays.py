"""NumPy files that only a pickle could read, which nothing here may do: the same bytes that NumPy writes."""

from __future__ import annotations

import pickle
import zipfile
from typing import BinaryIO

import numpy as np


def write_npy(file: BinaryIO, array: np.ndarray) -> None:
    """A `.npy` file of objects."""
    header = {"descr": "|O", "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, header)
    file.write(pickle.dumps(array, protocol=4))


def write_npz(file: BinaryIO, array: np.ndarray) -> None:
    """A `.npz` file with one array of objects."""
    with zipfile.ZipFile(file, "w") as archive, archive.open("arr_0.npy", "w", force_zip64=True) as member:
        write_npy(member, array)
