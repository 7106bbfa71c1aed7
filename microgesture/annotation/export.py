"""A data set -> a folder for coders: a Label Studio project, or ELAN files.

OUT/READ_ME.txt           what to do next
OUT/key.json              which clip each number is; stays with whoever exported
OUT/clips/c0001.mp4       the videos, under names that tell nothing
OUT/labeling.xml          Label Studio: the labelling page
OUT/tasks[_CODER].json    Label Studio: the clips in random order
OUT/CODER/0001.eaf        ELAN: one file per clip, or one per recording that holds several
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from microgesture.annotation import fg_elan, fg_label_studio
from microgesture.annotation.key import Item, Key, prefill_of
from microgesture.annotation.media import VideoReader, write_clip
from microgesture.annotation.records import Clip
from microgesture.data.clips import DatasetInfo, load, write_text
from microgesture.data.fg_text import VOCABULARY_VERSION, FGText

TOOLS = ("label-studio", "elan")
MEDIA = "clips"
REPEATED = 10
"""One clip of so many comes twice."""
ELAN_CODER = "coder_1"
CODER_NAME = re.compile(r"\w[\w.-]*")
"""What can be the name of a coder's folder or file."""


@dataclass(frozen=True)
class Source:
    """A clip of a data set as an export finds it.

    Args:
        clip: Which clip.
        path: Its video.
        label: Its class.
        text: The FG-Text that it has already.
    """

    clip: Clip
    path: Path
    label: str
    text: FGText | None


@dataclass(frozen=True)
class Media:
    """The video of a clip as coders get it: its name in the export, its rate, and the clip's span in milliseconds."""

    name: str
    fps: float
    begin_ms: int
    end_ms: int


def sources(folder: Path, splits: Sequence[str] = ()) -> list[Source]:
    """The clips of a data set.

    Args:
        folder: A folder as `microgesture prepare` makes it.
        splits: Only these; none: all.

    Raises:
        FileNotFoundError: The folder is not a data set.
        ValueError: It has no such split, or a row is not as it must be.
    """
    data = load(folder)
    unknown = [name for name in splits if name not in data]
    if unknown:
        raise ValueError(f"{folder} has no split {', '.join(unknown)}; it has: {', '.join(data)}")
    found = []
    for split in splits or data:
        names = data[split].features["label"].names
        root = Path(folder).resolve() / split
        for row in data[split]:
            path = Path(row["video"]["path"])
            clip = Clip(split, path.relative_to(root).as_posix(), row["start"], row["end"], row["subject"])
            found.append(Source(clip, path, names[row["label"]], FGText.from_mapping(row)))
    return found


def export(
    folder: Path,
    out: Path,
    reader: VideoReader,
    *,
    clips: Sequence[Source],
    tool: str = "label-studio",
    coders: Sequence[str] = (),
    prefill: bool = False,
    show_label: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> Key:
    """Makes the folder for coders, or nothing at all.

    Args:
        folder: The data set.
        out: The folder to make; it must not exist yet, or be empty.
        reader: The module `video_fgsgl`.
        clips: What to code, as `sources` gives it.
        tool: `label-studio` or `elan`.
        coders: Their names; each gets all clips, in an order of their own. None: one set of clips for whoever comes.
        prefill: Whether coders find the FG-Text that the data set has filled in; else they code blind.
        show_label: Whether they are told the class.
        seed: Of the order and of the choice of second looks.
        progress: Whether a progress bar is shown.

    Returns:
        The key, which lies in the folder as well.

    Raises:
        FileExistsError: `out` holds something already.
        ValueError: There is no clip, a coder's name cannot be the name of a folder, or a video cannot be read.
    """
    _check(out, clips, tool, coders)
    info = DatasetInfo.read(folder)
    names: Sequence[str | None] = coders or ((ELAN_CODER,) if tool == "elan" else (None,))
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        building.chmod(0o755)  # mkdtemp makes folders that nobody else may read
        (building / MEDIA).mkdir()
        rng = np.random.default_rng(seed)
        clips = [clips[place] for place in rng.permutation(len(clips))]  # no name follows the order of the data set
        media = _write_media(clips, building, reader, tool, info.mirrored, progress)
        order = [(name, place, look) for name in names for place, look in looks(len(clips), rng)]
        items = _items(clips, media, order, prefill, show_label)
        key = Key(info.name, VOCABULARY_VERSION, tool, info.mirrored, seed, items)
        if tool == "elan":
            _write_elan(building, key)
        else:
            _write_label_studio(building, key, show_label, out.resolve().name)
        write_text(building / "READ_ME.txt", _read_me(out, tool, coders))
        key.write(building)
        os.replace(building, out)
    except BaseException:  # also when interrupted by the keyboard
        shutil.rmtree(building, ignore_errors=True)
        raise
    return key


def looks(count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """The order of one coder: `(clip, look)`, every clip once, and a tenth of them a second time, much later.

    Second looks are taken from the first half of the order and lie in its last quarter.
    """
    order = [(int(clip), 1) for clip in rng.permutation(count)]
    again = rng.choice(math.ceil(count / 2), math.ceil(count / REPEATED), replace=False)
    for clip, _ in [order[place] for place in again]:
        order.insert(int(rng.integers(math.ceil(count * 3 / 4), len(order) + 1)), (clip, 2))
    return order


def _items(
    clips: Sequence[Source],
    media: Sequence[Media],
    order: Sequence[tuple[str | None, int, int]],
    prefill: bool,
    show_label: bool,
) -> tuple[Item, ...]:
    """Numbers what coders meet, given as (coder, clip, look)."""
    width = max(4, len(str(len(order))))
    return tuple(
        Item(
            number=f"{number:0{width}d}",
            media=media[place].name,
            fps=round(media[place].fps, 3),
            begin_ms=media[place].begin_ms,
            end_ms=media[place].end_ms,
            coder=coder,
            look=look,
            shown_label=clips[place].label if show_label else None,
            prefill=prefill_of(clips[place].text) if prefill else None,
            clip=clips[place].clip,
        )
        for number, (coder, place, look) in enumerate(order, start=1)
    )


def _check(out: Path, clips: Sequence[Source], tool: str, coders: Sequence[str]) -> None:
    if tool not in TOOLS:
        raise ValueError(f"{tool!r} is no annotation tool that is known here; choose one of: {', '.join(TOOLS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not an empty folder: remove it or name another one")
    if not clips:
        raise ValueError("there is no clip to code")
    bad = [name for name in coders if not CODER_NAME.fullmatch(name) or name == MEDIA]
    if bad or len(set(coders)) < len(coders):
        raise ValueError(
            f"coders {', '.join(coders)}: each needs a name of their own of letters, digits, dots and dashes, not "
            f"{MEDIA!r}"
        )


def _write_media(
    clips: Sequence[Source], folder: Path, reader: VideoReader, tool: str, mirrored: bool | str, progress: bool
) -> list[Media]:
    """Writes the video of each clip: cut out, or in ELAN the whole recording that several clips are spans of.

    A mirrored recording is cut in ELAN as well, because the picture has to be turned back.
    """
    recordings: dict[Path, tuple[str, Any]] = {}
    width = max(4, len(str(len(clips))))
    media = []
    for number, source in enumerate(tqdm(clips, desc="clips for coders", unit="clip", disable=not progress), start=1):
        clip, whole = source.clip, source.clip.start is None and source.clip.end is None
        if whole or tool != "elan" or mirrored is True:
            name = f"{MEDIA}/c{number:0{width}d}.mp4"
            length, fps = write_clip(reader, source.path, clip.start, clip.end, mirrored is True, folder / name)
            media.append(Media(name, fps, 0, length))
            continue
        if source.path not in recordings:
            name = f"{MEDIA}/r{len(recordings) + 1:04d}{source.path.suffix.lower()}"
            shutil.copyfile(source.path, folder / name)
            recordings[source.path] = name, reader.probe(source.path)
        name, about = recordings[source.path]
        end = about.duration if clip.end is None else clip.end
        span = round(1000 * (clip.start or 0.0)), round(1000 * end)
        media.append(Media(name, about.fps, *span))
    return media


def _sets(items: Sequence[Item]) -> dict[str | None, list[Item]]:
    sets: dict[str | None, list[Item]] = {}
    for item in items:
        sets.setdefault(item.coder, []).append(item)
    return sets


def _write_label_studio(folder: Path, key: Key, show_label: bool, name: str) -> None:
    write_text(folder / fg_label_studio.PAGE_FILE, fg_label_studio.page(key.mirrored, show_label))
    for coder, items in _sets(key.items).items():
        made = json.dumps(fg_label_studio.tasks(items, name), ensure_ascii=False, indent=1)
        write_text(folder / (f"tasks_{coder}.json" if coder else "tasks.json"), made + "\n")


def _write_elan(folder: Path, key: Key) -> None:
    for coder, items in _sets(key.items).items():
        (folder / str(coder)).mkdir()
        for group in _layers(items):
            path = folder / str(coder) / f"{group[0].number}.eaf"
            fg_elan.write(path, group, key.mirrored, f"../{group[0].media}")


def _layers(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Items that share one ELAN file: of one video and look, not overlapping, because a tier holds one at a time."""

    def together(item: Item) -> tuple[str, int]:
        return item.media, item.look

    for _, group in groupby(sorted(items, key=lambda item: (*together(item), item.begin_ms)), together):
        layers: list[list[Item]] = []
        for item in group:
            free = next((layer for layer in layers if layer[-1].end_ms <= item.begin_ms), None)
            if free is None:
                layers.append([item])
            else:
                free.append(item)
        yield from layers


_ABOUT = """\
key.json says which clip each number is. It stays with you; without it nothing can be read in again.

Coders answer for themselves and do not see each other's words. What the picture does not show is not_visible; what
they see but cannot tell is unclear. Left and right are the person's own.

"""
_NEXT = {
    "label-studio": """\
1. Start Label Studio (https://labelstud.io) so that it may serve the clips, and only to this computer:

   LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true \\
   LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT="{out.parent}" \\
   LABEL_STUDIO_COLLECT_ANALYTICS=false \\
   label-studio start --internal-host 127.0.0.1

   The folder keeps its name: the tasks name it.

2. Make one project for each coder{each}: in a project that several coders share, Label Studio lets everyone open
   everyone's work.
   - Settings, Labeling Interface, Code: paste the text of labeling.xml.
   - Settings, Cloud Storage, Add Source Storage, Local Files: the path {out}/clips
     (save it, but do not sync it: syncing would make tasks of its own).
   - Import: {tasks}.
3. Coders press "Label All Tasks". The order is random already.
4. Export each project in the format JSON, and read it in:

   microgesture annotate import "{out}" PROJECT.json ... --out "{out.name}.jsonl"
""",
    "elan": """\
1. Give each coder the folder with their name and the folder clips, side by side, but not key.json.
2. Coders open one .eaf file after the other in ELAN. Below each annotation of the tier `clip` they double-click on the
   other tiers and choose a word, `confidence` last: a clip without it counts as not finished.
3. Put the files back, and read them in:

   microgesture annotate import "{out}" --out "{out.name}.jsonl"
""",
}


def _read_me(out: Path, tool: str, coders: Sequence[str]) -> str:
    tasks = " or ".join(f"tasks_{coder}.json" for coder in coders) or "tasks.json"
    each = f" ({', '.join(coders)})" if coders else ""
    return _ABOUT + _NEXT[tool].format(out=out.resolve(), tasks=tasks, each=each)
