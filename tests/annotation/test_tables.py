"""Tables as Excel, R and people write them."""

from __future__ import annotations

import csv
import io
import json

import pytest
from annotation_files import observation, write_boris
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microgesture.annotation.boris import read_boris
from microgesture.annotation.readers import VideoFinder
from microgesture.annotation.tables import read_table
from microgesture.data.fg_text import VOCABULARY, FGText


@pytest.fixture
def read(tmp_path):
    for name in ("a.mp4", "b.mp4", "é.mp4"):
        (tmp_path / name).write_bytes(b"x")

    def write_and_read(content, name="clips.csv", **more):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return read_table(path, VideoFinder(tmp_path), **more)

    return write_and_read


PLAIN = "file,label,subject,start,end\na.mp4,nod,anna,0.5,2\nb.mp4,rub,ben,,\n"


def rows(reading):
    return [(a.video.name, a.label, a.subject, a.start, a.end) for a in reading.annotations]


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        "\ufeff" + PLAIN,
        PLAIN.encode("utf-16"),
        PLAIN.replace(",", ";").replace("0.5", "0,5"),
        "sep=;\r\n" + PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace("0.5", '"0,5"'),
        PLAIN.replace("file,label", " File ,LABEL"),
        PLAIN.replace("file,", "file_name,"),
        PLAIN.replace("\nb", "\n\n,,,,\nb"),
        PLAIN.replace(",,", ""),  # Excel leaves empty cells at the end of a row out
    ],
)
def test_forms_of_one_table(read, content):
    assert rows(read(content)) == [("a.mp4", "nod", "anna", 0.5, 2.0), ("b.mp4", "rub", "ben", None, None)]


def test_windows_letters(read):
    reading = read("file;label\né.mp4;Kopf schütteln\n".encode("cp1252"))
    assert rows(reading) == [("é.mp4", "Kopf schütteln", None, None, None)]
    assert "was read as Windows-1252" in reading.notes[0]


def test_quoted_newlines_and_where_rows_stand(read):
    reading = read('file,label,notes\n"a.mp4",nod,"two\nlines"\nb.mp4,rub,\n')
    assert [a.where for a in reading.annotations] == ["clips.csv line 2", "clips.csv line 4"]
    assert reading.notes == ["columns of clips.csv that are not used: notes"]


def test_json_lines(read):
    lines = [{"file": "a.mp4", "label": 1, "subject": 7, "start": 0, "end": 1.5}, {"file_name": "b.mp4", "label": "x"}]
    text = "\n".join(json.dumps(line) for line in lines) + "\n\n"
    assert rows(read(text, "c.jsonl")) == [("a.mp4", "1", "7", 0.0, 1.5), ("b.mp4", "x", None, None, None)]


def test_fg_text_and_split(read):
    (one, two) = read(
        "file,label,initiator,receiver,direction,motion_type,side,provenance,split\n"
        "a.mp4,nod,Hand,neck,back and forth,touch,left,confirmed,Train\nb.mp4,rub,,,,,,,val\n"
    ).annotations
    assert one.fg_text == FGText("hand", "neck", "back_and_forth", "touch", "left", "confirmed")
    assert (one.split, two.fg_text, two.split) == ("Train", None, "val")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("video,class\na.mp4,nod\n", "has no column file and no column label: its first line must name the columns"),
        ("file,label,label\na.mp4,nod,x\n", "has the column label twice"),
        ("file,label\n", "names no clip"),
        ("file,label\na.mp4,\n", "clips.csv line 2: label is empty"),
        ("file,label\n,nod\n", "clips.csv line 2: no video is named"),
        ("file,label\nno.mp4,nod\n", "clips.csv line 2: no.mp4 is not in"),
        ("file,label\na.mp4,nod,3\n", "clips.csv line 2: 3 cells for 2 columns"),
        ("file,label,start,end\na.mp4,nod,2,1\n", "line 2: the clip from 2 s to 1 s is empty"),
        ("file,label,start,end\na.mp4,nod,nan,1\n", "line 2: 'nan' is no number"),
        ("file,label,direction\na.mp4,nod,askew\n", "line 2: FG-Text direction 'askew' is not in the vocabulary"),
        ('file,label\na.mp4,"nod\n', "clips.csv line 2: .*quote that is not closed"),
        (b"file,label\na.mp4,\x81\n", "clips.csv line 2 is in an unknown encoding"),
        (b"PK\x03\x04", "is no text table; in Excel choose Save as"),
        (b"file,label\0", "is no text table"),
        (b"\xff\xfef\0i", "names no clip|no column|cut off"),
        ("", "has no column file"),
    ],
)
def test_tables_that_cannot_be_read(read, content, message):
    with pytest.raises(ValueError, match=message):
        read(content)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: this is no JSON"),
        ("[1]", "line 1: this is no JSON object"),
        ('{"file": ["a"], "label": "x"}', r"line 1: file is \['a'\]; write text"),
        ('{"file": "a.mp4", "label": true}', "line 1: label is True; write text"),
        ('{"file": "a.mp4", "label": "x", "start": NaN}', "line 1: start is nan"),
        ('{"file": "a.mp4", "label": "x", "end": [1]}', "is no number"),
        ("[" * 100_000, "line 1: this is no JSON"),
    ],
)
def test_json_lines_that_cannot_be_read(read, line, message):
    with pytest.raises(ValueError, match=message):
        read(line, "c.jsonl")


def test_every_bad_row_is_named_at_once(read):
    table = "file,label\n" + "".join(f"no{k}.mp4,\n" for k in range(30))
    with pytest.raises(ValueError, match="30 problems, nothing was made") as error:
        read(table)
    assert str(error.value).count("label is empty") == 20


LABELS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1).filter(
    lambda text: text.strip()
)
TIMES = st.floats(0, 1e5, allow_nan=False).map(lambda t: round(t, 3))
TEXTS = st.none() | st.builds(
    FGText,
    *(st.sampled_from(words) for words in VOCABULARY.values()),
    side=st.sampled_from([None, "left", "right"]),
    provenance=st.sampled_from(["human", "model", "default"]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(LABELS, LABELS, TIMES, TIMES, TEXTS), min_size=1, max_size=5), st.sampled_from(",;\t|"))
def test_round_trip_through_a_table(read, clips, delimiter):
    columns = ("initiator", "receiver", "direction", "motion_type", "side", "provenance")
    table = io.StringIO()
    writer = csv.writer(table, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(["file", "label", "subject", "start", "end", *columns])
    for label, subject, start, length, text in clips:
        words = [getattr(text, column) or "" for column in columns] if text else [""] * len(columns)
        writer.writerow(["a.mp4", label, subject, repr(start), repr(start + length + 1), *words])
    found = read(table.getvalue()).annotations
    from microgesture.annotation.readers import one_form

    assert [(a.label, a.subject, a.start, a.end, a.fg_text) for a in found] == [
        (one_form(label).strip(), one_form(subject).strip(), start, start + length + 1, text)
        for label, subject, start, length, text in clips
    ]


# --- tables that BORIS exported ------------------------------------------------------------------------------------

VERSION_7 = """\
Observation id\tobs 1\t\t\t\t\t\t\t
\t\t\t\t\t\t\t\t
Media file(s)\t\t\t\t\t\t\t\t
Player #1\ta.mp4\t\t\t\t\t\t\t
Time offset (s)\t{offset}\t\t\t\t\t\t\t
Time\tMedia file path\tTotal length\tFPS\tSubject\tBehavior\tBehavioral category\tComment\tStatus
3.300\t/home/x/a.mp4\t359.960\t25.0\tanna\tnod\t\t\tSTART
5.000\t/home/x/a.mp4\t359.960\t25.0\tNo focal subject\trub\t\t\tSTART
7.750\t/home/x/a.mp4\t359.960\t25.0\tanna\tnod\t\t\tSTOP
8.000\t/home/x/a.mp4\t359.960\t25.0\tNo focal subject\trub\t\t\tSTOP
"""
VERSION_8 = """\
"Observation id","Source","Time offset (s)","Subject","Behavior","Behavior type","Modifier #1","Time"
"obs 1","player #1:C:\\x\\a.mp4",0.0,"anna","nod","START","m",3.3
"obs 1","player #1:C:\\x\\a.mp4",0.0,"anna","nod","STOP","m",7.75
"""
AGGREGATED = """\
Observation id,Media file,Subject,Behavior,Behavioral category,Modifiers,Behavior type,Start (s),Stop (s),Duration (s)
obs 1,T:/Videos/a.mp4,anna,nod,,,STATE,3.3,7.75,4.45
obs 1,T:/Videos/a.mp4,No focal subject,rub,,,STATE,5.000,8.000,3
"""


def test_exported_events_of_boris(read):
    nod, rub = ("a.mp4", "nod", "anna", 3.3, 7.75), ("a.mp4", "rub", None, 5.0, 8.0)
    assert rows(read(VERSION_7.format(offset="0.0"), "e.tsv")) == [nod, rub]
    assert rows(read(VERSION_7.format(offset="3"), "e.tsv"))[0] == ("a.mp4", "nod", "anna", 0.3, 4.75)
    assert rows(read(VERSION_8, "e.csv")) == [nod]
    assert rows(read(AGGREGATED, "e.csv")) == [nod, rub]


def test_exported_and_project_agree(read, tmp_path):
    events = [
        [3.3, "anna", "nod", "", ""],
        [5.0, "", "rub", "", ""],
        [7.75, "anna", "nod", "", ""],
        [8, "", "rub", "", ""],
    ]
    project = write_boris(tmp_path / "p.boris", {"obs 1": observation(events, "/home/x/a.mp4")})
    assert rows(read_boris(project, VideoFinder(tmp_path))) == rows(read(VERSION_7.format(offset="0"), "e.tsv"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("STATE,3.3", "STATE,", r"e.csv row 2: the column Start \(s\) is empty"),
        ("3.3,7.75", "7.75,3.3", "e.csv row 2: the clip from 7.75 s to 3.3 s is empty"),
        ("T:/Videos/a.mp4,anna", "a.mp4;b.mp4,anna", "several media files; give the project"),
        ("STATE,3.3,7.75", "POINT,3.3,3.3", "a point event has no duration; say how many seconds"),
        ("nod", "", "e.csv row 2: the column Behavior is empty"),
    ],
)
def test_exported_rows_that_cannot_be_read(read, old, new, message):
    with pytest.raises(ValueError, match=message):
        read(AGGREGATED.replace(old, new), "e.csv")


def test_exported_points(read):
    table = AGGREGATED.replace("STATE,3.3,7.75", "POINT,3.3,3.3")
    assert rows(read(table, "e.csv", point_seconds=2))[0] == ("a.mp4", "nod", "anna", 2.3, 4.3)
    without = read(table, "e.csv", point_seconds=0)
    assert (len(without.annotations), without.notes) == (1, ["e.csv: 1 point events were left out"])


def test_exported_state_that_never_ends(read):
    with pytest.raises(ValueError, match=r"e.csv row 2: this state begins and never ends"):
        read("\n".join(VERSION_8.splitlines()[:2]), "e.csv")
