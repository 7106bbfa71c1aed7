"""From the training sentences to what the network keeps of them: a lookup table, prototypes and mean sentences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import torch

from microgesture import text_encoders
from microgesture.data.clip_dataset import NO_SENTENCE, clip_sentences, flipped_clips
from microgesture.data.clips import DatasetInfo
from microgesture.data.fg_text import ATTRIBUTES, SENTENCES, VOCABULARY, FGText
from microgesture.data.text_controls import read_records, text_level
from microgesture.losses.orthogonal import orthogonal_targets
from microgesture.text_bank import TextBank, cosine_summary


@dataclass(frozen=True)
class Semantics:
    """Frozen sentence embeddings of one training set.

    Args:
        table: Embeddings of the distinct training sentences `(S, D_t)`, those of mirrored clips among them.
        sentence_ids: Row of `table` per training clip, `NO_SENTENCE` where a clip has no FG-Text.
        categories: Embeddings of the category sentences `(C, D_t)`.
        words: Word prototypes `(W, D_t)`, attribute by attribute in the order of `VOCABULARY`: the mean embedding of
            the distinct training sentences that hold the word in that slot.
        words_learned: Whether any training sentence holds the word `(W,)`.
        flipped: Label and row of `table` of each training clip in a mirror, `None` for a clip that is never mirrored;
            `None` when no clip is.
        sentence_words: With attribute heads instead of contrast, the words of each sentence `(S, 5)`, as
            `text_encoders.slots_of` gives them; else `None`.
        level: How much the sentences say beyond the class, as `text_level` says it.
        paraphrases: Embeddings of the same sentences in other words `(P, S, D_t)`; `None` where they keep their words.
    """

    table: torch.Tensor
    sentence_ids: list[int]
    categories: torch.Tensor
    words: torch.Tensor
    words_learned: torch.Tensor
    flipped: list[tuple[int, int] | None] | None = None
    sentence_words: torch.Tensor | None = None
    level: dict[str, Any] = field(default_factory=dict)
    paraphrases: torch.Tensor | None = None

    @property
    def fine_table(self) -> torch.Tensor:
        """What clips are compared with in the fine space: sentences, or one direction per word (attribute heads)."""
        return self.table if self.sentence_words is None else text_encoders.one_hot_words(self.table.shape[1])

    def apply_to(self, model: torch.nn.Module) -> None:
        """Writes prototypes and mean sentences into the network's persistent buffers."""
        model.set_prototypes("fine", self.words, self.fine_table.mean(0), self.words_learned)  # type: ignore[operator]
        model.set_prototypes("class", self.categories, self.categories.mean(0))  # type: ignore[operator]

    def report(self) -> dict[str, Any]:
        """How alike the sentences are: mean and greatest cosine, among category and FG sentences; and `level`."""
        category, fine = cosine_summary(self.categories), cosine_summary(self.table)
        return {
            "category_sentences": len(self.categories),
            "category_cosine_mean": round(category[0], 4),
            "category_cosine_max": round(category[1], 4),
            "fg_sentences": len(self.table),
            "fg_cosine_mean": round(fine[0], 4),
            "fg_cosine_max": round(fine[1], 4),
            **self.level,
        }


def build(
    train: datasets.Dataset,
    info: DatasetInfo,
    bank: TextBank,
    fg_text: str = "fine",
    mirror: bool = False,
    *,
    fg_loss: str = "contrast",
    prototypes: str = "text",
    seed: int = 0,
    paraphrases: bool = False,
) -> Semantics:
    """Embeds what is missing and gathers the frozen side of the method.

    Args:
        train: The training split as `microgesture.data.load` gives it.
        info: Its labels.json.
        bank: The text bank.
        fg_text: `fine` or `class`, as for `clip_sentences`.
        mirror: Whether clips will be mirrored; their sentences in a mirror are then embedded as well.
        fg_loss: `contrast`, or `attributes`: a head per attribute, whose words have a direction each.
        prototypes: Of the categories: embeddings of their `text`, or random `orthonormal` vectors.
        seed: Of the random ones.
        paraphrases: Whether FG-Text is embedded in its other wordings as well.

    Raises:
        ValueError: No clip has a sentence, clips are to be mirrored and none may be, or attribute heads are asked for
            where the text has no attributes or beside paraphrases.
    """
    if fg_loss == "attributes" and paraphrases:
        raise ValueError(
            "fg_loss attributes has no sentences that could be paraphrased; leave fg_text_paraphrases out"
        )
    if fg_loss == "attributes" and fg_text == "class":
        raise ValueError("fg_loss attributes reads the attributes of FG-Text, and fg_text class has none; use fine")
    sentences = clip_sentences(train, info.texts, fg_text)
    flipped = flipped_clips(train, info, fg_text) if mirror else []
    distinct = sorted({text for text in [*sentences, *(pair[1] for pair in flipped if pair)] if text})
    if not distinct:
        raise ValueError(
            "no training clip has FG-Text: describe the clips, or train with --fg_text class (category sentences) "
            "or --fg_sa false"
        )
    row = {sentence: number for number, sentence in enumerate(distinct)}
    records = read_records(train)
    turned = [record.flipped() for record, pair in zip(records, flipped, strict=False) if record and pair]
    of = text_encoders.sentence_records([*records, *turned])
    worded = [[of[s].sentence(template) for s in distinct] for template in SENTENCES[1:] if paraphrases]
    bank.fill([*distinct, *info.texts, *(text for texts in worded for text in texts)])
    table, categories = bank.embed(distinct), bank.embed(info.texts)
    if prototypes == "orthonormal":
        categories = text_encoders.orthonormal(len(categories), categories.shape[1], seed)
    words, learned = _word_prototypes([*records, *turned], row, table)
    sentence_words = None
    if fg_loss == "attributes":
        sentence_words = torch.tensor([text_encoders.slots_of(of[sentence]) for sentence in distinct])
        words = text_encoders.one_hot_words(table.shape[1])[: len(words)]
    by = ["category sentence" if fg_text == "class" else record.provenance if record else "" for record in records]
    level = text_level(sentences, train["label"], by)

    def number(sentence: str | None) -> int:
        return row[sentence] if sentence else NO_SENTENCE

    pairs = [pair and (pair[0], number(pair[1])) for pair in flipped] if mirror else None
    ids = [number(text) for text in sentences]
    others = torch.stack([bank.embed(texts) for texts in worded]) if worded else None
    return Semantics(table, ids, categories, words, learned, pairs, sentence_words, level, others)


def class_targets(loss: str, info: DatasetInfo, bank: TextBank) -> tuple[torch.Tensor | None, dict[str, Any]]:
    """What L_sem draws clips to, and how alike two classes are in it.

    Args:
        loss: `none`, `orthogonal` or `plain`.
        info: The classes and their sentences.
        bank: Embeds them.

    Returns:
        `(C, D_t)`, `None` without L_sem; and the mean and greatest cosine of two classes, before and after.
    """
    if loss == "none":
        return None, {}
    embeddings = bank.embed(info.texts).float()
    targets = orthogonal_targets(embeddings) if loss == "orthogonal" else embeddings
    return targets, {"class sentences": _cosines(embeddings), "targets": _cosines(targets)}


def _cosines(rows: torch.Tensor) -> dict[str, float]:
    mean, greatest = cosine_summary(rows)
    return {"mean_cosine": round(mean, 4), "max_cosine": round(greatest, 4)}


def simple_bank(name: str, directory: Path, train: datasets.Dataset, info: DatasetInfo, width: int) -> TextBank:
    """The text bank of an encoder that understands nothing, for the sentences of a training set.

    Args:
        name: One of `text_encoders.NAMES`.
        directory: Where tables are kept.
        train: The training split.
        info: Its labels.json.
        width: D_t.

    Raises:
        ValueError: `multi_hot`, and a class has no FG-Text default, or D_t is too small.
    """
    records = read_records(train)
    of = text_encoders.sentence_records([*records, *(record.flipped() for record in records if record)])
    for about in info.classes if name == "multi_hot" else ():
        if about.default is None:
            raise ValueError(
                f"text_encoder multi_hot needs the words of every class; {about.name!r} has no default in labels.json"
            )
        of[about.text] = about.default
    key, encoder = text_encoders.simple_encoder(name, width, of)
    return TextBank(directory, key, lambda: encoder)


def _word_prototypes(
    records: Iterable[FGText | None], row: dict[str, int], table: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    holders: dict[tuple[str, str], set[int]] = defaultdict(set)
    for record in records:
        # With class-level text the clips' own sentences are not in the table, and no word is learned.
        number = row.get(record.sentence()) if record else None
        if number is not None:
            for attribute in ATTRIBUTES:
                holders[attribute, getattr(record, attribute)].add(number)
    slots = [(attribute, word) for attribute in ATTRIBUTES for word in VOCABULARY[attribute]]
    prototypes = torch.zeros(len(slots), table.shape[1])
    for place, slot in enumerate(slots):
        if holders[slot]:
            prototypes[place] = table[sorted(holders[slot])].mean(0)
    return prototypes, torch.tensor([bool(holders[slot]) for slot in slots])
