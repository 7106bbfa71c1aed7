"""From the training sentences to what the network keeps of them: a lookup table, prototypes and mean sentences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import datasets
import torch

from microgesture.data.clip_dataset import NO_SENTENCE, clip_sentences, flipped_clips
from microgesture.data.clips import DatasetInfo
from microgesture.data.fg_text import ATTRIBUTES, VOCABULARY, FGText
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
    """

    table: torch.Tensor
    sentence_ids: list[int]
    categories: torch.Tensor
    words: torch.Tensor
    words_learned: torch.Tensor
    flipped: list[tuple[int, int] | None] | None = None

    def apply_to(self, model: torch.nn.Module) -> None:
        """Writes prototypes and mean sentences into the network's persistent buffers."""
        model.set_prototypes("fine", self.words, self.table.mean(0), self.words_learned)  # type: ignore[operator]
        model.set_prototypes("class", self.categories, self.categories.mean(0))  # type: ignore[operator]

    def report(self) -> dict[str, float]:
        """How alike the sentences are: mean and greatest cosine, among category and among FG sentences."""
        category, fine = cosine_summary(self.categories), cosine_summary(self.table)
        return {
            "category_sentences": len(self.categories),
            "category_cosine_mean": round(category[0], 4),
            "category_cosine_max": round(category[1], 4),
            "fg_sentences": len(self.table),
            "fg_cosine_mean": round(fine[0], 4),
            "fg_cosine_max": round(fine[1], 4),
        }


def build(
    train: datasets.Dataset, info: DatasetInfo, bank: TextBank, fg_text: str = "fine", mirror: bool = False
) -> Semantics:
    """Embeds what is missing and gathers the frozen side of the method.

    Args:
        train: The training split as `microgesture.data.load` gives it.
        info: Its labels.json.
        bank: The text bank.
        fg_text: `fine` or `class`, as for `clip_sentences`.
        mirror: Whether clips will be mirrored; their sentences in a mirror are then embedded as well.

    Raises:
        ValueError: No clip has a sentence, or clips are to be mirrored and none may be.
    """
    sentences = clip_sentences(train, info.texts, fg_text)
    flipped = flipped_clips(train, info, fg_text) if mirror else []
    distinct = sorted({text for text in [*sentences, *(pair[1] for pair in flipped if pair)] if text})
    if not distinct:
        raise ValueError(
            "no training clip has FG-Text: describe the clips, or train with --fg_text class (category sentences) "
            "or --fg_sa false"
        )
    row = {sentence: number for number, sentence in enumerate(distinct)}
    embedded = bank.embed([*distinct, *info.texts])
    table, categories = embedded[: len(distinct)], embedded[len(distinct) :]
    records = [FGText.from_mapping(mapping) for mapping in train.remove_columns("video")]
    turned = [record.flipped() for record, pair in zip(records, flipped, strict=False) if record and pair]
    words, learned = _word_prototypes([*records, *turned], row, table)

    def number(sentence: str | None) -> int:
        return row[sentence] if sentence else NO_SENTENCE

    pairs = [pair and (pair[0], number(pair[1])) for pair in flipped] if mirror else None
    return Semantics(table, [number(text) for text in sentences], categories, words, learned, pairs)


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
