"""`microgesture validate`: a sample of what was found, and of what was not, hand-coded blind and compared.

DIR/READ_ME.txt             what to do next
DIR/key.json                which part of which recording each clip is, and what was found there; stays with you
DIR/coder/clips/0001.mp4    the clips, under names that tell nothing; coders get this folder
DIR/coder/0001.eaf          ELAN: an empty tier for each clip          (or coder/coding.csv, a table to fill in)
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tqdm import tqdm

from microgesture.annotation import results
from microgesture.annotation.media import VideoReader, write_clip
from microgesture.annotation.tables import quoted
from microgesture.coding.summarise import write_table
from microgesture.coding.timelines import NOT_CODABLE, Timeline, Timelines, read_predictions
from microgesture.coding.validation_sample import NOTHING, Window, cut, draw
from microgesture.data.clips import write_text

CODER, CLIPS, KEY, TABLE = "coder", "clips", "key.json", "coding.csv"
UNKNOWN = "unknown"  # as predictions call a gesture of no class


def sample(args: argparse.Namespace, reader: VideoReader) -> None:
    """Makes the folder for coders, or nothing at all.

    Raises:
        FileExistsError: It holds something already.
        ImportError: ELAN files were asked for, and pympi-ling is not installed.
        ValueError: The predictions cannot be read, a video is missing, or a setting is out of range.
    """
    found = _check(args)
    windows = cut(found.recordings, args.seconds)
    chosen = draw(windows, args.windows, args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{args.out.name}.", dir=args.out.parent) as temporary:
        building = Path(temporary) / args.out.name
        (building / CODER / CLIPS).mkdir(parents=True)
        clips = _write_clips(found, chosen, args, building / CODER / CLIPS, reader)
        names = _vocabulary(found.labels)
        if args.tool == "elan":
            for clip in clips:
                empty = {"file": str(building / CODER / CLIPS / f"{clip['clip']}.mp4"), "segments": []}
                results.write_eaf(building / CODER / f"{clip['clip']}.eaf", empty, names, below=())
        else:
            rows = [{"file": f"{CLIPS}/{clip['clip']}.mp4", "start": "", "end": "", "label": ""} for clip in clips]
            write_table(building / CODER / TABLE, rows)
        write_text(building / "READ_ME.txt", _read_me(args, names))
        write_text(building / KEY, json.dumps(_key(found, windows, clips), ensure_ascii=False, indent=1) + "\n")
        os.replace(building, args.out)
    strata = Counter(window.stratum for window in chosen)
    print("\n".join(f"{count:5d} windows: {name}" for name, count in strata.most_common()))
    for note in found.notes:
        print(f"note: {note}")
    print(f"what to do next: {args.out / 'READ_ME.txt'}")


def _check(args: argparse.Namespace) -> Timelines:
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise FileExistsError(f"{args.out} exists and is not an empty folder: remove it or name another one")
    if not args.seconds > 0 or not args.context > 0 or args.windows < 1:
        raise ValueError("--seconds and --context must be above 0, and --windows 1 or more")
    if args.tool == "elan":
        results.check_elan()
    found = read_predictions(args.predictions)
    if found is None:
        raise ValueError(
            f"{args.predictions} is no result of `microgesture predict … --json FILE`; other formats do not say which "
            "recordings were looked at, and how long they are"
        )
    clash = {NOTHING, NOT_CODABLE} & {*found.labels}
    if clash:
        raise ValueError(f"a class is called {', '.join(clash)}, which has a meaning of its own here; rename it")
    missing = [t.file for t in found.recordings if not os.path.isfile(t.file)]
    if missing:
        raise ValueError(
            f"{len(missing)} videos are not there, for example {missing[0]}; run this in the folder in which you ran "
            "predict"
        )
    return found


def _write_clips(
    found: Timelines, chosen: list[Window], args: argparse.Namespace, folder: Path, reader: VideoReader
) -> list[dict[str, Any]]:
    """Writes the clips; returns their lines of the key."""
    clips = []
    for number, window in enumerate(tqdm(chosen, desc="clips for coders", unit="clip"), start=1):
        recording = found.recordings[window.recording]
        first, last = max(0.0, window.start - args.context), min(recording.seconds, window.end + args.context)
        name = f"{number:04d}"
        mirrored = bool(found.made_by.get("mirrored"))
        length, _ = write_clip(reader, Path(recording.file), first, last, mirrored, folder / f"{name}.mp4")
        about = {"clip": name, "recording": window.recording, "stratum": window.stratum, "seconds": length / 1000}
        about |= {"start": window.start, "end": window.end, "first": first, "last": last}
        inside = [e for e in recording.events if e.start < last and e.end > first]
        clips.append(about | {"found": [[e.start, e.end, e.label] for e in inside]})
    return clips


def _key(found: Timelines, windows: list[Window], clips: list[dict[str, Any]]) -> dict[str, Any]:
    def about(timeline: Timeline) -> dict[str, Any]:
        return {
            "file": timeline.file,
            "seconds": timeline.seconds,
            "found": dict(Counter(event.label for event in timeline.events)),
        }

    return {
        "labels": found.labels,
        "strata": dict(Counter(window.stratum for window in windows)),
        "recordings": [about(timeline) for timeline in found.recordings],
        "clips": clips,
    }


def _vocabulary(labels: list[str]) -> list[str]:
    return [*dict.fromkeys((*labels, UNKNOWN)), NOTHING, NOT_CODABLE]


def _read_me(args: argparse.Namespace, names: list[str]) -> str:
    how = {
        "elan": "Coders open one .eaf file after the other in ELAN, and mark each gesture on the tier `gesture`; two\n"
        "at once go on a second tier of the same type.",
        "table": "Coders fill in coding.csv: a row per gesture with the clip's file, start and end in seconds of\n"
        "the clip, and the label; several rows for a clip with several gestures.",
    }[args.tool]
    listed = "\n".join(f"  {quoted(name)}" for name in names)
    return f"""\
key.json says what was found in which clip. It stays with you: coders get the folder `{CODER}` and nothing else.

{how}

The labels:
{listed}
{UNKNOWN!r} is a gesture of none of the classes. A clip in which nothing happens needs one annotation {NOTHING!r}: a
clip with none at all counts as not coded yet. Time in which the person cannot be seen is {NOT_CODABLE!r}.

Then:

   microgesture validate score "{args.out}"
"""
