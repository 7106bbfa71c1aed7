"""What the source leaves open is a field, and every such field stands in docs/paper.md."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from conftest import ROOT

from microgesture.streams.heatmap.configuration_heatmap import HeatmapConfig
from microgesture.streams.pseudo_labels import Rule
from microgesture.streams.rgb.configuration_r2plus1d import R2Plus1DConfig
from microgesture.streams.rgb.saliency import SaliencyCrop
from microgesture.streams.skeleton.configuration_skeleton import SkeletonConfig

# What a data set decides, or a loss of the recipe.
GIVEN = {"layout", "joints", "bones", "pairs", "dimensions", "root", "semantic_dim", "category_texts"}
CALLED = {"dropout": "classifier_dropout"}  # in a recipe


def own_fields(kind: type) -> list[str]:
    """Fields of a class itself, not of the library's class that it is made of."""
    return [f.name for f in fields(kind) if f.name in kind.__annotations__ and f.name not in GIVEN]


@pytest.mark.parametrize("kind", [SkeletonConfig, HeatmapConfig, R2Plus1DConfig, SaliencyCrop, Rule])
def test_every_number_that_the_source_does_not_give_stands_in_the_table(kind) -> None:
    whole = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    table = whole.split("## The second source")[1].split("\nTwo published baselines")[0]
    named = set(re.findall(r"`(?:--|rule\.|SaliencyCrop\.)?(\w+)", table))
    names = own_fields(kind)
    assert len(names) >= 4
    assert [name for name in names if CALLED.get(name, name) not in named] == []
