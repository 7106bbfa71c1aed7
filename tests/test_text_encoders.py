"""Text encoders that understand nothing, and random orthonormal prototypes."""

from __future__ import annotations

import pytest
import torch

from microgesture import text_encoders
from microgesture.data.fg_text import FGText
from microgesture.text_bank import TextBank
from microgesture.text_encoders import SLOTS, orthonormal, sentence_records, simple_encoder, slots_of

RECORDS = [
    FGText("hand", "neck", "up", "touch", "left"),
    FGText("hand", "neck", "up", "touch", "right"),
    FGText("hand", "unclear", None, "rub"),
]
BY_SENTENCE = sentence_records([*RECORDS, None])
SENTENCES = [record.sentence() for record in RECORDS]


@pytest.mark.parametrize("name", text_encoders.NAMES)
def test_an_encoder_gives_each_sentence_its_own_vector_and_always_the_same(name: str, tmp_path) -> None:
    key, encoder = simple_encoder(name, 128, BY_SENTENCE)
    rows = TextBank(tmp_path, key, lambda: encoder).embed(SENTENCES)
    assert rows.shape == (3, 128)
    assert rows.dtype == torch.float32
    again, other = simple_encoder(name, 128, BY_SENTENCE)
    assert again == key
    assert torch.equal(other.encode(SENTENCES[::-1]).flip(0), rows)


def test_each_encoder_has_a_table_of_its_own(tmp_path) -> None:
    keys = [simple_encoder(name, width, BY_SENTENCE)[0] for name in text_encoders.NAMES for width in (128, 256)]
    assert len({TextBank(tmp_path, key, lambda: None).path for key in keys}) == len(keys)
    # A category sentence has the words that its data set gives it: with others it is another table.
    assert (
        simple_encoder("multi_hot", 128, {"A person waves.": RECORDS[0]})[0]
        != simple_encoder("multi_hot", 128, {"A person waves.": RECORDS[1]})[0]
    )


def test_multi_hot_is_the_words_of_the_record() -> None:
    (row,) = simple_encoder("multi_hot", 128, BY_SENTENCE)[1].encode(SENTENCES[:1])
    named = [SLOTS[place] for place in row.nonzero().flatten().tolist()]
    assert named == [
        ("initiator", "hand"), ("receiver", "neck"), ("direction", "up"), ("motion_type", "touch"), ("side", "left"),
    ]  # fmt: skip
    hand, rub = SLOTS.index(("initiator", "hand")), SLOTS.index(("motion_type", "rub"))
    assert slots_of(RECORDS[2]) == [hand, -1, -1, rub, -1]


def test_bag_of_words_forgets_the_order_and_random_forgets_everything() -> None:
    bag, random = (simple_encoder(name, 512, {})[1] for name in ("bag_of_words", "random"))
    first, turned, other = bag.encode(["a hand on a neck", "a neck on a hand", "the head turns"])
    assert torch.equal(first, turned)
    assert not torch.equal(first, other)
    assert first.abs().sum() == 5  # each word counts once
    vectors = random.encode([f"sentence {n}" for n in range(200)])
    cosines = torch.nn.functional.normalize(vectors, dim=1) @ torch.nn.functional.normalize(vectors, dim=1).T
    assert (cosines - torch.eye(200)).abs().max() < 0.25
    assert vectors.std() == pytest.approx(1.0, abs=0.01)


def test_orthonormal_prototypes_are_orthonormal_and_random() -> None:
    rows = orthonormal(17, 128, seed=0)
    torch.testing.assert_close(rows @ rows.T, torch.eye(17))
    assert torch.equal(rows, orthonormal(17, 128, seed=0))
    assert not torch.allclose(rows, orthonormal(17, 128, seed=1))
    with pytest.raises(ValueError, match="129 vectors of width 128 cannot be orthonormal"):
        orthonormal(129, 128, seed=0)


def test_a_text_side_too_narrow_for_the_words_is_refused() -> None:
    with pytest.raises(ValueError, match=r"100 wide and FG-Text has \d+ words"):
        simple_encoder("multi_hot", 100, BY_SENTENCE)
