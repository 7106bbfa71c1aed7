"""The key of an export: which clip each number stands for. Coders do not see it; importing needs it.

key.json    {"dataset", "vocabulary", "tool", "mirrored", "seed",
             "items": [{"number", "media", "fps", "begin_ms", "end_ms", "coder", "look", "shown_label", "prefill",
                        "split", "file_name", "start", "end", "subject"}]}
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from microgesture.annotation.records import Clip
from microgesture.data.clips import write_text
from microgesture.data.fg_text import ATTRIBUTES, FGText

KEY_FILE = "key.json"
CLIP_FIELDS = ("split", "file_name", "start", "end", "subject")
PREFILLED = (*ATTRIBUTES, "side", "repetition")
"""What a prefilled export fills in; how sure they are is for coders alone to say."""


@dataclass(frozen=True)
class Item:
    """One clip before one coder, once.

    Args:
        number: What coders see of its name.
        media: The video, relative to the folder of the export.
        fps: Its frames per second.
        begin_ms: Where the clip begins in it, in milliseconds.
        end_ms: Where it ends.
        coder: Whose it is; `None`: whoever codes it.
        look: 1, or 2 where the same coder meets the clip again.
        shown_label: The class that the coder is told, `None` when they code blind.
        prefill: The words filled in beforehand, by field; `None` when there are none.
        clip: Which clip of the data set.
    """

    number: str
    media: str
    fps: float
    begin_ms: int
    end_ms: int
    coder: str | None
    look: int
    shown_label: str | None
    prefill: dict[str, str] | None
    clip: Clip


@dataclass(frozen=True)
class Key:
    """What an export was made of.

    Args:
        dataset: Name of the data set.
        vocabulary: Version of the vocabulary.
        tool: `label-studio` or `elan`.
        mirrored: What labels.json says of the recordings; with `"unknown"` coders get no words for left and right.
        seed: Of the order and of the choice of second looks.
        items: Every clip before every coder.
    """

    dataset: str
    vocabulary: str
    tool: str
    mirrored: bool | str
    seed: int
    items: tuple[Item, ...]

    def write(self, folder: Path) -> None:
        """Writes `folder/key.json`."""
        rows = []
        for item in self.items:
            row = asdict(item)
            rows.append(row | row.pop("clip"))
        about = {name: getattr(self, name) for name in ("dataset", "vocabulary", "tool", "mirrored", "seed")}
        write_text(folder / KEY_FILE, json.dumps(about | {"items": rows}, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Key:
        """Reads `folder/key.json`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is not a key.
        """
        path = folder / KEY_FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} does not exist: name the folder that `microgesture annotate export` made; without its key "
                "nobody knows which clip each number is"
            )
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            items = tuple(_item(row) for row in about.pop("items"))
            return cls(**about, items=items)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} cannot be read as the key of an export: {error!r}; export again") from error


def _item(row: dict[str, Any]) -> Item:
    return Item(clip=Clip(*(row.pop(name) for name in CLIP_FIELDS)), **row)


def prefill_of(text: FGText | None) -> dict[str, str] | None:
    """The words of a record that a coder finds filled in."""
    if text is None:
        return None
    return {name: word for name in PREFILLED if (word := getattr(text, name)) is not None}
