"""Whose sentences L_fg compares with, and that an optimizer step is the same however it is cut."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from test_trainer import build, micro_batches

from microgesture.data.clip_dataset import NO_SENTENCE
from microgesture.negatives import share_step

NONE = NO_SENTENCE
STEP = [[3, 3, NONE], [NONE], [0, 5, 3, 1, NONE], [NONE, NONE]]  # sentences of four uneven micro-batches


def tensors(ids: list[list[int]]) -> list[torch.Tensor]:
    return [torch.tensor(part) for part in ids]


@pytest.mark.parametrize("negatives", ["batch", "global", "bank"])
def test_weights_make_means_over_micro_batches_a_mean_over_clips(negatives: str) -> None:
    values = [torch.randn(len(part), generator=torch.Generator().manual_seed(n)) for n, part in enumerate(STEP)]
    shares = share_step(tensors(STEP), negatives, 7)
    clips = sum(share.clip_weight * part.mean() for share, part in zip(shares, values, strict=True)) / len(STEP)
    torch.testing.assert_close(clips, torch.cat(values).mean())
    described = [part[share.rows] for share, part in zip(shares, values, strict=True)]
    assert [len(part) for part in described] == [2, 0, 4, 0]
    fine = sum(s.fine_weight * part.mean() for s, part in zip(shares, described, strict=True) if len(part)) / len(STEP)
    if negatives == "batch":  # nobody knows the other processes' clips, so a micro-batch weighs by its clips
        assert [share.fine_weight for share in shares] == [share.clip_weight for share in shares]
    else:
        torch.testing.assert_close(fine, torch.cat(described).mean())


@pytest.mark.parametrize(
    ("negatives", "keys"),
    [
        ("batch", [[3], [], [0, 1, 3, 5], []]),
        ("global", [[0, 1, 3, 5]] * 4),
        ("bank", [list(range(7))] * 4),
    ],
)
def test_whose_sentences_are_compared(negatives: str, keys: list[list[int]]) -> None:
    shares = share_step(tensors(STEP), negatives, 7)
    assert [share.keys.tolist() for share in shares] == keys
    for share, own in zip(shares, tensors(STEP), strict=True):
        assert share.keys[share.targets].tolist() == [i for i in own.tolist() if i != NONE]


def test_a_step_of_equal_micro_batches_is_weighted_by_one() -> None:
    for negatives in ("batch", "global", "bank"):
        for share in share_step(tensors([[0, 1], [2, 2], [3, 0]]), negatives, 4):
            assert (share.clip_weight, share.fine_weight) == (1.0, 1.0)


def step(trainer, *cut: list[int]) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradient of one optimizer step, made of these micro-batches."""
    trainer.model.zero_grad()
    trainer.model.train()
    loss = 0.0
    for batch in micro_batches(trainer, *cut):
        part = trainer.compute_loss(trainer.model, batch) / len(cut)
        part.backward()
        loss += part.item()
    return loss, {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}


CUTS = [
    [[0, 1], [2, 3], [4, 5], [6, 7]],  # 2 x 4; clip 5 has no sentence
    [[0, 1, 2], [3, 4, 6], [5, 7]],
    [[0, 1, 2, 3, 4, 6, 7], [5]],  # a micro-batch without any sentence
    [[0, 4], [1, 3], [2], [5, 6, 7]],
]


@pytest.mark.parametrize("negatives", ["global", "bank"])
def test_the_loss_and_gradient_of_a_step_do_not_depend_on_how_it_is_cut(tiny_arguments, negatives: str) -> None:
    """In float64, where the order of the sums leaves 15 equal digits."""
    trainer = build([*tiny_arguments, "--fg_negatives", negatives, "--ml_co", "false"])
    trainer.model.double()
    trainer.sentence_table = trainer.sentence_table.double()
    loss, gradient = step(trainer, list(range(8)))
    assert len(gradient) > 40
    greatest = max(float(value.abs().max()) for value in gradient.values())
    for cut in CUTS:
        other, parts = step(trainer, *cut)
        assert other == pytest.approx(loss, rel=1e-6)  # L_cls is taken in float32
        for name, value in gradient.items():
            torch.testing.assert_close(parts[name], value, rtol=0, atol=1e-12 * greatest, msg=lambda m, n=name: n + m)


def test_negatives_of_the_micro_batch_alone_do_depend_on_it(tiny_arguments) -> None:
    """What the test above would not tell from the truth if it could not fail."""
    trainer = build([*tiny_arguments, "--fg_negatives", "batch", "--ml_co", "false"])
    whole, cut = step(trainer, list(range(8)))[0], step(trainer, *CUTS[0])[0]
    assert abs(whole - cut) > 0.1


def test_bank_is_the_loss_over_every_distinct_training_sentence(tiny_arguments) -> None:
    trainer = build([*tiny_arguments, "--fg_negatives", "bank", "--ml_co", "false"])
    (batch,) = micro_batches(trainer, [0, 4, 5])
    trainer.model.train()
    trainer.compute_loss(trainer.model, batch)
    with torch.no_grad():
        out = trainer.model(pixel_values=trainer._pixels(batch), fine_texts=trainer.sentence_table)
    logits = out.fine_embeds[:2] @ out.fine_text_embeds.T / trainer.args.temperature
    assert logits.shape == (2, 12)
    expected = F.cross_entropy(logits, batch["sentence_ids"][:2])
    assert float(trainer._window["fg"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(trainer._window["fg_without_negative"]) == 0.0


def test_a_lone_clip_has_negatives_in_the_step_and_none_in_its_micro_batch(tiny_arguments) -> None:
    for negatives, share in (("batch", 1.0), ("global", 0.0), ("bank", 0.0)):
        trainer = build([*tiny_arguments, "--fg_negatives", negatives, "--ml_co", "false"])
        trainer.model.train()
        for batch in micro_batches(trainer, [0], [1]):
            trainer.compute_loss(trainer.model, batch)
        assert float(trainer._window["fg_without_negative"]) == share
        assert (float(trainer._window["fg"]) == 0.0) == (share == 1.0)


def test_a_micro_batch_with_few_sentences_is_given_others_up_to_the_number() -> None:
    ids = [[3, 3, NONE, 1], [0, 1, 2, 3], [NONE, NONE]]
    shares = share_step(tensors(ids), "batch", 7, at_least=5, seed=(0, 4))
    assert [len(share.keys) for share in shares] == [5, 5, 5]
    for share, own in zip(shares, tensors(ids), strict=True):
        assert len(share.keys.unique()) == 5
        assert share.keys[share.targets].tolist() == [i for i in own.tolist() if i != NONE]
    again = share_step(tensors(ids), "batch", 7, at_least=5, seed=(0, 4))
    assert all(torch.equal(a.keys, b.keys) for a, b in zip(shares, again, strict=True))
    drawn = {tuple(share_step(tensors(ids[:1]), "batch", 7, 5, (0, k))[0].keys.tolist()) for k in range(20)}
    assert len(drawn) > 3


def test_class_level_text_with_matched_negatives_compares_with_as_many_sentences(tiny_arguments) -> None:
    number = ["--fg_sentences", "4", "--ml_co", "false"]  # micro-batches of 4 clips, 4 classes
    for text in ("fine", "class"):
        trainer = build([*tiny_arguments, *number, "--fg_text", text])
        trainer.model.train()
        for batch in micro_batches(trainer, [0, 4, 8], [1, 2, 3, 5]):
            trainer.compute_loss(trainer.model, batch)
        assert float(trainer._window["fg_keys"]) == 4.0
    with pytest.raises(ValueError, match="fg_sentences is 5; the training clips have 4 sentences"):
        build([*tiny_arguments, "--fg_sentences", "5", "--fg_text", "class"])
