"""`--dry_run`: two steps with all that belongs to a run, and nothing of it left behind."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_trainer import build, output

import train_fgsgl
from microgesture import arguments, dry_run
from microgesture.data import load
from microgesture.data.clip_dataset import NO_SENTENCE
from microgesture.data.clips import DatasetInfo


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_it_runs_both_stages_evaluates_saves_and_leaves_nothing(tiny_arguments, tuning, monkeypatch, capsys) -> None:
    folder = output(tiny_arguments)
    folder.mkdir()
    (folder / "metrics.json").write_text("an earlier run")
    (folder / "checkpoint-9").mkdir()  # a run would refuse this folder
    written, trainers = {}, []
    export, building = train_fgsgl.export, train_fgsgl.build_trainer

    def build_and_keep(*args):
        trainer, about = building(*args)
        trainers.append(trainer)
        return trainer, about

    def export_and_look(trainer, *args):
        export(trainer, *args)
        written.update(files(Path(trainer.args.output_dir)))

    monkeypatch.setattr(train_fgsgl, "export", export_and_look)
    monkeypatch.setattr(train_fgsgl, "build_trainer", build_and_keep)
    recipe = ["--gradient_accumulation_steps", "3", "--activation_checkpointing", "--vision_tuning", tuning]
    train_fgsgl.main([*tiny_arguments, *recipe, "--dry_run"])

    log = [entry for entry in trainers[0].state.log_history if "stage" in entry]
    assert [entry["stage"] for entry in log] == [1, 2]
    assert log[1]["loss"] == pytest.approx(log[1]["cls"] + 0.5 * log[1]["cp"] + 0.5 * log[1]["fg"], rel=1e-4)
    assert log[1]["fg"] > 0
    assert sum("eval_top1" in entry for entry in trainers[0].state.log_history) == 1
    assert {"model.safetensors", "README.md", "checkpoint-2/optimizer.pt"} <= set(written)
    assert files(folder) == {"metrics.json": b"an earlier run"}
    assert sorted(p.name for p in folder.parent.iterdir()) == ["cache", "out", "recipe.yaml"]
    said = capsys.readouterr().out
    assert re.search(r"the recipe runs: 2 steps on two clips took \d+\.\d\d s, then \d+\.\d\d s; peak memory \d", said)
    assert "puts 4 clips into a forward" in said


def test_only_where_estimate_knows_the_network_it_is_named(tiny_arguments, monkeypatch, capsys) -> None:
    monkeypatch.setattr(train_fgsgl, "run", lambda *args, **kwargs: None)
    for stream, named in (([], True), (["--stream", "tsm"], False)):
        train_fgsgl.main([*tiny_arguments, *stream, "--dry_run"])
        said = capsys.readouterr().out
        assert "puts 4 clips into a forward" in said
        assert ("--estimate" in said) == named


def test_what_it_wrote_goes_also_when_it_fails(tiny_arguments, monkeypatch) -> None:
    def fail(*args) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(train_fgsgl, "export", fail)
    with pytest.raises(RuntimeError, match="no"):
        train_fgsgl.main([*tiny_arguments, "--dry_run"])
    assert sorted(p.name for p in output(tiny_arguments).parent.iterdir()) == ["cache", "recipe.yaml"]


def test_the_two_training_clips_have_different_sentences(tiny_dataset, tiny_arguments) -> None:
    data, info = load(tiny_dataset), DatasetInfo.read(tiny_dataset)
    for fg_text in ("fine", "class"):
        two = dry_run.two_clips(data, info, fg_text)
        assert {name: len(split) for name, split in two.items()} == {"train": 2, "validation": 2, "test": 2}
        trainer = build([*tiny_arguments, "--dry_run", "--fg_text", fg_text])
        ids = {trainer.train_dataset[i]["sentence_ids"] for i in range(len(trainer.train_dataset))}
        assert len(ids) == 2
        assert NO_SENTENCE not in ids
    alone = data.copy()
    alone["train"] = data["train"].select([5, 5, 5])  # the clip without FG-Text
    assert len(dry_run.two_clips(alone, info, "fine")["train"]) == 2


def test_clips_that_may_be_mirrored_are_tried_first(tiny_dataset) -> None:
    data, info = load(tiny_dataset), DatasetInfo.read(tiny_dataset)
    last = info.classes[-1].name
    info = replace(info, classes=[replace(c, flip_label=last if c.name == last else None) for c in info.classes])
    two = dry_run.two_clips(data, info, "class")["train"]
    assert two["label"][0] == len(info.classes) - 1 != data["train"]["label"][0]
    assert two["label"][1] != two["label"][0]


def test_it_overrides_what_would_make_it_long_or_public(tiny_arguments) -> None:
    argv = ["--dry_run", "--max_steps", "900", "--push_to_hub", "true", "--eval_strategy", "no", "--report_to", "all"]
    training = arguments.parse([*tiny_arguments, *argv, "--resume_from_checkpoint", "last"])[2]
    assert (training.max_steps, training.push_to_hub, training.resume_from_checkpoint) == (2, False, None)
    assert (training.report_to, training.eval_strategy, training.eval_steps) == ([], "steps", 2)


def test_peak_memory_is_said_or_not_measured(monkeypatch) -> None:
    assert not torch.cuda.is_available()
    assert re.fullmatch(r"\d+\.\d\d GB of this process", dry_run._peak_memory())
    monkeypatch.setattr(dry_run, "resource", None)
    assert dry_run._peak_memory() == "not measured on this system"
