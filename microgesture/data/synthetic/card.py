"""Measures of a synthetic data set for its card, and the picture of the README.

    python -m microgesture.data.synthetic.card OUT
    python -m microgesture.data.synthetic.card OUT --picture docs/synthetic_clips.png

They say how far a class can be read from the record alone, from the keypoints by a linear model, from one frame, and
from what was drawn without looking at the class. They are evidence about code and mechanism, not about people.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from microgesture.data.fg_text import ATTRIBUTES
from microgesture.data.synthetic.coder import Coder
from microgesture.data.synthetic.dataset import MANIFEST, load_keypoints
from microgesture.data.synthetic.figure import JOINTS
from microgesture.data.synthetic.gestures import CLASSES, draw_programme

Row = dict[str, Any]
Features = NDArray[np.float64]

FRAMES, THUMBNAIL = 8, 24
DRAWS = 1000


def read_rows(split: Path) -> list[Row]:
    """The rows of a split's metadata.jsonl."""
    return [json.loads(line) for line in (split / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]


def conditional_entropy(of: Sequence[Hashable], given: Sequence[Hashable]) -> float:
    """H(of | given) in bits, from counts."""
    joint, single = Counter(zip(of, given, strict=True)), Counter(given)
    return float(sum(-n / len(of) * np.log2(n / single[g]) for (_, g), n in joint.items()))


def record_measures(draws: int = DRAWS, seed: int = 0) -> dict[str, float]:
    """Entropies between class and record (four words, no side), of truth and of what the coder writes.

    They belong to the generator, with all classes equally frequent; a data set of some hundred clips is too small to
    count them in. Counting finds too little where records are many: what is written has more of them, so its
    H(class | record) is a lower bound.
    """
    rng, coder = np.random.default_rng([seed, 555]), Coder()
    labels: list[str] = []
    truth: list[tuple[str | None, ...]] = []
    written: list[tuple[str | None, ...]] = []
    for label in CLASSES:
        for _ in range(draws):
            text = draw_programme(label, rng).truth
            labels.append(label)
            truth.append(tuple(getattr(text, a) for a in ATTRIBUTES))
            text = coder.write(text, rng)
            written.append(tuple(getattr(text, a) for a in ATTRIBUTES))
    return {
        "H(class)": float(np.log2(len(CLASSES))),
        "H(record | class), truth": conditional_entropy(truth, labels),
        "H(class | record), truth": conditional_entropy(labels, truth),
        "H(record | class), written": conditional_entropy(written, labels),
        "H(class | record), written": conditional_entropy(labels, written),
    }


def _linear() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=2000))


def _ridge() -> Any:
    return make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.logspace(1, 5, 9)))


def _accuracy(model: Any, train: tuple[Features, list[str]], test: tuple[Features, list[str]]) -> float:
    return 100.0 * float(model.fit(*train).score(*test))


def _one_hot(train: list[Row], test: list[Row]) -> tuple[Features, Features]:
    encoder = DictVectorizer(sparse=False)
    return encoder.fit_transform(train), encoder.transform(test)


def words(row: Row, truth: bool) -> Row:
    """The four words of a row, a missing one left out."""
    source = row["truth"] if truth else row
    return {a: source[a] for a in ATTRIBUTES if source[a] is not None}


def keypoint_features(split: Path, rows: list[Row]) -> Features:
    """Keypoints of 8 uniform frames, centred on the notch of the first, in shoulder widths; `(clips, 8 J 2)`."""
    left, right, notch = (JOINTS.index(name) for name in ("shoulder_left", "shoulder_right", "notch"))
    out = []
    for row in rows:
        points = load_keypoints(split, row["keypoints"])[..., :2]
        chosen = points[np.linspace(0, len(points) - 1, FRAMES).round().astype(int)]
        width = np.linalg.norm(chosen[:, left] - chosen[:, right], axis=-1).mean()
        out.append(((chosen - chosen[0, notch]) / width).reshape(-1))
    return np.array(out, float)


def frame_features(split: Path, rows: list[Row]) -> Features:
    """8 uniform frames of every clip, averaged down to 24 × 24 RGB; `(clips, 8, 24 · 24 · 3)`."""
    out = []
    for row in rows:
        with av.open(str(split / row["file_name"])) as container:
            frames = list(container.decode(video=0))
        picked = [frames[i] for i in np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)]
        small = [f.reformat(THUMBNAIL, THUMBNAIL, "rgb24", interpolation="AREA").to_ndarray() for f in picked]
        out.append(np.stack(small).reshape(FRAMES, -1))
    return np.array(out, float) / 255.0


def accuracies(out: Path, test_split: str = "test", pixels: bool = True) -> dict[str, float]:
    """Top-1 in percent of simple models fitted on train and scored on a test split.

    Args:
        out: Folder of the data set.
        test_split: Where to score.
        pixels: Whether the models that decode the clips are run too.
    """
    train, test = read_rows(out / "train"), read_rows(out / test_split)
    y, y_test = [r["label"] for r in train], [r["label"] for r in test]
    common = Counter(y).most_common(1)[0][0]
    table = {"majority class": 100.0 * y_test.count(common) / len(y_test)}
    for name, truth in (("record alone, truth", True), ("record alone, written", False)):
        x, x_test = _one_hot([words(r, truth) for r in train], [words(r, truth) for r in test])
        table[name] = _accuracy(LogisticRegression(C=10.0, max_iter=2000), (x, y), (x_test, y_test))
    x, x_test = _one_hot([r["nuisance"] for r in train], [r["nuisance"] for r in test])
    table["nuisances alone"] = _accuracy(_linear(), (x, y), (x_test, y_test))
    x, x_test = keypoint_features(out / "train", train), keypoint_features(out / test_split, test)
    # Not standardised: a joint that only sways must not weigh as much as a hand that travels.
    model = LogisticRegression(C=30.0, max_iter=5000)
    table["keypoints, linear, 8 frames"] = _accuracy(model, (x, y), (x_test, y_test))
    joints = 2 * len(JOINTS)
    table["keypoints, linear, first frame"] = _accuracy(model, (x[:, :joints], y), (x_test[:, :joints], y_test))
    if pixels:
        x, x_test = frame_features(out / "train", train), frame_features(out / test_split, test)
        table["24 × 24 pixels, linear, first frame"] = _accuracy(_ridge(), (x[:, 0], y), (x_test[:, 0], y_test))
        flat = (x.reshape(len(x), -1), y), (x_test.reshape(len(x_test), -1), y_test)
        table["24 × 24 pixels, linear, 8 frames"] = _accuracy(_ridge(), *flat)
        # Without the clip's own first frame neither room nor clothes are left.
        moved = (x - x[:, :1]).reshape(len(x), -1), (x_test - x_test[:, :1]).reshape(len(x_test), -1)
        table["24 × 24 pixels, linear, 8 frames less the first"] = _accuracy(
            _ridge(), (moved[0], y), (moved[1], y_test)
        )
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the measures of a data set as a Markdown table, or writes the picture."""
    parser = argparse.ArgumentParser(prog="python -m microgesture.data.synthetic.card", description=__doc__)
    parser.add_argument("out", type=Path, help="folder that `generate` has filled")
    parser.add_argument("--picture", type=Path, help="write this PNG instead of printing the measures")
    parser.add_argument("--no-pixels", action="store_true", help="leave out the models that decode the clips")
    options = parser.parse_args(arguments)
    if options.picture:
        from microgesture.data.synthetic.picture import write_picture

        write_picture(options.out, options.picture)
        return
    say = sys.stdout.write
    manifest = json.loads((options.out / MANIFEST).read_text(encoding="utf-8"))
    say(", ".join(f"{name} {manifest[name]}" for name in ("version", "hash", "size", "seed")) + "\n\n")
    say("| measure of the generator | bits |\n|---|---|\n")
    for name, value in record_measures().items():
        say(f"| {name} | {value:.2f} |\n")
    splits = [s for s in ("test", "test_natural") if (options.out / s / "metadata.jsonl").is_file()]
    tables = [accuracies(options.out, split, not options.no_pixels) for split in splits]
    say(f"\n| class from … (top-1, %) | {' | '.join(splits)} |\n|---|{'---|' * len(splits)}\n")
    for name in tables[0]:
        say(f"| {name} | {' | '.join(f'{table[name]:.1f}' for table in tables)} |\n")


if __name__ == "__main__":
    main()
