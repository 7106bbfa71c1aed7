"""Publishing with the real `huggingface_hub` client to a Hub on this machine (hub_server.py), and loading back."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import DIRECTIONS, TINY_VISION
from hub_server import TOKEN, HubServer, Repo
from huggingface_hub import ModelCard

import train_fgsgl
from microgesture import arguments
from microgesture.data import load
from microgesture.hub import checkpoint as hub
from microgesture.hub.dataset import dataset_upload
from microgesture.model_card import model_card

ROOT = Path(__file__).resolve().parent.parent
CODE = {"configuration_fgsgl.py", "container_fgsgl.py", "modeling_fgsgl.py", "processing_fgsgl.py", "video_fgsgl.py"}
CODE |= {"explain_fgsgl.py", "pipeline_fgsgl.py", "spotting_fgsgl.py"}
WHOLE = CODE | {"README.md", "config.json", "metrics.json", "model.safetensors", "preprocessor_config.json"}


@pytest.fixture
def server() -> Iterator[HubServer]:
    server = HubServer()
    yield server
    server.close()


def environment(server: HubServer, home: Path, token: str | None = TOKEN) -> dict[str, str]:
    """HF_ENDPOINT is read when huggingface_hub is imported, so every command is a process of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_DATASETS_CACHE")}
    ours = {"HF_ENDPOINT": server.url, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    return kept | ours | {"PYTHONPATH": str(ROOT)} | ({"HF_TOKEN": token} if token else {})


def run(server: HubServer, home: Path, *argv: object, token: str | None = TOKEN, status: int = 0) -> str:
    """Runs a command; everything it said."""
    done = subprocess.run(
        [sys.executable, *map(str, argv)], cwd=home, env=environment(server, home, token),
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == status, said[-3000:]
    assert TOKEN not in said
    return said


def microgesture(server: HubServer, home: Path, *argv: object, token: str | None = TOKEN, status: int = 0) -> str:
    return run(server, home, "-m", "microgesture.cli", *argv, token=token, status=status)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> list[str]:
    folder = tmp_path_factory.mktemp("run")
    fields = {
        "dataset_dir": str(tiny_dataset), "output_dir": str(folder / "out"), "cache_dir": str(folder / "cache"),
        "vision_config": TINY_VISION, "num_frames": 4, "embed_dim": 16, "temporal_pooling": "learned",
        "use_cpu": True, "num_train_epochs": 2, "learning_rate": "1e-2", "disable_tqdm": True, "lora_alpha": 32,
        "logging_steps": 1, "stage2_start": 0.5,
    }  # fmt: skip
    (folder / "recipe.yaml").write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in fields.items()))
    return [str(folder / "recipe.yaml")]


@pytest.fixture(scope="module")
def published(recipe: list[str]) -> Iterator[tuple[HubServer, Path, str]]:
    """A run that publishes its checkpoint; the server, the run's folder, what it said."""
    server, folder = HubServer(), Path(recipe[0]).parent
    flags = ["--push_to_hub", "--hub_model_id", "tiny", "--hub_private_repo", "true", "--hub_token", TOKEN]
    said = run(server, folder, ROOT / "train_fgsgl.py", *recipe, *flags, token=None)
    yield server, folder / "out", said
    server.close()


# ---- a run that publishes -------------------------------------------------------------------------------------------


def test_a_run_publishes_its_complete_checkpoint_and_nothing_else(published) -> None:
    server, out, said = published
    repo = server.repos["models/me/tiny"]
    assert repo.private
    assert set(repo.files()) == WHOLE
    assert len(repo.commits) == 2  # the empty beginning, and one commit: no push on the way
    assert repo.files()["model.safetensors"] == (out / "model.safetensors").read_bytes()
    assert f"to model me/tiny: {len(WHOLE)} files" in said
    assert re.search(r"not published: _base/, adapter/, checkpoint-\d+/", said)
    assert "logits differ by at most 0, embeddings and prototypes by 0" in said
    assert said.index("to model me/tiny") < said.index("published: ")


@pytest.mark.slow
@pytest.mark.dist
def test_of_two_processes_one_publishes(server, recipe, tmp_path) -> None:
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(closed_port())]
    flags = ["--push_to_hub", "--hub_model_id", "me/two", "--hub_revision", "draft", "--num_train_epochs", "1"]
    flags += ["--output_dir", str(tmp_path / "out"), "--stage2_start", "0"]
    said = run(server, tmp_path, *launch, ROOT / "train_fgsgl.py", *recipe, *flags)
    repo = server.repos["models/me/two"]
    assert (set(repo.files("draft")), repo.files("main"), len(repo.commits)) == (WHOLE, {}, 2)
    assert said.count("loaded back and compared: logits differ by at most 0, ") == 1
    assert json.loads(repo.files("draft")["metrics.json"])["machine"]["processes"] == 2


def test_nothing_of_the_run_holds_the_token_or_a_pickle_of_its_arguments(published) -> None:
    server, out, _ = published
    stored = [data for repo in server.repos.values() for tree in repo.commits.values() for data in tree.values()]
    files = [path for path in out.rglob("*") if path.is_file()]
    assert any(path.suffix == ".pt" for path in files)
    assert not any(TOKEN.encode() in data for data in [*stored, *(path.read_bytes() for path in files)])
    assert not any(path.name == "training_args.bin" for path in files)


def test_the_card_of_a_run(published) -> None:
    server, out, _ = published
    text = server.repos["models/me/tiny"].files()["README.md"].decode()
    record = json.loads((out / "metrics.json").read_text())
    figures = record["validation"]
    results = {result.metric_type: result for result in ModelCard(text).data.eval_results}
    assert results["accuracy"].metric_value == figures["top1"] == figures["correct"] / 8
    assert results["accuracy"].metric_name == f"top-1 ({figures['correct']} of 8 clips)"
    assert results["f1"].metric_value == figures["macro_f1"]
    assert {result.dataset_split for result in results.values()} == {"validation"}
    assert 'AutoModel.from_pretrained("me/tiny", trust_remote_code=True)' in text
    assert "THIS_REPOSITORY" not in text
    settings = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert settings["learning_rate"] == record["arguments"]["learning_rate"] == 0.01
    assert settings["vision_config"] == TINY_VISION
    assert str(out.parent) not in text
    for row in record["parameters"]:
        assert f"| {row['part']} | {row['trained']:,} | {row['frozen']:,} |" in text
    for library, version in record["versions"].items():
        assert f"| {library} | {version} |" in text
    for heading in ("Intended use", "Forbidden use", "Limits", "Citation", "Licence", "Classes"):
        assert f"## {heading}\n" in text
    assert "at work or in education" in text
    assert "2603.16269" in text


# ---- microgesture push ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_adapters_alone_load_on_their_base_and_answer_like_the_merged_network(published, tmp_path) -> None:
    server, out, _ = published
    microgesture(server, tmp_path, "push", out / "_base", "me/base", "--private")
    base = server.repos["models/me/base"]
    assert set(base.files()) == WHOLE - {"metrics.json"}
    said = microgesture(server, tmp_path, "push", out, "me/lora", "--adapter", "--base", "me/base", "--private")
    files = server.repos["models/me/lora"].files()
    assert set(files) == {"README.md", "adapter_config.json", "adapter_model.safetensors", "metrics.json"}
    settings = json.loads(files["adapter_config.json"])
    assert (settings["base_model_name_or_path"], settings["revision"]) == ("me/base", base.branches["main"])
    assert str(tmp_path.parent) not in files["adapter_config.json"].decode()
    assert len(files["adapter_model.safetensors"]) < len(base.files()["model.safetensors"])
    found = re.search(r"logits differ by at most (\S+), embeddings and prototypes by (\S+)\n", said)
    assert found
    assert max(map(float, found.groups())) < 1e-5
    card = ModelCard(files["README.md"].decode())
    assert (card.data.base_model, card.data.library_name) == ("me/base", "peft")
    assert f'"revision": "{base.branches["main"]}"' in card.text
    # The line of the card is the one that was compared: it runs as it stands.
    snippet = card.text.split("```python\n")[1].split("logits = ")[0]
    snippet += "print('CLASS', type(model).__name__, model.describe.__name__, processor.num_frames)"
    assert "CLASS FGSGLForVideoClassification describe 4" in run(server, tmp_path, "-c", snippet)


@pytest.mark.slow
def test_adapters_on_another_base_are_refused_after_loading_back(published, recipe, tmp_path) -> None:
    server, out, _ = published
    other = [*recipe, "--seed", "7", "--output_dir", str(tmp_path)]
    trainer, _ = train_fgsgl.build_trainer(*arguments.parse(other)[:3])  # which writes the base of its adapters
    trainer.processing_class.save_pretrained(tmp_path / "_base")
    server.repos["models/me/other"] = repo = Repo(private=False)
    repo.commits["0" * 40] = {path.name: path.read_bytes() for path in (tmp_path / "_base").iterdir()}
    said = microgesture(server, tmp_path, "push", out, "me/x", "--adapter", "--base", "me/other", status=1)
    assert re.search(r"is not what lies in .* \(logits differ by at most .*\): do not use this commit", said)
    assert "check that --base is the network that this run started from" in said


@pytest.mark.slow
def test_adapters_need_a_base_with_the_same_settings_and_the_same_code(published, tmp_path) -> None:
    server, out, _ = published
    tree = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    bases = {
        "me/code": tree | {"modeling_fgsgl.py": b"import os\n"},
        "me/size": tree | {"config.json": tree["config.json"].replace(b'"embed_dim": 16', b'"embed_dim": 32')},
        "me/part": {name: data for name, data in tree.items() if name != "video_fgsgl.py"},
    }
    for name, files in bases.items():
        server.repos[f"models/{name}"] = Repo(private=False)
        server.repos[f"models/{name}"].commits["0" * 40] = files
    script = (
        "import sys\nfrom pathlib import Path\nfrom microgesture.hub.checkpoint import adapter_only\n"
        "for base in sys.argv[2:]:\n"
        "    try:\n        adapter_only(Path(sys.argv[1]), 'me/nowhere', base)\n"
        "    except (OSError, ValueError) as error:\n        print(base, type(error).__name__, error)\n"
    )
    said = run(server, tmp_path, "-c", script, out, *bases, "me/none").splitlines()
    assert "me/code ValueError the base me/code has another modeling_fgsgl.py than" in said[0]
    assert "me/size ValueError the base me/size is another network than" in said[1]
    assert said[1].endswith("config.json differs in embed_dim")
    assert said[2].endswith("no complete FG-SGL checkpoint; missing: video_fgsgl.py")
    assert "me/none FileNotFoundError the base me/none does not exist, or is private and not yours" in said[3]
    assert "models/me/nowhere" not in server.repos


@pytest.mark.slow
def test_a_checkpoint_that_comes_back_otherwise_is_an_error(published, tmp_path) -> None:
    server, out, _ = published
    half = lambda path, data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2)  # noqa: E731
    server.serve = lambda path, data: half(path, data) if path == "model.safetensors" else data
    try:
        said = microgesture(server, tmp_path, "push", out, "me/corrupt", status=1)
    finally:
        server.serve = lambda path, data: data
    assert re.search(r"me/corrupt at commit \w{40} is not what lies in .*logits differ .*do not use this commit", said)


def test_a_killed_upload_leaves_nothing_and_the_next_replaces_what_an_earlier_one_left(published, tmp_path) -> None:
    server, out, _ = published
    before = {"training_args.bin": b"\0" + TOKEN.encode(), "model-00001-of-2.safetensors": b"\0", "a.png": b""}
    repo = server.repos["models/me/again"] = Repo(private=False)
    repo.commits["0" * 40] = before
    folder = tmp_path / "out"
    shutil.copytree(out, folder, ignore=shutil.ignore_patterns("checkpoint-*"))
    (folder / "training_args.bin").write_bytes(b"\0")
    arrived, go_on = threading.Event(), threading.Event()

    def stall(data: bytes) -> None:
        arrived.set()
        go_on.wait(60)

    server.receive = stall
    server.blobs.clear()
    upload = "import sys\nfrom pathlib import Path\nfrom microgesture.hub.checkpoint import whole_checkpoint\n"
    upload += "from microgesture.hub.upload import send\nsend(whole_checkpoint(Path('out'), 'me/again'), print)\n"
    process = subprocess.Popen([sys.executable, "-c", upload], cwd=tmp_path, env=environment(server, tmp_path))
    try:
        while not arrived.wait(0.1):
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        go_on.set()
        server.receive = lambda data: None
    assert (repo.files(), len(repo.commits)) == (before, 1)
    said = run(server, tmp_path, "-c", upload)
    assert set(repo.files()) == WHOLE | {"a.png"}
    assert len(repo.commits) == 2
    assert (
        "removed from me/again (its history still has them): model-00001-of-2.safetensors, training_args.bin" in said
    )
    assert hub.whole_checkpoint(folder, "me/again").left_out == ("_base/", "adapter/", "training_args.bin")
    assert "me/tiny" not in repo.files()["README.md"].decode()


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


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ---- what belongs to a checkpoint -----------------------------------------------------------------------------------


def test_a_dry_run_lists_the_files_and_asks_nobody(published, tmp_path, capsys) -> None:
    from microgesture.cli import main

    _, out, _ = published
    assert main(["push", str(out), "me/dry", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"to model me/dry: {len(WHOLE)} files, " in said
    for name in WHOLE:
        assert re.search(rf"^  {re.escape(name)} +\S+ k?B$", said, re.M)
    assert main(["push", str(out), "me/dry", "--adapter"]) == 1
    assert "--adapter and --base belong together" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "missing: model.safetensors. Give the --output_dir"),
        (lambda folder: (folder / "container_fgsgl.py").unlink(), "missing: container_fgsgl.py"),
        (lambda folder: (folder / "config.json").unlink(), "missing: config.json"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "holds adapters only"),
        (lambda folder: swap(folder / "config.json", '"modeling_fgsgl', '"x/y--modeling_fgsgl'), "its code from x/y"),
        (
            lambda folder: swap(folder / "metrics.json", '"commit": "', f'"commit": "{TOKEN}'),
            "metrics.json holds what",
        ),
    ],
)
def test_what_is_no_complete_checkpoint_is_not_published(published, tmp_path, spoil, message) -> None:
    folder = tmp_path / "out"
    shutil.copytree(published[1], folder, ignore=shutil.ignore_patterns("checkpoint-*"))
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
        hub.whole_checkpoint(folder, "me/x")


def swap(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_shards_belong_to_a_checkpoint_and_a_missing_one_is_named(published, tmp_path) -> None:
    from modeling_fgsgl import FGSGLForVideoClassification

    folder = tmp_path / "out"
    shutil.copytree(published[1], folder, ignore=shutil.ignore_patterns("checkpoint-*", "model.safetensors"))
    FGSGLForVideoClassification.from_pretrained(published[1]).save_pretrained(folder, max_shard_size="60KB")
    shards = sorted(path.name for path in folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert {*shards, "model.safetensors.index.json"} <= set(hub.whole_checkpoint(folder, "me/x").files)
    (folder / shards[1]).unlink()
    with pytest.raises(FileNotFoundError, match=f"missing: {shards[1]}"):
        hub.whole_checkpoint(folder, "me/x")


def test_an_edited_card_is_published_as_it_is(published, tmp_path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(published[1], folder, ignore=shutil.ignore_patterns("checkpoint-*"))
    with (folder / "README.md").open("a") as card:
        card.write("Recorded in Oulu.\n")
    text = bytes(hub.whole_checkpoint(folder, "me/x").files["README.md"]).decode()
    assert text.endswith("Recorded in Oulu.\n")
    assert 'from_pretrained("me/x"' in text


def test_without_a_run_the_card_says_so(published, tmp_path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(published[1], folder, ignore=shutil.ignore_patterns("checkpoint-*", "README.md", "metrics.json"))
    text = bytes(hub.whole_checkpoint(folder, "me/x").files["README.md"]).decode()
    assert "No record of a training run comes with these weights." in text
    assert "model-index" not in text


def test_the_card_names_the_backbone_and_an_overlap_of_the_published_splits(published) -> None:
    config = json.loads((published[1] / "config.json").read_text())
    record = json.loads((published[1] / "metrics.json").read_text())
    assert ModelCard(model_card(config, record)).data.base_model is None
    card = model_card(config, record | {"backbone": "OpenGVLab/InternVL2_5-1B", "official_overlap": "unknown"})
    data = ModelCard(card).data
    assert (data.base_model, data.base_model_relation) == ("OpenGVLab/InternVL2_5-1B", "finetune")
    assert "is not known to be disjoint in people from another" in card
    assert "is not disjoint in people from another" in model_card(config, record | {"official_overlap": True})


def test_a_card_shows_any_name_as_it_is() -> None:
    names = ["a|b", "<script>x</script>", "two\nlines", "`tick` *star*", "# no heading", "[x](http://y)"]
    config = {"id2label": dict(enumerate(names)), "category_texts": names}
    text = model_card(config, None)
    rows = [line for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    assert rows[0] == r"| 0 | a\|b | a\|b |"
    assert "<script>" not in text
    assert rows[2] == "| 2 | two lines | two lines |"
    assert rows[3] == r"| 3 | \`tick\` \*star\* | \`tick\` \*star\* |"
    assert rows[4] == r"| 4 | \# no heading | \# no heading |"
    assert rows[5] == r"| 5 | \[x\](http://y) | \[x\](http://y) |"
    assert ModelCard(text).data.license == "apache-2.0"


# ---- microgesture push-data -----------------------------------------------------------------------------------------


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
