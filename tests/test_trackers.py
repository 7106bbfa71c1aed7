"""The user's tracker gets every term of every run, through transformers (`report_to`)."""

from __future__ import annotations

import json

import pytest

import train_fgsgl

events = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard: pip install tensorboard"
)


def test_tensorboard_has_the_terms_and_metrics_json_what_they_were_made_with(tiny_arguments, tmp_path) -> None:
    train_fgsgl.main([*tiny_arguments, "--report_to", "tensorboard"])
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {"commit", "recipe", "versions", "data_fingerprint"} <= set(record)
    assert record["arguments"]["seed"] == 0
    (file,) = (tmp_path / "out").rglob("events.out.tfevents.*")
    seen = events.EventAccumulator(str(file))
    seen.Reload()
    for term in ("cls", "cp", "fg"):
        logged = [(entry["step"], entry[term]) for entry in record["log"] if term in entry]
        points = [(point.step, point.value) for point in seen.Scalars(f"train/{term}")]
        assert len(logged) == 12
        assert [step for step, _ in points] == [step for step, _ in logged]
        assert [value for _, value in points] == pytest.approx([value for _, value in logged], rel=1e-5)
    assert [point.value for point in seen.Scalars("eval/top1")] == pytest.approx(
        [entry["eval_top1"] for entry in record["log"] if "eval_top1" in entry]
    )
