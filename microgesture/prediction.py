"""`microgesture predict`: many files through the network, each once, with every failure told and none fatal.

What was found is appended to a journal, one whole line per file, and the tables are made of it at the end. A run that
was interrupted goes on after the last whole line.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import torch

from microgesture import framing
from microgesture.annotation import results as outputs
from microgesture.annotation.readers import VIDEO_SUFFIXES
from microgesture.data.fg_text import ATTRIBUTES
from microgesture.training_range import unlike

SOME_FAILED = 3
TOP = 3


def find_files(given: Sequence[str]) -> list[str]:
    """The videos that were named, and those in folders that were named, in the order of their names; each once.

    Raises:
        ValueError: A folder holds no video.
    """
    files: list[str] = []
    for name in given:
        if not os.path.isdir(name):
            files.append(name)
            continue
        below = (Path(folder, file) for folder, _, inside in os.walk(name) for file in inside)
        found = [p for p in below if p.suffix.lower() in VIDEO_SUFFIXES and not p.name.startswith(".")]
        if not found:
            endings = " ".join(sorted(VIDEO_SUFFIXES))
            raise ValueError(f"{name} holds no video; videos are told by their endings: {endings}")
        files += map(str, sorted(found))
    return list(dict.fromkeys(files))


class Journal:
    """Results on disk, a line per file after a first line that says how they were made.

    Args:
        path: The file.
        made_by: What the results depend on; a journal made otherwise is refused.
    """

    def __init__(self, path: Path, made_by: dict[str, Any]) -> None:
        self.path, self.made_by = path, made_by

    def start(self) -> None:
        """Makes the journal, or mends an earlier one: a torn last line and files that failed are done again.

        Raises:
            ValueError: It is no journal, or was made with another checkpoint or other settings.
        """
        there = self.path.exists()
        if there:
            self._check_head()
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with partial.open("w", encoding="utf-8") as file:
            file.write(json.dumps({"made_by": self.made_by}) + "\n")
            for result in self.results() if there else ():
                file.write(json.dumps(result, ensure_ascii=False) + "\n")
        os.replace(partial, self.path)

    def _check_head(self) -> None:
        with self.path.open(encoding="utf-8") as file:
            try:
                before = json.loads(file.readline())["made_by"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{self.path} exists and is no result of this command; name another file") from error
        if before != self.made_by:
            what = ", ".join(sorted(k for k in {*before, *self.made_by} if before.get(k) != self.made_by.get(k)))
            raise ValueError(
                f"{self.path} was made otherwise ({what}); name another file, or remove it to begin again"
            )

    def append(self, result: dict[str, Any]) -> None:
        """Adds one file's line in one write, which the system does not mix with that of another process.

        Raises:
            OSError: The disk is full, for example.
        """
        data = (json.dumps(result, ensure_ascii=False) + "\n").encode()
        number = os.open(self.path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        try:
            if os.write(number, data) < len(data):
                raise OSError(f"{self.path}: the disk is full; make room and start the same line again")
            os.fsync(number)
        finally:
            os.close(number)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every whole line but the first; what was cut off is as if it were not there."""
        with self.path.open(encoding="utf-8", errors="replace") as file:
            next(file, None)
            for line in file:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                yield row

    def results(self) -> Iterator[dict[str, Any]]:
        """The files that were recognised."""
        return (line for line in self.lines() if "error" not in line)


def run(
    args: argparse.Namespace,
    load: Callable[[Path, torch.device, str | None], Any],
    probe: Callable[[str], Any],
    read_frames: Callable[..., Any],
) -> int:
    """Runs the command.

    Args:
        args: The command line.
        load: Makes the pipeline of a checkpoint on a device, in a dtype.
        probe: Says how long a video is, and how many frames a second it has (`video_fgsgl.probe`).
        read_frames: Reads frames of a video (`video_fgsgl.read_frames`).

    Returns:
        0; 1 where nothing could be recognised; 3 where some files failed. Of several processes the first one answers
        for all; the others return 0.

    Raises:
        ValueError: A file failed, with `--on-error stop`, or the command cannot be carried out.
    """
    from accelerate import PartialState
    from accelerate.utils import gather_object

    from microgesture.people.counting import watched

    _check_outputs(args)
    files = find_files(args.files)
    if args.preview is not None:
        return preview(load(args.checkpoint, torch.device("cpu"), None), files, args, read_frames)
    state = PartialState(cpu=args.device == "cpu" or not torch.accelerator.is_available())
    journal = _journal(args)
    if journal is not None and state.is_main_process:
        journal.start()
    state.wait_for_everyone()
    done = {line["file"] for line in journal.lines()} if journal else set()
    state.wait_for_everyone()  # nobody writes before all have read
    left = [file for file in files if file not in done]
    mine = left[state.process_index :: state.num_processes]
    pipe = _framed(load(args.checkpoint, torch.device(args.device) if args.device else state.device, args.dtype), args)
    pictures = outputs.eaf_names(files) if args.explain is not None else {}
    failed = []
    results = recognise(pipe, mine, args, probe)
    for result in watched(results, args.detector, pipe, read_frames, args.mirrored, bool(args.roi or args.person)):
        if "error" in result:
            if args.on_error == "stop":
                raise ValueError(_told(result))
            failed.append(result)
            print(_told(result), file=sys.stderr, flush=True)
        else:
            show(result, args.spot, sys.stdout)
            for warning in result.get("warnings", ()):
                print(f"  warning: {warning}", file=sys.stderr, flush=True)
            if args.explain is not None:
                place = args.explain / pictures[result["file"]].with_suffix("")
                for path in framing.explanations(pipe, result, args.mirrored, place):
                    print(f"  {path}")
        if journal is not None:
            journal.append(result)
    failed = gather_object(failed)  # which also waits for everyone
    if journal is not None and state.is_main_process:
        names = [pipe.model.config.id2label[k] for k in range(pipe.model.config.num_labels)]
        write_outputs(args, journal, names)
    state.wait_for_everyone()
    state.destroy_process_group()  # threads of gloo that outlive the interpreter can end the process with SIGABRT
    return _status(len(left), failed, bool(done)) if state.is_main_process else 0


def _framed(pipe: Any, args: argparse.Namespace) -> Any:
    """The pipeline, looking at the part of the picture that was asked for."""
    if args.roi or args.person:
        pipe.feature_extractor.crop = args.roi or args.person
        pipe.feature_extractor.keep_aspect = bool(args.person)
    return pipe


def preview(pipe: Any, files: list[str], args: argparse.Namespace, read_frames: Callable[..., Any]) -> int:
    """Writes a picture of each video with the part that the network would see."""
    processor = _framed(pipe, args).feature_extractor
    names, failed = outputs.eaf_names(files), []
    for file in files:
        try:
            picture = read_frames(file, 1, mirrored=args.mirrored)[0].numpy()
            boxes = [(processor.box(*picture.shape[:2]), framing.SEEN)]
        except (ValueError, OSError) as error:
            failed.append({"file": file, "error": {"kind": getattr(error, "kind", "box"), "message": str(error)}})
            print(_told(failed[-1]), file=sys.stderr, flush=True)
            continue
        given = [(tuple(box), framing.GIVEN) for box in (args.roi, args.person) if box]
        path = args.preview / names[file].with_suffix(".png")
        framing.write_png(path, framing.drawn(picture, boxes + given))
        print(path)
    return _status(len(files), failed, False)


def _told(result: dict[str, Any]) -> str:
    """What went wrong with a file; the reader's own messages begin with its name."""
    message = result["error"]["message"]
    return message if message.startswith(result["file"]) else f"{result['file']}: {message}"


def _status(tried: int, failed: Sequence[dict[str, Any]], earlier: bool) -> int:
    if not failed:
        return 0
    print(f"\n{len(failed)} of {tried} files failed:", file=sys.stderr)
    for result in failed:
        print(f"  {result['file']} ({result['error']['kind']})", file=sys.stderr)
    return 1 if len(failed) == tried and not earlier else SOME_FAILED


def _check_outputs(args: argparse.Namespace) -> None:
    """Says before any work what would fail after it."""
    for path in (args.json, args.csv, args.boris, args.label_studio, args.eaf):
        if path is not None and not path.absolute().parent.is_dir():
            raise ValueError(f"the folder {path.absolute().parent} for {path.name} does not exist; make it first")
    if args.eaf is not None:
        outputs.check_elan()
    if args.batch_size < 1:
        raise ValueError(f"--batch_size is {args.batch_size}; it must be 1 or more")


def _journal(args: argparse.Namespace) -> Journal | None:
    """The journal: the JSON lines that were asked for, or a hidden file beside the first table until that is whole."""
    first = next((p for p in (args.csv, args.boris, args.label_studio, args.eaf) if p is not None), None)
    path = args.json or (first.with_name(f".{first.name}.journal.jsonl") if first else None)
    if path is None:
        return None
    weights = hashlib.sha256()
    for file in sorted(args.checkpoint.glob("*.safetensors")):
        with file.open("rb") as stream:
            weights.update(hashlib.file_digest(stream, "sha256").digest())
    about = {"weights": weights.hexdigest()[:16], "spot": args.spot, "mirrored": args.mirrored}
    about |= {"roi": args.roi, "person": args.person} if args.roi or args.person else {}
    about |= {"detector": args.detector} if args.detector else {}
    about |= {"background": args.background, "dtype": args.dtype}
    return Journal(path, about | {"labels": _labels(args.checkpoint)})


def _labels(checkpoint: Path) -> list[str]:
    """The class names of a checkpoint, so that those that were never found can be counted as well."""
    config = checkpoint / "config.json"
    names = json.loads(config.read_text(encoding="utf-8")).get("id2label", {}) if config.is_file() else {}
    return [names[number] for number in sorted(names, key=int)]


class _Files(torch.utils.data.Dataset):
    """A list that the pipeline takes for a data set, which it reads as it goes."""

    def __init__(self, files: list[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> str:
        return self.files[number]


def recognise(
    pipe: Any, files: list[str], args: argparse.Namespace, probe: Callable[[str], Any]
) -> Iterator[dict[str, Any]]:
    """The result of each file, in order, as the journal keeps it."""
    if args.spot:
        for file in files:
            yield _guarded(file, lambda file=file: _spotted(pipe, file, args, probe))  # type: ignore[misc]
        return
    options = {"mirrored": args.mirrored, "batch_size": args.batch_size, "num_workers": args.num_workers}
    answers = pipe(_Files(files), top_k=TOP, attributes=True, **options)
    for file, answer in zip(files, answers, strict=True):
        if "error" in answer:
            yield {"file": file, "error": answer["error"]}
        else:
            yield _guarded(file, lambda file=file, answer=answer: _clip(pipe, file, answer, probe))  # type: ignore[misc]


def _guarded(file: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except (ValueError, OSError) as error:
        return {"file": file, "error": {"kind": getattr(error, "kind", "unreadable"), "message": str(error)}}


def _clip(pipe: Any, file: str, answer: dict[str, Any], probe: Callable[[str], Any]) -> dict[str, Any]:
    about = probe(file)
    segment = {"start": 0.0, "end": round(about.duration, 3)} | answer["labels"][0] | _words(answer)
    head = _about(pipe, file, about, about.duration)
    return head | {"segments": [segment], "top": answer["labels"]}


def _about(pipe: Any, file: str, about: Any, seconds: float | None) -> dict[str, Any]:
    """What a result begins with; `seconds` of a clip, `None` of a recording."""
    size = pipe.feature_extractor.box(about.height, about.width)[2:]
    told = unlike(pipe.model.config.training_clips, about, seconds, *size)
    return {"file": file, "seconds": about.duration, "fps": about.fps} | ({"warnings": told} if told else {})


def _spotted(pipe: Any, file: str, args: argparse.Namespace, probe: Callable[[str], Any]) -> dict[str, Any]:
    about = probe(file)
    found = pipe.spot(
        file, background=args.background, mirrored=args.mirrored, batch_size=args.batch_size,
        progress=sys.stderr.isatty(),
    )  # fmt: skip
    segments = [{name: s[name] for name in ("start", "end", "label", "score")} | _words(s) for s in found]
    return _about(pipe, file, about, None) | {"segments": segments}


def _words(answer: dict[str, Any]) -> dict[str, Any]:
    """The best word of each attribute, and the sentence."""
    ranked = answer["attributes"]
    return {name: ranked[name][0]["label"] if ranked.get(name) else None for name in ATTRIBUTES} | {
        "sentence": answer["sentence"]
    }


def show(result: dict[str, Any], spot: bool, screen: TextIO) -> None:
    """Prints one file's rows."""
    lines = [result["file"]]
    for segment in result["segments"]:
        if spot:
            span = f"{segment['start']:9.2f} to {segment['end']:9.2f} s"
            lines.append(f"  {span}  {segment['score']:6.1%}  {segment['label']}")
        else:
            lines += [f"  {item['score']:6.1%}  {item['label']}" for item in result["top"]]
        best = [f"{name}: {segment[name]}" for name in ATTRIBUTES if segment[name]]
        if best:
            lines.append(f"{' ' * (28 if spot else 2)}{', '.join(best)}")
    if not result["segments"]:
        lines.append("  no gesture found")
    print("\n".join(lines), file=screen, flush=True)


def write_outputs(args: argparse.Namespace, journal: Journal, names: Sequence[str]) -> None:
    """Makes the files that were asked for of the journal, each whole; a hidden journal has then done its work."""
    known = [*names, "unknown"]
    if args.csv is not None:
        outputs.write_csv(args.csv, journal.results())
    if args.eaf is not None:
        places = outputs.eaf_names([result["file"] for result in journal.results()])
        for result in journal.results():
            outputs.write_eaf(args.eaf / places[result["file"]], result, known)
    if args.boris is not None:
        outputs.write_boris(args.boris, journal.results(), known)
    if args.label_studio is not None:
        root = outputs.common_folder([result["file"] for result in journal.results()])
        outputs.write_label_studio(args.label_studio, journal.results(), known, root)
    if args.json is None:
        journal.path.unlink()
