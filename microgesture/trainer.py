"""`FGSGLTrainer`: transformers' Trainer with the terms of eq. 3, and the callback that runs ML-CO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import TrainerCallback
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.trainer import TRAINING_ARGS_NAME

from microgesture import adapters
from microgesture.arguments import FGSGLTrainingArguments
from microgesture.data import augment
from microgesture.data.clip_dataset import ClipDataset, collate
from microgesture.evaluation.metrics import score_metrics
from microgesture.failures import LossWatch, explained_out_of_memory
from microgesture.losses.attributes import attribute_nce
from microgesture.losses.class_balance import balanced_cross_entropy
from microgesture.losses.contrastive import info_nce, prototype_nce
from microgesture.losses.orthogonal import orthogonal_semantic_loss, semantic_embedding_loss
from microgesture.negatives import StepShare, share_step
from microgesture.resumable_trainer import ResumableTrainer
from microgesture.schedule import stage, term_weights
from microgesture.text_encoders import SLOT_SIZES

EVALUATION_METRICS = ("correct", "total", "top1", "top5", "macro_f1", "mean_class_accuracy")
NO_NEGATIVE = "fg_without_negative"


class FGSGLTrainer(ResumableTrainer):
    """Trains FG-SGL: `L = L_cls + λ_cp·L_cp + λ_fg·L_fg` (eq. 3), and `+ λ_sem·L_sem` where a recipe asks for it.

    Args:
        sentence_table: Frozen embeddings of the training sentences `(S, D_t)`; batches hold rows of it.
        class_names: Class names by id, for the metrics.
        sentence_words: With `fg_loss: attributes`, the words of each sentence `(S, 5)`; then `sentence_table` holds a
            direction per word.
        paraphrases: The same sentences in other words `(P, S, D_t)`. Each optimizer step draws one wording for all
            of its clips, so that equal sentences stay equal and are no negatives of each other.
        targets: What `semantic_embeds` is drawn to, one row per class `(C, D_t)`: orthogonal targets, or the
            embeddings of the class sentences themselves; `None` without L_sem.
        **kwargs: As for `transformers.Trainer`; `processing_class` is the `FGSGLProcessor`.

    Batches hold uint8 frames; they are augmented and normalised on the device. Every clip of an optimizer step counts
    the same, however the step is cut into micro-batches. Every term is logged under its own name (`cls`, `cp`, `fg`,
    `sem`), unweighted, as the mean over the logging window.
    """

    # The terms are weighted means over a micro-batch, so the Trainer has to divide by the accumulation steps.
    loss_is_scaled_for_ga = False
    args: FGSGLTrainingArguments

    def __init__(
        self,
        *,
        sentence_table: torch.Tensor,
        class_names: list[str],
        sentence_words: torch.Tensor | None = None,
        paraphrases: torch.Tensor | None = None,
        targets: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("data_collator", collate)
        super().__init__(compute_metrics=self._metrics, **kwargs)
        self.class_names = class_names
        labels = list(getattr(self.train_dataset, "labels", []))
        flipped = getattr(self.train_dataset, "flipped", None) or [None] * len(labels)
        # For `class_balance`: a clip that is mirrored in one of two epochs is half a clip of each of its classes.
        labels += [other[0] if other else label for label, other in zip(labels, flipped, strict=True)]
        seen = torch.bincount(torch.tensor(labels, dtype=torch.long), minlength=len(class_names))
        self.class_counts = (seen / 2).tolist()
        self.sentence_table = sentence_table.to(self.args.device)
        self.sentence_words = None if sentence_words is None else sentence_words.to(self.args.device)
        self.wordings = [self.sentence_table]
        if paraphrases is not None:
            self.wordings += paraphrases.to(self.args.device).unbind()
        self.targets = None if targets is None else targets.to(self.args.device)
        if self.args.fg_sentences > len(sentence_table):
            raise ValueError(
                f"fg_sentences is {self.args.fg_sentences}; the training clips have {len(sentence_table)} sentences"
            )
        self.term_weights = self.weights_at(0.0)
        self._window: dict[str, torch.Tensor] = {}
        self._window_steps = 0.0
        self._watch = LossWatch(self.args.output_dir, self._clip_name)
        self.add_callback(MLCOCallback(self))
        self.add_callback(EpochCallback(self))

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As in transformers; where memory runs out, the error names the settings that help."""
        with explained_out_of_memory():
            return super().train(*args, **kwargs)

    def _clip_name(self, index: int) -> str:
        return self.train_dataset.name(index) if isinstance(self.train_dataset, ClipDataset) else f"clip {index}"

    def weights_at(self, progress: float) -> dict[str, float]:
        """Weights of this run's terms at a point of training, 0 to 1."""
        a = self.args
        weights = term_weights(
            progress, lambda_fg=a.lambda_fg, lambda_cp=a.lambda_cp, stage2_start=a.stage2_start, ml_co=a.ml_co,
            order=a.ml_co_order,
        )  # fmt: skip
        weights["sem"] = a.lambda_semantic
        return {name: weights[name] for name in a.terms}

    def stage_at(self, step: int) -> int:
        """The stage of the `step`-th optimizer step, counted from 1; without two stages it is always 2."""
        a = self.args
        if not (a.ml_co and a.fg_sa) or a.ml_co_order == "level":
            return 2
        return stage((step - 1) / self.state.max_steps, a.stage2_start)

    # ---- one step ---------------------------------------------------------------------------------------------------

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[dict[str, Any]], Any]:
        """Reads the micro-batches of an optimizer step, and tells each what it has to know of the others."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        if batches:
            # Without L_fg the sentences do not matter, and nothing has to travel.
            negatives = self.args.fg_negatives if "fg" in self.args.terms else "batch"
            ids = [batch["sentence_ids"] for batch in batches]
            place = (self.args.seed, self.state.global_step, self.args.process_index)
            at_least = self.args.fg_sentences if "fg" in self.args.terms else 0
            shares = share_step(ids, negatives, len(self.sentence_table), at_least, place)
            batches = [batch | {"share": share} for batch, share in zip(batches, shares, strict=True)]
        return batches, items

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Eq. 3 in training; the cross-entropy alone, on un-augmented clips, in evaluation."""
        if not model.training:
            outputs = self._forward(model, inputs)
            loss = F.cross_entropy(outputs.logits.float(), inputs["labels"])
            return (loss, outputs) if return_outputs else loss
        share: StepShare = inputs["share"]
        outputs = self._forward(model, inputs)
        terms = self._terms(outputs, inputs["labels"], share)
        if "teacher" in inputs:  # distillation: what a teacher says of the clip, in place of its label
            terms["cls"] = share.clip_weight * F.cross_entropy(outputs.logits.float(), inputs["teacher"])
        self._record(terms)
        total = torch.stack([weight * terms[name] for name, weight in self.term_weights.items()]).sum()
        self._watch.add(inputs["clip_ids"], {"loss": total} | terms)
        if self.accelerator.sync_gradients:  # the step's last micro-batch; DeepSpeed steps within its backward
            self._watch.check_loss(self.state.global_step + 1, self.state.epoch or 0.0)
        return (total, outputs) if return_outputs else total

    def _fine_texts(self, share: StepShare) -> torch.Tensor:
        if self.sentence_words is not None:
            return self.sentence_table
        # A function of seed and step: the same for all micro-batches and processes of a step, and when resumed.
        drawn = np.random.default_rng([self.args.seed, self.state.global_step]).integers(len(self.wordings))
        return self.wordings[drawn][share.keys]

    def _get_grad_norm(self, *args: Any, **kwargs: Any) -> Any:
        norm = super()._get_grad_norm(*args, **kwargs)
        if not self.args.fp16:  # whose scaler meets infinite gradients as a matter of course, and leaves them out
            self._watch.check_gradient(norm, self.state.global_step + 1, self.state.epoch or 0.0)
        self._watch.clear()
        return norm

    def _forward(self, model: torch.nn.Module, inputs: dict[str, Any]) -> Any:
        wanted = model.training and "fg" in self.args.terms
        texts = self._fine_texts(inputs["share"]) if wanted else None
        return model(pixel_values=self._pixels(inputs), fine_texts=texts)

    def _pixels(self, inputs: dict[str, Any]) -> torch.Tensor:
        frames = inputs["pixel_values"]
        if "flipped" in inputs:
            frames = augment.mirror(frames, inputs["flipped"])
        if "augmentation" in inputs:
            frames = augment.apply(frames, inputs["augmentation"])
        return self.processing_class.normalize(frames)

    def _terms(self, outputs: Any, labels: torch.Tensor, share: StepShare) -> dict[str, torch.Tensor]:
        temperature = self.args.temperature
        a, counts = self.args, self.class_counts
        cls = balanced_cross_entropy(a.class_balance, outputs.logits.float(), labels, counts, a.class_balance_clip)
        terms = {"cls": cls * share.clip_weight}
        if "cp" in self.args.terms:
            terms["cp"] = share.clip_weight * prototype_nce(
                outputs.class_embeds, outputs.category_embeds, labels, temperature
            )
        if "fg" in self.args.terms:
            terms |= self._fine_terms(outputs, share)
        if self.targets is not None:
            terms["sem"] = share.clip_weight * self._semantic_loss(outputs.semantic_embeds, labels)
        return terms

    def _semantic_loss(self, embeds: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        assert self.targets is not None
        if self.args.semantic_loss == "plain":
            return semantic_embedding_loss(embeds, self.targets, labels)
        return orthogonal_semantic_loss(embeds, self.targets, labels, self.args.semantic_off_diagonal)

    def _fine_terms(self, outputs: Any, share: StepShare) -> dict[str, torch.Tensor]:
        """L_fg over the clips that have a sentence, and whether there was no other sentence to tell theirs from."""
        alone = self.sentence_words is None and len(share.keys) < 2
        clips, texts, temperature = outputs.fine_embeds[share.rows], outputs.fine_text_embeds, self.args.temperature
        if alone or not len(share.rows):
            loss = (outputs.fine_embeds.sum() + texts.sum()).float() * 0.0
        elif self.sentence_words is not None:
            words = self.sentence_words[share.keys[share.targets]]
            loss = share.fine_weight * attribute_nce(clips, texts, words, SLOT_SIZES, temperature)
        else:
            loss = share.fine_weight * info_nce(clips, texts, temperature, targets=share.targets)
        return {
            "fg": loss,
            NO_NEGATIVE: loss.new_full((), float(alone)),
            "fg_keys": loss.new_full((), float(len(texts))),
        }

    # ---- logging ----------------------------------------------------------------------------------------------------

    def _record(self, terms: dict[str, torch.Tensor]) -> None:
        share = 1 / self.current_gradient_accumulation_steps
        for name, value in terms.items():
            self._window[name] = self._window.get(name, 0.0) + value.detach().float() * share
        self._window_steps += share

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the mean of each term over the logging window and over all processes, and the stage."""
        if "loss" in logs and self._window:
            sums = torch.stack(list(self._window.values())) / self._window_steps
            means = self.accelerator.gather(sums[None]).mean(0).tolist()
            logs |= {name: round(value, 6) for name, value in zip(self._window, means, strict=True)}
            logs["stage"] = self.stage_at(self.state.global_step)
            self._window, self._window_steps = {}, 0.0
        super().log(logs, start_time)

    # ---- evaluation and saving --------------------------------------------------------------------------------------

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluates with merged adapters, which is faster than unmerged ones (benchmarks/RESULTS.md)."""
        if is_deepspeed_zero3_enabled():  # each process holds a shard: nothing here to merge
            return super().evaluate(*args, **kwargs)
        with adapters.merged(self.model):
            return super().evaluate(*args, **kwargs)

    def _metrics(self, prediction: Any) -> dict[str, float]:
        whole = score_metrics(prediction.predictions, prediction.label_ids, self.class_names)
        return {name: whole[name] for name in EVALUATION_METRICS if name in whole}

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        # With ML-CO a stage-1 checkpoint would have no FG-SA in it, so it cannot be the best.
        if self.stage_at(self.state.global_step) == 1:
            return False
        before = self.state.best_metric
        if super()._determine_best_metric(metrics, trial):
            return True
        # A small validation split gives many ties; of equal checkpoints the one with the lower loss is the better.
        losses = {e["step"]: e["eval_loss"] for e in self.state.log_history if "eval_loss" in e}
        tie = metrics.get(f"eval_{self.args.metric_for_best_model}") == before
        if tie and metrics["eval_loss"] < losses.get(self.state.best_global_step, float("-inf")):
            self.state.best_global_step = self.state.global_step
            return True
        return False

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        # A pickle of local paths and settings that nothing of ours reads; the recipe and metrics.json say the same.
        (Path(output_dir or self.args.output_dir) / TRAINING_ARGS_NAME).unlink(missing_ok=True)


class MLCOCallback(TrainerCallback):
    """ML-CO (Sec. III-E): before each step, sets the weights that belong to it; logs where a stage ends.

    It keeps no state of its own, so a run resumed in stage 2 is in stage 2.

    Args:
        trainer: Whose `term_weights` are set.
    """

    def __init__(self, trainer: FGSGLTrainer) -> None:
        self.trainer = trainer

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Sets the weights of this optimizer step."""
        self.trainer.term_weights = self.trainer.weights_at(state.global_step / state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Logs at the end of a stage and of training: no mean is of two stages, and none of the last steps is lost."""
        step = state.global_step
        ended = step >= state.max_steps or self.trainer.stage_at(step) != self.trainer.stage_at(step + 1)
        if ended and args.logging_strategy != "no":
            control.should_log = True


class EpochCallback(TrainerCallback):
    """Tells the training clips which epoch begins, also to a run that is resumed in the middle of one.

    Args:
        trainer: Whose `train_dataset` is told.
    """

    def __init__(self, trainer: FGSGLTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Sets the epoch before the first clip is read."""
        if isinstance(self.trainer.train_dataset, ClipDataset):
            self.trainer.train_dataset.set_epoch(int(state.epoch or 0))
