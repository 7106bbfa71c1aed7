"""Where people keep labelled clips: a table, a folder per class, ELAN, BORIS or Label Studio files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from microgesture.annotation.boris import read_boris
from microgesture.annotation.elan import read_elan
from microgesture.annotation.own_label_studio import read_label_studio
from microgesture.annotation.readers import VIDEO_SUFFIXES, Annotation, Problems, Reading, VideoFinder, one_form
from microgesture.annotation.tables import read_table

SPLIT_NAMES = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class ReadingOptions:
    """What some sources need to be told.

    Args:
        tiers: ELAN: the tiers whose annotations are classes.
        coder: ELAN and Label Studio: whose work to take where several coded the same.
        fps: Label Studio: the frame rate that its timeline counts in.
        point_seconds: BORIS: seconds of video around an event without duration; 0 leaves such events out.
    """

    tiers: Sequence[str] = ()
    coder: str | None = None
    fps: float | None = None
    point_seconds: float | None = None


def read_source(source: Path, finder: VideoFinder, options: ReadingOptions | None = None) -> Reading:
    """Reads the labelled clips of a file or folder, whichever kind it is.

    Args:
        source: An annotation file, a folder with annotation files and videos, or a folder with a folder per class.
        finder: Finds the videos.
        options: What some sources need to be told.

    Raises:
        FileNotFoundError: There is no such source.
        ValueError: It holds nothing to read, files of several kinds, or something that cannot be read.
    """
    options = options or ReadingOptions()
    files = [source] if source.is_file() else _annotation_files(source)
    if not files:
        if finder.root != source.resolve():
            raise ValueError(
                f"{source} holds no annotation file, and only such a file names videos that lie elsewhere"
            )
        return read_class_folders(source, finder)
    reading = Reading()
    for file in files:
        reading.extend(_read_file(file, finder, options))
    if not reading.annotations:
        raise ValueError(f"{source} holds no labelled clip; {'; '.join(reading.notes) or 'its files are empty'}")
    unnamed = len(set(finder.videos()) - finder.used)
    if unnamed:
        reading.notes.append(f"{unnamed} videos in {finder.root} have no annotation and are left out")
    return reading


def read_class_folders(source: Path, finder: VideoFinder) -> Reading:
    """Reads a folder per class, each with its clips; above them there may be folders called train, val, test.

    Args:
        source: The folder.
        finder: Finds the videos.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no clip, or clips beside the class folders.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"{source} does not exist; check the spelling and the folder")
    top = sorted(path.name for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
    has_splits = bool(top) and all(name.lower() in SPLIT_NAMES for name in top)
    reading, problems = Reading(), Problems()
    for video in finder.videos():
        parts = video.relative_to(finder.root).parts
        split = SPLIT_NAMES[parts[0].lower()] if has_splits else None
        classes = parts[1:] if has_splits else parts
        where = str(video.relative_to(finder.root))
        if len(classes) < 2:
            problems.add(where, "this clip is in no class folder; move it into one, or name the clips in a table")
            continue
        try:
            finder.find(where)
        except ValueError as error:
            problems.add(where, error)
            continue
        reading.annotations.append(Annotation(video, one_form(classes[0]).strip(), where, split=split))
    problems.check()
    if not reading.annotations:
        raise ValueError(
            f"{source} holds neither a table (.csv, .jsonl), ELAN, BORIS or Label Studio files, nor a folder of "
            f"videos per class; videos are told by their endings: {' '.join(sorted(VIDEO_SUFFIXES))}"
        )
    others = sum(len(paths) for paths in finder.by_name.values()) - len(reading.annotations)
    if others:
        reading.notes.append(f"{others} other files in {source} are no videos by their names and are left out")
    return reading


def _annotation_files(source: Path) -> list[Path]:
    """The annotation files of a folder, all of one kind; ELAN files may lie in folders of their own."""
    if not source.is_dir():
        raise FileNotFoundError(f"{source} does not exist; check the spelling and the folder")
    if (source / "labels.json").is_file() and any(source.glob("*/metadata.jsonl")):
        raise ValueError(f"{source} is a prepared data set already; use it as it is")
    files = [path for path in sorted(source.iterdir()) if path.is_file() and not path.name.startswith(".")]
    kinds = {
        "a table": [path for path in files if path.suffix.lower() in _TABLES],
        "BORIS": [path for path in files if path.suffix.lower() == ".boris"],
        "Label Studio": [path for path in files if path.suffix.lower() == ".json" and path.name != "labels.json"],
        "ELAN": sorted(path for path in source.rglob("*.eaf") if not path.name.startswith(".")),
    }
    found = {kind: paths for kind, paths in kinds.items() if paths}
    if len(found) > 1 or len(found.get("a table", ())) > 1:
        listed = ", ".join(str(path.relative_to(source)) for paths in found.values() for path in paths[:3])
        raise ValueError(f"{source} holds several annotation files ({listed}); name the one to use as the source")
    return next(iter(found.values()), [])


def _read_file(file: Path, finder: VideoFinder, options: ReadingOptions) -> Reading:
    suffix = file.suffix.lower()
    if suffix == ".eaf":
        return read_elan(file, finder, options.tiers, options.coder)
    if suffix == ".boris":
        return read_boris(file, finder, options.point_seconds)
    if suffix == ".json":
        return read_label_studio(file, finder, options.fps, options.coder)
    if suffix in (*_TABLES, ".txt"):
        return read_table(file, finder, options.point_seconds)
    raise ValueError(
        f"{file} is of no kind that can be read: .csv, .tsv, .jsonl, .eaf, .boris or Label Studio's .json"
    )
