"""Folders of finished runs as training and evaluation leave them, made in no time; names of classes are hostile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from microgesture.ablation.plan import Fold, Plan, Row
from microgesture.ablation.runs import Run
from microgesture.ablation.table import write_table
from microgesture.data import load
from microgesture.data.clips import DatasetInfo
from microgesture.evaluation.class_space import ClassSpace, space_path
from microgesture.evaluation.results import comparisons, split_results
from microgesture.evaluation.score_file import Scores, row_names, score_path, weights_digest

HOSTILE = (
    '<script>alert("1")</script> & <img src=x onerror=alert(2)>',
    "costs $x^2$ | `rm` ![a](http://evil.example/a.png) | _b_ # c",
    "揉眼睛 \u202e right to left \x00\x07 \ud800 \n## A heading",
    "W" * 300,
)


def hostile_dataset(tiny_dataset: Path, folder: Path) -> Path:
    """The tiny data set whose classes have the names above (the lone surrogate is left out: no JSON file has it)."""
    shutil.copytree(tiny_dataset, folder)
    about = json.loads((folder / "labels.json").read_text())
    names = {c["name"]: name.replace("\ud800", "") for c, name in zip(about["classes"], HOSTILE, strict=True)}
    for c in about["classes"]:
        c["name"] = names[c["name"]]
    about["classes"][0]["text"] = "</figcaption><script>alert('sentence')</script>"
    (folder / "labels.json").write_text(json.dumps(about))
    for metadata in folder.glob("*/metadata.jsonl"):
        rows = [json.loads(line) for line in metadata.read_text().splitlines()]
        lines = [json.dumps(row | {"label": names[row["label"]]}) for row in rows]
        metadata.write_text("\n".join(lines) + "\n")
    return folder


def write_run(folder: Path, dataset: Path, seed: int = 0, **arguments: Any) -> Path:
    """A run of 8 epochs on a data set, evaluated on its test split with scores of its own."""
    folder.mkdir(parents=True)
    info, rows = DatasetInfo.read(dataset), load(dataset)["test"]
    rng = np.random.default_rng(seed)
    N, C, E = len(rows), len(info.names), 16
    labels = np.array(rows["label"])
    logits = (rng.normal(size=(N, C)) + 1.2 * np.eye(C)[labels]).astype(np.float32)
    clips = tuple(row_names(dataset, "test", rows))
    scores = Scores(info.name, "test", tuple(info.names), clips, tuple(rows["subject"]), labels, logits)
    scores.save(score_path(folder, "test"))
    embeds, prototypes = (unit(rng.normal(size=(n, E))) for n in (N, C))
    ClassSpace(clips, unit(embeds + prototypes[labels]), prototypes).save(space_path(folder, "test"))
    result = {"split": "test", "official_overlap": info.official_overlap}
    result |= split_results(scores, info, {"subject": rows["subject"]}, labels.tolist(), scores)
    result |= {"text": TEXT, "baselines": {}, "comparisons": comparisons(scores, {"/somewhere/else/other": scores})}
    (folder / "eval_test.json").write_text(json.dumps(result))
    (folder / "metrics.json").write_text(json.dumps(record(info.name, seed, arguments)))
    return folder


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


TEXT = {
    "retrieval": {"sentences": 6, "recall@1": {"correct": 3, "total": 8, "recall": 0.375, "chance": 1 / 6}},
    "attributes": {
        "direction": {
            "most_frequent_word": "up",
            "all": {"total": 8, "described": 4, "most_frequent": 2, "predicted_default": 3, "true_default": 8},
            "differing": {"total": 3, "described": 2, "most_frequent": 1, "predicted_default": 0, "true_default": 0},
            "p": 0.5,
            "grounded": False,
        }
    },
}


def record(dataset: str, seed: int, arguments: dict[str, Any]) -> dict[str, Any]:
    """What `write_run_record` writes, with a log of two stages."""
    log: list[dict[str, Any]] = []
    for epoch in range(1, 9):
        stage = 1 if epoch <= 4 else 2
        terms = {"cls": 2 / epoch, "cp": 1.8 / epoch, "fg": 3.0 if stage == 1 else 6 / epoch}
        log.append({"loss": 3.0, **terms, "stage": stage, "epoch": float(epoch), "step": 3 * epoch})
        log.append({"eval_top1": 0.1 * epoch, "eval_loss": 1.0, "epoch": float(epoch), "step": 3 * epoch})
    settings = {"seed": seed, "fg_sa": True, "cp_a": True, "ml_co": True, "stage2_start": 0.5, "num_train_epochs": 8}
    return {
        "dataset": dataset, "dataset_version": "1", "official_overlap": False, "commit": "0123abc",
        "recipe": "t.yaml", "recipe_fields": {},
        "arguments": settings | arguments, "versions": {"torch": "2"}, "machine": {"processes": 1},
        "chosen_step": 21, "steps": 24, "chosen_stage": 2, "validation": {"correct": 6, "total": 8, "top1": 0.75},
        "stage_losses": {"stage 1": {"loss": 3.0, "cls": 0.5}, "stage 2": {"loss": 3.0, "cls": 0.25, "fg": 0.75}},
        "train_seconds": 12.5, "log": log,
    }  # fmt: skip


def write_ablation(folder: Path, people: int = 10) -> Path:
    """The folder of an ablation of three rows with two seeds, its table written as `microgesture ablate` does."""
    C = 4
    labels = np.arange(people * C) % C
    rows = {
        "full": Row("full", "paper", "The method.", {}),
        "class_level_text": Row("class_level_text", "paper", "Worse | much.", {"fg_text": "class"}),
        "shuffled": Row("shuffled", "controls", "", {"fg_text_shuffle": "all"}),
    }
    runs = []
    for place, row in enumerate(rows.values()):
        for seed in range(2):
            run = Run(row.name, seed, folder / "r.yaml", folder / row.name / f"seed_{seed}", (folder, ("test",)), "")
            run.output.mkdir(parents=True)
            (run.output / "model.safetensors").write_bytes(b"")
            rng = np.random.default_rng([place, seed])
            logits = (rng.normal(size=(len(labels), C)) + (2.0 - place) * np.eye(C)[labels]).astype(np.float32)
            clips, subjects = (tuple(f"{n // per}" for n in range(len(labels))) for per in (1, C))
            made_with = weights_digest(run.output)
            scores = Scores("other", "test", tuple("abcd"), clips, subjects, labels, logits, made_with)
            scores.save(score_path(run.output, "test"))
            text = {"text": "class-level text", "record_bits_given_class": 0.0, "provenance": {"human": 1.0}}
            if row.name != "class_level_text":
                text |= {"text": "fine-grained text", "record_bits_given_class": 1.5}
            about = record("other", seed, row.fields) | {"sentences": text, "data_fingerprint": f"data{place}"}
            (run.output / "metrics.json").write_text(json.dumps(about))
            runs.append(run)
    folds = (Fold("", folder, folder),)
    plan = Plan(folder / "ablation_x.yaml", {}, rows, "full", "top1", folds, ("test",), {})
    write_table(plan, runs, folder)
    return folder
