"""From the keypoints of a data set to a table of records, and on into the data set."""

import json

import numpy as np
import pytest
from conftest import SHARED, write_video
from moving_people import at, circle, out_and_back, person, swing

from microgesture.annotation.apply import apply
from microgesture.annotation.motion_features import MOST_MISSING
from microgesture.annotation.proposals import CODER
from microgesture.annotation.proposing import propose_all, refuse_words_of_people
from microgesture.annotation.records import Clip, CodedClip, read_records, write_records
from microgesture.cli import main
from microgesture.data.clips import ClipSample, load, write_split
from microgesture.data.fg_text import FGText
from microgesture.data.keypoints import read_layout
from video_fgsgl import probe

SWIPE, CIRCLE = out_and_back((0.9, 0, 1), (-0.7, 0, 1)), at((0.4, 0.1, 1), circle(0.5, 1))
WAVE = at((0.6, 0.6, 0.8), swing((0.5, 0, 0), 3))
HUMAN = FGText("leg", "leg", "inward", "cross", "left", "human", "single", "anna", 1.0)
CLASSES = ("nod", "rub")
WRIST = read_layout("coco_17").names.index("right_wrist")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A black video of 2.4 s, at 30 frames per second."""
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    write_video(path, np.zeros((72, 32, 32, 3), np.uint8), fps=30)
    return path


@pytest.fixture
def folder(tmp_path, video):
    """Whole clips and spans: three gestures, one described by a person, one without keypoints, one hardly seen."""
    classes = [{"name": name, "text": f"A person does {name}."} for name in CLASSES]
    about = {"name": "mini", "version": "1", "mirrored": False, "classes": classes}
    (tmp_path / "labels.json").write_text(json.dumps(about))
    split = tmp_path / "train"
    for name in ("clips", "keypoints"):
        (split / name).mkdir(parents=True)
    (split / "clips" / "a.mp4").write_bytes(video.read_bytes())
    hidden = person("coco_17", SWIPE)
    hidden[10:40, WRIST] = 0
    files = {"swipe": person("coco_17", SWIPE), "circle": person("coco_17", CIRCLE, fps=15.0),
             "wave": person("coco_17", WAVE), "hidden": hidden}  # fmt: skip
    for name, points in files.items():
        np.save(split / "keypoints" / f"{name}.npy", points)
    rows = [
        ("swipe", None, None, None),
        ("circle", 0.0, 2.4, None),
        ("wave", 2.4, 4.8, HUMAN),
        ("hidden", 5.0, 7.4, None),
    ]
    clips = [
        ClipSample("clips/a.mp4", CLASSES[number % 2], "p1", text, start, end, {"keypoints": f"keypoints/{name}.npy"})
        for number, (name, start, end, text) in enumerate(rows)
    ]
    clips.append(ClipSample("clips/a.mp4", "nod", "p1", None, 8.0, 9.0, {"keypoints": None}))
    write_split(split, clips)
    return tmp_path


def rewrite(folder, change):
    path = folder / "train" / "metadata.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(number, row)) + "\n" for number, row in enumerate(rows)))


def run(folder, out, *more):
    return main(["annotate", "propose", str(folder), "--out", str(out), *map(str, more)])


def test_every_clip_is_proposed_or_counted(folder):
    records, without, layouts = propose_all(folder, probe, progress=False)
    assert [(r.clip.start, r.text.direction, r.text.motion_type) for r in records] == [
        (None, "left", "swipe"),
        (0.0, "clockwise", "draw"),
    ]
    assert {r.text.provenance for r in records} == {"model"}
    assert not any(r.label_shown for r in records)
    assert without == {
        "described by people already": 1,
        "no keypoints": 1,
        f"right wrist missing for more than {MOST_MISSING} s": 1,
    }
    assert [layout.name for layout in layouts] == ["coco_17"]


def test_the_class_is_never_read(folder, tmp_path, capsys):
    """Other labels, unknown labels and no labels give the same bytes."""
    tables = []
    for number, change in enumerate((
        lambda _, row: row,
        lambda n, row: row | {"label": CLASSES[(n + 1) % 2]},
        lambda n, row: row | {"label": f"never heard of {n}"},
        lambda _, row: {name: value for name, value in row.items() if name != "label"},
    )):  # fmt: skip
        rewrite(folder, change)
        out = tmp_path / f"{number}.jsonl"
        assert run(folder, out) == 0
        tables.append(out.read_bytes())
    assert len(set(tables)) == 1
    assert b'"model"' in tables[0]


def test_proposals_go_into_the_data_set_and_never_over_a_person(folder, tmp_path, capsys):
    out = tmp_path / "proposed.jsonl"
    assert run(folder, out) == 0
    printed = capsys.readouterr().out
    assert "left out: 1 clips, described by people already" in printed
    assert "never proposed from coco_17: initiator: fingers" in printed
    assert apply(folder, read_records(out)) == {"written": 2, "kept": 0, "second looks": 0}
    texts = [FGText.from_mapping(row) for row in load(folder)["train"]]
    assert texts[2] == HUMAN
    assert (texts[0].sentence(), texts[0].provenance) == (
        "The right arm swipes through the air, moving to the person's left.",
        "model",
    )
    forced = [CodedClip(Clip("train", "clips/a.mp4", 2.4, 4.8, "p1"), texts[0])]
    assert apply(folder, forced) == {"written": 0, "kept": 1, "second looks": 0}
    assert FGText.from_mapping(load(folder)["train"][2]) == HUMAN


def test_confirmed_words_are_words_of_people(folder):
    rewrite(folder, lambda n, row: row | ({"provenance": "confirmed"} if n == 2 else {}))
    assert propose_all(folder, probe, progress=False)[1]["described by people already"] == 1
    rewrite(folder, lambda n, row: row | ({"provenance": "default"} if n == 2 else {}))
    assert len(propose_all(folder, probe, progress=False)[0]) == 3


def test_a_table_of_people_is_not_replaced(folder, tmp_path, capsys):
    out = tmp_path / "anna.jsonl"
    write_records(out, [CodedClip(Clip("train", "clips/a.mp4", None, None, "p1"), HUMAN)])
    before = out.read_bytes()
    assert run(folder, out) == 1
    assert "holds 1 records that no rule wrote; they are not replaced" in capsys.readouterr().err
    assert out.read_bytes() == before
    out.write_text("not a table")
    assert run(folder, out) == 1
    assert out.read_text() == "not a table"
    mine = tmp_path / "mine.jsonl"
    assert run(folder, mine) == run(folder, mine) == 0  # its own table is made anew
    mine.write_text(mine.read_text().replace(CODER, "keypoint rules 1.0"))
    assert run(folder, mine) == 0  # and so is that of earlier rules
    assert {record.text.coder for record in read_records(mine)} == {CODER}
    refuse_words_of_people(tmp_path / "new.jsonl")


def test_faults_name_the_clip(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no split nowhere"):
        propose_all(folder, probe, ["nowhere"], progress=False)
    np.save(folder / "train/keypoints/swipe.npy", np.ones((72, 5, 3)))
    with pytest.raises(ValueError, match=r"train/clips/a\.mp4: no keypoint layout has 5 joints"):
        propose_all(folder, probe, progress=False)
    rewrite(folder, lambda n, row: row | ({"keypoints": "../../x.npy"} if n == 0 else {}))
    with pytest.raises(ValueError, match="leads out of the split's folder"):
        propose_all(folder, probe, progress=False)
    rewrite(folder, lambda n, row: row | ({"keypoints": "keypoints/none.npy"} if n == 0 else {}))
    with pytest.raises(ValueError, match=r"train/clips/a\.mp4: .*none\.npy"):
        propose_all(folder, probe, progress=False)


def test_nothing_to_propose_writes_nothing(folder, tmp_path, capsys):
    rewrite(folder, lambda _, row: row | {"keypoints": None})
    assert run(folder, tmp_path / "out.jsonl") == 1
    assert "no record can be proposed, so nothing is written" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.skipif(not (SHARED / "data/utd_mhad").is_dir(), reason="UTD-MHAD is not beside this clone")
def test_utd_mhad_gets_words_of_each_clip(tmp_path, capsys):
    """Prepared, proposed, applied and loaded: one record per clip, and clips of a class differ."""
    data = tmp_path / "utd"
    assert main(["prepare", "utd_mhad", str(SHARED / "data/utd_mhad"), "--out", str(data)]) == 0
    assert run(data, tmp_path / "p.jsonl", "--split", "validation") == 0
    assert apply(data, read_records(tmp_path / "p.jsonl"))["written"] == 108
    loaded = load(data)
    texts = [FGText.from_mapping(row) for row in loaded["validation"]]
    assert {text.provenance for text in texts} == {"model"}
    assert all(text.sentence() and 0 < text.confidence <= 1 for text in texts)
    assert {row["provenance"] for row in loaded["train"]} == {"default"}
    by_class = {}
    for row, text in zip(loaded["validation"], texts, strict=True):
        by_class.setdefault(row["label"], set()).add(text.sentence())
    assert len(by_class) == 27
    assert any(len(sentences) > 1 for sentences in by_class.values())
