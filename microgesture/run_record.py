"""What a run leaves behind to be believed: metrics.json with commit, recipe, versions and exact counts."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from microgesture.data.clips import write_text
from microgesture.recipes import read_recipe

RECORD_FILE = "metrics.json"
RECORDED_ARGUMENTS = (
    "learning_rate", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "weight_decay",
    "max_grad_norm", "lr_scheduler_type", "warmup_steps", "bf16", "seed", "lambda_fg", "lambda_cp", "temperature",
    "fg_sa", "cp_a", "ml_co", "ml_co_order", "stage2_start", "fg_loss", "fg_negatives", "fg_sentences",
    "vision_tuning", "mlp_tuning", "lora_r", "lora_alpha", "lora_dropout", "adapter_dtype", "matmul_precision",
    "class_balance", "class_balance_clip", "semantic_loss", "lambda_semantic", "semantic_off_diagonal",
)  # fmt: skip
LIBRARIES = ("torch", "transformers", "datasets", "accelerate", "peft", "deepspeed", "av", "numpy")


def stage_losses(log_history: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Each loss term at the end of each stage: the last logging window of the stage.

    Args:
        log_history: The Trainer's log.

    Returns:
        `{"stage 1": {"loss": …, "cls": …, …}, "stage 2": {…}}`, without a stage that never ran.
    """
    ends: dict[str, dict[str, float]] = {}
    for entry in log_history:
        if "stage" in entry and "loss" in entry:
            names = ("loss", "cls", "cp", "fg", "fg_without_negative", "sem")
            ends[f"stage {entry['stage']}"] = {name: entry[name] for name in names if name in entry}
    return ends


def format_losses(stages: dict[str, dict[str, float]]) -> str:
    """The table of `stage_losses` as text."""
    names = list(dict.fromkeys(name for terms in stages.values() for name in terms))
    lines = ["loss at the end of" + "".join(f"{name:>22}" if len(name) > 8 else f"{name:>10}" for name in names)]
    for stage, terms in stages.items():
        cells = [f"{terms.get(name, float('nan')):.4f}" for name in names]
        row = "".join(
            f"{cell:>22}" if len(name) > 8 else f"{cell:>10}" for name, cell in zip(names, cells, strict=True)
        )
        lines.append(f"{stage:<18}{row}")
    return "\n".join(lines)


def format_parameters(table: list[dict[str, Any]]) -> str:
    """The table of trainable parameters as text."""
    lines = [f"{'parameters':<16}{'trained':>14}{'frozen':>14}"]
    lines += [f"{row['part']:<16}{row['trained']:>14,}{row['frozen']:>14,}" for row in table]
    return "\n".join(lines)


def write_run_record(output: Path, trainer: Any, about: dict[str, Any], recipe: Path) -> dict[str, Any]:
    """Writes `output/metrics.json`.

    Args:
        output: The checkpoint's folder.
        trainer: The `FGSGLTrainer` after training.
        about: Data set, sentences, parameters and `arguments` (as `run_arguments` gives them) of the run.
        recipe: The recipe that was run.

    Returns:
        What was written.
    """
    state = trainer.state
    best = state.best_global_step or state.global_step
    chosen = {
        key.removeprefix("eval_"): value
        for entry in state.log_history
        if entry.get("step") == best and "eval_top1" in entry
        for key, value in entry.items()
        if key in ("eval_correct", "eval_total", "eval_top1", "eval_macro_f1", "eval_loss")
    }
    # Weights that were adapted to clips have seen them for good.
    source = trainer.args.init_from
    adapted = [adaptation_of(Path(source)) if source else {}, about.get("adaptation")]
    if known := [one for one in adapted if one]:
        targets = sorted({clip for one in known for clip in one.get("targets", [])})
        about = about | {"adaptation": known[-1] | {"targets": targets}}
    record = about | {
        "commit": commit(),
        "recipe": recipe.name,
        "recipe_fields": recipe_fields(recipe),
        "versions": library_versions(),
        "machine": {
            "python": platform.python_version(),
            "processes": trainer.args.world_size,
            "distributed": str(trainer.accelerator.distributed_type),
        },
        "chosen_step": best,
        "chosen_stage": trainer.stage_at(best),
        "chosen_by": trainer.args.metric_for_best_model if state.best_global_step else "last step",
        "steps": state.max_steps,
        "validation": chosen,
        "stage_losses": stage_losses(state.log_history),
        "train_seconds": next((e["train_runtime"] for e in reversed(state.log_history) if "train_runtime" in e), None),
        "log": state.log_history,
    }
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    write_text(output / RECORD_FILE, text)
    return dict(json.loads(text))


def read_run_record(folder: Path) -> dict[str, Any]:
    """The record of the run that made a checkpoint; empty where it has none."""
    path = folder / RECORD_FILE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def adaptation_of(checkpoint: Path) -> dict[str, Any]:
    """What the record says of an adaptation, of a `checkpoint-N` that of its run; empty where there was none."""
    record = read_run_record(checkpoint)
    if not record and checkpoint.name.startswith("checkpoint-"):
        record = read_run_record(checkpoint.parent)
    return dict(record.get("adaptation") or {})


def recipe_fields(recipe: Path) -> dict[str, Any]:
    """The recipe without the folders of this machine, which are nobody else's business."""
    return _without_folders(read_recipe(recipe))


def run_arguments(model_args: Any, data_args: Any, training: Any) -> dict[str, Any]:
    """What the run was made with, wherever it was given: recipe, command line or default.

    Args:
        model_args: All its fields are told, those that are `None` apart.
        data_args: So are its.
        training: Those fields that differ from transformers' defaults or are FG-SGL's own; no tokens.

    Returns:
        Name of the argument -> its value; no folders of this machine.
    """
    fields = {name: value for name, value in (asdict(model_args) | asdict(data_args)).items() if value is not None}
    fields |= {name: json.loads(fields[name]) for name in ("vision_config", "stream_config")}
    recorded = {name: getattr(training, name) for name in RECORDED_ARGUMENTS}
    recorded = {
        name: value if isinstance(value, int | float | str) else str(value) for name, value in recorded.items()
    }
    return _without_folders(fields) | recorded


def _without_folders(fields: dict[str, Any]) -> dict[str, Any]:
    for name in ("backbone", "stream_weights"):
        if fields.get(name) and Path(fields[name]).expanduser().is_dir():
            fields = fields | {name: Path(fields[name]).name}
    return {
        name: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
        for name, value in fields.items()
        if not name.endswith("_dir")
    }


def library_versions() -> dict[str, str]:
    """Versions of the libraries that the figures depend on, of those installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The project's git commit, with `+changes` when the tree was not clean; `unknown` outside a clone."""
    root = Path(__file__).resolve().parent.parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=root, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if changed else "")
