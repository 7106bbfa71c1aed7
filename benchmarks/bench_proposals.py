"""How often `microgesture annotate propose` is right: UTD-MHAD, and synthetic figures with bad keypoints.

    python benchmarks/bench_proposals.py [SOURCE] [--people development|test]

SOURCE is the raw folder of UTD-MHAD (default: ../shared/data/utd_mhad beside the repository); its FG-Text is that of
the classes (datasets/utd_mhad/labels.json), one record for all clips of a class. The rules were made on the people of
`development` (UTD-MHAD: subjects 1, 3, 5, 7; synthetic: the training people of the full size, at most 40 clips of a
class) and frozen before `test` (subjects 2 and 4; the test people) was run. Synthetic keypoints are
those of the figure before it is painted; jitter is white, 2 pixels of 448 (standard deviation) for every joint and
frame, and each joint is missing in 10 % of the frames. Prints Markdown: clips counted exactly, beside the most
frequent word of the measured clips, and a draw from their words. The synthetic set names neither the sense of a circle
nor the side of a horizontal way, so there clockwise counts as circular and left as sideways.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from microgesture.annotation.motion_features import UnseenError  # noqa: E402
from microgesture.annotation.proposals import UNSIDED, propose  # noqa: E402
from microgesture.data.clips import DatasetInfo  # noqa: E402
from microgesture.data.fg_text import ATTRIBUTES, FGText  # noqa: E402
from microgesture.data.keypoints import read_layout  # noqa: E402
from microgesture.data.synthetic.motion import FPS  # noqa: E402
from microgesture.data.synthetic.plan import plan_clips  # noqa: E402
from microgesture.data.synthetic.render import pose  # noqa: E402
from microgesture.data.utd_mhad import SPLITS, read_labels, read_skeleton  # noqa: E402

KINECT_FPS = 30.0
JITTER, MISSING = 2.0, 0.1
MOST_PER_CLASS = 40  # of the synthetic training clips, which follow SMG's very unequal counts
MANNERS = {"back_and_forth": "back_and_forth", "circular": "circular", "clockwise": "circular", "static": "static",
           "counter_clockwise": "circular"}  # fmt: skip
SWIPES_AND_CIRCLES = ("swipe_left", "swipe_right", "draw_circle_cw", "draw_circle_ccw")

Clip = tuple[str, FGText, FGText | None]
"""Class, truth, proposal."""


def utd_mhad(source: Path, subjects: tuple[int, ...]) -> Iterator[Clip]:
    info = DatasetInfo.read(ROOT / "datasets" / "utd_mhad")
    defaults = {c.name: c.default for c in info.classes}
    layout = read_layout("kinect_20")
    for recording in read_labels(source / "labels.csv", info):
        truth = defaults[recording.label]
        if recording.subject in subjects and truth is not None:
            points = read_skeleton(recording.skeleton)
            yield recording.label, truth, proposed(points, layout.name, KINECT_FPS, info.mirrored)


def synthetic(split: str, spoiled: bool) -> Iterator[Clip]:
    rng = np.random.default_rng(0)
    seen: Counter[str] = Counter()
    for plan in plan_clips("full", 0)[split]:
        seen[plan.programme.label] += 1
        if seen[plan.programme.label] > MOST_PER_CLASS:
            continue
        points = pose(plan)[2].astype(np.float64)
        if spoiled:
            points[..., :2] += rng.normal(0.0, JITTER, points[..., :2].shape)
            points[rng.random(points.shape[:2]) < MISSING] = 0.0
        text = proposed(points, "synthetic_32", FPS, False)
        if text is not None:
            text = replace(text, direction=UNSIDED.get(str(text.direction), text.direction))
        yield plan.programme.label, plan.programme.truth, text


def proposed(points: npt.NDArray[np.floating], layout: str, fps: float, mirrored: bool | str) -> FGText | None:
    try:
        return propose(points, read_layout(layout), fps, mirrored)
    except UnseenError:
        return None


def report(name: str, source: Iterable[Clip]) -> list[Clip]:
    began = time.perf_counter()
    clips = list(source)
    seconds, refused = time.perf_counter() - began, sum(text is None for _, _, text in clips)
    print(
        f"\n### {name}\n\n{len(clips)} clips, {refused} left out (counted as wrong), {seconds:.1f} s with reading.\n"
    )
    print("| attribute | right | most frequent word | drawn from their words |\n| --- | --- | --- | --- |")
    tables = {attribute: pairs_of(clips, attribute) for attribute in (*ATTRIBUTES, "side", "manner")}
    for attribute, pairs in tables.items():
        total, right = len(pairs), sum(truth == guess for truth, guess in pairs)
        words = Counter(truth for truth, _ in pairs)
        word, most = words.most_common(1)[0]
        drawn = sum(count**2 for count in words.values()) / total
        print(f"| {attribute} | **{right}/{total}** ({right / total:.1%}) | {word}: {most}/{total} "
              f"({most / total:.1%}) | {drawn:.1f}/{total} ({drawn / total:.1%}) |")  # fmt: skip
    for attribute, pairs in tables.items():
        confusion(attribute, pairs)
    confidence(clips)
    return clips


def pairs_of(clips: list[Clip], attribute: str) -> list[tuple[str, str]]:
    """Truth and proposal as words; an empty side is a dash, as is everything of a clip left out."""
    source = "direction" if attribute == "manner" else attribute
    pairs = [
        (str(getattr(truth, source) or "–"), str((text and getattr(text, source)) or "–")) for _, truth, text in clips
    ]
    if attribute == "manner":
        pairs = [(MANNERS.get(truth, "one way"), MANNERS.get(guess, "one way")) for truth, guess in pairs]
    return pairs


def confusion(attribute: str, pairs: list[tuple[str, str]]) -> None:
    print(f"\n| {attribute} (clips) | proposed |\n| --- | --- |")
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for truth, guess in pairs:
        table[truth][guess] += 1
    for truth in sorted(table):
        found = ", ".join(
            f"**{word} {count}**" if word == truth else f"{word} {count}" for word, count in table[truth].most_common()
        )
        print(f"| {truth} ({table[truth].total()}) | {found} |")


def confidence(clips: list[Clip]) -> None:
    made = sorted(((text.confidence or 0.0, text, truth) for _, truth, text in clips if text), key=lambda one: one[0])
    print("\n| confidence, by thirds | all four right, of all | attributes right |\n| --- | --- | --- |")
    for part in np.array_split(np.arange(len(made)), 3):
        third = [made[place] for place in part]
        right = [[getattr(text, name) == getattr(truth, name) for name in ATTRIBUTES] for _, text, truth in third]
        print(f"| {third[0][0]:.2f} to {third[-1][0]:.2f} | {sum(map(all, right))}/{len(third)} "
              f"| {np.sum(right)}/{np.size(right)} |")  # fmt: skip


def by_class(clips: list[Clip], names: tuple[str, ...]) -> None:
    print("\n| class | direction right | proposed |\n| --- | --- | --- |")
    for name in names:
        pairs = pairs_of([clip for clip in clips if clip[0] == name], "direction")
        found = ", ".join(f"{word} {count}" for word, count in Counter(guess for _, guess in pairs).most_common())
        print(f"| {name} | {sum(truth == guess for truth, guess in pairs)}/{len(pairs)} | {found} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", type=Path, default=ROOT.parent / "shared" / "data" / "utd_mhad")
    parser.add_argument("--people", choices=("development", "test"), default="test")
    arguments = parser.parse_args()
    test = arguments.people == "test"
    subjects = SPLITS["test"] if test else SPLITS["train"] + SPLITS["validation"]
    named = f"UTD-MHAD, subjects {', '.join(map(str, subjects))}"
    clips = report(named, utd_mhad(arguments.source, subjects))
    by_class(clips, SWIPES_AND_CIRCLES)
    split = "test" if test else "train"
    report(
        f"Synthetic, {split} people, {JITTER:g} px of jitter, {MISSING:.0%} missing", synthetic(split, spoiled=True)
    )
    report(f"Synthetic, {split} people, keypoints as they are", synthetic(split, spoiled=False))


if __name__ == "__main__":
    main()
