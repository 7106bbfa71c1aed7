"""Trains FG-SGL: `accelerate launch train_fgsgl.py [RECIPE.yaml] [--name value ...]`.

The only place where model, data and losses meet. Without a recipe it runs recipes/synthetic.yaml.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, set_seed
from transformers.trainer_utils import get_last_checkpoint

from configuration_fgsgl import FGSGLConfig
from microgesture import adapters, arguments, dry_run, estimate, semantics, tiny
from microgesture.arguments import DataArguments, FGSGLTrainingArguments, ModelArguments
from microgesture.data import augment, load, synthetic
from microgesture.data.clip_dataset import NO_SENTENCE, ClipDataset, fill_cache
from microgesture.data.clips import DatasetInfo
from microgesture.data.fg_text import VOCABULARY
from microgesture.data.frame_cache import FrameCache
from microgesture.distributed import whole_weights
from microgesture.from_scratch import start_tower
from microgesture.model_card import write_model_card
from microgesture.run_record import format_losses, format_parameters, stage_losses, write_run_record
from microgesture.text_bank import TextBank
from microgesture.trainer import FGSGLTrainer
from modeling_fgsgl import FGSGLForVideoClassification
from processing_fgsgl import FGSGLProcessor

logger = logging.getLogger("train_fgsgl")


def head_fields(args: ModelArguments, info: DatasetInfo) -> dict[str, Any]:
    """The configuration's fields that the recipe and the data set decide."""
    return {
        "num_frames": args.num_frames,
        "mid_layer": args.mid_layer,
        "embed_dim": args.embed_dim,
        "temporal_pooling": args.temporal_pooling,
        "spatial_pooling": args.spatial_pooling,
        "classifier_input": args.classifier_input,
        "classifier_dropout": args.classifier_dropout,
        "id2label": dict(enumerate(info.names)),
        "category_texts": info.texts,
        "attribute_words": {attribute: list(words) for attribute, words in VOCABULARY.items()},
    }


def build_config(args: ModelArguments, info: DatasetInfo) -> FGSGLConfig:
    """The network's configuration for a data set."""
    if args.backbone:
        parts = estimate.backbone_fields(args.backbone, args.backbone_revision)
    else:
        parts = {"vision_config": json.loads(args.vision_config), "text_config": dict(tiny.TEXT_CONFIG)}
    return FGSGLConfig(**parts, **head_fields(args, info))


def find_data(args: DataArguments, training: FGSGLTrainingArguments) -> Path:
    """The data set folder, made first where a recipe says how.

    Raises:
        FileNotFoundError: It is not there.
    """
    folder = Path(args.dataset_dir)
    if args.generate is not None:
        with training.main_process_first(desc="making the synthetic data set"):
            # Also when it exists: generate finishes what was interrupted, and refuses an older generator's clips.
            if training.should_save and (not folder.exists() or (folder / synthetic.MANIFEST).exists()):
                synthetic.generate(folder, "full" if args.generate == "full" else "demo")
    if not folder.exists():
        raise FileNotFoundError(
            f"the data set folder {folder} does not exist: make it with `microgesture prepare`, or give --dataset_dir"
        )
    return folder


def find_checkpoint(training: FGSGLTrainingArguments) -> str | None:
    """The checkpoint to go on from, if one was asked for.

    Raises:
        FileExistsError: The output folder holds another run's checkpoints.
        FileNotFoundError: There is none to go on from.
    """
    output = Path(training.output_dir)
    last = get_last_checkpoint(str(output)) if output.is_dir() else None
    wanted = training.resume_from_checkpoint
    if wanted is None:
        if last is not None:
            raise FileExistsError(
                f"{output} already holds checkpoints of a run ({Path(last).name}). Go on with it by "
                "--resume_from_checkpoint last, choose another --output_dir, or delete the folder"
            )
        return None
    if wanted.lower() in ("last", "true"):
        if last is None:
            raise FileNotFoundError(f"{output} holds no checkpoint to go on from; leave out --resume_from_checkpoint")
        return last
    return wanted


def adapt(model: Any, training: FGSGLTrainingArguments) -> Any:
    """The network as it is trained: frozen where it is frozen, with adapters where they are asked for."""
    return adapters.prepare(
        model,
        terms=training.terms,
        vision_tuning=training.vision_tuning,
        mlp_tuning=training.mlp_tuning,
        lora_r=training.lora_r,
        lora_alpha=training.lora_alpha,
        lora_dropout=training.lora_dropout,
        adapter_dtype=training.adapter_dtype,
    )


def estimated(model_args: ModelArguments, data_args: DataArguments, training: FGSGLTrainingArguments) -> str:
    """What a run will cost, as text; no clip, no weight and no sentence is read."""
    info, train_clips, notes = estimate.known_of_data(Path(data_args.dataset_dir))
    try:
        config = build_config(model_args, info)
    except FileNotFoundError as error:
        config = FGSGLConfig(**estimate.PUBLISHED, **head_fields(model_args, info))
        assumed = "the published sizes of InternVL2.5-8B are assumed: InternViT-300M, text of width 4,096"
        notes.append(f"{error}; {assumed}")

    def build() -> Any:
        network = FGSGLForVideoClassification._from_config(config, attn_implementation=model_args.attn_implementation)
        return adapt(network, training)

    oversampling = augment.OVERSAMPLING if data_args.augment else 1
    return "\n".join([estimate.estimate(build, training, oversampling, train_clips).format(), *notes])


def build_trainer(
    model_args: ModelArguments, data_args: DataArguments, training: FGSGLTrainingArguments
) -> tuple[FGSGLTrainer, dict[str, Any]]:
    """Data, network and Trainer of a run, ready to train.

    Returns:
        The trainer, and what the run's record says of parameters and sentences.
    """
    folder = find_data(data_args, training)
    data, info = load(folder), DatasetInfo.read(folder)
    if training.dry_run:
        data = dry_run.two_clips(data, info, data_args.fg_text)
    for split in ("train", "validation"):
        if split not in data:
            raise FileNotFoundError(f"{folder} has no split {split!r}; training needs train and validation")
    if info.mirrored == "unknown":
        logger.warning("%s does not say whether its recordings are mirrored; they are read as they are", info.name)
    config = build_config(model_args, info)
    processor, train_processor = (
        FGSGLProcessor(num_frames=T, size=config.image_size, video_backend=data_args.video_backend)
        for T in (config.num_frames, config.num_frames * (augment.OVERSAMPLING if data_args.augment else 1))
    )
    cache_dir = Path(data_args.cache_dir)
    caches = {
        "train": FrameCache(cache_dir / "frames", train_processor, data_args.cache_form),
        "validation": FrameCache(cache_dir / "frames", processor, data_args.cache_form),
    }
    clips = {
        name: ClipDataset(data[name], cache, [NO_SENTENCE] * len(data[name]), info.mirrored is True)
        for name, cache in caches.items()
    }
    bank = TextBank(cache_dir / "text", tiny.key(), tiny.encoder)
    # The first process fills the caches, the others find them filled.
    with training.main_process_first(desc="decoding clips and embedding sentences"):
        sem = semantics.build(data["train"], info, bank, data_args.fg_text)
        for name, cache in caches.items():
            fill_cache(cache, [clips[name]], quiet=not training.should_log)
    clips["train"].sentence_ids = sem.sentence_ids
    set_seed(training.seed)
    model = FGSGLForVideoClassification._from_config(config, attn_implementation=model_args.attn_implementation)
    if training.vision_tuning == "full":
        start_tower(model.base_model.vision_tower)
    sem.apply_to(model)
    model = adapt(model, training)
    about = {
        "dataset": info.name,
        "dataset_version": info.version,
        "sentences": sem.report(),
        "parameters": adapters.parameter_table(model),
    }
    trainer = FGSGLTrainer(
        model=model,
        args=training,
        train_dataset=clips["train"],
        eval_dataset=clips["validation"],
        processing_class=processor,
        sentence_table=sem.table,
        class_names=info.names,
        augment_clips=data_args.augment,
    )
    return trainer, about


def export(trainer: FGSGLTrainer, about: dict[str, Any], recipe: Path) -> None:
    """Writes the complete checkpoint: merged weights, code, config, processor, record of the run, model card.

    Every process has to call it; the first one writes.
    """
    output = Path(trainer.args.output_dir)
    model = trainer.accelerator.unwrap_model(trainer.model)
    with whole_weights(model):
        if trainer.is_world_process_zero():
            if trainer.args.vision_tuning == "lora":
                model.save_pretrained(output / "adapter")  # what was trained, alone: small, needs the base and PEFT
            model = adapters.merge(model)
            model.save_pretrained(output)
            trainer.processing_class.save_pretrained(output)
            record = write_run_record(output, trainer, about, recipe)
            write_model_card(output, model.config, record)


def use_all_cores(training: FGSGLTrainingArguments) -> None:
    """Gives a CPU process its share of the cores; `accelerate launch` would leave it one thread."""
    if training.device.type == "cpu" and "ACCELERATE_MIXED_PRECISION" in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // training.world_size))


def train(
    model_args: ModelArguments,
    data_args: DataArguments,
    training: FGSGLTrainingArguments,
    recipe: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> None:
    """Trains and exports."""
    checkpoint = find_checkpoint(training)
    trainer, about = build_trainer(model_args, data_args, training)
    for callback in callbacks:
        trainer.add_callback(callback)
    if training.should_log:
        print(format_parameters(about["parameters"]))
        print("sentences:", json.dumps(about["sentences"]))
    trainer.train(resume_from_checkpoint=checkpoint)
    export(trainer, about, recipe)
    if training.should_log:
        print(format_losses(stage_losses(trainer.state.log_history)))
        print(f"checkpoint: {training.output_dir}")


def main(argv: list[str] | None = None) -> None:
    """Runs one recipe, or says what it would cost, or whether it would run."""
    model_args, data_args, training, recipe = arguments.parse(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO if training.should_log else logging.WARNING, format="%(message)s")
    if training.estimate:
        print(estimated(model_args, data_args, training))
        return
    use_all_cores(training)
    torch.set_float32_matmul_precision(training.matmul_precision)
    if not training.dry_run:
        train(model_args, data_args, training, recipe)
        return
    meter = dry_run.StepMeter()
    with dry_run.temporary_output(training):
        train(model_args, data_args, training, recipe, callbacks=[meter])
    if training.should_log:
        print(meter.report(training.per_device_train_batch_size))


if __name__ == "__main__":
    main()
