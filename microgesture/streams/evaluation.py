"""All figures of a stream's checkpoint on a split, as `evaluate_fgsgl.py` writes them for FG-SGL."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch

from microgesture.data import load
from microgesture.data.clip_dataset import ClipDataset, collate
from microgesture.data.clips import DatasetInfo, write_text
from microgesture.evaluation.baselines import linear_predictions, majority_baseline
from microgesture.evaluation.metrics import classification_metrics
from microgesture.evaluation.results import comparisons, split_results, tuning_splits
from microgesture.evaluation.score_file import Scores, score_path, scores_of, weights_digest
from microgesture.run_record import read_run_record
from microgesture.streams.adaptation_data import adapted_to, check_one_kind
from microgesture.streams.build import STREAMS
from microgesture.streams.card import stream_name
from microgesture.streams.keypoint_clips import KeypointDataset
from microgesture.streams.posed_clips import Probe, with_points
from microgesture.streams.rgb.build import VIDEO_STREAMS, network

BASELINE_FRAMES = 16

AsScores = Callable[[Path, DatasetInfo, str, datasets.Dataset, torch.Tensor], Scores]


@dataclass(frozen=True)
class Video:
    """How clips of video are read, which is not known here.

    Args:
        processor: Reads the processor of a checkpoint.
        clips: Gives, of a processor and some splits, their clips, decoded.
        probe: Describes a video file, for a network that also reads points.
        baselines: Figures of simple baselines: of the clips by split, the split's name and the class names.
    """

    processor: Callable[[Path], Any]
    clips: Callable[[Any, datasets.DatasetDict, DatasetInfo, list[str]], dict[str, ClipDataset]]
    probe: Probe
    baselines: Callable[[dict[str, ClipDataset], str, list[str]], dict[str, Any]]


def stream_of(checkpoint: Path) -> str | None:
    """The stream that a checkpoint's configuration names; `None` for FG-SGL."""
    path = checkpoint / "config.json"
    kind = json.loads(path.read_text(encoding="utf-8")).get("model_type") if path.is_file() else None
    return stream_name({"model_type": kind})


def evaluate_stream(
    checkpoint: Path,
    dataset: Path,
    split: str,
    baselines: bool,
    others: list[Path],
    as_scores: AsScores,
    state: Any,
    video: Video,
    batch_size: int = 16,
    scores_only: bool = False,
) -> dict[str, Any]:
    """All figures of a stream's checkpoint; the first process writes them and the scores into its folder.

    Args:
        checkpoint: The checkpoint's folder.
        dataset: A data set folder.
        split: Name of the split.
        baselines: Also the majority class, and linear models on the normalised points or on pixels, trained on the
            split `train`.
        others: Checkpoints that were evaluated on this split before, to compare with.
        as_scores: Names the clips of a split's logits.
        state: The processes; each computes all clips, because the networks are small.
        video: Reads clips for a stream on video.
        batch_size: Clips per forward.
        scores_only: As for `evaluate_fgsgl.evaluate`.

    Returns:
        As `evaluate_fgsgl.evaluate`, with the stream's name under `model`, and without `text`.

    Raises:
        ValueError: A split is not there, the checkpoint was trained on other classes or another layout, or one to
            compare with was evaluated on other clips.
        FileNotFoundError: A checkpoint to compare with was not evaluated on this split.
    """
    name = str(stream_of(checkpoint))
    data, info = load(dataset), DatasetInfo.read(dataset)
    tuning = [] if scores_only else tuning_splits(data, split)
    for wanted in (split, *(["train"] if baselines else [])):
        if wanted not in data:
            raise ValueError(f"{dataset} has no split {wanted!r}; it has: {', '.join(data)}")
    if None in data[split]["label"] and not scores_only:
        raise ValueError(f"{dataset} has clips without labels in {split!r}; --scores_only writes their scores")
    to_compare = {str(other): scores_of(other, split) for other in others}
    seen = adapted_to(checkpoint, dataset, split)
    check_one_kind({str(checkpoint): seen} | {name: other.transductive for name, other in to_compare.items()}, split)
    on_video = name in VIDEO_STREAMS
    model_class = network(name)[1] if on_video else STREAMS[name][1]
    model = model_class.from_pretrained(checkpoint).eval().to(state.device)
    known = [model.config.id2label[number] for number in range(model.config.num_labels)]
    if known != info.names:
        raise ValueError(f"{checkpoint} knows other classes than {dataset}: {sorted(set(known) ^ set(info.names))}")
    parts = list(dict.fromkeys([split, *tuning, *(["train"] if baselines and on_video else [])]))
    clips: dict[str, Any]
    if on_video:
        processor = video.processor(checkpoint)
        clips = with_points(video.clips(processor, data, info, parts), data, dataset, model.config, video.probe)
    else:
        processor = STREAMS[name][2].from_pretrained(checkpoint)
        clips = {part: KeypointDataset(data[part], dataset / part, processor, model.config.pairs) for part in parts}
    scores, *validation = (
        as_scores(dataset, info, part, data[part], predict(model, processor, clips[part], batch_size))
        for part in (split, *tuning)
    )
    if scores_only:
        if state.is_main_process:
            replace(scores, weights=weights_digest(checkpoint), transductive=seen).save(score_path(checkpoint, split))
        state.wait_for_everyone()
        return {}
    train = data.get("train")
    columns = {"subject": data[split]["subject"]}
    result: dict[str, Any] = {"model": f"{name} stream", "split": split, "official_overlap": info.official_overlap}
    labels = None if train is None else train["label"]
    result |= split_results(scores, info, columns, labels, validation[0] if validation else None)
    result["baselines"] = {}
    if baselines and on_video:
        result["baselines"] = video.baselines(clips, split, info.names)
    elif baselines:
        sampler = copy(processor)  # with all its settings, but for the number of frames
        sampler.num_frames = BASELINE_FRAMES
        both = [KeypointDataset(data[part], dataset / part, sampler, []) for part in ("train", split)]
        result["baselines"] = baseline_metrics(both[0], both[1], info.names)
    result["comparisons"] = comparisons(scores, to_compare)
    if info.leak or read_run_record(checkpoint).get("leak"):
        result["leak"] = True
    if seen:
        result["transductive"] = True
    if state.is_main_process:
        replace(scores, weights=weights_digest(checkpoint), transductive=seen).save(score_path(checkpoint, split))
        write_text(checkpoint / f"eval_{split}.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    state.wait_for_everyone()
    return result


@torch.inference_mode()
def predict(model: Any, processor: Any, clips: ClipDataset, batch_size: int = 16) -> torch.Tensor:
    """Logits of every clip, `(N, C)`, float32, on the CPU."""
    rows = []
    for batch in torch.utils.data.DataLoader(clips, batch_size=batch_size, collate_fn=collate):
        if "keypoints" in batch:
            inputs = batch["keypoints"].to(model.device)
        else:
            inputs = processor.normalize(batch["pixel_values"].to(model.device))
        points = {"points": batch["points"].to(model.device)} if "points" in batch else {}
        logits = model(**{model.main_input_name: inputs}, **points).logits
        rows.append(logits.flatten(1).float().cpu())  # VideoPrism's are (B, 1, C)
    return torch.cat(rows)


def baseline_metrics(train: KeypointDataset, test: KeypointDataset, names: list[str]) -> dict[str, Any]:
    """The majority class, and a linear model on the points of evenly spaced frames."""
    rows = [np.stack([clips[i]["keypoints"].flatten().numpy() for i in range(len(clips))]) for clips in (train, test)]
    predicted = {
        "majority class": majority_baseline(train.labels, len(test)),
        "linear model, points": linear_predictions(rows[0], train.labels, rows[1]),
    }
    return {name: classification_metrics(p, test.labels, names) for name, p in predicted.items()}
