"""Streams that teach each other: real tiny streams, with truth hidden, permuted, and stopped on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import DIRECTIONS, ROOT, moving_square, write_video
from data_sets import add_keypoints
from safetensors.torch import load_file
from test_stream_training import STREAMS as CONFIGS
from test_stream_training import points_of

import evaluate_fgsgl
import train_fgsgl
from microgesture import cli
from microgesture.data import load
from microgesture.data.clips import ClipSample, DatasetInfo
from microgesture.evaluation.score_file import Scores, row_names, score_path, scores_of, weights_digest
from microgesture.streams import adaptation, fusion
from microgesture.streams.adaptation_data import adapted_to, clip_digests, read_rows, write_round
from microgesture.streams.pseudo_labels import REJECTED, Rule
from microgesture.streams.trainer import StreamTrainer

STREAMS = {name: CONFIGS[name] for name in ("skeleton", "heatmap")}
MAIN = {"train_fgsgl.py": train_fgsgl.main, "evaluate_fgsgl.py": evaluate_fgsgl.main}


def work(runs) -> list:
    """What `run_all` does in processes of their own."""
    for run in runs:
        for script, words in run.commands():
            MAIN[script](words)
    return [run for run in runs if not run.done]


def write_rows(data: Path, split: str, rows: list[dict]) -> None:
    (data / split / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def world(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with keypoints and unlabelled clips of another person, and two trained streams."""
    folder = tmp_path_factory.mktemp("world")
    data = folder / "data"
    shutil.copytree(tiny_dataset, data)
    (data / "unlabelled" / "clips").mkdir(parents=True)
    rows = []
    for number in range(8):
        name, direction = f"clips/{number}.mp4", DIRECTIONS[number % 4]
        write_video(data / "unlabelled" / name, moving_square(direction, np.random.default_rng(number + 500)))
        rows.append(ClipSample(name, f"Hand {direction}", "f", None).row())
    write_rows(data, "unlabelled", rows)
    add_keypoints(data, points_of)
    rows = [row | {"truth": row["label"], "label": None} for row in read_rows(data, "unlabelled")]
    write_rows(data, "unlabelled", rows)
    for name in STREAMS:
        recipe = {
            "stream": name, "stream_config": STREAMS[name], "dataset_dir": str(data), "num_frames": 8,
            "output_dir": str(folder / f"source_{name}"), "cache_dir": str(folder / "cache"), "use_cpu": True,
            "num_train_epochs": 10, "per_device_train_batch_size": 8, "learning_rate": "1e-2", "disable_tqdm": True,
            "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "seed": 0,
        }  # fmt: skip
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
        train_fgsgl.main([str(folder / f"{name}.yaml")])
    return folder


def recipe(world: Path, out: Path, data: Path | None = None, **fields) -> adaptation.Recipe:
    fields = {
        "streams": {name: f"{name}.yaml" for name in STREAMS}, "dataset_dir": str(data or world / "data"),
        "output_dir": str(out), "steps": 2, "rounds": 1, "training": {"learning_rate": "1e-3"},
        "rule": {"floor": 0.3},
    } | fields  # fmt: skip
    path = world / f"{out.name}.yaml"
    path.write_text(yaml.safe_dump(fields))
    return adaptation.read(path)


def never(runs) -> list:
    raise AssertionError("nothing may be trained or scored here")


def experiment(asked: adaptation.Recipe) -> adaptation._Experiment:
    data = Path(asked.dataset_dir)
    return adaptation._Experiment(asked, never, load(data), DatasetInfo.read(data), set())


def scored(folder: Path, data: Path, said: int, seed: int, scale: float = 1.0) -> adaptation.StreamRun:
    """A run with scores: mostly right on validation, and `said` of every target."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, names = load(data), tuple(DatasetInfo.read(data).names)
    for split in ("validation", "unlabelled"):
        clips = tuple(row_names(data, split, rows[split]))
        truth = np.array([-1 if label is None else label for label in rows[split]["label"]])
        noise = np.random.default_rng([seed, len(split)]).normal(size=(len(clips), 4))
        shown = 2 * np.eye(4)[truth] if split == "validation" else 6 * np.eye(4)[[said] * len(clips)]
        logits = scale * (noise + shown)
        made_with = weights_digest(folder)
        people = tuple(rows[split]["subject"])
        Scores("tiny", split, names, clips, people, truth, logits.astype(np.float32), made_with).save(
            score_path(folder, split)
        )
    return adaptation.StreamRun(folder.name, 0, folder / "recipe.yaml", folder, (data, ()), "cache")


def weights(out: Path) -> dict[str, np.ndarray]:
    files = sorted(out.rglob("round_*/*/model.safetensors"))
    return {
        f"{file.relative_to(out)}:{name}": value.numpy() for file in files for name, value in load_file(file).items()
    }


@pytest.mark.slow
def test_streams_teach_each_other_without_a_label_and_all_controls_have_the_same_steps(world, tmp_path) -> None:
    said: list[str] = []
    methods = ["cmpl", "source_only", "distillation", "self_training"]
    asked = recipe(world, tmp_path / "out", methods=methods, rounds=2)
    result = adaptation.adapt(asked, work, said.append)
    assert said[0].startswith("inductive: the streams adapt to unlabelled")
    assert (result["protocol"], result["transductive_on"]) == ("inductive", ["unlabelled"])
    rounds = {(row["method"], row["round"], row["stream"]): row for row in result["rounds"]}
    assert len(rounds) == 2 * (2 + 1 + 1 + 2)
    assert {row["known"] for row in rounds.values()} == {0}  # nobody said what the targets show
    first = rounds["cmpl", 1, "skeleton"]
    assert 0 < first["accepted"] <= 8
    assert sum(row["accepted"] for row in first["classes"].values()) == first["accepted"]
    assert rounds["source_only", 1, "skeleton"]["accepted"] == 0
    for method in methods:
        record = json.loads((tmp_path / "out" / method / "round_1" / "skeleton" / "metrics.json").read_text())
        assert record["steps"] == 2
        assert record["adaptation"]["method"] == method
        for number in (1, 2) if method in ("cmpl", "self_training") else (1,):
            record = json.loads((tmp_path / "out" / method / f"round_{number}/skeleton/metrics.json").read_text())
            assert record["recipe_fields"]["init_from"] == "source_skeleton"  # not from the round before
        assert bool(record["adaptation"]["targets"]) == (method in ("cmpl", "self_training"))
    for method, chosen in result["chosen_round"].items():
        validation = [
            sum(row["validation"] for row in rounds.values() if (row["method"], row["round"]) == (method, number))
            for number in (1, 2)
        ]
        assert chosen == 1 + validation.index(max(validation))  # of equally good rounds, the first
        tested = (tmp_path / "out" / method).glob("round_*/*/scores_test.safetensors")
        assert {path.parts[-3] for path in tested} == {f"round_{chosen}"}
    rows = read_rows(tmp_path / "out" / "cmpl" / "round_1" / "skeleton_data", "train")
    assert len(rows) == 24 + first["accepted"]
    assert all(row["truth"] is None for row in rows if "truth" in row)
    told = read_rows(tmp_path / "out" / "distillation" / "round_1" / "skeleton_data", "train")
    files = {
        split: [scores_of(tmp_path / "out" / "source" / name, split) for name in asked.streams]
        for split in ("validation", "train")
    }
    teacher = fusion.fuse(files["train"], fusion.fit(files["validation"], list(asked.streams)))
    assert teacher.clips == tuple(row["file_name"] for row in told)  # the source's clips, and no target
    np.testing.assert_allclose([row["teacher"] for row in told], np.exp(teacher.logits), atol=1e-6)
    table = (tmp_path / "out" / "adaptation.md").read_text()
    assert "Test, inductive: no test clip was a target." in table
    assert f"| cmpl, round {result['chosen_round']['cmpl']} of 2 |" in table
    assert set(result["test"]) == {"source", *methods}
    assert result["test"]["cmpl"]["fused"]["total"] == 8
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    assert adaptation.adapt(asked, lambda runs: [run for run in runs if not run.done], said.append) == result
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    with pytest.raises(ValueError, match="was begun with another rounds, steps"):
        adaptation.adapt(recipe(world, tmp_path / "out", steps=3, methods=methods), work, said.append)


@pytest.mark.slow
def test_source_checkpoints_are_scored_on_this_data_set_and_are_left_as_they_are(world, tmp_path) -> None:
    before = {path: path.stat().st_mtime_ns for path in world.glob("source_*/*")}
    small = tmp_path / "small"
    shutil.copytree(world / "data", small)
    write_rows(small, "test", read_rows(small, "test")[:5])
    asked = {name: recipe(world, tmp_path / name, data, methods=["source_only"]) for name, data in (
        ("all", world / "data"), ("few", small)
    )}  # fmt: skip
    found = {name: adaptation.adapt(one, work, print) for name, one in asked.items()}
    totals = {name: result["test"]["source"]["fused"]["total"] for name, result in found.items()}
    assert totals == {"all": 8, "few": 5}
    assert before == {path: path.stat().st_mtime_ns for path in world.glob("source_*/*")}
    weights = tmp_path / "few" / "source" / "skeleton" / "model.safetensors"
    weights.unlink()
    shutil.copy(tmp_path / "few" / "source_only" / "round_1" / "skeleton" / "model.safetensors", weights)
    with pytest.raises(ValueError, match=r"source_skeleton has been trained again since .* give another output_dir"):
        adaptation.adapt(asked["few"], work, print)


@pytest.mark.slow
def test_the_command_goes_on_where_it_was_stopped(world, tmp_path, capsys, monkeypatch) -> None:
    half_way = tmp_path / "stopped" / "source_only" / "round_1" / "skeleton"
    loss, sent = StreamTrainer.compute_loss, []

    def power_cut(trainer, *args, **kwargs):
        if Path(trainer.args.output_dir) == half_way and not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(trainer, *args, **kwargs)

    monkeypatch.setattr(StreamTrainer, "compute_loss", power_cut)
    whole = recipe(world, tmp_path / "whole", methods=["source_only", "cmpl"])
    stopped = recipe(world, tmp_path / "stopped", methods=["source_only"])
    adaptation.adapt(whole, work, print)
    with pytest.raises(SystemExit):  # after the first step of the second stream
        adaptation.adapt(stopped, work, print)
    assert (half_way / "checkpoint-1").is_dir()
    done = {path: path.stat().st_mtime_ns for path in half_way.parent.glob("*/model.safetensors")}
    assert [path.parent.name for path in done] == ["heatmap"]
    adaptation.adapt(stopped, work, print)
    found = {name: weights(tmp_path / name / "source_only") for name in ("whole", "stopped")}
    assert set(found["whole"]) == set(found["stopped"])
    for name, value in found["whole"].items():
        np.testing.assert_array_equal(value, found["stopped"][name], err_msg=name)
    # The other method by the command, in processes of its own.
    recipe(world, tmp_path / "stopped", methods=["source_only", "cmpl"])
    assert cli.main(["adapt", str(world / "stopped.yaml")]) == 0
    assert f"tables: {tmp_path / 'stopped'}/adaptation.md" in capsys.readouterr().out
    assert done == {path: path.stat().st_mtime_ns for path in done}
    found = {name: weights(tmp_path / name) for name in ("whole", "stopped")}
    assert set(found["whole"]) == set(found["stopped"])
    for name, value in found["whole"].items():
        np.testing.assert_allclose(value, found["stopped"][name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_the_targets_labels_change_nothing(world, tmp_path) -> None:
    found = {}
    for kind in ("none", "true", "permuted"):
        data = tmp_path / kind
        shutil.copytree(world / "data", data)
        rows = read_rows(data, "unlabelled")
        truth = [row.pop("truth") for row in rows]
        if kind != "none":
            for row, label in zip(rows, truth if kind == "true" else truth[1:] + truth[:1], strict=True):
                row["label"] = label
                row |= {"initiator": "hand", "direction": label.removeprefix("Hand "), "provenance": "default"}
        write_rows(data, "unlabelled", rows)
        result = adaptation.adapt(recipe(world, tmp_path / f"out_{kind}", data, methods=["cmpl"]), work, print)
        found[kind] = (weights(tmp_path / f"out_{kind}"), [row["right"] for row in result["rounds"]])
    assert found["true"][1] != found["permuted"][1]  # the report sees the difference
    for kind in ("true", "permuted"):
        assert set(found[kind][0]) == set(found["none"][0])
        for name, value in found[kind][0].items():
            np.testing.assert_array_equal(value, found["none"][0][name], err_msg=name)


def test_targets_that_are_test_clips_are_called_so(world, tmp_path, capsys) -> None:
    said: list[str] = []
    asked = recipe(world, tmp_path / "out", target="test", methods=["cmpl", "true_labels"])
    result = adaptation.adapt(asked, work, said.append)
    assert said[0].startswith("TRANSDUCTIVE: the streams adapt to clips of test itself")
    assert (result["protocol"], result["transductive_on"]) == ("transductive", ["test"])
    ceiling = next(row for row in result["rounds"] if row["method"] == "true_labels")
    assert (ceiling["accepted"], ceiling["right"]) == (8, 8)
    assert "Test, **transductive**" in (tmp_path / "out" / "adaptation.md").read_text()
    adapted, source = tmp_path / "out" / "cmpl" / "round_1" / "skeleton", world / "source_heatmap"
    # The same clips in another folder and under another split's name are the same clips.
    shutil.copytree(world / "data" / "test", tmp_path / "elsewhere" / "strangers")
    assert adapted_to(adapted, tmp_path / "elsewhere", "strangers")
    assert not adapted_to(adapted, world / "data", "validation")
    capsys.readouterr()
    evaluate_fgsgl.main([str(adapted), str(world / "data")])
    assert "TRANSDUCTIVE: this checkpoint was adapted to these very clips" in capsys.readouterr().out
    assert json.loads((adapted / "eval_test.json").read_text())["transductive"] is True
    assert Scores.read(score_path(adapted, "test")).transductive
    card = (adapted / "README.md").read_text()
    assert "It was also adapted to 8 other clips" in card
    assert "figures on these are transductive" in card
    assert "transductive" not in (source / "README.md").read_text()
    for run, split in ((adapted, "validation"), (source, "validation"), (source, "test")):
        evaluate_fgsgl.main([str(run), str(world / "data"), "--split", split, "--scores_only"])
    assert cli.main(["fuse", str(adapted), str(source), "--split", "test"]) == 1
    assert "(transductive)" in capsys.readouterr().err
    with pytest.raises(ValueError, match="such figures are not of one kind"):
        evaluate_fgsgl.main([str(source), str(world / "data"), "--compare", str(adapted)])


def test_a_copy_of_a_test_clip_among_the_targets_is_found(world, tmp_path) -> None:
    data = tmp_path / "data"
    shutil.copytree(world / "data", data)
    rows = read_rows(data, "unlabelled")
    shutil.copy(data / "test" / "clips" / "003.mp4", data / "unlabelled" / "clips" / "0.mp4")

    def seen() -> list[str]:
        targets = clip_digests(data, "unlabelled")
        return adaptation.seen_splits(data, "unlabelled", ["train", "test", "unlabelled"], targets)

    assert seen() == ["test", "unlabelled"]
    rows[0]["end"] = 0.2  # another span of it is another clip
    write_rows(data, "unlabelled", rows)
    assert seen() == ["unlabelled"]


def test_a_round_takes_nothing_of_a_target_but_its_clip(world, tmp_path) -> None:
    data = tmp_path / "data"
    shutil.copytree(world / "data", data)
    # A line separator of Unicode inside a name ends no row.
    more = {"initiator": "hand", "note": "up", "subject": "f\u2028g"}
    rows = [row | more for row in read_rows(data, "unlabelled")]
    write_rows(data, "unlabelled", rows)
    write_round(tmp_path / "round", data, "unlabelled", np.array([2, *[-1] * 7]), {"method": "cmpl"})
    taught = read_rows(tmp_path / "round", "train")[24:]
    given = {name: value for name, value in taught[0].items() if value is not None}
    assert given == {
        "file_name": "target/clips/0.mp4",
        "label": "Hand left",
        "subject": "f\u2028g",
        "keypoints": "target/keypoints/0.npy",
    }
    assert len(taught) == 1


def test_a_stream_is_taught_by_the_others_and_calibrated(world, tmp_path) -> None:
    one, data = experiment(recipe(world, tmp_path / "out")), world / "data"
    runs = {"skeleton": scored(tmp_path / "skeleton", data, 1, 0), "heatmap": scored(tmp_path / "heatmap", data, 2, 1)}
    found = {
        (method, name): one._taught(method, name, runs) for method in ("cmpl", "self_training") for name in STREAMS
    }
    said = {key: set(taught.labels.tolist()) - {REJECTED} for key, taught in found.items()}
    assert said["cmpl", "skeleton"] == said["self_training", "heatmap"] == {2}
    assert said["cmpl", "heatmap"] == said["self_training", "skeleton"] == {1}
    # A teacher that is four times as sure of everything teaches the same.
    runs["heatmap"] = scored(tmp_path / "heatmap", data, 2, 1, scale=4.0)
    again = one._taught("cmpl", "skeleton", runs)
    np.testing.assert_array_equal(again.labels, found["cmpl", "skeleton"].labels)
    np.testing.assert_allclose(again.confidence, found["cmpl", "skeleton"].confidence, rtol=1e-3)


def test_scores_of_other_clips_than_the_data_set_has_teach_nothing(world, tmp_path) -> None:
    data = tmp_path / "data"
    shutil.copytree(world / "data", data)
    runs = {name: scored(tmp_path / name, data, 1, 0) for name in STREAMS}
    write_rows(data, "unlabelled", read_rows(data, "unlabelled")[::-1])
    one = experiment(recipe(world, tmp_path / "out", data))
    with pytest.raises(
        ValueError, match=r"other clips in unlabelled than when .* was scored: give another output_dir"
    ):
        one._taught("cmpl", "skeleton", runs)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_target_whose_label_is_known_to_the_source_is_refused(world, tmp_path, split) -> None:
    data = tmp_path / "data"
    shutil.copytree(world / "data", data)
    shutil.copy(data / split / "clips" / "003.mp4", data / "unlabelled" / "clips" / "0.mp4")
    with pytest.raises(ValueError, match=f"clips of unlabelled stand in {split} as well, whose labels are used"):
        adaptation.adapt(recipe(world, tmp_path / "out", data), never, print)


@pytest.mark.parametrize("missing", ["metrics.json", "model.safetensors"])
def test_a_source_that_is_not_whole_is_not_trained_in_its_place(world, tmp_path, missing) -> None:
    half = tmp_path / "half"
    shutil.copytree(world / "source_skeleton", half)
    (half / missing).unlink()
    fields = yaml.safe_load((world / "skeleton.yaml").read_text()) | {"output_dir": str(half)}
    (world / "half.yaml").write_text(yaml.safe_dump(fields))
    asked = recipe(world, tmp_path / "out", streams={"skeleton": "half.yaml", "heatmap": "heatmap.yaml"})
    with pytest.raises(FileNotFoundError, match="holds no whole checkpoint: train that stream first"):
        adaptation.adapt(asked, never, print)


def test_figures_of_one_stream_alone_are_marked_too(world, tmp_path) -> None:
    asked = recipe(world, tmp_path / "out", streams={"skeleton": "skeleton.yaml"}, methods=["self_training"])
    scores = scores_of(scored(tmp_path / "skeleton", world / "data", 1, 0).output, "validation")
    right = int((scores.logits.argmax(1) == scores.labels).sum())
    found = experiment(asked)._fused([scores], [replace(scores, transductive=True)])
    assert found == {"transductive": True, "streams": {"skeleton": {"correct": right, "total": 8}}}


@pytest.mark.parametrize(("name", "target"), [("", "test"), ("_to_2", "target"), ("_to_4", "target")])
def test_the_shipped_recipes_are_read_and_find_their_streams(name, target) -> None:
    found = adaptation.read(ROOT / "recipes" / f"adapt_utd_mhad{name}.yaml")
    assert set(found.methods) == set(adaptation.METHODS) - (
        set() if target == "test" else {"source_only", "distillation"}
    )
    assert all(Path(path).is_file() for path in found.streams.values())
    assert (found.target, found.test) == (target, "test")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"methods": ["magic"]}, "methods has magic; choose of"),
        ({"methods": "cmpl"}, r"methods is 'cmpl'; it must be a list of names, as in \[cmpl, source_only\]"),
        ({"steps": "1e2"}, "steps is '1e2'; it must be a whole number in digits"),
        ({"rounds": True}, "rounds is True; it must be a whole number"),
        ({"rule": 0.5}, "rule is 0.5; it must be a list of `name: value` lines"),
        ({"rule": {"cap": "1e1"}}, "cap is '1e1'; it must be a number such as 0.5"),
        ({"rounds": 4}, "rounds is 4; give 1 to 3"),
        ({"target": "validation"}, "target is 'validation', whose labels are used"),
        ({"test": "validation"}, "test is 'validation', whose labels are used"),
        ({"streams": {}, "methods": ["self_training"]}, "streams names 0; give one or more"),
        ({"streams": ["skeleton.yaml"]}, "it must be a list of `name: recipe` lines"),
        ({"training": {"max_steps": 3}}, "training has max_steps, which the adaptation decides"),
        ({"rule": {"quorum": 2}}, "rule.quorum is 2, but of 2 streams each has 1 to teach it"),
        ({"rule": {"quorums": 3}}, "rule has no 'quorums'"),
        ({"step": 3}, "has no field 'step'"),
    ],
)
def test_recipes_that_cannot_be(world, tmp_path, fields, message) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(world, tmp_path / "out", **fields)


def test_what_a_method_needs_is_asked_for_before_anything_is_trained(world, tmp_path) -> None:
    with pytest.raises(ValueError, match="true_labels needs the labels of unlabelled"):
        adaptation.adapt(recipe(world, tmp_path / "out", methods=["cmpl", "true_labels"]), never, print)
    mirrored = {"methods": ["cmpl", "distillation"], "training": {"mirror_clips": True}}
    with pytest.raises(ValueError, match="what a teacher says of a mirrored clip"):
        adaptation.adapt(recipe(world, tmp_path / "out", **mirrored), never, print)
    assert not (tmp_path / "out").exists()


def test_a_folder_is_not_gone_on_with_after_a_streams_recipe_has_changed(world, tmp_path) -> None:
    asked = recipe(world, tmp_path / "out", methods=["source_only"])
    settle = {"recipe": asked, "stream_recipes": experiment(asked).fields, "out": tmp_path / "out"}
    adaptation._settle(**settle)
    adaptation._settle(**settle)
    changed = settle["stream_recipes"] | {"skeleton": settle["stream_recipes"]["skeleton"] | {"augment": False}}
    with pytest.raises(ValueError, match="was begun with another stream_recipes; give another output_dir"):
        adaptation._settle(**settle | {"stream_recipes": changed})


def test_a_part_that_is_left_empty_is_as_if_it_were_not_there(world, tmp_path) -> None:
    asked = recipe(world, tmp_path / "out", rule=None, training=None)
    assert (asked.rule, asked.training, asked.target) == (Rule(), {}, "unlabelled")


def test_a_target_that_is_not_there_is_named_with_the_cure(world, tmp_path, capsys) -> None:
    recipe(world, tmp_path / "nowhere", target="exam")
    assert cli.main(["adapt", str(world / "nowhere.yaml")]) == 1
    assert "has no split 'exam'" in capsys.readouterr().err
    with pytest.raises(ValueError, match="--scores_only writes their scores"):
        evaluate_fgsgl.main([str(world / "source_skeleton"), str(world / "data"), "--split", "unlabelled"])
