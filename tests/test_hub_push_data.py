"""Publishing data sets to a Hub on this machine (hub_server.py): labels alone or with videos, and loading back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import DIRECTIONS
from hub_commands import closed_port, environment, microgesture
from hub_server import TOKEN, HubServer, Repo

from microgesture.data import load
from microgesture.hub.dataset import dataset_upload


@pytest.fixture
def server() -> Iterator[HubServer]:
    server = HubServer()
    yield server
    server.close()


def dataset_folder(tiny_dataset: Path, tmp_path: Path, redistributable: bool = True) -> Path:
    """A copy of the tiny data set with a card, an own column, and a list whose name begins like another's."""
    folder = tmp_path / "data"
    shutil.copytree(tiny_dataset, folder)
    about = json.loads((folder / "labels.json").read_text())
    (folder / "labels.json").write_text(json.dumps(about | {"redistributable": redistributable}))
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\npretty_name: 'Tiny: \"clips\"'\n---\n\n# Tiny clips\n")
    (folder / "notes.txt").write_text("private")
    shutil.copytree(folder / "test", folder / "test_natural")
    for split in ("train", "validation", "test", "test_natural"):
        path = folder / split / "metadata.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        (folder / split / "keypoints").mkdir()
        for number, row in enumerate(rows):
            row["keypoints"] = f"keypoints/{number}.npy"
            (folder / split / row["keypoints"]).write_bytes(b"\x93NUMPY" + bytes([number]))
            row |= {"start": 0.1, "end": 0.5} if split == "test" else {}  # all empty elsewhere: types must agree
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_push_data_publishes_labels_splits_and_fg_text_and_no_videos(server, tiny_dataset, tmp_path) -> None:
    folder = dataset_folder(tiny_dataset, tmp_path, redistributable=False)
    said = microgesture(server, tmp_path, "push-data", folder, "me/tiny", "--private")
    repo = server.repos["datasets/me/tiny"]
    splits = ("train", "validation", "test", "test_natural")
    assert repo.private
    assert set(repo.files()) == {"README.md", "labels.json", *(f"data/{split}.jsonl" for split in splits)}
    assert "to dataset me/tiny: 6 files" in said
    assert "not published: notes.txt, test/, test_natural/, train/, validation/" in said
    assert "row by row: train 24, validation 8, test 8, test_natural 8" in said or "test 8, test_natural 8" in said
    rows = [json.loads(line) for line in repo.files()["data/train.jsonl"].splitlines()]
    assert len(rows) == 24
    assert {row["label"] for row in rows} == {f"Hand {d}" for d in DIRECTIONS}
    assert set(rows[0]) == {
        "file_name", "label", "subject", "start", "end", "initiator", "receiver", "direction", "motion_type", "side",
        "provenance",
    }  # fmt: skip
    card = repo.files()["README.md"].decode()
    assert "no videos" in card
    assert 'load_dataset("me/tiny")' in card
    assert "license: cc-by-4.0" in card


@pytest.mark.slow
def test_push_data_with_videos_loads_as_a_video_data_set(server, tiny_dataset, tmp_path) -> None:
    folder = dataset_folder(tiny_dataset, tmp_path)
    server.repos["datasets/me/v"] = repo = Repo(private=False)
    repo.commits["0" * 40] = {"data/train.jsonl": b"{}", "train/clips/old.mp4": b"\0", "docs/plan.md": b""}
    said = microgesture(server, tmp_path, "push-data", folder, "me/v", "--with-videos", "--revision", "draft")
    assert set(repo.files("main")) == {"data/train.jsonl", "train/clips/old.mp4", "docs/plan.md"}
    files = repo.files("draft")
    clips = {str(path.relative_to(folder)) for path in folder.glob("*/clips/*")}
    keypoints = {str(path.relative_to(folder)) for path in folder.glob("*/keypoints/*")}
    splits = ("train", "validation", "test", "test_natural")
    tables = {f"{split}/metadata.{form}" for split in splits for form in ("jsonl", "parquet")}
    assert len(clips) == len(keypoints) == 48
    assert set(files) == clips | keypoints | tables | {"README.md", "labels.json", "docs/plan.md"}
    assert "train/clips/ (24 files)" in said
    assert "removed from me/v (its history still has them): data/train.jsonl, train/clips/old.mp4" in said
    assert re.search(r"compared, row by row: .*train 24", said)
    for name, data in files.items():  # downloaded as it is, it is a data set folder like the one it came from
        path = tmp_path / "downloaded" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    again = load(tmp_path / "downloaded")
    for split, rows in load(folder).items():
        assert again[split].remove_columns("video").to_list() == rows.remove_columns("video").to_list()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "file", "old", "new", "message"),
    [
        (["--with-videos"], "clips/017.mp4", b"mdat", b"tadm", "split train loads 24 rows that are not the 24 of"),
        ([], "train.jsonl", b"Hand up", b"Hand down", "split train loads 24 rows that are not the 24 of"),
        ([], "test.jsonl", b"", b"?", "cannot be loaded"),
    ],
)
def test_a_data_set_that_comes_back_otherwise_is_an_error(
    server, tiny_dataset, tmp_path, options, file, old, new, message
) -> None:
    server.serve = lambda path, data: data.replace(old, new, 1) if path.endswith(f"/{file}") else data
    folder = dataset_folder(tiny_dataset, tmp_path)
    said = microgesture(server, tmp_path, "push-data", folder, "me/v", *options, status=1)
    assert re.search(f"me/v at commit .*{message}.*", said)
    assert "do not use this commit" in said


def test_a_data_set_without_card_or_licence_is_not_published(tiny_dataset, tmp_path) -> None:
    folder = dataset_folder(tiny_dataset, tmp_path)
    (folder / "README.md").write_text("---\npretty_name: x\n---\n")
    with pytest.raises(ValueError, match=r"README\.md names no licence: put `license: …`"):
        dataset_upload(folder, "me/x")
    (folder / "README.md").unlink()
    with pytest.raises(FileNotFoundError, match="a data set is published with a card"):
        dataset_upload(folder, "me/x")


def test_what_stands_in_the_way_is_said_with_its_cure(server, tiny_dataset, tmp_path) -> None:
    server.repos["datasets/me/open"] = Repo(private=False)
    cases = [
        (["me/x"], "", "there is no Hugging Face token on this machine: run `hf auth login`"),
        (["me/x"], "hf_wrong", "the Hub refuses me/x (Invalid username or password.): use a token that may write"),
        (["you/x"], TOKEN, "the Hub refuses you/x (You don't have the rights to create"),
        (["x"], TOKEN, "'x' is no repository on the Hub: give OWNER/NAME"),
        (["me/a b"], TOKEN, "'me/a b' is no name the Hub takes for a repository"),
        (["me/open", "--private"], TOKEN, "me/open exists and is public: make it private in its settings"),
        (["me/x", "--with-videos"], TOKEN, 'does not say "redistributable": true, so no video of tiny is published'),
    ]
    folder = dataset_folder(tiny_dataset, tmp_path, redistributable=False)
    script = (
        "import json, os, sys\nfrom microgesture.cli import main\nfor options, token, _ in json.load(sys.stdin):\n"
    )
    script += f"    os.environ['HF_TOKEN'] = token\n    assert main(['push-data', {str(folder)!r}, *options]) == 1\n"
    last = f"assert main(['push-data', {str(folder)!r}, 'me/x']) == 1\n"
    script += f"from huggingface_hub import constants\nconstants.ENDPOINT = 'http://127.0.0.1:{closed_port()}'\n"
    script += f"os.environ['HF_TOKEN'] = 'hf_x'\n{last}constants.HF_HUB_OFFLINE = True\n{last}"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(server, tmp_path, None), input=json.dumps(cases),
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("microgesture: ")]
    messages = [message for _, _, message in cases]
    messages += ["cannot be reached (", "HF_HUB_OFFLINE is set, so the Hub is not asked: unset it"]
    for line, message in zip(said, messages, strict=True):
        assert message in line
    assert "the repository is as it was. Check the network and run the command again" in said[-2]
    assert not any(repo.files() for repo in server.repos.values())
