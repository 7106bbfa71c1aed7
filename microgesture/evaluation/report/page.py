"""A report as a list of blocks, written as one HTML page that needs nothing beside it, and as Markdown."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

# What XML forbids, and what turns the direction of the text around it.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]")
_LONG = re.compile(r"(\S{40})(?=\S)")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
SHORT = 20
"""A table of so many rows is not divided between two sheets of paper."""
SVG = "image/svg+xml"
SUFFIX = {"image/svg+xml": "svg", "image/jpeg": "jpg"}


def printable(text: str) -> str:
    """The text on one line, with a replacement character for what a page must not hold."""
    return " ".join(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text).split())


def percent(value: float) -> str:
    """A share in per cent."""
    return f"{100 * value:.1f} %"


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign, a minus as it is printed."""
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def p_value(value: float | None) -> str:
    """A p value; a dash where nothing was tested."""
    return "–" if value is None else f"{value:.3g}"


@dataclass(frozen=True)
class Heading:
    """A heading of level 2 (in the list of contents) to 4."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph; `kind` is empty, `note` or `warning`."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Figures:
    """Some figures in large type: value, what it is, and k of N or another detail."""

    figures: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Cell:
    """A cell that is not like its column, e.g. of kind `not-comparable`."""

    text: str
    kind: str


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        caption: What it shows.
        head: Names of the columns.
        rows: As many cells in each.
        kinds: Of each column: any of `number`, `mark`, `label` (not broken), `theirs` and `wide`; or empty.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A picture.

    Args:
        name: Of its file beside the Markdown, without a suffix.
        media: `image/svg+xml` or `image/jpeg`.
        data: The file.
        alt: What it shows, for those who do not see it.
        caption: What it shows, with k of N.
        kind: `half` for one that shares the width with its neighbour; or empty.
    """

    name: str
    media: str
    data: bytes
    alt: str
    caption: str
    kind: str = ""

    @property
    def file(self) -> str:
        """Its file name."""
        return f"{re.sub(r'[^A-Za-z0-9_-]', '_', self.name)}.{SUFFIX[self.media]}"


Block = Heading | Text | Items | Figures | Table | Picture


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """The page: pictures and styles are in it, scripts and the network are forbidden to it."""
    style = files("microgesture.evaluation.report").joinpath("page.css").read_text(encoding="utf-8")
    contents = "".join(
        f'<li><a href="#part-{number}">{_html(block.text)}</a></li>'
        for number, block in enumerate(blocks)
        if isinstance(block, Heading) and block.level == 2
    )
    body = "\n".join(_html_blocks(blocks))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{_html(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header><h1>{_html(title)}</h1></header>\n"
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav>\n<main>\n{body}\n</main>\n</body>\n</html>\n'
    )


def _html_blocks(blocks: Sequence[Block]) -> Iterator[str]:
    for number, block in enumerate(blocks):
        match block:
            case Heading(text, level):
                yield f'<h{level} id="part-{number}">{_html(text)}</h{level}>'
            case Text(text, kind):
                yield f'<p class="{kind}">{_html(text)}</p>' if kind else f"<p>{_html(text)}</p>"
            case Items(items):
                yield "<ul>" + "".join(f"<li>{_html(item)}</li>" for item in items) + "</ul>"
            case Figures(figures):
                yield '<dl class="figures">' + "".join(_html_figure(*figure) for figure in figures) + "</dl>"
            case Table():
                yield _html_table(block)
            case Picture():
                source = f"data:{block.media};base64,{base64.b64encode(block.data).decode('ascii')}"
                yield (
                    f'<figure class="{block.kind or "whole"}"><img src="{source}" alt="{_html(block.alt)}">'
                    f"<figcaption>{_html(block.caption)}</figcaption></figure>"
                )


def _html_figure(value: str, name: str, detail: str) -> str:
    return f"<div><dt>{_html(name)}</dt><dd><b>{_html(value)}</b> <span>{_html(detail)}</span></dd></div>"


def _html_table(table: Table) -> str:
    kinds = table.kinds or ("",) * len(table.head)
    head = "".join(
        f'<th scope="col" class="{kind}">{_html(name)}</th>' for name, kind in zip(table.head, kinds, strict=True)
    )
    rows = []
    for row in table.rows:
        cells = []
        for column, (cell, kind) in enumerate(zip(row, kinds, strict=True)):
            text, own = (cell.text, cell.kind) if isinstance(cell, Cell) else (cell, "")
            tag = 'th scope="row"' if column == 0 else "td"
            cells.append(f'<{tag} class="{f"{kind} {own}".strip()}">{_html(text)}</{tag[:2]}>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    label = _html(table.caption)
    short = " short" if len(rows) <= SHORT else ""
    return (
        f'<div class="table{short}" role="region" tabindex="0" aria-label="{label}"><table><caption>{label}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _html(text: str) -> str:
    return escape(_LONG.sub("\\1\N{ZERO WIDTH SPACE}", printable(text)))  # so that no word is wider than the paper


def to_markdown(title: str, blocks: Sequence[Block], pictures: str) -> str:
    """The same as Markdown.

    Args:
        title: Of the report.
        blocks: Its content.
        pictures: The folder that the pictures are written to, relative to the Markdown file.
    """
    return "\n\n".join([f"# {_md(title)}", *_markdown_blocks(blocks, pictures)]) + "\n"


def _markdown_blocks(blocks: Sequence[Block], pictures: str) -> Iterator[str]:
    for block in blocks:
        match block:
            case Heading(text, level):
                yield f"{'#' * level} {_md(text)}"
            case Text(text, kind):
                yield f"**{kind.capitalize()}:** {_md(text)}" if kind else _md(text)
            case Items(items):
                yield "\n".join(f"- {_md(item)}" for item in items)
            case Figures(figures):
                yield "\n".join(
                    f"- {_md(name)}: **{_md(value)}** {_md(detail)}".rstrip() for value, name, detail in figures
                )
            case Table():
                yield _markdown_table(block)
            case Picture():
                yield f"![{_md(block.alt)}]({pictures}/{block.file})\n\n*{_md(block.caption)}*"


def _markdown_table(table: Table) -> str:
    kinds = table.kinds or ("",) * len(table.head)
    rule = ["---:" if "number" in kind else "---" for kind in kinds]
    lines = [[_md(name) for name in table.head], rule]
    lines += [[_markdown_cell(cell, kind) for cell, kind in zip(row, kinds, strict=True)] for row in table.rows]
    return "\n".join([f"**{_md(table.caption)}**", "", *(f"| {' | '.join(line)} |" for line in lines)])


def _markdown_cell(cell: str | Cell, kind: str) -> str:
    if isinstance(cell, Cell):
        return f"~~{_md(cell.text)}~~" if cell.kind == "not-comparable" else f"**{_md(cell.text)}**"
    return f"*{_md(cell)}*" if "theirs" in kind and cell else _md(cell)


def _md(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", escape(printable(text), quote=False))
