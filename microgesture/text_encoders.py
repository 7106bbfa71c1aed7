"""Text encoders that understand nothing: what an effect of the frozen language model has to be compared with.

Each gives a sentence a fixed vector of the language model's width: the words of its record one by one (`multi_hot`),
the words of the sentence without their order (`bag_of_words`), or a random one that only says which sentence it is
(`random`). An effect that these give too is not semantic.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from microgesture.data.fg_text import ATTRIBUTES, SIDES, SPECIAL, VOCABULARY, VOCABULARY_VERSION, FGText
from microgesture.text_bank import EncoderKey

NAMES = ("multi_hot", "bag_of_words", "random")
SLOTS = (*((a, word) for a in ATTRIBUTES for word in VOCABULARY[a]), *(("side", side) for side in SIDES))
"""The words that a sentence is made of, W of them: those of the four attributes, then the sides."""
SLOT_SIZES = (*(len(VOCABULARY[attribute]) for attribute in ATTRIBUTES), len(SIDES))


class MultiHotEncoder:
    """One direction per word: a sentence is the words of its record, `(n, width)`, with zeros behind the W-th.

    Args:
        records: The record of each sentence.
        width: D_t.

    Raises:
        ValueError: There are more words than D_t.
    """

    def __init__(self, records: Mapping[str, FGText], width: int) -> None:
        check_width(width)
        self.records, self.width = records, width

    def encode(self, sentences: Sequence[str]) -> torch.Tensor:
        """Embeds sentences to `(n, width)`, float32."""
        rows = torch.zeros(len(sentences), self.width)
        for row, sentence in zip(rows, sentences, strict=True):
            row[[slot for slot in slots_of(self.records[sentence]) if slot >= 0]] = 1.0
        return rows


class BagOfWordsEncoder:
    """Feature hashing: each word adds +1 or -1 at one of `width` places, both decided by its hash.

    Args:
        width: D_t.
    """

    def __init__(self, width: int) -> None:
        self.width = width

    def encode(self, sentences: Sequence[str]) -> torch.Tensor:
        """Embeds sentences to `(n, width)`, float32."""
        rows = torch.zeros(len(sentences), self.width)
        for row, sentence in zip(rows, sentences, strict=True):
            for word in re.findall(r"[\w-]+", sentence.lower()):
                number = _hash(word)
                row[(number >> 1) % self.width] += 1.0 if number & 1 else -1.0
        return rows


class RandomEncoder:
    """One normal vector per sentence, drawn from the sentence's hash.

    Args:
        width: D_t.
    """

    def __init__(self, width: int) -> None:
        self.width = width

    def encode(self, sentences: Sequence[str]) -> torch.Tensor:
        """Embeds sentences to `(n, width)`, float32."""
        drawn = [np.random.default_rng(_hash(sentence)).normal(size=self.width) for sentence in sentences]
        return torch.from_numpy(np.stack(drawn)).float()


def simple_encoder(
    name: str, width: int, records: Mapping[str, FGText]
) -> tuple[EncoderKey, MultiHotEncoder | BagOfWordsEncoder | RandomEncoder]:
    """One of `NAMES`, with the key under which the text bank keeps its embeddings.

    Args:
        name: Its name.
        width: D_t.
        records: For `multi_hot`: the record of each sentence.

    Raises:
        ValueError: As for the encoder.
    """
    if name == "bag_of_words":
        return EncoderKey(name, f"width {width}", "sum"), BagOfWordsEncoder(width)
    if name == "random":
        return EncoderKey(name, f"width {width}", "none"), RandomEncoder(width)
    # A category sentence has the record that its data set gives it, so the table belongs to these records.
    listed = json.dumps(sorted((text, slots_of(record)) for text, record in records.items()))
    digest = hashlib.sha256(listed.encode()).hexdigest()[:16]
    return EncoderKey(name, f"vocabulary {VOCABULARY_VERSION}, width {width}, {digest}", "sum"), MultiHotEncoder(
        records, width
    )


def slots_of(record: FGText) -> list[int]:
    """The place in `SLOTS` of each attribute's word and of the side, -1 where the record has none."""
    found = []
    for name in (*ATTRIBUTES, "side"):
        word = getattr(record, name)
        found.append(-1 if word is None or word in SPECIAL else SLOTS.index((name, word)))
    return found


def orthonormal(count: int, width: int, seed: int) -> torch.Tensor:
    """Random orthonormal vectors `(count, width)`, float32.

    Raises:
        ValueError: There are more than `width`.
    """
    if count > width:
        raise ValueError(f"{count} vectors of width {width} cannot be orthonormal; use category_prototypes: text")
    drawn = np.random.default_rng([seed, 3]).normal(size=(width, count))
    return torch.from_numpy(np.linalg.qr(drawn)[0].T.copy()).float()


def one_hot_words(width: int) -> torch.Tensor:
    """A direction for each word of `SLOTS`, `(W, width)`, float32.

    Raises:
        ValueError: There are more words than `width`.
    """
    check_width(width)
    return torch.eye(len(SLOTS), width)


def check_width(width: int) -> None:
    """Refuses a text width that cannot hold one direction per word.

    Raises:
        ValueError: It is too small.
    """
    if width < len(SLOTS):
        raise ValueError(
            f"the text side of this network is {width} wide and FG-Text has {len(SLOTS)} words; one for each word "
            "(text_encoder multi_hot, fg_loss attributes) needs a wider one"
        )


def sentence_records(records: Iterable[FGText | None]) -> dict[str, FGText]:
    """The record of each sentence; of two records with one sentence, the first."""
    found: dict[str, FGText] = {}
    for record in records:
        if record and record.sentence():
            found.setdefault(record.sentence(), record)
    return found


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
