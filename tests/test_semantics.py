"""Prototypes: what the network keeps of the training sentences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from microgesture import semantics, tiny
from microgesture.data import load
from microgesture.data.clip_dataset import NO_SENTENCE, clip_sentences
from microgesture.data.clips import DatasetInfo
from microgesture.data.fg_text import ATTRIBUTES, VOCABULARY, FGText
from microgesture.text_bank import TextBank


@pytest.fixture
def parts(tiny_dataset, tmp_path):
    return load(tiny_dataset)["train"], DatasetInfo.read(tiny_dataset), TextBank(tmp_path, tiny.key(), tiny.encoder)


def test_each_clip_points_at_its_own_sentence(parts) -> None:
    train, info, bank = parts
    sem = semantics.build(train, info, bank)
    sentences = clip_sentences(train, info.texts)
    assert sentences.count(None) == 1
    for sentence, row in zip(sentences, sem.sentence_ids, strict=True):
        if sentence is None:
            assert row == NO_SENTENCE
        else:
            assert torch.equal(sem.table[row], bank.embed([sentence])[0])


def test_a_words_prototype_is_the_mean_of_the_distinct_sentences_that_hold_it(parts) -> None:
    train, info, bank = parts
    sem = semantics.build(train, info, bank)
    slots = [(attribute, word) for attribute in ATTRIBUTES for word in VOCABULARY[attribute]]
    place = slots.index(("direction", "up"))
    holders = {
        record.sentence()
        for row in train.remove_columns("video")
        if (record := FGText.from_mapping(row)) and record.direction == "up"
    }
    expected = bank.embed(sorted(holders)).mean(0)
    torch.testing.assert_close(sem.words[place], expected)
    assert sem.words_learned[place]


def test_words_that_no_training_sentence_holds_are_not_learned(parts) -> None:
    train, info, bank = parts
    sem = semantics.build(train, info, bank)
    slots = [(attribute, word) for attribute in ATTRIBUTES for word in VOCABULARY[attribute]]
    learned = {slot for slot, known in zip(slots, sem.words_learned.tolist(), strict=True) if known}
    assert learned == {("initiator", "hand"), ("receiver", "air")} | {
        ("direction", d) for d in ("up", "down", "left", "right")
    } | {("motion_type", m) for m in ("raise", "touch", "rub")}  # fmt: skip


def test_class_level_text_uses_category_sentences_and_learns_no_words(parts) -> None:
    train, info, bank = parts
    sem = semantics.build(train, info, bank, "class")
    assert len(sem.table) == 4
    assert not sem.words_learned.any()
    assert NO_SENTENCE not in sem.sentence_ids


def test_the_report_says_how_alike_the_sentences_are(parts) -> None:
    report = semantics.build(*parts).report()
    assert report["category_sentences"] == 4
    assert report["fg_sentences"] == 12
    assert 0 < report["fg_cosine_mean"] < report["fg_cosine_max"] < 1


def test_a_training_set_without_any_fg_text_is_refused(parts) -> None:
    train, info, bank = parts
    bare = train.map(lambda row: dict.fromkeys(ATTRIBUTES), load_from_cache_file=False)
    with pytest.raises(ValueError, match="no training clip has FG-Text"):
        semantics.build(bare, info, bank)


def test_special_values_have_no_prototype_and_no_sentence(parts) -> None:
    train, info, bank = parts
    unseen = dict.fromkeys(ATTRIBUTES, "not_visible")
    coded = train.map(
        lambda row, n: (row | unseen) if n == 0 else (row | {"receiver": "unclear"}) if n == 1 else {},
        with_indices=True,
        load_from_cache_file=False,
    )
    sem = semantics.build(coded, info, bank)
    record = FGText.from_mapping(train.remove_columns("video")[1])
    sentence = replace(record, receiver=None).sentence()
    assert clip_sentences(coded, info.texts)[:2] == [None, sentence]
    assert sem.sentence_ids[0] == NO_SENTENCE
    assert torch.equal(sem.table[sem.sentence_ids[1]], bank.embed([sentence])[0])
    assert len(sem.words) == sum(len(words) for words in VOCABULARY.values())
