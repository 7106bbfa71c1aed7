"""Bad and strange inputs, 44 kinds of them, and what the check (or the reader of annotations) says of each.

E: an error that names the file and the reason; W: it works, with a warning; OK: it works. Where this project is
stricter than it must be, the test says so: a cut or damaged file is no shorter gesture, so it is an error.
"""

from __future__ import annotations

import json
import subprocess
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED
from data_sets import WORDS, data_set, kinds, look, messages
from video_files import B_FRAMES, FLIPS, MAKERS, scene, video_file, write

import container_fgsgl
from microgesture.annotation.readers import VideoFinder
from microgesture.annotation.tables import read_table
from microgesture.data.own import prepare
from video_fgsgl import probe

av = pytest.importorskip("av")
needs_shared = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="../shared/data is not there")
FINE = {"no_test": 1, "same_text": 1, "single_clip": 2}
"""Warnings of a data set that is too small to train on, and has no test split."""


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A video by name, written when it is first asked for."""
    return partial(video_file, tmp_path_factory.mktemp("videos"))


@pytest.fixture
def check_file(tmp_path, videos):
    """Checks a data set in which one clip is the given file; returns errors, warnings and the report."""

    def run(file, decode=False, name=None, **row):
        row = {"file": file, "as": name, "label": "nod"} | row
        other = {"file": videos("mpeg2.mkv"), "label": "rub"}
        rows = [{"file": videos("long_gop.mp4"), "label": "nod"}, {"file": videos("ffv1.mkv"), "label": "rub"}]
        root = data_set(tmp_path / "set", {"train": [row, other], "validation": rows})
        report = look(root, decode=decode)
        errors, warnings = kinds(report)
        return errors, {k: n for k, n in warnings.items() if FINE.get(k) != n}, report

    return run


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def damaged(path: Path, target: Path, where: slice) -> Path:
    """A copy in which some packets are zeros."""
    with av.open(str(path)) as file:
        packets = [(packet.pos, packet.size) for packet in file.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in packets[where]:
        data[position : position + size] = bytes(size)
    return put(target, bytes(data))


def test_01_no_file_folder_no_permission(check_file, tmp_path, videos, monkeypatch):
    """E:not_found, E:is_directory, E:permission."""
    assert check_file(None, name="no.mp4")[0] == {"not_found": 1}
    (tmp_path / "set" / "train" / "clips" / "folder.mp4").mkdir()
    assert check_file(None, name="folder.mp4")[0] == {"is_directory": 1}
    plain = Path.open

    def refuse(self, *args, **more):
        if self.name == "locked.mp4":
            raise PermissionError
        return plain(self, *args, **more)

    monkeypatch.setattr(Path, "open", refuse)  # as root every file may be read
    assert check_file(videos("vfr.mp4"), name="locked.mp4")[0] == {"permission": 1}


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        pytest.param(b"", "empty", "the file is empty", id="02 empty: E"),
        pytest.param(b"Dear diary, " * 50, "unreadable", "this is a text file", id="03 text: E"),
        pytest.param(b"<!DOCTYPE html><html>", "unreadable", "a web page, perhaps a download", id="03 HTML: E"),
        pytest.param(b"%PDF-1.7\n" * 50, "unreadable", "this is a PDF document", id="03 PDF: E"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "lfs_pointer", "git lfs pull", id="04 LFS: E"),
        pytest.param(b"\xff\xd8\xff\xe0" + bytes(99), "image_not_video", "still image (JPEG)", id="05 JPEG: E"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(99), "image_not_video", "still image (PNG)", id="05 PNG: E"),
    ],
)
def test_02_to_05_no_video_at_all(check_file, tmp_path, content, kind, message):
    errors, _, report = check_file(put(tmp_path / "x.mp4", content))
    assert errors == {kind: 1}
    assert message in messages(report, kind)[0]


def test_06_sound_only(check_file, tmp_path):
    """E:no_video_stream."""
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        file.mux([*stream.encode(frame), *stream.encode(None)])
    assert check_file(path)[0] == {"no_video_stream": 1}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("cover.mp4", id="07 cover picture is the first stream: OK"),
        pytest.param("vp8.webm", id="13 webm: OK"),
        pytest.param("b_frames.mkv", id="13 mkv: OK"),
        pytest.param("b_frames.ts", id="13 ts: OK"),
        pytest.param("fragmented.mp4", id="13 fragmented mp4: OK"),
        pytest.param("dropped.avi", id="14 header counts other frames: OK"),
        pytest.param("mpeg4_b.avi", id="14 packed B frames: OK"),
        pytest.param("r90", id="16 rotated by 90: OK"),
        pytest.param("r180", id="16 rotated by 180: OK"),
        pytest.param("r270", id="16 rotated by 270: OK"),
        pytest.param("hflip", id="17 mirrored display: OK"),
        pytest.param("vfr.mp4", id="18 variable rate: OK"),
        pytest.param("vfr.webm", id="18 variable rate, webm: OK"),
        pytest.param("ten_bit.mkv", id="21 ten bits: OK"),
        pytest.param("yuv444.mp4", id="21 yuv444, odd size: OK"),
        pytest.param("gray.mp4", id="21 grey: OK"),
        pytest.param("animated.gif", id="21 palette: OK"),
        pytest.param("interlaced.mp4", id="22 interlaced: OK"),
        pytest.param("edit_list.mp4", id="33 edit list: OK"),
        pytest.param("b_frames.avi", id="33 AVI without display times: OK"),
    ],
)
def test_07_to_33_files_that_work(check_file, videos, name):
    assert (name in MAKERS) or (name in FLIPS)
    assert check_file(videos(name), decode=True)[:2] == ({}, {})


def test_08_several_video_streams(check_file, tmp_path):
    """OK: the default one, then the largest."""
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, size in zip(streams, [(48, 32), (96, 64)], strict=True):
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        file.start_encoding()
        for k in range(12):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(scene(k, stream.width, stream.height), format="rgb24")
                frame.pts, frame.time_base = k, Fraction(1, 25)
                file.mux(stream.encode(frame))
        for stream in streams:
            file.mux(stream.encode(None))
    assert check_file(path, decode=True)[:2] == ({}, {})
    assert probe(path).width == 96


def test_09_index_missing(check_file, tmp_path):
    """E:unreadable."""
    data = write(tmp_path / "whole.mp4", **B_FRAMES).read_bytes()
    errors, _, report = check_file(put(tmp_path / "cut.mp4", data[: len(data) // 2]))
    assert errors == {"unreadable": 1}
    assert "It may be cut off" in messages(report, "unreadable")[0]


def test_10_data_cut_after_the_index(check_file, tmp_path):
    """E:truncated, always."""
    data = write(tmp_path / "whole.mp4", movflags="faststart", **B_FRAMES).read_bytes()
    assert check_file(put(tmp_path / "cut.mp4", data[: len(data) // 2]))[0] == {"truncated": 1}


def test_11_damage_in_the_middle(check_file, tmp_path, videos):
    """E:truncated with --decode; the headers are in order."""
    path = damaged(videos("b_frames.mp4"), tmp_path / "damaged.mp4", slice(12, 24))
    assert check_file(path)[0] == {}
    errors, _, report = check_file(path, decode=True)
    assert errors == {"truncated": 1}
    assert "frames can be decoded, the rest is damaged" in messages(report, "truncated")[0]


def test_12_flipped_bits_never_crash(check_file, tmp_path, videos):
    """OK, W or E, but a report."""
    rng = np.random.default_rng(0)
    for name in ("b_frames.mp4", "mpeg4_b.avi", "vp8.webm"):
        data = np.frombuffer(videos(name).read_bytes(), np.uint8)
        for number in range(3):
            broken = data.copy()
            broken[rng.integers(0, len(data), 20)] ^= np.uint8(1) << rng.integers(0, 8, 20).astype(np.uint8)
            _, _, report = check_file(put(tmp_path / f"{number}{name}", broken.tobytes()), decode=True)
            assert report.splits["train"]["clips"] == 2


def test_15_metadata_in_no_encoding(check_file, tmp_path, videos):
    """OK."""
    data = videos("b_frames.mkv").read_bytes()
    assert b"Lavf" in data
    assert check_file(put(tmp_path / "x.mkv", data.replace(b"Lavf", b"\xff\xfe\xe9\x80")))[:2] == ({}, {})


def test_19_fewer_frames_than_the_network_takes(check_file, videos):
    """W: frames are repeated."""
    errors, warnings, report = check_file(videos("three_frames.mp4"))
    assert (errors, warnings) == ({}, {"too_short": 1})
    assert messages(report, "too_short") == ["the clip has 3 frames, and the network takes 8: frames are repeated"]


@pytest.mark.parametrize("interval", [pytest.param(4, id="20 250 per second: OK"), pytest.param(200, id="20 5: OK")])
def test_20_frame_rates(check_file, tmp_path, interval):
    path = write(tmp_path / "x.mp4", frames=12, times=[k * interval for k in range(12)])
    assert check_file(path)[:2] == ({}, {})
    assert probe(path).fps == pytest.approx(1000 / interval, rel=0.01)


def test_23_pixels_that_are_not_square(check_file, tmp_path):
    """OK; stated by the reader."""
    path = write(tmp_path / "x.mp4", **B_FRAMES, **{"x264-params": "sar=4/3"})
    assert check_file(path)[:2] == ({}, {})
    assert probe(path).pixel_aspect == pytest.approx(4 / 3)


def test_24_odd_and_tiny_pictures(check_file, tmp_path):
    """OK / W:tiny."""
    assert check_file(write(tmp_path / "odd.mp4", size=(97, 65), pixels="yuv444p"))[:2] == ({}, {})
    assert check_file(write(tmp_path / "tiny.mp4", size=(16, 16)))[:2] == ({}, {"tiny": 1})


def test_25_very_wide_and_upright_pictures(check_file, tmp_path):
    """OK: the network sees a square."""
    assert check_file(write(tmp_path / "wide.mp4", size=(416, 32)))[:2] == ({}, {})
    assert check_file(write(tmp_path / "high.mp4", size=(48, 96)))[:2] == ({}, {})


def test_26_pictures_that_are_too_large(check_file, tmp_path, monkeypatch):
    """E:too_large, before any decoding."""
    path = write(tmp_path / "large.mp4", size=(320, 240))
    monkeypatch.setattr(container_fgsgl, "MAX_PIXELS", 200 * 200)
    monkeypatch.setattr(container_fgsgl.Clip, "all_frames", lambda self: pytest.fail("decoded"))
    assert check_file(path)[0] == {"too_large": 1}


def test_27_hours_as_one_clip(check_file, tmp_path):
    """E:too_long, unless there is a span."""
    path = write(tmp_path / "long.mp4", frames=24, times=[k * 600_000 for k in range(24)])
    errors, _, report = check_file(path)
    assert errors == {"too_long": 1}
    assert messages(report, "too_long")[0].endswith("give start and end of the gesture")
    assert check_file(path, start=600.0, end=603.0)[0] == {}


@pytest.mark.parametrize("name", ["x.txt", "x", "X.MP4", "x.webm"])
def test_28_endings_do_not_matter(check_file, videos, name):
    """OK."""
    assert check_file(videos("b_frames.mp4"), name=name, decode=True)[:2] == ({}, {})


@pytest.mark.parametrize(
    "name",
    ["手势 ñ 😀 (1).MP4", "a b'c\"d.mp4", "$(touch x).mp4", "-dash.mp4", "http:x.mp4", "concat:a|b.mp4", "%41.mp4"],
)
def test_29_strange_names(check_file, videos, name, tmp_path, monkeypatch):
    """OK, and no shell ever sees them."""
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("started a process"))
    assert check_file(videos("b_frames.mp4"), name=name, decode=True)[:2] == ({}, {})


def test_30_links(check_file, tmp_path, videos):
    """E:outside_root, also for a link to itself (E:not_found)."""
    folder = tmp_path / "set" / "train" / "clips"
    folder.mkdir(parents=True)
    (folder / "out.mp4").symlink_to(videos("vfr.mp4"))
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    assert check_file(None, name="out.mp4")[0] == {"outside_root": 1}
    assert check_file(None, name="loop.mp4")[0] == {"not_found": 1}


def test_31_nothing_moves(check_file, tmp_path):
    """W:static, with --decode."""
    path = tmp_path / "black.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(12):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), format="rgb24")))
        file.mux(stream.encode(None))
    assert check_file(path)[:2] == ({}, {})
    assert check_file(path, decode=True)[:2] == ({}, {"static": 1})


def test_32_size_changes_inside(check_file, tmp_path):
    """OK: later pictures are brought to the size of the first."""
    path = tmp_path / "change.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        second = av.CodecContext.create("mpeg2video", "w")
        second.width, second.height, second.pix_fmt = 160, 96, "yuv420p"
        second.time_base, second.framerate = Fraction(1, 25), Fraction(25)
        for part, (encoder, size) in enumerate([(stream.codec_context, (96, 64)), (second, (160, 96))]):
            for k in [*range(10), None]:
                frame = None
                if k is not None:
                    frame = av.VideoFrame.from_ndarray(scene(k, *size), format="rgb24").reformat(format="yuv420p")
                    frame.pts, frame.time_base = 10 * part + k, Fraction(1, 25)
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    file.mux(packet)
    assert check_file(path, decode=True)[:2] == ({}, {})


def test_34_unknown_codec(check_file, tmp_path, videos):
    """E:unsupported."""
    data = videos("b_frames.mp4").read_bytes().replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzZ")
    errors, _, report = check_file(put(tmp_path / "x.mp4", data))
    assert errors == {"unsupported": 1}
    assert "no decoder knows the video in this file" in messages(report, "unsupported")[0]


@pytest.mark.parametrize("span", [(0.5, 0.5), (0.7, 0.2), (-0.1, 0.2), (0.0, 99.0), (5.0, 6.0), (float("nan"), 1.0)])
def test_35_bad_spans(check_file, videos, span):
    """E:bad_span, with the row."""
    errors, _, report = check_file(videos("b_frames.mp4"), start=span[0], end=span[1])
    assert errors == {"bad_span": 1}
    assert report.findings["bad_span"].examples[0]["line"] == 1


def test_36_frames_given_as_seconds(check_file, videos):
    """E with a hint."""
    _, _, report = check_file(videos("b_frames.mp4"), start=5, end=20)
    assert "if 5 and 20 are frame numbers, divide them by 25 frames per second" in messages(report, "bad_span")[0]


TABLE = "file,label,subject,start,end\r\na.mp4,nöd,anna,0.5,1.5\r\n"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(TABLE.encode("utf-8-sig"), id="37 BOM: OK"),
        pytest.param(TABLE.encode("cp1252"), id="37 cp1252: OK"),
        pytest.param(TABLE.replace(",", ";").replace("0.5", "0,5").encode(), id="37 semicolon, decimal comma: OK"),
        pytest.param(TABLE.replace(",", "\t").encode(), id="37 tab: OK"),
        pytest.param(TABLE.replace("nöd", '"nöd"').replace("\r\n", "\r\n\r\n").encode(), id="37 empty lines: OK"),
        pytest.param(
            TABLE.replace("anna", '"anna"').replace("end", 'end,"a\nb"').encode(), id="37 quoted newline: OK"
        ),
    ],
)
def test_37_forms_of_tables(tmp_path, content):
    put(tmp_path / "a.mp4", b"x")
    (row,) = read_table(put(tmp_path / "t.csv", content), VideoFinder(tmp_path)).annotations
    assert (row.label, row.subject, row.start, row.end) == ("nöd", "anna", 0.5, 1.5)


def test_37_unknown_encoding_names_the_line(tmp_path):
    """E:encoding."""
    path = put(tmp_path / "t.csv", TABLE.encode() + b"a.mp4,\x8d,anna,,\n")
    with pytest.raises(ValueError, match=r"t\.csv line 3 is in an unknown encoding"):
        read_table(path, VideoFinder(tmp_path))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param("file,start\na.mp4,1\n", "has no column label", id="38 missing column: E"),
        pytest.param("file,label,Label\na.mp4,a,b\n", "has the column label twice", id="38 column twice: E"),
        pytest.param(
            "file,label,subject\na.mp4,,x\nb.mp4,,y\n",
            r"2 problems.*\nt.csv line 2: label is empty.*\nt.csv line 3",
            id="38 empty label: E",
        ),
        pytest.param(
            "file,label,subject\na.mp4,01,x\nb.mp4,1,y\nc.mp4,1.0,z\n",
            "'01' .*'1' .*'1.0' .*look like one class",
            id="38 01, 1, 1.0: E",
        ),
    ],
)
def test_38_tables_that_are_wrong(tmp_path, table, message):
    source = tmp_path / "source"
    source.mkdir()
    for name in "abc":
        put(source / f"{name}.mp4", name.encode())
    (source / "t.csv").write_text(table)
    with pytest.raises(ValueError, match=message):
        prepare(source, tmp_path / "out", progress=False)


def test_38_unknown_label(check_file, videos):
    """E:unknown_label."""
    assert check_file(videos("b_frames.mp4"), label="wink")[0] == {"unknown_label": 1}


def test_39_the_same_clip_twice(check_file, tmp_path, videos):
    """E:conflict with two labels; W:duplicate under two names; E:near_duplicate across splits."""
    copy = put(tmp_path / "copy.mkv", videos("mpeg2.mkv").read_bytes())  # a rub of train
    assert check_file(copy, label="nod")[0] == {"conflict": 1}
    assert check_file(copy, label="rub")[1] == {"duplicate": 1, "absent_class": 1}
    across = put(tmp_path / "across.mkv", videos("ffv1.mkv").read_bytes())  # a rub of validation
    assert check_file(across, label="rub")[0] == {"near_duplicate": 1}


def test_40_people(check_file, tmp_path, videos):
    """E:leak, E:no_subject."""
    assert check_file(videos("b_frames.mp4"), subject="validation")[0] == {"leak": 1}
    assert check_file(videos("b_frames.mp4"), subject=None)[0] == {"no_subject": 1}
    assert check_file(videos("b_frames.mp4"), subject=" ")[0] == {"no_subject": 1}


def test_41_classes(check_file, tmp_path, videos):
    """W: a class is absent or has one clip; E: one class in all."""
    assert check_file(videos("b_frames.mp4"), label="rub")[1] == {"absent_class": 1}
    rows = [{"file": videos(name), "label": "nod"} for name in ("b_frames.mp4", "mpeg2.mkv")]
    other = [{"file": videos("ffv1.mkv"), "label": "nod"}]
    assert kinds(look(data_set(tmp_path / "one", {"train": rows, "validation": other})))[0] == {"one_class": 1}
    rows = [*rows, {"file": videos("vp8.webm"), "label": "nod"}]
    rows[0]["label"] = "rub"
    warnings = kinds(look(data_set(tmp_path / "two", {"train": rows, "validation": other})))[1]
    assert warnings == FINE | {"single_clip": 1, "absent_class": 1}


def test_42_fg_text(check_file, tmp_path, videos):
    """E: an unknown word; W: a missing one, none at all, the same for all, a category sentence of 10,000 letters."""
    assert check_file(videos("b_frames.mp4"), receiver="elbow")[0] == {"bad_text": 1}
    assert check_file(videos("b_frames.mp4"), receiver=None)[1]["partial_text"] == 1
    assert check_file(videos("b_frames.mp4"), **dict.fromkeys(WORDS))[1]["no_text"] == 1
    assert check_file(videos("b_frames.mp4"))[2].findings["same_text"].count == 1
    labels = json.loads((tmp_path / "set" / "labels.json").read_text())
    labels["classes"][0]["text"] = "A person nods. " * 700
    (tmp_path / "set" / "labels.json").write_text(json.dumps(labels))
    assert kinds(look(tmp_path / "set"))[1]["long_sentence"] == 1


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param(lambda a: np.where(a > 2, np.nan, a), "keypoints_incomplete", id="43 NaN: W"),
        pytest.param(lambda a: np.where(a > 2, np.inf, a), "keypoints_incomplete", id="43 infinite: W"),
        pytest.param(lambda a: a * (np.arange(30) > 9)[:, None, None], "keypoints_incomplete", id="43 zeros: W"),
        pytest.param(lambda a: a[:0], "keypoints", id="43 no frame: E"),
        pytest.param(lambda a: a[:, :17], "keypoints", id="43 other joints: E"),
        pytest.param(lambda a: a.transpose(0, 2, 1), "keypoints", id="43 axes exchanged: E"),
        pytest.param(lambda a: np.stack([a, a, a]), "keypoints", id="43 three people: E"),
        pytest.param(lambda a: a / 1000, "keypoints_unit", id="43 metres for millimetres: W"),
        pytest.param(lambda a: a[:-1], "keypoints_length", id="44 one frame less: W"),
        pytest.param(lambda a: a[:20], "keypoints", id="44 a third less: E"),
    ],
)
def test_43_44_keypoints(tmp_path, videos, change, kind):
    rng = np.random.default_rng(0)
    rows = {"train": ["b_frames.mp4", "mpeg2.mkv", "mpeg4.avi"], "validation": ["ffv1.mkv", "vp8.webm"]}
    clips = {split: [{"file": videos(n), "keypoints": f"{n}.npy"} for n in names] for split, names in rows.items()}
    root = data_set(tmp_path / "set", clips)
    for split, names in rows.items():
        for name in names:
            points = rng.uniform(0.5, 2.5, (30, 25, 3))
            np.save(root / split / f"{name}.npy", change(points) if name == "b_frames.mp4" else points)
    report = look(root)
    assert report.findings[kind].count == 1
    assert report.findings[kind].examples[0]["file"] == "clips/b_frames.mp4"


@needs_shared
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("zero_byte.mp4", "empty"), ("text.mp4", "unreadable"), ("lfs_pointer.mp4", "lfs_pointer"),
        ("jpeg.mp4", "image_not_video"), ("audio_only.mp4", "no_video_stream"),
        ("truncated_no_moov.mp4", "unreadable"),
        ("bomb_8192x8192.mp4", "too_large"), ("real_corrupted.mp4", "truncated"),
    ],
)  # fmt: skip
def test_shared_bad_inputs(check_file, name, kind):
    assert check_file(SHARED / "data" / "bad_inputs" / name, decode=name == "real_corrupted.mp4")[0] == {kind: 1}


@needs_shared
def test_shared_good_inputs(tmp_path):
    files = [p for folder in ("videos", "videos_derived") for p in sorted((SHARED / "data" / folder).iterdir())]
    rows = [
        {"file": f, "as": f"{k}{f.suffix}", "label": "rub" if "asl" in f.name else "nod"} for k, f in enumerate(files)
    ]
    report = look(data_set(tmp_path / "set", {"train": rows[2:], "validation": rows[:2]}))
    errors, warnings = kinds(report)
    assert errors == {}
    short = {e["file"]: e["message"] for e in report.findings["too_short"].examples}
    assert warnings["tiny"] == 2  # 16 x 16 and 1 x 1
    assert warnings["duplicate"] == 1  # one file lies there under a second, Ukrainian name
    assert any("has 1 frames" in message for message in short.values())
    assert report.splits["train"]["clips"] == len(files) - 2
