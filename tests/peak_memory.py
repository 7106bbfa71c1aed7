"""The greatest memory of a process, from Linux; no tests in here."""

from __future__ import annotations

from pathlib import Path


def peak(pid: int | str = "self") -> int:
    """KiB since the process began its program, or since `forget`.

    Not `ru_maxrss`: that begins at what the parent process had when it started this one.
    """
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def forget(pid: int | str = "self") -> None:
    """Lets the peak begin again at what the process has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="utf-8")
