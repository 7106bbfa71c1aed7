"""The GPU benchmark's own path on a CPU, tiny: that it runs whole, and what it says where there is no GPU."""

from __future__ import annotations

import sys

import pytest
import torch
from conftest import ROOT
from torch._dynamo.utils import counters

sys.path.insert(0, str(ROOT / "benchmarks"))
import bench_gpu


def test_every_row_is_run_and_printed(capsys) -> None:
    counters.clear()
    bench_gpu.main(["--device", "cpu", "--tiny", "--batches", "2"])
    assert counters["stats"]["unique_graphs"] == 1 + 2 + 2  # a first block trains without a gradient of its input
    assert not counters["graph_break"]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == [
        "mode",
        "clips",
        "activation checkpointing",
        "torch.compile",
        "clips/s",
        "peak GB",
        "utilisation",
    ]
    settings = [("inference", "no"), ("training", "no"), ("training", "yes")]
    assert [tuple(row[:4]) for row in cells[2:]] == [
        (mode, "2", again, compiled) for compiled in ("no", "yes") for mode, again in settings
    ]
    assert all(float(row[4]) > 0 and row[6].endswith("%") for row in cells[2:])


def test_flops_of_a_forward_are_counted_as_they_are() -> None:
    """By hand: two blocks of width 64 over 17 tokens, patches, projector, heads, prototypes."""
    bench = bench_gpu.Bench("cpu", tiny=True)
    images, tokens, width = 8, 17, 64
    block = 2 * tokens * width * (4 * width + 2 * 128) + 2 * 2 * tokens**2 * width
    patches, projector = 2 * 16 * 3 * 14 * 14 * width, 2 * 4 * (256 * 96 + 96 * 96)
    heads = 2 * 256 * (64 + 96) + 2 * 96 * 256 * bench_gpu.CLASSES + 2 * 96 * bench_gpu.CLASSES
    assert bench.flops[False] == images * (2 * block + patches + projector) + heads


def test_a_row_that_cannot_be_run_says_so_and_time_ends_the_rest(monkeypatch, capsys) -> None:
    def fail(self, row):
        raise torch.OutOfMemoryError("CUDA out of memory") if row.training else RuntimeError("no kernel\nmore")

    monkeypatch.setattr(bench_gpu.Bench, "measure", fail)
    bench_gpu.main(["--device", "cpu", "--tiny", "--batches", "2"])
    said = capsys.readouterr().out
    assert "| inference | 2 | no | no | failed: no kernel | – | – |" in said
    assert "| training | 2 | no | no | out of memory | – | – |" in said
    bench_gpu.main(["--device", "cpu", "--tiny", "--batches", "2", "--minutes", "0"])
    assert capsys.readouterr().out.count("not run: out of time") == 6


def test_without_a_gpu_it_says_what_to_do(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch sees no CUDA device here"):
        bench_gpu.main([])


def test_compiled_rows_come_last_and_the_papers_batch_first_among_them() -> None:
    rows = bench_gpu.rows([1, 2, 4, 8, 16, 32])
    assert len(set(rows)) == len(rows) == 36
    assert [row.compiled for row in rows] == [False] * 18 + [True] * 18
    assert {row.batch for row in rows[18:21]} == {8}
