"""The report: what stands in it, that nothing gets out of it, and that a browser shows it."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from devtools import look_at, needs_chromium
from evaluation.report_runs import HOSTILE, hostile_dataset, write_ablation, write_run

import evaluate_fgsgl
import train_fgsgl

pytest.importorskip("matplotlib", reason="the report is drawn by matplotlib: pip install fgsgl[report]")

from microgesture import cli
from microgesture.data.fg_text import FGText
from microgesture.evaluation.report import plots
from microgesture.evaluation.report.confusions import strip, worst_confusions
from microgesture.evaluation.report.frames import Frames
from microgesture.evaluation.report.page import Picture, Table, Text
from microgesture.evaluation.report.paper_tables import paper_tables
from microgesture.evaluation.report.runs import read_runs
from microgesture.evaluation.report.write import report_blocks, write_report
from microgesture.evaluation.score_file import Scores, score_path
from video_fgsgl import read_frames


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
        "Paired differences", f"{result['correct']} of 8 clips", "Difference in top-1 of each person", "e, 8 clips",
        "Beside these: weighted F1", "Right of answers", "p by McNemar's test and Holm, which ignores",
    ):  # fmt: skip
        assert text in unescaped(page), text
        assert text in unescaped(markdown).replace("\\", ""), text
    note = "TSM on SMG is the figure that the data set's authors mark with a star; theirs without it is 58.69."
    emotions = "H2OFormer: both figures are accuracies of recognising emotions. They must not be compared"
    for text in ("What must not be compared", "H2OFormer (emotions, not micro-gestures)", emotions, note):
        assert text in unescaped(page), text
        assert text in unescaped(markdown).replace("\\", ""), text
    assert re.findall(r'class="[^"]*not-comparable">([^<]*)<', page) == ["75.44", "70.00"]
    assert re.search(r"\.not-comparable \{[^}]*line-through", page)
    assert re.findall("~~(.*?)~~", markdown) == ["75.44", "70.00"]
    for number in (1, 2):  # runs of two stages
        losses = (reported / "report_pictures" / f"run_{number:02d}_losses.svg").read_text("utf-8")
        assert re.findall(r">(stage \d)</text>", losses) == ["stage 1", "stage 2"]
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


def test_a_strip_shows_the_clip_of_the_worst_confusion_and_says_that_clips_own_sentence(hostile, tmp_path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(hostile, folder, ignore=shutil.ignore_patterns("train", "validation"))
    about, metadata = json.loads((folder / "labels.json").read_text()), folder / "test" / "metadata.jsonl"
    (folder / "labels.json").write_text(json.dumps(about | {"mirrored": True}))
    rows = [json.loads(line) | {"start": 0.2, "end": 0.5} for line in metadata.read_text().splitlines()]
    metadata.write_text("".join(json.dumps(row) + "\n" for row in rows))
    clips = {f"{row['file_name']}#t=0.2,0.5": row for row in rows}
    texts = {c["name"]: c["text"] for c in about["classes"]}
    files = {name: str(folder / "test" / row["file_name"]) for name, row in clips.items()}
    strips = {name: strip(read_frames(file, 8, 0.2, 0.5, mirrored=True).numpy()) for name, file in files.items()}
    assert len(set(strips.values())) == 8  # one clip's is not another's
    runs = read_runs([write_run(tmp_path / f"run_{seed}", folder, seed) for seed in range(2)])
    blocks = report_blocks(runs, [], Frames([folder], read_frames))
    shown = [block for block in blocks if isinstance(block, Picture) and block.kind == "strip"]
    every = [Scores.read(score_path(run.folder, "test")) for run in runs]
    worst = [(scores, found) for scores in every for found in worst_confusions(scores)]
    told = set()
    for picture, (scores, found) in zip(shown, worst, strict=True):
        name, true, said = scores.clips[found.row], scores.classes[found.true], scores.classes[found.predicted]
        record = FGText.from_mapping(clips[name])
        assert clips[name]["label"] == true
        assert picture.data == strips[name]
        assert picture.caption.startswith(f"{true} taken for {said}: {found.count} of 2 clips. Shown: {name}, e, for")
        own = f"Its own sentence: “{record.sentence()}”" if record else f"its class's sentence: “{texts[true]}”"
        assert picture.caption.endswith(f"{own} The sentence of the class that was said: “{texts[said]}”")
        told.add(record is None)
    assert told == {False, True}  # a clip with FG-Text and one without


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
    assert cells == {8}  # seven cells, whatever the name of the class


@needs_chromium
@pytest.mark.timeout(180)
def test_a_browser_shows_every_picture_and_has_nothing_to_complain_of(reported, tmp_path) -> None:
    seen = look_at(reported / "report.html", tmp_path)
    assert seen.console == []
    assert seen.asked_for == set()
    assert seen.title == "FG-SGL: report"
    assert len(seen.pictures) == len(Page((reported / "report.html").read_text("utf-8")).all("img"))
    assert [alt for alt, width in seen.pictures if width == 0] == []
    assert seen.scripts == 0
    assert HOSTILE[0] in seen.text
    assert seen.overflow <= 0  # wide tables scroll by themselves
    assert seen.print_overflow <= 0  # and none scrolls on paper
    assert seen.sheets > 1


@needs_chromium
def test_a_browser_shows_an_ablation_too(tmp_path) -> None:
    write_report([write_ablation(tmp_path / "tables", people=6)], tmp_path / "out")
    page = tmp_path / "out" / "report.html"
    (tmp_path / "browser").mkdir()
    seen = look_at(page, tmp_path / "browser")
    assert (seen.console, seen.asked_for, seen.scripts) == ([], set(), 0)
    assert len(seen.pictures) == len(Page(page.read_text("utf-8")).all("img")) > 0
    assert [alt for alt, width in seen.pictures if width == 0] == []
    assert max(seen.overflow, seen.print_overflow) <= 0
    assert seen.sheets > 1


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


def test_pictures_are_the_same_every_time_and_frames_are_shown_only_when_asked_for(reported, tmp_path) -> None:
    write_report([reported.parent / "a <b>"], tmp_path)
    again = {path.name: path.read_bytes() for path in (tmp_path / "report_pictures").iterdir()}
    assert len(again) == 6
    assert again == {name: (reported / "report_pictures" / name).read_bytes() for name in again}
    text = (tmp_path / "report.html").read_text("utf-8")
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
    for name, value in (("ml_co_order", "fg_first"), ("semantic_loss", "plain")):
        control = write_run(tmp_path / name, hostile, **{name: value})
        assert read_runs([control])[0].components is None


def test_the_stage_boundary_is_a_dashed_line_where_the_second_stage_begins() -> None:
    log = [{"loss": 1.0, "cls": 1.0, "stage": 1 + (epoch > 4), "epoch": float(epoch)} for epoch in range(1, 9)]
    two, one = (plots.loss_curves(log, boundary, None).decode() for boundary in (4.0, None))
    upright = re.compile(r'd="M ([\d.]+) [\d.]+ \s*L \1 [\d.]+ \s*"[^>]*stroke-dasharray')
    places = sorted({float(x) for x in re.findall(r'<use [^>]*x="([\d.]+)"', two)})  # the axis, then the epochs
    assert len(places) == 9
    assert [float(x) for x in upright.findall(two)] == [places[4]]
    assert upright.findall(one) == []
    assert "stage 1<" not in one


def test_the_curve_of_a_semantic_loss_is_drawn() -> None:
    log = [{"loss": 1.0, "cls": 0.5, "sem": 0.9 / epoch, "stage": 2, "epoch": float(epoch)} for epoch in (1, 2)]
    assert "L_sem" in plots.loss_curves(log, None, None).decode()


def test_only_seeds_are_taken_together_and_a_leak_stands_in_no_table_of_the_paper(hostile, tmp_path) -> None:
    folders = [
        write_run(tmp_path / "seed_0", hostile),
        write_run(tmp_path / "seed_1", hostile, seed=1),
        write_run(tmp_path / "no_fg_sa", hostile, fg_sa=False),
        write_run(tmp_path / "colder", hostile, temperature=0.02),
        write_run(tmp_path / "leaking", hostile, temperature=0.5),
    ]
    about = json.loads((tmp_path / "leaking" / "metrics.json").read_text())
    (tmp_path / "leaking" / "metrics.json").write_text(json.dumps(about | {"leak": True}))
    blocks = paper_tables(read_runs(folders), [])
    table = next(block for block in blocks if isinstance(block, Table) and block.caption.startswith("Table II:"))
    assert table.head[6:] == ("tiny, settings of seed_0", "tiny, settings of colder")
    correct = [json.loads((folder / "eval_test.json").read_text())["metrics"]["correct"] for folder in folders]
    full, without = table.rows[3][6:], table.rows[0][6:]
    assert full[0].text.endswith(f"({correct[0]}/8, {correct[1]}/8)")
    assert " ± " in full[0].text
    assert full[1].text == f"{100 * correct[3] / 8:.2f} ({correct[3]}/8)"
    assert (without[0].text, without[1]) == (f"{100 * correct[2] / 8:.2f} ({correct[2]}/8)", "–")


def test_a_stream_is_called_one_and_stands_in_no_table_of_the_paper(hostile, tmp_path) -> None:
    folder = write_run(tmp_path / "skeleton", hostile)
    about, result = (json.loads((folder / name).read_text()) for name in ("metrics.json", "eval_test.json"))
    (folder / "metrics.json").write_text(json.dumps(about | {"stream": "skeleton"}))
    result |= {"model": "skeleton stream", "transductive": True, "baselines": {"majority class": result["metrics"]}}
    (folder / "eval_test.json").write_text(json.dumps(result))
    runs = read_runs([folder])
    blocks = report_blocks(runs, [])
    tables = {block.caption: block.rows for block in blocks if isinstance(block, Table)}
    assert tables["All runs, in per cent; every clip is counted once"][0][2] == "test (transductive)"
    beside = tables["Beside simple baselines on the same clips"]
    assert [row[0] for row in beside] == ["skeleton stream", "majority class"]
    said = [block.text for block in blocks if isinstance(block, Text)]
    assert "No run here was evaluated on a test split as a row of these tables." in said
    assert "A skeleton stream, which reads no sentence of a clip: no row of the paper's tables." in said
    assert [text for text in said if text.startswith("Transductive: this checkpoint was adapted to these very clips")]


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


def test_an_ablation_has_its_table_its_picture_and_a_column_beside_the_paper(tmp_path) -> None:
    folder = write_ablation(tmp_path / "tables")
    table = json.loads((folder / "ablation.json").read_text())
    write_report([folder], tmp_path / "out")
    markdown = (tmp_path / "out" / "report.md").read_text("utf-8").replace("\\", "")
    full, class_level, shuffled = table["rows"]
    column = re.search(r"\| FG-SA .*? other, tables \|", markdown)
    assert column is not None
    counts = ", ".join(f"{k}/40" for k in full["correct"])
    assert re.search(
        rf"\| ✓ \| ✓ \| ✓ \| Fine-grained \| \*78.13\* \| \*62.58\* \| \*\*.*\({counts}\)\*\* \|", markdown
    )
    assert re.search(r"\| ✓ \| ✓ \| ✓ \| Class-level \| \*76.55 \(−1.58\)\* .*\*\*.* ± .*\*\* \|", markdown)
    assert "0.00 (class-level text)" in markdown
    assert "semantic" not in markdown.lower()  # shuffled sentences stand in the same table
    low, high = shuffled["compared"]["interval"]
    assert f"[{100 * low:+.1f}, {100 * high:+.1f}]".replace("-", "−") in markdown
    assert "Runs of more than one version of the data stand in this table: data0, data1, data2" in markdown
    assert 'shuffled (controls): [fg_text_shuffle: "all"]' in markdown.replace("  ", " ")
    assert "class_level_text (paper): Worse | much." in markdown
    assert "report_pictures/ablation_01_differences.svg" in markdown
    assert class_level["row"] in (tmp_path / "out" / "report_pictures" / "ablation_01_differences.svg").read_text(
        "utf-8"
    )


def test_people_too_few_for_an_interval_stand_one_by_one(tmp_path) -> None:
    folder = write_ablation(tmp_path / "tables", people=6)
    full, class_level, _ = json.loads((folder / "ablation.json").read_text())["rows"]
    write_report([folder], tmp_path / "out")
    markdown = (tmp_path / "out" / "report.md").read_text("utf-8").replace("\\", "")
    assert "(too few people)" in markdown
    assert "| Row | 0, of 4 | 1, of 4 | 2, of 4 | 3, of 4 | 4, of 4 | 5, of 4 |" in markdown
    of_full, of_other = (row["per_subject"]["5"]["correct"] for row in (full, class_level))
    assert class_level["compared"]["per_subject"]["5"]["difference"] == (sum(of_other) - sum(of_full)) / 8
    difference = f"{100 * (sum(of_other) - sum(of_full)) / 8:+.1f}".replace("-", "−")
    cells = next(line for line in markdown.splitlines() if re.match(r"\| class_level_text( \| [^|]*\)){6} \|$", line))
    assert cells.endswith(f"| {sum(of_other) / 2:.1f} ({difference}) |")
    write_ablation(tmp_path / "many")
    write_report([tmp_path / "many"], tmp_path / "out2")
    assert "| Row | 0, of 4 |" not in (tmp_path / "out2" / "report.md").read_text("utf-8")


def test_a_run_as_training_and_evaluation_leave_it(tiny_arguments, tiny_dataset, tmp_path) -> None:
    train_fgsgl.main(tiny_arguments)
    evaluate_fgsgl.main([str(tmp_path / "out"), str(tiny_dataset), "--cache_dir", str(tmp_path / "cache")])
    argv = ["report", str(tmp_path / "out"), "--data", str(tiny_dataset), "--out", str(tmp_path / "report")]
    assert cli.main(argv) == 0
    page = unescaped((tmp_path / "report" / "report.html").read_text("utf-8"))
    result = json.loads((tmp_path / "out" / "eval_test.json").read_text())["metrics"]
    assert f"the classifier has {result['correct']} of 8 right" in page
    assert "Stage 2 begins at epoch 1" in page
    assert "H(record | class)" in page
    assert "was not measured" not in page
    assert page.count("data:image/jpeg") == min(6, sum(n > 0 for n in off_diagonal(result["confusion"])))


def off_diagonal(confusion: list[list[int]]) -> list[int]:
    return [n for true, row in enumerate(confusion) for said, n in enumerate(row) if said != true]
