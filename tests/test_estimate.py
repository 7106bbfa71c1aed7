"""What `--estimate` says against what is: FLOPs, memory, parameters and steps of networks that really run."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from accelerate.data_loader import BatchSamplerShard
from conftest import ROOT, TINY_VISION
from test_trainer import build
from torch.utils.data import BatchSampler, SequentialSampler
from torch.utils.flop_counter import FlopCounterMode

import train_fgsgl
from microgesture import arguments, estimate
from microgesture.losses.contrastive import info_nce, prototype_nce


def estimated(argv: list[str]) -> estimate.Estimate:
    """The estimate of a command line as an object; `train_fgsgl` makes the network of it."""
    kept = []
    whole = estimate.estimate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "estimate", lambda *args: kept.append(whole(*args)) or kept[-1])
        train_fgsgl.estimated(*arguments.parse([*argv, "--estimate"])[:3])
    return kept[0]


def network(argv: list[str]) -> Any:
    """The network of a command line as it is trained, with real weights."""
    model_args, data_args, training, _ = arguments.parse(argv)
    info = estimate.known_of_data(Path(data_args.dataset_dir))[0]
    config = train_fgsgl.build_config(
        model_args, info, train_fgsgl.network_fields(model_args), "sem" in training.terms
    )
    real = train_fgsgl.FGSGLForVideoClassification._from_config(
        config, attn_implementation=model_args.attn_implementation
    )
    model = train_fgsgl.adapt(real, training).train()
    if training.activation_checkpointing:
        model.activation_checkpointing_enable()
    return model


# ---- FLOPs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "terms"),
    [
        (["--vision_tuning", "lora"], "cls cp fg"),
        (["--vision_tuning", "lora", "--mlp_tuning", "vit_mlp", "--fg_sa", "false"], "cls cp"),
        (["--vision_tuning", "full", "--activation_checkpointing"], "cls cp fg"),
        (["--vision_tuning", "frozen", "--cp_a", "false", "--spatial_pooling", "attention"], "cls fg"),
    ],
)
def test_flops_are_those_that_torch_counts_in_a_real_step(tiny_arguments, options, terms) -> None:
    """The losses' own products are the only ones that the estimate leaves out."""
    argv = [*tiny_arguments, *options, "--attn_implementation", "eager"]
    model, clips = network(argv), 4
    labels = torch.arange(clips)
    with FlopCounterMode(display=False) as counter:
        fine_texts = torch.randn(clips, 128) if "fg" in terms else None
        out = model(pixel_values=torch.randn(clips, 4, 3, 32, 32), fine_texts=fine_texts)
        loss = F.cross_entropy(out.logits, labels)
        if "cp" in terms:
            loss = loss + prototype_nce(out.class_embeds, out.category_embeds, labels, 0.07)
        if "fg" in terms:
            loss = loss + info_nce(out.fine_embeds, out.fine_text_embeds, 0.07)
        loss.backward()
    again = "--activation_checkpointing" in options
    assert estimated(argv).flops[again] == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_a_step_has_the_flops_of_all_its_micro_batches_on_all_devices(tiny_arguments) -> None:
    one = estimated(tiny_arguments)
    many = estimated([*tiny_arguments, "--gradient_accumulation_steps", "3", "--world_size", "2"])
    assert many.flops == tuple(6 * figure for figure in one.flops)
    assert (one.clips_per_step, many.clips_per_step) == (4, 24)
    assert many.memory["gradients"][0] == 2 * one.memory["gradients"][0]  # the buckets of data parallel
    assert many.memory["activations"] == one.memory["activations"]


def test_fused_attention_counts_the_products_of_eager_and_one_more_in_the_backward_pass(tiny_arguments) -> None:
    eager, fused = (estimated([*tiny_arguments, "--attn_implementation", name]).flops[0] for name in ("eager", "sdpa"))
    clips, frames, tokens, width, layers = 4, 4, 17, 32, 2
    assert fused - eager == 2 * clips * frames * tokens**2 * width * layers


# ---- memory --------------------------------------------------------------------------------------------------------

REAL_STEPS = """
import json, resource, sys
import torch
sys.path[:0] = [{root!r}, {tests!r}]
from peak_memory import peak
from test_estimate import network

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def step(model, clips):
    config = model.config
    frames = torch.randint(256, (clips, config.num_frames, 3, config.image_size, config.image_size), dtype=torch.uint8)
    out = model(pixel_values=frames.float(), fine_texts=torch.randn(clips, config.text_config.hidden_size))
    loss = out.logits.sum() + out.class_embeds.sum() + out.category_embeds.sum()
    loss = loss + out.fine_embeds.sum() + out.fine_text_embeds.sum()
    del out
    loss.backward()

step(network([{recipe!r}, *({options})[0]]), 1)  # loads what the libraries load on first use
answers = []
for options in ({options}):
    before = resident()
    model = network([{recipe!r}, *options])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    step(model, 4)
    answers.append(1024 * peak() - before)
    del model, optimizer
print("ANSWERS" + json.dumps(answers))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the resident memory from /proc")
def test_memory_is_what_a_real_process_takes(tiny_arguments) -> None:
    vision = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512,
              "image_size": 224, "patch_size": 14, "attention_bias": True}  # fmt: skip
    argv = [*tiny_arguments, "--vision_config", json.dumps(vision), "--vision_tuning", "lora"]  # 4 clips of 4 frames
    # The smaller one first, as a process only knows the greatest memory that it ever had.
    options = [["--activation_checkpointing", "true", *argv[1:]], argv[1:]]
    script = REAL_STEPS.format(root=str(ROOT), tests=str(ROOT / "tests"), options=options, recipe=argv[0])
    # Freed blocks go back to the system, so that what is resident is what is in use.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    checkpointed, plain = json.loads(done.stdout.split("ANSWERS")[1])
    expected = [sum(both) for both in zip(*estimated(argv).memory.values(), strict=True)]
    assert plain > 2.5 * checkpointed  # otherwise this test could not tell the two apart
    assert expected == pytest.approx([plain, checkpointed], rel=0.25)


def test_weights_gradients_and_moments_are_those_of_the_network(tiny_arguments) -> None:
    argv = [*tiny_arguments, "--vision_tuning", "lora"]
    model, memory = network(argv), estimated(argv).memory
    trained = sum(p.numel() * 4 for p in model.parameters() if p.requires_grad)
    kept = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    assert memory["weights"] == (kept, kept)
    assert memory["gradients"] == (trained, trained)
    assert memory["optimizer states"] == (2 * trained, 2 * trained)
    narrow = estimated([*argv, "--bf16", "true", "--adapter_dtype", "bfloat16"]).memory
    assert narrow["weights"][0] < kept
    assert narrow["optimizer states"][0] < 2 * trained
    assert memory["frames"][0] == 5 * 4 * 4 * 3 * 32 * 32  # a byte as they travel, four once normalised


def test_a_gpu_keeps_dropouts_mask_in_a_byte_per_value(tiny_arguments) -> None:
    """A CPU keeps it in four. The difference per block, from two depths, as only the peak of the whole is told."""
    argv = [*tiny_arguments, "--vision_tuning", "lora"]

    def kept(cpu: str, depth: int) -> int:
        vision = json.dumps(TINY_VISION | {"num_hidden_layers": depth})
        return estimated([*argv, "--use_cpu", cpu, "--vision_config", vision]).memory["activations"][0]

    of_blocks = [kept(cpu, 6) - kept(cpu, 2) for cpu in ("true", "false")]
    values = 4 * 4 * 17 * (5 * 32 + 64)  # clips, frames, tokens; inputs of the six adapted linears of a block
    assert of_blocks[0] - of_blocks[1] == 4 * 3 * values


# ---- steps ---------------------------------------------------------------------------------------------------------


def test_steps_are_the_trainers(tiny_arguments) -> None:
    trainer = build(tiny_arguments)
    args = trainer.args
    for batch, accumulation, drop_last in ((4, 1, False), (5, 2, False), (7, 3, False), (7, 1, True), (16, 4, False)):
        args.per_device_train_batch_size = trainer._train_batch_size = batch
        args.gradient_accumulation_steps, args.dataloader_drop_last = accumulation, drop_last
        _, per_epoch, *_, steps = trainer.set_initial_training_values(args, trainer.get_train_dataloader())
        assert estimate.steps_per_epoch(24, args, devices=1) == per_epoch
        assert math.ceil(args.num_train_epochs * per_epoch) == steps


@pytest.mark.parametrize("drop_last", [False, True])
def test_steps_on_several_devices_are_accelerates(tiny_arguments, drop_last: bool) -> None:
    args = arguments.parse([*tiny_arguments, "--dataloader_drop_last", str(drop_last)])[2]
    for clips in range(8, 70):
        for devices in (2, 3):
            sampler = BatchSampler(SequentialSampler(range(clips)), 4, drop_last)
            shard = len(BatchSamplerShard(sampler, devices, 0, even_batches=not drop_last))
            assert estimate.steps_per_epoch(clips, args, devices) == max(1, shard), (clips, devices)


def test_smg_has_39_steps_per_epoch() -> None:
    """2,452 clips (Sec. IV-A), 8 x 4 x 2 a step: 154 batches on each device, 39 groups of 4."""
    args = arguments.parse([str(ROOT / "recipes" / "smg.yaml"), "--estimate"])[2]
    assert estimate.steps_per_epoch(2452, args, args.recipe_world_size) == 39


# ---- what is not there yet -----------------------------------------------------------------------------------------


def test_the_papers_recipe_is_estimated_without_data_network_or_gpu(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    train_fgsgl.main([str(ROOT / "recipes" / "smg.yaml"), "--estimate", "--per_device_train_batch_size", "1"])
    said = capsys.readouterr().out
    assert "vision tower                 0   304,012,288" in said  # InternViT-300M
    assert "LoRA adapters        3,538,944" in said
    assert "projector           33,570,816             0" in said
    assert "activation checkpointing *" in said
    assert "clips of a step: 8" in said
    assert "steps per epoch: 307\nsteps of the run: 4,605" in said  # 2,452 clips are known without the data
    assert "cannot get config.json of OpenGVLab/InternVL2_5-8B" in said
    assert "the published sizes of InternVL2.5-8B are assumed: InternViT-300M, text of width 4,096" in said
    assert list(tmp_path.iterdir()) == []


def test_a_prepared_data_set_gives_classes_clips_and_steps(tiny_arguments, capsys) -> None:
    train_fgsgl.main([*tiny_arguments, "--estimate"])
    said = capsys.readouterr().out
    assert "steps per epoch: 6\nsteps of the run: 12" in said
    assert "plain *" in said
    assert "unknown" not in said
    train_fgsgl.main([*tiny_arguments, "--estimate", "--max_steps", "5"])
    assert "steps of the run: 5" in capsys.readouterr().out


def test_an_unprepared_one_is_known_by_what_is_checked_in() -> None:
    info, clips, notes = estimate.known_of_data(Path("nowhere/utd_mhad"))
    assert (len(info.classes), clips, notes) == (27, 323, [])
    info, clips, notes = estimate.known_of_data(Path("nowhere/synthetic"))
    assert (info.name, clips) == ("synthetic", None)
    assert notes == ["training clips: unknown, and with them the steps, until nowhere/synthetic is prepared"]
    info, clips, notes = estimate.known_of_data(Path("nowhere/mine"))
    assert (len(info.classes), clips) == (32, None)
    assert notes[0] == "classes: unknown until nowhere/mine is prepared; 32 are assumed"
