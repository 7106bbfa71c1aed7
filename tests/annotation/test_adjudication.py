"""Several coders' records -> one per clip; ties go back as a new export; nothing is lost or overwritten."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import moving_square, write_video
from hypothesis import given, settings
from hypothesis import strategies as st

import video_fgsgl
from microgesture.annotation import adjudication
from microgesture.annotation.adjudication import ALONE, MAJORITY, TIE, UNANIMOUS, Places, adjudicate, write
from microgesture.annotation.apply import apply
from microgesture.annotation.key import Key
from microgesture.annotation.records import Clip, CodedClip, read_records, write_records
from microgesture.cli import main
from microgesture.data.clips import ClipSample, load, write_split
from microgesture.data.fg_text import ATTRIBUTES, FGText

A, B, C = (Clip("train", f"clips/{name}.mp4", None, None, "p1") for name in "abc")
WORDS = ("hand", "neck", "up", "touch", "left")


def said(coder: str, clip: Clip = A, words=WORDS, **more) -> CodedClip:
    about = {"coder": coder, "confidence": 1.0} | more
    look = about.pop("look", 1)
    return CodedClip(clip, FGText(*words, **about), look)


def one(*records: CodedClip):
    ((verdict,), _) = adjudicate([records])
    return verdict


def words_of(verdict) -> tuple:
    text = verdict.record.text
    return (*(getattr(text, name) for name in ATTRIBUTES), text.side)


# --- who decides -----------------------------------------------------------------------------------------------------


def test_all_agree():
    verdict = one(said("ben"), said("anna"))
    assert (verdict.outcome, verdict.open, words_of(verdict)) == (UNANIMOUS, (), WORDS)
    text = verdict.record.text
    assert (text.provenance, text.coder, text.confidence) == ("human", "anna, ben", None)


def test_majority_word_by_word():
    others = ("hand", "head", "up", "scratch", "left"), ("fingers", "neck", "down", "scratch", "right")
    verdict = one(said("anna"), said("ben", words=others[0]), said("cleo", words=others[1]))
    assert (verdict.outcome, words_of(verdict)) == (MAJORITY, ("hand", "neck", "up", "scratch", "left"))
    assert verdict.votes["direction"] == {"up": ["anna", "ben"], "down": ["cleo"]}
    assert verdict.votes["side"] == {"left": ["anna", "ben"]}  # cleo's side is that of another part


@pytest.mark.parametrize(
    ("words", "open_fields"),
    [
        (("hand", "neck", "down", "touch", "left"), ("direction",)),
        (("hand", "neck", "up", "touch", "right"), ("side",)),
        (("leg", "none", "up", "touch", None), ("initiator", "receiver")),
        (("hand", "unclear", "up", "touch", "left"), ("receiver",)),
    ],
)
def test_two_coders_who_differ_tie(words, open_fields):
    verdict = one(said("anna"), said("ben", words=words))
    assert (verdict.outcome, verdict.record, verdict.open) == (TIE, None, open_fields)


def test_more_than_half_is_needed():
    four = [said(name, words=("hand", "neck", word, "touch", "left")) for name, word in
            zip(("anna", "ben", "cleo", "dora"), ("up", "up", "down", "inward"), strict=True)]  # fmt: skip
    assert one(*four).outcome == TIE
    assert words_of(one(*four, said("emil")))[2] == "up"  # three of five


def test_what_was_not_answered_is_no_vote():
    verdict = one(said("anna", words=("hand", None, "up", "touch")), said("ben", words=("hand", "neck", "up")))
    assert words_of(verdict) == ("hand", "neck", "up", "touch", None)
    assert one(said("anna", words=("hand",)), said("ben", words=("hand",))).record.text.receiver is None


def test_how_often_is_left_empty_where_coders_differ():
    verdict = one(said("anna", repetition="single"), said("ben", repetition="repeated"))
    assert (verdict.outcome, verdict.record.text.repetition) == (UNANIMOUS, None)
    assert verdict.votes["repetition"] == {"repeated": ["ben"], "single": ["anna"]}
    same = one(*(said(name, repetition="single") for name in ("anna", "ben")))
    assert same.record.text.repetition == "single"


def test_no_side_for_what_has_none():
    leg = said("anna", words=("both_hands", "neck", "up", "touch", "left"))
    assert words_of(one(leg, replace(leg, text=replace(leg.text, coder="ben"))))[4] is None


def test_one_coder_alone_keeps_their_record():
    record = said("anna", repetition="single")
    verdict = one(record)
    assert (verdict.outcome, verdict.record) == (ALONE, record)


@pytest.mark.parametrize(("second", "provenance"), [("confirmed", "confirmed"), ("human", "human")])
def test_what_everybody_only_accepted_is_no_coders_own(second, provenance):
    verdict = one(said("anna", provenance="confirmed"), said("ben", provenance=second))
    assert verdict.record.text.provenance == provenance


def test_who_has_no_vote():
    table = [said("anna"), said("rules", words=("leg",), provenance="model"), said("x", provenance="default"),
             said("anna", words=("leg",), look=2)]  # fmt: skip
    (verdict,), without = adjudicate([table])
    assert (verdict.outcome, words_of(verdict)) == (ALONE, WORDS)
    assert without == {"model": 1, "default": 1, "second looks": 1}


def test_a_later_round_replaces_what_a_coder_wrote():
    down = ("hand", "neck", "down", "touch", "left")
    first = [said("anna"), said("ben", words=down), said("anna", B)]
    (tie, _), _ = adjudicate([first])
    assert tie.outcome == TIE
    (verdict, other), _ = adjudicate([first, [said("anna", words=down)]])
    assert (verdict.outcome, words_of(verdict)) == (UNANIMOUS, down)
    assert verdict.replaced == (first[0],)
    assert (other.outcome, other.replaced) == (ALONE, ())
    (third, _), _ = adjudicate([first, [said("cleo", words=down)]])  # or somebody new decides
    assert (third.outcome, third.record.text.coder) == (MAJORITY, "anna, ben, cleo")


def test_records_that_cannot_be_merged():
    with pytest.raises(ValueError, match=r"clips/a.mp4: coder 'anna' wrote about this clip twice in one table"):
        adjudicate([[said("anna"), said("anna")]])
    with pytest.raises(ValueError, match="a vote needs one"):
        adjudicate([[said(None)]])
    with pytest.raises(ValueError, match="of different data sets"):
        adjudicate([[said("anna"), said("ben", replace(A, subject="p2"))]])
    with pytest.raises(ValueError, match="no record of a coder is in these tables"):
        adjudicate([[said("x", provenance="default")], []])


words = st.tuples(
    *(st.sampled_from(pair) for pair in (("hand", "leg"), ("neck", None), ("up", "down"), ("touch", None)))
)


@settings(max_examples=60)
@given(st.lists(words, min_size=1, max_size=5), st.randoms())
def test_majority_does_not_depend_on_the_order(many, random):
    records = [said(f"coder_{n}", words=(*w, None)) for n, w in enumerate(many)]
    shuffled = random.sample(records, len(records))
    assert one(*shuffled) == one(*records)
    verdict = one(*records)
    if verdict.record is not None and len(many) > 1:
        for place, name in enumerate(ATTRIBUTES):
            given_words = [w[place] for w in many if w[place] is not None]
            word = getattr(verdict.record.text, name)
            assert word is None if not given_words else 2 * given_words.count(word) > len(given_words)


# --- what is written -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    out = tmp_path / "mini"
    (out / "train/clips").mkdir(parents=True)
    about = {"name": "mini", "version": "1", "mirrored": False, "classes": [{"name": "nod", "text": "A person nods."}]}
    (out / "labels.json").write_text(json.dumps(about))
    rng = np.random.default_rng(0)
    for clip in (A, B, C):
        write_video(out / "train" / clip.file_name, moving_square("up", rng, 32, 8))
    write_split(out / "train", [ClipSample(clip.file_name, "nod", "p1") for clip in (A, B, C)])
    return out


DIFFERENT = ("hand", "neck", "down", "touch", "left")
ROUND = [said("anna"), said("ben"), said("anna", B), said("ben", B, DIFFERENT), said("anna", C)]


def test_from_records_to_training_and_back(folder, tmp_path, capsys):
    """Two coders, one tie, a second round in Label Studio, and the result in the data set."""
    table, final, again = (tmp_path / f"{name}.jsonl" for name in ("records", "final", "final_ties"))
    write_records(table, ROUND)
    assert main(["annotate", "adjudicate", str(folder), str(table), "--out", str(final)]) == 0
    told = capsys.readouterr().out
    assert "3 clips: 1 unanimous, 1 by one coder only, 1 back to coders" in told
    assert f"back to anna, ben: {tmp_path / 'final_ties'}; READ_ME.txt in it says how" in told
    assert [record.clip for record in read_records(final)] == [A, C]

    ties = tmp_path / "final_ties"
    for coder in ("anna", "ben"):  # blind: neither words nor class, and nothing of the other coder
        tasks = json.loads((ties / f"tasks_{coder}.json").read_text())
        assert all(task.keys() == {"data"} and task["data"].keys() == {"video", "fps", "item"} for task in tasks)
        answers = dict(zip((*ATTRIBUTES, "side", "confidence"), (*DIFFERENT, "sure"), strict=True))
        result = [{"from_name": name, "value": {"choices": [word]}} for name, word in answers.items()]
        for task in tasks:
            task["annotations"] = [{"completed_by": 1, "result": result}]
        (tmp_path / f"{coder}.json").write_text(json.dumps(tasks))
    assert {item.clip for item in Key.read(ties).items} == {B}
    files = [str(tmp_path / f"{coder}.json") for coder in ("anna", "ben")]
    assert main(["annotate", "import", str(ties), *files, "--out", str(again)]) == 0
    done = tmp_path / "done.jsonl"
    assert main(["annotate", "adjudicate", str(folder), str(table), str(again), "--out", str(done)]) == 0
    assert "next: microgesture annotate apply" in capsys.readouterr().out
    assert not (tmp_path / "done_ties").exists()
    assert main(["annotate", "apply", str(folder), str(done)]) == 0
    rows = {row["video"]["path"].rsplit("/", 1)[1]: FGText.from_mapping(row) for row in load(folder)["train"]}
    assert rows["b.mp4"] == FGText(*DIFFERENT, provenance="human", coder="anna, ben")
    assert rows["c.mp4"] == ROUND[-1].text
    assert {text.provenance for text in rows.values()} == {"human"}


def test_votes_keep_every_coders_words(folder, tmp_path):
    places = Places.beside(tmp_path / "final.jsonl")
    verdicts, _ = adjudicate([ROUND, [said("anna", B, DIFFERENT, look=1)]])
    write(places, folder, verdicts, video_fgsgl, progress=False)
    rows = {row["file_name"]: row for row in map(json.loads, places.votes.read_text().splitlines())}
    b = rows["clips/b.mp4"]
    assert (b["outcome"], b["open"], b["subject"]) == (UNANIMOUS, [], "p1")
    assert b["votes"]["direction"] == {"down": ["anna", "ben"]}
    assert [(one["coder"], one["direction"], one["confidence"]) for one in b["records"]] == [
        ("anna", "down", 1.0), ("ben", "down", 1.0)]  # fmt: skip
    assert [(one["coder"], one["direction"]) for one in b["replaced"]] == [("anna", "up")]
    written = sum(len(row["records"]) + len(row["replaced"]) for row in rows.values())
    assert written == len(ROUND) + 1


def test_who_gets_the_ties(folder, tmp_path):
    mail = [replace(one, text=replace(one.text, coder=f"{one.text.coder}@x.org")) for one in ROUND]
    for number, (records, options, coders) in enumerate([
        (ROUND, {}, {"anna", "ben"}),
        (ROUND, {"coders": ("cleo",)}, {"cleo"}),
        (mail, {}, {None}),  # Label Studio names people itself
        (ROUND, {"tool": "elan"}, {"anna", "ben"}),
    ]):  # fmt: skip
        places = Places.beside(tmp_path / f"{number}.jsonl")
        key = write(places, folder, adjudicate([records])[0], video_fgsgl, progress=False, **options)
        assert {item.coder for item in key.items} == coders
        assert not any(item.prefill or item.shown_label for item in key.items)
        assert key == Key.read(places.ties)


def test_nothing_is_overwritten(folder, tmp_path, capsys):
    table = tmp_path / "records.jsonl"
    write_records(table, ROUND)
    for name in ("final.jsonl", "final_votes.jsonl", "final_ties"):
        (tmp_path / name).write_text("mine")
        before = sorted(tmp_path.iterdir())
        assert main(["annotate", "adjudicate", str(folder), str(table), "--out", str(tmp_path / "final.jsonl")]) == 1
        assert f"{tmp_path / name} is there already, and nothing is overwritten" in capsys.readouterr().err
        assert (tmp_path / name).read_text() == "mine"
        assert sorted(tmp_path.iterdir()) == before
        (tmp_path / name).unlink()


def test_all_or_nothing(folder, tmp_path, monkeypatch):
    before = sorted(tmp_path.iterdir())
    places = Places.beside(tmp_path / "final.jsonl")
    verdicts, _ = adjudicate([ROUND])

    def full(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(adjudication, "write_records", full)
        with pytest.raises(OSError, match="no space left"):
            write(places, folder, verdicts, video_fgsgl, progress=False)
    assert sorted(tmp_path.iterdir()) == before
    (folder / "train/clips/b.mp4").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="this is a web page"):
        write(places, folder, verdicts, video_fgsgl, progress=False)
    assert sorted(tmp_path.iterdir()) == before


def test_records_of_another_data_set(folder, tmp_path):
    places = Places.beside(tmp_path / "final.jsonl")
    for clip in (replace(A, file_name="clips/z.mp4"), replace(A, subject="p9")):
        verdicts, _ = adjudicate([[said("anna", clip), said("ben", clip)]])
        with pytest.raises(ValueError, match=r"is not in .*mini; these records are of another data set"):
            write(places, folder, verdicts, video_fgsgl, progress=False)
    assert not places.records.exists()


def test_adjudicated_records_are_not_replaced_by_a_models(folder, tmp_path):
    places = Places.beside(tmp_path / "final.jsonl")
    write(places, folder, adjudicate([ROUND])[0], video_fgsgl, progress=False)
    apply(folder, read_records(places.records))
    counts = apply(folder, [said("rules", words=("leg",), provenance="model")])
    assert (counts["written"], counts["kept"]) == (0, 1)
