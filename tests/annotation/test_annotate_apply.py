import json
from dataclasses import replace

import pytest
from fg_cases import NEUTRAL, words
from hypothesis import given, settings
from hypothesis import strategies as st

from microgesture.annotation.apply import apply
from microgesture.annotation.records import Clip, CodedClip, read_records, write_records
from microgesture.data.clips import ClipSample, load, write_split
from microgesture.data.fg_text import CONFIDENCES, PROVENANCES, FGText

HUMAN = FGText("hand", "neck", "up", "touch", "left", "human", "single", "anna", 1.0)
OTHER = FGText("leg", None, "unclear", "shake", None, "human", None, "ben", 0.33)
A, B = (Clip("train", f"clips/{name}.mp4", None, None, "p1") for name in "ab")


@pytest.fixture
def folder(tmp_path):
    """A split with a described and an undescribed clip and a span of a recording, and a second split."""
    about = {"name": "mini", "version": "1", "mirrored": False, "classes": [
        {"name": "nod", "text": "A person nods.", "default": {"initiator": "head"}}]}  # fmt: skip
    (tmp_path / "labels.json").write_text(json.dumps(about))
    for split, person in (("train", "p1"), ("test", "p2")):
        rows = [ClipSample("clips/a.mp4", "nod", person, replace(HUMAN, coder="old"), extra={"trial": 1}),
                ClipSample("clips/b.mp4", "nod", person, None, extra={"trial": 2}),
                ClipSample("clips/b.mp4", "nod", person, None, 0.5, 1.5, {"trial": 3})]  # fmt: skip
        (tmp_path / split / "clips").mkdir(parents=True)
        for row in rows:
            (tmp_path / split / row.file_name).write_bytes(b"never decoded here")
        write_split(tmp_path / split, rows)
    return tmp_path


def rows(folder, split="train"):
    return [json.loads(line) for line in (folder / split / "metadata.jsonl").read_text().splitlines()]


# --- applying ------------------------------------------------------------------------------------------------------


def test_records_go_to_their_clips_and_nowhere_else(folder):
    before = rows(folder)
    span = replace(B, start=0.5, end=1.5)
    assert apply(folder, [CodedClip(span, OTHER)]) == {"written": 1, "kept": 0, "second looks": 0}
    after = rows(folder)
    assert [FGText.from_mapping(row) for row in after] == [FGText.from_mapping(before[0]), None, OTHER]
    for old, new in zip(before, after, strict=True):
        assert list(new)[: len(old)] == list(old)
        assert {name: new[name] for name in ("file_name", "label", "subject", "start", "end", "trial")}.items() <= (
            old.items()
        )
    data = load(folder)
    assert data["train"].features == data["test"].features
    assert FGText.from_mapping(data["train"][2]) == OTHER


@pytest.mark.parametrize("before", PROVENANCES)
@pytest.mark.parametrize("after", PROVENANCES)
def test_who_replaces_whom(folder, before, after):
    apply_all = [CodedClip(B, replace(HUMAN, provenance=before))]
    apply(folder, apply_all)
    counts = apply(folder, [CodedClip(B, replace(OTHER, provenance=after))])
    stays = PROVENANCES.index(before) > PROVENANCES.index(after)
    assert counts == {"written": 1 - stays, "kept": int(stays), "second looks": 0}
    assert FGText.from_mapping(rows(folder)[1]).coder == ("anna" if stays else "ben")
    assert (before, after, stays) != ("human", "model", False)


def test_second_looks_are_not_applied(folder):
    records = [CodedClip(B, HUMAN), CodedClip(B, OTHER, look=2)]
    assert apply(folder, records) == {"written": 1, "kept": 0, "second looks": 1}
    assert FGText.from_mapping(rows(folder)[1]) == HUMAN


def test_applying_twice_changes_nothing(folder):
    apply(folder, [CodedClip(A, OTHER), CodedClip(B, HUMAN)])
    once = rows(folder)
    apply(folder, [CodedClip(A, OTHER), CodedClip(B, HUMAN)])
    assert rows(folder) == once


def test_other_spelling_of_a_path_is_the_same_clip(folder):
    path = folder / "train" / "metadata.jsonl"
    path.write_text(path.read_text().replace('"clips/a.mp4"', '"./clips/a.mp4"'))
    assert apply(folder, [CodedClip(A, OTHER)])["written"] == 1


def test_several_coders_of_one_clip(folder):
    with pytest.raises(
        ValueError, match=r"train/clips/b.mp4 has 2 records, of anna, ben: .*annotate adjudicate` first"
    ):
        apply(folder, [CodedClip(B, HUMAN), CodedClip(B, OTHER)])


def test_clips_of_another_data_set_change_nothing(folder):
    before = rows(folder), rows(folder, "test")
    unknown = Clip("test", "clips/z.mp4", None, None, "p2")
    with pytest.raises(
        ValueError, match=r"'clips/z.mp4' from None to None s is not in .*test; these records are of an"
    ):
        apply(folder, [CodedClip(A, OTHER), CodedClip(unknown, OTHER)])
    assert (rows(folder), rows(folder, "test")) == before
    with pytest.raises(FileNotFoundError, match=r"dev.metadata.jsonl does not exist, but records are about it"):
        apply(folder, [CodedClip(replace(A, split="dev"), OTHER)])


def test_another_data_set_with_the_same_file_names(folder):
    with pytest.raises(ValueError, match=r"line 1 shows 'p1', but the record of this clip was written about 'p9'"):
        apply(folder, [CodedClip(replace(A, subject="p9"), OTHER)])


def test_sides_where_mirroring_is_unknown(folder):
    about = json.loads((folder / "labels.json").read_text())
    (folder / "labels.json").write_text(json.dumps(about | {"mirrored": "unknown"}))
    with pytest.raises(ValueError, match="names a side"):
        apply(folder, [CodedClip(B, HUMAN)])


# --- the table -----------------------------------------------------------------------------------------------------

# Also what ends a line elsewhere than in JSON, what JSON escapes, and what looks like a path of another system.
letters = st.sampled_from("a7 .-:\\/\"'{é語😀\u2028\x85\n\t")
names = st.text(letters, min_size=1, max_size=12).filter(
    lambda name: not name.startswith("/") and ".." not in name.split("/")
)
seconds = st.none() | st.floats(0, 1e6)


@st.composite
def records(draw):
    said = draw(words())
    said.pop("confidence")
    text = FGText(
        **said,
        coder=draw(st.none() | names),
        confidence=draw(st.none() | st.sampled_from(sorted(CONFIDENCES.values())) | st.floats(0, 1)),
        provenance=draw(st.sampled_from(PROVENANCES)),
    )
    clip = Clip(draw(st.sampled_from(["train", "test"])), draw(names), draw(seconds), draw(seconds), draw(names))
    return CodedClip(clip, text, draw(st.sampled_from([1, 2])), draw(st.booleans()))


@settings(max_examples=60, deadline=None)
@given(st.lists(records(), max_size=5))
def test_table_round_trip(tmp_path_factory, many):
    path = tmp_path_factory.mktemp("table") / "records.jsonl"
    write_records(path, many)
    assert read_records(path) == many


@settings(max_examples=40, deadline=None)
@given(records())
def test_metadata_round_trip(record):
    row = ClipSample(record.clip.file_name, "nod", record.clip.subject, record.text).row()
    assert FGText.from_mapping(json.loads(json.dumps(row))) == record.text


def test_table_is_flat(tmp_path):
    write_records(tmp_path / "r.jsonl", [CodedClip(NEUTRAL, HUMAN, 2, True)])
    assert json.loads((tmp_path / "r.jsonl").read_text()) == {
        "split": "train", "file_name": "clips/a.mp4", "start": None, "end": None, "subject": "p1", "look": 2,
        "label_shown": True, "initiator": "hand", "receiver": "neck", "direction": "up", "motion_type": "touch",
        "side": "left", "provenance": "human", "repetition": "single", "coder": "anna", "confidence": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"initiator": "hnd"}, "line 2: FG-Text initiator 'hnd' is not in the vocabulary; did you mean 'hand'"),
        ({"look": 3}, "line 2: look is 3; it must be 1, or 2"),
        ({"file_name": "../a.mp4"}, "line 2: 'train/../a.mp4' must be a path inside the data set"),
        ({"split": "/etc"}, "must be a path inside the data set"),
        (dict.fromkeys(("initiator", "receiver", "direction", "motion_type")), "none of the four attributes"),
    ],
)
def test_lines_that_are_wrong(tmp_path, change, message):
    good = CodedClip(NEUTRAL, HUMAN).row()
    (tmp_path / "r.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(good | change) + "\n\n")
    with pytest.raises(ValueError, match=message):
        read_records(tmp_path / "r.jsonl")


def test_lines_that_are_none(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"split": "train"}\n')
    with pytest.raises(ValueError, match="line 1: 'file_name' is missing; a record names its clip"):
        read_records(path)
    for text in ("{", "[]", "3"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"line 1 (is not JSON|must be one object)"):
            read_records(path)
    with pytest.raises(FileNotFoundError, match="`microgesture annotate import` makes it"):
        read_records(tmp_path / "no.jsonl")
