"""Evaluation and the command line on a trained checkpoint, as a person runs them."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

import evaluate_fgsgl
import train_fgsgl
from microgesture import cli
from microgesture.data import load
from microgesture.data.clip_dataset import ClipDataset
from modeling_fgsgl import FGSGLForVideoClassification
from processing_fgsgl import FGSGLProcessor


@pytest.fixture
def trained(tiny_arguments, tmp_path):
    train_fgsgl.main(tiny_arguments)
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
    message = printed.splitlines()[-1]
    assert message.startswith("microgesture: ")
    assert "bad.mp4" in message
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
