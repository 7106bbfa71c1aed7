"""Trains FG-SGL: `accelerate launch train_fgsgl.py [RECIPE.yaml] [--name value ...]`.

The only place where model, data and losses meet. Without a recipe it runs recipes/synthetic.yaml.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache
from transformers import TrainerCallback, set_seed

from configuration_fgsgl import FGSGLConfig
from microgesture import (
    adapters,
    arguments,
    backbones,
    checkpoints,
    dry_run,
    estimate,
    launch,
    semantics,
    starting_weights,
    tiny,
)
from microgesture.arguments import DataArguments, FGSGLTrainingArguments, ModelArguments
from microgesture.data import augment, load, synthetic
from microgesture.data.clip_dataset import NO_SENTENCE, ClipDataset, fill_cache
from microgesture.data.clips import DatasetInfo
from microgesture.data.fg_text import VOCABULARY, sentence_parts
from microgesture.data.frame_cache import FrameCache
from microgesture.data.text_controls import controlled
from microgesture.distributed import built_whole, whole_weights
from microgesture.from_scratch import start_tower
from microgesture.hub.run import open_run, publish_run
from microgesture.model_card import write_model_card
from microgesture.resumable_trainer import EXIT_STATUS, Interrupted, launcher
from microgesture.run_record import format_losses, format_parameters, run_arguments, stage_losses, write_run_record
from microgesture.starting_weights import Origin
from microgesture.streams.adaptation_data import about_data
from microgesture.streams.build import build_stream_trainer
from microgesture.streams.rgb.build import VIDEO_STREAMS, build_video_stream_trainer
from microgesture.text_bank import TextBank
from microgesture.trainer import FGSGLTrainer
from microgesture.training_range import training_range
from modeling_fgsgl import FGSGLForVideoClassification
from processing_fgsgl import FGSGLProcessor
from video_fgsgl import probe

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
        "sentence_parts": sentence_parts(),
    }


def network_fields(args: ModelArguments) -> dict[str, Any]:
    """Vision tower and text width, as `FGSGLConfig` names them."""
    if args.backbone:
        return backbones.read_config(args.backbone, args.backbone_revision)
    return {"vision_config": json.loads(args.vision_config), "text_config": dict(tiny.TEXT_CONFIG)}


def build_config(args: ModelArguments, info: DatasetInfo, fields: dict[str, Any], semantic_head: bool) -> FGSGLConfig:
    """The network's configuration for a data set, on the tower and text width of `network_fields`."""
    return FGSGLConfig(**fields, **head_fields(args, info), semantic_head=semantic_head)


def first_weights(
    args: ModelArguments, config: FGSGLConfig, info: DatasetInfo, whole_tower: bool
) -> FGSGLForVideoClassification:
    """The network at the start of training: on published weights, or from nothing."""
    if args.backbone:
        return backbones.from_backbone(
            FGSGLForVideoClassification,
            args.backbone,
            revision=args.backbone_revision,
            attn_implementation=args.attn_implementation,
            **head_fields(args, info),
            semantic_head=config.semantic_head,
            training_clips=config.training_clips,
        )
    model = FGSGLForVideoClassification._from_config(config, attn_implementation=args.attn_implementation)
    if whole_tower:
        start_tower(model.base_model.vision_tower)
    else:
        logger.warning("no backbone is given, and the vision tower is not trained as a whole: it keeps random weights")
    return model


def text_bank(origin: Origin | None, directory: Path, device: torch.device) -> TextBank:
    """Sentence embeddings of the backbone's language model, or of the tiny stand-in."""
    if origin is None:
        return TextBank(directory, tiny.key(), tiny.encoder)
    name, commit = origin.backbone, origin.commit
    return TextBank(directory, origin.text_key, lambda: backbones.text_encoder(name, commit, device=device))


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


@built_whole()
def build_model(
    model_args: ModelArguments,
    training: FGSGLTrainingArguments,
    config: FGSGLConfig,
    info: DatasetInfo,
    sem: semantics.Semantics,
    checkpoint: Path | None = None,
    origin: Origin | None = None,
) -> Any:
    """The network, ready to train: from its first weights, from `--init_from`, or to be resumed.

    Args:
        model_args: What the network is.
        training: How it is trained.
        config: Its configuration.
        info: The classes.
        sem: Prototypes of the data.
        checkpoint: The checkpoint that the Trainer will go on from.
        origin: What is known of its backbone.
    """
    set_seed(training.seed)
    source = checkpoint or (training.init_from and Path(training.init_from))
    if source:
        attention = model_args.attn_implementation
        model = starting_weights.read(FGSGLForVideoClassification, source, config, attn_implementation=attention)
    else:
        model = first_weights(model_args, config, info, whole_tower=training.vision_tuning == "full")
    sem.apply_to(model)
    output = Path(training.output_dir)
    needs_base = checkpoint is None or not (output / starting_weights.BASE).is_dir()
    if training.vision_tuning == "lora" and needs_base and training.should_save:
        starting_weights.write_base(model, output, origin)
    model = adapt(model, training)
    if source and checkpoint is None and starting_weights.holds_adapters(source):
        starting_weights.read_adapters(model, source)
    return model


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
    if model_args.stream:
        raise ValueError("--estimate knows FG-SGL only; try a stream with --dry_run, which takes seconds")
    info, train_clips, notes = estimate.known_of_data(Path(data_args.dataset_dir))
    try:
        fields = network_fields(model_args)
    except FileNotFoundError as error:
        fields = estimate.PUBLISHED
        notes.append(
            f"{error}; the published sizes of InternVL2.5-8B are assumed: InternViT-300M, text of width 4,096"
        )
    config = build_config(model_args, info, fields, "sem" in training.terms)

    @built_whole()
    def build() -> Any:
        network = FGSGLForVideoClassification._from_config(config, attn_implementation=model_args.attn_implementation)
        return adapt(network, training)

    return "\n".join([estimate.estimate(build, training, train_clips).format(), *notes])


def video_clips(
    args: DataArguments, seed: int, data: Any, info: DatasetInfo, num_frames: int, size: int, **colours: Any
) -> tuple[FGSGLProcessor, dict[str, ClipDataset]]:
    """The processor of a network on video, and its clips for training and validation, which may not be decoded yet."""
    processor, train_processor = (
        FGSGLProcessor(num_frames=T, size=size, video_backend=args.video_backend, **colours)
        for T in (num_frames, num_frames * (augment.OVERSAMPLING if args.augment else 1))
    )
    clips = {
        name: ClipDataset(
            data[name],
            FrameCache(Path(args.cache_dir) / "frames", reader, args.cache_form),
            [NO_SENTENCE] * len(data[name]),
            info.mirrored is True,
        )
        for name, reader in (("train", train_processor), ("validation", processor))
    }
    clips["train"].augmentation = augment.Augmentation(
        seed, vary=args.augment, camera=args.augment_camera, jpeg=args.jpeg_degradation
    )
    return processor, clips


def build_trainer(
    model_args: ModelArguments,
    data_args: DataArguments,
    training: FGSGLTrainingArguments,
    checkpoint: Path | None = None,
) -> tuple[FGSGLTrainer, dict[str, Any]]:
    """Data, network and Trainer of a run, ready to train.

    Returns:
        The trainer, and what the run's record says of parameters and sentences.
    """
    folder = find_data(data_args, training)
    data, info = load(folder), DatasetInfo.read(folder)
    if training.dry_run:
        data = dry_run.two_clips(data, info, data_args.fg_text)
    if "train" in data:
        data["train"] = controlled(data["train"], data_args.fg_text_shuffle, data_args.fg_text_noise, training.seed)
    for split in ("train", "validation"):
        if split not in data:
            raise FileNotFoundError(f"{folder} has no split {split!r}; training needs train and validation")
    if info.mirrored == "unknown":
        logger.warning("%s does not say whether its recordings are mirrored; they are read as they are", info.name)
    origin = None
    if model_args.backbone:  # a branch may move on while clips are decoded: one commit for the whole run
        origin = Origin.find(model_args.backbone, model_args.backbone_revision, checkpoint)
        model_args = replace(model_args, backbone_revision=origin.commit)
    if model_args.stream:
        bank = text_bank(origin, Path(data_args.cache_dir) / "text", training.device)
        if model_args.stream in VIDEO_STREAMS:
            clips_of = partial(video_clips, data_args, training.seed, data, info)
            return build_video_stream_trainer(model_args, data_args, training, data, info, bank, clips_of, probe)
        return build_stream_trainer(model_args, data_args, training, data, info, bank)
    fields = origin.fields if origin else network_fields(model_args)
    config = build_config(model_args, info, fields, "sem" in training.terms)
    processor, clips = video_clips(data_args, training.seed, data, info, config.num_frames, config.image_size)
    cache_dir = Path(data_args.cache_dir)
    bank = text_bank(origin, cache_dir / "text", training.device)
    if data_args.text_encoder != "backbone":
        width: int = config.text_config.hidden_size  # type: ignore[union-attr]
        bank = semantics.simple_bank(data_args.text_encoder, cache_dir / "text", data["train"], info, width)
    # The first process fills the caches, the others find them filled.
    with training.main_process_first(desc="decoding clips and embedding sentences"):
        sem = semantics.build(
            data["train"], info, bank, data_args.fg_text, data_args.mirror_clips,
            fg_loss=training.fg_loss, prototypes=data_args.category_prototypes, seed=training.seed,
            paraphrases=data_args.fg_text_paraphrases,
        )  # fmt: skip
        targets, alike = semantics.class_targets(training.semantic_loss, info, bank)
        for part in clips.values():
            fill_cache(part.frames, [part], quiet=not training.should_log)
    clear_device_cache(garbage_collection=True)  # a language model that embedded sentences is gone; its memory as well
    clips["train"].sentence_ids, clips["train"].flipped = sem.sentence_ids, sem.flipped
    # Before the network is made: the base of its adapters is published as well, and needs the same configuration.
    config.training_clips = training_range(data["train"], probe)
    model = build_model(model_args, training, config, info, sem, checkpoint, origin)
    about = {
        **about_data(folder, info),
        "text_encoder": asdict(bank.key),
        # A folder has no revision, and its place is nobody's business.
        **({"backbone": model_args.backbone} if model_args.backbone_revision else {}),
        "sentences": sem.report() | alike,
        "parameters": adapters.parameter_table(model),
    }
    trainer = FGSGLTrainer(
        model=model,
        args=training,
        train_dataset=clips["train"],
        eval_dataset=clips["validation"],
        processing_class=processor,
        sentence_table=sem.fine_table,
        sentence_words=sem.sentence_words,
        paraphrases=sem.paraphrases,
        targets=targets,
        class_names=info.names,
    )
    return trainer, about


def export(trainer: FGSGLTrainer, about: dict[str, Any], recipe: Path) -> None:
    """Writes the complete checkpoint: merged weights, code, config, processor, record of the run, model card.

    Every process has to call it; the first one writes.
    """
    output = Path(trainer.args.output_dir)
    model = trainer.accelerator.unwrap_model(trainer.model)
    with whole_weights(model):
        if not trainer.is_world_process_zero():
            return
        with checkpoints.explaining("the complete checkpoint", output), checkpoints.publishing(output) as folder:
            if trainer.args.vision_tuning == "lora":
                # Adapters can be published alone when their base is published: so that it is complete as well.
                trainer.processing_class.save_pretrained(output / starting_weights.BASE)
                model.save_pretrained(folder / "adapter")  # what was trained, alone: small, needs the base and PEFT
            model = adapters.merge(model)
            model.save_pretrained(folder)
            trainer.processing_class.save_pretrained(folder)
            record = write_run_record(folder, trainer, about, recipe)
            write_model_card(folder, model.config.to_dict(), record)


def train(trainer: FGSGLTrainer, checkpoint: Path | None) -> bool:
    """Trains; `False` if SIGTERM ended it, and then a checkpoint is written."""
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except Interrupted as stop:
        if trainer.args.should_log:
            print(stop)
        return False
    return True


def use_all_cores(training: FGSGLTrainingArguments) -> None:
    """Gives a CPU process its share of the cores; `accelerate launch` would leave it one thread."""
    if training.device.type == "cpu" and "ACCELERATE_MIXED_PRECISION" in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // training.world_size))


def run(
    model_args: ModelArguments,
    data_args: DataArguments,
    training: FGSGLTrainingArguments,
    recipe: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> None:
    """Trains and exports."""
    checkpoint = checkpoints.find(training)
    if training.should_save:
        checkpoints.tidy(Path(training.output_dir))
    publishes = training.push_to_hub and training.process_index == 0
    if publishes:
        open_run(training)
    trainer, about = build_trainer(model_args, data_args, training, checkpoint)
    for callback in callbacks:
        trainer.add_callback(callback)
    if training.should_log:
        print(format_parameters(about["parameters"]))
        print("sentences:", json.dumps(about["sentences"]))
    finished = train(trainer, checkpoint)
    if finished:
        export(trainer, about | {"arguments": run_arguments(model_args, data_args, training)}, recipe)
    # Threads of gloo that outlive the interpreter end a process with SIGABRT now and then, and the launcher then stops
    # the first process, which may still be writing.
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()
    if not finished:
        raise SystemExit(EXIT_STATUS)
    if publishes:
        publish_run(training, print)
    if training.should_log:
        print(format_losses(stage_losses(trainer.state.log_history)))
        print(f"checkpoint: {training.output_dir}")


def main(argv: list[str] | None = None) -> None:
    """Runs one recipe, or says what it would cost, or whether it would run."""
    launcher()  # one that ends while clips are decoded would not be known when training starts
    argv = sys.argv[1:] if argv is None else argv
    words = arguments.command_words(argv)[0]
    launch.check_extension_lock(os.environ, words)
    if not {"--estimate", "--dry_run"} & set(words):  # neither is the run itself, so one process will do
        launch.check(os.environ, words, argv)
    model_args, data_args, training, recipe = arguments.parse(argv)
    logging.basicConfig(level=logging.INFO if training.should_log else logging.WARNING, format="%(message)s")
    if training.estimate:
        print(estimated(model_args, data_args, training))
        return
    use_all_cores(training)
    torch.set_float32_matmul_precision(training.matmul_precision)
    if not training.dry_run:
        run(model_args, data_args, training, recipe)
        return
    meter = dry_run.StepMeter()
    with dry_run.temporary_output(training):
        run(model_args, data_args, training, recipe, callbacks=[meter])
    if training.should_log:
        print(meter.report(training.per_device_train_batch_size, can_estimate=model_args.stream is None))


if __name__ == "__main__":
    main()
