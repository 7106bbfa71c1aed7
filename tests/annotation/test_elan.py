"""ELAN files: what they say, what they leave open, and what they must not do."""

from __future__ import annotations

import pytest
from annotation_files import tier, write_eaf
from conftest import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st

from microgesture.annotation import elan
from microgesture.annotation.elan import read_eaf, read_elan
from microgesture.annotation.readers import VideoFinder
from microgesture.data.fg_text import FGText

SAMPLES = SHARED / "data" / "annotations" / "elan"
with_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the shared ELAN files are not beside this clone")


@pytest.fixture
def folder(tmp_path):
    for name in ("a.mp4", "b.mp4", "sound.wav"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def read(folder, *tiers, media=("a.mp4",), names=(), coder=None, head=""):
    path = write_eaf(folder / "talk.eaf", *tiers, media=media, head=head)
    return read_elan(path, VideoFinder(folder), names, coder)


def rows(reading):
    return [(a.video.name, a.label, a.subject, a.start, a.end) for a in reading.annotations]


NODS = tier("gesture@anna", [("a1", 1, 1234, "nod"), ("a2", 1500, 2001, "rub")])


def test_milliseconds_are_kept(folder):
    assert rows(read(folder, NODS)) == [("a.mp4", "nod", "anna", 0.001, 1.234), ("a.mp4", "rub", "anna", 1.5, 2.001)]


def test_participant_is_the_subject(folder):
    tiers = (tier("g1", NODS["aligned"][:1], participant="Ben"), tier("g2", [("b1", 0, 9, "nod")]))
    assert [a.subject for a in read(folder, *tiers).annotations] == ["Ben", None]


def test_media_of_somebody_elses_machine(folder):
    reading = read(
        folder,
        NODS,
        media=[("file:///C:/Users/x/sound.wav", "audio/x-wav", 0), ("file:///D:/y/b.mp4", "video/mp4", 0)],
    )
    assert {a.video.name for a in reading.annotations} == {"b.mp4"}


def test_media_that_begins_later(folder):
    (first, _) = read(folder, NODS, media=[("a.mp4", "video/mp4", 10_000)]).annotations
    assert (first.start, first.end) == (10.001, 11.234)


def test_several_videos(folder):
    reading = read(folder, NODS, media=["b.mp4", "a.mp4"])
    assert {a.video.name for a in reading.annotations} == {"b.mp4"}
    assert "of 2 linked videos the first is used, b.mp4" in reading.notes[0]


def test_fg_text_on_child_tiers(folder):
    children = (
        tier("initiator@anna", hanging=[("c1", "a1", None, "hand")], type_="words", parent="gesture@anna"),
        tier("which way", hanging=[("c2", "a1", None, "up")], type_="direction", parent="gesture@anna"),
        tier("side@anna", hanging=[("c3", "a1", None, " Left"), ("c4", "a2", None, "")], parent="gesture@anna"),
        tier("notes", hanging=[("c5", "a1", None, "nice")], parent="gesture@anna"),
    )
    (first, second) = read(folder, NODS, *children).annotations
    assert first.fg_text == FGText("hand", None, "up", None, "left")
    assert second.fg_text is None


def test_unknown_word_is_named(folder):
    child = tier("direction", hanging=[("c1", "a1", None, "askew")], parent="gesture@anna")
    with pytest.raises(ValueError, match=r"talk.eaf, tier gesture@anna, annotation a1: FG-Text direction 'askew'"):
        read(folder, NODS, child)


def test_which_tiers_hold_classes(folder):
    talk = tier("speech", [("s1", 0, 500, "hello")], type_="text")
    with pytest.raises(ValueError, match=r"name them with --tier. It has: gesture@anna \(2\), speech \(1\)"):
        read(folder, NODS, talk)
    for name in ("gesture@anna", "gesture"):
        assert len(read(folder, NODS, talk, names=[name]).annotations) == 2
    assert [a.label for a in read(folder, NODS, talk, names=["text"]).annotations] == ["hello"]
    with pytest.raises(ValueError, match="has no annotations on a tier laughs; it has: gesture@anna"):
        read(folder, NODS, talk, names=["laughs"])


def test_classes_on_a_tier_that_hangs_on_another(folder):
    intervals = tier("move", [("a1", 0, 3000, "x"), ("a2", 4000, 5000, "y")], type_="interval")
    classes = tier(
        "class",
        hanging=[("c2", "a1", "c1", "rub"), ("c1", "a1", None, "nod"), ("c3", "a2", None, "nod")],
        parent="move",
    )
    assert rows(read(folder, intervals, classes, names=["class"])) == [
        ("a.mp4", "rub", None, 1.5, 3.0), ("a.mp4", "nod", None, 0.0, 1.5), ("a.mp4", "nod", None, 4.0, 5.0),
    ]  # fmt: skip


def test_times_that_were_left_open(folder):
    words = tier("t", [("a1", 0, None, "x"), ("a2", None, None, "y"), ("a3", None, 900, "z"), ("a4", 900, 1000, "x")])
    assert [(a.start, a.end) for a in read(folder, words).annotations] == [
        (0, 0.3),
        (0.3, 0.6),
        (0.6, 0.9),
        (0.9, 1.0),
    ]


def test_times_that_nobody_knows(folder):
    with pytest.raises(ValueError, match="annotation a2: it has no time; align it in ELAN, or delete it"):
        read(folder, tier("t", [("a1", 0, 10, "x"), ("a2", 20, None, "y")]))


def test_empty_annotations_are_counted(folder):
    reading = read(folder, tier("t", [("a1", 0, 10, "x"), ("a2", 20, 30, " "), ("a3", 40, 50, "y")]))
    assert [a.label for a in reading.annotations] == ["x", "y"]
    assert reading.notes == ["talk.eaf: 1 annotations without a text were left out"]


def test_span_without_length(folder):
    with pytest.raises(ValueError, match=r"annotation a1: the clip from 0.01 s to 0.01 s is empty"):
        read(folder, tier("t", [("a1", 10, 10, "x")]))


def test_several_coders(folder):
    tiers = (tier("g-1", [("a1", 0, 10, "x")], annotator="Eva"), tier("g-2", [("b1", 0, 9, "y")], annotator="Tom"))
    with pytest.raises(ValueError, match=r"work of several coders \(Eva, Tom\).*--coder"):
        read(folder, *tiers)
    assert [a.label for a in read(folder, *tiers, coder="Tom").annotations] == ["y"]
    with pytest.raises(ValueError, match="no tier of the coder 'Zoe'; it has: Eva, Tom"):
        read(folder, *tiers, coder="Zoe")


@pytest.mark.parametrize(
    ("media", "message"),
    [
        ([], "links no video; open it in ELAN"),
        ([("sound.wav", "audio/x-wav", 0)], "links no video"),
        (["file:///etc/passwd"], "/etc/passwd is not in"),
        (["../../no.mp4"], "no.mp4 is not in"),
        (["http://x.org/a.mp4"], "is a web address"),
    ],
)
def test_media_that_are_not_there(folder, media, message):
    with pytest.raises(ValueError, match=message):
        read(folder, NODS, media=media)


BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
FILE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("head", [BOMB, FILE, "<!DOCTYPE x SYSTEM 'http://127.0.0.1:9/x.dtd'>"])
def test_entities_are_refused(folder, head):
    with pytest.raises(ValueError, match="declares a document type, which ELAN never does"):
        read(folder, NODS, head=head)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no element found"), ("<a>", "no element found"), ("<html></html>", "is no ELAN file"),
        ("<ANNOTATION_DOCUMENT><TIME_SLOT/></ANNOTATION_DOCUMENT>", "TIME_SLOT_ID"),
        ('<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="PAL-frames"/></ANNOTATION_DOCUMENT>', "counts time in PAL-frames"),
        ('<ANNOTATION_DOCUMENT><TIME_SLOT TIME_SLOT_ID="1" TIME_VALUE="x"/></ANNOTATION_DOCUMENT>', "cannot be read"),
        ('<?xml version="1.0" encoding="ebcdic-xyz"?><a/>', "cannot be read as an ELAN file"),
    ],
)  # fmt: skip
def test_files_that_are_no_elan(folder, content, message):
    (folder / "x.eaf").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_eaf(folder / "x.eaf")


def test_large_and_missing_files(folder, monkeypatch):
    monkeypatch.setattr(elan, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="is larger than 0 MiB"):
        read(folder, NODS)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_eaf(folder / "no.eaf")


def test_parents_in_a_circle_end(folder):
    a = tier("a", hanging=[("a1", "b1", None, "x")], parent="b")
    b = tier("b", hanging=[("b1", "a1", None, "x")], parent="a")
    with pytest.raises(ValueError, match="it has no time"):
        read(folder, a, b, names=["a"])


# --- written by another program --------------------------------------------------------------------------------------

VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8).filter(
    str.strip
)
SPANS = st.lists(
    st.tuples(st.integers(0, 10**7), st.integers(1, 10**5), VALUES),
    min_size=1, max_size=6, unique_by=lambda s: s[0],
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(SPANS)
def test_round_trip_through_pympi(tmp_path_factory, spans):
    pympi = pytest.importorskip("pympi")
    folder = tmp_path_factory.mktemp("pympi")
    (folder / "a.mp4").write_bytes(b"x")
    ordered = []
    for begin, length, label in sorted(spans):
        begin = max(begin, ordered[-1][1] if ordered else 0)
        ordered.append((begin, begin + length, label))
    eaf = pympi.Elan.Eaf(author="")
    eaf.add_tier("gesture@anna", part="Anna")
    eaf.remove_tier("default")
    eaf.add_linked_file("file:///home/x/a.mp4", mimetype="video/mp4")
    for begin, end, label in ordered:
        eaf.add_annotation("gesture@anna", begin, end, label)
    eaf.to_file(str(folder / "a.eaf"))
    found = read_elan(folder / "a.eaf", VideoFinder(folder)).annotations
    from microgesture.annotation.readers import one_form

    wanted = {(begin / 1000, end / 1000, one_form(label).strip(), "Anna") for begin, end, label in ordered}
    assert {(a.start, a.end, a.label, a.subject) for a in found} == wanted


@with_samples
@pytest.mark.parametrize("version", ["2.7", "2.8", "3.0"])
def test_real_files_of_several_versions(version):
    eaf = read_eaf(SAMPLES / f"sample_{version}.eaf")
    counts = {name: len(t.annotations) for name, t in eaf.tiers.items()}
    assert counts == {
        "text": 399, "words-timesub": 1995, "words-symsub": 1995, "gestures": 1197, "gest_included": 1197,
        "words-pos": 1995,
    }  # fmt: skip
    assert sum(counts.values()) == 8778
    everything = [a for t in eaf.tiers.values() for a in t.annotations]
    assert all(a.start is not None and a.start < a.end for a in everything)  # 1,572 slots have no time of their own
    sentences = [(a.start, a.end) for a in eaf.tiers["text"].annotations]
    for name in ("words-timesub", "words-symsub", "words-pos"):
        words = eaf.tiers[name].annotations
        owners = [sum(first <= w.start and w.end <= last for first, last in sentences) for w in words[::50]]
        assert set(owners) == {1}
    assert eaf.media[0].names[-1] == "file:///Users/Shared/MPI/DemoMaterial/yele/r03_v20_s5.wav"


@with_samples
def test_real_file_against_pympi():
    pympi = pytest.importorskip("pympi")
    path = SAMPLES / "sample_2.8.eaf"
    other, ours = pympi.Elan.Eaf(str(path)), read_eaf(path)
    for name, t in ours.tiers.items():
        aligned, hanging = other.tiers[name][:2]
        assert len(t.annotations) == len(aligned) + len(hanging)
        for a in t.annotations:
            if a.parent is not None:
                assert hanging[a.id][:3] == (a.parent, a.value or hanging[a.id][1], a.previous)
                continue
            first, last, value, _ = aligned[a.id]
            assert (value or "") == a.value
            assert other.timeslots[first] in (None, a.start)
            assert other.timeslots[last] in (None, a.end)


@with_samples
def test_real_file_as_clips(tmp_path):
    path = tmp_path / "sample.eaf"
    text = (SAMPLES / "sample_3.0.eaf").read_text(encoding="utf-8").replace("r03_v20_s5.wav", "r03_v20_s5.mp4")
    path.write_text(text.replace("audio/x-wav", "video/mp4"), encoding="utf-8")
    (tmp_path / "r03_v20_s5.mp4").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"name them with --tier. It has: text \(399\)"):
        read_elan(path, VideoFinder(tmp_path))
    reading = read_elan(path, VideoFinder(tmp_path), ["gestures"])
    assert len(reading.annotations) == 1197
    assert {a.label for a in reading.annotations} == {"prep", "hold", "stroke", "retr"}
    assert (reading.annotations[0].start, reading.annotations[0].end) == (1.8, 2.4)
