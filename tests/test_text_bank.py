"""Sentences are embedded once; different sentences never get one embedding."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from full_disk import largest_file

from microgesture import tiny
from microgesture.data.fg_text import ATTRIBUTES, VOCABULARY, FGText
from microgesture.disk import NoRoomError
from microgesture.text_bank import EncoderKey, LanguageModelEncoder, TextBank, cosine_summary, refuse_twins

SENTENCES = ["The left hand touches the neck.", "The right hand touches the neck.", "Both arms fold over the chest."]


class Counting:
    """The tiny encoder, counting the sentences that it really embeds."""

    def __init__(self) -> None:
        self.encoder, self.embedded = tiny.encoder(), []

    def encode(self, sentences):
        self.embedded += sentences
        return self.encoder.encode(sentences)


def bank(folder, counting: Counting, key: EncoderKey | None = None) -> TextBank:
    return TextBank(folder, key or tiny.key(), lambda: counting)


def test_a_second_run_embeds_nothing(tmp_path) -> None:
    first, second = Counting(), Counting()
    embedded = bank(tmp_path, first).embed([*SENTENCES, SENTENCES[0]])
    again = bank(tmp_path, second).embed(SENTENCES)
    assert sorted(first.embedded) == sorted(SENTENCES)
    assert second.embedded == []
    assert torch.equal(embedded[:3], again)
    assert torch.equal(embedded[0], embedded[3])


def test_only_new_sentences_are_embedded(tmp_path) -> None:
    counting = Counting()
    table = bank(tmp_path, counting)
    table.embed(SENTENCES[:2])
    table.embed(SENTENCES)
    assert counting.embedded == [*sorted(SENTENCES[:2]), SENTENCES[2]]


def test_another_encoder_revision_or_pooling_has_its_own_table(tmp_path) -> None:
    keys = [EncoderKey("a", "1"), EncoderKey("a", "2"), EncoderKey("b", "1"), EncoderKey("a", "1", "last")]
    assert len({bank(tmp_path, Counting(), key).path for key in keys}) == 4


def test_padding_and_batches_change_nothing() -> None:
    """Of five sentences in batches of two the last is alone, and none of them are in the order of their length."""
    encoder, forwards = tiny.encoder(), []
    encoder.batch_size = 2
    encoder.model.register_forward_pre_hook(
        lambda module, args, kwargs: forwards.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    sentences = ["A person folds both arms over the chest, slowly.", *SENTENCES, "A foot taps."]
    together = encoder.encode(sentences)
    assert forwards == [2, 2, 1]
    for sentence, row in zip(sentences, together, strict=True):
        torch.testing.assert_close(encoder.encode([sentence])[0], row, rtol=1e-5, atol=1e-6)


def test_embedding_is_the_mean_over_real_tokens() -> None:
    encoder: LanguageModelEncoder = tiny.encoder()
    tokens = encoder.tokenizer([SENTENCES[0]], return_tensors="pt")
    with torch.no_grad():
        states = encoder.model(**{k: tokens[k] for k in ("input_ids", "attention_mask")}).last_hidden_state
    torch.testing.assert_close(encoder.encode(SENTENCES)[0], states[0].mean(0), rtol=1e-5, atol=1e-6)


def test_tiny_encoder_is_the_same_every_time_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, two = tiny.encoder().encode(SENTENCES), tiny.encoder().encode(SENTENCES)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one, two)
    assert tiny.key() == tiny.key()


def test_every_word_of_the_vocabulary_changes_the_embedding(tmp_path) -> None:
    base = {"initiator": "hand", "receiver": "neck", "direction": "up", "motion_type": "touch"}
    records = [FGText(**(base | {name: word})) for name in ATTRIBUTES for word in VOCABULARY[name]]
    sentences = sorted({record.sentence() for record in records})
    bank(tmp_path, Counting()).embed(sentences)  # refuses twins


def test_twins_are_refused_by_name() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1e-3]])
    with pytest.raises(ValueError, match=r"'a' and 'c' the same embedding \(cosine 1\.0000"):
        refuse_twins(["a", "b", "c"], rows)
    refuse_twins(["a", "b"], rows[:2])
    refuse_twins(["a"], rows[:1])


def test_empty_sentence_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="empty sentence"):
        bank(tmp_path, Counting()).embed(["a", " "])


def test_cosine_summary_against_plain_loops() -> None:
    rows = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    values = [float(torch.cosine_similarity(rows[i], rows[j], dim=0)) for i in range(7) for j in range(7) if i != j]
    mean, greatest = cosine_summary(rows)
    assert mean == pytest.approx(sum(values) / len(values), abs=1e-6)
    assert greatest == pytest.approx(max(values), abs=1e-6)
    assert cosine_summary(rows[:1]) == (0.0, 0.0)


def test_a_kill_while_writing_leaves_the_old_table(tmp_path, monkeypatch) -> None:
    table = bank(tmp_path, Counting())
    kept = table.embed(SENTENCES[:2])
    monkeypatch.setattr("microgesture.text_bank.os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        table.embed(SENTENCES)
    monkeypatch.undo()
    second = Counting()
    assert torch.equal(bank(tmp_path, second).embed(SENTENCES[:2]), kept)
    assert second.embedded == []


def test_no_room_is_one_error_and_the_table_before_it_is_kept(tmp_path) -> None:
    table, many = bank(tmp_path, Counting()), [f"The head turns {n} times." for n in range(2000)]
    kept = table.embed(SENTENCES)
    with largest_file(500_000), pytest.raises(NoRoomError) as error:
        table.fill(many)
    assert str(error.value) == (
        f"[Errno 27] 1.0 MB of sentence embeddings could not be written to {tmp_path}: a file would be larger than is "
        "allowed here. What was there is whole and kept: free space and start the same line again, or give another "
        "--cache_dir."
    )
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".lock"}
    second = Counting()
    assert torch.equal(bank(tmp_path, second).embed(SENTENCES), kept)
    assert second.embedded == []


def test_runs_side_by_side_embed_a_sentence_once_and_lose_none(tmp_path) -> None:
    counting = [Counting() for _ in range(4)]

    def run(number: int) -> None:
        wanted = [*SENTENCES, f"The head turns to side {number}."]
        assert bank(tmp_path, counting[number]).embed(wanted).shape == (4, 128)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    embedded = [sentence for one in counting for sentence in one.embedded]
    assert len(embedded) == len(set(embedded)) == 3 + 4
    last = Counting()
    bank(tmp_path, last).embed(embedded)
    assert last.embedded == []
