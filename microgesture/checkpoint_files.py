"""A published checkpoint as files, on the Hub or in a folder; only files and tensors that are asked for are read."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError
from safetensors import SafetensorError, safe_open
from transformers.utils.hub import extract_commit_hash

from microgesture.published_format import Part

CONFIG_FILE = "config.json"
WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, at one revision.

    Args:
        name: Its name on the Hub, or of its folder.
        revision: The commit on the Hub; `None` for a folder.
        folder: The folder; `None` on the Hub.
        config: Its config.json.
    """

    name: str
    revision: str | None
    folder: Path | None
    config: Mapping[str, Any]

    @classmethod
    def open(cls, name_or_path: str | os.PathLike, revision: str | None = None) -> Checkpoint:
        """Reads config.json and nothing else; on the Hub that also turns a branch into a commit.

        Args:
            name_or_path: A repository of the Hub, or a folder.
            revision: Branch, tag or commit on the Hub.

        Raises:
            FileNotFoundError: There is no such repository or folder, or the Hub cannot be reached.
            ValueError: A revision of a folder.
        """
        name, path = str(name_or_path), Path(name_or_path).expanduser()
        if path.is_dir():
            if revision is not None:
                raise ValueError(f"{name} is a folder and has no revision {revision!r}; leave the revision out")
            unread = cls(path.resolve().name, None, path, {})
        elif path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
            raise FileNotFoundError(f"the folder {name} does not exist")
        else:
            unread = cls(name, revision, None, {})
        file = unread.file(CONFIG_FILE)
        commit = None if unread.folder else extract_commit_hash(str(file), None)
        return cls(unread.name, commit, unread.folder, _read_json(file, name))

    def file(self, name: str) -> Path:
        """A file of the checkpoint on this disk, fetched where it is not here yet.

        Raises:
            FileNotFoundError: The checkpoint has no such file, or the Hub cannot be reached.
        """
        if self.folder is not None:
            path = self.folder / name
            if not path.is_file():
                raise FileNotFoundError(f"{self.name} lacks the file {name} (looked in {self.folder})")
            return path
        try:
            return Path(hf_hub_download(self.name, name, revision=self.revision))
        except (EntryNotFoundError, HfHubHTTPError, HFValidationError) as error:
            said = " ".join(str(error).split())
            raise FileNotFoundError(
                f"cannot get {name} of {self.name} (revision {self.revision or 'main'}) from the Hub: check the name "
                f"and the connection, or give a folder that holds the checkpoint. The Hub's client said: {said}"
            ) from error

    def has(self, name: str) -> bool:
        """Whether the checkpoint has a file; on the Hub it is fetched."""
        try:
            self.file(name)
        except FileNotFoundError:
            return False
        return True

    def tensor_files(self) -> dict[str, str]:
        """Name of each tensor to the file that holds it.

        Raises:
            FileNotFoundError: There are no safetensors.
            ValueError: The index is damaged.
        """
        if self.has(INDEX_FILE):
            files = _read_json(self.file(INDEX_FILE), self.name).get("weight_map", {})
            strange = sorted({file for file in files.values() if Path(file).name != file})
            if strange or not files:
                raise ValueError(f"{INDEX_FILE} of {self.name} is damaged (files {strange}); fetch it again")
            return files
        if not self.has(WEIGHTS_FILE):
            raise FileNotFoundError(
                f"{self.name} has neither {INDEX_FILE} nor {WEIGHTS_FILE}, or the Hub cannot be reached; only "
                "safetensors are read"
            )
        with _opened(self.file(WEIGHTS_FILE)) as file:
            return dict.fromkeys(file.keys(), WEIGHTS_FILE)

    def tensors(self, part: Part, expected: Mapping[str, torch.Size]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields the tensors of one part of the network, file by file.

        Nothing is fetched before every name is found, and nothing is read before every shape fits. Unsplit tensors are
        views of the file: copy what must outlive it.

        Args:
            part: What the part is called in this checkpoint.
            expected: Our names and shapes.

        Yields:
            Our name and the tensor, as stored.

        Raises:
            ValueError: Tensors are missing, unknown or of the wrong shape; the message lists them.
            FileNotFoundError: A file is missing.
        """
        files = self.tensor_files()
        wanted: dict[str, list[str]] = {}
        for ours in expected:
            wanted.setdefault(part.source(ours), []).append(ours)
        known = {name for name in files if name in wanted or part.others.match(name)}
        self._refuse({"missing": sorted(set(wanted) - set(files)), "unknown": sorted(set(files) - known)})
        shapes = {source: _joined([expected[ours] for ours in targets]) for source, targets in wanted.items()}
        shards = {shard: [s for s in wanted if files[s] == shard] for shard in sorted({files[s] for s in wanted})}
        self._check_shapes(shards, shapes)
        for shard, sources in shards.items():
            with _opened(self.file(shard)) as file:
                for source in sources:
                    tensor, targets = file.get_tensor(source), wanted[source]
                    yield from zip(targets, part.split(tensor) if len(targets) > 1 else [tensor], strict=True)

    def _check_shapes(self, shards: Mapping[str, list[str]], shapes: Mapping[str, tuple[int, ...]]) -> None:
        missing, misshaped = [], []
        for shard, sources in shards.items():
            with _opened(self.file(shard)) as file:
                inside = set(file.keys())
                missing += [f"{source} (not in {shard})" for source in sources if source not in inside]
                for source in inside.intersection(sources):
                    found = tuple(file.get_slice(source).get_shape())
                    if found != shapes[source]:
                        misshaped.append(f"{source} {found}, expected {shapes[source]}")
        self._refuse({"missing": missing, "of the wrong shape": sorted(misshaped)})

    def _refuse(self, faults: Mapping[str, list[str]]) -> None:
        lines = [f"  {len(names)} {fault}: {', '.join(_folded(names))}" for fault, names in faults.items() if names]
        if lines:
            raise ValueError(
                f"the tensors of {self.name} do not fit its config.json. Use the checkpoint as it was published, "
                "whole and unchanged:\n" + "\n".join(lines)
            )

    def fingerprint(self, names: list[str]) -> str:
        """A digest of config.json, of sizes, and of samples all over the given files: tells checkpoints apart fast."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name in names:
            path = self.file(name)
            size = path.stat().st_size
            digest.update(f"{name} {size}".encode())
            with path.open("rb") as file:
                for place in range(0, size, max(1, size // 64)):
                    file.seek(place)
                    digest.update(file.read(4096))
        return digest.hexdigest()[:16]


def _folded(names: list[str]) -> list[str]:
    """Names that differ in the number of their layer only as one: `layers.{0,1,2}.attn.qkv.bias`."""
    numbers: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        begin, *rest = re.split(r"\.(\d+)\.", name, maxsplit=1)
        numbers.setdefault((begin, *rest[1:]), []).extend(rest[:1])
    return [
        (f".{{{','.join(sorted(found, key=int))}}}." if len(found) > 1 else f".{''.join(found)}.").join(ends)
        for ends, found in numbers.items()
    ]


def _joined(shapes: list[torch.Size]) -> tuple[int, ...]:
    """The shape of a fused tensor: its parts lie behind each other along the first axis."""
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, "pt")
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or incomplete ({error}); delete it and fetch it again") from error


def _read_json(path: Path, name: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} of {name} is damaged ({error}); fetch it again") from error
