"""A disk without room, told by the errors that it causes."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your share of the disk (quota) is used up",
    errno.EFBIG: "a file would be larger than is allowed here",
}


class NoRoomError(OSError):
    """There is no room for a file; what was written before it is whole and kept."""


def error_number(error: Exception) -> int | None:
    """The system's number for what went wrong; `None` where the error does not tell."""
    if isinstance(error, OSError):
        return error.errno
    told = re.search(r"os error (\d+)", str(error))  # safetensors
    return int(told[1]) if told else None


@contextmanager
def explaining(what: str, folder: Path, cure: str) -> Iterator[None]:
    """Inside, a lack of room ends in one error that names the folder and says what to do.

    Args:
        what: What is being written.
        folder: Where to.
        cure: What helps, as sentences.

    Raises:
        NoRoomError: The disk or the user's share of it is full, or a file would become too large.
    """
    try:
        yield
    except NoRoomError:
        raise
    except (OSError, SafetensorError) as error:
        number = error_number(error)
        if number not in NO_ROOM:
            raise
        raise NoRoomError(number, f"{what} could not be written to {folder}: {NO_ROOM[number]}. {cure}") from error
