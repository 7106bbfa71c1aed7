"""The page as a program of its own, as its user starts it. No tests in here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import ROOT


@contextmanager
def served(checkpoint: str, folder: Path, *how: str) -> Iterator[tuple[int, str]]:
    """Starts it, and ends it afterwards.

    Args:
        checkpoint: What it answers with.
        folder: Where its temporary files go.
        how: How Python is to run it; default: `app.py`.

    Yields:
        The number of its process, and its address.
    """
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    environment |= {"OMP_NUM_THREADS": "1"}  # threads that wait for a core spend processor time as well
    command = [sys.executable, *(how or [str(ROOT / "app.py")]), checkpoint]
    program = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        lines = iter(program.stdout.readline, "")
        yield program.pid, next(m[0] for line in lines if (m := re.search(r"http://127\.0\.0\.1:\d+", line)))
    finally:
        program.terminate()
        program.wait(60)
        program.stdout.close()
