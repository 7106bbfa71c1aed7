"""Agreement of coders' records: what counts, what does not, and what is said about it."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from microgesture.annotation.agreement import WHOLE, agreement
from microgesture.annotation.agreement_text import as_text
from microgesture.annotation.records import Clip, CodedClip, write_records
from microgesture.cli import main
from microgesture.data.fg_text import ATTRIBUTES, FGText
from microgesture.evaluation.coefficients import NO_PAIRS, ONE_VALUE, krippendorff_alpha

WORDS = ("hand", "neck", "up", "touch")


def clip(number: int, subject: str | None = None, start: float | None = None) -> Clip:
    end = None if start is None else start + 1
    return Clip("train", f"clips/{number}.mp4", start, end, subject or f"p{number % 3}")


def said(number: int, coder: str, *words: str | None, look: int = 1, shown: bool = False, **more) -> CodedClip:
    """A record of clip `number`; words that are not given are those of `WORDS`."""
    text = FGText(*(words or WORDS), coder=coder, **more)
    return CodedClip(clip(number), text, look, shown)


def field(found, name):
    return next(one for one in found.fields if one.field == name)


# --- what is measured ------------------------------------------------------------------------------------------------


def test_figures_by_hand():
    """Four clips, two coders: they differ in one direction of four, and in nothing else."""
    records = []
    for number, direction in enumerate(("up", "up", "down", "down")):
        records.append(said(number, "anna", "hand", "neck", direction, "touch"))
        records.append(said(number, "ben", "hand", "neck", "up" if number == 3 else direction, "touch"))
    found = agreement(records)
    assert (found.coders, found.records, found.clips, found.clusters) == (("anna", "ben"), 8, 4, 3)
    direction = field(found, "direction")
    assert direction.same.value == 0.75
    assert direction.cohen.value == pytest.approx(0.5)  # p_o .75, p_e .5
    assert direction.fleiss.value == pytest.approx(1 - 0.25 / (1 - (25 + 9) / 64))
    assert direction.alpha.value == pytest.approx(1 - 7 * 2 / 30)
    initiator = field(found, "initiator")
    assert (initiator.same.value, initiator.cohen.value, initiator.alpha.why) == (1.0, None, ONE_VALUE)
    assert field(found, WHOLE).same.value == 0.75
    assert field(found, WHOLE).cohen.value == pytest.approx(0.5)
    assert field(found, "side").same.why == NO_PAIRS
    assert [one.field for one in found.fields] == [*ATTRIBUTES, "side", "repetition", WHOLE]


def test_accepted_proposed_and_default_records_are_left_out_and_counted():
    own = [
        said(n, coder, "hand", "neck", "up" if n else "down", "touch") for n in range(3) for coder in ("anna", "ben")
    ]
    others = [said(5, "anna", provenance="confirmed"), said(5, "ben", provenance="confirmed"),
              said(6, "anna"), said(6, "ben", "leg", provenance="confirmed"), said(7, "rules", provenance="model"),
              said(8, "x", provenance="default")]  # fmt: skip
    found = agreement(own + others)
    assert found.left_out == {"confirmed": 3, "model": 1, "default": 1}
    assert found.coders == ("anna", "ben")
    assert (found.records, found.clips) == (7, 3)  # clip 6 has one coder's own words
    assert found.disagreements == []
    text = as_text(found)
    assert "not a coder's own: 3 accepted unchanged from a prefilled export; 1 proposed by a model; 1 taken" in text


def test_special_values_are_words_and_missing_is_none():
    records = [
        said(0, "anna", "hand", "not_visible", "up", "touch"), said(0, "ben", "hand", "none", "up", "touch"),
        said(1, "anna", "hand", "unclear", "up", "touch"), said(1, "ben", "hand", "unclear", "up", "touch"),
        said(2, "anna", "hand", "none", "up", "touch"), said(2, "ben", "hand", None, "up", "touch"),
    ]  # fmt: skip
    found = agreement(records)
    receiver = field(found, "receiver")
    assert (receiver.same.units, receiver.same.value) == (2, 0.5)
    assert receiver.answers == {"word": 2, "not_visible": 1, "unclear": 2, "missing": 1}
    assert field(found, WHOLE).same.units == 2  # a record that lacks a word is no whole record
    assert "receiver 1 × not_visible, 2 × unclear" in as_text(found)
    numbers = {"not_visible": 0, "none": 1, "unclear": 2}
    by_hand = krippendorff_alpha([[numbers["not_visible"], numbers["none"]], [numbers["unclear"]] * 2, [1, -1]])
    assert receiver.alpha.value == by_hand.value


def test_three_coders_one_of_whom_missed_a_clip():
    rng = np.random.default_rng(0)
    words = rng.choice(["up", "down", "inward"], (12, 3))
    words[4, 2] = ""
    records = [said(n, coder, "hand", "neck", words[n, k], "touch")
               for n in range(12) for k, coder in enumerate(("anna", "ben", "cleo")) if words[n, k]]  # fmt: skip
    found = agreement(records)
    codes = np.array([[["", "up", "down", "inward"].index(word) - 1 for word in row] for row in words])
    alpha = field(found, "direction").alpha
    assert alpha == krippendorff_alpha(codes, [f"p{n % 3}" for n in range(12)])
    assert field(found, "direction").cohen is None
    assert field(found, "direction").fleiss.units == 11
    assert [one.coders for one in found.pairs] == [("anna", "ben"), ("anna", "cleo"), ("ben", "cleo")]
    assert [one.same["direction"].units for one in found.pairs] == [12, 11, 11]
    two = agreement([record for record in records if record.text.coder != "cleo"])
    assert found.pairs[0].cohen["direction"].value == field(two, "direction").cohen.value
    assert two.pairs == []


def test_second_looks_are_for_agreement_with_oneself():
    directions = {0: ("up", "up"), 1: ("down", "up"), 2: ("up", "up"), 3: ("down", "down")}
    records = [said(n, "anna", "hand", "neck", word, "touch", look=look + 1)
               for n, both in directions.items() for look, word in enumerate(both)]  # fmt: skip
    records += [said(n, "ben", "hand", "neck", "static", "touch") for n in range(4)]
    records += [said(0, "ben", look=2, provenance="confirmed")]
    found = agreement(records)
    assert field(found, "direction").same.value == 0.0  # ben is compared with the first looks alone
    assert field(found, "direction").same.units == 4
    (anna,) = found.themselves
    assert anna.coders == ("anna", "anna")
    assert (anna.same["direction"].value, anna.same["direction"].units) == (0.75, 4)
    assert anna.cohen["direction"].value == pytest.approx(0.5)
    assert anna.cohen["initiator"].why == ONE_VALUE
    assert "clips seen a second time: anna 4" in as_text(found)


@pytest.mark.parametrize("by", ["subject", "recording"])
def test_intervals_by_subject_or_recording(by):
    rng = np.random.default_rng(1)
    records, codes, clusters = [], [], []
    for number in range(30):
        where = clip(number % 6, f"p{number % 2}", float(number))
        words = rng.choice(["up", "down"], 2)
        for coder, word in zip(("anna", "ben"), words, strict=True):
            records.append(CodedClip(where, FGText("hand", "neck", str(word), "touch", coder=coder)))
        codes.append([int(word == "up") for word in words])
        clusters.append(where.subject if by == "subject" else where.file_name)
    found = agreement(records, by, draws=100, seed=3)
    alpha = field(found, "direction").alpha
    assert (found.by, found.clusters) == (by, 2 if by == "subject" else 6)
    assert alpha == krippendorff_alpha(codes, clusters, draws=100, seed=3)
    assert alpha.low < alpha.value < alpha.high
    assert f"drawing whole {by}s ({found.clusters})" in as_text(found)


# --- where they do not agree -----------------------------------------------------------------------------------------


def test_disagreements_worst_first():
    records = []
    for coder, odd in (("anna", "up"), ("ben", "up"), ("cleo", "down")):
        records.append(said(0, coder))
        records.append(said(1, coder, "hand", "neck", odd, "touch", side="right" if coder == "ben" else "left"))
        records.append(said(2, coder, *{"anna": WORDS, "ben": ("leg", "none", "down", "cross"),
                                        "cleo": ("head", "hat", "static", "nod")}[coder]))  # fmt: skip
        records.append(said(3, coder, "hand", "neck", {"anna": "up", "ben": "left", "cleo": "right"}[coder], "touch"))
    found = agreement(records)
    assert [one.name for one in found.disagreements] == [f"train/clips/{n}.mp4" for n in (2, 3, 1)]
    assert [one.score for one in found.disagreements] == [1.0, 0.25, 0.1667]
    assert found.disagreements[2].said == {
        "direction": {"up": ["anna", "ben"], "down": ["cleo"]}, "side": {"left": ["anna", "cleo"], "right": ["ben"]},
    }  # fmt: skip
    assert (found.confused[0].words, found.confused[0].times) == (("down", "up"), 3)
    text = as_text(found)
    assert text.index("clips/2.mp4") < text.index("clips/3.mp4") < text.index("clips/1.mp4")
    assert "direction: up (anna, ben) | down (cleo)" in text


# --- what cannot be measured is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([said(0, "anna"), said(1, "anna")], "There is one coder only (anna); agreement between coders needs two."),
        ([said(0, "anna"), said(1, "ben")], "No clip was described by two coders"),
        ([said(0, c, provenance="confirmed") for c in ("anna", "ben")], "No record is a coder's own"),
        ([said(n, c) for n in range(4) for c in ("anna", "ben")], "only one value was used"),
        ([said(n, c, shown=c == "ben") for n in range(4) for c in ("anna", "ben")], "4 of the records were written by "
         "coders who were told the class"),
        ([said(0, c) for c in ("anna", "ben")], "no interval, because all of it is of one person or recording"),
    ],
)  # fmt: skip
def test_plain_statements(records, message):
    found = agreement(records)
    assert message in as_text(found)
    assert "nan" not in as_text(found)
    json.dumps(asdict(found), allow_nan=False)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "there is no record; name the table"),
        ([said(0, "anna"), said(0, "anna")], r"train/clips/0.mp4: coder 'anna' wrote about this clip twice"),
        ([CodedClip(clip(0), FGText("hand"))], "a record without a coder"),
        ([said(0, "anna"), replace(said(0, "ben"), clip=clip(0, "other"))], "of different data sets"),
    ],
)
def test_records_that_cannot_be_compared(records, message):
    with pytest.raises(ValueError, match=message):
        agreement(records)


def test_command(tmp_path, capsys):
    table, other, report = tmp_path / "anna.jsonl", tmp_path / "ben.jsonl", tmp_path / "report.json"
    write_records(table, [said(n, "anna", "hand", "neck", ("up", "down")[n % 2], "touch") for n in range(6)])
    write_records(other, [said(n, "ben", "hand", "neck", ("up", "down")[n % 3 % 2], "touch") for n in range(6)])
    assert main(["annotate", "agreement", str(table), str(other), "--json", str(report), "--by", "recording"]) == 0
    told = capsys.readouterr().out
    assert "12 records of 2 coders (anna, ben); 6 clips have the words of two coders or more" in told
    found = json.loads(report.read_text())
    (direction,) = [one for one in found["fields"] if one["field"] == "direction"]
    assert direction["cohen"]["value"] == pytest.approx(0.0)
    assert direction["cohen"]["low"] < direction["cohen"]["high"]
    assert len(found["disagreements"]) == 3
    assert main(["annotate", "agreement", str(table), str(tmp_path)]) == 1
    assert "either tables of records (.jsonl) or ELAN files (.eaf), not both" in capsys.readouterr().err
    assert main(["annotate", "agreement", str(table), "--tier", "gesture"]) == 1
    assert "tables of records have no tiers" in capsys.readouterr().err
