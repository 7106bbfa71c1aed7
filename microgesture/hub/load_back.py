"""Loads back what was published, in a process of its own: empty caches, and nothing from the working folder.

Run as a script it answers questions, one JSON per line in and out. The first model asked for is the reference that
later ones are compared with.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SEED = 0
CACHES = ("HF_HUB_CACHE", "HF_MODULES_CACHE", "HF_DATASETS_CACHE", "HF_XET_CACHE")

Ask = Callable[[dict[str, Any], str], dict[str, Any]]


@contextmanager
def loader(token: str | None) -> Iterator[Ask]:
    """Starts the process.

    Args:
        token: Hub token for private repositories; it goes into the environment of the process, nowhere else.

    Yields:
        A function that takes a question, and the words of the error for when it cannot be answered (`ValueError`).
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        environment = os.environ | {name: f"{folder}/{name}" for name in CACHES}
        if token:
            environment["HF_TOKEN"] = token
        log = Path(folder, "log")
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-P", __file__], cwd=folder, env=environment,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip

        def ask(question: dict[str, Any], problem: str) -> dict[str, Any]:
            assert process.stdin
            assert process.stdout
            try:
                process.stdin.write(json.dumps(question).encode() + b"\n")
                process.stdin.flush()
                answer = process.stdout.readline()
            except BrokenPipeError:
                answer = b""
            if not answer:
                process.wait()
                lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                raise ValueError(f"{problem} ({lines[-1] if lines else f'exit status {process.returncode}'})")
            return dict(json.loads(answer))

        try:
            yield ask
        finally:
            process.kill()
            process.communicate()


def model_answers(question: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a network says of a seeded random clip, and the settings that users read.

    Args:
        question: `model` (folder or repository), `revision`; for adapters on it also `adapter`, `adapter_revision`.

    Returns:
        Tensors by name, and settings by name.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, AutoProcessor

    where = {"revision": question.get("revision"), "trust_remote_code": True}
    ours = hasattr(AutoConfig.from_pretrained(question["model"], **where), "auto_map")
    model = (AutoModel if ours else AutoModelForVideoClassification).from_pretrained(question["model"], **where)
    processor = AutoProcessor.from_pretrained(question["model"], **where)
    if "adapter" in question:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, question["adapter"], revision=question["adapter_revision"])
        model = model.merge_and_unload()
    model.eval()
    config = model.config
    generator = torch.Generator().manual_seed(SEED)
    settings = {"precision": max(torch.finfo(parameter.dtype).eps for parameter in model.parameters())}
    if "keypoints" in processor.model_input_names:  # a stream
        points = torch.rand(2, 1, config.num_frames, len(config.joints), config.dimensions + 1, generator=generator)
        with torch.inference_mode():
            out = model(keypoints=points)
        settings |= {name: getattr(config, name) for name in ("id2label", "category_texts", "joints", "bones")}
        return {name: out[name].float() for name in ("logits", "pooled")}, settings
    shape = (2, processor.num_frames, 3, processor.size, processor.size)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    with torch.inference_mode():
        points = torch.rand(*shape[:2], len(getattr(config, "joints", ())), 3, generator=generator)
        out = model(processor.normalize(frames), *([points] if hasattr(config, "joints") else []))
        if "fine_embeds" not in out:  # a stream
            return {"logits": out.logits.float()}, settings | {"id2label": config.id2label}
        tensors = {name: out[name] for name in ("logits", "fine_embeds", "class_embeds", "category_embeds")}
        tensors["words"] = model.base_model.fine_text_proj.project_prototypes()
    settings |= {name: getattr(config, name) for name in ("id2label", "category_texts", "attribute_words")}
    return {name: value.float() for name, value in tensors.items()}, settings


def compare(first: tuple[dict[str, Any], dict[str, Any]], second: tuple[dict[str, Any], dict[str, Any]]) -> dict:
    """Greatest absolute differences; NaN where one is not a number.

    Returns:
        `{"logits", "embeddings", "scale", "precision", "settings"}`: two differences, the greatest absolute logit, the
        machine epsilon of the coarsest weights, and the names of the settings that differ.
    """
    differences = {
        name: float((value - second[0][name]).abs().max()) if value.shape == second[0][name].shape else float("nan")
        for name, value in first[0].items()
        if value.numel()
    }
    logits = differences.pop("logits")
    others = list(differences.values())
    return {
        "logits": logits,
        "embeddings": float("nan") if any(value != value for value in others) else max(others, default=0.0),
        "scale": float(first[0]["logits"].abs().max()),
        "precision": max(first[1]["precision"], second[1]["precision"]),
        "settings": [n for n, value in first[1].items() if n != "precision" and value != second[1][n]],
    }


def dataset_rows(repo: str, revision: str) -> dict[str, list[dict[str, Any]]]:
    """Rows per split of a published data set, labels by name, videos by the SHA-256 of their bytes."""
    import datasets

    answer = {}
    for name, split in datasets.load_dataset(repo, revision=revision).items():
        names = split.features["label"].names
        if "video" in split.column_names:
            split = split.cast_column("video", datasets.Video(decode=False))
        rows = []
        for row in split:
            video = row.pop("video", None)
            if video is not None:
                row["sha256"] = hashlib.sha256(Path(video["path"]).read_bytes()).hexdigest()
            rows.append(row | {"label": names[row["label"]]})
        answer[name] = rows
    return answer


def main() -> None:
    """Answers questions until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else is printed goes to the log
    reference = None
    for line in sys.stdin:
        question = json.loads(line)
        if "dataset" in question:
            reply: dict[str, Any] = dataset_rows(question["dataset"], question["revision"])
        else:
            found = model_answers(question)
            reply = {} if reference is None else compare(reference, found)
            reference = reference or found
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
