"""The video classifiers of transformers as networks of a stream: by name, or from a configuration alone.

What is saved is an ordinary checkpoint of transformers. Only code of the installed transformers runs, never that of a
repository.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING
from transformers.utils import cached_file

from microgesture.arguments import VIDEO_CLASSIFIERS
from microgesture.checkpoint_files import Checkpoint
from microgesture.run_record import adaptation_of

PREPROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json")


def classes(stream: str) -> tuple[Any, Any]:
    """Configuration and network of a model type of `AutoModelForVideoClassification`, e.g. ``"videomae"``."""
    config_class = CONFIG_MAPPING[stream]
    return config_class, MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING[config_class]


def find(weights: str, kind: str) -> str | None:
    """Looks at published weights before anything is read of them.

    Args:
        weights: A repository of the Hub, or a folder.
        kind: The model type that they have to be of.

    Returns:
        The commit of the repository; `None` for a folder.

    Raises:
        FileNotFoundError: There is no such repository or folder, or the Hub cannot be reached.
        ValueError: They are of another model type, or a checkpoint that was adapted to clips.
    """
    if adaptation_of(Path(weights)).get("targets"):
        raise ValueError(
            f"stream_weights {weights} were adapted to clips, which the record of a run has to tell: give them as "
            "init_from"
        )
    found = Checkpoint.open(weights)
    theirs = found.config.get("model_type")
    if theirs != kind:
        raise ValueError(
            f"stream_weights {weights} are of the type {theirs!r}, and this stream takes {kind!r}: name other "
            "weights, or another stream"
        )
    return found.revision


def build_config(
    stream: str, settings: dict[str, Any], frames: int, names: list[str], weights: str | None, commit: str | None
) -> Any:
    """The configuration of a classifier for some classes.

    Args:
        stream: The model type.
        settings: Fields of the configuration.
        frames: T.
        names: Class names by id.
        weights: Published weights, whose configuration is changed; `None` for transformers' defaults.
        commit: Their commit.
    """
    config_class = classes(stream)[0]
    fields = settings | {frames_field(config_class): frames, "id2label": dict(enumerate(names))}
    fields["label2id"] = {name: number for number, name in enumerate(names)}
    if weights is None:
        return config_class(**fields)
    config = config_class.from_pretrained(weights, revision=commit, **fields)
    for name in ("auto_map", "custom_pipelines"):  # they name code of that repository
        config.__dict__.pop(name, None)
    return config


def frames_field(config_class: Any) -> str:
    """What a configuration calls the number of frames: V-JEPA 2 has its own name for it."""
    return "frames_per_clip" if "frames_per_clip" in config_class.__annotations__ else "num_frames"


def frame_size(config: Any) -> int:
    """Height and width of the frames in pixels.

    Raises:
        ValueError: Frames are not square.
    """
    size = config.crop_size if hasattr(config, "crop_size") else config.image_size
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) > 1:
        raise ValueError(f"frames are {size} pixels; clips are read as squares, so give one number")
    return int(sides.pop())


def colours(weights: str | None, commit: str | None) -> dict[str, list[float]]:
    """Mean and deviation of the colours that published weights expect; nothing where they do not say."""
    for name in PREPROCESSORS if weights else ():
        path = cached_file(weights, name, revision=commit, _raise_exceptions_for_missing_entries=False)
        if path is not None:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            return {key: found[key] for key in ("image_mean", "image_std") if key in found}
    return {}


def first_weights(config: Any, weights: str | None, commit: str | None, attention: str) -> Any:
    """The network at the start of training: on published weights, or from nothing.

    Args:
        config: As `build_config` gives it.
        weights: A repository of the Hub, or a folder; safetensors only.
        commit: The repository's commit.
        attention: Attention code, where the network has a choice.

    Raises:
        ValueError: The weights do not fit into the network, its head aside.
        OSError: They cannot be read.
    """
    model_class = classes(config.model_type)[1]
    attention = attention if model_class._supports_sdpa else "eager"
    if weights is None:
        return model_class._from_config(config, attn_implementation=attention)
    return read(model_class, weights, commit, config=config, attn_implementation=attention)


def read(model_class: Any, weights: str, commit: str | None, **options: Any) -> Any:
    """A network of transformers on published weights; of its parts only the head may be new.

    Args:
        model_class: The network's class.
        weights: A repository of the Hub, or a folder; safetensors only.
        commit: The repository's commit.
        **options: As for `from_pretrained`.

    Raises:
        ValueError: The weights do not fit into the network.
        OSError: They cannot be read.
    """
    model, found = model_class.from_pretrained(
        weights, revision=commit, dtype=torch.float32, use_safetensors=True, ignore_mismatched_sizes=True,
        output_loading_info=True, **options,
    )  # fmt: skip
    whole = not hasattr(model, "classifier")  # then all of it has to be there
    missing = [name for name in found["missing_keys"] if whole or name.startswith(f"{model.base_model_prefix}.")]
    other = [row[0] for row in found["mismatched_keys"] if not row[0].startswith("classifier.")]
    if missing or other:
        raise ValueError(
            f"stream_weights {weights} do not fit: {sorted(missing + other)[0]} is missing there or has another "
            f"shape ({len(missing) + len(other)} such). num_frames and stream_config must describe these weights"
        )
    return model


def prepare(model: Any, semantic_dim: int) -> None:
    """Makes a network of transformers one that the Trainer can train, save and read back; `finish` undoes it.

    Args:
        model: The network; what classification leaves out is frozen.
        semantic_dim: Width of its `SemanticHead`; 0 for none.
    """
    if hasattr(model.base_model, "predictor"):  # V-JEPA 2's, which would never get a gradient
        model.base_model.predictor.requires_grad_(False)
    if semantic_dim:
        SemanticHead(model, semantic_dim)
    # By default some parameters are saved under the names of their publication, as VideoMAE's biases. from_pretrained
    # knows these; transformers' Trainer does not, and leaves such parameters as they are when it goes on from a
    # checkpoint or ends with the best one, with a mere warning (seen in 5.23).
    model.save_pretrained = partial(model.save_pretrained, save_original_format=False)


def finish(model: Any) -> None:
    """Undoes `prepare`, so that an ordinary checkpoint of transformers is saved; leaves other networks as they are."""
    if model.config.model_type not in VIDEO_CLASSIFIERS:
        return
    if hasattr(model, "semantic"):
        for hook in model.semantic.hooks:
            hook.remove()
        del model.semantic
    model.__dict__.pop("save_pretrained", None)


class SemanticHead(nn.Linear):
    """Projects what a network's classifier reads to the space of class sentences, as `semantic_embeds` of its output.

    It is there while training only, and no part of what is saved at the end.

    Args:
        model: The network; it gets the head as `model.semantic`.
        width: Width of the class sentences' embeddings.
    """

    def __init__(self, model: Any, width: int) -> None:
        super().__init__(model.classifier.in_features, width)
        self._features: torch.Tensor | None = None
        self.hooks = [
            model.classifier.register_forward_pre_hook(self._remember),
            model.register_forward_hook(self._add),
        ]
        model.semantic = self

    def _remember(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._features = inputs[0] if module.training else None

    def _add(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self._features is not None:
            output["semantic_embeds"] = self(self._features).flatten(1)  # VideoPrism's classifier reads (B, 1, D)
            self._features = None
