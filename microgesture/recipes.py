"""Recipes: YAML files of settings, one of which can be based on another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, refusing a key that stands twice: the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[no-untyped-call]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f"the recipe names {', '.join(twice)} twice; keep one of them")
        return super().construct_mapping(node, deep)


def read_recipe(recipe: Path) -> dict[str, Any]:
    """The fields of a recipe; with a line `base: OTHER.yaml`, those of the other recipe that it does not name itself.

    Raises:
        FileNotFoundError: The recipe or its base is not there.
        ValueError: A key stands twice, the file is no list of `name: value` lines, or the base has a base.
    """
    fields = _read_fields(recipe)
    if "base" not in fields:
        return fields
    base = recipe.parent / fields.pop("base")
    below = _read_fields(base)
    if "base" in below:
        raise ValueError(f"recipe {recipe} is based on {base.name}, which has a base itself; write out one of the two")
    return below | fields


def _read_fields(recipe: Path) -> dict[str, Any]:
    if not recipe.is_file():
        raise FileNotFoundError(f"recipe {recipe} does not exist; see the folder recipes/ for those that do")
    fields = _UniqueKeyLoader(recipe.read_text(encoding="utf-8")).get_single_data()
    if not isinstance(fields, dict):
        raise ValueError(f"recipe {recipe} must be a list of `name: value` lines")
    if "hub_token" in fields:
        raise ValueError(
            f"recipe {recipe}: hub_token would be written to disk and published with the recipe; log in once with "
            "`hf auth login`, or set HF_TOKEN"
        )
    return fields
