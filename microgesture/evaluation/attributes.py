"""Whether the words that a model gives for a clip are about the clip, or only about its class.

A word can be right because the model saw it, or because the class is right and the word is what clips of that class
have by default. So each attribute is measured beside the most frequent word and the defaults of the predicted and of
the true class, also on the clips whose record differs from the default of their class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from microgesture.data.fg_text import ATTRIBUTES, SPECIAL, FGText
from microgesture.evaluation.comparison import holm, mcnemar

ALPHA = 0.05
GUESSES = ("described", "most_frequent", "predicted_default", "true_default")
Words = Mapping[str, str | None]


def attribute_metrics(
    records: Sequence[FGText | None],
    described: Sequence[Words],
    predicted: Sequence[int],
    true: Sequence[int],
    defaults: Sequence[FGText | None],
    train_records: Sequence[FGText | None],
) -> dict[str, dict[str, Any]]:
    """Accuracy of each FG-Text attribute.

    Args:
        records: What a coder wrote about each clip, `None` for a clip without a record; N of them.
        described: The model's best word for each attribute of each clip, missing where it has learned none.
        predicted: The model's class ids, N.
        true: True class ids, N.
        defaults: The default record of each class.
        train_records: Records of the training clips, for the most frequent word.

    Returns:
        For each attribute that some clip has a word for: `all` and `differing`, the clips with a word, and those of
        them whose record differs from the default of their class in any attribute. Each has `total`, and how many of
        these are right by `described`, the `most_frequent` word of the training clips, `predicted_default` and
        `true_default`. Then `p`, of McNemar's test of `described` against `predicted_default` on the differing clips,
        adjusted for the number of attributes (Holm); and `grounded`: whether `described` is right more often there and
        p is below 0.05. `not_visible` and `unclear` are no words.
    """
    result: dict[str, dict[str, Any]] = {}
    for attribute in ATTRIBUTES:
        rows = [row for row, record in enumerate(records) if _word(record, attribute)]
        if not rows:
            continue
        counts = Counter(word for record in train_records if (word := _word(record, attribute)))
        frequent = min(counts, key=lambda word: (-counts[word], word)) if counts else None
        right = {
            row: _right(
                _word(records[row], attribute),
                described[row].get(attribute),
                frequent,
                _word(defaults[predicted[row]], attribute),
                _word(defaults[true[row]], attribute),
            )
            for row in rows
        }
        differing = [row for row in rows if _differs(records[row], defaults[true[row]])]
        own, other = ([right[row][guess] for row in differing] for guess in ("described", "predicted_default"))
        result[attribute] = {
            "most_frequent_word": frequent,
            "all": _counts([right[row] for row in rows]),
            "differing": _counts([right[row] for row in differing]),
            "p": mcnemar(other, own, [True] * len(own))["p"] if own else None,
        }
    for figures, p in zip(result.values(), holm([figures["p"] for figures in result.values()]), strict=True):
        there = figures["differing"]
        figures["p"] = p
        figures["grounded"] = p is not None and p < ALPHA and there["described"] > there["predicted_default"]
    return result


def _word(record: FGText | None, attribute: str) -> str | None:
    word = getattr(record, attribute) if record else None
    return None if word in SPECIAL else word


def _differs(record: FGText | None, default: FGText | None) -> bool:
    """Whether a record says anything that the class default does not."""
    pairs = [(_word(record, attribute), _word(default, attribute)) for attribute in ATTRIBUTES]
    return any(word is not None and word != usual for word, usual in pairs)


def _right(truth: str | None, *guesses: str | None) -> dict[str, bool]:
    return {name: guess == truth for name, guess in zip(GUESSES, guesses, strict=True)}


def _counts(right: Sequence[Mapping[str, bool]]) -> dict[str, int]:
    return {"total": len(right)} | {name: sum(row[name] for row in right) for name in GUESSES}
