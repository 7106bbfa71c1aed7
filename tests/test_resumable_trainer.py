"""What `test_interruptions.py` does not need another process for."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

from test_trainer import PLAIN_STEP, build

from microgesture.resumable_trainer import StopOnSignal


def test_outside_the_main_thread_signals_are_left_alone_and_training_works(tiny_arguments) -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    class Look(StopOnSignal):
        def on_step_end(self, *args, **kwargs):
            seen.append(signal.getsignal(signal.SIGTERM))

    trainer = build([*tiny_arguments, *PLAIN_STEP, "--max_steps", "1"])
    trainer.add_callback(Look(trainer))
    with ThreadPoolExecutor(1) as thread:
        thread.submit(trainer.train).result()
    assert trainer.state.global_step == 1
    trainer.train()
    assert seen[0] == before != seen[1]
    assert signal.getsignal(signal.SIGTERM) == before
