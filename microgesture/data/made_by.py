"""What the files of a folder were made with: what is begun in one way is not finished in another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from microgesture.data.clips import write_text


def settle(path: Path, made_by: Mapping[str, Any], what: str) -> None:
    """Says in a folder how its files are made, or finds it said there.

    Args:
        path: The file that says it.
        made_by: What the files depend on, as JSON takes it.
        what: What they are, for people.

    Raises:
        ValueError: The folder holds files that were made otherwise, or that nobody says anything of.
    """
    now = json.loads(json.dumps(made_by))
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        other = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
        if other:
            raise ValueError(
                f"{path.parent} was made otherwise ({', '.join(other)}); remove that folder to begin again"
            )
        return
    if path.parent.is_dir() and any(path.parent.iterdir()):
        raise ValueError(f"{path.parent} holds {what} that this command did not make; it replaces none")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(now, indent=1) + "\n")
