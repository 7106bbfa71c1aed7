"""Linear floors on UTD-MHAD, across subjects: what a model has to beat before its depth means anything.

    python benchmarks/bench_utd_mhad_linear.py [SOURCE]

SOURCE is the raw folder (default: ../shared/data/utd_mhad beside the repository). Prints one line per training list
and input. The model is microgesture.evaluation.baselines: PCA to 150, one scale, multinomial logistic regression with
C = 1. Pixels: 8 frames, the whole picture at 96×96, shrunk to 32×32 grey by the baseline. Skeleton: 16 frames, 20
joints relative to the hip centre of the first frame. Pictures stay mirrored: a flip only permutes the pixels.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from microgesture.data.clips import DatasetInfo  # noqa: E402
from microgesture.data.utd_mhad import SPLITS, Recording, read_labels, read_skeleton  # noqa: E402
from microgesture.evaluation.baselines import linear_baseline, linear_predictions, majority_baseline  # noqa: E402
from microgesture.evaluation.metrics import classification_metrics, grouped, summary  # noqa: E402

FRAMES, SIZE, SKELETON_FRAMES = 8, 96, 16
VALIDATED, WHOLE = SPLITS["train"], SPLITS["train"] + SPLITS["validation"]


def centres(T: int, n: int) -> list[int]:
    """The frames on show at (k + 1/2)/T of the clip, k = 0 … T-1, of n frames of equal duration."""
    return [(2 * k + 1) * n // (2 * T) for k in range(T)]


def pixels(recording: Recording) -> npt.NDArray[np.uint8]:
    """uint8 (T, 3, S, S): the whole picture, squeezed to a square."""
    wanted = centres(FRAMES, recording.frames)
    with av.open(str(recording.video)) as container:
        shown = {
            i: frame.to_ndarray(width=SIZE, height=SIZE, format="rgb24", interpolation="AREA")
            for i, frame in enumerate(container.decode(video=0))
            if i in wanted
        }
    return np.stack([shown[i] for i in wanted]).transpose(0, 3, 1, 2)


def joints(recording: Recording) -> npt.NDArray[np.float32]:
    skeleton = read_skeleton(recording.skeleton)
    return (skeleton - skeleton[:1, 3:4])[centres(SKELETON_FRAMES, len(skeleton))].ravel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", type=Path, default=ROOT.parent / "shared" / "data" / "utd_mhad")
    source = parser.parse_args().source
    info = DatasetInfo.read(ROOT / "datasets" / "utd_mhad")
    start = time.perf_counter()
    recordings = read_labels(source / "labels.csv", info)
    clips = np.stack([pixels(r) for r in recordings])
    skeletons = np.stack([joints(r) for r in recordings])
    labels = np.array([info.names.index(r.label) for r in recordings])
    subjects = np.array([r.subject for r in recordings])
    print(f"{len(recordings)} clips read in {time.perf_counter() - start:.0f} s")
    runs = ((VALIDATED, "validation"), (VALIDATED, "test"), (WHOLE, "test"))
    for people, split in runs:
        a, b = np.isin(subjects, people), np.isin(subjects, SPLITS[split])
        print(f"\ntrain on subjects {people}: {a.sum()} clips, {split} on {SPLITS[split]}: {b.sum()} clips")
        ran = {
            "majority class": lambda a=a, b=b: majority_baseline(labels[a], int(b.sum())),
            "mean frame": lambda a=a, b=b: linear_baseline(clips[a], labels[a], clips[b], "mean frame"),
            "8 ordered frames": lambda a=a, b=b: linear_baseline(clips[a], labels[a], clips[b], "frames in order"),
            "skeleton": lambda a=a, b=b: linear_predictions(skeletons[a], labels[a], skeletons[b]),
        }
        for name, run in ran.items():
            begun = time.perf_counter()
            predicted = run()
            seconds = time.perf_counter() - begun
            each = grouped(predicted, labels[b], subjects[b].tolist())
            by_subject = ", ".join(f"s{s} {v['correct']}/{v['total']}" for s, v in each.items())
            figures = summary(classification_metrics(predicted, labels[b], info.names))
            print(f"{name:<17} {figures}; {by_subject}; {seconds:.1f} s")


if __name__ == "__main__":
    main()
