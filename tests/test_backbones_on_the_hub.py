"""Published weights from the Hub: which files are fetched, and which commit a network comes from."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import published_checkpoint as published
import pytest
import torch
from hub_commands import environment
from hub_server import HubServer, Repo
from test_backbones import CLASSES, SENTENCES

import train_fgsgl
from microgesture import backbones
from microgesture.arguments import parse
from modeling_fgsgl import FGSGLModel

NAME = "somebody/InternVL2_5-8B"
COMMIT, LATER = "0123456789abcdef0123456789abcdef01234567", "89abcdef0123456789abcdef0123456789abcdef"
SHARDS = [f"model-0000{i}-of-00004.safetensors" for i in (1, 2, 3, 4)]
VISION = {"config.json", "model.safetensors.index.json", SHARDS[0], SHARDS[3]}
TEXT = {"tokenizer.model", "tokenizer_config.json", SHARDS[1], SHARDS[2]}
ON_THE_HUB = f"""
import torch
from microgesture import backbones
from modeling_fgsgl import FGSGLForVideoClassification
torch.manual_seed(0)
name, classes = "{NAME}", dict(id2label={{0: "rub"}}, category_texts=["A rub."])
backbones.from_backbone(FGSGLForVideoClassification, name, **classes)
print("vision", flush=True)
input()
key = backbones.text_key(name)
print(key.name, key.revision, key.dtype, backbones.resolve_revision(name, "main"))
try:
    backbones.read_config(name, "nowhere")
except FileNotFoundError as error:
    print(error)
encoder = backbones.text_encoder(name)
print(tuple(encoder.encode(["A foot taps."]).shape))
backbones.from_backbone(FGSGLForVideoClassification, name, revision="later", **classes)
backbones.text_encoder(name, "later")
"""


@dataclass(frozen=True)
class Fetched:
    """What a process fetched that had an empty cache."""

    server: HubServer
    folders: dict[str, Path]
    home: Path
    before_text: set[str]
    said: list[str]


def files_sent(server: HubServer, commit: str) -> list[str]:
    """The files of a commit that were downloaded, by whichever name it was asked for."""
    repo = server.repos[f"models/{NAME}"]
    asked = [line.split("/")[-2:] for line in server.requests if line.startswith(f"GET /{NAME}/resolve/")]
    return [
        file
        for revision, file in asked
        if repo.branches.get(revision, revision) == commit and file in repo.commits[commit]
    ]


@pytest.fixture(scope="module")
def fetched(published_folders, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fetched]:
    """One repository with two commits of different weights; its branch `main` is the first, `later` the second."""
    home, server = tmp_path_factory.mktemp("hub"), HubServer()
    folders = {COMMIT: published_folders["internlm2", "original"], LATER: home / "later"}
    published.write_original(folders[LATER], "internlm2", seed=1)
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(folders[COMMIT] / name, folders[LATER])
    commits = {commit: {p.name: p.read_bytes() for p in folder.iterdir()} for commit, folder in folders.items()}
    server.repos[f"models/{NAME}"] = Repo(False, commits, {"main": COMMIT, "later": LATER})
    process = subprocess.Popen(
        [sys.executable, "-c", ON_THE_HUB], env=environment(server, home, token=None), cwd=home, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "vision\n", process.stderr.read()[-2000:]
    before_text = set(files_sent(server, COMMIT))
    out, errors = process.communicate("\n", timeout=120)
    assert process.returncode == 0, errors[-2000:]
    yield Fetched(server, folders, home, before_text, out.splitlines())
    server.close()


@pytest.fixture
def hub_cache(fetched, monkeypatch) -> None:
    """Without a network the cache is enough."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(fetched.home / "hf" / "hub"))


def test_only_files_with_wanted_tensors_are_fetched_and_a_branch_becomes_a_commit(fetched, hub_cache) -> None:
    assert fetched.before_text == VISION
    key, refusal, shape = fetched.said
    assert key == f"{NAME} {COMMIT} bfloat16 {COMMIT}"
    assert refusal.startswith(f"cannot get config.json of {NAME} (revision nowhere) from the Hub")
    assert shape == "(1, 128)"
    assert sorted(files_sent(fetched.server, COMMIT)) == sorted(VISION | TEXT)  # nothing is fetched twice
    assert sorted(file for file in files_sent(fetched.server, LATER) if file in SHARDS) == SHARDS
    assert backbones.resolve_revision(NAME) == COMMIT
    offline = backbones.vision_from_pretrained(NAME, COMMIT)
    local = backbones.vision_from_pretrained(fetched.folders[COMMIT])
    assert all(torch.equal(offline[name], tensor) for name, tensor in local.items())


@pytest.mark.parametrize("revision", ["later", LATER])
def test_a_revision_is_what_the_network_and_the_sentences_come_from(fetched, hub_cache, revision: str) -> None:
    found = backbones.from_backbone(FGSGLModel, NAME, revision=revision, **CLASSES).state_dict()
    others = backbones.from_backbone(FGSGLModel, NAME, **CLASSES).state_dict()
    for name, tensor in backbones.vision_from_pretrained(fetched.folders[LATER]).items():
        assert torch.equal(found[name], tensor)
        assert not torch.equal(others[name], tensor)
    assert backbones.text_key(NAME, revision).revision == LATER
    rows = backbones.text_encoder(NAME, revision).encode(SENTENCES)
    assert torch.equal(rows, backbones.text_encoder(fetched.folders[LATER]).encode(SENTENCES))
    assert not torch.equal(rows, backbones.text_encoder(NAME).encode(SENTENCES))


def test_a_run_starts_from_its_backbone_revision(fetched, hub_cache, tiny_arguments) -> None:
    recipe = Path(tiny_arguments[0])
    lines = recipe.read_text().splitlines(keepends=True)
    recipe.write_text("".join(line for line in lines if not line.startswith("vision_config")))
    argv = [*tiny_arguments, "--backbone", NAME, "--backbone_revision", "later"]
    trainer, about = train_fgsgl.build_trainer(*parse(argv)[:3])
    found = trainer.model.fgsgl.state_dict()
    for name, tensor in backbones.vision_from_pretrained(fetched.folders[LATER]).items():
        assert torch.equal(found[name], tensor), name
    assert (about["text_encoder"]["name"], about["text_encoder"]["revision"]) == (NAME, LATER)
    categories = [f"A person moves one hand, going {d}." for d in ("up", "down", "left", "right")]
    expected = backbones.text_encoder(fetched.folders[LATER]).encode(categories)
    # bfloat16 rounds differently in another batch; two sentences lie further apart.
    torch.testing.assert_close(found["class_text_proj.prototypes"], expected, rtol=0, atol=0.02)
    assert (backbones.text_encoder(NAME).encode(categories) - expected).abs().max() > 0.1
