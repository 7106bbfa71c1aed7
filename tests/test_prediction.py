"""`microgesture predict`: every file once, failures told, results in the formats that people correct."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import av
import huggingface_hub
import numpy as np
import pytest
import torch
from conftest import ROOT, SHARED, moving_square, needs_shared, write_video
from tiny_checkpoint import talking, write_checkpoint

from microgesture import cli
from microgesture.annotation import results
from microgesture.annotation.readers import VideoFinder
from microgesture.annotation.sources import ReadingOptions, _read_file
from microgesture.annotation.tables import quoted, unquoted
from microgesture.data.fg_text import VOCABULARY

NAMES = ("nod", "=HYPERLINK(1)", "rub")
SEGMENT = {"score": 0.75, "initiator": "hand", "receiver": "neck", "direction": "up", "motion_type": "rub",
           "sentence": "The hand rubs the neck, moving up."}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), NAMES, **talking(0.3))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four good videos in two folders, one bad one, and a file that is none."""
    out = tmp_path / "videos"
    for number, name in enumerate(("b/one.mp4", "a/-two.mp4", "a/three.mp4", "one.mp4")):
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, moving_square("up", np.random.default_rng(number)), 20)
    (out / "a" / "bad.mp4").write_text("no video at all")
    (out / "a" / "notes.txt").write_text("notes")
    return out


def predict(*argv: object) -> int:
    return cli.main(["predict", *map(str, argv), "--device", "cpu"])


def test_a_folder_gives_a_table_and_a_report(checkpoint, folder, capsys) -> None:
    assert predict(checkpoint, folder) == 3
    out, err = capsys.readouterr()
    told = [line for line in out.splitlines() if line.endswith(".mp4")]
    assert told == [str(folder / name) for name in ("a/-two.mp4", "a/three.mp4", "b/one.mp4", "one.mp4")]
    assert out.count("initiator: ") == 4
    assert "bad.mp4: this is a text file" in err
    assert "1 of 5 files failed" in err
    assert predict(checkpoint, folder / "b") == 0
    assert predict(checkpoint, folder / "a" / "bad.mp4") == 1
    assert predict(checkpoint, folder, "--on-error", "stop") == 1
    assert "bad.mp4: this is a text file" in capsys.readouterr().err


def test_dtype_is_that_of_the_network_and_part_of_a_result(checkpoint, folder, tmp_path, monkeypatch, capsys) -> None:
    seen, load = [], cli.load_pipeline
    monkeypatch.setattr(cli, "load_pipeline", lambda *given: seen.append(load(*given)) or seen[-1])
    found = tmp_path / "found.jsonl"
    for extra in ((), ("--spot",)):
        assert predict(checkpoint, folder / "b", "--dtype", "bfloat16", *extra) == 0
        assert seen[-1].model.dtype == torch.bfloat16
    assert predict(checkpoint, folder / "b", "--json", found) == 0
    assert seen[-1].model.dtype == torch.float32
    assert predict(checkpoint, folder / "b", "--json", found, "--dtype", "bfloat16") == 1
    assert "was made otherwise (dtype)" in capsys.readouterr().err


def test_csv_is_safe_and_in_seconds(checkpoint, folder, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(folder / "a")
    assert predict(checkpoint, "three.mp4", "--csv", tmp_path / "out.csv") == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["start"], row["end"]) for row in rows] == [("three.mp4", "0.0", "1.0")]
    assert list(tmp_path.glob(".*")) == []
    result = {
        "file": "-two.mp4",
        "seconds": 1.0,
        "fps": 20.0,
        "segments": [{"start": 0, "end": 1, "label": NAMES[1]} | SEGMENT],
    }
    results.write_csv(tmp_path / "safe.csv", [result])
    with (tmp_path / "safe.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["file"], row["label"]) == ("'-two.mp4", "'=HYPERLINK(1)")


FOUND = [(0.1, 0.4, "nod"), (0.3, 0.8, "=HYPERLINK(1)"), (0.8, 0.95, "nod")]


def test_no_spreadsheet_runs_a_label() -> None:
    for character in "=+-@":
        assert quoted(f"{character}1") == f"'{character}1"
        assert unquoted(quoted(f"{character}1")) == f"{character}1"
    assert quoted("nod - slowly") == "nod - slowly"


def found(folder: Path) -> dict:
    segments = [{"start": a, "end": b, "label": label} | SEGMENT for a, b, label in FOUND]
    return {"file": str(folder / "a" / "-two.mp4"), "seconds": 1.0, "fps": 20.0, "segments": segments}


@pytest.mark.parametrize("kind", ["csv", "eaf", "boris", "label-studio"])
def test_corrected_files_come_back(folder, kind) -> None:
    """What is written is read by the readers of `prepare own`: files, times, classes and words."""
    result, path = found(folder), folder / "result"
    if kind == "csv":
        results.write_csv(path := path.with_suffix(".csv"), [result])
    elif kind == "eaf":
        pytest.importorskip("pympi")
        results.write_eaf(path := path.with_suffix(".eaf"), result, NAMES)
    elif kind == "boris":
        results.write_boris(path := path.with_suffix(".boris"), [result], NAMES)
    else:
        results.write_label_studio(path := path.with_suffix(".json"), [result], NAMES, str(folder))
        (task,) = json.loads(path.read_text())
        address = parse_qs(urlsplit(task["data"]["video"]).query)["d"][0]
        assert (folder / address).samefile(result["file"])
        # A coder accepts the prediction: Label Studio exports it as an annotation.
        task["annotations"] = [
            {"completed_by": 1, "was_cancelled": False, "result": task.pop("predictions")[0]["result"]}
        ]
        path.write_text(json.dumps([task]))
        assert 'frameRate="$fps"' in path.with_suffix(".xml").read_text()
    options = ReadingOptions((), None, None, None)
    read = sorted(_read_file(path, VideoFinder(folder), options).annotations, key=lambda a: a.start)
    assert [(a.label, a.subject) for a in read] == [(label, None) for _, _, label in FOUND]
    tolerance = 0.05 if kind == "label-studio" else 1e-3  # whole frames
    assert [t for a in read for t in (a.start, a.end)] == pytest.approx(
        [t for f in FOUND for t in f[:2]], abs=tolerance
    )
    for a in read:
        assert a.video.samefile(result["file"])
        assert {name: getattr(a.fg_text, name) for name in VOCABULARY} == {name: SEGMENT[name] for name in VOCABULARY}


def correct(path: Path, video: str, label: str) -> None:
    """What a coder does in the program that opens the file: another label for every segment of one video."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows(row | ({"label": label} if row["file"].endswith(video) else {}) for row in rows)
    elif path.suffix == ".boris":
        project = json.loads(path.read_text())
        project["behaviors_conf"]["9"] = project["behaviors_conf"]["0"] | {"code": label}
        for name, observation in project["observations"].items():
            for event in observation["events"] if name.endswith(video) else ():
                event[2] = label
        path.write_text(json.dumps(project))
    elif path.suffix == ".json":
        tasks = json.loads(path.read_text())
        for task in tasks:
            done = [{"completed_by": 1, "was_cancelled": False, "result": task.pop("predictions")[0]["result"]}]
            task["annotations"] = done
            for region in done[0]["result"] if task["data"]["video"].endswith(video) else ():
                region["value"] |= {"timelinelabels": [label]} if region["type"] == "timelinelabels" else {}
        path.write_text(json.dumps(tasks))
    else:
        tree = ElementTree.parse(file := (path / video).with_suffix(".eaf"))
        for value in tree.iterfind("TIER[@LINGUISTIC_TYPE_REF='gesture']//ANNOTATION_VALUE"):
            value.text = label
        tree.write(file)


@pytest.mark.parametrize(("option", "name"), [("--csv", "found.csv"), ("--eaf", "elan"), ("--boris", "found.boris"),
                                              ("--label-studio", "tasks.json")])  # fmt: skip
def test_a_corrected_label_is_in_the_data_set(checkpoint, folder, tmp_path, capsys, option, name) -> None:
    """The README's lines: found here, corrected there, and made into a data set; the videos lie elsewhere."""
    if option == "--eaf":
        pytest.importorskip("pympi")
    (tmp_path / "found").mkdir()
    path = tmp_path / "found" / name
    assert predict(checkpoint, folder, "--spot", option, path) == 3
    correct(path, "a/three.mp4", "corrected")
    back = ["prepare", "own", str(path), "--out", str(tmp_path / "data"), "--subject-from", "file"]
    assert cli.main(back) == 1
    assert "--videos" in capsys.readouterr().err
    assert cli.main([*back, "--videos", str(folder), "--fps", "20"]) == 0
    rows = [json.loads(line) for file in (tmp_path / "data").glob("*/metadata.jsonl") for line in file.open()]
    label = {row["subject"]: row["label"] for row in rows}
    assert set(label) == {"-two", "three", "one"}
    assert [subject for subject, word in label.items() if word == "corrected"] == ["three"]


def test_every_output_in_one_run(checkpoint, folder, tmp_path) -> None:
    pytest.importorskip("pympi")
    paths = {"--csv": "o.csv", "--eaf": "eaf", "--boris": "o.boris", "--label-studio": "ls.json", "--json": "o.jsonl"}
    options = [word for name, path in paths.items() for word in (name, tmp_path / path)]
    assert predict(checkpoint, folder, "--spot", *options) == 3
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert lines[0]["made_by"]["spot"] is True
    good = [line for line in lines[1:] if "error" not in line]
    assert len(good) == 4
    assert [line["error"]["kind"] for line in lines[1:] if "error" in line] == ["unreadable"]
    count = sum(len(line["segments"]) for line in good)
    assert count >= 4
    with (tmp_path / "o.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == count
    eafs = {str(p.relative_to(tmp_path / "eaf")) for p in (tmp_path / "eaf").rglob("*.eaf")}
    assert eafs == {"a/-two.eaf", "a/three.eaf", "b/one.eaf", "one.eaf"}
    observations = json.loads((tmp_path / "o.boris").read_text())["observations"]
    assert sum(len(o["events"]) for o in observations.values()) == 2 * count
    assert len(json.loads((tmp_path / "ls.json").read_text())) == 4


def test_an_interrupted_run_goes_on(checkpoint, folder, tmp_path, capsys) -> None:
    journal = tmp_path / "o.jsonl"
    assert predict(checkpoint, folder, "--json", journal) == 3
    whole = journal.read_text().splitlines(keepends=True)
    # The power failed in the middle of the third file's line.
    journal.write_text("".join(whole[:3]) + whole[3][:20])
    (folder / "a" / "bad.mp4").unlink()
    write_video(folder / "a" / "bad.mp4", moving_square("down", np.random.default_rng(9)), 20)
    capsys.readouterr()
    assert predict(checkpoint, folder, "--json", journal, "--csv", tmp_path / "o.csv") == 0
    again = [json.loads(line)["file"] for line in journal.read_text().splitlines()[1:]]
    assert len(again) == len(set(again)) == 5
    out = capsys.readouterr().out
    done = [json.loads(line)["file"] for line in whole[1:3] if "error" not in line]
    assert done
    assert not any(file in out for file in done)
    with (tmp_path / "o.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 5
    assert predict(checkpoint, folder, "--json", journal, "--mirrored") == 1
    assert "was made otherwise (mirrored)" in capsys.readouterr().err
    (tmp_path / "other.jsonl").write_text("something else\n")
    assert predict(checkpoint, folder, "--json", tmp_path / "other.jsonl") == 1
    assert "is no result of this command" in capsys.readouterr().err


def test_what_cannot_work_is_said_before_any_work(checkpoint, folder, tmp_path, capsys) -> None:
    for argv, message in (
        ([checkpoint, folder, "--csv", tmp_path / "absent" / "o.csv"], "does not exist; make it first"),
        ([tmp_path, folder], "is no folder with a trained checkpoint"),
        ([checkpoint, folder, "--batch_size", 0], "--batch_size is 0"),
    ):
        assert predict(*argv) == 1
        assert message in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert predict(checkpoint, tmp_path / "empty") == 1
    assert "holds no video" in capsys.readouterr().err


def picture_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def test_a_box_is_previewed_and_used(checkpoint, folder, tmp_path, capsys) -> None:
    video = folder / "one.mp4"
    assert predict(checkpoint, video, "--person", "4,20,10,30", "--preview", tmp_path / "look") == 0
    picture = picture_of(tmp_path / "look" / "one.png")
    assert picture.shape == (64, 64, 3)
    assert tuple(picture[20, 5]) == (255, 200, 0)
    assert tuple(picture[25, 29]) == (0, 255, 0)  # the square around it, shifted into the picture: 0 to 30
    plain, boxed, person = (tmp_path / f"{name}.jsonl" for name in ("plain", "boxed", "person"))
    for path, options in ((plain, ()), (boxed, ("--roi", "0,0,20,60")), (person, ("--person", "0,0,20,60"))):
        assert predict(checkpoint, video, "--json", path, *options) == 0
    scores = [json.loads(path.read_text().splitlines()[1])["top"][0]["score"] for path in (plain, boxed, person)]
    assert len(set(scores)) == 3
    capsys.readouterr()
    assert predict(checkpoint, video, "--roi", "0,0,20,65") == 1
    assert "does not lie in the picture, which has 64 x 64 pixels" in capsys.readouterr().err
    assert predict(checkpoint, video, "--json", boxed) == 1
    assert "was made otherwise (roi)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        predict(checkpoint, video, "--roi", "0,0,20")
    assert "is not X,Y,WIDTH,HEIGHT" in capsys.readouterr().err


def test_explanations_are_files(checkpoint, folder, tmp_path) -> None:
    assert predict(checkpoint, folder / "b", "--explain", tmp_path / "why") == 0
    assert sorted(p.name for p in (tmp_path / "why").iterdir()) == ["one_001.mp4", "one_001.png"]
    picture = picture_of(tmp_path / "why" / "one_001.png")
    assert picture.shape == (32, 4 * 32, 3)
    assert (picture[..., 0] > picture[..., 1]).any()  # red
    with av.open(str(tmp_path / "why" / "one_001.mp4")) as container:
        assert len(list(container.decode(video=0))) == 4


def test_videos_unlike_those_of_training_are_told(checkpoint, folder, tmp_path, capsys) -> None:
    shutil.copytree(checkpoint, tmp_path / "c")
    config = json.loads((checkpoint / "config.json").read_text())
    config["training_clips"] = {
        "fps": [25.0, 30.0],
        "seconds": [2.0, 3.0],
        "height": [64.0, 64.0],
        "aspect": [0.9, 1.1],
    }
    (tmp_path / "c" / "config.json").write_text(json.dumps(config))
    assert predict(tmp_path / "c", folder / "b", "--json", tmp_path / "o.jsonl") == 0
    warnings = ["1 s long, and the training clips were 2 to 3"]  # 20 frames a second are within a quarter of 25
    assert json.loads((tmp_path / "o.jsonl").read_text().splitlines()[1])["warnings"] == warnings
    assert predict(tmp_path / "c", folder / "b", "--spot", "--roi", "0,0,60,30") == 0
    told = capsys.readouterr().err
    assert "30 pixels high, and the training clips were 64" in told
    assert "2 times as wide as high, and the training clips were 0.9 to 1.1" in told


def test_no_network(checkpoint, folder, tmp_path, monkeypatch) -> None:
    """Not because the tests are offline: a lookup would be tried here, and refused."""

    def refuse(*_, **__):
        raise AssertionError("a network call")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert predict(checkpoint, folder / "b") == 0
    assert (
        predict(checkpoint, folder / "b", "--spot", "--csv", tmp_path / "o.csv", "--json", tmp_path / "o.jsonl") == 0
    )


@pytest.mark.slow
@pytest.mark.dist
def test_processes_share_the_files(checkpoint, folder, tmp_path) -> None:
    several = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no"
    launch = [sys.executable, "-m", "accelerate.commands.launch", *several.split(), "--main_process_port", "0"]
    command = ["-m", "microgesture.cli", "predict", str(checkpoint), str(folder), "--device", "cpu"]
    outputs = ["--json", str(tmp_path / "two.jsonl"), "--csv", str(tmp_path / "two.csv")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run([*launch, *command, *outputs], env=environment, capture_output=True, text=True, timeout=280)
    assert (tmp_path / "two.csv").is_file(), done.stderr[-3000:]
    # The first process reports for all, once; the launcher turns its 3 into 1.
    assert done.returncode == 1
    assert done.stderr.count("1 of 5 files failed:") == 1
    assert predict(checkpoint, folder, "--json", tmp_path / "one.jsonl") == 3
    sides = []
    for name in ("one.jsonl", "two.jsonl"):
        lines = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        sides.append({line["file"]: line.get("segments") for line in lines[1:]})
        assert len(sides[-1]) == len(lines) - 1
    assert sides[0] == sides[1]


@pytest.mark.slow
@needs_shared
def test_shared_files_within_memory(checkpoint, tmp_path) -> None:
    """Every good file a row, every bad one an error of its own, in one process that stays below 1 GB."""
    data = SHARED / "data"
    shutil.copytree(data / "bad_inputs", tmp_path / "bad")
    files = [p for name in ("videos", "videos_derived") for p in sorted((data / name).iterdir())]
    bad = sorted((tmp_path / "bad").iterdir())
    argv = ["predict", str(checkpoint), *map(str, files + bad), "--device", "cpu", "--json", str(tmp_path / "o.jsonl")]
    script = "import sys; from microgesture import cli; from peak_memory import peak; s = cli.main(sys.argv[1:]); "
    script += "print('PEAK', peak()); sys.exit(s)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    done = subprocess.run(
        [sys.executable, "-c", script, *argv],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 3, done.stderr[-3000:]
    assert int(done.stdout.split("PEAK")[1]) < 1 << 20  # KiB
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()[1:]]
    failed = {line["file"]: line["error"]["message"] for line in lines if "error" in line}
    assert set(failed) == set(map(str, bad))
    assert len({message.split(": ", 1)[1] for message in failed.values()}) == len(bad)
