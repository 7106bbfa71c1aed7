"""Trains FG-SGL: `accelerate launch train_fgsgl.py [RECIPE.yaml] [--name value ...]`.

The only place where model, data and losses meet. Without a recipe it runs recipes/synthetic.yaml.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint

from configuration_fgsgl import FGSGLConfig
from microgesture import adapters, arguments, semantics, tiny
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


def build_config(args: ModelArguments, info: DatasetInfo) -> FGSGLConfig:
    """The network's configuration for a data set."""
    return FGSGLConfig(
        vision_config=json.loads(args.vision_config),
        text_config=dict(tiny.TEXT_CONFIG),
        num_frames=args.num_frames,
        mid_layer=args.mid_layer,
        embed_dim=args.embed_dim,
        temporal_pooling=args.temporal_pooling,
        spatial_pooling=args.spatial_pooling,
        classifier_input=args.classifier_input,
        classifier_dropout=args.classifier_dropout,
        id2label=dict(enumerate(info.names)),
        category_texts=info.texts,
        attribute_words={attribute: list(words) for attribute, words in VOCABULARY.items()},
    )


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


def build_trainer(
    model_args: ModelArguments, data_args: DataArguments, training: FGSGLTrainingArguments
) -> tuple[FGSGLTrainer, dict[str, Any]]:
    """Data, network and Trainer of a run, ready to train.

    Returns:
        The trainer, and what the run's record says of parameters and sentences.
    """
    folder = find_data(data_args, training)
    data, info = load(folder), DatasetInfo.read(folder)
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
    model = adapters.prepare(
        model,
        terms=training.terms,
        vision_tuning=training.vision_tuning,
        mlp_tuning=training.mlp_tuning,
        lora_r=training.lora_r,
        lora_alpha=training.lora_alpha,
        lora_dropout=training.lora_dropout,
        adapter_dtype=training.adapter_dtype,
    )
    about = {
        "dataset": info.name,
        "dataset_version": info.version,
        "official_overlap": info.official_overlap,
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


def main(argv: list[str] | None = None) -> None:
    """Runs one recipe."""
    model_args, data_args, training, recipe = arguments.parse(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO if training.should_log else logging.WARNING, format="%(message)s")
    use_all_cores(training)
    torch.set_float32_matmul_precision(training.matmul_precision)
    checkpoint = find_checkpoint(training)
    trainer, about = build_trainer(model_args, data_args, training)
    if training.should_log:
        print(format_parameters(about["parameters"]))
        print("sentences:", json.dumps(about["sentences"]))
    trainer.train(resume_from_checkpoint=checkpoint)
    export(trainer, about, recipe)
    if training.should_log:
        print(format_losses(stage_losses(trainer.state.log_history)))
        print(f"checkpoint: {training.output_dir}")


if __name__ == "__main__":
    main()
