"""The pictures of a report, drawn by matplotlib as SVG: text stays text, and two calls give the same bytes."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import numpy as np
import numpy.typing as npt

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.colors import hsv_to_rgb
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator, PercentFormatter
except ImportError as error:
    raise ImportError('a report is drawn by matplotlib, which is missing: pip install "fgsgl[report]"') from error

from microgesture.evaluation.report.page import printable

P = ParamSpec("P")

INK, GREY, LIGHT = "#1f2933", "#7b8794", "#e4e7eb"
BLUE, ORANGE, GREEN, RED = "#0b65a8", "#c45508", "#00795c", "#b3261e"  # 4.5:1 and more on white
VIOLET = "#6a3d9a"
TERMS = {"cls": ("L_cls", BLUE), "cp": ("L_cp", GREEN), "fg": ("L_fg", ORANGE), "sem": ("L_sem", VIOLET)}
STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "fgsgl", "text.parse_math": False, "axes.unicode_minus": False,
    "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY, "axes.labelcolor": INK,
    "text.color": INK, "xtick.color": INK, "ytick.color": INK, "grid.color": LIGHT, "grid.linewidth": 0.8,
    "axes.axisbelow": True, "legend.frameon": False,
}  # fmt: skip
LABEL_LENGTH = 38
MOST_LINES = 300
"""With more clips a line from each to its prototype would hide the clips."""


def drawing(width: float) -> Callable[[Callable[Concatenate[Figure, P], float]], Callable[P, bytes]]:
    """Makes an SVG file out of a function that draws on a figure of this width in inches and returns its height."""

    def decorate(draw: Callable[Concatenate[Figure, P], float]) -> Callable[P, bytes]:
        @wraps(draw)
        def drawn(*args: P.args, **kwargs: P.kwargs) -> bytes:
            # Names may be in any script: the browser has the letters, and only their width is guessed here.
            quiet = logging.getLogger("matplotlib.font_manager")
            level = quiet.level
            with matplotlib.rc_context(STYLE), warnings.catch_warnings():
                warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
                quiet.setLevel(logging.ERROR)
                try:
                    figure = Figure(figsize=(width, 3), layout="constrained")
                    figure.set_figheight(draw(figure, *args, **kwargs))
                    file = io.BytesIO()
                    figure.savefig(file, format="svg", metadata={"Date": None})
                finally:
                    quiet.setLevel(level)
            return file.getvalue()

        return drawn

    return decorate


def label(name: str, number: int | None = None) -> str:
    """A name as it stands in a picture: on one line, shortened, after its class id."""
    text = printable(name)
    short = text if len(text) <= LABEL_LENGTH else text[: LABEL_LENGTH - 1] + "…"
    return short if number is None else f"{short}  {number}"


@drawing(9)
def loss_curves(
    figure: Figure, log: Sequence[dict[str, Any]], boundary: float | None, chosen: float | None, late: str = "fg"
) -> float:
    """Each loss term over the epochs, and validation top-1 below.

    Args:
        figure: To draw on.
        log: The Trainer's log.
        boundary: The epoch in which the second stage begins, `None` for a run of one stage.
        chosen: The epoch of the chosen checkpoint, `None` where it is not known.
        late: The term that the second stage adds.
    """
    entries = [entry for entry in log if "stage" in entry and "loss" in entry]
    checks = [entry for entry in log if "eval_top1" in entry]
    panels = figure.subplots(
        2 if checks else 1, 1, sharex=True, squeeze=False, height_ratios=[2, 1][: 1 + bool(checks)]
    )
    losses: Axes = panels[0, 0]
    ends: list[tuple[float, float, str, str]] = []
    for name, (title, colour) in TERMS.items():
        points = [(entry["epoch"], entry[name], entry["stage"]) for entry in entries if name in entry]
        if not points:
            continue
        before = [p for p in points if name == late and boundary is not None and p[2] == 1]
        after = points[len(before) :]
        if before:  # logged, but not trained with
            losses.plot(*np.array(before + after[:1])[:, :2].T, color=colour, lw=1.2, ls=":")
        if after:
            losses.plot(*np.array(after)[:, :2].T, color=colour, lw=1.8, marker="o", ms=2.5)
        ends.append((points[-1][1], points[-1][0], title, colour))
    top = losses.get_ylim()[1]
    height = -top
    for value, epoch, title, colour in sorted(ends):  # from below, so that names do not lie on each other
        height = max(value, height + 0.07 * top)
        place = (epoch, height)
        losses.annotate(title, place, (7, 0), textcoords="offset points", color=colour, va="center")
    losses.set(title="Loss terms", ylabel="mean over a logging window")
    losses.set_ylim(bottom=0)
    losses.grid(axis="y")
    if checks:
        panel: Axes = panels[1, 0]
        panel.plot(
            [e["epoch"] for e in checks], [e["eval_top1"] for e in checks], color=INK, lw=1.5, marker="o", ms=2.5
        )
        panel.set(title="Validation top-1")
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        panel.yaxis.set_major_locator(MaxNLocator(4))
        panel.grid(axis="y")
    panels[-1, 0].set_xlabel("epoch")
    _mark_epochs([row[0] for row in panels], boundary, chosen)
    return 5.2 if checks else 3.4


def _mark_epochs(panels: Sequence[Axes], boundary: float | None, chosen: float | None) -> None:
    for panel in panels:
        if boundary is not None:
            panel.axvline(boundary, color=GREY, lw=1.2, ls="--")
        if chosen is not None:
            panel.axvline(chosen, color=RED, lw=1.2, ls="-.")
    top = panels[0].get_xaxis_transform()
    if boundary is not None:
        for text, align, shift in (("stage 1", "right", -5), ("stage 2", "left", 5)):
            panels[0].annotate(
                text,
                (boundary, 1.02),
                (shift, 0),
                xycoords=top,
                textcoords="offset points",
                ha=align,
                va="bottom",
                color=GREY,
            )
    if chosen is not None:
        panels[-1].annotate(
            "chosen", (chosen, 0.04), (-5, 0), xycoords=panels[-1].get_xaxis_transform(), textcoords="offset points",
            ha="right", color=RED,
        )  # fmt: skip


@drawing(9)
def confusion_matrix(figure: Figure, confusion: npt.ArrayLike, names: Sequence[str]) -> float:
    """Counts, coloured by the share of the true class; row = truth, column = prediction.

    Args:
        figure: To draw on.
        confusion: Counts `(C, C)`.
        names: Class names in the order of the ids.
    """
    counts = np.asarray(confusion)
    C = len(counts)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes: Axes = figure.add_subplot()
    axes.pcolormesh(share, cmap="Blues", vmin=0, vmax=1, edgecolors=LIGHT, linewidth=0.5)
    size = 9 if C <= 20 else 7 if C <= 35 else 5.5
    for row, column in np.argwhere(counts):
        ink = "white" if share[row, column] > 0.55 else INK
        weight = "bold" if row == column else "normal"
        axes.text(
            column + 0.5,
            row + 0.52,
            str(counts[row, column]),
            ha="center",
            va="center",
            color=ink,
            size=size,
            weight=weight,
        )
    axes.set(xlim=(0, C), ylim=(C, 0), xlabel="predicted class", ylabel="true class")
    axes.set_xticks(np.arange(C) + 0.5, [str(c) for c in range(C)], size=min(9, size + 1))
    axes.set_yticks(np.arange(C) + 0.5, [label(name, c) for c, name in enumerate(names)], size=min(9, size + 1))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return max(2.0, min(6.4, 0.8 + 0.36 * C)) if C <= 35 else 8.5


@drawing(9)
def class_bars(figure: Figure, per_class: Sequence[dict[str, Any]]) -> float:
    """Recall of each class with k of n, and its precision, in the order of the ids.

    Args:
        figure: To draw on.
        per_class: As `metrics.classification_metrics` returns it.
    """
    axes: Axes = figure.add_subplot()
    places = np.arange(len(per_class))
    recall, precision = ([row[name] for row in per_class] for name in ("recall", "precision"))
    axes.barh(places, recall, height=0.66, color=BLUE, alpha=0.85, label="recall")
    axes.plot(precision, places, ls="", marker="D", ms=5, mfc="white", mec=ORANGE, mew=1.6, label="precision")
    for place, row in enumerate(per_class):
        text = f"{row['k']} of {row['n']}" if row["n"] else "no clip"
        axes.annotate(
            text, (1, place), (8, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center"
        )
    axes.set_yticks(places, [label(row["name"], c) for c, row in enumerate(per_class)])
    axes.set(xlim=(0, 1.02), ylim=(len(per_class) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    figure.legend(loc="outside upper right", ncols=2)
    return 0.8 + 0.27 * len(per_class)


@drawing(4.4)
def reliability(figure: Figure, tables: dict[str, Sequence[dict[str, Any]]]) -> float:
    """Accuracy over confidence, bin by bin, and how many clips each bin holds.

    Args:
        figure: To draw on.
        tables: Name of the series -> `reliability` of `calibration.calibration`; at most two.
    """
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
    looks = [(GREY, "s", "none"), (BLUE, "o", BLUE)][-len(tables) :]
    for (name, table), (colour, marker, fill) in zip(tables.items(), looks, strict=True):
        points = np.array([(row["confidence"], row["accuracy"]) for row in table])
        above.plot(*points.T, color=colour, marker=marker, mfc=fill, ms=5, lw=1.2, label=printable(name))
    rows = list(tables.values())[-1]
    width = [row["upper"] - row["lower"] for row in rows]
    below.bar(
        [row["lower"] for row in rows], [row["total"] for row in rows], width, align="edge", color=BLUE, ec="white"
    )
    above.set(title="Reliability", ylabel="right of clips", xlim=(0, 1), ylim=(0, 1.02))
    below.set(xlabel="confidence", ylabel="clips")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for axis in (above.yaxis, below.xaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside upper right", ncols=2, fontsize=8)
    above.grid()
    return 4.4


@drawing(4.4)
def risk_coverage_curve(figure: Figure, curve: Sequence[dict[str, Any]], correct: int) -> float:
    """The share of wrong answers over the share of clips that are answered, the surest first.

    Args:
        figure: To draw on.
        curve: As `calibration.risk_coverage` returns it.
        correct: Clips that are right when all are answered.
    """
    axes: Axes = figure.add_subplot()
    total = curve[-1]["total"]
    answered = np.arange(1, total + 1)
    axes.plot(answered / total, 1 - np.minimum(answered, correct) / answered, color=GREY, lw=1.2, ls="--")
    axes.plot([p["coverage"] for p in curve], [p["risk"] for p in curve], color=BLUE, lw=1.8)
    overall = 1 - correct / total
    axes.axhline(overall, color=RED, lw=1, ls=":")
    top = max(overall, max(p["risk"] for p in curve)) * 1.15 or 1.0
    axes.annotate("all answered", (0.02, overall), (0, 3), textcoords="offset points", color=RED)
    axes.annotate("ideal order", (correct / total, 0), (-6, 4), textcoords="offset points", color=GREY, ha="right")
    axes.set(
        title="Risk–coverage", xlabel="clips answered", ylabel="wrong of those answered", xlim=(0, 1), ylim=(0, top)
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid()
    return 4.4


@drawing(9)
def class_map(
    figure: Figure,
    clips: npt.NDArray[np.float32],
    categories: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    predictions: npt.NDArray[np.int64],
    names: Sequence[str],
    variance: tuple[float, float],
) -> float:
    """Clips and category prototypes in a plane.

    Args:
        figure: To draw on.
        clips: Places of the clips `(N, 2)`.
        categories: Places of the prototypes `(C, 2)`.
        labels: True class ids `(N,)`.
        predictions: Predicted class ids `(N,)`.
        names: Class names in the order of the ids.
        variance: Share of the clips' variance along each axis.
    """
    axes: Axes = figure.add_subplot()
    colours = _palette(len(names))
    right = labels == predictions
    for c in range(len(names)):
        own = labels == c
        axes.scatter(clips[own & right, 0], clips[own & right, 1], color=colours[c], alpha=0.8, marker="o", s=26, lw=0)
        axes.scatter(
            clips[own & ~right, 0], clips[own & ~right, 1], color=colours[c], alpha=0.8, marker="x", s=26, lw=1.3
        )
        x, y = categories[c]
        if len(clips) <= MOST_LINES:
            ends = np.stack([clips[own], np.broadcast_to(categories[c], (int(own.sum()), 2))], 1)
            axes.add_collection(LineCollection(list(ends), colors=[colours[c]], linewidths=0.7, alpha=0.3, zorder=0))
        axes.scatter(x, y, s=210, marker="o", fc="white", ec=colours[c], lw=2, zorder=3)
        axes.text(x, y, str(c), ha="center", va="center", size=8, weight="bold", zorder=4)
    axes.set(
        xlabel=f"first principal axis ({variance[0]:.0%} of the clips' variance)",
        ylabel=f"second ({variance[1]:.0%})",
    )
    axes.set_aspect("equal", adjustable="datalim")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid()
    handles = [
        Line2D([], [], ls="", marker="o", mfc="white", mec=colour, mew=2, ms=8, label=f"{c}  {label(name)}")
        for c, (name, colour) in enumerate(zip(names, colours, strict=True))
    ]
    columns = 1 if len(names) <= 24 else 2
    figure.legend(handles=handles, loc="outside right upper", fontsize=8 if columns == 1 else 6, ncols=columns)
    return 5.6


def _palette(count: int) -> list[tuple[float, ...]]:
    """So many colours around the wheel, dark enough for white paper; neighbours differ in lightness as well."""
    hues = np.arange(count) / max(count, 1)
    return [tuple(hsv_to_rgb((h, 0.85, (0.8, 0.5, 0.65)[c % 3]))) for c, h in enumerate(hues)]


@drawing(9)
def differences(figure: Figure, rows: Sequence[dict[str, Any]], metric: str) -> float:
    """Differences to a reference, with intervals and single seeds.

    Args:
        figure: To draw on.
        rows: Rows of an ablation's table, each with `row` and `compared`.
        metric: Its name.
    """
    axes: Axes = figure.add_subplot()
    axes.axvline(0, color=GREY, lw=1, ls="--")
    for place, row in enumerate(rows):
        found = row["compared"]
        if found["interval"] is not None:
            axes.plot(found["interval"], [place, place], color=BLUE, lw=2.2, solid_capstyle="butt")
        each = found["per_run"]
        axes.scatter(each, [place + 0.24] * len(each), s=10, color=GREY, lw=0)
        axes.scatter([found["difference"]], [place], s=42, color=BLUE, zorder=3)
    axes.set_yticks(range(len(rows)), [label(row["row"]) for row in rows])
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel=f"difference in {metric}, points")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    return 1.0 + 0.32 * len(rows)
