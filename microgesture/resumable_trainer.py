"""A Trainer whose runs can be interrupted at any moment and go on as if they never had been."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import rotate_checkpoints

from microgesture import checkpoints

# What a shell reports of a program that SIGTERM ended: the run is not finished, so it is no success.
EXIT_STATUS = 128 + signal.SIGTERM


@cache
def launcher() -> int | None:
    """Number of the process that `accelerate launch` or `torchrun` is; `None` where neither started this process.

    To be asked for at the start, while the launcher is sure to live; later answers are the same.
    """
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ
    return os.getppid() if launched else None


class Interrupted(Exception):  # noqa: N818 - the run went as it should
    """SIGTERM came, and a checkpoint was written.

    Args:
        checkpoint: The folder to go on from.
    """

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(f"stopped by SIGTERM after writing {checkpoint}; go on with the same command and --resume")


class ResumableTrainer(Trainer):
    """transformers' Trainer with checkpoints that are whole or not there, and an orderly end on SIGTERM.

    `train` raises `Interrupted` where SIGTERM ended it; see `StopOnSignal`.
    """

    _writing = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stop_on_signal = StopOnSignal(self)
        self.add_callback(self.stop_on_signal)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As `transformers.Trainer.train`.

        Raises:
            Interrupted: SIGTERM came; a checkpoint is written.
        """
        with self.stop_on_signal.listening():
            return super().train(*args, **kwargs)

    def _get_output_dir(self, trial: Any) -> str:
        folder = super()._get_output_dir(trial)
        return os.path.join(folder, checkpoints.UNFINISHED) if self._writing else folder

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        output, step = Path(self.args.output_dir), self.state.global_step
        target = output / f"checkpoint-{step}"
        if target.is_dir():  # written at this very step; later ones of another run were refused at the start
            return
        push, self.args.push_to_hub = self.args.push_to_hub, False
        self._writing = True
        try:
            with checkpoints.explaining(target.name, output):
                super()._save_checkpoint(model, trial)
                self.accelerator.wait_for_everyone()
                self._put_in_place(output / checkpoints.UNFINISHED / target.name, target)
        finally:
            self._writing, self.args.push_to_hub = False, push
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            best = self.state.best_model_checkpoint
            rotate_checkpoints(self.args.output_dir, self.args.save_total_limit, best_model_checkpoint=best)
        if push:
            self._push_from_checkpoint(str(target))

    def _put_in_place(self, written: Path, target: Path) -> None:
        if self.state.best_global_step == self.state.global_step:
            self.state.best_model_checkpoint = str(target)
        if self.args.should_save:
            self.state.save_to_json(str(written / TRAINER_STATE_NAME))
            checkpoints.seal(written, checkpoints.Layout.of(self.args))
            checkpoints.move_into_place(written, target)

    def _init_training_state(
        self, max_steps: int, steps_per_epoch: int, num_epochs: int, resume_from_checkpoint: str | None, trial: Any
    ) -> tuple[int, int]:
        start = super()._init_training_state(max_steps, steps_per_epoch, num_epochs, resume_from_checkpoint, trial)
        if resume_from_checkpoint is None:
            return start
        if self.state.best_global_step:
            # Its path was written where the run was then; it lies beside the checkpoint wherever that is now.
            best = Path(resume_from_checkpoint).parent / f"checkpoint-{self.state.best_global_step}"
            if self.args.load_best_model_at_end and not best.is_dir():
                raise FileNotFoundError(
                    f"{resume_from_checkpoint} says that the best weights so far are in {best}, which is not there. "
                    "Put it back, or go on without choosing the best: --load_best_model_at_end false"
                )
            self.state.best_model_checkpoint = str(best) if best.is_dir() else None
        # transformers would take one step more, where a finished run ended in the middle of an epoch.
        return start if self.state.global_step < max_steps else (num_epochs, 0)

    def _get_dataloader(self, *args: Any, **kwargs: Any) -> Any:
        loader = super()._get_dataloader(*args, **kwargs)
        if loader.num_workers:
            # accelerate's loader wraps the one that starts the workers.
            inner = getattr(loader, "base_dataloader", loader)
            inner.worker_init_fn = partial(_heed_only_the_trainer, inner.worker_init_fn)
        return loader


def _heed_only_the_trainer(then: Callable[[int], None] | None, worker: int) -> None:
    """In a loader's worker: SIGTERM from the trainer ends it; one sent to all processes of the job does not.

    torch's own handler would end the worker either way, and training with it, before the step is done.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
    if then is not None:
        then(worker)


class StopOnSignal(TrainerCallback):
    """On SIGTERM finishes the step, writes a checkpoint and raises `Interrupted`, in all processes at the same step.

    The launcher's end counts as SIGTERM: `accelerate launch` of one process does not hand the signal on.
    (transformers' own `enable_jit_checkpoint` stops each process where it happens to be, before the step is taken.)

    Args:
        trainer: Whose processes have to agree.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self._asked = self._stopping = False
        self._launcher = launcher()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, SIGTERM is noted instead of ending the process; Python lets only the main thread do that."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: Any) -> None:
            self._asked = True

        before = signal.signal(signal.SIGTERM, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Asks for a checkpoint; at the end of an epoch after its evaluation, which belongs to it."""
        self._stopping = self._stopping or self._asked_anywhere()
        if self._stopping and state.epoch != int(state.epoch) and state.global_step < state.max_steps:
            control.should_save = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Asks for the checkpoint that `on_step_end` left to the end of the epoch."""
        if self._stopping:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ends training, now that the checkpoint is whole.

        Raises:
            Interrupted: Always, once SIGTERM came.
        """
        if self._stopping:
            raise Interrupted(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def _asked_anywhere(self) -> bool:
        asked = self._asked or (self._launcher is not None and os.getppid() != self._launcher)
        if self.trainer.args.world_size == 1:
            return asked
        flag = torch.tensor([int(asked)], device=self.trainer.args.device)
        return bool(self.trainer.accelerator.gather(flag).any())
