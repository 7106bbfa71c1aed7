"""Items, records and hypothesis strategies that the tests of FG-Text annotation share."""

from __future__ import annotations

from hypothesis import strategies as st

from microgesture.annotation.answers import choices
from microgesture.annotation.key import Item, Key
from microgesture.annotation.records import Clip
from microgesture.data.fg_text import ATTRIBUTES, VOCABULARY_VERSION

NEUTRAL = Clip("train", "clips/a.mp4", None, None, "p1")


def item(number: str = "0001", **changes) -> Item:
    fields = {
        "media": "clips/c0001.mp4", "fps": 28.0, "begin_ms": 0, "end_ms": 700, "coder": "anna", "look": 1,
        "shown_label": None, "prefill": None, "clip": NEUTRAL,
    }  # fmt: skip
    return Item(number, **(fields | changes))


def key(*items: Item, tool: str = "elan", mirrored: bool | str = False) -> Key:
    return Key("mini", VOCABULARY_VERSION, tool, mirrored, 0, items or (item(),))


def words(mirrored: bool | str = False) -> st.SearchStrategy[dict[str, str]]:
    """The words of a finished record: at least one attribute, and how sure the coder is."""
    offered = choices(mirrored)
    optional = {name: st.sampled_from(sorted(offered[name])) for name in offered if name != "confidence"}
    sure = {"confidence": st.sampled_from(sorted(offered["confidence"]))}
    return st.fixed_dictionaries(sure, optional=optional).filter(lambda d: any(name in d for name in ATTRIBUTES))
