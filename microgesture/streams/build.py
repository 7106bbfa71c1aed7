"""From a recipe with a `stream` to its trainer: keypoints of a data set, the stream's network, its terms."""

from __future__ import annotations

import difflib
import inspect
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
from transformers import set_seed

from microgesture import starting_weights
from microgesture.arguments import DataArguments, FGSGLTrainingArguments, ModelArguments
from microgesture.baselines.ms_g3d import MSG3DConfig, MSG3DForVideoClassification
from microgesture.data import augment
from microgesture.data.clip_dataset import NO_SENTENCE, flipped_clips
from microgesture.data.clips import DatasetInfo
from microgesture.data.keypoints import Layout
from microgesture.semantics import class_targets
from microgesture.streams.adaptation_data import about_data
from microgesture.streams.heatmap.configuration_heatmap import HeatmapConfig
from microgesture.streams.heatmap.modeling_heatmap import HeatmapForVideoClassification
from microgesture.streams.heatmap.processing_heatmap import HeatmapProcessor
from microgesture.streams.keypoint_clips import KeypointDataset, layout_of
from microgesture.streams.skeleton.configuration_skeleton import SkeletonConfig
from microgesture.streams.skeleton.modeling_skeleton import SkeletonForVideoClassification
from microgesture.streams.skeleton.processing_skeleton import SkeletonProcessor
from microgesture.streams.trainer import StreamTrainer
from microgesture.text_bank import TextBank

STREAMS: dict[str, tuple[Any, Any, Any]] = {
    "skeleton": (SkeletonConfig, SkeletonForVideoClassification, SkeletonProcessor),
    "heatmap": (HeatmapConfig, HeatmapForVideoClassification, HeatmapProcessor),
    "ms_g3d": (MSG3DConfig, MSG3DForVideoClassification, SkeletonProcessor),
}
"""Name in a recipe -> configuration, network and processor."""

# What a data set or another field of the recipe decides.
_DECIDED = {
    "layout",
    "joints",
    "bones",
    "pairs",
    "dimensions",
    "num_frames",
    "dropout",
    "semantic_dim",
    "category_texts",
}


def build_stream_trainer(
    model_args: ModelArguments,
    data_args: DataArguments,
    training: FGSGLTrainingArguments,
    data: datasets.DatasetDict,
    info: DatasetInfo,
    bank: TextBank,
) -> tuple[StreamTrainer, dict[str, Any]]:
    """Keypoints, network and Trainer of a run, ready to train.

    Args:
        model_args: Names the stream, and what its network is.
        data_args: Where the data lie.
        training: How it is trained.
        data: As `microgesture.data.load` gives it.
        info: Its labels.json.
        bank: Embeds the class sentences where L_sem needs them.

    Returns:
        The trainer, and what the run's record says of parameters and sentences.

    Raises:
        ValueError: The data set has no keypoints, no clip of it may be mirrored although clips shall be, or
            `stream_config` names a field that does not exist.
    """
    # A stream reads no sentence of a clip, and has neither a vision tower nor adapters.
    training.fg_sa = training.cp_a = training.ml_co = False
    training.vision_tuning = "full"
    folder = Path(data_args.dataset_dir)
    layout = layout_of(folder, "train", data["train"])
    with training.main_process_first(desc="embedding class sentences"):
        targets, sentences = class_targets(training.semantic_loss, info, bank)
    width = 0 if targets is None else targets.shape[1]
    config, processor = build_config(model_args, layout, info, width)
    clips = {
        name: KeypointDataset(data[name], folder / name, processor, config.pairs) for name in ("train", "validation")
    }
    clips["train"].augmentation = augment.Augmentation(
        training.seed, vary=data_args.augment, camera=data_args.augment_camera
    )
    if data_args.mirror_clips:
        others = flipped_clips(data["train"], info, fg_text="class")
        clips["train"].flipped = [(other[0], NO_SENTENCE) if other else None for other in others]
    set_seed(training.seed)
    model_class = STREAMS[str(model_args.stream)][1]
    if training.init_from:
        model = starting_weights.read(model_class, Path(training.init_from), config)
    else:
        model = model_class(config)
    trainer = StreamTrainer(
        model=model,
        args=training,
        train_dataset=clips["train"],
        eval_dataset=clips["validation"],
        processing_class=processor,
        class_names=info.names,
        targets=targets,
    )
    return trainer, about_run(trainer, model_args, data_args, info, bank, sentences)


def about_run(
    trainer: StreamTrainer,
    model_args: ModelArguments,
    data_args: DataArguments,
    info: DatasetInfo,
    bank: TextBank,
    sentences: dict[str, Any],
) -> dict[str, Any]:
    """What the run's record says of data, parameters and sentences."""
    counts = dict.fromkeys((True, False), 0)
    for parameter in trainer.model.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    parts = (f"{model_args.stream} network", "all")
    return {
        "stream": model_args.stream,
        **about_data(Path(data_args.dataset_dir), info),
        **({"text_encoder": asdict(bank.key)} if trainer.targets is not None else {}),
        "sentences": sentences,
        "parameters": [{"part": part, "trained": counts[True], "frozen": counts[False]} for part in parts],
    }


def build_config(args: ModelArguments, layout: Layout, info: DatasetInfo, semantic_dim: int) -> tuple[Any, Any]:
    """Configuration and processor of a stream's network for a data set.

    Raises:
        ValueError: `stream_config` names a field that does not exist, or that something else decides.
    """
    config_class, _, processor_class = STREAMS[str(args.stream)]
    settings = json.loads(args.stream_config)
    of_config = set(config_class.__annotations__) - _DECIDED
    of_processor = set(inspect.signature(processor_class.__init__).parameters) - {"self", "kwargs"} - _DECIDED
    check_fields(str(args.stream), settings, of_config | of_processor, _DECIDED)
    tables = {
        "joints": list(layout.names),
        "bones": [list(bone) for bone in layout.bones],
        "dimensions": 2 if layout.unit == "pixels" else 3,
        "num_frames": args.num_frames,
    }
    config = config_class(
        **tables,
        layout=layout.name,
        pairs=[list(pair) for pair in layout.pairs],
        dropout=args.classifier_dropout,
        semantic_dim=semantic_dim,
        category_texts=info.texts,
        id2label=dict(enumerate(info.names)),
        **{name: value for name, value in settings.items() if name in of_config},
    )
    return config, processor_class(**tables, **{name: settings[name] for name in of_processor & set(settings)})


def check_fields(stream: str, settings: dict[str, Any], known: set[str], decided: set[str]) -> None:
    """Refuses fields of `stream_config` that its network does not have.

    Raises:
        ValueError: A field is not known; the message names the nearest one, or who decides it.
    """
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(sorted(known))}"
            by_others = " (a field of the recipe itself, or the data set, decides it)" if name in decided else ""
            raise ValueError(f"stream_config of the stream {stream} has no field {name!r}{by_others}; {hint}")
