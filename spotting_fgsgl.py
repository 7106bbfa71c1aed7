"""Untrimmed recordings: windows that share their frames, and how scored windows become segments.

Three notions are kept apart. `background`: nothing is annotated there; windows that look like it are dropped. A class
such as `Non-MG`, if the data set has one, is a class like any other. `unknown`: something happens, but no class is
likely enough; it is returned, under that name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
import torch
from tqdm.auto import tqdm

try:
    from .video_fgsgl import Recording, replanned
except ImportError:
    from video_fgsgl import Recording, replanned

UNKNOWN, BACKGROUND = "unknown", "background"
UNKNOWN_ID = -1
Taken = TypeVar("Taken")


@dataclass(frozen=True)
class Windows:
    """Scored windows of one recording: W windows, C classes.

    Args:
        start: Seconds `(W,)`.
        end: Seconds `(W,)`.
        logits: `(W, C)`.
        pooled: Input of the classifier `(W, P)`.
        fine_embeds: In the space of FG-Text sentences `(W, E)`.
    """

    start: np.ndarray
    end: np.ndarray
    logits: torch.Tensor
    pooled: torch.Tensor
    fine_embeds: torch.Tensor


@dataclass(frozen=True)
class Candidate:
    """A window that is no background, or several that were merged; `label` is a class id or `UNKNOWN_ID`."""

    start: float
    end: float
    label: int
    score: float
    likely: float
    embed: np.ndarray

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.start


def plan_windows(
    total: Fraction, lengths: Sequence[float], hop: int, num_frames: int
) -> list[tuple[Fraction, Fraction]]:
    """Windows over a recording, in the order of their ends.

    Windows of one length begin `hop` of their frames after each other, so that neighbours see the same frames; the
    last one ends where the recording ends.

    Args:
        total: Seconds of the recording.
        lengths: Seconds of a window.
        hop: Frames between two windows, 1 to `num_frames`.
        num_frames: T, frames of a window.

    Returns:
        `(start, end)` in seconds; one window for a recording that is shorter than all lengths.
    """
    spans: set[tuple[Fraction, Fraction]] = set()
    for length in {Fraction(repr(float(value))) for value in lengths}:
        if length > total:
            continue
        step = length * hop / num_frames
        spans |= {(k * step, k * step + length) for k in range(int((total - length) // step) + 1)}
        spans.add((total - length, total))
    return sorted(spans or {(Fraction(0), total)}, key=lambda span: (span[1], span[0]))


@torch.inference_mode()
def scan(
    model: Any,
    processor: Any,
    video: Any,
    lengths: Sequence[float],
    hop: int,
    *,
    batch_size: int = 1,
    mirrored: bool = False,
    threads: int = 1,
    progress: bool = False,
    measured: bool = False,
) -> Iterator[Windows]:
    """Scores the windows of a recording.

    Each frame is decoded once and passes the vision tower once, however many windows see it; what follows the tower is
    done for each window. Frames are forgotten after the last window that sees them.

    Args:
        model: An `FGSGLForVideoClassification`, on its device.
        processor: Its processor.
        video: Path or the bytes of a video file.
        lengths: Seconds of a window.
        hop: Frames between two windows.
        batch_size: Clips' worth of frames that pass the tower together.
        mirrored: Whether the camera stored a mirror image.
        threads: Decoder threads.
        progress: Whether a progress bar is shown.
        measured: See `Recording`.

    Yields:
        Some windows at a time, in the order of their ends.

    Raises:
        VideoError: The file cannot be read.
        UnplannedError: Try again with `measured`; what was yielded does not count.
    """
    T = model.config.num_frames
    with closing(Recording(video, threads, measured)) as recording:
        spans = plan_windows(recording.timeline.seconds, lengths, hop, T)
        places = [recording.places(T, *span) for span in spans]
        users = Counter(place for window in places for place in set(window))
        features: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        done = 0
        pictures = recording.pictures(set(users))
        bar = tqdm(pictures, total=len(users), desc=recording.timeline.name, unit="frame", disable=not progress)
        for numbers, frames in _batches(bar, processor, T * batch_size, mirrored):
            pixels = processor.normalize(frames.to(model.device), model.dtype)
            mid, high = (part[0] for part in model.base_model.features(pixels[None]))
            features |= {number: (mid[k], high[k]) for k, number in enumerate(numbers)}
            ready = done
            while ready < len(spans) and all(place in features for place in places[ready]):
                ready += 1
            for begin in range(done, ready, batch_size * T):
                chosen = slice(begin, min(begin + batch_size * T, ready))
                yield _score(model, features, spans[chosen], places[chosen])
            for window in places[done:ready]:
                for place in set(window):
                    users[place] -= 1
                    if not users[place]:
                        del features[place]
            done = ready


def scan_whole(take: Callable[[Windows], Taken], *given: Any, **options: Any) -> list[Taken]:
    """What `take` makes of the windows that `scan` yields, some at a time; anew where the file has to be measured.

    Args:
        take: Called in the order of the windows.
        *given: As for `scan`.
        **options: As for `scan`, without `measured`.

    Raises:
        VideoError: The file cannot be read.
    """
    return replanned(lambda measured: [take(part) for part in scan(*given, **options, measured=measured)])


def _batches(
    pictures: Iterator[tuple[int, torch.Tensor]], processor: Any, size: int, mirrored: bool
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Frame numbers, and their frames at the size of the network `(n, 3, S, S)`, some at a time."""
    numbers: list[int] = []
    frames: list[torch.Tensor] = []
    for number, picture in pictures:
        numbers.append(number)
        frames.append(processor.resize((picture.flip(1) if mirrored else picture)[None]))
        if len(numbers) == size:
            yield numbers, torch.cat(frames)
            numbers, frames = [], []
    if numbers:
        yield numbers, torch.cat(frames)


def _score(
    model: Any,
    features: dict[int, tuple[torch.Tensor, torch.Tensor]],
    spans: list[tuple[Fraction, Fraction]],
    places: list[list[int]],
) -> Windows:
    mid, high = (torch.stack([torch.stack([features[p][level] for p in w]) for w in places]) for level in (0, 1))
    out = model.base_model.embed(mid, high)
    logits = model.classifier(out.pooled)
    start, end = np.array([[float(a), float(b)] for a, b in spans]).T
    return Windows(start, end, *(part.float().cpu() for part in (logits, out.pooled, out.fine_embeds)))


@torch.no_grad()
def background_scores(model: Any, windows: Windows, way: str) -> np.ndarray:
    """How likely each window is background `(W,)`, 0 to 1.

    Args:
        model: The network.
        windows: Its windows.
        way: `head` (the linear head trained on background windows) or `softmax` (one minus the greatest softmax, the
            baseline).
    """
    if way == "softmax":
        return (1 - windows.logits.softmax(-1).amax(-1)).numpy()
    head = model.background
    scores = windows.pooled @ head.weight.float().cpu().T + head.bias.float().cpu()
    return torch.sigmoid(scores)[:, 0].numpy()


def candidates(windows: Windows, background: np.ndarray, threshold: float) -> list[Candidate]:
    """The windows that are no background.

    Args:
        windows: Scored windows.
        background: How likely each is background `(W,)`.
        threshold: More than that is background.
    """
    probabilities = windows.logits.softmax(-1).numpy()
    found = []
    for k in np.flatnonzero(background <= threshold):
        label = int(probabilities[k].argmax())
        likely = float(probabilities[k, label])
        span = float(windows.start[k]), float(windows.end[k])
        score = likely * (1 - float(background[k]))
        found.append(Candidate(*span, label, score, likely, windows.fine_embeds[k].numpy().copy()))
    return found


def segments(found: Sequence[Candidate], unknown: float, keep: float, overlap: float) -> list[Candidate]:
    """Merges windows, and of segments of one label that overlap keeps the one with the highest score.

    Neighbouring windows of one length and class are one segment. It reaches from the middle of the first to the middle
    of the last, and `keep` times half a window beyond on either side: where windows begin to answer depends on how
    much of a gesture they must see. Segments of different classes may overlap: a person may do two things at once.
    But they may not coincide more than gestures do in the recordings that `overlap` was fitted on, because then they
    are one gesture of which windows disagree.

    Args:
        found: Windows that are no background, of one recording.
        unknown: A segment whose class is less likely than that is `unknown`; it gives way to any other segment.
        keep: 0 to 1.
        overlap: Of two segments of different classes with a greater IoU the better one stays; 1: both.

    Returns:
        Segments in the order of time; those of one label do not overlap.
    """
    merged = []
    by_kind: dict[tuple[int, float], list[Candidate]] = {}
    for window in found:
        by_kind.setdefault((window.label, round(window.length, 6)), []).append(window)
    for (label, length), windows in by_kind.items():
        for group in _runs(sorted(windows, key=lambda w: w.start), length / 2):
            likely = float(np.mean([w.likely for w in group]))
            half = length / 2 * (1 - keep)
            embed = np.mean([w.embed for w in group], axis=0)
            name = label if likely >= unknown else UNKNOWN_ID
            score = float(np.mean([w.score for w in group]))
            merged.append(Candidate(group[0].start + half, group[-1].end - half, name, score, likely, embed))
    kept: list[Candidate] = []
    for segment in sorted(merged, key=lambda s: (s.label == UNKNOWN_ID, -s.score, s.start)):
        if all(_shared(segment, other) <= (overlap if _may_meet(segment, other) else 0) for other in kept):
            kept.append(segment)
    return sorted(kept, key=lambda s: (s.start, s.end))


def _may_meet(segment: Candidate, other: Candidate) -> bool:
    return segment.label not in (other.label, UNKNOWN_ID)


def _shared(one: Candidate, other: Candidate) -> float:
    """Intersection over union."""
    both = max(0.0, min(one.end, other.end) - max(one.start, other.start))
    return both / (one.length + other.length - both)


def _runs(windows: list[Candidate], gap: float) -> Iterator[list[Candidate]]:
    run = windows[:1]
    for window in windows[1:]:
        if window.start - run[-1].start > gap:
            yield run
            run = []
        run.append(window)
    yield run
