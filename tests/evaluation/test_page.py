"""Blocks as HTML and Markdown."""

from __future__ import annotations

import pytest

from microgesture.evaluation.report.page import (
    Cell,
    Figures,
    Heading,
    Items,
    Picture,
    Table,
    Text,
    printable,
    to_html,
    to_markdown,
)

BLOCKS = [
    Heading("Part <1>"),
    Text("a & b", "warning"),
    Items(("one", "two | three")),
    Figures((("50.0 %", "Top-1", "4 of 8 clips"),)),
    Table("Figures", ("Row", "k"), (("a|b", Cell("<75.44>", "not-comparable")), ("c", "1_2")), ("", "number theirs")),
    Picture("run (1)/x", "image/svg+xml", b"<svg/>", 'an "alt"', "caption"),
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b", "a\N{REPLACEMENT CHARACTER}b"),
        ("\ud800", "\N{REPLACEMENT CHARACTER}"),
        ("\u202eabc", "\N{REPLACEMENT CHARACTER}abc"),
        ("a\n\n# b", "a # b"),
        ("揉眼睛 é", "揉眼睛 é"),
    ],
)
def test_text_that_no_page_may_hold_is_replaced(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode("utf-8")


def test_html() -> None:
    page = to_html("T & T", BLOCKS)
    for part in (
        "<title>T &amp; T</title>",
        '<li><a href="#part-0">Part &lt;1&gt;</a></li>',
        '<h2 id="part-0">Part &lt;1&gt;</h2>',
        '<p class="warning">a &amp; b</p>',
        "<div><dt>Top-1</dt><dd><b>50.0 %</b> <span>4 of 8 clips</span></dd></div>",
        '<th scope="row" class="">a|b</th><td class="number theirs not-comparable">&lt;75.44&gt;</td>',
        '<img src="data:image/svg+xml;base64,PHN2Zy8+" alt="an &quot;alt&quot;">',
    ):
        assert part in page, part


def test_markdown() -> None:
    assert to_markdown("T & T", BLOCKS, "pictures") == (
        "# T &amp; T\n\n## Part &lt;1&gt;\n\n**Warning:** a &amp; b\n\n- one\n- two \\| three\n\n"
        "- Top\\-1: **50.0 %** 4 of 8 clips\n\n"
        "**Figures**\n\n| Row | k |\n| --- | ---: |\n| a\\|b | ~~&lt;75.44&gt;~~ |\n| c | *1\\_2* |\n\n"
        '![an "alt"](pictures/run__1__x.svg)\n\n*caption*\n'
    )


def test_a_row_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        to_html("t", [Table("x", ("a", "b"), (("1",),))])
