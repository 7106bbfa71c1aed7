"""Controls of an ablation: what is done to the FG-Text of the training clips, and how much it says beyond the class.

A gain that FG-Text shuffled among the clips of a class keeps is not fine-grained; one that FG-Text shuffled among all
clips keeps has nothing to do with what the text says. All of it is a function of the seed.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import datasets
import numpy as np

from microgesture.data.fg_text import ATTRIBUTES, FGText

SHUFFLES = ("none", "class", "all")
TEXT_FIELDS = (*ATTRIBUTES, "side", "provenance", "repetition", "coder", "confidence")
Records = list[FGText | None]


def controlled(train: datasets.Dataset, shuffle: str, noise: float, seed: int) -> datasets.Dataset:
    """The training split with its FG-Text changed; clips, labels and everything else stay.

    Args:
        train: As `microgesture.data.load` gives it.
        shuffle: `none`, or among whose clips records are exchanged: of each `class`, or `all`.
        noise: Share of the attribute values that are replaced, 0 to 1.
        seed: Of both.
    """
    if shuffle == "none" and not noise:
        return train
    records = read_records(train)
    if shuffle != "none":
        records = shuffled(records, train["label"] if shuffle == "class" else [0] * len(train), seed)
    records = noisy(records, noise, seed)
    for name in (name for name in TEXT_FIELDS if name in train.column_names):
        values = [getattr(record, name) if record else None for record in records]
        train = train.remove_columns(name).add_column(name, values, feature=train.features[name])
    return train


def read_records(rows: datasets.Dataset) -> Records:
    """The FG-Text record of each row."""
    return [FGText.from_mapping(row) for row in rows.remove_columns("video")]


def shuffled(records: Records, groups: Sequence[Hashable], seed: int) -> Records:
    """Hands records on in a ring of random order, within each group; a clip without one stays without.

    Args:
        records: One per clip.
        groups: Group of each clip.
        seed: Of the order.

    Returns:
        The same records, in each group another clip's each (unless the group has only one).
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for place, (record, group) in enumerate(zip(records, groups, strict=True)):
        if record is not None:
            members[group].append(place)
    rng, result = np.random.default_rng([seed, 1]), list(records)
    for places in members.values():
        ring = rng.permutation(places)
        for giver, taker in zip(ring, np.roll(ring, 1), strict=True):
            result[taker] = records[giver]
    return result


def noisy(records: Records, rate: float, seed: int) -> Records:
    """Replaces attribute values by other values that coders wrote in this attribute.

    Of all N values that can be replaced, exactly `round(rate · N)` are: drawn without regard to class or attribute,
    each replaced by another value, as often as that one occurs in the attribute. Side words stay.

    Args:
        records: One per clip.
        rate: Share of the values, 0 to 1.
        seed: Of the draws.
    """
    written = {a: Counter(value for r in records if r and (value := getattr(r, a)) is not None) for a in ATTRIBUTES}
    places = [
        (place, attribute)
        for place, record in enumerate(records)
        for attribute in ATTRIBUTES
        if record and getattr(record, attribute) is not None and len(written[attribute]) > 1
    ]
    rng, result = np.random.default_rng([seed, 2]), list(records)
    for chosen in rng.permutation(len(places))[: round(rate * len(places))]:
        place, attribute = places[chosen]
        record = result[place]
        assert record is not None
        others = {v: n for v, n in sorted(written[attribute].items()) if v != getattr(record, attribute)}
        shares = np.array(list(others.values())) / sum(others.values())
        result[place] = replace(record, **{attribute: str(rng.choice(list(others), p=shares))})
    return result


def text_level(sentences: Sequence[str | None], labels: Sequence[int], provenances: Sequence[str]) -> dict[str, Any]:
    """How much the sentences of L_fg say beyond the class.

    Args:
        sentences: T_fg of each training clip, `None` where it has none.
        labels: Class of each clip.
        provenances: Provenance of each clip's sentence; that of a clip without one does not count.

    Returns:
        `described` of `clips`; `record_bits_given_class`, H(record | class) of the described clips as counted (of few
        clips, counting gives too little), and `most_bits`, what it would be if no two clips of a class had the same;
        `text`: `class-level text` at zero entropy, else `fine-grained text`; `provenance` shares.
    """
    told = [(label, text, by) for label, text, by in zip(labels, sentences, provenances, strict=True) if text]
    classes, pairs = Counter(label for label, _, _ in told), Counter((label, text) for label, text, _ in told)
    n = max(len(told), 1)
    bits = sum(count * math.log2(classes[label] / count) for (label, _), count in pairs.items()) / n
    return {
        "clips": len(labels),
        "described": len(told),
        "record_bits_given_class": round(bits, 4),
        "most_bits": round(sum(count * math.log2(count) for count in classes.values()) / n, 4),
        "text": "fine-grained text" if bits > 0 else "class-level text",
        "provenance": {by: round(count / n, 4) for by, count in sorted(Counter(by for *_, by in told).items())},
    }
