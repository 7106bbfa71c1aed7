"""People's own clips: from a table, folders, ELAN, BORIS or Label Studio to a data set folder.

    OUT/labels.json                        classes, with a plain sentence each where the user wrote none
    OUT/README.md                          the card: how many clips, split how
    OUT/<split>/metadata.jsonl             one row per clip; several rows may be spans of one video
    OUT/<split>/videos/…                   each video once: a hard link to the user's file, a copy on another disk

With folds, OUT/fold_1, OUT/fold_2, … are such folders.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from microgesture.annotation.readers import Annotation, Problems, Reading, VideoFinder
from microgesture.annotation.sources import SPLIT_NAMES, ReadingOptions, read_source
from microgesture.data import splits
from microgesture.data.clips import (
    LABELS_FILE,
    LEAK,
    ClipSample,
    DatasetInfo,
    check_subjects,
    link_file,
    write_split,
    write_text,
)

UNKNOWN = "unknown"
_SPLIT_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class OwnOptions:
    """What the user may choose.

    Args:
        reading: What some sources need to be told.
        videos: Folder with the videos that annotation files name; `None`: the source's own.
        subject_from: Where the source does not say who is seen: `folder` (name of the video's folder), `file` (each
            video is another person), or a pattern of the file name such as `{subject}_*`.
        labels: A labels.json of the user's own, with the classes and their sentences.
        mirrored: Whether the recordings are mirrored; `None`: as the user's labels.json says, else unknown.
        shares: Of train, validation and test.
        folds: Make so many stratified group folds instead of one split.
        seed: Of the split.
        allow_leak: Split at random, whoever is seen, and mark every result.
    """

    reading: ReadingOptions = field(default_factory=ReadingOptions)
    videos: Path | None = None
    subject_from: str | None = None
    labels: Path | None = None
    mirrored: bool | None = None
    shares: tuple[float, float, float] = splits.DEFAULT_SHARES
    folds: int | None = None
    seed: int = 0
    allow_leak: bool = False


def prepare(source: Path, out: Path, options: OwnOptions | None = None, progress: bool = True) -> list[str]:
    """Makes a data set folder of labelled clips, or nothing at all.

    The folder is built beside `out`, under a name with a leading dot, and gets its own name when it is whole.

    Args:
        source: As for `read_source`.
        out: Folder to make; it must not exist yet, or be empty.
        options: What the user chose.
        progress: Whether to show a progress bar.

    Returns:
        What was made, left out or assumed, in lines for the user.

    Raises:
        FileNotFoundError: There is no such source, or no such labels.json.
        FileExistsError: `out` holds something already.
        ValueError: Something in the source cannot be read or does not fit; names each.
    """
    options = options or OwnOptions()
    source, out = Path(source), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not an empty folder: remove it or name another one")
    if options.videos is not None and not options.videos.is_dir():
        raise FileNotFoundError(f"--videos {options.videos} is no folder; check the spelling")
    root = options.videos or (source if source.is_dir() else source.parent)
    finder = VideoFinder(
        root, but=out, cure="copy it there, correct the name, or say where the videos are: --videos DIR"
    )
    reading = read_source(source, finder, options.reading)
    clips = _tidy_labels(_with_subjects(reading.annotations, finder.root, options))
    plans, leak = _plans(clips, options)
    labels = _labels(out.name, clips, options) | ({"leak": True} if leak else {})
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        building.chmod(0o755)  # mkdtemp makes folders that nobody else may read
        for name, plan in plans.items():
            _write(building / name, clips, plan, labels, options, finder.root, progress)
        if out.exists():
            out.rmdir()
        building.replace(out)
    except BaseException:  # also when interrupted by the keyboard
        shutil.rmtree(building, ignore_errors=True)
        raise
    return _summary(out, clips, plans, reading, labels, options)


def parse_shares(text: str) -> tuple[float, float, float]:
    """Shares of train, validation and test from text such as `70,15,15`.

    Raises:
        ValueError: It is something else.
    """
    parts = re.split(r"[,:/ ]+", text.strip())
    if len(parts) == 3 and all(re.fullmatch(r"\d+(\.\d+)?", part, re.ASCII) for part in parts):
        train, validation, test = (float(part) for part in parts)
        if train > 0 and validation > 0:
            total = train + validation + test
            return train / total, validation / total, test / total
    raise ValueError(
        f"--ratio {text!r} must be three numbers, of train, validation and test, such as 70,15,15 or 80,20,0"
    )


def _with_subjects(clips: Sequence[Annotation], root: Path, options: OwnOptions) -> list[Annotation]:
    """Every clip with its subject, by the user's rule where there is one."""
    problems = Problems()
    named = []
    for clip in clips:
        try:
            subject = _subject(clip, root, options.subject_from) if options.subject_from else clip.subject
        except ValueError as error:
            problems.add(clip.where, error)
            continue
        if subject is None and not options.allow_leak:
            problems.add(
                clip.where,
                "it does not say who is seen, and splits are made by person; add a subject, or say how to tell it "
                "from the file: --subject-from folder, file, or a pattern such as '{subject}_*'",
            )
        named.append(replace(clip, subject=subject))
    problems.check()
    return named


def _subject(clip: Annotation, root: Path, rule: str) -> str:
    path = clip.video.relative_to(root)
    if rule == "file":
        return path.stem
    if rule == "folder":
        folder = path.parent.name
        if not folder or folder == clip.label:
            raise ValueError(f"{path} lies in no folder of a person; use another rule for --subject-from")
        return folder
    if "{subject}" not in rule:
        raise ValueError(f"--subject-from {rule} is no rule; write folder, file, or a pattern such as '{{subject}}_*'")
    parts = (re.escape(part).replace(r"\*", "[^/]*") for part in rule.split("{subject}"))
    match = re.fullmatch("(?:.*/)?" + "([^/]+?)".join(parts), path.with_suffix("").as_posix(), re.DOTALL)
    if match is None:
        raise ValueError(f"the file name {path.stem!r} does not look like {rule!r}; correct the pattern")
    return match[1]


def _tidy_labels(clips: list[Annotation]) -> list[Annotation]:
    """Labels with single blanks; refuses two that differ only in how they are written."""
    tidy = [replace(clip, label=" ".join(clip.label.split())) for clip in clips]
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in tidy:
        kinds[_plain(clip.label)][clip.label] += 1
    problems = Problems()
    for forms in kinds.values():
        if len(forms) > 1:
            listed = ", ".join(f"{form!r} ({count} clips)" for form, count in sorted(forms.items()))
            problems.add("labels", f"{listed} look like one class written in several ways; write it in one")
    problems.check()
    if len(kinds) == 1:
        raise ValueError(f"all clips are of one class, {tidy[0].label!r}; a classifier needs at least two")
    return tidy


def _plain(label: str) -> str:
    """The label without what people write now this way, now that: case, underscores, zeros of a number."""
    text = label.casefold().replace("_", " ")
    return str(float(text)) if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII) else text


def _plans(clips: Sequence[Annotation], options: OwnOptions) -> tuple[dict[str, list[str]], bool]:
    """The split of each clip, for each data set folder to make; and whether people may stand on both sides."""
    labels = [clip.label for clip in clips]
    if any(clip.split for clip in clips):
        if options.folds:
            raise ValueError("the source gives every clip its split; leave out --folds, or the column split")
        given = _given_splits(clips)
        return {"": given}, _leaks(clips, given, options)
    if options.allow_leak:
        if options.folds:
            return _fold_plans(splits.random_folds(labels, options.folds, options.seed)), True
        return {"": splits.at_random(labels, options.shares, options.seed)}, True
    groups = splits.people([clip.subject or "" for clip in clips], [clip.video for clip in clips])
    if options.folds:
        return _fold_plans(splits.folds(labels, groups, options.folds, options.seed)), False
    return {"": splits.by_group(labels, groups, options.shares, options.seed)}, False


def _fold_plans(plans: list[list[str]]) -> dict[str, list[str]]:
    return {f"fold_{number}": plan for number, plan in enumerate(plans, start=1)}


def _given_splits(clips: Sequence[Annotation]) -> list[str]:
    problems = Problems()
    names = []
    for clip in clips:
        name = (clip.split or "").strip().lower()
        name = SPLIT_NAMES.get(name, name)
        if not _SPLIT_NAME.fullmatch(name):
            problems.add(clip.where, f"the split is {clip.split!r}; write train, validation or test in every row")
        names.append(name)
    problems.check()
    return names


def _leaks(clips: Sequence[Annotation], given: Sequence[str], options: OwnOptions) -> bool:
    """Whether the given splits tear people apart; refused unless the user allows it."""
    people: dict[str, set[str]] = defaultdict(set)
    for clip, split in zip(clips, given, strict=True):
        people[split].add(clip.subject or UNKNOWN)
    try:
        check_subjects(dict(people.items()))
    except ValueError as error:
        if not options.allow_leak:
            raise ValueError(f"{error}; or keep it with --allow-leak, which marks every result") from error
        return True
    return any(UNKNOWN in subjects for subjects in people.values())


def _labels(name: str, clips: Sequence[Annotation], options: OwnOptions) -> dict[str, Any]:
    """The content of labels.json."""
    used = sorted({clip.label for clip in clips}, key=lambda label: (_plain(label), label))
    data: dict[str, Any] = {"name": name, "version": "1", "mirrored": "unknown"}
    if options.labels is None:
        data["classes"] = [{"name": label, "text": plain_sentence(label)} for label in used]
    else:
        data |= _own_labels(options.labels)
        missing = sorted(set(used) - {str(c.get("name")) for c in data["classes"]})
        if missing:
            raise ValueError(
                f"{options.labels} has no class {', '.join(map(repr, missing))}; add it, or mend the clips"
            )
    if options.mirrored is not None:
        data["mirrored"] = options.mirrored
    return data


def _own_labels(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; check --labels")
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no JSON file ({error})") from error
    classes = data.get("classes") if isinstance(data, dict) else None
    if not isinstance(classes, list) or not all(isinstance(c, dict) for c in classes):
        raise ValueError(f'{path} must look like {{"classes": [{{"name": ..., "text": ...}}, ...]}}')
    return {key: value for key, value in data.items() if key not in ("leak", "expected")}


def plain_sentence(label: str) -> str:
    """The category sentence of a class that nobody has described."""
    return f"A person makes the gesture: {label.replace('_', ' ')}."


def _write(
    folder: Path,
    clips: Sequence[Annotation],
    plan: Sequence[str],
    labels: dict[str, Any],
    options: OwnOptions,
    root: Path,
    progress: bool,
) -> None:
    folder.mkdir(exist_ok=True)
    labels = labels | {"expected": dict(Counter(plan))}
    write_text(folder / LABELS_FILE, json.dumps(labels, ensure_ascii=False, indent=1) + "\n")
    try:
        info = DatasetInfo.read(folder)
    except ValueError as error:  # it was the user's own file
        raise ValueError(str(error).replace(str(folder / LABELS_FILE), str(options.labels or LABELS_FILE))) from error
    defaults = {c.name: c.default for c in info.classes}
    rows: dict[str, list[ClipSample]] = defaultdict(list)
    links: dict[tuple[Path, str], str] = {}
    bar = tqdm(
        zip(clips, plan, strict=True), total=len(clips), desc="clips", unit="clip", delay=1, disable=not progress
    )
    for clip, split in bar:
        key = clip.video, split
        links[key] = file_name = links.get(key) or link_video(clip.video, root, folder / split)
        text = clip.fg_text or defaults[clip.label]
        subject = clip.subject or UNKNOWN
        rows[split].append(ClipSample(file_name, clip.label, subject, text, clip.start, clip.end))
    for split, samples in rows.items():
        write_split(folder / split, samples)
    write_text(folder / "README.md", card(info, rows))


def link_video(video: Path, root: Path, split: Path) -> str:
    """Puts a video that lies below `root` into a split, once and whole; returns its file name there."""
    name = video_name(video, root)
    link_file(video, split / name)
    return name


def video_name(video: Path, root: Path) -> str:
    """The file name, in a split, of a video that lies below `root`."""
    # Names that are no UTF-8 cannot stand in JSON, and fsspec takes what follows `::` for another file.
    name = os.fsencode(video.relative_to(root).as_posix()).decode("utf-8", "replace").replace("::", "__")
    return f"videos/{name}"


def card(info: DatasetInfo, rows: dict[str, list[ClipSample]]) -> str:
    """The README of a data set of one's own, whose head lets `load_dataset` read it."""
    names = sorted(rows, key=lambda name: (name not in splits.SPLITS, *(s != name for s in splits.SPLITS), name))
    files = "\n".join(f"  - split: {name}\n    path: {name}/**" for name in names)
    counts = {name: [len({getattr(r, what) for r in rows[name]}) for what in ("subject", "label")] for name in names}
    table = "\n".join(
        f"| {name} | {len(rows[name])} | {people} | {labels} |" for name, (people, labels) in counts.items()
    )
    leak = f"\n**Leak:** {LEAK}.\n" if info.leak else ""
    return f"""---
pretty_name: {json.dumps(info.name, ensure_ascii=False)}
task_categories:
- video-classification
configs:
- config_name: default
  drop_labels: true
  data_files:
{files}
---

# {info.name}

{len(info.classes)} classes of micro-gestures, made by `microgesture prepare own`.
{leak}
| split | clips | people | classes |
| --- | --- | --- | --- |
{table}

The recordings show people: mind what they agreed to before you pass this folder on.
"""


def _summary(
    out: Path,
    clips: Sequence[Annotation],
    plans: dict[str, list[str]],
    reading: Reading,
    labels: dict[str, Any],
    options: OwnOptions,
) -> list[str]:
    people = {clip.subject for clip in clips if clip.subject}
    videos = {clip.video for clip in clips}
    lines = [f"{len(clips)} clips in {len(videos)} videos, {len(labels['classes'])} classes, {len(people)} people"]
    for name, plan in plans.items():
        seen: dict[str, set[str | None]] = defaultdict(set)
        for clip, split in zip(clips, plan, strict=True):
            seen[split].add(clip.subject)
        counts = ", ".join(
            f"{split} {n} clips of {len(seen[split])} people" for split, n in sorted(Counter(plan).items())
        )
        lines.append(f"{out / name}: {counts}")
    lines += [f"note: {note}" for note in reading.notes]
    if options.labels is None:
        lines.append(
            f"note: the category sentences in {LABELS_FILE} are made from the class names; write better ones, which "
            "say how each gesture is done, because training compares clips with them"
        )
    described = sum(clip.fg_text is not None for clip in clips)
    lines.append(f"note: {described} of {len(clips)} clips have FG-Text of their own")
    if labels.get("leak"):
        lines.append(f"LEAK: {LEAK}")
    lines.append(f"next: microgesture check {next(iter(out / name for name in plans))}")
    return lines
