"""`microgesture report`: finished runs as one HTML page that needs nothing beside it, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from microgesture.data.clips import LEAK, write_text
from microgesture.evaluation.report.ablations import ABLATION_FILE, Ablation, ablation_blocks
from microgesture.evaluation.report.frames import Frames
from microgesture.evaluation.report.page import Block, Heading, Picture, Table, Text, to_html, to_markdown
from microgesture.evaluation.report.paper_tables import paper_tables
from microgesture.evaluation.report.results import results_blocks
from microgesture.evaluation.report.runs import Run, read_runs
from microgesture.evaluation.report.training import made_blocks, training_blocks

TITLE = "FG-SGL: report"
HTML_FILE, MARKDOWN_FILE, PICTURES = "report.html", "report.md", "report_pictures"


def write_report(folders: Sequence[Path], out: Path, frames: Frames | None = None) -> list[Path]:
    """Writes `report.html`, which holds everything, and `report.md` with its pictures beside it.

    Args:
        folders: Folders of finished runs, and of ablations.
        out: The folder to write into.
        frames: Shows clips of data sets; `None` for a report without people in it.

    Returns:
        The two files.

    Raises:
        FileNotFoundError: A folder holds no finished run.
        ValueError: A file of a run cannot be read, or does not belong to the others.
    """
    tables = [folder for folder in folders if (folder / ABLATION_FILE).is_file()]
    runs = read_runs([folder for folder in folders if folder not in tables])
    blocks = report_blocks(runs, [Ablation.read(folder) for folder in tables], frames)
    if frames is not None and not frames.used:
        raise ValueError(
            f"none of these runs was evaluated on the clips in {', '.join(map(str, frames.folders))}: leave out "
            "--data, or give the folder of the data set that they were evaluated on"
        )
    pictures = out / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    for picture in (block for block in blocks if isinstance(block, Picture)):
        (pictures / picture.file).write_bytes(picture.data)
    written = [out / MARKDOWN_FILE, out / HTML_FILE]
    for path, text in zip(written, (to_markdown(TITLE, blocks, PICTURES), to_html(TITLE, blocks)), strict=True):
        write_text(path, text)
    return written[::-1]


def report_blocks(runs: Sequence[Run], ablations: Sequence[Ablation], frames: Frames | None = None) -> list[Block]:
    """The report, block by block."""
    blocks = [*(_overview(runs) if runs else []), *paper_tables(runs, ablations)]
    for number, ablation in enumerate(ablations):
        blocks += ablation_blocks(ablation, f"ablation_{number + 1:02d}")
    for number, run in enumerate(runs):
        prefix = f"run_{number + 1:02d}"
        blocks += [Heading(f"Run: {run.name}"), *_marks(run), *training_blocks(run, prefix)]
        for split in run.results:
            blocks += results_blocks(run, split, f"{prefix}_{split}", frames)
        if not run.results:
            blocks.append(Text("This run was not evaluated on any split yet: evaluate_fgsgl.py does it.", "note"))
        blocks += made_blocks(run)
    return blocks


def _overview(runs: Sequence[Run]) -> list[Block]:
    rows: list[tuple[str, ...]] = []
    for run in runs:
        seed = str(run.setting("seed", ""))
        for split, result in run.results.items():
            m = result["metrics"]
            top5 = f"{100 * m['top5']:.2f} ({m['top5_correct']} of {m['total']})" if "top5" in m else "–"
            figures = [f"{100 * m[name]:.2f}" for name in ("macro_f1", "mean_class_accuracy")]
            counts = (f"{m['correct']} of {m['total']}", f"{100 * m['top1']:.2f}", top5, *figures)
            shown = f"{split} (transductive)" if result.get("transductive") else split
            rows.append((run.name, run.tested_on(split), shown, seed, *counts))
        if not run.results:
            rows.append((run.name, run.dataset, "not evaluated", seed, *["–"] * 5))
    head = ("Run", "Data set", "Split", "Seed", "Right of clips", "Top-1", "Top-5", "Macro-F1", "Mean class accuracy")
    caption = "All runs, in per cent; every clip is counted once"
    return [Heading("Overview"), Table(caption, head, tuple(rows), ("", "", "", *["number"] * 6))]


def _marks(run: Run) -> list[Block]:
    """What every reader of the figures has to know first."""
    marks: list[Block] = []
    if run.leak:
        marks.append(Text(f"Leak: {LEAK}.", "warning"))
    overlap = run.record.get("official_overlap")
    if overlap:
        marks.append(Text(f"People of one split are seen in another, as it was published: {overlap}.", "warning"))
    if run.stream:
        no_row = "which reads no sentence of a clip: no row of the paper's tables."
        marks.append(Text(f"A {run.stream} stream, {no_row}", "note"))
    elif run.components is None:
        marks.append(Text("A control: it trains with settings that no row of the paper's tables has.", "note"))
    return marks
