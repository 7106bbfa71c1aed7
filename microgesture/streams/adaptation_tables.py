"""The tables of an adaptation: what was accepted in each round, and the figures on the test clips at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from microgesture.streams.pseudo_labels import REJECTED, Accepted, Ints


def round_row(taught: Accepted, truth: Ints, source_counts: Sequence[int], names: Sequence[str]) -> dict[str, Any]:
    """What a stream was taught in a round.

    Args:
        taught: The accepted clips.
        truth: True class ids of the target clips `(N,)`, negative where nobody knows; only for this table.
        source_counts: Training clips of each class.
        names: The classes.

    Returns:
        `clips`, `accepted`, `agreement`, `right` of `known` accepted clips, and `classes`, for each class its clips in
        `source`, `accepted` and `right` of `known`.
    """
    accepted = taught.labels != REJECTED
    known = accepted & (truth >= 0)
    right = known & (taught.labels == truth)

    def counts(chosen: Any) -> list[int]:
        return [int(n) for n in np.bincount(taught.labels[chosen], minlength=len(names))]

    each = zip(names, source_counts, counts(accepted), counts(known), counts(right), strict=True)
    return {
        "clips": len(truth),
        "accepted": int(accepted.sum()),
        "agreement": None if np.isnan(taught.agreement) else taught.agreement,
        "known": int(known.sum()),
        "right": int(right.sum()),
        "classes": {name: {"source": source, "accepted": a, "known": k, "right": r} for name, source, a, k, r in each},
    }


def as_text(result: dict[str, Any]) -> str:
    """The tables as Markdown: the rounds, and with `test` the figures at the end and the classes."""
    lines = [
        "| method | round | stream | accepted of target clips | teachers agree | right of accepted | validation |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in result["rounds"]:
        agreement = "" if row["agreement"] is None else f"{row['agreement']:.1%}"
        right = _share(row["right"], row["known"]) if row["known"] else ""
        lines.append(
            f"| {row['method']} | {row['round']} | {row['stream']} | {row['accepted']} of {row['clips']} "
            f"| {agreement} | {right} | {_share(row['validation'], row['validation_clips'])} |"
        )
    if result.get("test"):
        lines += ["", *_test(result)]
    if "protocol" in result:
        lines += ["", *_classes(result["rounds"])]
    return "\n".join(lines)


def _test(result: dict[str, Any]) -> list[str]:
    if result["protocol"] == "transductive":
        head = (
            "Test, **transductive**: every method but source, source_only and distillation was adapted to these very "
            "clips, without their labels (true_labels: with them). Not to be compared with inductive figures."
        )
    else:
        head = "Test, inductive: no test clip was a target."
    streams = next((list(row["streams"]) for row in result["test"].values() if "streams" in row), [])
    columns = [*streams, *(["fused"] if len(streams) > 1 else [])]
    lines = [head, "", f"| method | {' | '.join(columns)} |", "| --- " * (len(columns) + 1) + "|"]
    for method, row in result["test"].items():
        if "skipped" in row:
            return [head, "", row["skipped"]]
        cells = [row["streams"][name] for name in streams] + ([row["fused"]] if "fused" in row else [])
        last = max((row["round"] for row in result["rounds"] if row["method"] == method), default=1)
        name = method if last == 1 else f"{method}, round {result['chosen_round'][method]} of {last}"
        lines.append(f"| {name} | " + " | ".join(_share(cell["correct"], cell["total"]) for cell in cells) + " |")
    return lines


def _classes(rounds: Sequence[dict[str, Any]]) -> list[str]:
    shown = [row for row in rounds if row["accepted"]]
    if not shown:
        return []
    titles = [f"{row['method']} {row['round']}: {row['stream']}" for row in shown]
    lines = ["Accepted clips of each class beside its source clips:", ""]
    lines += [f"| class | source | {' | '.join(titles)} |", "| --- " * (len(shown) + 2) + "|"]
    for name, first in shown[0]["classes"].items():
        cells = [str(row["classes"][name]["accepted"]) for row in shown]
        lines.append(f"| {name} | {first['source']} | {' | '.join(cells)} |")
    return lines


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole} = {part / whole:.1%}"
