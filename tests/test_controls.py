"""Controls of an ablation, each a field of an ordinary recipe, as they reach the Trainer."""

from __future__ import annotations

import json
from itertools import combinations

import pytest
import torch
from conftest import ROOT, TINY_VISION
from test_trainer import build, logged, micro_batches, output, record, train, weights

from microgesture import arguments, text_encoders
from microgesture.ablation.plan import read_plan
from microgesture.arguments import ModelArguments
from microgesture.data.fg_text import SENTENCES
from microgesture.losses.attributes import attribute_nce
from microgesture.text_encoders import SLOT_SIZES
from modeling_fgsgl import FGSGLForVideoClassification


@pytest.mark.parametrize("name", text_encoders.NAMES)
def test_a_simple_text_encoder_takes_the_place_of_the_language_model(tiny_arguments, name: str) -> None:
    trainer = build([*tiny_arguments, "--text_encoder", name])
    assert trainer.sentence_table.shape == (12, 128)
    assert trainer.model.fgsgl.class_text_proj.prototypes.abs().sum() > 0
    usual = build(tiny_arguments)
    assert not torch.equal(trainer.sentence_table, usual.sentence_table)
    # Everything else is paired: the same first weights.
    for (place, ours), theirs in zip(trainer.model.named_parameters(), usual.model.parameters(), strict=True):
        assert torch.equal(ours, theirs), place


def test_orthonormal_prototypes_replace_those_of_the_categories_only(tiny_arguments) -> None:
    trainer, usual = build([*tiny_arguments, "--category_prototypes", "orthonormal"]), build(tiny_arguments)
    rows = trainer.model.fgsgl.class_text_proj.prototypes
    torch.testing.assert_close(rows @ rows.T, torch.eye(4))
    assert torch.equal(trainer.sentence_table, usual.sentence_table)
    assert torch.equal(trainer.model.fgsgl.fine_text_proj.prototypes, usual.model.fgsgl.fine_text_proj.prototypes)


def test_attribute_heads_take_the_place_of_eq_1_without_a_parameter_more(tiny_arguments) -> None:
    trainer, usual = build([*tiny_arguments, "--fg_loss", "attributes"]), build(tiny_arguments)
    assert [n for n, _ in trainer.model.named_parameters()] == [n for n, _ in usual.model.named_parameters()]
    trainer.model.train()
    (batch,) = micro_batches(trainer, [0, 1, 2, 5])  # clip 5 has no sentence
    trainer.compute_loss(trainer.model, batch)
    out = trainer.model(pixel_values=trainer._pixels(batch), fine_texts=torch.eye(sum(SLOT_SIZES), 128))
    words = trainer.sentence_words[batch["sentence_ids"][:3]]
    assert (words >= 0).all()
    expected = attribute_nce(out.fine_embeds[:3], out.fine_text_embeds, words, SLOT_SIZES, trainer.args.temperature)
    assert trainer._window["fg"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_attribute_heads_are_trained_and_travel_as_the_words_of_describe(tiny_arguments) -> None:
    argv = [*tiny_arguments, "--fg_loss", "attributes", "--num_train_epochs", "1"]
    train(argv)
    model = FGSGLForVideoClassification.from_pretrained(output(argv)).eval()
    answer = model.describe(torch.zeros(1, 4, 3, 32, 32))[0]
    assert {word for word, _ in answer["direction"]} == {"up", "down", "left", "right"}
    assert "attribute" not in " ".join(weights(argv))


@pytest.mark.parametrize("options", [["--fg_sa", "false"], ["--fg_text", "class"], ["--text_encoder", "random"]])
def test_rows_are_paired_by_first_weights_and_by_the_order_of_clips(tiny_arguments, tmp_path, options) -> None:
    starts, orders = [], []
    for number, more in enumerate(([], options)):
        trainer = build([*tiny_arguments, *more, "--output_dir", str(tmp_path / str(number))])
        starts.append({name: value.clone() for name, value in trainer.model.named_parameters()})
        seen, terms = [], trainer._watch.add
        trainer._watch.add = lambda ids, *rest, seen=seen, terms=terms: seen.append(ids.tolist()) or terms(ids, *rest)
        trainer.train()
        orders.append(seen)
    assert len(orders[0]) == 12
    assert orders[0] == orders[1]
    assert orders[0][:6] != orders[0][6:]  # another order in the second epoch
    assert all(torch.equal(value, starts[1][name]) for name, value in starts[0].items())


@pytest.mark.slow
def test_rows_with_another_network_start_from_the_same_weights_but_one(tiny_arguments) -> None:
    """The other rows change data, text or loss: the test above."""
    deep = ["--vision_config", json.dumps(TINY_VISION | {"num_hidden_layers": 4})]
    full, unlike, of_network = build([*tiny_arguments, *deep]).model.state_dict(), set(), set(vars(ModelArguments()))
    for row in read_plan(ROOT / "recipes" / "ablation_synthetic.yaml").rows.values():
        if not of_network & set(row.fields):
            continue
        options = [word for name, value in row.fields.items() for word in (f"--{name}", str(value))]
        start = build([*tiny_arguments, *deep, *options]).model.state_dict()
        shared = [key for key in full if key in start and full[key].shape == start[key].shape]
        assert len(shared) > len(full) / 2
        unlike |= {row.name} if any(not torch.equal(full[key], start[key]) for key in shared) else set()
    assert unlike == {"temporal_pooling_mean"}


def test_paraphrases_word_every_sentence_of_a_step_alike(tiny_arguments) -> None:
    trainer, usual = build([*tiny_arguments, "--fg_text_paraphrases", "true"]), build(tiny_arguments)
    assert torch.equal(trainer.sentence_table, usual.sentence_table)
    assert len(trainer.wordings) == len(SENTENCES) == 4
    assert all(not torch.equal(one, other) for one, other in combinations(trainer.wordings, 2))
    assert all(table.shape == usual.sentence_table.shape for table in trainer.wordings)
    (batch,) = micro_batches(trainer, [0, 1, 2, 3])
    keys, drawn = batch["share"].keys, []
    for step in range(30):
        trainer.state.global_step = usual.state.global_step = step
        texts = trainer._fine_texts(batch["share"])
        drawn += [number for number, table in enumerate(trainer.wordings) if torch.equal(texts, table[keys])]
        assert torch.equal(texts, trainer._fine_texts(batch["share"]))  # the next micro-batch of the step
        assert torch.equal(usual._fine_texts(batch["share"]), usual.sentence_table[keys])
    assert len(drawn) == 30
    assert set(drawn) == {0, 1, 2, 3}


def test_a_run_with_paraphrases_trains(tiny_arguments) -> None:
    argv = [*tiny_arguments, "--fg_text_paraphrases", "true", "--num_train_epochs", "1"]
    train(argv)
    assert all(entry["fg"] > 0 for entry in record(argv)["log"] if "fg" in entry)
    # The command line asked for it, and the recipe did not.
    assert record(argv)["arguments"]["fg_text_paraphrases"] is True
    assert "fg_text_paraphrases" not in record(argv)["recipe_fields"]


@pytest.mark.parametrize("order", ["fg_first", "level"])
def test_orders_of_the_terms(tiny_arguments, order: str) -> None:
    trainer = build([*tiny_arguments, "--ml_co_order", order])
    begin, end = trainer.weights_at(0.0), trainer.weights_at(0.9)
    if order == "level":
        assert begin == end == {"cls": 1.0, "cp": 0.5, "fg": 0.25}
    else:
        assert begin == {"cls": 1.0, "cp": 0.0, "fg": 0.5}
        assert end == {"cls": 1.0, "cp": 0.5, "fg": 0.5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ml_co_order", "level", "--ml_co", "false"], "ml_co_order level orders two terms"),
        (["--ml_co_order", "sideways"], "ml_co_order is 'sideways'; choose one of"),
        (["--fg_sentences", "2"], "a micro-batch of 4 clips may have more sentences"),
        (["--fg_sentences", "8", "--fg_negatives", "bank"], "fg_sentences goes with fg_negatives batch, not bank"),
        (["--fg_loss", "attributes", "--fg_negatives", "bank"], "compares with no sentences"),
        (["--fg_text_noise", "1.5"], "fg_text_noise is 1.5; it is a share"),
        (["--fg_text_paraphrases", "true", "--fg_text", "class"], "fg_text_paraphrases words FG-Text differently"),
        (
            ["--fg_text_paraphrases", "true", "--text_encoder", "random"],
            "it needs fg_text fine, text_encoder backbone",
        ),
        (["--fg_text_shuffle", "clip"], "fg_text_shuffle is 'clip'; choose one of"),
    ],
)
def test_controls_that_do_not_go_together_are_refused(tiny_arguments, options: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arguments.parse([*tiny_arguments, *options])


def test_attribute_heads_need_attributes(tiny_arguments) -> None:
    with pytest.raises(ValueError, match="fg_text class has none; use fine"):
        build([*tiny_arguments, "--fg_loss", "attributes", "--fg_text", "class"])


def test_the_record_says_how_fine_the_text_was_and_which_data_it_was(tiny_arguments, capsys) -> None:
    argv = [*tiny_arguments, "--fg_text_shuffle", "class", "--num_train_epochs", "1"]
    train(argv)
    found = record(argv)
    sentences = found["sentences"]
    (printed,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("sentences: ")]
    assert json.loads(printed.removeprefix("sentences: ")) == sentences
    assert sentences["text"] == "fine-grained text"
    assert 0 < sentences["record_bits_given_class"] <= sentences["most_bits"]
    assert sentences["provenance"] == {"human": 1.0}
    assert len(found["data_fingerprint"]) == 16
    assert {"commit", "recipe", "versions"} <= set(found)
    assert found["arguments"]["seed"] == 0
    assert all("fg_keys" in entry for entry in logged(argv, ("fg_keys",)))
