"""What `microgesture check` found: counts, errors and warnings, as a table and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LISTED = 20  # examples kept of each kind
PRINTED = 5
WARNINGS = frozenset(
    {
        "no_test", "too_short", "long", "tiny", "static", "duplicate", "overlap", "absent_class", "single_clip",
        "no_text", "partial_text", "same_text", "long_sentence", "unused_class", "keypoints_incomplete",
        "keypoints_length", "keypoints_unit",
    }
)  # fmt: skip
"""Kinds of findings that do not fail; every other kind is an error."""


@dataclass
class Finding:
    """All findings of one kind.

    Args:
        kind: One word for programs.
        count: How many there are.
        examples: The first of them: `split`, `line` and `file` where there are such, and `message`.
    """

    kind: str
    count: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Report:
    """The result of a check.

    Args:
        folder: The data set.
        splits: For each split how many `clips`, `people`, `classes` and `videos` it has, and their `seconds`.
        findings: By kind.
        tolerated: Kinds that are errors elsewhere and warnings here.
    """

    folder: str
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)
    tolerated: frozenset[str] = frozenset()

    def add(self, kind: str, message: str, split: str | None = None, line: int | None = None, file: str = "") -> None:
        """Notes one finding."""
        finding = self.findings.setdefault(kind, Finding(kind))
        finding.count += 1
        if len(finding.examples) < LISTED:
            place = {"split": split, "line": line, "file": file or None}
            finding.examples.append({k: v for k, v in place.items() if v is not None} | {"message": message})

    @property
    def errors(self) -> list[Finding]:
        """What must be mended before training."""
        return [f for f in self.findings.values() if f.kind not in WARNINGS | self.tolerated]

    @property
    def warnings(self) -> list[Finding]:
        """What should be looked at."""
        return [f for f in self.findings.values() if f.kind in WARNINGS | self.tolerated]

    def as_json(self) -> dict[str, Any]:
        """The whole report for programs."""
        parts = {
            name: [{"kind": f.kind, "count": f.count, "examples": f.examples} for f in findings]
            for name, findings in (("errors", self.errors), ("warnings", self.warnings))
        }
        return {"folder": self.folder, "ok": not self.errors, "splits": self.splits} | parts

    def as_text(self) -> str:
        """The report for people."""
        head = f"{'split':<14}{'clips':>8}{'people':>8}{'classes':>9}{'videos':>8}{'minutes':>9}"
        lines = [self.folder, head]
        for name, s in self.splits.items():
            minutes = s["seconds"] / 60
            lines.append(f"{name:<14}{s['clips']:>8}{s['people']:>8}{s['classes']:>9}{s['videos']:>8}{minutes:>9.1f}")
        for title, findings in (("errors", self.errors), ("warnings", self.warnings)):
            lines.append(f"{title}: {sum(f.count for f in findings) or 'none'}")
            for finding in findings:
                lines.append(f"  {finding.kind} ({finding.count})")
                lines += [f"    {_line(example)}" for example in finding.examples[:PRINTED]]
                if finding.count > PRINTED:
                    lines.append(f"    … and {finding.count - PRINTED} more")
        return "\n".join(lines)


def _line(example: dict[str, Any]) -> str:
    place = " ".join(
        str(part)
        for part in (
            example.get("split"),
            f"line {example['line']}" if "line" in example else None,
            f"({example['file']})" if "file" in example else None,
        )
        if part
    )
    return f"{place}: {example['message']}" if place else example["message"]
