"""Eq. 3 as trained: terms, accumulation, stages, resuming, and two processes that equal one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import TrainerCallback

import train_fgsgl
from microgesture import arguments
from microgesture.data.clip_dataset import NO_SENTENCE, collate
from microgesture.losses.contrastive import info_nce, prototype_nce
from microgesture.recipes import read_recipe
from microgesture.trainer import FGSGLTrainer

ROOT = Path(__file__).resolve().parent.parent
PLAIN_STEP = [
    "--optim", "sgd", "--lr_scheduler_type", "constant", "--warmup_steps", "0", "--weight_decay", "0",
    "--max_grad_norm", "0", "--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false",
    "--ml_co", "false", "--learning_rate", "0.02",
]  # fmt: skip
# With a greater rate the loss is so steep that a last digit grows a hundredfold within a step.
GENTLE_STEP = [*PLAIN_STEP, "--learning_rate", "0.002"]


def build(argv: list[str]) -> FGSGLTrainer:
    model, data, training, _ = arguments.parse(argv)
    return train_fgsgl.build_trainer(model, data, training)[0]


def train(argv: list[str]) -> dict:
    """Runs the training script in this process; gives the run's record."""
    train_fgsgl.main(argv)
    return record(argv)


def record(argv: list[str]) -> dict:
    return json.loads((output(argv) / "metrics.json").read_text())


def output(argv: list[str]) -> Path:
    """The folder of a run. `arguments.parse` would, with --deepspeed, open a process group in this very process."""
    if "--output_dir" in argv:
        return Path(argv[len(argv) - argv[::-1].index("--output_dir")])
    return Path(read_recipe(Path(argv[0]))["output_dir"])


def micro_batches(trainer: FGSGLTrainer, *clips: list[int], **changes: torch.Tensor) -> list[dict]:
    """The micro-batches of one optimizer step, as the training loop gets them."""
    batches = [collate([trainer.train_dataset[i] for i in numbers]) | changes for numbers in clips]
    trainer.current_gradient_accumulation_steps = len(batches)
    return trainer.get_batch_samples(iter(batches), len(batches), trainer.args.device)[0]


def weights(argv: list[str]) -> dict[str, torch.Tensor]:
    return load_file(output(argv) / "model.safetensors")


def logged(argv: list[str], names=("loss", "cls", "cp", "fg")) -> list[dict[str, float]]:
    return [{n: e[n] for n in names if n in e} for e in record(argv)["log"] if "loss" in e]


# ---- one step ------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_weighted_sum_of_the_three_terms(tiny_arguments) -> None:
    trainer = build([*tiny_arguments, "--lambda_fg", "0.7", "--lambda_cp", "0.3", "--temperature", "0.1"])
    trainer.term_weights = trainer.weights_at(0.9)
    (batch,) = micro_batches(trainer, list(range(8)))
    assert (batch["sentence_ids"] == NO_SENTENCE).sum() == 1
    trainer.model.train()
    loss, _ = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    pixels = trainer.processing_class.normalize(batch["pixel_values"])
    has = batch["sentence_ids"] != NO_SENTENCE
    ids = batch["sentence_ids"][has]
    out = trainer.model(pixel_values=pixels, fine_texts=trainer.sentence_table[ids])
    cls = F.cross_entropy(out.logits, batch["labels"])
    cp = prototype_nce(out.class_embeds, out.category_embeds, batch["labels"], 0.1)
    fg = info_nce(out.fine_embeds[has], out.fine_text_embeds, 0.1, ids)
    torch.testing.assert_close(loss, cls + 0.3 * cp + 0.7 * fg)
    assert trainer.model.config.training_clips["fps"] == [28.0, 28.0]


@pytest.mark.parametrize(
    ("ablation", "terms"),
    [
        (["--fg_sa", "false"], {"cls", "cp"}),
        (["--cp_a", "false"], {"cls", "fg"}),
        (["--fg_sa", "false", "--cp_a", "false"], {"cls"}),
        (["--fg_text", "class"], {"cls", "cp", "fg"}),
        (["--cp_a", "false", "--semantic_loss", "orthogonal"], {"cls", "fg", "sem"}),
    ],
)
def test_ablations_train_their_own_terms(tiny_arguments, ablation: list[str], terms: set[str]) -> None:
    trainer = build([*tiny_arguments, *ablation])
    assert set(trainer.term_weights) == terms
    trainer.model.train()
    trainer.compute_loss(trainer.model, *micro_batches(trainer, [0, 1, 2, 3])).backward()
    without = [n for n, p in trainer.model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []  # every trained parameter takes part in every step


def test_class_level_text_gives_every_clip_the_sentence_of_its_class(tiny_arguments) -> None:
    trainer = build([*tiny_arguments, "--fg_text", "class"])
    pairs = {(trainer.train_dataset[i]["labels"], trainer.train_dataset[i]["sentence_ids"]) for i in range(24)}
    assert len(pairs) == 4
    assert not trainer.model.fgsgl.fine_text_proj.learned.any()


def test_clips_with_one_sentence_or_none_give_no_fine_loss_but_a_gradient_of_zero(tiny_arguments) -> None:
    trainer = build(tiny_arguments)
    trainer.term_weights = trainer.weights_at(0.9)
    trainer.model.train()
    for ids in ([3, 3, 3], [NO_SENTENCE] * 3, [2, NO_SENTENCE, 2]):
        trainer._window = {}
        batches = micro_batches(trainer, [0, 1, 2], sentence_ids=torch.tensor(ids))
        trainer.compute_loss(trainer.model, *batches).backward()
        assert float(trainer._window["fg"]) == 0.0
        assert float(trainer._window["fg_without_negative"]) == 1.0
    gradient = trainer.model.fgsgl.fine_proj.weight.grad
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_batches_are_normalised_on_the_device_and_augmented_by_seed_epoch_and_clip_alone(tiny_arguments) -> None:
    trainer = build([*tiny_arguments, "--augment", "true"])
    batch = collate([trainer.train_dataset[i] for i in (4, 9)])
    assert batch["pixel_values"].dtype == torch.uint8
    assert batch["pixel_values"].shape[1] == 4  # of the 12 that were read, those of this epoch's tempo
    one = trainer._pixels(batch)
    again = trainer._pixels(collate([trainer.train_dataset[9]]))
    torch.testing.assert_close(one[1:], again)
    trainer.train_dataset.set_epoch(1)
    assert not torch.equal(trainer._pixels(collate([trainer.train_dataset[i] for i in (4, 9)])), one)
    validation = collate([trainer.eval_dataset[0]])
    plain = trainer._pixels(validation)
    torch.testing.assert_close(plain, trainer.processing_class.normalize(validation["pixel_values"]))


# ---- a run ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "whole", "cut"),
    [
        # With the negatives of its own micro-batch only, fg is another term in a smaller one, so it is left out.
        (["--fg_sa", "false"], (8, 1), (2, 4)),
        (["--fg_negatives", "global"], (8, 1), (2, 4)),
        # 24 clips an epoch: 15 as 5 + 5 + 5, then 9 as 5 + 4.
        (["--fg_negatives", "global"], (15, 1), (5, 3)),
        (["--fg_negatives", "bank"], (15, 1), (5, 3)),
    ],
)
def test_accumulation_gives_the_loss_and_the_weights_of_one_batch(tiny_arguments, tmp_path, terms, whole, cut) -> None:
    runs = []
    for name, (size, steps) in (("whole", whole), ("cut", cut)):
        argv = [*tiny_arguments, *GENTLE_STEP, *terms, "--max_steps", "4", "--output_dir", str(tmp_path / name)]
        argv += ["--per_device_train_batch_size", str(size), "--gradient_accumulation_steps", str(steps)]
        train(argv)
        runs.append((logged(argv), weights(argv)))
    for a, b in zip(runs[0][0], runs[1][0], strict=True):
        assert a == pytest.approx(b, rel=1e-4)
        assert a["loss"] == pytest.approx(a["cls"] + 0.5 * a["cp"] + 0.5 * a.get("fg", 0), rel=1e-4)
    for name, value in runs[0][1].items():
        torch.testing.assert_close(value, runs[1][1][name], rtol=1e-4, atol=1e-6)


def test_logged_terms_add_up_over_a_window(tiny_arguments) -> None:
    run = train([*tiny_arguments, "--logging_steps", "3", "--gradient_accumulation_steps", "2", "--ml_co", "false"])
    entries = [e for e in run["log"] if "loss" in e]
    assert entries
    for entry in entries:
        assert entry["loss"] == pytest.approx(entry["cls"] + 0.5 * entry["cp"] + 0.5 * entry["fg"], rel=1e-4)


def test_no_logged_mean_is_of_two_stages_and_the_last_steps_are_logged(tiny_arguments) -> None:
    argv = [*tiny_arguments, "--num_train_epochs", "2", "--stage2_start", "0.4", "--save_strategy", "no"]
    argv += ["--load_best_model_at_end", "false"]
    every = {e["step"]: e for e in train(argv)["log"] if "fg" in e}
    run = train([*argv, "--logging_steps", "4", "--output_dir", f"{tiny_arguments[0]}.rare"])
    rare = {e["step"]: e for e in run["log"] if "fg" in e}
    assert {step: e["stage"] for step, e in rare.items()} == {4: 1, 5: 1, 8: 2, 12: 2}  # of 12 steps, 5 in stage 1
    first = 1
    for step, entry in rare.items():
        for name in ("loss", "cls", "cp", "fg"):
            mean = sum(every[s][name] for s in range(first, step + 1)) / (step + 1 - first)
            assert entry[name] == pytest.approx(mean, rel=1e-4, abs=1e-5)
        first = step + 1
    assert run["stage_losses"]["stage 1"]["fg"] == rare[5]["fg"]
    # Of ten steps the last two are no multiple of four.
    short = train([*argv, "--logging_steps", "4", "--max_steps", "10", "--output_dir", f"{tiny_arguments[0]}.short"])
    assert [e["step"] for e in short["log"] if "fg" in e] == [4, 8, 10]


def test_stages_switch_and_the_best_checkpoint_is_of_stage_two(tiny_arguments) -> None:
    run = train([*tiny_arguments, "--num_train_epochs", "4", "--stage2_start", "0.5"])
    stages = {entry["step"]: entry["stage"] for entry in run["log"] if "stage" in entry}
    assert stages == {step: 1 if step <= 12 else 2 for step in range(1, 25)}
    assert run["chosen_stage"] == 2
    assert run["chosen_step"] in (18, 24)
    for entry in run["log"]:
        if "loss" in entry:
            weight = 0.5 if entry["stage"] == 2 else 0.0
            assert entry["loss"] == pytest.approx(entry["cls"] + 0.5 * entry["cp"] + weight * entry["fg"], rel=1e-4)
    assert set(run["stage_losses"]) == {"stage 1", "stage 2"}
    validation = run["validation"]
    assert validation["total"] == 8
    assert validation["top1"] == validation["correct"] / 8


def test_of_equal_checkpoints_the_one_with_the_lower_loss_is_chosen(tiny_arguments) -> None:
    trainer = build([*tiny_arguments, "--ml_co", "false"])
    chosen = []
    for step, (top1, loss) in enumerate([(0.5, 1.0), (0.5, 1.2), (0.5, 0.9), (0.4, 0.1), (0.6, 2.0), (0.6, 2.0)], 1):
        trainer.state.global_step = step
        trainer.state.log_history.append({"eval_loss": loss, "step": step})
        trainer._determine_best_metric({"eval_top1": top1, "eval_loss": loss}, None)
        chosen.append(trainer.state.best_global_step)
    assert chosen == [1, 1, 3, 3, 5, 5]


@pytest.mark.parametrize("kind", ["orthogonal", "plain"])
def test_the_semantic_loss_of_the_streams_is_there_for_fg_sgl(tiny_arguments, kind) -> None:
    argv = [*tiny_arguments, "--semantic_loss", kind, "--lambda_semantic", "0.3", "--num_train_epochs", "4"]
    trainer = build(argv)
    inputs = micro_batches(trainer, [0, 5, 9])[0]
    outputs = trainer._forward(trainer.model.train(), inputs)
    table = trainer.targets
    assert trainer.model.semantic.weight.requires_grad
    if kind == "orthogonal":
        torch.testing.assert_close(table @ table.T, torch.eye(len(table)))
        expected = 1 - F.cosine_similarity(outputs.semantic_embeds, table[inputs["labels"]]).mean()
    else:
        expected = (outputs.semantic_embeds - table[inputs["labels"]]).square().mean()
    assert trainer._terms(outputs, inputs["labels"], inputs["share"])["sem"].item() == pytest.approx(expected.item())
    run = train(argv)
    entries = [e for e in run["log"] if "sem" in e]
    assert len(entries) == 24
    for e in entries:
        fg = 0.5 * e["fg"] if e["stage"] == 2 else 0
        assert e["loss"] == pytest.approx(e["cls"] + 0.5 * e["cp"] + fg + 0.3 * e["sem"], rel=1e-4)
    assert entries[-1]["sem"] < 0.7 * entries[0]["sem"]
    assert {row["part"] for row in run["parameters"]} >= {"semantic head"}
    assert "max_cosine" in run["sentences"]["targets"]
    loaded = train_fgsgl.FGSGLForVideoClassification.from_pretrained(output(argv))
    assert loaded(inputs["pixel_values"].float()).semantic_embeds.shape == (3, table.shape[1])


@pytest.mark.parametrize(
    "options",
    [["--augment", "true"], ["--vision_tuning", "lora"], ["--vision_tuning", "lora", "--semantic_loss", "plain"]],
)
def test_resuming_in_the_middle_equals_never_stopping_bit_for_bit(tiny_arguments, tmp_path, options) -> None:
    argv = [*tiny_arguments, *options, "--save_strategy", "steps", "--save_steps", "4", "--eval_strategy", "steps"]
    argv += ["--eval_steps", "4", "--save_total_limit", "9", "--load_best_model_at_end", "false"]
    whole, stopped = [[*argv, "--output_dir", str(tmp_path / name)] for name in ("whole", "stopped")]
    train(whole)
    trainer = build(stopped)
    trainer.add_callback(StopAt(8))
    trainer.train()
    train([*stopped, "--resume_from_checkpoint", "last"])  # step 8 of 12, in the middle of the second epoch
    assert logged(whole)[8:] == logged(stopped)[8:]
    expected, got = weights(whole), weights(stopped)
    assert all(torch.equal(value, got[name]) for name, value in expected.items())


class StopAt(TrainerCallback):
    """Ends a run after a step, as an interruption would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step


def test_no_pickled_training_arguments_and_no_token_on_disk(tiny_arguments) -> None:
    train([*tiny_arguments, "--num_train_epochs", "1"])
    assert not list(output(tiny_arguments).rglob("training_args.bin"))


# ---- two processes -------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch_command(processes: int, *script: object) -> list[str]:
    """Really starts so many processes, under gloo (`--cpu --num_processes 2` would silently start one)."""
    several = ["--multi_gpu"] if processes > 1 else []
    command = [sys.executable, "-m", "accelerate.commands.launch", *several, "--num_processes", str(processes)]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    return [*command, "--main_process_port", str(free_port()), *map(str, script)]


def rank_environments(processes: int) -> list[dict[str, str]]:
    """What a launcher tells each of its processes, so that they find each other."""
    meeting = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [meeting | {"RANK": rank, "LOCAL_RANK": rank} for rank in map(str, range(processes))]


def launch(argv: list[str]) -> None:
    command = launch_command(2, ROOT / "train_fgsgl.py", *argv)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.dist
@pytest.mark.parametrize(
    ("negatives", "one_process", "two_processes"),
    [
        # The sentences of the whole step are negatives: two processes with two micro-batches each equal one batch.
        ("global", (8, 1), (2, 2)),
        # Each micro-batch has its own negatives: two processes equal two accumulated micro-batches of one.
        ("batch", (4, 2), (4, 1)),
        pytest.param("bank", (8, 1), (2, 2), marks=pytest.mark.slow),
    ],
)
def test_two_processes_give_the_loss_and_gradient_of_one(
    tiny_arguments, tmp_path, negatives, one_process, two_processes
) -> None:
    """One epoch, so that the clip without a sentence is among them."""
    runs = []
    for name, (size, steps) in (("one", one_process), ("two", two_processes)):
        argv = [*tiny_arguments, *GENTLE_STEP, "--max_steps", "3", "--fg_negatives", negatives, "--output_dir"]
        argv += [str(tmp_path / name), "--per_device_train_batch_size", str(size)]
        runs.append([*argv, "--gradient_accumulation_steps", str(steps)])
    one, two = runs
    train(one)
    launch(two)
    assert record(two)["machine"]["processes"] == 2
    for a, b in zip(logged(one), logged(two), strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    start = build(one).model.state_dict()
    expected, got = weights(one), weights(two)
    moved = {name: (value.float() - start[name].float()).abs().max() for name, value in expected.items()}
    assert sum(float(m) > 0 for m in moved.values()) > 40
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")
