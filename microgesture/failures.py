"""What ends a run before its time, and what a person is told: a loss that is no number, and a full memory."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object

from microgesture.data.clips import write_text
from microgesture.distributed import any_process

NONFINITE_FILE = "nonfinite_loss.json"

MEMORY_ADVICE = """The device has too little memory for this run. What helps, what changes the result least first:
  --activation_checkpointing true   recomputes activations instead of keeping them; slower, the same result
  --per_device_train_batch_size     half of it, with twice the --gradient_accumulation_steps: as many clips in a step;
                                    with --fg_negatives global or bank also the same loss and gradient
  --bf16 true                       activations of half the size, where the device has bfloat16
  --num_frames                      fewer frames of each clip: another model
  --per_device_eval_batch_size      smaller, if it happened during evaluation"""


@contextmanager
def explained_out_of_memory() -> Iterator[None]:
    """Inside, an accelerator that runs out of memory says which settings help.

    Raises:
        torch.OutOfMemoryError: The same error, with the advice after its own text.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise torch.OutOfMemoryError(f"{error}\n{MEMORY_ADVICE}") from error


class LossWatch:
    """Keeps clips and terms of the current optimizer step, and stops all processes where its loss is no number.

    Values stay on the device until a step is checked: one wait per optimizer step.

    Args:
        folder: Where `nonfinite_loss.json` is written.
        name: A clip's name by its number.
    """

    def __init__(self, folder: str, name: Callable[[int], str]) -> None:
        self.folder, self.name = Path(folder), name
        self._batches: list[tuple[torch.Tensor, dict[str, torch.Tensor]]] = []

    def add(self, clip_ids: torch.Tensor, terms: dict[str, torch.Tensor]) -> None:
        """Notes one micro-batch.

        Args:
            clip_ids: Numbers of its clips `(B,)`.
            terms: Its terms, scalars; the total under `loss`.
        """
        self._batches.append((clip_ids, {name: value.detach() for name, value in terms.items()}))

    def clear(self) -> None:
        """Forgets the step; the next begins."""
        self._batches = []

    def check_loss(self, step: int, epoch: float) -> None:
        """Stops where the loss of a micro-batch is no finite number; every process has to call.

        Raises:
            FloatingPointError: In every process, also where only one met it.
        """
        losses = torch.stack([terms["loss"] for _, terms in self._batches])
        if any_process(~losses.isfinite().all()):
            self._stop("loss", step, epoch)

    def check_gradient(self, norm: Any, step: int, epoch: float) -> None:
        """Stops where the norm of the whole gradient, the same in every process, is no finite number.

        Raises:
            FloatingPointError: In every process.
        """
        if norm is not None and not math.isfinite(float(norm)):
            self._stop("gradient", step, epoch)

    def _stop(self, what: str, step: int, epoch: float) -> None:
        reports = gather_object([[self._report(*batch) for batch in self._batches]])
        path = self.folder / NONFINITE_FILE
        found = {"what": what, "step": step, "epoch": epoch}
        found["processes"] = [{"process": n, "micro_batches": report} for n, report in enumerate(reports)]
        if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        raise FloatingPointError(
            f"the {what} of optimizer step {step} (epoch {epoch:.2f}) is not a finite number, so training stops. "
            f"{path} names the clips of this step and the terms of each micro-batch. Nothing of this step was saved: "
            "the last checkpoint is from before it. Usual causes: a learning rate that is too high (lower "
            "--learning_rate), --fp16 where --bf16 would do, or a broken clip among those named"
        )

    def _report(self, clip_ids: torch.Tensor, terms: dict[str, torch.Tensor]) -> dict[str, Any]:
        numbers = clip_ids.tolist()
        values = {name: float(value) for name, value in terms.items()}
        return {
            "clip_ids": numbers,
            "clips": [self.name(number) for number in numbers],
            # JSON knows neither nan nor inf: they are words there.
            "terms": {name: value if math.isfinite(value) else str(value) for name, value in values.items()},
        }
