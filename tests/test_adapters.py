"""What is trained is exactly what the recipe says; adapters merge, save and load without touching prototypes."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import PeftModel
from test_modeling_fgsgl import clips, config

from microgesture import adapters
from modeling_fgsgl import FGSGLForVideoClassification

ALL = ("cls", "cp", "fg")
HEADS = {"fine_pool", "fine_proj", "fine_text_proj", "class_pool", "class_proj", "class_text_proj", "classifier"}


def network(**fields) -> FGSGLForVideoClassification:
    torch.manual_seed(0)
    model = FGSGLForVideoClassification(config(**fields))
    model.set_prototypes("class", torch.randn(5, 48), torch.randn(48))
    model.set_prototypes("fine", torch.randn(5, 48), torch.randn(48), torch.tensor([True, True, False, True, True]))
    return model


def trained(model: torch.nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def take_steps(model: torch.nn.Module, steps: int = 2) -> None:
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for step in range(steps):
        optimizer.zero_grad()
        out = model(pixel_values=clips(seed=step), labels=torch.tensor([0, 1]), fine_texts=torch.randn(2, 48))
        (out.loss + out.fine_embeds.sum() + out.fine_text_embeds.sum() + out.class_embeds.sum()
         + out.category_embeds.sum()).backward()  # fmt: skip
        optimizer.step()


def lora(model: torch.nn.Module, **options) -> torch.nn.Module:
    return adapters.prepare(model, terms=ALL, vision_tuning="lora", **options)


def test_lora_sits_on_attention_and_mlp_linears_of_every_vision_block_and_nowhere_else() -> None:
    names = {n.split(".lora_A")[0].split("base_model.model.")[1] for n in trained(lora(network())) if "lora_A" in n}
    linears = ["attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.projection_layer"]
    linears += ["mlp.fc1", "mlp.fc2"]
    assert names == {f"fgsgl.vision_tower.encoder.layer.{i}.{linear}" for i in range(4) for linear in linears}


def test_lora_trains_adapters_projector_and_heads_only() -> None:
    parts = {
        "lora" if "lora_" in name else name.split("base_model.model.")[1].removeprefix("fgsgl.").split(".")[0]
        for name in trained(lora(network()))
    }
    assert parts == {"lora", "multi_modal_projector"} | HEADS


def test_vit_mlp_trains_the_blocks_mlps_in_full_and_attention_by_lora() -> None:
    names = trained(lora(network(), mlp_tuning="vit_mlp"))
    assert any("mlp.modules_to_save.default.fc1.weight" in name for name in names)
    assert not any("mlp" in name and "lora_" in name for name in names)
    assert any("q_proj.lora_A" in name for name in names)


@pytest.mark.parametrize(("tuning", "tower"), [("full", True), ("frozen", False)])
def test_full_and_frozen(tuning: str, tower: bool) -> None:
    names = trained(adapters.prepare(network(), terms=ALL, vision_tuning=tuning))
    assert any("vision_tower" in name for name in names) is tower
    assert {n.removeprefix("fgsgl.").split(".")[0] for n in names} - {"vision_tower"} == {
        "multi_modal_projector"
    } | HEADS


@pytest.mark.parametrize(
    ("terms", "classifier_input", "frozen"),
    [
        (("cls", "cp"), "high", {"fine_pool", "fine_proj", "fine_text_proj"}),
        (("cls", "cp"), "mid_high", {"fine_proj", "fine_text_proj"}),
        (("cls", "fg"), "high", {"class_proj", "class_text_proj"}),
    ],
)
def test_a_head_whose_term_is_left_out_is_frozen(terms, classifier_input: str, frozen: set[str]) -> None:
    model = adapters.prepare(network(classifier_input=classifier_input), terms=terms, vision_tuning="full")
    assert HEADS - {n.removeprefix("fgsgl.").split(".")[0] for n in trained(model)} == frozen


@pytest.mark.parametrize("tuning", ["lora", "full", "frozen"])
def test_frozen_weights_and_prototypes_do_not_move_and_trained_ones_do(tuning: str) -> None:
    model = adapters.prepare(network(), terms=ALL, vision_tuning=tuning)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    take_steps(model)
    moving = trained(model)
    after = model.state_dict()
    # A key's bias cancels in softmax, and k_proj's adapters share that; every other trained weight has to move.
    still = {n for n in moving if torch.equal(before[n], after[n]) and "k_proj.bias" not in n}
    assert still == set()
    for name, value in after.items():
        if name not in moving:
            assert torch.equal(before[name], value), name


def test_merged_network_equals_the_adapted_one_and_loads_without_peft(tmp_path) -> None:
    model = lora(network())
    take_steps(model)
    model.eval()
    expected = model(pixel_values=clips()).logits
    plain = adapters.merge(copy.deepcopy(model))
    assert isinstance(plain, FGSGLForVideoClassification)
    torch.testing.assert_close(plain(clips()).logits, expected, rtol=1e-5, atol=1e-6)
    plain.save_pretrained(tmp_path)
    again = FGSGLForVideoClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(again(clips()).logits, plain(clips()).logits)
    assert again.describe(clips()) == plain.describe(clips())


def test_adapter_alone_saves_and_loads_with_its_prototypes(tmp_path) -> None:
    model = lora(network())
    take_steps(model)
    model.eval()
    model.save_pretrained(tmp_path)
    blank = FGSGLForVideoClassification(config())
    blank.load_state_dict({n: v for n, v in network().state_dict().items() if "vision_tower" in n}, strict=False)
    again = PeftModel.from_pretrained(blank, tmp_path).eval()
    torch.testing.assert_close(again(pixel_values=clips()).logits, model(pixel_values=clips()).logits)
    for space in ("fine", "class"):
        ours = getattr(adapters.merge(copy.deepcopy(model)).fgsgl, f"{space}_text_proj")
        theirs = getattr(adapters.merge(copy.deepcopy(again)).fgsgl, f"{space}_text_proj")
        for buffer in ("prototypes", "mean", "learned"):
            assert torch.equal(getattr(ours, buffer), getattr(theirs, buffer)), (space, buffer)


def test_merging_for_evaluation_gives_the_same_answers_and_the_very_same_weights_back() -> None:
    model = lora(network())
    take_steps(model)
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected = model(pixel_values=clips()).logits
    with adapters.merged(model):
        torch.testing.assert_close(model(pixel_values=clips()).logits, expected, rtol=1e-5, atol=1e-6)
    after = model.state_dict()
    assert all(torch.equal(before[name], value) for name, value in after.items())
    assert torch.equal(model(pixel_values=clips()).logits, expected)


def test_merging_does_nothing_without_adapters() -> None:
    model = network()
    with adapters.merged(model):
        assert adapters.merge(model) is model


def test_bfloat16_adapters_keep_float32_heads_and_train() -> None:
    model = lora(network(), adapter_dtype="bfloat16")
    kinds = {n: p.dtype for n, p in model.named_parameters()}
    assert all(d == torch.bfloat16 for n, d in kinds.items() if "vision_tower" in n)
    assert all(d == torch.float32 for n, d in kinds.items() if "vision_tower" not in n)
    before = {n: p.detach().clone() for n, p in model.named_parameters() if "lora_B" in n}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        take_steps(model)
    assert any(not torch.equal(before[n], p) for n, p in model.named_parameters() if n in before)


def test_parameter_table_counts_every_parameter_once() -> None:
    model = network()
    total = sum(p.numel() for p in model.parameters())
    table = adapters.parameter_table(adapters.prepare(model, terms=ALL, vision_tuning="frozen"))
    assert table[-1]["trained"] + table[-1]["frozen"] == total
    adapted = adapters.parameter_table(lora(network()))
    by_part = {row["part"]: row for row in adapted}
    assert by_part["vision tower"]["trained"] == 0
    # r (in + out) per linear: 4 of 32x32, 32x64 and 64x32, 4 blocks
    assert by_part["LoRA adapters"]["trained"] == 4 * 8 * (4 * 64 + 2 * 96)
    assert adapted[-1]["trained"] + adapted[-1]["frozen"] == total + by_part["LoRA adapters"]["trained"]
