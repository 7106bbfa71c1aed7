"""Timed codings in ELAN: which tiers are of whom, which movements match, and what is measured of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from annotation_files import tier, write_eaf
from conftest import SHARED, needs_shared
from sklearn.metrics import cohen_kappa_score

from microgesture.annotation.agreement_text import segments_as_text
from microgesture.annotation.elan_codings import LABEL, Recording, Span, read_codings
from microgesture.annotation.segments_agreement import NOTHING, Settings, segment_agreement
from microgesture.cli import main
from microgesture.evaluation.coefficients import NO_PAIRS, ONE_CLUSTER
from microgesture.evaluation.coefficients import NOTHING as NOTHING_TO_COUNT

ANNA = [("a1", 1000, 2000, "nod"), ("a2", 3000, 4000, "rub"), ("a3", 6000, 7000, "nod")]
BEN = [("b1", 1100, 2100, "nod"), ("b2", 3000, 4300, "nod"), ("b3", 8000, 9000, "rub")]


def marked(*spans: tuple[float, float, str]) -> list[Span]:
    return [Span(start, end, {LABEL: label} if label else {}) for start, end, label in spans]


def recording(first, second, name="rec", person="") -> Recording:
    return Recording(name, {"anna": {person: marked(*first)}, "ben": {person: marked(*second)}})


def times(coding) -> list[tuple[float, float]]:
    return [(span.start, span.end) for span in coding]


# --- what is measured ------------------------------------------------------------------------------------------------


def seconds(spans):
    return [(start / 1000, end / 1000, label) for _, start, end, label in spans]


def test_figures_by_hand():
    (found,) = segment_agreement([recording(seconds(ANNA), seconds(BEN))], Settings(tolerance=0.2))
    assert (found.coders, found.marked, found.matched) == (("anna", "ben"), (3, 3), 2)
    assert found.both.value == pytest.approx(4 / 6)
    assert found.iou.value == pytest.approx((0.9 / 1.1 + 1.0 / 1.3) / 2)
    assert found.onsets.value == pytest.approx(4 / 6)  # 1.0 with 1.1, 3.0 with 3.0
    assert found.offsets.value == pytest.approx(2 / 6)  # 2.0 with 2.1; 4.0 and 4.3 are too far apart
    assert found.later == (0.05, 0.2)
    assert found.seconds == 9.0
    assert (found.both.low, found.both.why) == (None, ONE_CLUSTER)
    (label,) = found.fields
    assert (label.field, label.same.value, label.same.units) == (LABEL, 0.5, 2)


def test_kappa_per_unit_of_time_is_cohens():
    unit, length = 0.1, 9.0
    (found,) = segment_agreement([recording(seconds(ANNA), seconds(BEN))], Settings(unit=unit))
    middles = (np.arange(round(length / unit)) + 0.5) * unit
    said = [
        [next((label for start, end, label in spans if start <= m < end), "") for m in middles]
        for spans in (seconds(ANNA), seconds(BEN))
    ]
    assert found.units["label"].units == 90
    assert found.units["label"].value == pytest.approx(cohen_kappa_score(*said))
    assert found.units["marked"].value == pytest.approx(
        cohen_kappa_score(*([bool(word) for word in words] for words in said))
    )


def test_each_movement_has_one_partner_at_most():
    (found,) = segment_agreement([recording([(0, 4, "a")], [(0, 2, "a"), (2, 4, "a")])])
    assert (found.matched, found.both.value) == (1, pytest.approx(2 / 3))
    (found,) = segment_agreement([recording([(0, 4, "a")], [(0, 2, "a"), (2, 4, "a")])], Settings(iou=0.6))
    assert (found.matched, found.iou.value, found.later) == (0, None, None)


def test_people_are_kept_apart():
    """The same moments, but each coder marked another of the two people."""
    span = marked((1.0, 2.0, "nod"))
    both = Recording("rec", {"anna": {"p1": span, "p2": []}, "ben": {"p1": [], "p2": span}})
    (found,) = segment_agreement([both])
    assert (found.matched, found.onsets.value, found.clusters) == (0, 0.0, 2)


@pytest.mark.parametrize(("by", "clusters"), [("subject", 2), ("recording", 4)])
def test_intervals_by_subject_or_recording(by, clusters):
    good, bad = ([(1.0, 2.0, "nod")], [(1.0, 2.0, "nod")]), ([(1.0, 2.0, "nod")], [(5.0, 6.0, "nod")])
    many = [recording(*(bad if k % 2 else good), f"rec{k}", f"p{k % 2}") for k in range(4)]
    (found,) = segment_agreement(many, Settings(by=by, draws=200))
    assert (found.clusters, found.both.value) == (clusters, 0.5)
    assert found.both.low == 0.0
    assert found.both.high == 1.0
    assert f"drawing whole {by}s ({clusters})" in segments_as_text(found, Settings(by=by))


def test_disagreements_worst_first():
    (found,) = segment_agreement([recording(seconds(ANNA), seconds(BEN))])
    assert [(one.name, one.score) for one in found.disagreements] == [
        ("rec 6.00 to 7.00 s", 1.0), ("rec 8.00 to 9.00 s", 1.0), ("rec 3.00 to 4.00 s", 1.0)]  # fmt: skip
    assert found.disagreements[0].said == {LABEL: {NOTHING: ["ben"], "nod": ["anna"]}}
    assert found.disagreements[2].said == {LABEL: {"nod": ["ben"], "rub": ["anna"]}}


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ([], [], (NOTHING_TO_COUNT, NO_PAIRS)),
        ([(0, 1, "")], [(3, 4, "")], ("no interval", "")),
    ],
)
def test_degenerate_codings(first, second, why):
    (found,) = segment_agreement([recording(first, second)])
    assert why[0] in found.both.why
    assert why[1] in found.units["marked"].why
    assert found.iou.why == NOTHING_TO_COUNT
    text = segments_as_text(found, Settings())
    assert "nan" not in text
    assert NOTHING_TO_COUNT in text


@pytest.mark.parametrize(
    ("change", "message"),
    [({"iou": 0.0}, "--iou is 0"), ({"iou": float("nan")}, "--iou is nan"), ({"tolerance": -1.0}, "--tolerance is -1"),
     ({"unit": 0.0}, "--unit is 0"), ({"unit": float("inf")}, "--unit is inf")],
)  # fmt: skip
def test_settings(change, message):
    with pytest.raises(ValueError, match=message):
        Settings(**change)


# --- which tiers are of whom -----------------------------------------------------------------------------------------


def test_two_annotators_of_one_file(tmp_path):
    path = write_eaf(tmp_path / "a.eaf", tier("g1", ANNA, annotator="anna"), tier("g2", BEN, annotator="ben"))
    (found,) = read_codings([path])
    assert found.name == "a"
    assert {who: times(coding[""]) for who, coding in found.codings.items()} == {
        "anna": [(1, 2), (3, 4), (6, 7)], "ben": [(1.1, 2.1), (3, 4.3), (8, 9)]}  # fmt: skip
    assert found.codings["anna"][""][1].words == {LABEL: "rub"}


def test_two_tiers_that_are_named(tmp_path):
    path = write_eaf(tmp_path / "a.eaf", tier("first", ANNA), tier("second", BEN), tier("talk", [("t", 0, 9, "so")]))
    (found,) = read_codings([path], ["first", "second"])
    assert list(found.codings) == ["first", "second"]
    with pytest.raises(ValueError, match=r"does not say which tiers are of which coder; .*first \(3\), second \(3\)"):
        read_codings([path])
    with pytest.raises(ValueError, match=r"has no tier third; it has: first"):
        read_codings([path], ["first", "third"])


def test_a_file_of_each_coder(tmp_path):
    """With the words below the movements, and the moment at which the video begins."""
    words = tier(
        "direction@p1", hanging=[("h1", "a1", None, "Back and forth")], type_="direction", parent="gesture@p1"
    )
    one = write_eaf(
        tmp_path / "one.eaf", tier("gesture@p1", ANNA), words, media=[("file:///C:/x/v.mp4", "video/mp4", 500)]
    )
    two = write_eaf(tmp_path / "two.eaf", tier("gesture@p1", BEN), media=["../v.mp4"])
    (found,) = read_codings([one, two], ["gesture"])
    assert list(found.codings) == ["one", "two"]
    assert times(found.codings["one"]["p1"])[0] == (1.5, 2.5)
    assert found.codings["one"]["p1"][0].words == {LABEL: "nod", "direction": "back_and_forth"}
    assert found.note == ""


def test_coders_are_called_by_their_files(tmp_path):
    """As annotators where the files name them, else by what tells the files apart."""
    for folder, who in (("x", "anna"), ("y", "ben")):
        (tmp_path / folder).mkdir()
        write_eaf(tmp_path / folder / "r.eaf", tier("g", ANNA, annotator=who))
        write_eaf(tmp_path / folder / "q.eaf", tier("g", ANNA), media=[f"{who}.mp4"])
    paths = [tmp_path / folder / "r.eaf" for folder in "xy"]
    assert list(read_codings(paths)[0].codings) == ["anna", "ben"]
    (nameless,) = read_codings([tmp_path / folder / "q.eaf" for folder in "xy"])
    assert list(nameless.codings) == [str(tmp_path / folder / "q.eaf") for folder in "xy"]
    assert "are of different videos: anna.mp4, ben.mp4" in nameless.note
    both = read_codings([tmp_path / "x", tmp_path / "y"])
    assert [(one.name, list(one.codings)) for one in both] == [("q", ["x", "y"]), ("r", ["x", "y"])]
    (tmp_path / "y" / "q.eaf").unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold files of the same names.*not in all of them: q\.eaf"):
        read_codings([tmp_path / "x", tmp_path / "y"])
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        read_codings([tmp_path / "x", paths[1]])
    with pytest.raises(ValueError, match="is the folder of one coder"):
        read_codings([tmp_path / "x"])


def test_a_coder_who_saw_nothing(tmp_path):
    one = write_eaf(tmp_path / "one.eaf", tier("g", ANNA))
    two = write_eaf(tmp_path / "two.eaf", tier("g"))
    (found,) = read_codings([one, two], ["g"])
    assert found.codings["two"] == {"": []}
    (measured,) = segment_agreement([found])
    assert (measured.marked, measured.both.value, measured.units["marked"].value) == ((3, 0), 0.0, 0.0)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ([tier("g@p2", BEN)], r"one has p1; two has p2"),
        ([tier("g@p1", BEN), tier("h@p2", BEN)], r"one has p1; two has p1, p2"),
        ([tier("g@p1", BEN, annotator="x"), tier("h@p1", BEN, annotator="y")], r"work of several coders \(x, y\)"),
        ([tier("g@p1", [("b", None, None, "nod")])], "tier g@p1, annotation b: it has no time"),
        ([tier("g@p1", BEN), tier("k", BEN, type_="other")], "does not tell which tiers hold the movements"),
        ([tier("g@p1", BEN), tier("direction", hanging=[("h", "b1", None, "upp")], type_="d", parent="g@p1")],
         "'upp' is not in the vocabulary; did you mean 'up'"),
    ],
)  # fmt: skip
def test_codings_that_cannot_be_compared(tmp_path, second, message):
    one = write_eaf(tmp_path / "one.eaf", tier("g@p1", ANNA))
    two = write_eaf(tmp_path / "two.eaf", *second)
    with pytest.raises(ValueError, match=message):
        read_codings([one, two])


def test_the_same_file_twice(tmp_path):
    one = write_eaf(tmp_path / "one.eaf", tier("g", ANNA))
    with pytest.raises(ValueError, match="the same file stands here twice"):
        read_codings([one, Path(f"{tmp_path}/./one.eaf")])
    with pytest.raises(ValueError, match="two coders"):
        segment_agreement([])


# --- the command -----------------------------------------------------------------------------------------------------


def test_command(tmp_path, capsys):
    one = write_eaf(tmp_path / "one.eaf", tier("g", ANNA, annotator="anna"))
    two = write_eaf(tmp_path / "two.eaf", tier("g", BEN, annotator="ben"))
    report = tmp_path / "report.json"
    assert main(["annotate", "agreement", str(one), str(two), "--json", str(report), "--tolerance", "0.5"]) == 0
    told = capsys.readouterr().out
    assert "anna marked 3 movements, ben 3; 2 match (they overlap by at least 0.5, IoU)" in told
    assert "those of ben begin 0.050 s later and end 0.200 s later" in told
    assert "ends within 0.5 s" in told
    found = json.loads(report.read_text())
    assert found["settings"]["tolerance"] == 0.5
    assert found["pairs"][0]["offsets"]["value"] == pytest.approx(4 / 6)
    assert main(["annotate", "agreement", str(one), str(two), "--iou", "2"]) == 1
    assert "--iou is 2" in capsys.readouterr().err


@needs_shared
def test_a_real_file_agrees_with_itself(tmp_path):
    """Of a sample of pympi's tests: a tier, and another of the same content."""
    sample = SHARED / "data" / "annotations" / "elan" / "sample_3.0.eaf"
    copy = tmp_path / "copy.eaf"
    copy.write_bytes(sample.read_bytes())
    (found,) = segment_agreement(read_codings([sample, copy], ["gestures"]))
    assert found.marked[0] == found.marked[1] == found.matched > 500
    assert found.both.value == found.iou.value == found.units["label"].value == 1.0
    assert found.later == (0.0, 0.0)
