"""Fusion: closed forms, what is fitted where, refusals, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from math import comb
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from microgesture import cli
from microgesture.evaluation.calibration import fit_temperature
from microgesture.evaluation.metrics import classification_metrics
from microgesture.evaluation.score_file import Scores, score_path, scores_of, weights_digest
from microgesture.streams import fusion
from microgesture.streams.adaptation_data import check_one_kind

C = 5


def scores(good: float, seed: int, split: str = "validation", N: int = 300, sure: float = 1.0) -> Scores:
    """A model that is right where its noise lets it; all models of a split see the same clips."""
    labels = np.random.default_rng([len(split)]).integers(0, C, N)
    logits = np.random.default_rng([seed, len(split)]).normal(size=(N, C)) + good * np.eye(C)[labels]
    clips = tuple(f"{split}/{n}.mp4" for n in range(N))
    subjects = tuple(str(n % 3) for n in range(N))
    return Scores("set", split, tuple("abcde"), clips, subjects, labels, (sure * logits).astype(np.float32))


def test_the_vote_is_the_formula() -> None:
    models = [scores(1, 0, N=4), scores(2, 1, N=4)]
    fitted = fusion.Fusion(("x", "y"), (2.0, 0.5), (0.3, 0.7), "top1")
    fused = fusion.fuse(models, fitted)
    expected = 0.3 * softmax(models[0].logits / 2, 1) + 0.7 * softmax(models[1].logits / 0.5, 1)
    np.testing.assert_allclose(softmax(fused.logits, 1), expected, rtol=1e-5)
    np.testing.assert_allclose(np.exp(fused.logits).sum(1), 1, rtol=1e-5)  # so temperature 1 is the right one


@pytest.mark.parametrize("streams", [2, 3, 5])
def test_the_grid_is_even_whole_and_within_its_limit(streams: int) -> None:
    grid = fusion.simplex(streams)
    assert len(grid) <= fusion.MOST_POINTS
    np.testing.assert_allclose(grid.sum(1), 1)
    assert grid.min() == 0
    assert grid.max() == 1
    steps = round(1 / grid[grid > 0].min())
    assert len(np.unique(grid, axis=0)) == len(grid) == comb(steps + streams - 1, streams - 1)


def test_temperatures_are_those_of_each_stream_by_itself() -> None:
    models = [scores(2, 0, sure=5.0), scores(2, 1, sure=0.2)]
    fitted = fusion.fit(models, ["x", "y"])
    assert fitted.temperatures == tuple(fit_temperature(m.logits, m.labels) for m in models)
    assert fitted.temperatures[0] > 2 > 1 > fitted.temperatures[1]


def test_noise_gets_no_weight_and_a_copy_changes_nothing() -> None:
    good, noise = scores(4, 0), scores(0, 1)
    fitted = fusion.fit([good, noise], ["good", "noise"])
    assert fitted.weights[0] > 0.6
    rows = fusion.report([good, noise], [scores(4, 0, "test"), scores(0, 1, "test")], ["good", "noise"])
    assert rows["fused"]["correct"] >= rows["streams"]["good"]["correct"] - 3
    twin = fusion.report([good, good], [good, good], ["one", "two"])
    assert twin["fused"]["correct"] == twin["streams"]["one"]["correct"] == twin["without"]["one"]["correct"]


def test_two_that_err_apart_are_better_together() -> None:
    names = ["x", "y", "z"]
    validation, test = ([scores(2, n, split) for n in range(3)] for split in ("validation", "test"))
    rows = fusion.report(validation, test, names)
    alone = max(row["correct"] for row in rows["streams"].values())
    assert rows["fused"]["correct"] > alone + 20
    for name, row in rows["without"].items():
        assert alone < row["correct"] < rows["fused"]["correct"], name
    assert (rows["fitted_on"], rows["split"]) == ("validation", "test")


def test_the_fusion_is_compared_with_each_stream_on_the_same_clips_and_people() -> None:
    names = ["x", "y"]
    validation, few = ([scores(2, n, split) for n in range(2)] for split in ("validation", "test"))
    test = [replace(s, subjects=tuple(str(clip % 12) for clip in range(len(s.clips)))) for s in few]
    rows = fusion.report(validation, test, names)
    right = fusion.fuse(test, fusion.fit(validation, names)).logits.argmax(1) == test[0].labels
    text = fusion.format_report(rows)
    for name, s in zip(names, test, strict=True):
        gain, alone = rows["streams"][name]["fused_less_this"], s.logits.argmax(1) == s.labels
        won, lost = int((right & ~alone).sum()), int((alone & ~right).sum())
        assert gain["difference"] == pytest.approx((won - lost) / len(alone))
        low, high = gain["interval"]
        assert low < gain["difference"] < high
        assert (
            f"({won} clips won, {lost} lost); 95 % from {100 * low:+.1f} to {100 * high:+.1f} over 12 people" in text
        )
    assert "3 people are too few for an interval" in fusion.format_report(fusion.report(validation, few, names))


def test_nothing_of_the_reported_split_is_fitted() -> None:
    validation = [scores(2, 0), scores(1, 1)]
    test = [scores(2, 0, "test"), scores(1, 1, "test")]
    shuffled = [replace(s, labels=np.roll(s.labels, 7)) for s in test]
    first, second = (fusion.report(validation, split, ["x", "y"]) for split in (test, shuffled))
    for name in ("x", "y"):
        for field in ("temperature", "weight"):
            assert first["streams"][name][field] == second["streams"][name][field]


def test_overconfidence_goes_down() -> None:
    models = {split: [scores(2, n, split, sure=6.0) for n in range(2)] for split in ("validation", "test")}
    rows = fusion.report(models["validation"], models["test"], ["x", "y"])
    for row in rows["streams"].values():
        assert row["ece"] < row["ece_before"] / 2


@pytest.mark.parametrize("metric", fusion.METRICS)
def test_the_metric_is_that_of_the_evaluation(metric: str) -> None:
    few = replace(scores(1, 3, N=12), labels=np.array([0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]))  # no clip of class 4
    p = fusion.probabilities(few, 1.0)
    figures = classification_metrics(p.argmax(1), few.labels, list(few.classes))
    assert fusion._value(p, few.labels, metric) == pytest.approx(figures[metric])
    assert fusion.fit([few, few], ["x", "y"], metric).metric == metric


def test_the_weights_are_the_best_of_the_grid_by_their_metric_and_of_equally_good_ones_by_nll() -> None:
    rare = np.array([0] * 30 + [1, 2, 3, 4] * 2)
    shown = 2 * np.eye(C)[rare]
    noise = [np.random.default_rng(seed).normal(size=(38, C)) for seed in (1, 34)]
    models = [replace(scores(0, 0, N=38), labels=rare, logits=(shown + n).astype(np.float32)) for n in noise]
    found = {}
    for metric in fusion.METRICS:
        fitted = found[metric] = fusion.fit(models, ["x", "y"], metric)

        def rank(weights, metric=metric, fitted=fitted) -> tuple[float, float]:
            fused = fusion.fuse(models, replace(fitted, weights=tuple(weights)))
            figures = classification_metrics(fused.logits.argmax(1), rare, list(fused.classes))
            return figures[metric], float(fused.logits[np.arange(38), rare].mean())

        every = [rank(weights) for weights in fusion.simplex(2)]
        assert len({value for value, _ in every}) < len(every)  # there are equally good ones
        assert rank(fitted.weights) == max(every)
    assert found["top1"].weights != found["macro_f1"].weights


def turned(s: Scores) -> Scores:
    """The same rows, the last one first."""
    return replace(s, clips=s.clips[::-1], subjects=s.subjects[::-1], labels=s.labels[::-1], logits=s.logits[::-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: replace(s, classes=("a", "b", "c", "d", "f")), "x and y cannot be fused: .* other classes"),
        (
            lambda s: replace(s, classes=("b", "a", "c", "d", "e")),
            "x and y cannot be fused: their classes stand in another order",
        ),
        (turned, "x and y cannot be fused: their clips stand in another order"),
        (lambda s: replace(s, clips=("other", *s.clips[1:])), "x and y cannot be fused: .* other clips"),
        (lambda s: replace(s, labels=(s.labels + 1) % C), "x and y cannot be fused: .* different labels"),
        (lambda s: replace(s, split="test"), "x was scored on set/validation, and y on set/test"),
        (lambda s: replace(s, dataset="other"), "and y on other/validation"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fusion.checked([scores(1, 0), change(scores(1, 1))], ["x", "y"])


def test_other_refusals() -> None:
    one = scores(1, 0)
    with pytest.raises(ValueError, match="two or more different checkpoints"):
        fusion.checked([one], ["x"])
    with pytest.raises(ValueError, match="two or more different checkpoints"):
        fusion.checked([one, one], ["x", "x"])
    with pytest.raises(ValueError, match="metric is 'loss'"):
        fusion.fit([one, one], ["x", "y"], "loss")
    with pytest.raises(ValueError, match="200 streams are too many"):
        fusion.simplex(200)
    two, names = [one, scores(1, 1)], ["x", "y"]
    unknown = [replace(s, labels=np.full(300, -1)) for s in two]
    for validation, split in ((two, unknown), (unknown, two)):
        with pytest.raises(ValueError, match="validation has clips without labels, so a fusion can neither be fitted"):
            fusion.report(validation, split, names)
    for change, said in (
        ({"dataset": "own"}, "of set, and test of own"),
        ({"classes": tuple("vwxyz")}, "other classes than test: a, b, c, d, e against v, w, x, y, z"),
    ):
        with pytest.raises(ValueError, match=said):
            fusion.report(two, [replace(scores(1, n, "test"), **change) for n in range(2)], names)


# ---- the command -------------------------------------------------------------------------------------------------


def runs(folder: Path, splits=("validation", "test")) -> list[str]:
    for number, name in enumerate(("skeleton", "heatmap")):
        (folder / name).mkdir()
        for split in splits:
            made = scores(2, number, split)
            replace(made, weights=weights(folder / name)).save(score_path(folder / name, split))
    return [str(folder / "skeleton"), str(folder / "heatmap")]


def weights(folder: Path) -> str:
    return weights_digest(folder)


def test_the_command_writes_figures_and_a_score_file(tmp_path, capsys) -> None:
    out = tmp_path / "fused"
    argv = ["fuse", *runs(tmp_path), "--on", "validation", "--split", "test", "--report", "--out", str(out)]
    assert cli.main(argv) == 0
    printed = capsys.readouterr().out
    for text in ("temperatures and weights from validation", "figures on test", "skeleton", "heatmap", "it brings"):
        assert text in printed
    assert "too good" not in printed
    result = json.loads((out / "fusion_test.json").read_text())
    fused = scores_of(out, "test")
    np.testing.assert_array_equal(fused.logits, fusion.fuse(*_fitted(tmp_path, tuple(result["streams"]))).logits)
    assert int((fused.logits.argmax(1) == fused.labels).sum()) == result["fused"]["correct"]


def _fitted(folder: Path, names: tuple[str, ...]) -> tuple[list[Scores], fusion.Fusion]:
    validation, test = ([scores_of(folder / name, split) for name in names] for split in ("validation", "test"))
    return test, fusion.fit(validation, names)


def test_weights_are_searched_once_for_the_whole_and_once_without_each(tmp_path, capsys, monkeypatch) -> None:
    searched: list[int] = []
    simplex = fusion.simplex
    monkeypatch.setattr(fusion, "simplex", lambda streams: searched.append(streams) or simplex(streams))
    assert cli.main(["fuse", *runs(tmp_path), "--split", "test", "--out", str(tmp_path / "fused")]) == 0
    assert searched == [2]


def test_a_fusion_can_itself_be_fused_and_compared(tmp_path, capsys) -> None:
    folders, out = runs(tmp_path), tmp_path / "fused"
    for split in ("validation", "test"):
        assert cli.main(["fuse", *folders, "--split", split, "--out", str(out)]) == 0
    assert cli.main(["fuse", str(out), folders[0], "--split", "test"]) == 0
    assert "fused" in capsys.readouterr().out


def test_a_fusion_of_what_was_adapted_to_the_clips_is_called_so_and_stays_apart(tmp_path, capsys) -> None:
    folders, out = runs(tmp_path), tmp_path / "fused"
    for folder in folders:
        path = score_path(Path(folder), "test")
        replace(Scores.read(path), transductive=True).save(path)
    assert cli.main(["fuse", *folders, "--split", "test", "--out", str(out)]) == 0
    assert "TRANSDUCTIVE" in capsys.readouterr().out
    assert json.loads((out / "fusion_test.json").read_text())["transductive"] is True
    kinds = {"fused": Scores.read(score_path(out, "test")).transductive, "other": False}
    with pytest.raises(ValueError, match=r"fused was adapted to the clips of test .* and other was not"):
        check_one_kind(kinds, "test")
    assert cli.main(["fuse", *folders, "--out", str(out)]) == 0
    assert "TRANSDUCTIVE" not in capsys.readouterr().out


def test_figures_on_the_split_that_was_fitted_say_so(tmp_path, capsys) -> None:
    argv = runs(tmp_path, splits=("validation",))
    assert cli.main(["fuse", *argv, "--on", "validation", "--report"]) == 0
    assert "the same clips: too good to be reported" in capsys.readouterr().out
    assert cli.main(["fuse", *argv, "--split", "test"]) == 1
    assert (
        "scores_test.safetensors does not exist: evaluate that checkpoint on that split first"
        in capsys.readouterr().err
    )
