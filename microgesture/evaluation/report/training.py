"""What a report says of a run's training, and of how the run was made."""

from __future__ import annotations

from typing import Any

from microgesture.evaluation.report import plots
from microgesture.evaluation.report.page import SVG, Block, Heading, Picture, Table, Text
from microgesture.evaluation.report.runs import Run


def training_blocks(run: Run, prefix: str) -> list[Block]:
    """The curves of the loss terms, and each term at the end of each stage."""
    record, log = run.record, run.record["log"]
    blocks: list[Block] = [Heading("Training", 3)]
    chosen = next((e["epoch"] for e in log if e.get("step") == record.get("chosen_step") and "epoch" in e), None)
    if any("stage" in entry and "loss" in entry for entry in log):
        late = "cp" if run.setting("ml_co_order", "cp_first") == "fg_first" else "fg"
        data = plots.loss_curves(log, run.boundary, chosen, late)
        blocks.append(Picture(f"{prefix}_losses", SVG, data, _alt(run), _caption(run, late)))
    stages = record["stage_losses"]
    names = tuple(dict.fromkeys(name for terms in stages.values() for name in terms))
    rows = tuple(
        (stage, *(f"{terms[name]:.4f}" if name in terms else "–" for name in names)) for stage, terms in stages.items()
    )
    if rows:
        shown = tuple(
            {"fg_without_negative": "L_fg had no negative (share)"}.get(n, f"L_{n}" if n != "loss" else n)
            for n in names
        )
        kinds = ("", *["number"] * len(names))
        blocks.append(Table("Loss terms in the last logging window of each stage", ("", *shown), rows, kinds))
    return blocks


def _caption(run: Run, late: str) -> str:
    record = run.record
    parts = ["Each loss term over the epochs, before it is weighted."]
    if run.boundary is not None:
        parts.append(
            f"Stage 2 begins at epoch {run.boundary:g} (dashed); before that L_{late} is measured and not trained "
            "(dotted)."
        )
    else:
        parts.append("The run has one stage.")
    checked = record.get("validation") or {}
    if "correct" in checked:
        parts.append(
            f"The chosen checkpoint, of step {record['chosen_step']} of {record['steps']}, has "
            f"{checked['correct']} of {checked['total']} validation clips right."
        )
    return " ".join(parts)


def _alt(run: Run) -> str:
    ends = list(run.record["stage_losses"].values())
    last = (
        ", ".join(f"L_{name} {value:.2f}" for name, value in ends[-1].items() if name in plots.TERMS) if ends else ""
    )
    return f"Line chart of the loss terms over {run.epochs:g} epochs. At the end: {last}."


def made_blocks(run: Run) -> list[Block]:
    """Commit, recipe, versions, settings."""
    record = run.record
    facts: dict[str, Any] = {
        "data set": f"{run.dataset} {record.get('dataset_version', '')}",
        "data fingerprint": record.get("data_fingerprint"),
        "recipe": record.get("recipe"),
        "commit": record.get("commit"),
        "backbone": record.get("backbone") or record["recipe_fields"].get("backbone"),
        "text encoder": (record.get("text_encoder") or {}).get("name"),
        "FG-Text": _text_level(record.get("sentences") or {}),
        "trained in seconds": record.get("train_seconds"),
        **(record.get("machine") or {}),
        **(record.get("versions") or {}),
    }
    settings = record["arguments"]
    return [
        Heading("How it was made", 3),
        Table(
            "The run",
            ("", ""),
            tuple((name, str(value)) for name, value in facts.items() if value is not None),
            ("", "wide"),
        ),
        Table("Settings", ("", ""), tuple((name, str(value)) for name, value in settings.items()), ("", "wide")),
        Text("Everything else that the run wrote down stands in its metrics.json."),
    ]


def _text_level(sentences: dict[str, Any]) -> str | None:
    """How much the sentences say beyond the class, and who wrote them."""
    if "text" not in sentences:
        return None
    by = ", ".join(f"{name} {share:.0%}" for name, share in sentences.get("provenance", {}).items())
    return (
        f"{sentences['text']}, H(record | class) {sentences['record_bits_given_class']:.2f} bits; by {by or 'nobody'}"
    )
