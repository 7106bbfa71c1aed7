"""What a finished run left in its folder, read for a report."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from microgesture.evaluation.report.published import Components
from microgesture.evaluation.score_file import Scores, score_path, scores_of
from microgesture.run_record import RECORD_FILE

PLAIN = {
    "ml_co_order": "cp_first", "fg_loss": "contrast", "fg_sentences": 0, "fg_text_shuffle": "none",
    "fg_text_noise": 0.0, "text_encoder": "backbone", "category_prototypes": "text", "semantic_loss": "none",
    "class_balance": "none",
}  # fmt: skip
"""Settings that a row of the paper's tables has; a run with others is a control, and stands in none of them."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        name: What the report calls it: the folder's name.
        folder: Where it lies.
        record: Its metrics.json.
        results: Split -> its eval_<split>.json; the test split first.
    """

    name: str
    folder: Path
    record: dict[str, Any]
    results: dict[str, dict[str, Any]]

    @property
    def dataset(self) -> str:
        """Name of the data set that it was trained on."""
        return str(self.record["dataset"])

    def setting(self, name: str, default: Any) -> Any:
        """A setting of the run, from its arguments or else its recipe."""
        return self.record["arguments"].get(name, self.record["recipe_fields"].get(name, default))

    @property
    def stream(self) -> str | None:
        """The stream that was trained, `None` for FG-SGL."""
        return self.record.get("stream")

    @property
    def components(self) -> Components | None:
        """Which row of Tables II and III it is, `None` for a control or a stream."""
        if self.stream or any(self.setting(name, usual) != usual for name, usual in PLAIN.items()):
            return None
        fg_sa, cp_a, ml_co = (bool(self.setting(name, True)) for name in ("fg_sa", "cp_a", "ml_co"))
        told = str((self.record.get("sentences") or {}).get("text") or self.setting("fg_text", "fine"))
        return Components(fg_sa, cp_a, ml_co, "class" if told.startswith("class") else "fine")

    @property
    def shared_settings(self) -> str:
        """All settings but the seed and the components: runs that agree in them stand in one column."""
        fields = self.record["recipe_fields"] | self.record["arguments"]
        apart = {"seed", "run_name", "fg_sa", "cp_a", "ml_co", "fg_text"}
        own = {name: value for name, value in fields.items() if name not in apart}
        return json.dumps(own, sort_keys=True)

    @property
    def leak(self) -> bool:
        """Whether the same people are, or may be, in training and evaluation."""
        return bool(self.record.get("leak") or any(result.get("leak") for result in self.results.values()))

    @property
    def boundary(self) -> float | None:
        """The epoch in which the second stage begins, `None` where the run has no two stages."""
        if {entry["stage"] for entry in self.record["log"] if "stage" in entry} != {1, 2}:
            return None
        return float(self.setting("stage2_start", 0.0)) * self.epochs

    @property
    def epochs(self) -> float:
        """How many epochs it took."""
        return max((entry["epoch"] for entry in self.record["log"] if "epoch" in entry), default=0.0)

    def tested_on(self, split: str) -> str:
        """Name of the data set that the split belongs to; without its scores that of the training set."""
        scores = self.scores(split)
        return self.dataset if scores is None else scores.dataset

    def scores(self, split: str) -> Scores | None:
        """The scores of a split, `None` where they were not kept.

        Raises:
            ValueError: They cannot be read, or were made with other weights than lie there now.
        """
        return self._scores.get(split)

    @cached_property
    def _scores(self) -> dict[str, Scores]:
        """Those that were kept; read once, because the whole weights are read to see whether they belong to them."""
        weights = any(self.folder.glob("model*.safetensors"))
        paths = {split: path for split in self.results if (path := score_path(self.folder, split)).is_file()}
        return {s: scores_of(self.folder, s) if weights else Scores.read(path) for s, path in paths.items()}


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Reads finished runs; those whose folders have one name are told apart by a number.

    Raises:
        FileNotFoundError: A folder holds no finished run.
        ValueError: A file of it cannot be read, or an older version wrote it.
    """
    runs: list[Run] = []
    for folder in folders:
        record = folder / RECORD_FILE
        if not record.is_file():
            raise FileNotFoundError(
                f"{folder} holds no finished run: it has no {RECORD_FILE}; give the output_dir of a training that has "
                "ended, or the folder that `microgesture ablate` wrote"
            )
        name = folder.resolve().name
        same = sum(run.folder.resolve().name == name for run in runs)
        files = {path.stem.removeprefix("eval_"): path for path in sorted(folder.glob("eval_*.json"))}
        order = sorted(files, key=lambda split: (split != "test", split))
        results = {
            split: read_json(files[split], ("metrics", "groups", "class_groups", "calibration")) for split in order
        }
        read = read_json(record, ("dataset", "arguments", "recipe_fields", "log", "stage_losses"))
        runs.append(Run(f"{name} ({same + 1})" if same else name, folder, read, results))
    return runs


def read_json(path: Path, needed: tuple[str, ...]) -> dict[str, Any]:
    """Reads an object from a JSON file.

    Raises:
        ValueError: It is none, or has not what is needed.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read ({error}): train or evaluate again") from error
    missing = [name for name in needed if not isinstance(content, dict) or name not in content]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}: an older version wrote it; train or evaluate again")
    return content


def rate(figures: Sequence[dict[str, Any]]) -> str:
    """Top-1 with k of N: of one run, or mean ± standard deviation over several."""
    counts = ", ".join(f"{f['correct']}/{f['total']}" for f in figures)
    values = [100 * f["correct"] / f["total"] for f in figures]
    if len(values) == 1:
        return f"{values[0]:.2f} ({counts})"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} ({counts})"
