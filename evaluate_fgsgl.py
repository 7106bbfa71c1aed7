"""Evaluates a checkpoint on one split: `python evaluate_fgsgl.py CHECKPOINT DATASET [--split test]`.

On several devices: `accelerate launch --multi_gpu --num_processes 2 evaluate_fgsgl.py …`. Every clip is counted once,
whatever the batch size and the number of processes.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import torch
from accelerate import PartialState
from accelerate.utils import gather, parse_flag_from_env
from tqdm import tqdm

from microgesture import backbones, tiny
from microgesture.data import load
from microgesture.data.clip_dataset import NO_LABEL, NO_SENTENCE, ClipDataset, clip_sentences, collate, fill_cache
from microgesture.data.clips import DatasetInfo, write_text
from microgesture.data.fg_text import FGText
from microgesture.data.frame_cache import FrameCache
from microgesture.evaluation import challenge_files
from microgesture.evaluation.attributes import attribute_metrics
from microgesture.evaluation.baselines import VIEWS, linear_baseline, majority_baseline
from microgesture.evaluation.class_space import ClassSpace, space_path
from microgesture.evaluation.metrics import classification_metrics
from microgesture.evaluation.results import comparisons, split_results, tuning_splits
from microgesture.evaluation.score_file import Scores, row_names, score_path, scores_of, weights_digest
from microgesture.evaluation.text_report import format_result
from microgesture.evaluation.text_retrieval import sentence_retrieval
from microgesture.run_record import RECORD_FILE, format_losses, read_run_record
from microgesture.streams.adaptation_data import adapted_to, check_one_kind
from microgesture.streams.evaluation import Video, evaluate_stream, stream_of
from microgesture.text_bank import EncoderKey, SentenceEncoder, TextBank
from modeling_fgsgl import FGSGLForVideoClassification
from processing_fgsgl import FGSGLProcessor
from video_fgsgl import probe


def processes() -> PartialState:
    """The processes that were launched; accelerate joins those on CPUs only when it is told that they are."""
    return PartialState(cpu=not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU"))


@torch.inference_mode()
def predict(model: Any, processor: Any, clips: ClipDataset, batch_size: int = 16) -> tuple[torch.Tensor, ...]:
    """Logits, fine and class embeddings of every clip of a split, each clip once; every process has to call it.

    Args:
        model: An `FGSGLForVideoClassification`, on its device.
        processor: Its processor.
        clips: The split, N clips.
        batch_size: Clips per forward.

    Returns:
        `(N, C)`, `(N, E)` and `(N, E)`, float32, on the CPU, the same in every process.
    """
    state, N = processes(), len(clips)
    world = state.num_processes
    # Process r takes the clips r, r + world, …; those that make all shares equally long are cut off again below.
    share = [i % N for i in range(state.process_index, -(-N // world) * world, world)]
    loader = torch.utils.data.DataLoader(
        torch.utils.data.Subset(clips, share), batch_size=batch_size, collate_fn=collate
    )
    rows: tuple[list[torch.Tensor], ...] = ([], [], [])
    for batch in tqdm(loader, desc="recognising clips", unit="batch", disable=not state.is_main_process):
        pixels = processor.normalize(batch["pixel_values"].to(model.device))
        output = model(pixel_values=pixels)
        for row, values in zip(rows, (output.logits, output.fine_embeds, output.class_embeds), strict=True):
            row.append(values.float())
    return tuple(
        gather(torch.cat(row)).unflatten(0, (world, len(share))).transpose(0, 1).flatten(0, 1)[:N].cpu()
        for row in rows
    )


def evaluate(
    checkpoint: Path,
    dataset: Path,
    split: str,
    cache_dir: Path,
    baselines: bool,
    others: list[Path] | None = None,
    backbone: str | None = None,
    batch_size: int = 16,
    scores_only: bool = False,
) -> dict[str, Any]:
    """All figures of a checkpoint on a split; writes them and the scores into the checkpoint's folder.

    Args:
        checkpoint: A checkpoint folder.
        dataset: A data set folder.
        split: Name of the split.
        cache_dir: Where sampled frames and sentence embeddings are kept.
        baselines: Also compute the majority class and linear models on pixels, trained on the split `train`.
        others: Checkpoints that were evaluated on this split before, to compare with.
        backbone: The published weights that the run started from, to embed sentences that nobody has embedded yet.
        batch_size: Clips per forward.
        scores_only: Write the scores and no figures, and return nothing; for clips without labels.

    Returns:
        `{"split", "official_overlap", "metrics", "groups": {column: {value: figures}}, "class_groups", "calibration",
        "text", "baselines": {name: figures}, "comparisons"}`, and `"leak": true` where the data set, or the one
        trained on, is marked as leaking, `"transductive": true` where the checkpoint was adapted to these clips.
        Also in `eval_<split>.json`; the scores in `scores_<split>.safetensors`.

    Raises:
        ValueError: A split is not there, the checkpoint was trained on other classes, or one to compare with was
            evaluated on other clips or with other weights than it has now, or only one of them was adapted to these.
        FileNotFoundError: A checkpoint to compare with was not evaluated on this split.
    """
    if stream_of(checkpoint):
        video = Video(FGSGLProcessor.from_pretrained, partial(read_clips, cache_dir), probe, baseline_metrics)
        return evaluate_stream(
            checkpoint, dataset, split, baselines, others or [], as_scores, processes(), video, batch_size, scores_only
        )
    data, info = load(dataset), DatasetInfo.read(dataset)
    if split not in data:
        raise ValueError(f"{dataset} has no split {split!r}; it has: {', '.join(data)}")
    to_compare = {str(other): scores_of(other, split) for other in others or []}
    seen = adapted_to(checkpoint, dataset, split)
    check_one_kind({str(checkpoint): seen} | {name: other.transductive for name, other in to_compare.items()}, split)
    if None in data[split]["label"] and not scores_only:
        raise ValueError(f"{dataset} has clips without labels in {split!r}; --scores_only writes their scores")
    if baselines and "train" not in data:
        raise ValueError(f"{dataset} has no split 'train', which the baselines are trained on; leave out --baselines")
    state = processes()
    model, processor = open_checkpoint(checkpoint, dataset, info)
    tuning = [] if scores_only else tuning_splits(data, split)
    parts = list(dict.fromkeys([split, *tuning, *(["train"] if baselines else [])]))
    clips = read_clips(cache_dir, processor, data, info, parts)
    logits, embeds, class_embeds = predict(model, processor, clips[split], batch_size)
    scores, validation = as_scores(dataset, info, split, data[split], logits), None
    if scores_only:
        if state.is_main_process:
            replace(scores, weights=weights_digest(checkpoint), transductive=seen).save(score_path(checkpoint, split))
        state.wait_for_everyone()
        return {}
    for name in tuning:
        held_out = predict(model, processor, clips[name], batch_size)[0]
        validation = as_scores(dataset, info, name, data[name], held_out)
    train = data.get("train")
    columns = {name: data[split][name] for name in ("subject", "amplitude") if name in data[split].column_names}
    result: dict[str, Any] = {"split": split, "official_overlap": info.official_overlap}
    result |= split_results(scores, info, columns, None if train is None else train["label"], validation)
    if state.is_main_process:
        result["text"] = {
            "attributes": attribute_results(model, embeds, scores, data[split], info, train),
            "retrieval": retrieval_results(model, embeds, data[split], info, cache_dir, checkpoint, backbone),
        }
        result["baselines"] = baseline_metrics(clips, split, info.names) if baselines else {}
        result["comparisons"] = comparisons(scores, to_compare)
        for name, row in result["comparisons"].items():
            row["seeds"] = {"first": seed_of(Path(name)), "second": seed_of(checkpoint)}
        if info.leak or read_run_record(checkpoint).get("leak"):
            result["leak"] = True
        if seen:
            result["transductive"] = True
        scores = replace(scores, weights=weights_digest(checkpoint), transductive=seen)
        space = ClassSpace(scores.clips, class_embeds.numpy(), category_embeds(model), scores.weights)
        space.save(space_path(checkpoint, split))
        scores.save(score_path(checkpoint, split))
        write_text(checkpoint / f"eval_{split}.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    state.wait_for_everyone()
    return result


def read_clips(
    cache_dir: Path, processor: Any, data: datasets.DatasetDict, info: DatasetInfo, splits: list[str]
) -> dict[str, ClipDataset]:
    """The clips of some splits as a processor samples them, each decoded once by the first process."""
    cache, state = FrameCache(cache_dir / "frames", processor), processes()
    clips = {
        name: ClipDataset(data[name], cache, [NO_SENTENCE] * len(data[name]), info.mirrored is True) for name in splits
    }
    with state.main_process_first():
        fill_cache(cache, list(clips.values()), quiet=not state.is_main_process)
    return clips


@torch.inference_mode()
def category_embeds(model: Any) -> npt.NDArray[np.float32]:
    """The category prototypes in the class space, `(C, E)` float32."""
    return model.fgsgl.class_text_proj.project_prototypes().float().cpu().numpy()


def open_checkpoint(checkpoint: Path, dataset: Path, info: DatasetInfo) -> tuple[Any, Any]:
    """Network and processor, on this process's device.

    Raises:
        ValueError: The checkpoint was trained on other classes.
    """
    model = FGSGLForVideoClassification.from_pretrained(checkpoint).eval().to(processes().device)
    known = [model.config.id2label[number] for number in range(model.config.num_labels)]
    if known != info.names:
        raise ValueError(f"{checkpoint} knows other classes than {dataset}: {sorted(set(known) ^ set(info.names))}")
    return model, FGSGLProcessor.from_pretrained(checkpoint)


def as_scores(dataset: Path, info: DatasetInfo, split: str, rows: datasets.Dataset, logits: torch.Tensor) -> Scores:
    """The scores with the names of their clips: the column `clip` where there is one, else the file and its span."""
    names = row_names(dataset, split, rows)
    labels = np.array([NO_LABEL if label is None else label for label in rows["label"]])
    return Scores(info.name, split, tuple(info.names), tuple(names), tuple(rows["subject"]), labels, logits.numpy())


def attribute_results(
    model: Any, embeds: torch.Tensor, scores: Scores, rows: datasets.Dataset, info: DatasetInfo, train: Any
) -> dict[str, Any]:
    """Accuracy of the words that `describe` ranks first, from the fine embeddings `(N, E)`."""
    ranked = model.rank_words(embeds.to(model.device))
    described = [{name: words[0][0] if words else None for name, words in answer.items()} for answer in ranked]
    records = [[FGText.from_mapping(row) for row in part] for part in (words_of(rows), words_of(train))]
    predicted, true = scores.logits.argmax(1).tolist(), scores.labels.tolist()
    return attribute_metrics(records[0], described, predicted, true, [c.default for c in info.classes], records[1])


def words_of(rows: datasets.Dataset | None) -> Any:
    """The rows without their videos."""
    return [] if rows is None else rows.remove_columns("video")


def retrieval_results(
    model: Any,
    embeds: torch.Tensor,
    rows: datasets.Dataset,
    info: DatasetInfo,
    cache_dir: Path,
    checkpoint: Path,
    backbone: str | None,
) -> dict[str, Any]:
    """Retrieval of each clip's own sentence among the distinct sentences of the split, from embeddings `(N, E)`.

    Returns:
        As `sentence_retrieval`, or `{"skipped": reason}`.

    Raises:
        ValueError: `backbone` is not what the checkpoint was trained with.
    """
    sentences = clip_sentences(rows, info.texts)
    described = [row for row, sentence in enumerate(sentences) if sentence]
    distinct = sorted({sentence for sentence in sentences if sentence})
    place = {sentence: column for column, sentence in enumerate(distinct)}
    if not distinct:
        return {"skipped": f"no clip of the split {rows.split} has FG-Text"}
    written = read_run_record(checkpoint).get("text_encoder")
    if written is None:
        return {"skipped": f"the checkpoint has no {RECORD_FILE}, which names its text encoder"}
    key = EncoderKey(**written)

    def load_encoder() -> SentenceEncoder:
        if key == tiny.key():
            return tiny.encoder()
        if backbone is None:
            raise NotEmbeddedError(f"sentences of this split are not embedded yet; --backbone {key.name} embeds them")
        if backbones.text_key(backbone, key.revision if backbone == key.name else None) != key:
            raise ValueError(
                f"the checkpoint was trained with {key.name} at {key.revision}, and {backbone} is another"
            )
        return backbones.text_encoder(backbone, key.revision if backbone == key.name else None, device=model.device)

    try:
        table = TextBank(cache_dir / "text", key, load_encoder).embed(distinct)
    except NotEmbeddedError as reason:
        return {"skipped": str(reason)}
    with torch.inference_mode():
        texts = model.encode_text(table.to(model.device), "fine").float().cpu()
    own = [place[sentence] for sentence in sentences if sentence]
    return sentence_retrieval((embeds[described] @ texts.T).numpy(), own)


class NotEmbeddedError(Exception):
    """A sentence has no embedding yet, and the language model was not given."""


def baseline_metrics(clips: dict[str, ClipDataset], split: str, names: list[str]) -> dict[str, Any]:
    """The majority class, and linear models on small frames in three views, on the same clips."""
    train, test = clips["train"], clips[split]
    frames = {
        name: torch.stack([dataset[i]["pixel_values"] for i in range(len(dataset))]).numpy()
        for name, dataset in (("train", train), ("test", test))
    }
    predicted = {"majority class": majority_baseline(train.labels, len(test))}
    for view in VIEWS:
        predicted[f"linear model, {view}"] = linear_baseline(frames["train"], train.labels, frames["test"], view)
    return {name: classification_metrics(p, test.labels, names) for name, p in predicted.items()}


def seed_of(checkpoint: Path) -> int | None:
    """The seed of the run that made the checkpoint, `None` where nobody wrote it down."""
    return read_run_record(checkpoint).get("arguments", {}).get("seed")


def report(result: dict[str, Any], checkpoint: Path, details: bool = False) -> str:
    """The result as a short text, with the losses of the run where the checkpoint has them."""
    lines = [format_result(result, details)]
    run = read_run_record(checkpoint)
    if run:
        lines += ["", format_losses(run["stage_losses"])]
        lines += [f"chosen: step {run['chosen_step']} of {run['steps']}, stage {run['chosen_stage']}"]
    lines.append(f"scores of every clip: {score_path(checkpoint, result['split'])}")
    return "\n".join([*lines, f"checkpoint: {checkpoint}"])


def main(argv: list[str] | None = None) -> None:
    """Evaluates one checkpoint and prints a short table."""
    parser = argparse.ArgumentParser(description="Evaluates an FG-SGL checkpoint on one split of a data set.")
    parser.add_argument("checkpoint", type=Path, help="folder of a trained checkpoint, e.g. outputs/synthetic")
    parser.add_argument("dataset", type=Path, help="data set folder, e.g. data/synthetic")
    parser.add_argument("--split", default="test", help="which split (default: test)")
    parser.add_argument("--cache_dir", type=Path, default=Path("cache"), help="where sampled frames are kept")
    parser.add_argument("--batch_size", type=int, default=16, help="clips per forward (default: 16)")
    parser.add_argument("--baselines", action="store_true", help="also compute simple baselines on the same clips")
    parser.add_argument("--details", action="store_true", help="also print one line per class")
    parser.add_argument(
        "--compare", type=Path, nargs="+", metavar="OTHER", help="checkpoints evaluated before, to compare with"
    )
    parser.add_argument(
        "--challenge", choices=challenge_files.FORMS, help="also write the file that a challenge takes"
    )
    parser.add_argument("--scores_only", action="store_true", help="no figures: for clips without labels")
    parser.add_argument("--backbone", help="the published weights trained on, where sentences are not embedded yet")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    torch.set_float32_matmul_precision("highest")
    result = evaluate(
        args.checkpoint, args.dataset, args.split, args.cache_dir, args.baselines, args.compare, args.backbone,
        args.batch_size, args.scores_only,
    )  # fmt: skip
    if not processes().is_main_process:
        return
    if args.scores_only:
        print(f"scores: {score_path(args.checkpoint, args.split)}")
    else:
        print(report(result, args.checkpoint, args.details))
    if args.challenge:
        scores = scores_of(args.checkpoint, args.split)
        groups = [c.group for c in DatasetInfo.read(args.dataset).classes]
        print(f"to hand in: {challenge_files.hand_in(args.checkpoint, args.challenge, scores, groups)}")


if __name__ == "__main__":
    main()
    processes().destroy_process_group()
