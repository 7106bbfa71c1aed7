"""What was measured about agreement, as text for the screen."""

from __future__ import annotations

from collections.abc import Sequence

from microgesture.annotation.agreement import (
    WHOLE,
    Agreement,
    Confusion,
    Disagreement,
    FieldAgreement,
    PairAgreement,
)
from microgesture.annotation.segments_agreement import NOTHING, SegmentAgreement, Settings
from microgesture.evaluation.coefficients import Estimate

MOST_CONFUSED, MOST_CLIPS, SIDE_BY_SIDE = 8, 10, 4
FEW_CLUSTERS = 10
NONE = "-"
NAMES = {"same": "same word", "cohen": "Cohen's κ", "fleiss": "Fleiss' κ", "alpha": "Krippendorff's α"}
LEFT_OUT = {
    "confirmed": "accepted unchanged from a prefilled export",
    "model": "proposed by a model",
    "default": "taken from the class",
}
HOW_TO_READ = (
    f"{WHOLE}: all four attributes at once.\n1: always the same word; 0: no more often than by chance. Krippendorff "
    "asks for an α of 0.80, or of 0.667 for tentative conclusions."
)


def as_text(found: Agreement) -> str:
    """The whole report."""
    parts = [_head(found)]
    if len(found.coders) < 2 or not found.clips:
        parts.append(_nothing_between(found))
    else:
        parts.append("Between coders\n" + field_table(found.fields))
        parts.append("\n".join([HOW_TO_READ, *_intervals(found.by, found.clusters), *_answers(found.fields)]))
    if found.pairs:
        parts.append("Each pair of coders: Cohen's κ\n" + pair_tables(found.pairs, "cohen"))
    if found.themselves:
        looks = ", ".join(f"{_who(one)} {_most(one)}" for one in found.themselves)
        parts.append(f"Coders with themselves: clips seen a second time: {looks}")
        parts.append("The same word at both looks\n" + pair_tables(found.themselves, "same"))
        parts.append("Cohen's κ of both looks\n" + pair_tables(found.themselves, "cohen"))
    else:
        parts.append("No coder saw a clip twice, so nothing tells how well they agree with themselves.")
    parts += confused_text(found.confused) + clips_text(found.disagreements)
    return "\n\n".join(parts)


def field_table(fields: Sequence[FieldAgreement], counted: str = "clips") -> str:
    """One line per field; below it, why figures are missing."""
    columns = ["same", *(["cohen"] if fields[0].cohen else []), "fleiss", "alpha"]
    rows = [["", counted, *(NAMES[column] for column in columns)]]
    for one in fields:
        shown = [show(getattr(one, column), percent=column == "same") for column in columns]
        rows.append([one.field, str(one.same.units), *shown])
    notes = _reasons({(one.field, NAMES[c]): getattr(one, c) for one in fields for c in columns})
    other = [one for one in fields if one.fleiss.value is not None and one.fleiss.units != one.same.units]
    if other:
        listed = ", ".join(f"{one.field} {one.fleiss.units}" for one in other)
        notes.append(f"Fleiss' κ is of the clips that equally many coders answered: {listed}.")
    return "\n".join([columns_of(rows), *notes])


def columns_of(rows: Sequence[Sequence[str]]) -> str:
    """A table in plain text: the first column flush left, the others flush right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        rest = (f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        return "  ".join([f"  {row[0]:<{widths[0]}}", *rest])

    return "\n".join(line(row) for row in rows)


def show(estimate: Estimate, percent: bool = False) -> str:
    """A figure and its interval, e.g. `0.83 [0.72, 0.90]`."""
    if estimate.value is None:
        return NONE
    value, low, high = (
        None if x is None else f"{100 * x:.0f}" if percent else f"{x:.2f}"
        for x in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value}{' %' if percent else ''}" + ("" if low is None else f" [{low}, {high}]")


def confused_text(confused: Sequence[Confusion]) -> list[str]:
    """The words that are confused most."""
    if not confused:
        return []
    rows = [[one.field, " / ".join(one.words), f"{one.times} times"] for one in confused[:MOST_CONFUSED]]
    return [
        f"Words that one coder used and another did not ({_first(MOST_CONFUSED, len(confused))})\n" + columns_of(rows)
    ]


def _first(shown: int, count: int) -> str:
    return f"the first {shown} of {count}" if count > shown else f"all {count}"


def clips_text(disagreements: Sequence[Disagreement], what: str = "Clips") -> list[str]:
    """The clips, or movements, that coders agree on least."""
    if not disagreements:
        return []
    lines = [f"{what} that coders do not agree on, worst first ({_first(MOST_CLIPS, len(disagreements))})"]
    for one in disagreements[:MOST_CLIPS]:
        who = f" ({one.subject})" if not one.name.startswith(one.subject) else ""
        alone = any(NOTHING in said for said in one.said.values())
        how = "one coder only" if alone else f"{100 * one.score:.0f} % of the words differ"
        lines.append(f"  {one.name}{who}: {how}")
        for name, said in one.said.items():
            words = " | ".join(f"{word} ({', '.join(coders)})" for word, coders in said.items())
            lines.append(f"      {name}: {words}")
    return ["\n".join(lines)]


def segments_as_text(found: SegmentAgreement, settings: Settings) -> str:
    """The report of one pair of coders who marked movements in time."""
    one, other = found.coders
    rows = [
        ["movements that match one to one", show(found.both, percent=True)],
        ["  mean overlap (IoU) of those", show(found.iou)],
        [f"beginnings within {settings.tolerance:g} s", show(found.onsets, percent=True)],
        [f"ends within {settings.tolerance:g} s", show(found.offsets, percent=True)],
        ["Cohen's κ per unit of time: movement or not", show(found.units["marked"])],
        ["Cohen's κ per unit of time: which movement", show(found.units["label"])],
    ]
    figures = (found.both, found.iou, found.onsets, found.offsets, *found.units.values())
    lines = [
        f"{one} marked {found.marked[0]} movements, {other} {found.marked[1]}; {found.matched} match (they overlap by "
        f"at least {settings.iou:g}, IoU)",
        columns_of(rows),
        *_reasons({(row[0].strip(), ""): figure for row, figure in zip(rows, figures, strict=True)}),
        *_intervals(settings.by, found.clusters),
        f"A unit of time is {settings.unit:g} s; {found.seconds:g} s were compared, up to the last end that anybody "
        "marked.",
    ]
    if found.later:
        lines.append(f"Where movements match, those of {other} begin {_late(found.later[0])} and end "
                     f"{_late(found.later[1])}, in the mean.")  # fmt: skip
    parts = ["\n".join(lines)]
    if found.matched and found.fields:
        parts.append("What movements that match are called\n" + field_table(found.fields, "number"))
    parts += confused_text(found.confused) + clips_text(found.disagreements, "Movements")
    return "\n\n".join(parts)


def _late(seconds: float) -> str:
    if round(abs(seconds), 3) == 0:
        return "at the same time"
    return f"{abs(seconds):.3f} s {'later' if seconds > 0 else 'earlier'}"


def _head(found: Agreement) -> str:
    names = f" ({', '.join(found.coders)})" if found.coders else ""
    lines = [f"{found.records} records of {len(found.coders)} coder{'s' * (len(found.coders) != 1)}{names}; "
             f"{found.clips} clips have the words of two coders or more"]  # fmt: skip
    if found.left_out:
        listed = "; ".join(f"{count} {LEFT_OUT[provenance]}" for provenance, count in found.left_out.items())
        lines.append(f"records left out, because they are not a coder's own: {listed}")
    if found.left_out.get("confirmed"):
        lines.append(
            "(what remains of a prefilled export is what coders changed, where they are least likely to agree)"
        )
    if found.label_shown:
        lines.append(
            f"{found.label_shown} of the records were written by coders who were told the class: they may agree on it "
            "rather than on what they saw"
        )
    return "\n".join(lines)


def _nothing_between(found: Agreement) -> str:
    if not found.records:
        return "No record is a coder's own, so there is no agreement to measure. Code without --prefill."
    if len(found.coders) < 2:
        return f"There is one coder only ({found.coders[0]}); agreement between coders needs two."
    return "No clip was described by two coders, so there is no agreement between them to measure. Export the same " \
           "clips for all coders (`microgesture annotate export --coders NAME NAME`)."  # fmt: skip


def _intervals(by: str, clusters: int) -> list[str]:
    lines = [f"In brackets: 95 % intervals, from drawing whole {by}s ({clusters}) again and again."]
    if clusters < 2:
        return []
    if clusters < FEW_CLUSTERS:
        lines.append(f"With fewer than {FEW_CLUSTERS} {by}s they are rough, and rather too narrow.")
    return lines


def _answers(fields: Sequence[FieldAgreement]) -> list[str]:
    listed = []
    for one in fields:
        special = [f"{n} × {what}" for what, n in one.answers.items() if what not in ("word", "missing") and n]
        if special:
            listed.append(f"{one.field} {', '.join(special)}")
    return [f"Counted as words of their own: {'; '.join(listed)}."] if listed else []


def pair_tables(pairs: Sequence[PairAgreement], what: str) -> str:
    """A line per field and a column per pair of coders, a few at a time, for one figure."""
    tables = []
    for begin in range(0, len(pairs), SIDE_BY_SIDE):
        some = pairs[begin : begin + SIDE_BY_SIDE]
        rows = [["", *(_who(one) for one in some)]]
        rows += [[name, *(show(getattr(one, what)[name], what == "same") for one in some)] for name in pairs[0].cohen]
        tables.append(columns_of(rows))
    reasons = {(name, _who(one)): getattr(one, what)[name] for name in pairs[0].cohen for one in pairs}
    return "\n".join([*tables, *_reasons(reasons)])


def _most(one: PairAgreement) -> int:
    return max(estimate.units for estimate in one.same.values())


def _who(one: PairAgreement) -> str:
    return " and ".join(dict.fromkeys(one.coders))


def _reasons(figures: dict[tuple[str, str], Estimate]) -> list[str]:
    """Why figures or intervals are missing, each reason once."""
    if len({estimate.why for estimate in figures.values()}) == 1:
        why = next(iter(figures.values())).why
        return [f"All of these: {why}."] if why else []
    about: dict[str, dict[str, list[str]]] = {}
    for (row, column), estimate in figures.items():
        if estimate.why:
            about.setdefault(estimate.why, {}).setdefault(row, []).append(column)
    notes = []
    for why, rows in about.items():
        if len({tuple(columns) for columns in rows.values()}) == 1:
            columns = ", ".join(next(iter(rows.values())))
            listed = ", ".join(rows) + (f" ({columns})" if columns else "")
        else:
            listed = "; ".join(f"{row} ({', '.join(columns)})" for row, columns in rows.items())
        notes.append(f"{listed}: {why}.")
    return notes
