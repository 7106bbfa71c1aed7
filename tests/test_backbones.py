"""Published weights in, in both formats: what comes out equals the original, written out in plain PyTorch."""

from __future__ import annotations

import gc
import json
import shutil
import sys
import weakref
from pathlib import Path

import published_checkpoint as published
import pytest
import torch
from published_folders import FORMATS, MODELS
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import conversion_mapping

from configuration_fgsgl import FGSGLConfig
from microgesture import backbones, checkpoint_files
from microgesture.text_bank import TextBank
from modeling_fgsgl import FGSGLForVideoClassification, FGSGLModel

CLASSES = {"id2label": {0: "rub", 1: "touch"}, "category_texts": ["A person rubs a hand.", "A person touches a hand."]}
SENTENCES = ["The hand touches the neck, going up.", "A foot taps.", "The left hand rubs the right hand, going down."]


@pytest.fixture
def folder(published_folders, tmp_path: Path) -> Path:
    """A checkpoint in the original format that a test may spoil."""
    return Path(shutil.copytree(published_folders["internlm2", "original"], tmp_path / "checkpoint"))


def edit_config(folder: Path, **fields) -> None:
    """Sets fields of config.json; `a__b` is the field b of a."""
    config = json.loads((folder / "config.json").read_text())
    for name, value in fields.items():
        *outer, last = name.split("__")
        target = config
        for key in outer:
            target = target[key]
        target[last] = value
    (folder / "config.json").write_text(json.dumps(config))


def edit_shard(folder: Path, number: int, edit) -> None:
    """Lets `edit` change the tensors of a shard; the index is made anew."""
    path = folder / f"model-{number:05d}-of-00004.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)
    files = {n: p.name for p in sorted(folder.glob("model-*")) for n in load_file(p)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))


# ---- the vision side ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language_model", MODELS)
@pytest.mark.parametrize("kind", FORMATS)
def test_features_equal_the_original_and_files_that_are_not_needed_may_be_absent(
    published_folders, tmp_path, kind: str, language_model: str
) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    needed = ("config.json", "model.safetensors.index.json", *(f"model-0000{i}-of-00004.safetensors" for i in (1, 4)))
    for name in needed:
        shutil.copy(published_folders[language_model, kind] / name, folder)
    model = backbones.from_backbone(FGSGLForVideoClassification, folder, **CLASSES, num_frames=2, mid_layer=2).eval()
    pixels = torch.randn(2, 2, 3, published.SIDE, published.SIDE, generator=torch.Generator().manual_seed(1))
    weights = published.original_weights(language_model)
    with torch.no_grad():
        found = [features.flatten(0, 1) for features in model.base_model.features(pixels)]
        expected = published.reference_features(weights, pixels.flatten(0, 1), mid_layer=2)
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs.std() > 0.1
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


class Recorded:
    """An open file of tensors that notes which ones are read."""

    read: list[str]

    def __init__(self, path: Path, framework: str) -> None:
        self.file = safe_open(path, framework)

    def __enter__(self) -> Recorded:
        self.file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.file.__exit__(*error)

    def __getattr__(self, name: str):
        return getattr(self.file, name)

    def get_tensor(self, name: str) -> torch.Tensor:
        self.read.append(name)
        return self.file.get_tensor(name)


def test_of_files_that_hold_other_tensors_too_only_the_wanted_ones_are_read(published_folders, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint_files, "safe_open", Recorded)
    monkeypatch.setattr(Recorded, "read", [], raising=False)
    backbones.vision_from_pretrained(published_folders["internlm2", "original"])
    names = published.original_weights("internlm2")
    wanted = [name for name in names if not name.startswith("language_model.")]
    beside = {published.shard_of(name) for name in names if name not in wanted}
    assert {published.shard_of(name) for name in wanted} <= beside
    assert sorted(Recorded.read) == sorted(wanted)  # each once


def test_config_values_are_the_checkpoints_own(published_folders) -> None:
    whole = [backbones.read_config(published_folders["internlm2", kind]) for kind in FORMATS]
    config = FGSGLConfig(**whole[0], **CLASSES)
    vision, text = config.vision_config, config.text_config
    assert (vision.hidden_size, vision.num_hidden_layers, vision.attention_bias, config.mid_layer) == (32, 3, True, 1)
    assert (text.model_type, text.hidden_size, text.vocab_size, text.rms_norm_eps) == ("llama", 128, 600, 1e-5)
    assert (text.rope_parameters["rope_theta"], text.rope_parameters["rope_type"]) == (1e6, "dynamic")
    assert "flash_attention_2" not in json.dumps(config.to_dict())  # how somebody else ran it
    for other in whole[1:]:
        same = FGSGLConfig(**other, **CLASSES)
        ignored = {"layer_scale_init_value", "bos_token_id", "eos_token_id", "pad_token_id"}
        for part in ("vision_config", "text_config"):
            one, two = (getattr(c, part).to_dict() for c in (config, same))
            assert {k for k in one.keys() | two.keys() if one.get(k) != two.get(k)} <= ignored


def test_one_file_without_an_index(tmp_path) -> None:
    weights = published.write_original(tmp_path / "one", "qwen2", sharded=False)
    published.write_original(tmp_path / "four", "qwen2")
    one, four = (backbones.vision_from_pretrained(tmp_path / name) for name in ("one", "four"))
    assert one.keys() == four.keys()
    assert all(torch.equal(one[name], four[name]) for name in one)
    assert torch.equal(one["multi_modal_projector.linear_2.bias"], weights["mlp1.3.bias"].float())


def test_the_heads_are_new_and_follow_the_seed(published_folders) -> None:
    folder = published_folders["internlm2", "original"]
    models = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        models.append(backbones.from_backbone(FGSGLModel, folder, **CLASSES, temporal_pooling="learned"))
    one, two, three = (model.state_dict() for model in models)
    assert all(torch.equal(one[name], two[name]) for name in one)
    differ = {name.split(".")[0] for name in one if not torch.equal(one[name], three[name])}
    assert differ == {"fine_proj", "fine_text_proj", "class_proj", "class_text_proj"}
    assert one["fine_proj.weight"].std() == pytest.approx(0.02, rel=0.1)
    torch.testing.assert_close(one["fine_pool.filters"] @ one["fine_pool.filters"].T, torch.eye(8))
    assert not one["class_text_proj.prototypes"].any()


def test_saving_keeps_our_names_and_a_reload_gives_the_same_logits(published_folders, tmp_path) -> None:
    model = backbones.from_backbone(FGSGLForVideoClassification, published_folders["internlm2", "original"], **CLASSES)
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == model.state_dict().keys()
    assert "fgsgl.vision_tower.encoder.layer.2.attention.q_proj.weight" in saved
    again = FGSGLForVideoClassification.from_pretrained(tmp_path)
    clip = torch.randn(1, 8, 3, published.SIDE, published.SIDE)
    with torch.no_grad():
        assert torch.equal(again(clip).logits, model(clip).logits)
    for kind in ("fgsgl", "FGSGLModel", "FGSGLForVideoClassification"):
        assert conversion_mapping.get_checkpoint_conversion_mapping(kind) is None


def test_bfloat16_is_the_published_bits(published_folders) -> None:
    model = backbones.from_backbone(
        FGSGLForVideoClassification, published_folders["internlm2", "original"], **CLASSES, dtype=torch.bfloat16
    )
    weights = published.original_weights("internlm2")
    tower = model.base_model.vision_tower
    assert {p.dtype for p in tower.parameters()} == {torch.bfloat16}
    fused = weights["vision_model.encoder.layers.1.attn.qkv.weight"]
    attention = tower.encoder.layer[1].attention
    assert torch.equal(torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]), fused)


# ---- the language model ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language_model", MODELS)
@pytest.mark.parametrize("kind", FORMATS)
def test_sentence_embeddings_equal_the_original(published_folders, kind: str, language_model: str) -> None:
    encoder = backbones.text_encoder(published_folders[language_model, kind], dtype=torch.float32)
    weights = published.original_weights(language_model)
    front = int(language_model == "internlm2")
    found = encoder.encode(SENTENCES)
    for sentence, embedding in zip(SENTENCES, found, strict=True):
        ids = encoder.tokenizer([sentence], return_tensors="pt")["input_ids"][0].tolist()
        expected = published.reference_states(weights, ids)[front:].mean(0)
        assert expected.std() > 0.1
        torch.testing.assert_close(embedding, expected, rtol=0, atol=1e-5)


def test_the_language_model_is_bfloat16_and_frozen_unless_asked_otherwise(published_folders) -> None:
    folder = published_folders["internlm2", "original"]
    narrow, wide = backbones.text_encoder(folder), backbones.text_encoder(folder, dtype=torch.float32)
    assert {p.dtype for p in narrow.model.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in narrow.model.parameters())
    one, two = narrow.encode(SENTENCES), wide.encode(SENTENCES)
    assert one.dtype == torch.float32
    assert torch.cosine_similarity(one, two).min() > 0.999
    assert not torch.equal(one, two)


def test_the_language_model_is_loaded_for_missing_sentences_only_and_gone_afterwards(
    published_folders, tmp_path
) -> None:
    folder = published_folders["internlm2", "original"]
    alive = []

    def load() -> backbones.LanguageModelEncoder:
        encoder = backbones.text_encoder(folder)
        alive.extend([weakref.ref(encoder), weakref.ref(encoder.model), weakref.ref(encoder.model.layers[0])])
        return encoder

    def bank() -> TextBank:
        return TextBank(tmp_path, backbones.text_key(folder), load)

    gc.disable()  # gone at once, not whenever the collector comes round
    try:
        table = bank().embed(SENTENCES)
        assert len(alive) == 3
        assert [reference() for reference in alive] == [None, None, None]
    finally:
        gc.enable()
    assert torch.equal(bank().embed(SENTENCES), table)
    assert len(alive) == 3


def test_sentencepiece_is_read_as_published(published_folders, tokenizer_model) -> None:
    from sentencepiece import SentencePieceProcessor

    plain = SentencePieceProcessor(model_file=str(tokenizer_model))
    encoder = backbones.text_encoder(published_folders["internlm2", "original"])
    batch = encoder.tokenizer([SENTENCES[0], "A é 手 <s>."], padding=True, return_tensors="pt")
    rows = [[1, *plain.encode(text)] for text in (SENTENCES[0], "A é 手 <s>.")]
    assert plain.bos_id() == 1
    for ids, mask, special, row in zip(*(batch[k].tolist() for k in batch), rows, strict=True):
        assert ids[: len(row)] == row
        assert mask == [1] * len(row) + [0] * (len(ids) - len(row))
        assert special == [1] + [0] * (len(row) - 1) + [1] * (len(ids) - len(row))
    assert plain.decode(rows[1]) == "A é 手 <s>."  # nothing is unknown, and "<s>" in a text is text


def test_a_missing_library_is_named_with_its_cure(published_folders, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ImportError, match="needs the library sentencepiece: pip install sentencepiece"):
        backbones.text_encoder(published_folders["internlm2", "original"])


def test_a_key_tells_checkpoints_dtypes_and_tokenizers_apart(folder, tmp_path) -> None:
    key = backbones.text_key(folder)
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere" / folder.name))
    assert backbones.text_key(moved) == key
    assert (key.name, key.dtype, len(key.revision)) == ("checkpoint", "bfloat16", 16)
    keys = {key, backbones.text_key(folder, dtype=torch.float32)}
    edit_shard(folder, 3, lambda tensors: next(iter(tensors.values())).mul_(1.01))
    keys.add(backbones.text_key(folder))
    (folder / "tokenizer_config.json").write_text('{"add_bos_token": false, "pad_token": "<pad>"}')
    keys.add(backbones.text_key(folder))
    edit_config(folder, llm_config__rope_theta=1e5)
    assert len({*keys, backbones.text_key(folder)}) == 5


# ---- refusals -------------------------------------------------------------------------------------------------------


def test_missing_unknown_and_misshaped_tensors_are_listed(folder) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["vision_model.encoder.layers.0.attn.qkv.bias"], tensors["vision_model.embeddings.class_embedding"]
        tensors["vision_model.encoder.layers.3.ls1"] = torch.ones(32)

    edit_shard(folder, 1, spoil)
    edit_shard(folder, 4, lambda tensors: tensors.update({"mlp2.0.weight": torch.ones(1)}))
    with pytest.raises(ValueError, match="tensors of checkpoint") as refusal:
        backbones.vision_from_pretrained(folder)
    assert str(refusal.value) == (
        "the tensors of checkpoint do not fit its config.json. Use the checkpoint as it was published, whole and "
        "unchanged:\n"
        "  2 missing: vision_model.embeddings.class_embedding, vision_model.encoder.layers.0.attn.qkv.bias\n"
        "  2 unknown: mlp2.0.weight, vision_model.encoder.layers.3.ls1"
    )


def test_all_missing_tensors_are_listed_however_many(folder) -> None:
    layers = "vision_model.encoder.layers."

    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if name.startswith(layers) and not name.endswith("1.ls1")]:
            del tensors[name]

    edit_shard(folder, 1, spoil)
    with pytest.raises(ValueError, match="  41 missing: ") as refusal:
        backbones.vision_from_pretrained(folder)
    parts = ["attn.proj", "attn.qkv", "mlp.fc1", "mlp.fc2", "norm1", "norm2"]
    stems = sorted([f"{part}.{kind}" for part in parts for kind in ("bias", "weight")] + ["ls2"])
    listed = str(refusal.value).split("  41 missing: ")[1].split(", ")
    assert sorted(listed) == sorted([f"{layers}{{0,1,2}}.{stem}" for stem in stems] + [f"{layers}{{0,2}}.ls1"])


def test_wrong_shapes_are_listed_before_anything_is_read(folder) -> None:
    edit_shard(folder, 4, lambda tensors: tensors.update({"mlp1.3.bias": torch.ones(129)}))
    edit_config(folder, vision_config__num_attention_heads=2)  # fits: heads do not show in shapes
    edit_config(folder, vision_config__intermediate_size=64)
    with pytest.raises(ValueError, match="tensors of checkpoint") as refusal:
        backbones.vision_from_pretrained(folder)
    layers = "vision_model.encoder.layers.{0,1,2}.mlp."
    assert str(refusal.value).endswith(
        f"unchanged:\n  10 of the wrong shape: mlp1.3.bias (129,), expected (128,), {layers}fc1.bias (128,), expected "
        f"(64,), {layers}fc1.weight (128, 32), expected (64, 32), {layers}fc2.weight (32, 128), expected (32, 64)"
    )


def test_a_language_model_that_does_not_fit_is_refused(folder) -> None:
    edit_config(folder, llm_config__num_key_value_heads=4, llm_config__num_hidden_layers=1)
    with pytest.raises(ValueError, match=r"unknown: .*layers\.1\.attention\.wo\.weight") as refusal:
        backbones.text_from_pretrained(folder)
    assert "missing" not in str(refusal.value)
    edit_config(folder, llm_config__num_hidden_layers=2)
    wrong = r"  2 of the wrong shape: .*layers\.\{0,1\}\.attention\.wqkv\.weight \(192, 128\), expected \(256, 128\)$"
    with pytest.raises(ValueError, match=wrong):
        backbones.text_from_pretrained(folder)


SIX_B = {"vision_config__qk_normalization": True, "vision_config__norm_type": "rms_norm"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            SIX_B,
            r"has the vision tower InternViT-6B .*rms_norm.* built on InternViT-300M: use InternVL2\.5 1B, 2B, 4B",
        ),
        ({"llm_config__architectures": ["Phi3ForCausalLM"]}, "language model Phi3ForCausalLM; those that can be read"),
        ({"ps_version": "v1"}, "has ps_version 'v1', and FG-SGL computes 'v2'"),
        ({"select_layer": -4}, "has select_layer -4, and FG-SGL computes -1"),
        ({"force_image_size": 224}, "was trained on 224 px over positions for 56 px"),
        ({"model_type": "llava"}, r"is no InternVL checkpoint \(its config\.json says model_type 'llava'\)"),
        ({"vision_config": {"hidden_size": 32}}, r"config\.json of checkpoint lacks vision_config\.num_hidden_layers"),
    ],
)
def test_other_networks_are_refused_before_any_weight_is_read(folder, fields: dict, message: str) -> None:
    for shard in folder.glob("model*"):
        shard.unlink()
    edit_config(folder, **fields)
    with pytest.raises(ValueError, match=message):
        backbones.from_backbone(FGSGLForVideoClassification, folder, **CLASSES)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vision_config__use_qk_norm": True}, "has the vision tower InternViT-6B"),
        (
            {"text_config": {"model_type": "gpt_oss"}},
            "has the language model gpt_oss; those that can be read are llama",
        ),
        ({"vision_feature_layer": -2}, "has vision_feature_layer -2"),
    ],
)
def test_other_networks_in_transformers_format(published_folders, tmp_path, fields: dict, message: str) -> None:
    shutil.copy(published_folders["qwen2", "native"] / "config.json", tmp_path)
    edit_config(tmp_path, **fields)
    with pytest.raises(ValueError, match=message):
        backbones.read_config(tmp_path)


def test_damaged_and_absent_files_are_named(folder, tmp_path) -> None:
    shard = folder / "model-00004-of-00004.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model-00004-of-00004\.safetensors is damaged or incomplete"):
        backbones.vision_from_pretrained(folder)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=r"checkpoint lacks the file model-00004-of-00004\.safetensors"):
        backbones.vision_from_pretrained(folder)
    save_file({"mlp1.0.weight": torch.ones(128)}, shard)  # not what the index says
    with pytest.raises(
        ValueError, match=r"5 missing: mlp1\.\{0,1,3\}\.bias \(not in model-00004-of-00004\.safetensors\), "
    ):
        backbones.vision_from_pretrained(folder)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"mlp1.0.weight": "../outside.safetensors"}}))
    with pytest.raises(ValueError, match=r"index\.json of checkpoint is damaged \(files \['\.\./outside"):
        backbones.vision_from_pretrained(folder)
    index.unlink()
    with pytest.raises(FileNotFoundError, match=r"has neither model\.safetensors\.index\.json nor model\.safetensors"):
        backbones.vision_from_pretrained(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json of .* is damaged"):
        backbones.read_config(folder)
    with pytest.raises(FileNotFoundError, match=r"the folder \./nowhere does not exist"):
        backbones.read_config("./nowhere")
    with pytest.raises(ValueError, match="is a folder and has no revision 'main'"):
        backbones.read_config(folder, "main")
    with pytest.raises(
        FileNotFoundError, match=r"cannot get config\.json of nobody/nothing \(revision main\) from the"
    ):
        backbones.read_config("nobody/nothing")


def test_a_checkpoint_without_a_readable_tokenizer_is_refused_before_its_weights_are_read(folder) -> None:
    (folder / "tokenizer.model").unlink()
    for shard in folder.glob("model-*"):
        shard.unlink()
    with pytest.raises(FileNotFoundError, match=r"no tokenizer that can be read: it needs tokenizer\.json, tokenizer"):
        backbones.text_encoder(folder)
