"""A short name for exactly these data, for the records of runs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from microgesture.data.clips import LABELS_FILE, METADATA_FILE


def fingerprint(folder: Path) -> str:
    """Digest of labels.json, of every split's metadata.jsonl, and of the names and sizes of the videos they list.

    Args:
        folder: A data set folder; where it lies does not matter.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256((folder / LABELS_FILE).read_bytes())
    for table in sorted(folder.glob(f"*/{METADATA_FILE}")):
        text = table.read_bytes()
        digest.update(f"{table.parent.name} {len(text)} ".encode() + text)
        for line in text.splitlines():
            name = json.loads(line)["file_name"] if line.strip() else None
            if name:
                digest.update(f"{name} {(table.parent / name).stat().st_size} ".encode())
    return digest.hexdigest()[:16]
