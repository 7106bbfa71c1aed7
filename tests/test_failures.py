"""A loss that is no number stops every process and spoils nothing; a full memory says what helps."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import fields

import pytest
import torch
from accelerate.utils.memory import should_reduce_batch_size
from safetensors.torch import load_file
from test_trainer import PLAIN_STEP, ROOT, build, launch_command, output

from microgesture.arguments import DataArguments, FGSGLTrainingArguments, ModelArguments
from microgesture.failures import MEMORY_ADVICE, NONFINITE_FILE

EACH_STEP = ["--save_strategy", "steps", "--save_steps", "1", "--eval_strategy", "no", "--save_total_limit", "9",
             "--load_best_model_at_end", "false", "--ml_co", "false", "--num_train_epochs", "1"]  # fmt: skip


def spoil_one_sentence(trainer) -> tuple[int, list[int]]:
    """Makes the embedding of a sentence useless; gives its number, and the clips that have it."""
    number = trainer.train_dataset.sentence_ids[17]
    trainer.sentence_table[number] = float("nan")
    return number, [clip for clip, i in enumerate(trainer.train_dataset.sentence_ids) if i == number]


def test_a_loss_that_is_no_number_stops_before_the_weights_change(tiny_arguments) -> None:
    argv = [*tiny_arguments, *EACH_STEP, "--gradient_accumulation_steps", "2", "--per_device_train_batch_size", "2"]
    trainer = build(argv)
    bad = spoil_one_sentence(trainer)[1]
    with pytest.raises(
        FloatingPointError, match=r"the loss of optimizer step \d .*not a finite number.*learning_rate"
    ):
        trainer.train()
    found = json.loads((output(argv) / NONFINITE_FILE).read_text(), parse_constant=pytest.fail)
    assert (found["what"], found["step"]) == ("loss", trainer.state.global_step + 1)
    (process,) = found["processes"]
    batches = process["micro_batches"]
    assert [len(batch["clip_ids"]) for batch in batches] == [2, 2]
    for batch in batches:
        assert set(batch["terms"]) == {"loss", "cls", "cp", "fg", "fg_keys", "fg_without_negative"}
        assert batch["clips"] == [f"{clip:03d}.mp4" for clip in batch["clip_ids"]]
        spoilt = bool(set(batch["clip_ids"]) & set(bad))
        assert (batch["terms"]["loss"] == "nan") is spoilt
        assert isinstance(batch["terms"]["cls"], float)
    assert any(batch["terms"]["loss"] == "nan" for batch in batches)
    assert found["step"] > 1  # so that there is a checkpoint to be kept good
    last = load_file(output(argv) / f"checkpoint-{found['step'] - 1}" / "model.safetensors")
    now = trainer.model.state_dict()
    assert all(torch.equal(value, now[name]) for name, value in last.items())
    assert not (output(argv) / f"checkpoint-{found['step']}").exists()


def test_a_gradient_that_is_no_number_stops_before_the_weights_change(tiny_arguments) -> None:
    argv = [*tiny_arguments, *EACH_STEP, "--max_grad_norm", "0"]
    trainer = build(argv)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.model.classifier.bias.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(FloatingPointError, match="the gradient of optimizer step 1 "):
        trainer.train()
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    found = json.loads((output(argv) / NONFINITE_FILE).read_text())
    assert (found["what"], len(found["processes"][0]["micro_batches"])) == ("gradient", 1)
    assert isinstance(found["processes"][0]["micro_batches"][0]["terms"]["loss"], float)


SPOIL_THE_SECOND_PROCESS = """
import sys
import train_fgsgl
from microgesture import arguments

model, data, training, _ = arguments.parse(sys.argv[1:])
trainer, _ = train_fgsgl.build_trainer(model, data, training)
if training.process_index == 1:
    trainer.sentence_table.fill_(float("nan"))
trainer.train()
"""


@pytest.mark.slow
@pytest.mark.dist
def test_where_one_process_meets_it_all_stop(tiny_arguments, tmp_path) -> None:
    script = tmp_path / "spoil.py"
    script.write_text(SPOIL_THE_SECOND_PROCESS)
    argv = [*tiny_arguments, *PLAIN_STEP, "--max_steps", "2"]
    command = launch_command(2, script, *argv)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.count("FloatingPointError: the loss of optimizer step 1 ") == 2  # each process says so itself
    found = json.loads((output(argv) / NONFINITE_FILE).read_text())
    one, two = found["processes"]
    assert isinstance(one["micro_batches"][0]["terms"]["loss"], float)
    assert two["micro_batches"][0]["terms"]["loss"] == "nan"
    assert not set(one["micro_batches"][0]["clip_ids"]) & set(two["micro_batches"][0]["clip_ids"])


def test_a_full_memory_names_the_settings_that_help(tiny_arguments) -> None:
    trainer = build(tiny_arguments)

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    trainer.model.fgsgl.multi_modal_projector.forward = full
    with pytest.raises(torch.OutOfMemoryError) as stop:
        trainer.train()
    text = str(stop.value)
    assert text.startswith("CUDA out of memory. Tried to allocate 20.00 GiB.\n")
    for flag in ("per_device_train_batch_size", "gradient_accumulation_steps", "activation_checkpointing", "bf16"):
        assert f"--{flag}" in text
    assert should_reduce_batch_size(stop.value)  # transformers' own auto_find_batch_size still knows it


def test_the_settings_that_help_exist() -> None:
    known = {f.name for kind in (ModelArguments, DataArguments, FGSGLTrainingArguments) for f in fields(kind)}
    assert set(re.findall(r"--(\w+)", MEMORY_ADVICE)) <= known
