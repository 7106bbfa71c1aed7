"""What ablation controls do to FG-Text: exactly what they say, and nothing else."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microgesture.data import load
from microgesture.data.fg_text import ATTRIBUTES, FGText
from microgesture.data.text_controls import controlled, noisy, read_records, shuffled, text_level

RECORDS = [
    None if n % 7 == 3 else FGText(("hand", "head")[n % 2], "neck", ("up", "down", "left")[n % 3], None, coder=f"c{n}")
    for n in range(30)
]
CLASSES = [n % 4 for n in range(30)]


def told(records) -> Counter:
    return Counter(record for record in records if record)


@given(st.integers(0, 1000))
def test_shuffling_within_classes_keeps_each_classs_records_and_moves_all(seed: int) -> None:
    result = shuffled(RECORDS, CLASSES, seed)
    for c in range(4):
        mine = [place for place, number in enumerate(CLASSES) if number == c]
        assert told(result[i] for i in mine) == told(RECORDS[i] for i in mine)
    for before, after in zip(RECORDS, result, strict=True):
        assert (before is None) == (after is None)
        assert before is None or before != after  # coders make every record of this list another


def test_shuffling_among_all_crosses_classes() -> None:
    result = shuffled(RECORDS, [0] * 30, 0)
    assert told(result) == told(RECORDS)
    class_of = {record: number for record, number in zip(RECORDS, CLASSES, strict=True) if record}
    assert any(class_of[record] != number for record, number in zip(result, CLASSES, strict=True) if record)
    assert result == shuffled(RECORDS, [0] * 30, 0) != shuffled(RECORDS, [0] * 30, 1)


def test_the_only_clip_of_a_class_keeps_its_record() -> None:
    assert shuffled(RECORDS[:2], [0, 1], 0) == RECORDS[:2]


@given(st.floats(0, 1), st.integers(0, 1000))
def test_noise_replaces_exactly_its_share_of_the_values(rate: float, seed: int) -> None:
    result = noisy(RECORDS, rate, seed)
    pairs = [
        (getattr(a, name), getattr(b, name)) for a, b in zip(RECORDS, result, strict=True) if a for name in ATTRIBUTES
    ]
    # Nobody wrote another receiver than the neck, so that one cannot be replaced; motion types are missing.
    possible = 2 * len(told(RECORDS)) if len(set(RECORDS)) == len(RECORDS) else 2 * sum(r is not None for r in RECORDS)
    assert sum(a != b for a, b in pairs) == round(rate * possible)
    assert all((a is None) == (b is None) for a, b in pairs)
    assert {b for _, b in pairs} <= {a for a, _ in pairs}


def test_noise_is_a_function_of_the_seed_and_replaces_as_coders_write() -> None:
    assert noisy(RECORDS, 0.3, 0) == noisy(RECORDS, 0.3, 0) != noisy(RECORDS, 0.3, 1)
    many = [FGText("hand", receiver) for receiver in ["neck"] * 900 + ["head"] * 90 + ["ear"] * 10]
    new = Counter(a.receiver for a, b in zip(noisy(many, 1.0, 0), many, strict=True) if b.receiver == "neck")
    assert set(new) == {"head", "ear"}
    assert new["head"] / 900 == pytest.approx(0.9, abs=0.04)


def test_a_controlled_split_has_the_same_clips_with_other_text(tiny_dataset) -> None:
    train = load(tiny_dataset)["train"]
    assert controlled(train, "none", 0.0, 0) is train
    result = controlled(train, "class", 0.5, 3)
    assert result.features == train.features
    assert result["label"] == train["label"]
    assert result["video"] == train["video"]
    assert read_records(result) == noisy(shuffled(read_records(train), train["label"], 3), 0.5, 3)
    assert read_records(result) != read_records(train)


def test_a_split_may_lack_columns_of_fg_text(tiny_dataset) -> None:
    train = load(tiny_dataset)["train"].remove_columns(["side", "provenance", "confidence"])
    result = controlled(train, "all", 0.0, 0)
    assert set(result.column_names) == set(train.column_names)
    assert told(read_records(result)) == told(read_records(train))


def test_entropy_given_the_class_in_closed_form() -> None:
    level = text_level(["a", "b", "c", "c", None, "d"], [0, 0, 1, 1, 1, 2], ["human"] * 4 + ["", "model"])
    assert level["record_bits_given_class"] == pytest.approx(2 / 5, abs=1e-4)  # one bit for the two clips of class 0
    assert level["most_bits"] == pytest.approx(4 / 5, abs=1e-4)
    assert level["text"] == "fine-grained text"
    assert (level["described"], level["clips"]) == (5, 6)
    assert level["provenance"] == {"human": 0.8, "model": 0.2}


def test_zero_entropy_is_called_class_level_text() -> None:
    level = text_level(["a", "b", "a"], [0, 1, 0], ["default"] * 3)
    assert level["record_bits_given_class"] == 0
    assert level["text"] == "class-level text"
    assert np.isfinite(text_level([None], [0], [""])["record_bits_given_class"])
