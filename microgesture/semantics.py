"""From the training sentences to what the network keeps of them: a lookup table, prototypes and mean sentences."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import datasets
import torch

from microgesture.data.clip_dataset import NO_SENTENCE, clip_sentences
from microgesture.data.clips import DatasetInfo
from microgesture.data.fg_text import ATTRIBUTES, VOCABULARY, FGText
from microgesture.text_bank import TextBank, cosine_summary


@dataclass(frozen=True)
class Semantics:
    """Frozen sentence embeddings of one training set.

    Args:
        table: Embeddings of the distinct training sentences `(S, D_t)`.
        sentence_ids: Row of `table` per training clip, `NO_SENTENCE` where a clip has no FG-Text.
        categories: Embeddings of the category sentences `(C, D_t)`.
        words: Word prototypes `(W, D_t)`, attribute by attribute in the order of `VOCABULARY`: the mean embedding of
            the distinct training sentences that hold the word in that slot.
        words_learned: Whether any training sentence holds the word `(W,)`.
    """

    table: torch.Tensor
    sentence_ids: list[int]
    categories: torch.Tensor
    words: torch.Tensor
    words_learned: torch.Tensor

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


def build(train: datasets.Dataset, info: DatasetInfo, bank: TextBank, fg_text: str = "fine") -> Semantics:
    """Embeds what is missing and gathers the frozen side of the method.

    Args:
        train: The training split as `microgesture.data.load` gives it.
        info: Its labels.json.
        bank: The text bank.
        fg_text: `fine` or `class`, as for `clip_sentences`.

    Raises:
        ValueError: No clip has a sentence.
    """
    sentences = clip_sentences(train, info.texts, fg_text)
    distinct = sorted({sentence for sentence in sentences if sentence})
    if not distinct:
        raise ValueError(
            "no training clip has FG-Text: describe the clips, or train with --fg_text class (category sentences) "
            "or --fg_sa false"
        )
    row = {sentence: number for number, sentence in enumerate(distinct)}
    embedded = bank.embed([*distinct, *info.texts])
    table, categories = embedded[: len(distinct)], embedded[len(distinct) :]
    words, learned = _word_prototypes(train, row, table)
    ids = [row[sentence] if sentence else NO_SENTENCE for sentence in sentences]
    return Semantics(table, ids, categories, words, learned)


def _word_prototypes(
    train: datasets.Dataset, row: dict[str, int], table: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    holders: dict[tuple[str, str], set[int]] = defaultdict(set)
    for mapping in train.remove_columns("video"):
        record = FGText.from_mapping(mapping)
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
