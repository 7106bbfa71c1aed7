"""Evaluation and the command line on a trained checkpoint, as a person runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import evaluate_fgsgl
import train_fgsgl
from microgesture import cli, tiny
from microgesture.data import load
from microgesture.data.clip_dataset import NO_LABEL, ClipDataset, clip_sentences
from microgesture.data.clips import DatasetInfo
from microgesture.data.fg_text import FGText
from microgesture.evaluation.calibration import fit_temperature
from microgesture.evaluation.challenge_files import FORMS, read_submission
from microgesture.evaluation.score_file import Scores, score_path
from microgesture.streams.adaptation_data import clip_digests
from modeling_fgsgl import FGSGLForVideoClassification
from processing_fgsgl import FGSGLProcessor

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the run that all tests of this module start from is kept, once the first of them has trained it."""
    return tmp_path_factory.mktemp("trained") / "out"


@pytest.fixture
def trained(kept, tiny_arguments, tmp_path):
    if kept.exists():
        return Path(shutil.copytree(kept, tmp_path / "out"))
    train_fgsgl.main(tiny_arguments)
    shutil.copytree(tmp_path / "out", kept)
    return tmp_path / "out"


def test_every_clip_is_counted_once_whatever_the_batch_size(trained, tiny_dataset, tmp_path, capsys) -> None:
    argv = [str(trained), str(tiny_dataset), "--cache_dir", str(tmp_path / "cache"), "--baselines", "--details"]
    evaluate_fgsgl.main(argv)
    printed = capsys.readouterr().out
    result = json.loads((trained / "eval_test.json").read_text())
    assert result["metrics"]["total"] == 8
    assert f"{result['metrics']['correct']}/8" in printed
    for text in ("majority class", "linear model, frames in order", "by subject: e", "stage 2", str(trained)):
        assert text in printed
    model, processor = FGSGLForVideoClassification.from_pretrained(trained), FGSGLProcessor.from_pretrained(trained)
    test = load(tiny_dataset)["test"]
    clips = ClipDataset(test, Sampling(processor), [-1] * 8)
    one, three = (evaluate_fgsgl.predict(model.eval(), processor, clips, size)[0] for size in (1, 3))
    torch.testing.assert_close(one, three)
    assert int((one.argmax(-1) == torch.tensor(clips.labels)).sum()) == result["metrics"]["correct"]


def run(checkpoint: Path, dataset: Path, cache: Path, *options: str) -> dict:
    """Evaluates on the test split as a person does; gives what was written."""
    evaluate_fgsgl.main([str(checkpoint), str(dataset), "--cache_dir", str(cache), *options])
    return json.loads((checkpoint / "eval_test.json").read_text())


def test_figures_about_text_and_confidence(trained, tiny_dataset, tmp_path, capsys) -> None:
    result = run(trained, tiny_dataset, tmp_path / "cache", "--details")
    printed = capsys.readouterr().out
    test, info = load(tiny_dataset)["test"], DatasetInfo.read(tiny_dataset)
    sentences = clip_sentences(test, info.texts)
    found = result["text"]["retrieval"]
    assert found["sentences"] == len({s for s in sentences if s})
    assert found["recall@1"]["total"] == sum(s is not None for s in sentences) == 7
    attributes = result["text"]["attributes"]
    assert {row["all"]["total"] for row in attributes.values()} == {7}
    assert attributes["direction"]["all"]["true_default"] == 7  # the direction is what the classes differ in
    assert attributes["motion_type"]["differing"]["total"] == sum(
        m not in ("raise", None) for m in test["motion_type"]
    )
    assert "own sentence among" in printed
    assert "record differs" in printed
    scores = Scores.read(score_path(trained, "test"))
    model = FGSGLForVideoClassification.from_pretrained(trained).eval()
    processor = FGSGLProcessor.from_pretrained(trained)
    words = [model.describe(processor(row["video"]["path"])["pixel_values"])[0]["direction"][0][0] for row in test]
    right = [word == truth for word, truth in zip(words, test["direction"], strict=True)]
    assert attributes["direction"]["all"]["described"] == sum(right)
    held_out = ClipDataset(load(tiny_dataset)["validation"], Sampling(processor), [-1] * 8)
    logits = evaluate_fgsgl.predict(model, processor, held_out)[0]
    temperature = result["calibration"]["scaled"]["temperature"]
    assert temperature == pytest.approx(fit_temperature(logits.numpy(), held_out.labels), rel=1e-3)
    assert scores.labels.tolist() == test["label"]
    assert scores.clips[0] == "clips/000.mp4"
    assert set(scores.subjects) == {"e"}
    assert result["class_groups"]["training clips"]["tail (under 20)"]["total"] == 8


@torch.inference_mode()
@pytest.mark.parametrize(("split", "described"), [("test", 7), ("train", 23)])
def test_recall_of_the_own_sentence_clip_by_clip(trained, tiny_dataset, tmp_path, split, described) -> None:
    found = evaluate_fgsgl.evaluate(trained, tiny_dataset, split, tmp_path / "cache", False)["text"]["retrieval"]
    model = FGSGLForVideoClassification.from_pretrained(trained).eval()
    processor = FGSGLProcessor.from_pretrained(trained)
    records = [(row["video"]["path"], FGText.from_mapping(row)) for row in load(tiny_dataset)[split]]
    own = {path: record.sentence() for path, record in records if record}
    texts = {text: model.encode_text(tiny.encoder().encode([text]), "fine")[0] for text in own.values()}
    ranks = []
    for path, sentence in own.items():
        clip = model.encode_video(processor(path)["pixel_values"], "fine")[0]
        ranks.append(sum(float(clip @ text) >= float(clip @ texts[sentence]) for text in texts.values()))
    assert (len(ranks), found["sentences"]) == (described, len(texts))
    for k in (1, 5):
        right = sum(rank <= k for rank in ranks)
        assert (found[f"recall@{k}"]["correct"], found[f"recall@{k}"]["total"]) == (right, described)


def test_a_checkpoint_in_half_precision(trained, tiny_dataset, tmp_path) -> None:
    FGSGLForVideoClassification.from_pretrained(trained).to(torch.bfloat16).save_pretrained(trained)
    assert FGSGLForVideoClassification.from_pretrained(trained).dtype == torch.bfloat16
    result = evaluate_fgsgl.evaluate(trained, tiny_dataset, "test", tmp_path / "cache", False)
    assert result["metrics"]["total"] == result["text"]["attributes"]["direction"]["all"]["total"] + 1 == 8


def test_no_temperature_is_fitted_on_what_is_measured(trained, tiny_dataset, tmp_path) -> None:
    result = evaluate_fgsgl.evaluate(trained, tiny_dataset, "validation", tmp_path / "cache", False)
    assert list(result["calibration"]) == ["plain"]


def test_comparing_checkpoints_and_handing_in(trained, tiny_dataset, tmp_path, capsys) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained, other, ignore=shutil.ignore_patterns("checkpoint-*"))
    with pytest.raises(FileNotFoundError, match="evaluate that checkpoint on that split first"):
        run(trained, tiny_dataset, tmp_path / "cache", "--compare", str(other))
    run(other, tiny_dataset, tmp_path / "cache")
    path = score_path(other, "test")
    scores = Scores.read(path)
    never_right = np.roll(np.eye(4, dtype=np.float32)[scores.labels], 1, axis=1)
    replace(scores, logits=never_right).save(path)
    row = run(trained, tiny_dataset, tmp_path / "cache", "--compare", str(other))["comparisons"][str(other)]
    printed = capsys.readouterr().out
    right = int((scores.logits.argmax(1) == scores.labels).sum())
    assert row["correct"] == {"first": [0], "second": [right]}
    assert row["difference"] == pytest.approx(right / 8)
    assert row["interval"] is None
    assert row["per_subject"] == {"e": {"clips": 8, "difference": pytest.approx(right / 8)}}
    assert f"compared with {other}: {right}/8 against 0/8" in printed
    assert row["seeds"] == {"first": 0, "second": 0}
    assert "one run each, so other seeds may say otherwise" in printed
    assert "1 people are too few for an interval over people; each: e " in printed
    assert "ignores that clips of one person are not independent" in printed
    with pytest.raises(ValueError, match=r"'clips/000\.mp4' is not named like 0054_0"):
        run(trained, tiny_dataset, tmp_path / "cache", "--challenge", "submission")


@pytest.mark.parametrize("form", ["submission", "id_target"])
def test_handing_in_a_split_whose_labels_are_withheld(trained, tiny_dataset, tmp_path, form, capsys) -> None:
    withheld = tmp_path / "withheld"
    shutil.copytree(tiny_dataset, withheld, ignore=shutil.ignore_patterns("train", "validation"))
    table = withheld / "test" / "metadata.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {"label": None, "clip": f"0054_{number}"}
    table.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    argv = [str(trained), str(withheld), "--cache_dir", str(tmp_path / "cache"), "--challenge", form]
    with pytest.raises(ValueError, match="--scores_only writes their scores"):
        evaluate_fgsgl.main(argv)
    evaluate_fgsgl.main([*argv, "--scores_only"])
    path = trained / FORMS[form]
    assert f"to hand in: {path}" in capsys.readouterr().out
    scores = Scores.read(score_path(trained, "test"))
    assert set(scores.labels) == {NO_LABEL}
    best = dict(zip((f"0054_{number}" for number in range(8)), scores.logits.argmax(1).tolist(), strict=True))
    assert len(set(best.values())) > 1
    assert read_submission(path, best) == best
    assert path.read_text().startswith("Id,Target\n") is (form == "id_target")
    assert not (trained / "eval_test.json").exists()


def test_figures_on_clips_that_it_was_adapted_to_are_marked_and_compared_with_no_others(
    trained, tiny_dataset, tmp_path, capsys
) -> None:
    other, cache = Path(shutil.copytree(trained, tmp_path / "other")), ["--cache_dir", str(tmp_path / "cache")]
    record = json.loads((trained / "metrics.json").read_text())
    record["adaptation"] = {"method": "cmpl", "targets": sorted(clip_digests(tiny_dataset, "test"))[:1]}
    (trained / "metrics.json").write_text(json.dumps(record))
    for checkpoint, marked in ((other, False), (trained, True)):
        evaluate_fgsgl.main([str(checkpoint), str(tiny_dataset), *cache, "--scores_only"])
        assert Scores.read(score_path(checkpoint, "test")).transductive is marked
    evaluate_fgsgl.main([str(trained), str(tiny_dataset), *cache])
    assert "TRANSDUCTIVE" in capsys.readouterr().out
    assert json.loads((trained / "eval_test.json").read_text())["transductive"] is True
    assert Scores.read(score_path(trained, "test")).transductive
    with pytest.raises(ValueError, match="such figures are not of one kind"):
        evaluate_fgsgl.main([str(trained), str(tiny_dataset), *cache, "--compare", str(other)])


def test_sentences_of_a_published_language_model(trained, tiny_dataset, tmp_path, capsys) -> None:
    """They are looked up; without a table the run says what is missing, and measures the rest."""
    record = json.loads((trained / "metrics.json").read_text())
    record["text_encoder"] |= {"name": "org/model", "revision": "abc"}
    (trained / "metrics.json").write_text(json.dumps(record))
    found = run(trained, tiny_dataset, tmp_path / "cache")["text"]["retrieval"]
    assert found == {"skipped": "sentences of this split are not embedded yet; --backbone org/model embeds them"}
    assert "own sentence: not measured, because" in capsys.readouterr().out


def test_a_data_set_with_a_test_split_only(trained, tiny_dataset, tmp_path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(tiny_dataset, alone, ignore=shutil.ignore_patterns("train", "validation"))
    result = evaluate_fgsgl.evaluate(trained, alone, "test", tmp_path / "cache", False)
    assert list(result["calibration"]) == ["plain"]
    assert list(result["class_groups"]) == ["moving part of the class default"]
    assert {row["most_frequent_word"] for row in result["text"]["attributes"].values()} == {None}
    with pytest.raises(ValueError, match="has no split 'train', which the baselines are trained on"):
        evaluate_fgsgl.evaluate(trained, alone, "test", tmp_path / "cache", True)


def without_one(tiny_dataset: Path, copy: Path, split: str) -> Path:
    """The data set with 7 instead of 8 clips in a split: they fill neither batches of 3 nor the shares of 2."""
    shutil.copytree(tiny_dataset, copy)
    lines = (copy / split / "metadata.jsonl").read_text().splitlines(keepends=True)
    (copy / split / "metadata.jsonl").write_text("".join(lines[:-1]))
    (copy / split / json.loads(lines[-1])["file_name"]).unlink()
    return copy


def in_two_processes(script: str, argv: list[str]) -> str:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    done = subprocess.run(
        [*command, script, *argv], cwd=ROOT, env=os.environ | {"ACCELERATE_USE_CPU": "true"}, capture_output=True,
        text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.dist
def test_two_processes_give_the_figures_of_one(trained, tiny_dataset, tmp_path) -> None:
    odd = without_one(tiny_dataset, tmp_path / "odd", "test")
    one = run(trained, odd, tmp_path / "cache", "--batch_size", "3")
    alone = Scores.read(score_path(trained, "test"))
    (trained / "eval_test.json").unlink()
    score_path(trained, "test").unlink()
    options = ["--cache_dir", str(tmp_path / "cache"), "--batch_size", "3"]
    printed = in_two_processes("evaluate_fgsgl.py", [str(trained), str(odd), *options])
    assert printed.count("test split\n") == 1  # one process speaks
    assert f"top-1 {one['metrics']['correct']}/7 = " in printed
    two, shared = json.loads((trained / "eval_test.json").read_text()), Scores.read(score_path(trained, "test"))
    for name in ("metrics", "groups", "class_groups", "text"):
        assert one[name] == two[name]
    assert two["metrics"]["total"] == 7
    for name in ("temperature", "ece", "brier", "nll"):
        assert one["calibration"]["scaled"][name] == pytest.approx(two["calibration"]["scaled"][name], rel=1e-4)
    assert alone.clips == shared.clips
    np.testing.assert_allclose(alone.logits, shared.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.dist
def test_training_in_two_processes_reports_what_evaluation_counts(tiny_arguments, tiny_dataset, tmp_path) -> None:
    odd = without_one(tiny_dataset, tmp_path / "odd", "validation")
    in_two_processes(
        "train_fgsgl.py",
        [*tiny_arguments, "--dataset_dir", str(odd), "--per_device_eval_batch_size", "3", "--max_steps", "2"],
    )
    reported = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert reported["machine"]["processes"] == 2
    counted = evaluate_fgsgl.evaluate(tmp_path / "out", odd, "validation", tmp_path / "cache", False)["metrics"]
    assert counted["total"] == 7
    assert {name: reported["validation"][name] for name in ("correct", "total")} == {
        name: counted[name] for name in ("correct", "total")
    }
    assert reported["validation"]["macro_f1"] == pytest.approx(counted["macro_f1"])


def test_overlap_of_published_splits_is_in_every_result(trained, tiny_dataset, tmp_path, caplog) -> None:
    """Written by training and by evaluation, from labels.json."""
    assert json.loads((trained / "metrics.json").read_text())["official_overlap"] is False
    folder = tmp_path / "overlapping"
    shutil.copytree(tiny_dataset, folder)
    about = json.loads((folder / "labels.json").read_text())
    for overlap in (True, "unknown", False):
        (folder / "labels.json").write_text(json.dumps(about | {"official_overlap": overlap}))
        result = evaluate_fgsgl.evaluate(trained, folder, "test", tmp_path / "cache", False)
        assert json.loads((trained / "eval_test.json").read_text())["official_overlap"] == overlap
        text = evaluate_fgsgl.report(result, trained)
        assert (f"people of one split are seen in another as published: {overlap}" in text) is bool(overlap)
    assert caplog.text.count("official_overlap") == 2


class Sampling:
    """A frame source without a cache."""

    def __init__(self, processor) -> None:
        self.processor = processor

    def get(self, video, start, end, mirrored):
        return self.processor.sample(video, start, end, mirrored)


def test_unknown_split_and_other_classes_are_refused(trained, tiny_dataset, tmp_path) -> None:
    with pytest.raises(ValueError, match="has no split 'exam'; it has: "):
        evaluate_fgsgl.evaluate(trained, tiny_dataset, "exam", tmp_path, False)
    config = json.loads((trained / "config.json").read_text())
    config["id2label"]["0"] = "Nod"
    (trained / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="knows other classes"):
        evaluate_fgsgl.evaluate(trained, tiny_dataset, "test", tmp_path, False)


def test_predict_names_the_gesture_and_its_attributes(trained, tiny_dataset, capsys) -> None:
    clip = tiny_dataset / "test" / "clips" / "000.mp4"
    assert cli.main(["predict", str(trained), str(clip)]) == 0
    printed = capsys.readouterr().out
    assert str(clip) in printed
    assert "Hand" in printed
    assert "direction: " in printed


def test_a_file_that_cannot_be_read_is_one_plain_line(trained, tmp_path, capsys) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"")
    assert cli.main(["predict", str(trained), str(bad)]) == 1
    printed = capsys.readouterr().err
    assert "bad.mp4: the file is empty (0 bytes). Copy or download the file again" in printed
    assert "1 of 1 files failed" in printed
    assert "Traceback" not in printed


def test_prepare_needs_the_original_data(tmp_path, capsys) -> None:
    assert cli.main(["prepare", "utd_mhad", "--out", str(tmp_path / "x")]) == 1
    assert "needs the folder of the original data" in capsys.readouterr().err


def test_training_refuses_to_mix_runs_and_missing_data(tiny_arguments, trained, tmp_path) -> None:
    with pytest.raises(FileExistsError, match="already holds checkpoints of a run"):
        train_fgsgl.main(tiny_arguments)
    other = ["--output_dir", str(tmp_path / "new")]
    with pytest.raises(FileNotFoundError, match="does not exist: make it with"):
        train_fgsgl.main([*tiny_arguments, *other, "--dataset_dir", str(tmp_path / "nowhere")])


def test_training_names_a_clip_that_cannot_be_read(tiny_arguments, tiny_dataset, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_dataset, copy)
    (copy / "train" / "clips" / "003.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"1 clips cannot be read.*\n.*003\.mp4"):
        train_fgsgl.main([*tiny_arguments, "--dataset_dir", str(copy)])


def test_a_random_split_marks_every_result_made_with_it(tiny_arguments, tiny_dataset, tmp_path, capsys) -> None:
    leaking = tmp_path / "leaking"
    shutil.copytree(tiny_dataset, leaking)
    labels = json.loads((leaking / "labels.json").read_text()) | {"leak": True}
    (leaking / "labels.json").write_text(json.dumps(labels))
    (leaking / "test" / "metadata.jsonl").write_text(  # the training people test as well, which load refuses elsewhere
        (leaking / "test" / "metadata.jsonl").read_text().replace('"subject": "e"', '"subject": "a"')
    )
    train_fgsgl.main([*tiny_arguments, "--dataset_dir", str(leaking), "--num_train_epochs", "1"])
    out = tmp_path / "out"
    assert json.loads((out / "metrics.json").read_text())["leak"] is True
    assert "**Leak:** the same people are, or may be" in (out / "README.md").read_text()
    for dataset in (leaking, tiny_dataset):  # also on other people: the checkpoint was chosen with the leak
        capsys.readouterr()
        evaluate_fgsgl.main([str(out), str(dataset), "--cache_dir", str(tmp_path / "cache")])
        assert "LEAK: the same people are, or may be" in capsys.readouterr().out
        assert json.loads((out / "eval_test.json").read_text())["leak"] is True


def test_a_split_by_person_is_not_marked(trained, tiny_dataset, tmp_path) -> None:
    result = evaluate_fgsgl.evaluate(trained, tiny_dataset, "test", tmp_path / "cache", False)
    assert "leak" not in result
    assert "leak" not in json.loads((trained / "metrics.json").read_text())
