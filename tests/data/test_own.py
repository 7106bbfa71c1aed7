"""`microgesture prepare own`: from people's files to a data set folder."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import datasets as hf_datasets
import pytest
from annotation_files import annotation, observation, region, task, tier, write_boris, write_eaf
from hypothesis import given, settings
from hypothesis import strategies as st
from video_files import write

from microgesture import cli
from microgesture.annotation.sources import ReadingOptions
from microgesture.data import own
from microgesture.data.clips import LABELS_FILE, METADATA_FILE, DatasetInfo, load
from microgesture.data.fg_text import FGText
from microgesture.data.own import OwnOptions, parse_shares, prepare

PEOPLE = ("anna", "ben", "cleo", "dora")


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))  # never decoded here
    return folder


def write_table(
    folder: Path, *rows: tuple[object, ...], head: str = "file,label,subject", name: str = "clips.csv"
) -> Path:
    lines = [head, *(",".join(map(str, row)) for row in rows)]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def source(tmp_path):
    """Four people, a recording each, two classes."""
    folder = put(tmp_path / "source", *(f"{p}/long.mp4" for p in PEOPLE))
    rows = [(f"{p}/long.mp4", ("nod", "rub")[k % 2], p, k, k + 0.5) for p in PEOPLE for k in range(4)]
    return write_table(folder, *rows, head="file,label,subject,start,end")


def rows_of(out: Path) -> list[dict[str, object]]:
    return [
        {"split": file.parent.name} | json.loads(line)
        for file in sorted(out.glob(f"*/{METADATA_FILE}"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]


def make(source: Path, progress: bool = False, **options: object) -> tuple[Path, list[str]]:
    out = source.parent / "out"
    return out, prepare(source, out, OwnOptions(**options), progress=progress)


# --- what is made --------------------------------------------------


def test_a_table_becomes_a_data_set(source):
    out, lines = make(source)
    data = load(out)
    assert sum(len(split) for split in data.values()) == 16
    assert set(data) == {"train", "validation", "test"}
    row = data["train"][0]
    assert (row["end"] - row["start"], row["provenance"]) == (0.5, None)
    people = {name: set(split["subject"]) for name, split in data.items()}
    assert sum(len(p) for p in people.values()) == 4
    info = DatasetInfo.read(out)
    assert (info.name, info.names, info.mirrored, info.leak) == ("out", ["nod", "rub"], "unknown", False)
    assert info.texts == ["A person makes the gesture: nod.", "A person makes the gesture: rub."]
    assert info.expected_clips == {name: len(split) for name, split in data.items()}
    assert lines[0] == "16 clips in 4 videos, 2 classes, 4 people"
    assert any("write better ones" in line for line in lines)
    assert lines[-1] == f"next: microgesture check {out}"


def test_plain_load_dataset_reads_it(source):
    out, _ = make(source)
    data = hf_datasets.load_dataset(str(out))
    assert {name: len(split) for name, split in data.items()} == DatasetInfo.read(out).expected_clips


def test_a_recording_is_linked_once_and_not_copied(source):
    out, _ = make(source)
    videos = sorted(path for path in out.rglob("*.mp4"))
    assert len(videos) == 4
    for video in videos:
        original = source / video.parent.name / "long.mp4"
        assert video.samefile(original)
        assert len([r for r in rows_of(out) if r["subject"] == video.parent.name]) == 4


def test_another_disk_gets_copies(source, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    out, _ = make(source)
    video = next(out.rglob("*.mp4"))
    assert not video.samefile(source / video.parent.name / "long.mp4")
    assert video.read_bytes() == (source / video.parent.name / "long.mp4").read_bytes()


def test_a_folder_per_class(tmp_path):
    names = [f"{label}/{p}_{k}.mp4" for label in ("nod", "rub eyes") for p in PEOPLE for k in (1, 2)]
    source = put(tmp_path / "source", *names, "nod/Thumbs.db", ".DS_Store")
    with pytest.raises(ValueError, match=r"16 problems.*\nnod/anna_1.mp4: it does not say who is seen"):
        make(source)
    out, lines = make(source, subject_from="{subject}_*")
    assert Counter(r["label"] for r in rows_of(out)) == {"nod": 8, "rub eyes": 8}
    assert {r["subject"] for r in rows_of(out)} == set(PEOPLE)
    assert any(line.startswith("note: 1 other files in ") for line in lines)
    assert (r := rows_of(out)[0])["file_name"] == f"videos/{r['label']}/{Path(r['file_name']).name}"


def test_a_folder_per_class_with_splits_above(tmp_path):
    source = put(
        tmp_path / "s",
        *(f"{s}/{c}/{p}/1.mp4" for s, p in zip(("train", "val", "test"), PEOPLE, strict=False) for c in "ab"),
    )
    out, _ = make(source, subject_from="folder")
    assert {(r["split"], r["subject"]) for r in rows_of(out)} == {
        ("train", "anna"),
        ("validation", "ben"),
        ("test", "cleo"),
    }


def test_elan_files_in_folders(tmp_path):
    source = tmp_path / "source"
    for person in PEOPLE:
        put(source, f"{person}/cam.mp4")
        tiers = tier(f"gesture@{person}", [("a1", 0, 500, "nod"), ("a2", 700, 1001, "rub")])
        write_eaf(source / person / "talk.eaf", tiers, media=[(f"file:///C:/x/{person}/cam.mp4", "video/mp4", 0)])
    out, _ = make(source)
    assert {(r["file_name"], r["subject"]) for r in rows_of(out)} == {(f"videos/{p}/cam.mp4", p) for p in PEOPLE}
    assert {r["end"] for r in rows_of(out)} == {0.5, 1.001}


def test_boris_and_label_studio(tmp_path):
    boris = put(tmp_path / "boris", *(f"{p}.mp4" for p in PEOPLE))
    events = {
        p: [[1, p, "nod", "", ""], [2, p, "nod", "", ""], [3, p, "rub", "", ""], [4, p, "rub", "", ""]] for p in PEOPLE
    }
    write_boris(boris / "p.boris", {p: observation(e, f"/home/{p}.mp4") for p, e in events.items()})
    out, _ = make(boris)
    assert len(rows_of(out)) == 8
    studio = put(tmp_path / "ls" / "studio", *(f"{p}.mp4" for p in PEOPLE))
    tasks = [
        task(k, f"/data/upload/0a1b2c3d-{p}.mp4", annotation(region("nod", 26, 50), region("rub", 76, 100)))
        for k, p in enumerate(PEOPLE)
    ]
    (studio / "export.json").write_text(json.dumps(tasks))
    other, _ = make(studio, subject_from="file", reading=ReadingOptions(fps=25.0))
    keep = ("split", "file_name", "label", "subject", "start", "end")
    assert [[r[k] for k in keep] for r in rows_of(other)] == [[r[k] for k in keep] for r in rows_of(out)]


def test_folds_are_data_sets(source):
    out, lines = make(source, folds=4)
    tested = []
    for number in range(1, 5):
        data = load(out / f"fold_{number}")
        assert sum(len(split) for split in data.values()) == 16
        tested += sorted(set(data["test"]["subject"]))
    assert sorted(tested) == sorted(PEOPLE)
    assert lines[-1] == f"next: microgesture check {out / 'fold_1'}"


def test_given_splits_are_kept(source):
    rows = [
        (f"{p}/long.mp4", "ab"[k % 2], p, s)
        for p, s in zip(PEOPLE, ("Train", "train", "val", "test_natural"), strict=True)
        for k in (1, 2)
    ]
    write_table(source, *rows, head="file,label,subject,split")
    out, _ = make(source)
    assert Counter(r["split"] for r in rows_of(out)) == {"train": 4, "validation": 2, "test_natural": 2}
    with pytest.raises(ValueError, match="leave out --folds"):
        prepare(source, source.parent / "o", OwnOptions(folds=3))


# --- classes and sentences --------------------------------------------------


def test_labels_of_the_users_own(source, tmp_path):
    own_file = tmp_path / "my.json"
    classes = [
        {"name": "rub", "text": "A person rubs the eyes.", "default": {"initiator": "hand", "receiver": "eyes"}},
        {"name": "nod", "text": "A person nods."},
    ]
    own_file.write_text(json.dumps({"classes": classes, "name": "study 1", "leak": True}))
    out, lines = make(source, labels=own_file, mirrored=False)
    info = DatasetInfo.read(out)
    assert (info.name, info.names, info.mirrored, info.leak) == ("study 1", ["rub", "nod"], False, False)
    texts = {r["label"]: FGText.from_mapping(r) for r in rows_of(out)}
    assert texts == {"rub": FGText("hand", "eyes", provenance="default"), "nod": None}
    assert not any("write better ones" in line for line in lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "my.json is no JSON file"),
        ("[]", "my.json must look like"),
        ('{"classes": [{"name": "nod", "text": "A person nods."}]}', "my.json has no class 'rub'; add it"),
        (
            '{"classes": [{"name": "nod", "text": "x"}, {"name": "rub", "text": "x"}]}',
            "my.json: every category sentence",
        ),
    ],
)
def test_labels_that_do_not_fit(source, tmp_path, content, message):
    (tmp_path / "my.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        make(source, labels=tmp_path / "my.json")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_side_words_need_to_know_about_mirrors(tmp_path):
    source = put(tmp_path / "s", *(f"{p}.mp4" for p in PEOPLE))
    write_table(
        source,
        *((f"{p}.mp4", "ab"[k % 2], p, "left") for k, p in enumerate(PEOPLE)),
        head="file,label,subject,direction",
    )
    out, _ = make(source, mirrored=True)
    assert {r["direction"] for r in rows_of(out)} == {"left"}
    assert DatasetInfo.read(out).mirrored is True


# --- who is seen --------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "name", "subject"),
    [
        ("file", "P01_x.mp4", "P01_x"), ("folder", "P01/x.mp4", "P01"), ("{subject}_*", "P01_2_x.mp4", "P01"),
        ("*_{subject}", "x_P01.mp4", "P01"), ("sub-{subject}_ses-*", "a/sub-07_ses-2.mp4", "07"),
        ("{subject}/*", "study/anna/x.mp4", "anna"), ("c{subject}.x", "cä.x.mp4", "ä"),
    ],
)  # fmt: skip
def test_rules_for_subjects(tmp_path, rule, name, subject):
    clip = own.Annotation(tmp_path / name, "nod", "x")
    assert own._subject(clip, tmp_path, rule) == subject


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("folder", "lies in no folder of a person"), ("{subject}_*", "'long' does not look like '{subject}_"),
        ("name", "--subject-from name is no rule; write folder, file, or a pattern"),
    ],
)  # fmt: skip
def test_rules_that_do_not_fit(tmp_path, rule, message):
    clip = own.Annotation(tmp_path / "nod" / "long.mp4", "nod", "x")
    with pytest.raises(ValueError, match=message.replace("{", r"\{")):
        own._subject(clip, tmp_path, rule)


# --- leaks --------------------------------------------------


def test_random_split_only_on_demand_and_marked(tmp_path):
    source = put(tmp_path / "source", *(f"{c}/{k}.mp4" for c in "ab" for k in range(20)))
    with pytest.raises(ValueError, match="it does not say who is seen"):
        make(source)
    out, lines = make(source, allow_leak=True)
    assert Counter(r["split"] for r in rows_of(out)) == {"train": 28, "validation": 6, "test": 6}
    assert json.loads((out / LABELS_FILE).read_text())["leak"] is True
    assert "LEAK: the same people are, or may be" in "\n".join(lines)
    assert "**Leak:**" in (out / "README.md").read_text()
    assert sum(len(split) for split in load(out).values()) == 40
    assert {r["subject"] for r in rows_of(out)} == {"unknown"}


def test_random_folds(tmp_path):
    source = put(tmp_path / "source", *(f"{c}/{k}.mp4" for c in "ab" for k in range(10)))
    out, _ = make(source, allow_leak=True, folds=5)
    assert all(DatasetInfo.read(out / f"fold_{k}").leak for k in range(1, 6))


def test_given_splits_that_tear_people_apart(source):
    rows = [("anna/long.mp4", "ab"[k % 2], "anna", ("train", "validation")[k // 2]) for k in range(4)]
    write_table(source, *rows, head="file,label,subject,split")
    with pytest.raises(ValueError, match=r"subject 'anna' is in both .*; or keep it with --allow-leak, which marks"):
        make(source)
    out, _ = make(source, allow_leak=True)
    assert DatasetInfo.read(out).leak is True


def test_people_in_one_recording_stay_on_one_side(tmp_path):
    pairs = [("a", "b"), ("c", "d"), ("e", "f"), ("g", "h")]
    source = put(tmp_path / "source", *(f"{x}{y}.mp4" for x, y in pairs))
    write_table(source, *((f"{x}{y}.mp4", label, who) for x, y in pairs for who in (x, y) for label in ("nod", "rub")))
    out, _ = make(source)
    sides = {r["file_name"]: set() for r in rows_of(out)}
    for r in rows_of(out):
        sides[r["file_name"]].add(r["split"])
    assert all(len(splits) == 1 for splits in sides.values())


# --- what is refused --------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("nod", "a"), ("Nod", "b")], r"'Nod' \(1 clips\), 'nod' \(1 clips\) look like one class written in several"),
        ([("1", "a"), ("01", "b"), ("1.0", "c")], r"'01' \(1 clips\), '1' \(1 clips\), '1.0' \(1 clips\) look like"),
        ([("nod_head", "a"), ("nod head", "b")], "look like one class"),
        ([("nod", "a"), ("nod", "b")], "all clips are of one class, 'nod'; a classifier needs at least two"),
        ([("nod", "a"), ("rub", "b")], "3 splits need 3 people who share no recording, and here are 2"),
        ([("nod", "a"), ("rub", "")], "clips.csv line 3: it does not say who is seen"),
    ],
)
def test_tables_that_make_no_data_set(tmp_path, rows, message):
    source = put(tmp_path / "source", *(f"{k}.mp4" for k in range(len(rows))))
    write_table(source, *((f"{k}.mp4", label, who) for k, (label, who) in enumerate(rows)))
    with pytest.raises(ValueError, match=message):
        make(source)
    assert not (tmp_path / "out").exists()


def test_blanks_in_labels_do_not_matter(tmp_path):
    source = put(tmp_path / "source", *(f"{k}.mp4" for k in range(4)))
    write_table(source, *((f"{k}.mp4", ("rub  eyes", " rub eyes", "nod", "nod")[k], k) for k in range(4)))
    out, _ = make(source)
    assert DatasetInfo.read(out).names == ["nod", "rub eyes"]


@pytest.mark.parametrize("split", ["", "Training set", "../train"])
def test_bad_names_of_splits(source, split):
    write_table(
        source,
        ("anna/long.mp4", "a", "anna", "train"),
        ("ben/long.mp4", "b", "ben", split),
        head="file,label,subject,split",
    )
    with pytest.raises(
        ValueError, match=r"clips.csv line 3: the split is .*; write train, validation or test in every"
    ):
        make(source)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds neither a table"),
        (["a.mp4"], "a.mp4: this clip is in no class folder; move it into one"),
        (["a.csv", "b.csv"], r"several annotation files \(a.csv, b.csv\); name the one to use"),
        (["a.csv", "x/b.eaf"], r"several annotation files \(a.csv, x/b.eaf\)"),
        (["labels.json", "train/metadata.jsonl"], "is a prepared data set already; use it as it is"),
    ],
)
def test_folders_that_are_no_source(tmp_path, names, message):
    source = put(tmp_path / "source", *names)
    source.mkdir(exist_ok=True)
    with pytest.raises(ValueError, match=message):
        make(source)


def test_files_that_are_no_source(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist; check the spelling"):
        make(tmp_path / "nowhere")
    source = put(tmp_path / "source", "clips.xlsx") / "clips.xlsx"
    with pytest.raises(ValueError, match="is of no kind that can be read"):
        prepare(source, tmp_path / "out")


def test_out_that_holds_something(source):
    put(source.parent / "out", "precious.txt")
    with pytest.raises(FileExistsError, match="exists and is not an empty folder"):
        make(source)


def test_out_inside_the_source(source):
    out = source / "data" / "mine"
    prepare(source, out, progress=False)
    assert len(rows_of(out)) == 16
    again = prepare(source / "clips.csv", source / "data" / "again", progress=False)
    assert again[0].startswith("16 clips in 4 videos")


def test_interrupted_leaves_nothing(source, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(own, "write_split", stop)
    with pytest.raises(KeyboardInterrupt):
        make(source)
    assert sorted(path.name for path in source.parent.iterdir()) == ["source"]


def test_symlink_out_of_the_source(tmp_path):
    put(tmp_path, "secret.mp4")
    source = put(tmp_path / "source", "nod/a.mp4")
    (source / "nod" / "b.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(ValueError, match=r"nod/b.mp4: nod/b.mp4 is a link that leads nowhere or out of"):
        make(source, subject_from="file")


def test_names_that_no_json_or_glob_likes(tmp_path):
    bad = os.fsdecode(b"\xff.mp4")
    names = ["[x]*?.mp4", "a::b.mp4", "手势 😀 (1).MP4", bad, "e"]
    source = put(tmp_path / "source", *names)
    rows = [{"file": name, "label": "ab"[k % 2], "subject": k} for k, name in enumerate(names) if name != bad]
    (source / "clips.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out, lines = make(source)
    data = load(out)
    found = {Path(row["video"]["path"]).name for split in data.values() for row in split}
    assert found == {"[x]*?.mp4", "a__b.mp4", "手势 😀 (1).MP4", "e"}
    assert "note: 1 videos in " in "\n".join(lines)


@pytest.mark.parametrize(("text", "shares"), [("70,15,15", (0.7, 0.15, 0.15)), ("8 / 2 / 0", (0.8, 0.2, 0.0))])
def test_shares(text, shares):
    assert parse_shares(text) == pytest.approx(shares)


@pytest.mark.parametrize("text", ["", "70,30", "0,50,50", "80,0,20", "a,b,c", "70,15,-15"])
def test_no_shares(text):
    with pytest.raises(ValueError, match="must be three numbers, of train, validation and test"):
        parse_shares(text)


# --- round trip, command line, size --------------------------------------------------


@settings(max_examples=4)
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 99), st.sampled_from("abc")), min_size=6, max_size=12))
def test_prepared_rows_can_be_prepared_again(tmp_path_factory, spans):
    base = tmp_path_factory.mktemp("round")
    source = put(base / "one", *(f"{p}.mp4" for p in PEOPLE))
    rows = []
    for k, (start, length, label) in enumerate(spans):
        who = PEOPLE[k % 4]
        rows.append((f"{who}.mp4", label if k > 1 else "ab"[k], who, start / 8, (start + length) / 8))
    write_table(source, *rows, head="file,label,subject,start,end")
    out, _ = make(source)
    first = rows_of(out)
    (out / LABELS_FILE).unlink()  # a folder with videos and a table, as anybody may have
    lines = [r | {"file_name": f"{r['split']}/{r['file_name']}"} for r in first]
    (out / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = base / "again"
    prepare(out / "rows.jsonl", again, progress=False)
    keys = ("split", "label", "subject", "start", "end")
    assert sorted([r[k] for k in keys] for r in rows_of(again)) == sorted([r[k] for k in keys] for r in first)


def test_command_line(tmp_path, capsys):
    source = tmp_path / "clips"
    for p in PEOPLE:
        (source / p).mkdir(parents=True)
        write(source / p / "x.mp4", frames=10, size=(48, 32))
    write_table(
        source,
        *((f"{p}/x.mp4", label, p, t, t + 0.1) for p in PEOPLE for t, label in ((0, "a"), (0.2, "b"))),
        head="file,label,subject,start,end",
    )
    assert cli.main(["prepare", "own", str(source), "--out", str(tmp_path / "out"), "--ratio", "2,1,1"]) == 0
    assert "8 clips in 4 videos, 2 classes, 4 people" in capsys.readouterr().out
    assert cli.main(["prepare", "own", str(source), "--out", str(tmp_path / "out")]) == 1
    assert "is not an empty folder" in capsys.readouterr().err
    assert cli.main(["prepare", "own"]) == 1
    assert "prepare own needs the folder" in capsys.readouterr().err
