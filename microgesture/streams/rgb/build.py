"""From a recipe with a stream on video to its trainer: frames of a data set, the network, its terms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
from transformers import CLIPVisionConfig, CLIPVisionModel, ResNetConfig, ResNetModel, set_seed

from microgesture import starting_weights
from microgesture.arguments import VIDEO_CLASSIFIERS, DataArguments, FGSGLTrainingArguments, ModelArguments
from microgesture.baselines.clip_mg import ClipMGConfig, ClipMGForVideoClassification
from microgesture.baselines.tsm import RESNET_FIELDS, TSMConfig, TSMForVideoClassification
from microgesture.data.clip_dataset import NO_SENTENCE, ClipDataset, fill_cache, flipped_clips
from microgesture.data.clips import DatasetInfo
from microgesture.data.keypoints import Layout
from microgesture.semantics import class_targets
from microgesture.streams.build import about_run, check_fields
from microgesture.streams.posed_clips import Probe, picture_layout, with_points
from microgesture.streams.rgb import classifiers
from microgesture.streams.rgb.configuration_r2plus1d import R2Plus1DConfig
from microgesture.streams.rgb.modeling_r2plus1d import R2Plus1DForVideoClassification
from microgesture.streams.trainer import StreamTrainer
from microgesture.text_bank import TextBank

OURS: dict[str, tuple[Any, Any]] = {
    "r2plus1d": (R2Plus1DConfig, R2Plus1DForVideoClassification),
    "tsm": (TSMConfig, TSMForVideoClassification),
    "clip_mg": (ClipMGConfig, ClipMGForVideoClassification),
}
"""Name in a recipe -> configuration and network; all others are of transformers."""
VIDEO_STREAMS = (*OURS, *VIDEO_CLASSIFIERS)

# What a data set or another field of the recipe decides.
_DECIDED = {"num_frames", "frames_per_clip", "dropout", "semantic_dim", "category_texts", "layout", "joints", "pairs"}
# What the published weights of a network have to be, where that is another network than the whole.
_WEIGHTS = {"tsm": "resnet", "clip_mg": "clip"}

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
        ValueError: bf16 is asked for where its gradients are wrong; no clip of the data set may be mirrored although
            clips shall be, or a clip cannot be read; `stream_config` names a field that does not exist, or weights do
            not fit.
        FileNotFoundError: There are no such weights.
    """
    stream, weights = str(model_args.stream), model_args.stream_weights
    _check_precision(stream, training)
    # A stream reads no sentence of a clip, and has no adapters.
    training.fg_sa = training.cp_a = training.ml_co = False
    training.vision_tuning = "full"
    with training.main_process_first(desc="embedding class sentences"):
        targets, sentences = class_targets(training.semantic_loss, info, bank)
    width = 0 if targets is None else targets.shape[1]
    # A branch may move on while clips are decoded: one commit for the whole run.
    commit = classifiers.find(weights, _WEIGHTS.get(stream, stream)) if weights else None
    folder = Path(data_args.dataset_dir)
    layout = picture_layout(folder, "train", data["train"]) if stream == "clip_mg" else None
    config = build_config(model_args, info, width, commit, layout)
    processor, clips = clips_of(
        model_args.num_frames, classifiers.frame_size(config), **classifiers.colours(weights, commit)
    )
    clips = with_points(clips, data, folder, config, probe)
    with training.main_process_first(desc="decoding clips"):
        for split in clips.values():
            fill_cache(split.frames, [split], quiet=not training.should_log)
    if data_args.mirror_clips:
        others = flipped_clips(data["train"], info, fg_text="class")
        clips["train"].flipped = [(other[0], NO_SENTENCE) if other else None for other in others]
    set_seed(training.seed)
    if training.init_from:
        model = starting_weights.read(network(stream)[1], Path(training.init_from), config)
    else:
        model = first_network(stream, config, weights, commit, model_args.attn_implementation)
    if stream not in OURS:
        classifiers.prepare(model, width)
    trainer = StreamTrainer(
        model=model,
        args=training,
        train_dataset=clips["train"],
        eval_dataset=clips["validation"],
        processing_class=processor,
        class_names=info.names,
        targets=targets,
    )
    about = about_run(trainer, model_args, data_args, info, bank, sentences)
    # A folder has no revision, and its place is nobody's business.
    return trainer, about | ({"backbone": weights} if commit else {})


def _check_precision(stream: str, training: FGSGLTrainingArguments) -> None:
    if stream == "r2plus1d" and training.bf16 and training.device.type == "cpu":
        raise ValueError(
            "bf16 with the stream r2plus1d on a CPU: there, torch's gradient of a convolution over two frames is "
            "wrong (docs/log.md). Leave bf16 out, or train on a GPU"
        )


def network(stream: str) -> tuple[Any, Any]:
    """Configuration and network of a stream on video."""
    return OURS[stream] if stream in OURS else classifiers.classes(stream)


def first_network(stream: str, config: Any, weights: str | None, commit: str | None, attention: str) -> Any:
    """The network at the start of training: on published weights, for TSM and CLIP-MG of images, or from nothing."""
    if stream not in OURS:
        return classifiers.first_weights(config, weights, commit, attention)
    model = OURS[stream][1](config)
    if weights:
        part, kind = (model.resnet, ResNetModel) if stream == "tsm" else (model.vision, CLIPVisionModel)
        part.load_state_dict(classifiers.read(kind, weights, commit, config=part.config).state_dict())
    return model


def build_config(
    args: ModelArguments, info: DatasetInfo, semantic_dim: int, commit: str | None = None, layout: Layout | None = None
) -> Any:
    """Configuration of a stream's network for a data set; `layout` is that of the points that it reads, if it does.

    Raises:
        ValueError: `stream_config` names a field that does not exist, or that something else decides; or dropout is
            asked for where a network of transformers has none.
    """
    stream, settings = str(args.stream), json.loads(args.stream_config)
    config_class = network(stream)[0]
    check_fields(stream, settings, set(config_class.__annotations__) - _DECIDED, _DECIDED)
    if stream not in OURS:
        if args.classifier_dropout:
            raise ValueError(
                f"classifier_dropout is {args.classifier_dropout}, but a {stream} has none before its classifier: "
                "leave it out; stream_config has the network's own fields"
            )
        return classifiers.build_config(stream, settings, args.num_frames, info.names, args.stream_weights, commit)
    if layout is not None:
        settings |= {
            "layout": layout.name,
            "joints": list(layout.names),
            "pairs": [list(pair) for pair in layout.pairs],
        }
    if args.stream_weights and stream == "clip_mg":
        vision = CLIPVisionConfig.from_pretrained(args.stream_weights, revision=commit)
        settings = {"vision_config": vision.to_dict()} | settings
    elif args.stream_weights:
        resnet = ResNetConfig.from_pretrained(args.stream_weights, revision=commit)
        settings = {name: getattr(resnet, name) for name in RESNET_FIELDS} | settings
    return config_class(
        num_frames=args.num_frames,
        dropout=args.classifier_dropout,
        semantic_dim=semantic_dim,
        category_texts=info.texts,
        id2label=dict(enumerate(info.names)),
        **settings,
    )
