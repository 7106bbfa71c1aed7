"""First weights that do not come from nothing: those of an earlier checkpoint, or the base of a run's adapters."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME as ADAPTER_WEIGHTS
from safetensors.torch import load_file

from microgesture import backbones, checkpoints
from microgesture.text_bank import EncoderKey

BASE = "_base"
_ORIGIN = "origin.json"
_ADAPTER_CONFIG = "adapter_config.json"
# What a configuration says of the file, of how answers are worded and of the data, not of the network.
_NOT_THE_NETWORK = {
    "transformers_version",
    "dtype",
    "architectures",
    "auto_map",
    "custom_pipelines",
    "_name_or_path",
    "_attn_implementation",
    "sentence_parts",
    "spotting",
    "training_clips",
}
_SET_BY = {"semantic_head": " (set by semantic_loss)"}
"""Fields of a configuration that have another name in a recipe."""
_ADAPTER_FIELDS = ("r", "lora_alpha", "target_modules", "modules_to_save")
# Prototypes come from the sentences of this run's data, not from the earlier run.
_OF_THE_DATA = (".prototypes", ".mean", ".learned")


def holds_adapters(folder: Path) -> bool:
    """Whether a checkpoint holds adapters and heads alone, so that it needs the base beside it."""
    return (folder / _ADAPTER_CONFIG).is_file()


@dataclass(frozen=True)
class Origin:
    """What a run has of its backbone beside the weights.

    Args:
        backbone: A repository of the Hub, or a folder.
        revision: Branch, tag or commit as the recipe has it.
        commit: What that stood for when the run began; `None` for a folder.
        fields: What its config.json says of the network, as `FGSGLConfig` names it.
        text_key: Whose sentence embeddings the run uses.
    """

    backbone: str
    revision: str | None
    commit: str | None
    fields: dict[str, Any]
    text_key: EncoderKey

    @classmethod
    def find(cls, backbone: str, revision: str | None, checkpoint: Path | None) -> Origin:
        """Asks the backbone, once for a run with adapters: going on from a checkpoint needs no Hub.

        Args:
            backbone: As in the recipe.
            revision: As in the recipe.
            checkpoint: The checkpoint that the run goes on from.

        Raises:
            FileNotFoundError: There is no such repository or folder, or the Hub cannot be reached.
            ValueError: The backbone is none that can be read.
        """
        kept = checkpoint.parent / BASE / _ORIGIN if checkpoint and holds_adapters(checkpoint) else None
        if kept and kept.is_file():
            fields = json.loads(kept.read_text(encoding="utf-8"))
            if (fields["backbone"], fields["revision"]) == (backbone, revision):
                return cls(**fields | {"text_key": EncoderKey(**fields["text_key"])})
        commit = backbones.resolve_revision(backbone, revision)
        config, key = backbones.read_config(backbone, commit), backbones.text_key(backbone, commit)
        return cls(backbone, revision, commit, config, key)


def write_base(model: Any, output: Path, origin: Origin | None = None) -> None:
    """Keeps the network as it was before adapters, so that the run can resume without anything from elsewhere.

    Args:
        model: The plain network.
        output: The run's folder; the base goes into its `_base`.
        origin: Of a model on published weights.
    """
    with checkpoints.explaining("the base of the adapters", output):
        written, target = output / checkpoints.UNFINISHED / BASE, output / BASE
        model.save_pretrained(written)
        if origin is not None:
            (written / _ORIGIN).write_text(json.dumps(asdict(origin), indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)  # of a run that had no checkpoint yet
        checkpoints.move_into_place(written, target)


def read(model_class: Any, folder: Path, config: Any, **options: Any) -> Any:
    """Reads the plain network of a checkpoint folder.

    Args:
        model_class: The network's class.
        folder: An exported checkpoint, a `checkpoint-N`, or one of a run with adapters, whose base is then read.
        config: What the network has to be.
        **options: As for `from_pretrained`.

    Returns:
        The network in float32.

    Raises:
        FileNotFoundError: There is no checkpoint, or the base of its adapters is gone.
        ValueError: The checkpoint is not whole, or is another network; the message names the fields.
    """
    if folder.name.startswith("checkpoint-") and (reason := checkpoints.defect(folder)):
        raise ValueError(f"{folder} is no whole checkpoint: {reason}")
    source = folder.parent / BASE if holds_adapters(folder) else folder
    if not (source / "config.json").is_file():
        raise FileNotFoundError(
            f"{source} is no complete checkpoint: it has no config.json. Give a folder that has one"
        )
    theirs = model_class.config_class.from_pretrained(source)
    other = differences(config.to_dict(), theirs.to_dict())
    if other:
        raise ValueError(f"{folder} is another network than the recipe's. {'; '.join(other)}. Make them equal")
    return model_class.from_pretrained(source, config=config, dtype=torch.float32, **options)


def differences(ours: dict[str, Any], theirs: dict[str, Any], prefix: str = "") -> list[str]:
    """The fields in which two configurations describe different networks, each with both values."""
    found = []
    for name in sorted((set(ours) | set(theirs)) - _NOT_THE_NETWORK):
        a, b = ours.get(name), theirs.get(name)
        if isinstance(a, dict) and isinstance(b, dict) and name.endswith("_config"):
            found += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append(f"{prefix}{name}{_SET_BY.get(name, '')}: {_short(a)} in the recipe, {_short(b)} there")
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."


def read_adapters(model: Any, folder: Path) -> None:
    """Puts the adapters and heads of a `checkpoint-N` into a network that was prepared for them.

    Args:
        model: The network inside its `PeftModel`.
        folder: The checkpoint.

    Raises:
        ValueError: This run has no adapters, or others.
    """
    if not isinstance(model, PeftModel):
        raise ValueError(f"{folder} holds LoRA adapters; set vision_tuning: lora, or give its run's exported folder")
    ours, theirs = model.peft_config["default"], LoraConfig.from_pretrained(folder)
    other = [
        f"{name}: {_short(getattr(ours, name))} in the recipe, {_short(getattr(theirs, name))} there"
        for name in _ADAPTER_FIELDS
        if _set(getattr(ours, name)) != _set(getattr(theirs, name))
    ]
    if other:
        raise ValueError(f"{folder} holds other adapters than the recipe's. {'; '.join(other)}. Make them equal")
    weights = load_file(folder / ADAPTER_WEIGHTS)
    present = get_peft_model_state_dict(model)
    if set(present) != set(weights):
        raise ValueError(f"{folder} lacks or adds adapter weights: {sorted(set(present) ^ set(weights))[:5]}")
    of_the_data = {name: value for name, value in present.items() if name.endswith(_OF_THE_DATA)}
    set_peft_model_state_dict(model, weights | of_the_data)


def _set(value: Any) -> Any:
    return set(value) if isinstance(value, list | set) else value
