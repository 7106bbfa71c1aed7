"""What benchmarks/bench_streams.py measures, and what its figures must never say."""

from __future__ import annotations

import sys

import pytest
import torch
from conftest import ROOT

from microgesture.streams.heatmap.configuration_heatmap import HeatmapConfig
from microgesture.streams.heatmap.modeling_heatmap import HeatmapForVideoClassification

sys.path.insert(0, str(ROOT / "benchmarks"))

import bench_streams


def test_operators_are_told_apart() -> None:
    a, b = torch.randn(2, 600, 600)
    x, conv = torch.randn(4, 16, 64, 64), torch.nn.Conv2d(16, 32, 3)
    wide = torch.randn(1_000_000)
    assert bench_streams.outside(lambda: [a @ b for _ in range(10)], "cpu") < 0.1
    assert bench_streams.outside(lambda: [conv(x) for _ in range(10)], "cpu") < 0.2
    assert bench_streams.outside(lambda: [wide.exp() for _ in range(10)], "cpu") > 0.9


@pytest.mark.parametrize("parts", [["joints"], ["limbs"], ["joints", "limbs"]], ids="-".join)
def test_rendering_is_never_the_slower_half_of_a_step(parts: list[str]) -> None:
    """The smallest heatmap network that is trained, so the one in which rendering weighs most."""
    torch.manual_seed(0)
    model = HeatmapForVideoClassification(HeatmapConfig(**bench_streams.of_recipe("heatmap") | {"parts": parts}))
    found = bench_streams.measure(model, clips=2, rounds=5, device="cpu")
    assert 0 < found.rendering < found.inference / 2
    assert found.rendering < found.training / 2
    assert 0 < found.outside < 1
