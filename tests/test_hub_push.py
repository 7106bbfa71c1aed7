"""Publishing checkpoints with the real client to a Hub on this machine (hub_server.py), and loading back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, TINY_VISION, write_recipe
from hub_commands import closed_port, environment, microgesture, run
from hub_server import TOKEN, HubServer, Repo
from huggingface_hub import ModelCard

import train_fgsgl
from microgesture import arguments, cli
from microgesture.hub import checkpoint as hub
from microgesture.model_card import model_card

CODE = {"configuration_fgsgl.py", "container_fgsgl.py", "modeling_fgsgl.py", "processing_fgsgl.py", "video_fgsgl.py"}
CODE |= {"explain_fgsgl.py", "pipeline_fgsgl.py", "spotting_fgsgl.py"}
WHOLE = CODE | {"README.md", "config.json", "metrics.json", "model.safetensors", "preprocessor_config.json"}


@pytest.fixture
def server() -> Iterator[HubServer]:
    server = HubServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> list[str]:
    folder = tmp_path_factory.mktemp("run")
    fields = {
        "dataset_dir": str(tiny_dataset), "output_dir": str(folder / "out"), "cache_dir": str(folder / "cache"),
        "vision_config": TINY_VISION, "num_frames": 4, "embed_dim": 16, "temporal_pooling": "learned",
        "use_cpu": True, "num_train_epochs": 2, "learning_rate": "1e-2", "disable_tqdm": True, "lora_alpha": 32,
        "logging_steps": 1, "stage2_start": 0.5,
    }  # fmt: skip
    return write_recipe(folder / "recipe.yaml", fields)


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


ONE_LINE = """
import json, sys
from transformers import pipeline

pipe = pipeline("micro-gesture-recognition", model="me/tiny", trust_remote_code=True)
print("ANSWER", json.dumps(pipe(sys.argv[1])))
assert "microgesture" not in sys.modules
"""


def test_the_pipeline_comes_from_the_hub_with_one_line(published, tiny_dataset, tmp_path) -> None:
    server, out, _ = published
    clip = min((tiny_dataset / "test" / "clips").glob("*.mp4"))
    answer = json.loads(run(server, tmp_path, "-P", "-c", ONE_LINE, clip).split("ANSWER")[1].splitlines()[0])
    expected = cli.load_pipeline(out, "cpu")(str(clip))
    assert [found["label"] for found in answer] == [found["label"] for found in expected]
    assert [found["score"] for found in answer] == pytest.approx([found["score"] for found in expected], abs=1e-5)


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
    assert {result.dataset_type for result in results.values()} == {record["dataset"]} == {"tiny"}
    assert {result.dataset_name for result in results.values()} == {"tiny, version 1"}
    assert ", trained on tiny" in text
    assert "Data set `tiny`, version `1`; commit " in text
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
