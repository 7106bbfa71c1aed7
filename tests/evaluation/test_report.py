"""The report: what stands in it, that nothing gets out of it, and that a browser shows it."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import look_at, needs_chromium
from evaluation.report_runs import HOSTILE, hostile_dataset, write_run

pytest.importorskip("matplotlib", reason="the report is drawn by matplotlib: pip install fgsgl[report]")

from microgesture import cli
from microgesture.evaluation.report.runs import read_runs
from microgesture.evaluation.report.write import write_report


@pytest.fixture(scope="module")
def hostile(tiny_dataset, tmp_path_factory) -> Path:
    return hostile_dataset(tiny_dataset, tmp_path_factory.mktemp("hostile") / "data")


@pytest.fixture(scope="module")
def reported(hostile, tmp_path_factory) -> Path:
    """A report of two runs, with frames, as the command line makes it."""
    folder = tmp_path_factory.mktemp("reported")
    runs = [write_run(folder / "a <b>", hostile), write_run(folder / "seed_1", hostile, seed=1, fg_sa=False)]
    argv = ["report", *map(str, runs), "--data", str(hostile), "--out", str(folder / "report")]
    assert cli.main(argv) == 0
    return folder / "report"


class Page(HTMLParser):
    """Collects the elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_everything_that_was_asked_for_stands_in_the_page_and_in_the_markdown(reported) -> None:
    page, markdown = (reported / "report.html").read_text("utf-8"), (reported / "report.md").read_text("utf-8")
    result = json.loads((reported.parent / "seed_1" / "eval_test.json").read_text())["metrics"]
    for text in (
        "Table I: methods", "Table II: components left out", "Table III: class-level text", "78.13", "Loss terms",
        "Stage 2 begins at epoch 4", "6 of 8 validation clips", "Confusion matrix", "Recall of each class",
        "dashed line", "surest 4 of 8 clips",
        "taken for", "PCA of the clips", "A clip's own sentence among 6", "not grounded",
        "Paired differences", f"{result['correct']} of 8 clips",
    ):  # fmt: skip
        assert text in unescaped(page), text
        assert text in unescaped(markdown).replace("\\", ""), text
    pictures = Page(page).all("img")
    confusions = sum("taken for" in picture["alt"] for picture in pictures)
    assert confusions >= 2
    assert len(pictures) == 2 * 6 + confusions
    assert all(picture["alt"] for picture in pictures)
    linked = re.findall(r"\]\((report_pictures/[^)]*)\)", markdown)
    assert len(linked) == len(pictures)
    assert all((reported / file).stat().st_size > 500 for file in linked)


def unescaped(text: str) -> str:
    from html import unescape

    return unescape(text)


def test_the_page_needs_nothing_and_runs_nothing(reported) -> None:
    page = Page((reported / "report.html").read_text("utf-8"))
    assert not page.all("script")
    assert "default-src 'none'" in page.all("meta")[1]["content"]
    addresses = [value for _, found in page.elements for name, value in found.items() if name in ("src", "href")]
    assert addresses
    assert all(address.startswith(("data:", "#part-")) for address in addresses)
    assert not [name for _, found in page.elements for name in found if name.startswith("on")]
    assert not [value for _, found in page.elements for value in found.values() if str(reported.parent) in value]


def test_names_stay_text_in_markdown(reported) -> None:
    markdown = (reported / "report.md").read_text("utf-8")
    assert "<script" not in markdown
    assert "<img" not in markdown
    assert "![a](" not in markdown
    assert "\n## A heading" not in markdown
    tables = [line for line in markdown.splitlines() if line.startswith("| ")]
    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in tables if "rm" in line and "1 costs" in line}
    assert cells == {7}  # six cells, whatever the name of the class


@needs_chromium
@pytest.mark.timeout(180)
def test_a_browser_shows_every_picture_and_has_nothing_to_complain_of(reported, tmp_path) -> None:
    seen = look_at(reported / "report.html", tmp_path)
    assert seen.console == []
    assert seen.title == "FG-SGL: report"
    assert len(seen.pictures) == len(Page((reported / "report.html").read_text("utf-8")).all("img"))
    assert [alt for alt, width in seen.pictures if width == 0] == []
    assert seen.scripts == 0
    assert HOSTILE[0] in seen.text
    assert seen.overflow <= 0  # wide tables scroll by themselves


@needs_chromium
def test_the_browser_would_complain(tmp_path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src data:\"><title>bad</title>"
        "<img alt=gone src=nowhere.png><img alt=broken src='data:image/svg+xml;base64,PHN2Zz4='><script>x.y</script>"
    )
    seen = look_at(page, tmp_path)
    assert len(seen.console) == 2
    assert seen.pictures == [("gone", 0), ("broken", 0)]


def test_two_reports_of_the_same_run_are_the_same(reported, tmp_path) -> None:
    runs = [reported.parent / "a <b>"]
    for name in ("one", "two"):
        write_report(runs, tmp_path / name)
    assert (tmp_path / "one" / "report.html").read_bytes() == (tmp_path / "two" / "report.html").read_bytes()
    text = (tmp_path / "one" / "report.html").read_text("utf-8")
    assert "No frames here" in text
    assert "image/jpeg" not in text


def test_stages_and_rows_of_the_paper_are_read_from_the_record(hostile, tmp_path) -> None:
    first, second = read_runs(
        [write_run(tmp_path / "x" / "run", hostile), write_run(tmp_path / "y" / "run", hostile, ml_co=False)]
    )
    assert [first.name, second.name] == ["run", "run (2)"]
    assert first.boundary == 4.0
    assert first.components is not None
    assert second.components is not None
    assert (first.components.ml_co, second.components.ml_co) == (True, False)
    control = write_run(tmp_path / "control", hostile, ml_co_order="fg_first")
    assert read_runs([control])[0].components is None


def test_what_cannot_be_reported_is_said(reported, hostile, tiny_dataset, tmp_path, capsys) -> None:
    run = tmp_path / "run"
    shutil.copytree(reported.parent / "seed_1", run)

    def refused(*argv: object) -> str:
        assert cli.main(["report", *map(str, argv), "--out", str(tmp_path / "out")]) == 1
        return capsys.readouterr().err

    assert "holds no finished run: it has no metrics.json" in refused(tmp_path)
    assert "none of these runs was evaluated on the clips in" in refused(run, "--data", tiny_dataset)
    (run / "eval_test.json").write_text('{"metrics": {}, "groups": {}}')
    assert "has no class_groups, calibration: an older version wrote it" in refused(run)
    (run / "eval_test.json").write_text("{")
    assert "cannot be read" in refused(run)
    assert not (tmp_path / "out").exists()
    (run / "eval_test.json").unlink()
    write_report([run], tmp_path / "out")
    assert "not evaluated on any split yet" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_people_who_may_not_be_passed_on_are_warned_of(reported, hostile) -> None:
    page = (reported / "report.html").read_text("utf-8")
    assert "may not be passed on: neither may this report" in page
