"""`microgesture predict` over very many files or long ones: no more memory; after a kill, each file once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, moving_square, write_video
from test_prediction import checkpoint  # noqa: F401 - a fixture

MANY = 1000
PROGRAM = """
import sys
from microgesture import cli
from peak_memory import peak
status = cli.main(sys.argv[1:])
print("PEAK", peak())
sys.exit(status)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc"),
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """A folder of ten and one of many names of one small clip."""
    out = tmp_path_factory.mktemp("videos")
    write_video(out / "one.mp4", moving_square("up", np.random.default_rng(0), size=16), 20)
    for count in (10, MANY):
        (out / str(count)).mkdir()
        for number in range(count):
            os.link(out / "one.mp4", out / str(count) / f"{number:05d}.mp4")
    return out


def start(*argv: object) -> subprocess.Popen:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", PROGRAM, "predict", *map(str, argv), "--device", "cpu"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(program: subprocess.Popen) -> tuple[str, int]:
    """What a run that succeeds prints, and its peak of memory in KiB."""
    out, errors = program.communicate(timeout=280)
    assert program.returncode == 0, errors[-3000:]
    return out, int(re.search(r"PEAK (\d+)", out)[1])


def recognised(journal: Path) -> list[str]:
    return [json.loads(line)["file"] for line in journal.read_text(encoding="utf-8").splitlines()[1:]]


def test_many_files_need_no_more_memory_than_ten(checkpoint, videos, tmp_path) -> None:  # noqa: F811
    peaks = []
    for count in (10, MANY):
        tables = ("--json", tmp_path / f"{count}.jsonl", "--csv", tmp_path / f"{count}.csv")
        peaks.append(finish(start(checkpoint, videos / str(count), *tables))[1])
        assert len(set(recognised(tmp_path / f"{count}.jsonl"))) == count
    assert peaks[1] < peaks[0] + (20 << 10), peaks


def test_a_longer_recording_needs_hardly_more_memory(checkpoint, tmp_path) -> None:  # noqa: F811
    """Ten times as many frames: kept as decoded, they would be 0.9 GiB more."""
    peaks = []
    for count in (150, 1500):
        picture = moving_square("up", np.random.default_rng(0), size=360)[0]
        write_video(tmp_path / f"{count}.mp4", np.broadcast_to(picture[:, :1], (count, 360, 640, 3)), 10)
        journal = tmp_path / f"{count}.jsonl"
        peaks.append(finish(start(checkpoint, tmp_path / f"{count}.mp4", "--spot", "--json", journal))[1])
        (result,) = (json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()[1:])
        assert result["seconds"] == count / 10
        assert max(segment["end"] for segment in result["segments"]) > count / 10 - 1
    assert peaks[1] < peaks[0] + (60 << 10), peaks


def test_a_killed_run_goes_on_where_it_stopped(checkpoint, videos, tmp_path) -> None:  # noqa: F811
    journal = tmp_path / "found.jsonl"
    killed = start(checkpoint, videos / str(MANY), "--json", journal)
    while not journal.exists() or journal.read_text(encoding="utf-8").count("\n") < MANY // 4:
        assert killed.poll() is None, killed.communicate()[1][-3000:]
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    done = recognised_whole(journal)
    assert MANY // 4 <= len(done) + 1 < MANY
    out, _ = finish(start(checkpoint, videos / str(MANY), "--json", journal))
    found = recognised(journal)
    assert len(found) == len(set(found)) == MANY
    assert found[: len(done)] == done
    assert out.count(".mp4\n") == MANY - len(done)


def recognised_whole(journal: Path) -> list[str]:
    """The files of a journal whose last line may be torn."""
    lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)[1:]
    return [json.loads(line)["file"] for line in lines if line.endswith("\n")]
