import re

import pytest
from fg_cases import item, key, words
from hypothesis import given, settings
from hypothesis import strategies as st
from pympi import Elan

from microgesture.annotation import fg_elan
from microgesture.annotation.answers import FIELDS, choices, collect
from microgesture.data.fg_text import ATTRIBUTES

SAID = {"initiator": "hand", "receiver": "neck", "direction": "up", "motion_type": "touch", "confidence": "sure"}


def written(path, *items, mirrored=False):
    fg_elan.write(path, items, mirrored, "../clips/c0001.mp4")
    return path


def coded(path, *said, **changes):
    """A file in which a coder has answered; the words are those that a prefilled export writes."""
    items = [item(f"{n:04d}", begin_ms=1000 * n, end_ms=1000 * n + 900, **changes) for n in range(1, len(said) + 1)]
    written(path, *(item(one.number, begin_ms=one.begin_ms, end_ms=one.end_ms, prefill=words_of)
                    for one, words_of in zip(items, said, strict=True)))  # fmt: skip
    return items


def read(path, *items, mirrored=False):
    made = key(*items, mirrored=mirrored)
    return collect(made, fg_elan.read(path, {one.number: one for one in made.items}))


# --- writing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mirrored", [False, "unknown"])
def test_template_has_a_tier_with_a_vocabulary_for_each_field(tmp_path, mirrored):
    eaf = Elan.Eaf(str(written(tmp_path / "a.eaf", item(), mirrored=mirrored)))
    offered = choices(mirrored)
    assert list(eaf.tiers) == ["clip", *offered]
    for name, allowed in offered.items():
        about = eaf.get_parameters_for_tier(name)
        kind = eaf.get_parameters_for_linguistic_type(about["LINGUISTIC_TYPE_REF"])
        assert (about["PARENT_REF"], about["ANNOTATOR"]) == ("clip", "anna")
        assert kind["CONSTRAINTS"] == "Symbolic_Association"
        entries = eaf.get_cv_entries(kind["CONTROLLED_VOCABULARY_REF"])
        assert [values[0][0] for values, _ in entries.values()] == list(allowed)
        assert eaf.tiers[name][1] == {}  # blind: nothing is filled in
    assert ("side" in offered) is (mirrored is False)


def test_template_names_the_video_beside_it_only(tmp_path):
    text = written(tmp_path / "a.eaf", item()).read_text()
    assert re.findall(r'MEDIA_URL="([^"]*)"', text) == ["../clips/c0001.mp4"] * 2
    assert "class" not in Elan.Eaf(str(tmp_path / "a.eaf")).tiers


def test_shown_label(tmp_path):
    eaf = Elan.Eaf(str(written(tmp_path / "a.eaf", item(shown_label="Neck & co"))))
    assert [word for _, word, _, _ in eaf.tiers["class"][1].values()] == ["Neck & co"]


def test_clips_of_a_recording_stand_at_their_times(tmp_path):
    items = coded(tmp_path / "a.eaf", SAID, SAID)
    eaf = Elan.Eaf(str(tmp_path / "a.eaf"))
    assert eaf.get_annotation_data_for_tier("clip") == [(1000, 1900, "0001"), (2000, 2900, "0002")]
    assert len(read(tmp_path / "a.eaf", *items)[0]) == 2


# --- reading -------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(said=st.lists(words(), min_size=1, max_size=4))
def test_round_trip(said, tmp_path_factory):
    path = tmp_path_factory.mktemp("eaf") / "a.eaf"
    items = coded(path, *said)
    records, states = read(path, *items)
    assert states["finished"] == len(said)
    sure = {"sure": 1.0, "fairly_sure": 0.67, "guess": 0.33}
    for record, answers in zip(records, said, strict=True):
        assert record.text.coder == "anna"
        assert record.text.confidence == sure[answers["confidence"]]
        for name in FIELDS[:-1]:
            assert getattr(record.text, name) == answers.get(name)


def test_clips_without_confidence_are_unfinished(tmp_path):
    prefill = {name: SAID[name] for name in ATTRIBUTES}
    items = coded(tmp_path / "a.eaf", prefill, SAID, {"confidence": "sure"})
    records, states = read(tmp_path / "a.eaf", *items)
    assert len(records) == 1
    assert states == {"finished": 1, "unfinished": 2}


def test_prefilled_and_accepted_unchanged(tmp_path):
    prefill = {name: SAID[name] for name in ATTRIBUTES}
    items = coded(tmp_path / "a.eaf", SAID, SAID | {"direction": "down"}, prefill=prefill)
    assert [record.text.provenance for record in read(tmp_path / "a.eaf", *items)[0]] == ["confirmed", "human"]


def test_paths_in_the_file_are_not_followed(tmp_path):
    items = coded(tmp_path / "a.eaf", SAID)
    text = (tmp_path / "a.eaf").read_text()
    (tmp_path / "a.eaf").write_text(text.replace("../clips/c0001.mp4", "file:///etc/passwd"))
    assert read(tmp_path / "a.eaf", *items)[0][0].clip == items[0].clip


# --- what is refused -----------------------------------------------------------------------------------------------


def test_unknown_words_are_named_with_their_lines(tmp_path):
    items = coded(tmp_path / "a.eaf", SAID, SAID)
    text = (tmp_path / "a.eaf").read_text().replace("<ANNOTATION_VALUE>neck<", "<ANNOTATION_VALUE>nek<", 1)
    (tmp_path / "a.eaf").write_text(text)
    lines = [number for number, line in enumerate(text.split("\n"), start=1) if "nek<" in line]
    with pytest.raises(ValueError, match="nek") as error:
        read(tmp_path / "a.eaf", *items)
    # the annotation begins one line above its value
    assert str(error.value).startswith(f"a.eaf line {lines[0] - 1}, clip 0001: FG-Text receiver 'nek'")
    assert "did you mean 'neck'?" in str(error.value)


def test_moved_clip(tmp_path):
    items = coded(tmp_path / "a.eaf", SAID)
    elsewhere = [item(items[0].number, begin_ms=items[0].begin_ms + 90, end_ms=items[0].end_ms)]
    assert len(read(tmp_path / "a.eaf", *elsewhere)[0]) == 1
    elsewhere = [item(items[0].number, begin_ms=items[0].begin_ms + 101, end_ms=items[0].end_ms)]
    with pytest.raises(ValueError, match="clip 0001: it was exported as 1101 to 1900 ms and now stands at 1000 to 19"):
        read(tmp_path / "a.eaf", *elsewhere)


def test_field_answered_twice(tmp_path):
    items = coded(tmp_path / "a.eaf", SAID)
    eaf = Elan.Eaf(str(tmp_path / "a.eaf"))
    eaf.add_ref_annotation("direction", "clip", 1400, "down")
    eaf.to_file(tmp_path / "b.eaf")
    with pytest.raises(ValueError, match=r"b.eaf line .*: a clip has two annotations on the tier direction"):
        read(tmp_path / "b.eaf", *items)


def test_file_with_other_tiers(tmp_path):
    eaf = Elan.Eaf()
    eaf.to_file(tmp_path / "a.eaf")
    with pytest.raises(
        ValueError, match=r"has no tier clip, initiator, .*; give a file that `microgesture annotate exp"
    ):
        read(tmp_path / "a.eaf")


BOMB = '<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">'
HOSTILE = {
    "entities": f"<!DOCTYPE ANNOTATION_DOCUMENT [{BOMB}]>",
    "external": '<!DOCTYPE ANNOTATION_DOCUMENT [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
    "document type": '<!DOCTYPE ANNOTATION_DOCUMENT SYSTEM "http://127.0.0.1/x.dtd">',
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("name", HOSTILE)
def test_declarations_are_refused_before_anything_is_read(tmp_path, name, encoding, monkeypatch):
    items = coded(tmp_path / "a.eaf", SAID)
    text = (tmp_path / "a.eaf").read_text().split("\n", 1)[1].replace(">neck<", ">&a;<")
    head = f'<?xml version="1.0" encoding="{encoding}"?>\n{HOSTILE[name]}\n'
    (tmp_path / "a.eaf").write_text(head + text, encoding=encoding)
    monkeypatch.setattr(Elan, "Eaf", None)  # nothing may get as far as this
    with pytest.raises(ValueError, match=r"a.eaf line 2 declares a document type"):
        read(tmp_path / "a.eaf", *items)


@pytest.mark.parametrize("text", ["", "words", "<ANNOTATION_DOCUMENT>", "<other/>"])
def test_files_that_are_not_of_elan(tmp_path, text):
    (tmp_path / "a.eaf").write_text(text)
    with pytest.raises(ValueError, match=r"a.eaf (is not XML|cannot be read as an ELAN file).*in ELAN"):
        read(tmp_path / "a.eaf")
