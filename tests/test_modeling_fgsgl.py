"""The network: parity with transformers' InternVL, shapes, order of frames, text spaces, saving."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import InternVLConfig, InternVLModel, Trainer, TrainingArguments

from configuration_fgsgl import FGSGLConfig
from modeling_fgsgl import FGSGLForVideoClassification, FGSGLModel, FGSGLPooling, cosine_basis, pixel_shuffle

VISION = {
    "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 56,
    "patch_size": 14, "attention_bias": True,
}  # fmt: skip
TEXT = {
    "model_type": "llama", "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 128,
}  # fmt: skip
WORDS = {"initiator": ["hand", "leg"], "direction": ["up", "down", "static"]}


def config(**fields) -> FGSGLConfig:
    base = {"vision_config": dict(VISION), "text_config": dict(TEXT), "num_frames": 4, "embed_dim": 16}
    base |= {"id2label": {i: f"class {i}" for i in range(5)}, "attribute_words": WORDS}
    return FGSGLConfig(**(base | fields))


def clips(B: int = 2, T: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(B, T, 3, 56, 56, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model() -> FGSGLForVideoClassification:
    torch.manual_seed(0)
    network = FGSGLForVideoClassification(config()).eval()
    network.set_prototypes("class", torch.randn(5, 48), torch.randn(48))
    learned = torch.tensor([True, False, True, True, False])
    network.set_prototypes("fine", torch.randn(5, 48), torch.randn(48), learned)
    return network


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mid_layer", [1, 2, 4])
def test_mid_and_high_are_those_of_transformers_internvl(mid_layer: int, bias: bool) -> None:
    torch.manual_seed(1)
    vision = VISION | {"attention_bias": bias}
    reference = InternVLModel(InternVLConfig(vision_config=vision, text_config=TEXT)).eval()
    ours = FGSGLModel(config(vision_config=vision, mid_layer=mid_layer)).eval()
    for part in ("vision_tower", "multi_modal_projector"):
        getattr(ours, part).load_state_dict(getattr(reference, part).state_dict())
    frames = clips()
    with torch.no_grad():
        out = ours(frames, return_features=True)
        flat = frames.flatten(0, 1)
        states = reference.vision_tower(flat, output_hidden_states=True).hidden_states
        high = reference.get_image_features(
            flat, vision_feature_layer=-1, vision_feature_select_strategy="default"
        ).pooler_output
    assert torch.equal(out.mid.flatten(0, 1), states[mid_layer][:, 1:])
    assert torch.equal(out.high.flatten(0, 1), high)
    assert out.mid.shape == (2, 4, 16, 32)
    assert out.high.shape == (2, 4, 4, 48)


def test_no_other_hidden_state_stays_alive(model) -> None:
    tower = model.fgsgl.vision_tower
    recorded = tower(clips()[0], output_hidden_states=[model.config.mid_layer]).hidden_states
    assert [i for i, state in enumerate(recorded) if state is not None] == [model.config.mid_layer]


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_pixel_shuffle_is_that_of_internvl(factor: int) -> None:
    tokens = torch.randn(3, 64, 5)
    expected = InternVLModel.pixel_shuffle(None, tokens.view(3, 8, 8, 5), 1 / factor).reshape(3, 64 // factor**2, -1)
    assert torch.equal(pixel_shuffle(tokens, factor), expected)


@pytest.mark.parametrize("temporal", ["mean", "learned"])
@pytest.mark.parametrize("spatial", ["mean", "attention"])
@pytest.mark.parametrize("classifier_input", ["high", "mid_high"])
def test_shapes_and_unit_length(temporal: str, spatial: str, classifier_input: str) -> None:
    network = FGSGLForVideoClassification(
        config(temporal_pooling=temporal, spatial_pooling=spatial, classifier_input=classifier_input)
    ).eval()
    out = network(clips(3), labels=torch.tensor([0, 1, 4]), fine_texts=torch.randn(6, 48))
    assert out.logits.shape == (3, 5)
    assert out.loss.shape == ()
    assert out.mid is None
    assert out.high is None
    times = 4 if temporal == "learned" else 1
    assert out.pooled.shape == (3, times * (48 + (32 if classifier_input == "mid_high" else 0)))
    for embeds, rows in ((out.fine_embeds, 3), (out.class_embeds, 3), (out.fine_text_embeds, 6)):
        assert embeds.shape == (rows, 16)
        torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(rows))


def test_loss_is_the_mean_cross_entropy(model) -> None:
    labels = torch.tensor([3, 1])
    out = model(clips(), labels=labels)
    expected = -out.logits.log_softmax(-1)[torch.arange(2), labels].mean()
    torch.testing.assert_close(out.loss, expected)


def test_tuple_output_leaves_out_what_is_none(model) -> None:
    logits, *_ = model(clips(), return_dict=False)
    assert torch.equal(logits, model(clips()).logits)


# ---- order of frames -----------------------------------------------------------------------------------------------


def test_cosine_basis_is_orthonormal_and_starts_with_the_mean() -> None:
    basis = cosine_basis(8)
    torch.testing.assert_close(basis @ basis.T, torch.eye(8), atol=1e-6, rtol=0)
    torch.testing.assert_close(basis[0], torch.full((8,), 8**-0.5))


def motion_and_its_reverse(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A blob of features that crosses a row of 16 places, or the same clip played backwards."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    start = torch.randint(0, 9, (count,), generator=generator)
    places = start[:, None] + torch.arange(8)[None]
    *marks, ground = torch.randn(17, 24, generator=torch.Generator().manual_seed(99))
    tokens = ground + torch.randn(count, 8, 16, 24, generator=generator) * 0.1
    marks = torch.stack(marks)
    for t in range(8):
        tokens[torch.arange(count), t, places[:, t]] += marks[places[:, t]]
    tokens[labels == 1] = tokens[labels == 1].flip(1)
    return tokens, labels


def accuracy_on_reversed_motion(temporal: str) -> float:
    torch.manual_seed(0)
    pooling = FGSGLPooling(24, config(num_frames=8, temporal_pooling=temporal, spatial_pooling="attention"))
    head = torch.nn.Linear(pooling.width, 2)
    optimizer = torch.optim.Adam([*pooling.parameters(), *head.parameters()], lr=1e-2)
    tokens, labels = motion_and_its_reverse(400, 1)
    for _ in range(80):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(pooling(tokens)), labels).backward()
        optimizer.step()
    tokens, labels = motion_and_its_reverse(400, 2)
    with torch.no_grad():
        return float((head(pooling(tokens)).argmax(-1) == labels).float().mean())


def test_a_mean_over_frames_cannot_tell_a_motion_from_its_reverse() -> None:
    assert accuracy_on_reversed_motion("mean") < 0.6


def test_learned_pooling_tells_a_motion_from_its_reverse() -> None:
    assert accuracy_on_reversed_motion("learned") > 0.95


def test_mean_pooling_ignores_order_and_learned_does_not() -> None:
    frames = clips()
    for temporal, same in (("mean", True), ("learned", False)):
        network = FGSGLForVideoClassification(config(temporal_pooling=temporal)).eval()
        difference = (network(frames).logits - network(frames.flip(1)).logits).abs().max()
        assert bool(difference < 1e-6) is same


# ---- text spaces ---------------------------------------------------------------------------------------------------


def test_encode_video_and_text_are_the_embeddings_of_forward(model) -> None:
    frames, texts = clips(), torch.randn(3, 48)
    out = model(frames, fine_texts=texts)
    assert torch.equal(model.encode_video(frames, "fine"), out.fine_embeds)
    assert torch.equal(model.encode_video(frames, "class"), out.class_embeds)
    assert torch.equal(model.encode_text(texts, "fine"), out.fine_text_embeds)
    assert torch.equal(model.encode_text(model.fgsgl.class_text_proj.prototypes, "class"), out.category_embeds)


def test_text_projection_takes_the_mean_sentence_off_first(model) -> None:
    head = model.fgsgl.fine_text_proj
    texts = torch.randn(3, 48)
    expected = torch.nn.functional.normalize((texts - head.mean) @ head.proj.weight.T, dim=-1)
    torch.testing.assert_close(model.encode_text(texts, "fine"), expected)


def test_describe_ranks_learned_words_only(model) -> None:
    frames = clips()
    described = model.describe(frames)
    assert len(described) == 2
    prototypes = model.encode_text(model.fgsgl.fine_text_proj.prototypes, "fine")
    scores = model.encode_video(frames, "fine") @ prototypes.T
    for row, answer in zip(scores, described, strict=True):
        assert [word for word, _ in answer["initiator"]] == ["hand"]  # "leg" is not learned
        expected = sorted(zip(("up", "down"), row[2:4].tolist(), strict=True), key=lambda item: -item[1])
        assert answer["direction"] == [(word, pytest.approx(score)) for word, score in expected]


def test_prototypes_are_saved_buffers_and_never_parameters(model) -> None:
    names = {name for name, _ in model.named_parameters()}
    saved = set(model.state_dict())
    for space in ("fine", "class"):
        for buffer in ("mean", "prototypes", "learned"):
            assert f"fgsgl.{space}_text_proj.{buffer}" in saved - names


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.encode_video(clips(), "middle"), "space is 'middle'"),
        (lambda m: m.encode_text(torch.randn(3, 47)), r"expected \(N, 48\)"),
        (lambda m: m.set_prototypes("fine", torch.randn(4, 48), torch.randn(48)), r"expected \(5, 48\) and \(48,\)"),
        (lambda m: m(torch.randn(2, 3, 56, 56)), r"expected \(clips, frames, 3, 56, 56\)"),
        (lambda m: m(torch.randn(2, 4, 3, 32, 32)), r"expected \(clips, frames, 3, 56, 56\)"),
        (lambda m: FGSGLForVideoClassification(config(temporal_pooling="learned"))(clips(T=3)), "exactly 4 frames"),
    ],
)
def test_refusals(model, call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(model)


# ---- saving and other people's Trainer ------------------------------------------------------------------------------


@pytest.mark.parametrize("temporal", ["mean", "learned"])
def test_save_and_load_give_the_same_logits_and_prototypes(tmp_path, temporal: str) -> None:
    network = FGSGLForVideoClassification(config(temporal_pooling=temporal, spatial_pooling="attention")).eval()
    network.set_prototypes("class", torch.randn(5, 48), torch.randn(48))
    network.save_pretrained(tmp_path)
    again = FGSGLForVideoClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(network(clips()).logits, again(clips()).logits)
    assert all(torch.equal(a, b) for a, b in zip(network.buffers(), again.buffers(), strict=True))


def test_a_checkpoint_without_heads_gets_sound_ones(tmp_path) -> None:
    """Missing buffers and filters are initialised, not left as whatever memory held."""
    FGSGLForVideoClassification(config(temporal_pooling="learned")).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "vision_tower" in name or "projector" in name}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    network = FGSGLForVideoClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(network.fgsgl.class_pool.filters.detach(), cosine_basis(4))
    assert not any(buffer.any() for buffer in network.buffers())
    assert 0.01 < float(network.classifier.weight.detach().std()) < 0.03


@pytest.mark.parametrize("accumulation", [1, 4])
def test_a_stock_trainer_logs_the_same_loss_with_accumulation(tmp_path, accumulation: int) -> None:
    torch.manual_seed(0)
    network = FGSGLForVideoClassification(config())
    rows = [{"pixel_values": frames, "labels": i % 5} for i, frames in enumerate(clips(8))]
    expected = float(network(clips(8), labels=torch.arange(8) % 5).loss.detach())
    arguments = TrainingArguments(
        str(tmp_path), use_cpu=True, max_steps=1, per_device_train_batch_size=8 // accumulation, logging_steps=1,
        gradient_accumulation_steps=accumulation, remove_unused_columns=False, disable_tqdm=True, save_strategy="no",
    )  # fmt: skip
    trainer = Trainer(network, arguments, train_dataset=rows)
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temporal_pooling": "max"}, "temporal_pooling is 'max'"),
        ({"spatial_pooling": "max"}, "spatial_pooling is 'max'"),
        ({"classifier_input": "low"}, "classifier_input is 'low'"),
        ({"mid_layer": 5}, "blocks are counted from 1 to 4"),
        ({"mid_layer": 0}, "blocks are counted from 1 to 4"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"category_texts": ["one"]}, "1 sentences for 5 classes"),
        ({"attribute_words": {"speed": ["fast"]}}, r"attribute_words names \['speed'\]"),
        ({"vision_config": VISION | {"image_size": 42}}, "multiple of 2 patches"),
    ],
)
def test_configuration_refusals(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**fields)


def test_configuration_defaults_and_spelling() -> None:
    assert config().mid_layer == 2  # half of 4
    known = set(FGSGLConfig.__dataclass_fields__)
    assert {"num_frames", "mid_layer", "embed_dim", "temporal_pooling", "spatial_pooling", "classifier_input"} <= known
    assert not {"learning_rate", "lambda_fg", "lambda_cp", "temperature", "lora_r"} & known
