import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from conftest import write_video
from fg_cases import item, key
from pympi import Elan

import video_fgsgl
from microgesture.annotation import media
from microgesture.annotation.export import _layers, export, looks, sources
from microgesture.annotation.key import KEY_FILE, Key
from microgesture.cli import main
from microgesture.data.clips import ClipSample, write_split
from microgesture.data.fg_text import FGText

LABEL = "Scratching nape"
FRAMES = 28  # one second


def shades(length: int = FRAMES, size: int = 48) -> np.ndarray:
    """Frame k is of one grey, 40 + 4 k; the left half of the picture is darker."""
    frames = np.empty((length, size, size, 3), np.uint8)
    frames[:] = 40 + 4 * np.arange(length)[:, None, None, None]
    frames[:, :, : size // 2] -= 30
    return frames


def grey(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Of each frame the grey of the left and of the right half; and the number of streams."""
    with av.open(str(path)) as container:
        frames = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)]).astype(float)
        return frames[:, :, 4:20].mean((1, 2)), frames[:, :, -20:-4].mean((1, 2)), len(container.streams)


def data_set(out: Path, mirrored: bool | str = False) -> Path:
    """Three clips, named by their class, and a recording with two spans that overlap and one apart."""
    default = {"initiator": "hand", "receiver": "neck", "motion_type": "scratch"}
    classes = [{"name": LABEL, "text": "A person scratches the nape.", "default": default}]
    about = {"name": "mini", "version": "1", "mirrored": mirrored, "classes": classes}
    folder = out / "train"
    (folder / "clips").mkdir(parents=True)
    (out / "labels.json").write_text(json.dumps(about))
    text = FGText("hand", "neck", "up", "scratch", provenance="default")
    rows = []
    for number in range(3):
        name = f"clips/nape_{number}.mp4"
        write_video(folder / name, shades(14))
        rows.append(ClipSample(name, LABEL, "anna", text if number else None))
    write_video(folder / "clips/nape_long.mov", shades())
    rows += [ClipSample("clips/nape_long.mov", LABEL, "anna", None, a / 28, b / 28)
             for a, b in ((0, 7), (4, 14), (14, 28))]  # fmt: skip
    write_split(folder, rows)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set(tmp_path_factory.mktemp("annotate") / "mini")


def made(folder: Path, out: Path, **options) -> Key:
    return export(folder, out, video_fgsgl, clips=sources(folder), progress=False, **options)


# --- the order -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 200])
def test_every_clip_once_and_a_tenth_twice(count):
    order = looks(count, np.random.default_rng(0))
    assert Counter(clip for clip, look in order if look == 1) == Counter(range(count))
    second = [clip for clip, look in order if look == 2]
    assert len(set(second)) == len(second) == -(-count // 10)
    for clip in second:
        assert order.index((clip, 2)) - order.index((clip, 1)) >= count / 4
    assert order != looks(count, np.random.default_rng(1)) or count < 3
    assert order == looks(count, np.random.default_rng(0))


def test_order_is_not_that_of_the_data_set():
    order = [clip for clip, look in looks(200, np.random.default_rng(0)) if look == 1]
    assert sum(b == a + 1 for a, b in pairwise(order)) < 10


# --- what coders get ------------------------------------------------------------------------------------------------


def test_label_studio(folder, tmp_path):
    made(folder, tmp_path / "out")
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    assert len(tasks) == 7  # six clips, one of them twice
    assert [task["data"]["item"] for task in tasks] == [f"{n:04d}" for n in range(1, 8)]
    for task in tasks:
        assert task.keys() == {"data"}
        assert task["data"].keys() == {"video", "fps", "item"}
        assert (tmp_path / "out" / task["data"]["video"].removeprefix("/data/local-files/?d=out/")).is_file()
    assert (tmp_path / "out" / "labeling.xml").read_text().startswith("<View>")
    assert "Label Studio" in (tmp_path / "out" / "READ_ME.txt").read_text()


@pytest.mark.parametrize("tool", ["label-studio", "elan"])
def test_blind_export_tells_nothing(folder, tmp_path, tool):
    made(folder, tmp_path / "out", tool=tool, coders=("anna", "ben"))
    telling = [b"nape", b"Scratching", b"default"]
    for path in sorted((tmp_path / "out").rglob("*")):
        assert not any(word in path.name.encode() for word in telling)
        if path.is_file() and path.name != KEY_FILE:
            found = [word for word in telling if word in path.read_bytes()]
            assert found == [], path


def test_prefilled_and_shown_only_when_asked_for(folder, tmp_path):
    made(folder, tmp_path / "out", prefill=True, show_label=True)
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    assert {task["data"]["label"] for task in tasks} == {LABEL}
    words = [{r["from_name"]: r["value"]["choices"][0] for r in task["predictions"][0]["result"]}
             for task in tasks if "predictions" in task]  # fmt: skip
    said = {"initiator": "hand", "receiver": "neck", "direction": "up", "motion_type": "scratch"}
    assert words
    assert all(one == said for one in words)
    prefilled = {one.clip.file_name for one in Key.read(tmp_path / "out").items if one.prefill}
    assert prefilled == {"clips/nape_1.mp4", "clips/nape_2.mp4"}


def test_each_coder_has_an_order_of_their_own(folder, tmp_path):
    found = made(folder, tmp_path / "out", coders=("anna", "ben"), seed=3)
    orders = {coder: [one.clip.key for one in found.items if one.coder == coder] for coder in ("anna", "ben")}
    assert set(orders["anna"]) == set(orders["ben"])
    assert orders["anna"] != orders["ben"]
    numbers = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "out").glob("tasks_*.json")}
    assert [task["data"]["item"] for task in numbers["tasks_ben"]] == [f"{n:04d}" for n in range(8, 15)]
    assert Key.read(tmp_path / "out") == found


def test_label_studio_clips_are_the_right_spans(folder, tmp_path):
    for one in made(folder, tmp_path / "out").items:
        first = round((one.clip.start or 0.0) * 28)
        last = round((one.clip.end or 0.5) * 28)
        left, right, streams = grey(tmp_path / "out" / one.media)
        wanted = 40 + 4 * np.arange(first, last)
        assert len(right) == last - first
        assert np.abs(right - wanted).max() < 3
        assert (left < right).all()
        assert (streams, one.fps) == (1, 28.0)
        assert (one.begin_ms, one.end_ms) == (0, round((last - first) / 28 * 1000))


def test_mirrored_recordings_are_turned_back(tmp_path):
    folder = data_set(tmp_path / "mini", mirrored=True)
    for one in made(folder, tmp_path / "out", tool="elan").items:
        assert one.media.startswith("clips/c")  # in ELAN too: the picture of a whole recording cannot be turned there
        left, right, _ = grey(tmp_path / "out" / one.media)
        assert (left > right).all()


def test_elan_gives_recordings_whole_with_the_clips_at_their_times(folder, tmp_path):
    found = made(folder, tmp_path / "out", tool="elan")
    spans = [one for one in found.items if one.clip.start is not None]
    assert {one.media for one in spans} == {"clips/r0001.mov"}
    whole = (folder / "train/clips/nape_long.mov").read_bytes()
    assert (tmp_path / "out/clips/r0001.mov").read_bytes() == whole
    seen = {}
    for path in sorted((tmp_path / "out/coder_1").glob("*.eaf")):
        eaf = Elan.Eaf(str(path))
        (media,) = eaf.get_linked_files()
        assert (path.parent / media["RELATIVE_MEDIA_URL"]).is_file()
        seen |= {number: (begin, end) for begin, end, number in eaf.get_annotation_data_for_tier("clip")}
    assert seen == {one.number: (one.begin_ms, one.end_ms) for one in found.items}
    times = {(one.begin_ms, one.end_ms) for one in spans}
    assert times == {(0, 250), (143, 500), (500, 1000)}


def test_overlapping_clips_of_a_recording_stand_in_different_files():
    items = [item(f"{n:04d}", media="r", begin_ms=a, end_ms=b) for n, (a, b) in enumerate([(0, 9), (5, 14), (9, 20)])]
    items += [item("0009", media="r", begin_ms=30, end_ms=40, look=2), item("0010", media="s")]
    groups = [[one.number for one in layer] for layer in _layers(items)]
    assert groups == [["0000", "0002"], ["0001"], ["0009"], ["0010"]]


def test_no_side_words_where_nobody_knows_whether_it_is_mirrored(tmp_path):
    folder = data_set(tmp_path / "mini", mirrored="unknown")
    made(folder, tmp_path / "out")
    assert 'name="side"' not in (tmp_path / "out/labeling.xml").read_text()


def test_frames_are_those_of_the_reader(folder, monkeypatch):
    """A clip that is read in pieces is the clip.

    Looked at before the encoder, which now and then codes the same pictures a little differently.
    """
    monkeypatch.setattr(media, "PIECE_BYTES", 3 * 48 * 48 * 3)
    for file in sorted(folder.glob("train/clips/*.mp4")):
        about = video_fgsgl.probe(file)
        pieces = list(media._pieces(video_fgsgl, file, about.frames, 0.0, about.duration, False, 48 * 48 * 3))
        assert [len(piece) for piece in pieces] == [3] * (about.frames // 3) + [about.frames % 3]
        assert torch.equal(torch.from_numpy(np.concatenate(pieces)), video_fgsgl.read_frames(file, about.frames))


def test_odd_sizes(tmp_path):
    folder = data_set(tmp_path / "mini")
    write_video(folder / "train/clips/nape_0.mp4", shades(14))
    with av.open(str(folder / "train/clips/nape_0.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=28)
        stream.width, stream.height, stream.pix_fmt = 47, 33, "yuv444p"
        for picture in shades(14)[:, :33, :47]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    found = export(folder, tmp_path / "out", video_fgsgl, clips=sources(folder)[:1], progress=False)
    about = video_fgsgl.probe(tmp_path / "out" / found.items[0].media)
    assert (about.width, about.height, about.frames, about.pixel_format) == (48, 34, 14, "yuv420p")


# --- what is refused -----------------------------------------------------------------------------------------------


def test_split_that_is_not_there(folder):
    with pytest.raises(ValueError, match="has no split dev; it has: train"):
        sources(folder, ["dev"])


@pytest.mark.parametrize("coders", [("../anna",), ("anna", "anna"), ("clips",), ("",), (".x",)])
def test_names_of_coders(folder, tmp_path, coders):
    with pytest.raises(ValueError, match="each needs a name of their own"):
        made(folder, tmp_path / "out", coders=coders)


def test_full_folder_and_no_clips(folder, tmp_path):
    (tmp_path / "a.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not an empty folder"):
        made(folder, tmp_path)
    with pytest.raises(ValueError, match="there is no clip to code"):
        export(folder, tmp_path / "out", video_fgsgl, clips=[])


def test_video_that_cannot_be_read_leaves_nothing_behind(tmp_path):
    folder = data_set(tmp_path / "mini")
    (folder / "train/clips/nape_1.mp4").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"nape_1\.mp4: this is a web page"):
        made(folder, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mini"]


@pytest.mark.parametrize("text", ["{", "[]", '{"items": 3}', '{"items": [{"split": "../.."}]}', '{"items": []}'])
def test_key_that_is_none(tmp_path, text):
    (tmp_path / KEY_FILE).write_text(text)
    with pytest.raises(ValueError, match="cannot be read as the key of an export"):
        Key.read(tmp_path)


def test_key_that_leaves_the_data_set(tmp_path):
    key(item()).write(tmp_path)
    text = (tmp_path / KEY_FILE).read_text()
    for path in ("../../secret.mp4", "/etc/passwd"):
        (tmp_path / KEY_FILE).write_text(text.replace("clips/a.mp4", path))
        with pytest.raises(ValueError, match="must be a path inside the data set"):
            Key.read(tmp_path)


# --- the three commands --------------------------------------------------------------------------------------------


@pytest.fixture
def prepared(tmp_path):
    return data_set(tmp_path / "mini")


def test_three_commands_with_elan(prepared, tmp_path, capsys):
    out, table = tmp_path / "coding", tmp_path / "records.jsonl"
    assert main(["annotate", "export", str(prepared), "--out", str(out), "--format", "elan"]) == 0
    for path in (out / "coder_1").glob("*.eaf"):
        eaf = Elan.Eaf(str(path))
        for begin, end, _ in eaf.get_annotation_data_for_tier("clip"):
            said = {"initiator": "hand", "direction": "unclear", "motion_type": "rub", "confidence": "fairly_sure"}
            for name, word in said.items():
                eaf.add_ref_annotation(name, "clip", (begin + end) // 2, word)
        eaf.to_file(path)
    assert main(["annotate", "import", str(out), "--out", str(table)]) == 0
    assert main(["annotate", "apply", str(prepared), str(table)]) == 0
    told = capsys.readouterr().out
    assert "7 clips to look at, 1 of them for the second time" in told
    assert "7 finished, 0 cancelled, 0 unfinished" in told
    assert "6 written, 0 kept, 1 second looks" in told
    words = [source.text for source in sources(prepared)]
    assert len(words) == 6
    assert {word.sentence() for word in words} == {"The hand rubs."}
    assert {(w.coder, w.confidence, w.provenance, w.direction) for w in words} == {
        ("coder_1", 0.67, "human", "unclear")
    }


def test_nothing_is_finished(prepared, tmp_path, capsys):
    out = tmp_path / "coding"
    main(["annotate", "export", str(prepared), "--out", str(out), "--format", "elan"])
    assert main(["annotate", "import", str(out), "--out", str(tmp_path / "records.jsonl")]) == 1
    assert "no clip is finished" in capsys.readouterr().err
    assert not (tmp_path / "records.jsonl").exists()


def test_label_studio_needs_its_export_named(prepared, tmp_path, capsys):
    out = tmp_path / "coding"
    main(["annotate", "export", str(prepared), "--out", str(out)])
    assert main(["annotate", "import", str(out), "--out", str(tmp_path / "records.jsonl")]) == 1
    assert "name the JSON files that Label Studio exported" in capsys.readouterr().err
    assert main(["annotate", "import", str(out), str(tmp_path / "no.json"), "--out", str(tmp_path / "r")]) == 1
    assert "no.json does not exist" in capsys.readouterr().err
    assert main(["annotate", "import", str(prepared), "--out", str(tmp_path / "r")]) == 1
    assert "name the folder that `microgesture annotate export` made" in capsys.readouterr().err
