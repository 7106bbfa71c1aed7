"""Folders: what is whole, what is gone on from, what is never overwritten, and what a full disk says."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors import SafetensorError

from microgesture import checkpoints
from microgesture.checkpoints import CheckpointError, Layout

MODEL = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json")
PLAIN = Layout(processes=1, clips_per_step=8, sharding="none")


def write(output: Path, step: int, layout: Layout = PLAIN, **files: str) -> Path:
    folder = output / f"checkpoint-{step}"
    (folder / "shards").mkdir(parents=True)
    ranks = [""] if layout.processes == 1 else [f"_{n}" for n in range(layout.processes)]
    for name in [f"rng_state{rank}.pth" for rank in ranks]:
        (folder / name).write_text("dice")
    (folder / "model.safetensors").write_text("weights")
    (folder / "shards" / "optimizer").write_text("momentum")
    checkpoints.seal(folder, layout)
    return folder


def asked(output: Path, **fields) -> SimpleNamespace:
    base = {
        "output_dir": str(output), "resume": True, "resume_from_checkpoint": None, "deepspeed_plugin": None,
        "world_size": 1, "train_batch_size": 4, "gradient_accumulation_steps": 2,
    }  # fmt: skip
    return SimpleNamespace(**(base | fields))


def test_a_checkpoint_is_whole_only_with_every_byte_of_every_file(tmp_path) -> None:
    folder = write(tmp_path, 4)
    assert checkpoints.defect(folder) is None
    (folder / "note.txt").write_text("more is no harm")
    assert checkpoints.defect(folder) is None
    (folder / "model.safetensors").write_text("weig")
    assert checkpoints.defect(folder) == "model.safetensors has 4 bytes instead of 7"
    (folder / "model.safetensors").write_text("weights")
    (folder / "shards" / "optimizer").unlink()
    assert checkpoints.defect(folder) == "shards/optimizer is missing"
    (folder / "complete.json").write_text('{"files": {')
    assert checkpoints.defect(folder) == "its complete.json cannot be read"
    (folder / "complete.json").unlink()
    assert "it has no complete.json" in str(checkpoints.defect(folder))


def test_the_last_whole_one_is_found_by_number_and_a_damaged_later_one_is_kept_aside(tmp_path, caplog) -> None:
    for step in (9, 10, 100):
        write(tmp_path, step)
    (tmp_path / "checkpoint-x").mkdir()
    (tmp_path / "checkpoint-100" / "model.safetensors").unlink()
    (tmp_path / "_unfinished" / "checkpoint-101").mkdir(parents=True)
    assert checkpoints.find(asked(tmp_path)) == tmp_path / "checkpoint-10"
    checkpoints.tidy(tmp_path)
    assert not (tmp_path / "_unfinished").exists()
    assert sorted(checkpoints.folders(tmp_path)) == [9, 10]
    assert (tmp_path / "broken-checkpoint-100" / "shards" / "optimizer").is_file()
    assert "model.safetensors is missing" in caplog.text
    assert checkpoints.find(asked(tmp_path, resume=False, resume_from_checkpoint="last")).name == "checkpoint-10"


def test_a_run_that_left_no_checkpoint_starts_from_the_beginning_and_says_so(tmp_path, caplog) -> None:
    caplog.set_level(logging.WARNING)
    assert checkpoints.find(asked(tmp_path / "nothing")) is None
    assert "no checkpoint yet: starting from the beginning" in caplog.text
    assert checkpoints.find(asked(tmp_path, resume=False)) is None


@pytest.mark.parametrize("word", ["last", "True"])
def test_the_last_checkpoint_of_a_run_that_has_none_is_an_error(tmp_path, word: str) -> None:
    message = rf"--resume_from_checkpoint {word} asks for the last .*nothing holds none.*--output_dir.*say --resume,"
    with pytest.raises(FileNotFoundError, match=message):
        checkpoints.find(asked(tmp_path / "nothing", resume=False, resume_from_checkpoint=word))
    assert checkpoints.find(asked(tmp_path / "nothing", resume_from_checkpoint=word)) is None  # with --resume


def test_checkpoints_that_would_be_mixed_or_overwritten_are_refused(tmp_path) -> None:
    write(tmp_path, 4)
    write(tmp_path, 8)
    with pytest.raises(FileExistsError, match=r"already holds checkpoints of a run \(checkpoint-8\).*--resume"):
        checkpoints.find(asked(tmp_path, resume=False))
    earlier = asked(tmp_path, resume=False, resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    with pytest.raises(FileExistsError, match=r"later than .*checkpoint-4 \(checkpoint-8\), which are never overwrit"):
        checkpoints.find(earlier)
    earlier.output_dir = str(tmp_path / "branch")
    assert checkpoints.find(earlier) == tmp_path / "checkpoint-4"


def test_without_a_whole_checkpoint_nothing_is_started_over_silently(tmp_path) -> None:
    (write(tmp_path, 4) / "complete.json").unlink()
    with pytest.raises(ValueError, match=r"checkpoint-4 is no whole checkpoint: it has no complete\.json.*delete it"):
        checkpoints.find(asked(tmp_path))
    with pytest.raises(ValueError, match="is no whole checkpoint: there is no such folder"):
        checkpoints.find(asked(tmp_path / "b", resume_from_checkpoint=str(tmp_path / "checkpoint-5")))


@pytest.mark.parametrize(
    ("then", "now", "message"),
    [
        (Layout(2, 8, "ZeRO-2"), {}, r"sharding ZeRO-2, and this start has none.*--init_from .*checkpoint-4"),
        (
            Layout(2, 8, "ZeRO-2"),
            {"deepspeed_plugin": SimpleNamespace(zero_stage=2)},
            r"ZeRO-2 shards of 2 processes, and this start has 1;.*--num_processes 2, or start from its weights.*--i",
        ),
        (
            Layout(1, 8, "none"),
            {"world_size": 2},
            r"with 8 clips per step \(1 processes\).*has 16 \(2 processes\).*is 8",
        ),
    ],
)
def test_another_layout_is_an_error_with_both_sizes_and_the_cure(tmp_path, then: Layout, now: dict, message) -> None:
    write(tmp_path, 4, then)
    with pytest.raises(ValueError, match=message):
        checkpoints.find(asked(tmp_path, **now))


def test_two_processes_go_on_as_one_with_the_same_clips_per_step(tmp_path, caplog) -> None:
    write(tmp_path, 4, Layout(2, 8, "none"))
    assert checkpoints.find(asked(tmp_path)) is not None
    assert "made by 2 processes and goes on with 1" in caplog.text


def test_weights_alone_are_nothing_to_go_on_from(tmp_path) -> None:
    folder = write(tmp_path, 4)
    for name in ("rng_state.pth", "complete.json"):
        (folder / name).unlink()
    checkpoints.seal(folder, PLAIN)
    with pytest.raises(ValueError, match="was written with save_only_model"):
        checkpoints.find(asked(tmp_path))


def test_a_process_that_wrote_elsewhere_is_named(tmp_path) -> None:
    folder = write(tmp_path, 4, Layout(3, 8, "none"))
    (folder / "rng_state_1.pth").unlink()
    with pytest.raises(FileNotFoundError, match=r"only processes \[0, 2\] of 3 .*a disk that all machines share"):
        checkpoints.seal(folder, Layout(3, 8, "none"))


def test_the_weights_leave_first_and_come_last(tmp_path, monkeypatch) -> None:
    def publish(content: str) -> None:
        with checkpoints.publishing(tmp_path) as folder:
            (folder / "adapter").mkdir()
            for name in ("config.json", *MODEL, "zebra.py", "adapter/model"):
                (folder / name).write_text(content)

    publish("one")
    seen = []
    replace = os.replace

    def watched(source, target) -> None:
        seen.append(Path(target).name)
        assert not (tmp_path / MODEL[-1]).exists()
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    publish("two")
    assert seen == ["adapter", "config.json", "zebra.py", *MODEL]
    assert {path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == {"two"}
    assert not (tmp_path / "_unfinished").exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "x"), "the disk is full"),
        (OSError(errno.EDQUOT, "x"), "your share of the disk"),
        (OSError(errno.EFBIG, "x"), "a file would be larger than is allowed here"),
        (PermissionError(errno.EACCES, "x"), "Permission denied"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full"),
    ],
)
def test_what_could_not_be_written_is_said_with_what_remains(tmp_path, error: Exception, reason: str) -> None:
    write(tmp_path, 4)
    (tmp_path / "_unfinished" / "checkpoint-8").mkdir(parents=True)
    message = rf"{reason}.*checkpoint-4 is whole and unharmed.*--resume"
    with pytest.raises(CheckpointError, match=message) as failed, checkpoints.explaining("checkpoint-8", tmp_path):
        raise error
    assert failed.value.__cause__ is error
    assert not (tmp_path / "_unfinished").exists()


def test_an_error_that_is_not_the_disks_stays_what_it_is(tmp_path) -> None:
    with pytest.raises(RuntimeError, match="a fault in the code"), checkpoints.explaining("checkpoint-8", tmp_path):
        raise RuntimeError("a fault in the code")


def test_the_manifest_says_what_the_run_was(tmp_path) -> None:
    folder = write(tmp_path, 4, Layout(2, 64, "ZeRO-3"))
    about = json.loads((folder / "complete.json").read_text())
    assert about["layout"] == {"processes": 2, "clips_per_step": 64, "sharding": "ZeRO-3"}
    assert about["files"]["shards/optimizer"] == len("momentum")
