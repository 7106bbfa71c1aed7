"""`microgesture adapt RECIPE`: streams teach each other on unlabelled clips of new people, with controls beside them.

    OUT/adapt.json                      what was asked for; another experiment needs another folder
    OUT/source/STREAM/                  the source checkpoint, and its scores on this data set
    OUT/METHOD/round_1/STREAM_data/     the data set that the stream is trained on (adaptation_data.py)
    OUT/METHOD/round_1/STREAM/          its checkpoint, trained on from the source checkpoint, and its scores
    OUT/adaptation.json, adaptation.md  tables: what was accepted in each round, and the figures at the end

Each training is `train_fgsgl.py` on such a folder; each scoring `evaluate_fgsgl.py --scores_only`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from microgesture.ablation.runs import Command, Run
from microgesture.data import load
from microgesture.data.clips import DatasetInfo, link_file, write_text
from microgesture.evaluation.calibration import fit_temperature
from microgesture.evaluation.score_file import Scores, row_names, scores_of, weights_digest
from microgesture.recipes import read_recipe
from microgesture.streams import fusion
from microgesture.streams.adaptation_data import clip_digests, seen_splits, write_round
from microgesture.streams.adaptation_tables import as_text, round_row
from microgesture.streams.pseudo_labels import REJECTED, Accepted, Ints, Rule, accept

METHODS = ("cmpl", "source_only", "distillation", "self_training", "true_labels")
PSEUDO = ("cmpl", "self_training")
"""Methods that label targets by scores: a next round has other teachers. The others would only do the same again."""
LABELLED = ("train", "validation")
"""The source's splits: the one is trained on, the other calibrates and chooses."""
LINES, WHOLE, NUMBER = "a list of `name: value` lines", "a whole number in digits", "a number such as 0.5"
KINDS: dict[str, tuple[type, str]] = {
    "streams": (dict, "a list of `name: recipe` lines"), "rule": (dict, LINES), "training": (dict, LINES),
    "methods": (list, "a list of names, as in [cmpl, source_only]"), "rounds": (int, WHOLE), "steps": (int, WHOLE),
    "seed": (int, WHOLE), "quorum": (int, WHOLE), "precision": (float, NUMBER), "floor": (float, NUMBER),
    "share": (float, NUMBER), "cap": (float, NUMBER),
}  # fmt: skip
"""What YAML makes of a field that is written as it should be; it reads 1e2 as a text."""
DECIDED = {"dataset_dir", "output_dir", "init_from", "max_steps", "seed", "resume", "stream"}

Work = Callable[[Sequence[Run]], list[Run]]


@dataclass(frozen=True)
class Recipe:
    """An adaptation recipe.

    Args:
        streams: Name -> recipe of the stream, beside this one; its `output_dir` holds the source checkpoint.
        dataset_dir: The data set that the streams were trained on.
        output_dir: Where everything goes.
        steps: Optimizer steps of each stream in each round, the same for all methods.
        target: The split with the target clips; their labels are not read.
        test: The split that is scored once, at the end; `None` for none.
        methods: Of `METHODS`; `true_labels` is the ceiling, and the only one to which a target's label is known.
        rounds: 1 to 3; which of them counts is chosen by the source's validation clips.
        seed: Of every training.
        training: Fields of every training that differ from the stream's recipe, such as `learning_rate`.
        rule: When a clip is accepted.

    Raises:
        ValueError: A value is out of range; the message names it.
    """

    streams: dict[str, str]
    dataset_dir: str
    output_dir: str
    steps: int
    target: str = "unlabelled"
    test: str | None = "test"
    methods: tuple[str, ...] = ("cmpl", "source_only")
    rounds: int = 2
    seed: int = 0
    training: dict[str, Any] = field(default_factory=dict)
    rule: Rule = field(default_factory=Rule)

    def __post_init__(self) -> None:
        odd = [name for name in self.methods if name not in METHODS]
        if odd or not self.methods:
            raise ValueError(f"methods has {', '.join(odd) or 'no entry'}; choose of: {', '.join(METHODS)}")
        if len(self.streams) < 2 and set(self.methods) & {"cmpl", "distillation"}:
            raise ValueError(f"streams names {len(self.streams)}; streams teach each other, so give two or more")
        if not self.streams:
            raise ValueError("streams names 0; give one or more, as `name: recipe` lines")
        if not 1 <= self.rounds <= 3:
            raise ValueError(f"rounds is {self.rounds}; give 1 to 3: labels of labels get worse, not better")
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; each stream is trained for one optimizer step or more")
        quorum = self.rule.quorum or 1
        if "cmpl" in self.methods and quorum >= len(self.streams):
            raise ValueError(
                f"rule.quorum is {quorum}, but of {len(self.streams)} streams each has {len(self.streams) - 1} to "
                "teach it: lower it or add a stream"
            )
        for name, split in (("target", self.target), ("test", self.test)):
            if split in LABELLED:
                raise ValueError(f"{name} is {split!r}, whose labels are used; name a split of other clips")
        decided = sorted(DECIDED & set(self.training))
        if decided:
            raise ValueError(f"training has {', '.join(decided)}, which the adaptation decides; leave it out")


def read(path: Path) -> Recipe:
    """Reads an adaptation recipe.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: A field is unknown, missing or out of range.
    """
    given = read_recipe(path)
    known = {f.name for f in fields(Recipe)}
    odd = sorted(set(given) - known)
    missing = sorted({"streams", "dataset_dir", "output_dir", "steps"} - set(given))
    if odd or missing:
        what = f"has no field {odd[0]!r} to fill" if odd else f"lacks {', '.join(missing)}"
        raise ValueError(f"recipe {path} {what}; an adaptation has: {', '.join(sorted(known))}")
    rule = given.pop("rule", None) or {}  # also where all of its lines are commented out
    given["training"] = given.get("training") or {}
    _check_kinds(path, given | {"rule": rule})
    odd = sorted(set(rule) - {f.name for f in fields(Rule)})
    if odd:
        raise ValueError(f"recipe {path}: rule has no {odd[0]!r}; it has: {', '.join(f.name for f in fields(Rule))}")
    _check_kinds(path, rule)
    streams = {str(name): str(path.parent / other) for name, other in given.pop("streams").items()}
    methods = tuple(given.pop("methods", Recipe.methods))
    return Recipe(**given, streams=streams, methods=methods, rule=Rule(**rule))


def _check_kinds(path: Path, given: dict[str, Any]) -> None:
    for name, value in given.items():
        if name not in KINDS:
            continue
        kind, words = KINDS[name]
        fits = isinstance(value, int | float if kind is float else kind) and not isinstance(value, bool)
        if not fits and not (name == "quorum" and value is None):
            raise ValueError(f"recipe {path}: {name} is {value!r}; it must be {words}")


@dataclass(frozen=True)
class StreamRun(Run):
    """A training of a stream, and its scores on splits that may have no labels."""

    def commands(self) -> list[Command]:
        """What is left to do."""
        return [
            (script, [*words, "--scores_only"] if script == "evaluate_fgsgl.py" else words)
            for script, words in super().commands()
        ]


def adapt(recipe: Recipe, work: Work, say: Callable[[str], None]) -> dict[str, Any]:
    """Runs what is not done yet of all methods, and writes the tables.

    Args:
        recipe: What to do.
        work: Does what is left of some runs and returns those that failed, as `microgesture.ablation.runs.run_all`.
        say: Gets lines for people.

    Returns:
        What `adaptation.json` holds: `protocol`, `rounds` (a row per method, round and stream), `chosen_round` of each
        method, by the source's validation clips, and `test`.

    Raises:
        ValueError: A split is missing, targets are among the source's clips, `output_dir` holds another experiment, or
            scores are of other clips.
        FileNotFoundError: A source checkpoint is not there.
        OSError: A run failed; the message names its log.
    """
    dataset, out = Path(recipe.dataset_dir), Path(recipe.output_dir)
    data, info = load(dataset), DatasetInfo.read(dataset)
    for split in ("train", "validation", recipe.target, *([recipe.test] if recipe.test else [])):
        if split not in data:
            raise ValueError(
                f"{dataset} has no split {split!r}; it has: {', '.join(data)}. Targets are clips without labels in a "
                "split of their own (target: unlabelled); target: test adapts to the test clips themselves, and every "
                "figure on them is then marked as transductive"
            )
    targets = clip_digests(dataset, recipe.target)
    seen = seen_splits(dataset, recipe.target, list(data), targets)
    for split in (split for split in LABELLED if split in seen):
        raise ValueError(
            f"clips of {recipe.target} stand in {split} as well, whose labels are used: take them out of one of them"
        )
    protocol = "transductive" if recipe.test in seen else "inductive"
    say(_announce(recipe, protocol))
    experiment = _Experiment(recipe, work, data, info, targets)
    _settle(recipe, experiment.fields, out)
    rows: list[dict[str, Any]] = []
    source = experiment.source()
    finals, chosen = {"source": experiment.tested(source)}, dict[str, int]()
    for method in recipe.methods:
        runs, tried = source, list[tuple[int, dict[str, Run]]]()
        for number in range(1, 1 + (recipe.rounds if method in PSEUDO else 1)):
            runs, found = experiment.round(method, number, runs)
            tried.append((sum(row["validation"] for row in found), runs))
            rows += found
            say(as_text({"rounds": found}))
        # Of equally good rounds, the first: `index` finds it.
        right = [validation for validation, _ in tried]
        chosen[method] = 1 + right.index(max(right))
        finals[method] = experiment.tested(tried[chosen[method] - 1][1])
    result = {
        "protocol": protocol if recipe.test else "no test split",
        "transductive_on": seen,
        "target": recipe.target,
        "target_clips": len(data[recipe.target]),
        "steps": recipe.steps,
        "rule": asdict(recipe.rule),
        "rounds": rows,
        "chosen_round": chosen,
        "test": experiment.test_figures(finals) if recipe.test else {},
    }
    write_text(out / "adaptation.json", json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    write_text(out / "adaptation.md", as_text(result) + "\n")
    return result


def _announce(recipe: Recipe, protocol: str) -> str:
    if not recipe.test:
        return f"adapting to {recipe.target}; nothing is tested"
    if protocol == "transductive":
        return (
            f"TRANSDUCTIVE: the streams adapt to clips of {recipe.test} itself (without their labels). Figures on "
            "them are no figures on new clips, and are marked so"
        )
    return f"inductive: the streams adapt to {recipe.target}, and no clip of {recipe.test} is among these"


def _settle(recipe: Recipe, stream_recipes: dict[str, Any], out: Path) -> None:
    """Keeps the settings, with those of the streams; runs made with others are another experiment."""
    path = out / "adapt.json"
    now = json.loads(json.dumps(asdict(recipe) | {"stream_recipes": stream_recipes}, default=str))
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        other = sorted(name for name in now if now[name] != before.get(name, now[name]) and name != "methods")
        if other:
            raise ValueError(f"{out} was begun with another {', '.join(other)}; give another output_dir, or remove it")
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(now, ensure_ascii=False, indent=1) + "\n")


class _Experiment:
    """What all rounds of all methods share.

    Raises:
        ValueError: A method asks for what is not there; it is said before anything is trained.
    """

    def __init__(self, recipe: Recipe, work: Work, data: Any, info: DatasetInfo, targets: set[str]) -> None:
        self.recipe, self.work, self.data, self.info = recipe, work, data, info
        self.dataset, self.targets = Path(recipe.dataset_dir), sorted(targets)
        self.fields = {name: read_recipe(Path(path)) for name, path in recipe.streams.items()}
        self.names = list(recipe.streams)
        self.clips = {split: row_names(self.dataset, split, data[split]) for split in data}
        self.counts = np.bincount(data["train"]["label"], minlength=len(info.names)).tolist()
        mirrored = [name for name, fields in self.fields.items() if (fields | recipe.training).get("mirror_clips")]
        if mirrored and "distillation" in recipe.methods:
            raise ValueError(
                f"distillation does not know what a teacher says of a mirrored clip, and the recipe of {mirrored[0]} "
                "mirrors clips: leave distillation out, or give `training: {mirror_clips: false}`"
            )
        if "true_labels" in recipe.methods and (self._truth() == REJECTED).all():
            raise ValueError(
                f"true_labels needs the labels of {recipe.target}, and no clip there has one: leave it out of methods"
            )

    def source(self, train: bool = False) -> dict[str, Run]:
        """The source checkpoints, scored."""
        runs: dict[str, Run] = {}
        for name in self.names:
            folder, here = Path(self.fields[name]["output_dir"]), Path(self.recipe.output_dir) / "source" / name
            if not self._run("source", name, folder, Path(self.recipe.streams[name])).trained:
                raise FileNotFoundError(
                    f"{folder}, where {self.recipe.streams[name]} trains to, holds no whole checkpoint: train that "
                    "stream first"
                )
            # In a folder of its own: scores beside the checkpoint may be of another data set's clips.
            for file in sorted(path for path in folder.iterdir() if path.is_file()):
                if not file.name.startswith((".", "scores_", "eval_")):
                    link_file(file, here / file.name)
            if weights_digest(here) != weights_digest(folder):
                raise ValueError(f"{folder} has been trained again since {here} was made; give another output_dir")
            runs[name] = self._run("source", name, here, Path(self.recipe.streams[name]), train)
        return self._done(runs)

    def _run(self, row: str, name: str, folder: Path, recipe: Path, train: bool = False) -> StreamRun:
        splits = ("validation", self.recipe.target, *(["train"] if train else []))
        cache = str(self.fields[name].get("cache_dir", "cache"))
        return StreamRun(f"{row}, {name}", self.recipe.seed, recipe, folder, (self.dataset, splits), cache)

    def tested(self, runs: dict[str, Run]) -> dict[str, Run]:
        """The same runs, with scores on the test clips."""
        if not self.recipe.test:
            return runs
        return self._done({name: replace(run, test=(self.dataset, (self.recipe.test,))) for name, run in runs.items()})

    def _done(self, runs: dict[str, Run]) -> dict[str, Run]:
        failed = self.work(list(runs.values()))
        if failed:
            logs = ", ".join(f"{run.output}.log" for run in failed)
            raise OSError(f"{len(failed)} runs failed, see {logs}; start the command again to go on")
        return runs

    def round(self, method: str, number: int, teachers: dict[str, Run]) -> tuple[dict[str, Run], list[dict[str, Any]]]:
        """One round: labels from the teachers' scores, data sets, trainings, scores; the runs and their table."""
        folder = Path(self.recipe.output_dir) / method / f"round_{number}"
        taught = {name: self._taught(method, name, teachers) for name in self.names}
        soft = self._soft_targets() if method == "distillation" else None
        runs: dict[str, Run] = {}
        for name in self.names:
            about = {
                "method": method,
                "round": number,
                "target": self.recipe.target,
                "accepted": int((taught[name].labels != REJECTED).sum()),
                "targets": self.targets if method in (*PSEUDO, "true_labels") else [],
            }
            run = self._run(f"{method}, round {number}", name, folder / name, folder / f"{name}.yaml")
            if not run.trained:
                place = folder / f"{name}_data"
                write_round(place, self.dataset, self.recipe.target, taught[name].labels, about, soft)
                self._write_recipe(name, run, place)
            runs[name] = run
        self._done(runs)
        truth, rows = self._truth(), []
        for name in self.names:
            validation = self._scores(runs[name], "validation")
            rows.append(
                {"method": method, "round": number, "stream": name}
                | round_row(taught[name], truth, self.counts, self.info.names)
                | {"validation": int((validation.logits.argmax(1) == validation.labels).sum())}
                | {"validation_clips": len(validation.labels)}
            )
        return runs, rows

    def _taught(self, method: str, name: str, teachers: dict[str, Run]) -> Accepted:
        """The clips that a stream is taught in this round."""
        truth, C = self._truth(), len(self.info.names)
        if method not in PSEUDO:
            labels = truth if method == "true_labels" else np.full(len(truth), REJECTED, np.int64)
            return Accepted(labels, np.zeros(len(truth)), np.zeros(C), float("nan"))
        chosen = [name] if method == "self_training" else [other for other in self.names if other != name]
        validation, target = (
            [self._scores(teachers[other], split) for other in chosen] for split in ("validation", self.recipe.target)
        )
        temperatures = [fit_temperature(file.logits, file.labels) for file in validation]
        on_target, on_validation = (
            np.stack([fusion.probabilities(file, T) for file, T in zip(files, temperatures, strict=True)])
            for files in (target, validation)
        )
        rule = self.recipe.rule if method == "cmpl" else replace(self.recipe.rule, quorum=1)
        return accept(on_target, on_validation, validation[0].labels, self.counts, rule)

    def _truth(self) -> Ints:
        """True class ids of the targets, `REJECTED` where nobody knows: for `true_labels` and for the tables only."""
        labels = self.data[self.recipe.target]["label"]
        return np.array([REJECTED if label is None else label for label in labels], np.int64)

    def _scores(self, run: Run, split: str) -> Scores:
        scores = scores_of(run.output, split)
        if list(scores.clips) != self.clips[split]:
            raise ValueError(
                f"{self.dataset} has other clips in {split} than when {run.output} was scored: give another output_dir"
            )
        return scores

    def _soft_targets(self) -> Any:
        """The fused source streams' probabilities of the source's training clips `(N_train, C)`."""
        runs = self.source(train=True)
        validation, train = (
            fusion.checked([self._scores(runs[name], split) for name in self.names], self.names)
            for split in ("validation", "train")
        )
        return np.exp(fusion.fuse(train, fusion.fit(validation, self.names)).logits.astype(np.float64))

    def _write_recipe(self, name: str, run: Run, data: Path) -> None:
        source = Path(self.fields[name]["output_dir"])
        whole = self.fields[name] | self.recipe.training
        whole |= {"dataset_dir": str(data), "init_from": str(source), "max_steps": self.recipe.steps}
        whole |= {"output_dir": str(run.output), "seed": self.recipe.seed}
        write_text(run.recipe, yaml.safe_dump(whole, sort_keys=False, allow_unicode=True))

    def test_figures(self, finals: dict[str, dict[str, Run]]) -> dict[str, Any]:
        """Each stream and their fusion on the test clips, for each method: fitted on validation as `fuse` does."""
        figures = {}
        for method, runs in finals.items():
            files = {
                split: [self._scores(runs[name], split) for name in self.names]
                for split in ("validation", str(self.recipe.test))
            }
            figures[method] = self._fused(files["validation"], files[str(self.recipe.test)])
        return figures

    def _fused(self, validation: list[Scores], test: list[Scores]) -> dict[str, Any]:
        if (test[0].labels < 0).any():
            return {"skipped": f"{self.recipe.test} has clips without labels"}
        if len(self.names) == 1:
            right = int((test[0].logits.argmax(1) == test[0].labels).sum())
            figures = {self.names[0]: {"correct": right, "total": len(test[0].labels)}}
            return {"transductive": test[0].transductive, "streams": figures}
        return fusion.report(fusion.checked(validation, self.names), fusion.checked(test, self.names), self.names)
