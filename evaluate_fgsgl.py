"""Evaluates a checkpoint on one split: `python evaluate_fgsgl.py CHECKPOINT DATASET [--split test]`."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from microgesture.data import load
from microgesture.data.clip_dataset import NO_SENTENCE, ClipDataset, collate, fill_cache
from microgesture.data.clips import LEAK, DatasetInfo, write_text
from microgesture.data.frame_cache import FrameCache
from microgesture.evaluation.baselines import VIEWS, linear_baseline, majority_baseline
from microgesture.evaluation.metrics import classification_metrics, format_table, grouped, summary
from microgesture.run_record import RECORD_FILE, format_losses
from modeling_fgsgl import FGSGLForVideoClassification
from processing_fgsgl import FGSGLProcessor


@torch.inference_mode()
def predict(model: Any, processor: Any, clips: ClipDataset, batch_size: int = 16) -> torch.Tensor:
    """Logits of every clip of a split, each clip once.

    Args:
        model: An `FGSGLForVideoClassification`, on its device.
        processor: Its processor.
        clips: The split.
        batch_size: Clips per forward.

    Returns:
        `(N, C)`, float32, on the CPU.
    """
    loader = torch.utils.data.DataLoader(clips, batch_size=batch_size, collate_fn=collate)
    rows = []
    for batch in tqdm(loader, desc="recognising clips", unit="batch"):
        pixels = processor.normalize(batch["pixel_values"].to(model.device))
        rows.append(model(pixel_values=pixels).logits.float().cpu())
    return torch.cat(rows)


def evaluate(checkpoint: Path, dataset: Path, split: str, cache_dir: Path, baselines: bool) -> dict[str, Any]:
    """All figures of a checkpoint on a split.

    Args:
        checkpoint: A checkpoint folder.
        dataset: A data set folder.
        split: Name of the split.
        cache_dir: Where sampled frames are kept.
        baselines: Also compute the majority class and linear models on pixels, trained on the split `train`.

    Returns:
        `{"split", "official_overlap", "metrics", "groups": {column: {value: figures}}, "baselines": {name: figures}}`,
        and `"leak": true` where the data set, or the one trained on, is marked as leaking.

    Raises:
        ValueError: The split is not there, or the checkpoint was trained on other classes.
    """
    data, info = load(dataset), DatasetInfo.read(dataset)
    if split not in data:
        raise ValueError(f"{dataset} has no split {split!r}; it has: {', '.join(data)}")
    model = FGSGLForVideoClassification.from_pretrained(checkpoint).eval()
    processor = FGSGLProcessor.from_pretrained(checkpoint)
    known = [model.config.id2label[number] for number in range(model.config.num_labels)]
    if known != info.names:
        raise ValueError(f"{checkpoint} knows other classes than {dataset}: {sorted(set(known) ^ set(info.names))}")
    cache = FrameCache(cache_dir / "frames", processor)
    wanted = [split, "train"] if baselines else [split]
    clips = {
        name: ClipDataset(data[name], cache, [NO_SENTENCE] * len(data[name]), info.mirrored is True) for name in wanted
    }
    fill_cache(cache, list(clips.values()))
    predictions = predict(model, processor, clips[split]).argmax(-1).numpy()
    result: dict[str, Any] = {
        "split": split,
        "official_overlap": info.official_overlap,
        "metrics": classification_metrics(predictions, clips[split].labels, info.names),
        "groups": {
            column: grouped(predictions, clips[split].labels, data[split][column])
            for column in ("subject", "amplitude")
            if column in data[split].column_names
        },
        "baselines": baseline_metrics(clips, split, info.names) if baselines else {},
    }
    if info.leak or read_record(checkpoint).get("leak"):
        result["leak"] = True
    write_text(checkpoint / f"eval_{split}.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return result


def baseline_metrics(clips: dict[str, ClipDataset], split: str, names: list[str]) -> dict[str, Any]:
    """The majority class, and linear models on small frames in three views, on the same clips."""
    train, test = clips["train"], clips[split]
    frames = {
        name: torch.stack([dataset[i]["pixel_values"] for i in range(len(dataset))]).numpy()
        for name, dataset in (("train", train), ("test", test))
    }
    predicted = {"majority class": majority_baseline(train.labels, len(test))}
    for view in VIEWS:
        predicted[f"linear model, {view}"] = linear_baseline(frames["train"], train.labels, frames["test"], view)
    return {name: classification_metrics(p, test.labels, names) for name, p in predicted.items()}


def read_record(checkpoint: Path) -> dict[str, Any]:
    """The record of the run that made the checkpoint; empty where it has none."""
    path = checkpoint / RECORD_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def report(result: dict[str, Any], checkpoint: Path, details: bool = False) -> str:
    """The result as a short text, with the losses of the run where the checkpoint has them."""
    names = ["FG-SGL", *result["baselines"]]
    figures = [result["metrics"], *result["baselines"].values()]
    width = max(len(name) for name in names)
    lines = [f"{result['split']} split"]
    lines += [f"  LEAK: {LEAK}"] if result.get("leak") else []
    if result["official_overlap"]:
        lines.append(f"  people of one split are seen in another as published: {result['official_overlap']}")
    lines += [f"  {name:<{width}}  {summary(m)}" for name, m in zip(names, figures, strict=True)]
    for column, groups in result["groups"].items():
        cells = [f"{value} {g['correct']}/{g['total']}" for value, g in groups.items()]
        lines.append(f"  by {column}: " + ", ".join(cells))
    if details:
        lines += ["", format_table(result["metrics"])]
    run = read_record(checkpoint)
    if run:
        lines += ["", format_losses(run["stage_losses"])]
        lines += [f"chosen: step {run['chosen_step']} of {run['steps']}, stage {run['chosen_stage']}"]
    return "\n".join([*lines, f"checkpoint: {checkpoint}"])


def main(argv: list[str] | None = None) -> None:
    """Evaluates one checkpoint and prints a short table."""
    parser = argparse.ArgumentParser(description="Evaluates an FG-SGL checkpoint on one split of a data set.")
    parser.add_argument("checkpoint", type=Path, help="folder of a trained checkpoint, e.g. outputs/synthetic")
    parser.add_argument("dataset", type=Path, help="data set folder, e.g. data/synthetic")
    parser.add_argument("--split", default="test", help="which split (default: test)")
    parser.add_argument("--cache_dir", type=Path, default=Path("cache"), help="where sampled frames are kept")
    parser.add_argument("--baselines", action="store_true", help="also compute simple baselines on the same clips")
    parser.add_argument("--details", action="store_true", help="also print one line per class")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    torch.set_float32_matmul_precision("highest")
    result = evaluate(args.checkpoint, args.dataset, args.split, args.cache_dir, args.baselines)
    print(report(result, args.checkpoint, args.details))


if __name__ == "__main__":
    main()
