"""From a recipe with a stream on video to its trainer: frames of a data set, the network, its terms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
from transformers import set_seed

from microgesture import starting_weights
from microgesture.arguments import DataArguments, FGSGLTrainingArguments, ModelArguments
from microgesture.baselines.clip_mg import ClipMGConfig, ClipMGForVideoClassification
from microgesture.data.clip_dataset import NO_SENTENCE, ClipDataset, fill_cache, flipped_clips
from microgesture.data.clips import DatasetInfo
from microgesture.data.keypoints import Layout
from microgesture.streams.build import about_run, check_fields, semantic_targets
from microgesture.streams.posed_clips import Probe, picture_layout, with_points
from microgesture.streams.rgb.configuration_r2plus1d import R2Plus1DConfig
from microgesture.streams.rgb.modeling_r2plus1d import R2Plus1DForVideoClassification
from microgesture.streams.trainer import StreamTrainer
from microgesture.text_bank import TextBank

VIDEO_STREAMS: dict[str, tuple[Any, Any]] = {
    "r2plus1d": (R2Plus1DConfig, R2Plus1DForVideoClassification),
    "clip_mg": (ClipMGConfig, ClipMGForVideoClassification),
}
"""Name in a recipe -> configuration and network."""

# What a data set or another field of the recipe decides.
_DECIDED = {"num_frames", "dropout", "semantic_dim", "category_texts", "layout", "joints", "pairs"}

ClipsOf = Callable[..., tuple[Any, dict[str, ClipDataset]]]


def build_video_stream_trainer(
    model_args: ModelArguments,
    data_args: DataArguments,
    training: FGSGLTrainingArguments,
    data: datasets.DatasetDict,
    info: DatasetInfo,
    bank: TextBank,
    clips_of: ClipsOf,
    probe: Probe,
) -> tuple[StreamTrainer, dict[str, Any]]:
    """Frames, network and Trainer of a run, ready to train.

    Args:
        model_args: Names the stream, and what its network is.
        data_args: Where the data lie.
        training: How it is trained.
        data: As `microgesture.data.load` gives it.
        info: Its labels.json.
        bank: Embeds the class sentences where L_sem needs them.
        clips_of: Gives the processor and the clips of a number of frames and their size.
        probe: Describes a video file, for a network that also reads points.

    Returns:
        The trainer, and what the run's record says of parameters and sentences.

    Raises:
        ValueError: No clip of the data set may be mirrored although clips shall be, a clip cannot be read, or
            `stream_config` names a field that does not exist.
    """
    # A stream reads no sentence of a clip, and has no adapters.
    training.fg_sa = training.cp_a = training.ml_co = False
    training.vision_tuning = "full"
    targets, sentences = semantic_targets(training, info, bank)
    folder = Path(data_args.dataset_dir)
    layout = picture_layout(folder, "train", data["train"]) if model_args.stream == "clip_mg" else None
    config = build_config(model_args, info, 0 if targets is None else targets.shape[1], layout)
    processor, clips = clips_of(config.num_frames, config.image_size, **getattr(config, "colours", {}))
    clips = with_points(clips, data, folder, config, probe)
    with training.main_process_first(desc="decoding clips"):
        for split in clips.values():
            fill_cache(split.frames, [split], quiet=not training.should_log)
    if data_args.mirror_clips:
        others = flipped_clips(data["train"], info, fg_text="class")
        clips["train"].flipped = [(other[0], NO_SENTENCE) if other else None for other in others]
    set_seed(training.seed)
    model_class = VIDEO_STREAMS[str(model_args.stream)][1]
    if training.init_from:
        model = starting_weights.read(model_class, Path(training.init_from), config)
    elif model_args.stream_weights:
        model = model_class.from_clip(model_args.stream_weights, config)
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


def build_config(args: ModelArguments, info: DatasetInfo, semantic_dim: int, layout: Layout | None = None) -> Any:
    """Configuration of a stream's network for a data set; `layout` is that of the points it reads, if it does.

    Raises:
        ValueError: `stream_config` names a field that does not exist, or that something else decides.
    """
    config_class, settings = VIDEO_STREAMS[str(args.stream)][0], json.loads(args.stream_config)
    check_fields(str(args.stream), settings, set(config_class.__annotations__) - _DECIDED, _DECIDED)
    if layout is not None:
        settings |= {
            "layout": layout.name,
            "joints": list(layout.names),
            "pairs": [list(pair) for pair in layout.pairs],
        }
        if args.stream_weights:
            settings["vision_config"] = config_class.published(args.stream_weights)
    return config_class(
        num_frames=args.num_frames,
        dropout=args.classifier_dropout,
        semantic_dim=semantic_dim,
        category_texts=info.texts,
        id2label=dict(enumerate(info.names)),
        **settings,
    )
