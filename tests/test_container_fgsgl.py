"""A file that is no whole video is refused in words; of a whole one only what is needed is decoded."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from video_files import B_FRAMES, decode_all, scene, video_file, write

import container_fgsgl
from container_fgsgl import VideoError
from video_fgsgl import Recording, probe, read_frames

av = pytest.importorskip("av")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not there")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Return a path by name, written when it is first asked for."""
    return partial(video_file, tmp_path_factory.mktemp("videos"))


class CountingDecoder:
    """A decoder that notes the pts of each frame that it gives."""

    def __init__(self, codec, decoded):
        vars(self).update(codec=codec, decoded=decoded)

    def __getattr__(self, name):
        return getattr(self.codec, name)

    def __setattr__(self, name, value):
        setattr(self.codec, name, value)

    def decode(self, packet):
        frames = self.codec.decode(packet)
        self.decoded.extend(frame.pts for frame in frames)
        return frames


@pytest.fixture
def decoded(monkeypatch):
    """Return the list of the pts of all frames that the reader decodes, wanted or not."""
    decoded = []
    original = container_fgsgl.Clip._open

    def open_counted(clip):
        original(clip)
        clip.codec = CountingDecoder(clip.codec, decoded)

    monkeypatch.setattr(container_fgsgl.Clip, "_open", open_counted)
    return decoded


@pytest.fixture
def web(videos, monkeypatch):
    """Serve a video on this machine; return its address and the list of connections so far."""
    connections = []

    class Server(ThreadingHTTPServer):
        def verify_request(self, request, client_address):
            connections.append(client_address)
            return True

    monkeypatch.delenv("http_proxy", raising=False)  # FFmpeg reads it
    video = videos("b_frames.mp4")
    with Server(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=video.parent)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{video.name}", connections
        server.shutdown()


@pytest.mark.parametrize(("defaults", "width"), [((True, True), 96), ((False, False), 96), ((True, False), 48)])
def test_default_flag_then_size_choose_the_stream(tmp_path, defaults, width):
    path = tmp_path / "two.mkv"
    sizes = [(48, 32), (96, 64)]
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("libx264", rate=25) for _ in sizes]
        for stream, size, default in zip(streams, sizes, defaults, strict=True):
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.disposition = av.stream.Disposition.default if default else av.stream.Disposition(0)
        file.start_encoding()
        for stream, size in zip(streams, sizes, strict=True):
            for k in range(3):
                frame = av.VideoFrame.from_ndarray(scene(k, *size), format="rgb24")
                frame.pts, frame.time_base = k, Fraction(1, 25)
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    assert probe(path).width == width


def test_cover_picture_is_not_the_video(videos):
    info = probe(videos("cover.mp4"))
    assert (info.width, info.height, info.frames) == (96, 64, 30)


BAD_FILES = {
    "empty": (b"", "empty", "the file is empty"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "lfs_pointer", "git lfs pull"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(50), "image_not_video", r"still image \(JPEG\)"),
    "webp": (b"RIFF\0\0\0\0WEBPVP8 ", "image_not_video", r"still image \(WebP\)"),
    "html": (b"\n<!DOCTYPE html><html>", "unreadable", "web page"),
    "text": (b"Dear diary, " * 50, "unreadable", "this is a text file"),
    "noise": (np.random.default_rng(0).bytes(5000), "unreadable", "no video that can be read"),
}


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_files_that_are_no_video(tmp_path, name, as_bytes):
    data, kind, message = BAD_FILES[name]
    path = tmp_path / f"{name}.mp4"
    path.write_bytes(data)
    with pytest.raises(VideoError, match=message) as error:
        read_frames(data if as_bytes else path, 8)
    assert error.value.kind == kind
    assert ("<bytes of a video>" if as_bytes else str(path)) in str(error.value)


def test_places_that_hold_no_file(tmp_path):
    fifo = tmp_path / "fifo.mp4"
    os.mkfifo(fifo)
    loop = tmp_path / "loop.mp4"
    loop.symlink_to(loop)
    for path, kind, message in [
        (tmp_path, "is_directory", "this is a folder"),
        (fifo, "unsupported", "no ordinary file"),
        (tmp_path / "no.mp4", "not_found", "there is no such file"),
        (loop, "not_found", "there is no such file"),
    ]:
        with pytest.raises(VideoError, match=message) as error:
            read_frames(path, 8)
        assert error.value.kind == kind


def test_no_permission(videos, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError

    path = videos("b_frames.mp4")
    monkeypatch.setattr(Path, "open", refuse)  # as root every file may be read
    with pytest.raises(VideoError, match="no permission") as error:
        read_frames(path, 8)
    assert error.value.kind == "permission"


def test_symlink_and_strange_names(videos, tmp_path, monkeypatch):
    expected = read_frames(videos("b_frames.mp4"), 4)
    for name in ("-dash.mp4", "http:x.mp4", "concat:a|b.mp4", "手势 ñ 😀 (1).MP4", "%41.mp4", "no_extension"):
        (tmp_path / name).symlink_to(videos("b_frames.mp4"))
        monkeypatch.chdir(tmp_path)
        assert torch.equal(read_frames(name, 4), expected), name


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.mp4", "https://x.org/a.mp4", "rtsp://x/a", "file:///a.mp4"])
def test_urls_open_no_socket(url, monkeypatch):
    monkeypatch.setattr(socket, "socket", lambda *a, **k: pytest.fail("opened a socket"))
    with pytest.raises(VideoError, match="Download the file first") as error:
        read_frames(url, 8)
    assert error.value.kind == "unsupported"


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile canary.mp4\n",
        "\nffconcat version 1.0\nfile canary.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ncanary.mp4\n#EXT-X-ENDLIST\n",
    ],
)
@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list.ffconcat"])
def test_playlists_open_no_other_file(videos, tmp_path, text, name):
    (tmp_path / "canary.mp4").write_bytes(videos("b_frames.mp4").read_bytes())
    (tmp_path / name).write_text(text)
    os.utime(tmp_path / "canary.mp4", (1, 1))
    with pytest.raises(VideoError, match=r"list of other files|this is a text file"):
        read_frames(tmp_path / name, 8)
    assert (tmp_path / "canary.mp4").stat().st_atime == 1


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\n{}\n#EXT-X-ENDLIST\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 47654 RTP/AVP 26\n"


@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
@pytest.mark.parametrize(
    ("name", "text"), [("list.m3u8", HLS), ("list.mp4", "ffconcat version 1.0\nfile {}\n")], ids=["hls", "concat"]
)
def test_playlists_are_refused_by_ffmpeg_too(videos, web, tmp_path, monkeypatch, name, text, remote):
    address, connections = web
    shutil.copy(videos("b_frames.mp4"), tmp_path)
    path = tmp_path / name
    path.write_text(text.format(address if remote else "b_frames.mp4"))
    with av.open(f"file:{path}", options={"protocol_whitelist": "file,http,tcp", "safe": "0"}) as file:
        assert len(list(file.decode(video=0))) == 30  # this is what has to be prevented
    assert bool(connections) == remote
    connections.clear()
    monkeypatch.setattr(container_fgsgl, "_check_head", lambda head, name: None)
    # FFmpeg's words for a format that is not on the list; where it opened the list first, they are others.
    with pytest.raises(VideoError, match=r"this is no video that can be read \(Invalid argument\)"):
        read_frames(path, 8)
    assert not connections


def test_a_format_that_slips_through_reaches_no_network(web, tmp_path, monkeypatch):
    address, connections = web
    path = tmp_path / "list.m3u8"
    path.write_text(HLS.format(address))
    monkeypatch.setattr(container_fgsgl, "_check_head", lambda head, name: None)
    monkeypatch.setattr(container_fgsgl, "FORMATS", (*container_fgsgl.FORMATS, "hls", "sdp"))
    for video in (path, SDP.encode()):  # from bytes, FFmpeg's own defaults would let SDP listen for a stream
        with pytest.raises(VideoError, match="this is no video that can be read"):
            read_frames(video, 8)
    assert not connections


def test_sound_only(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with pytest.raises(VideoError, match="holds no video, only sound") as error:
        read_frames(path, 8)
    assert error.value.kind == "no_video_stream"


@pytest.mark.parametrize(
    ("name", "movflags", "message"),
    [
        ("cut.mp4", "faststart", "breaks off|header promises 30 frames"),
        ("cut_end.mp4", "", "It may be cut off"),
        ("cut.mkv", "", "header promises 1.20 s of video, but the file breaks off after"),
        ("cut.avi", "", "breaks off|header promises 30 frames"),
    ],
)
def test_cut_files_are_no_shorter_gestures(tmp_path, name, movflags, message):
    path = write(tmp_path / name, movflags=movflags, **B_FRAMES)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match=message) as error:
        read_frames(path, 8)
    assert error.value.kind == ("unreadable" if name == "cut_end.mp4" else "truncated")


def test_damage_inside_is_counted(videos, tmp_path):
    with av.open(str(videos("long_gop.mp4"))) as file:
        packets = [(packet.pos, packet.size) for packet in file.demux(video=0) if packet.size]
    data = bytearray(videos("long_gop.mp4").read_bytes())
    for position, size in packets[40:50]:
        data[position : position + size] = bytes(size)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"only \d+ of 80 frames can be decoded") as error:
        read_frames(path, 16)
    assert error.value.kind == "truncated"
    pictures, _ = decode_all(videos("long_gop.mp4"))
    assert np.array_equal(read_frames(path, 4, 0.0, 0.8).numpy(), pictures[[2, 7, 12, 17]])  # before the damage


def test_flipped_bits_never_crash(videos):
    random = np.random.default_rng(0)
    for name in ("b_frames.mp4", "mpeg4_b.avi", "vp8.webm", "animated.gif"):
        data = np.frombuffer(videos(name).read_bytes(), np.uint8)
        for _ in range(8):
            broken = data.copy()
            broken[random.integers(0, len(data), 20)] ^= 1 << random.integers(0, 8, 20).astype(np.uint8)
            with contextlib.suppress(VideoError):  # any other error, a crash or a hang is a failure
                assert read_frames(broken.tobytes(), 4).ndim == 4


def test_unknown_codec(videos, tmp_path):
    path = tmp_path / "unknown.mp4"
    path.write_bytes(videos("b_frames.mp4").read_bytes().replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzZ"))
    with pytest.raises(VideoError, match="no decoder knows the video in this file") as error:
        read_frames(path, 8)
    assert error.value.kind == "unsupported"


def test_too_many_pixels(videos, monkeypatch, decoded):
    path = videos("b_frames.mp4")
    with pytest.raises(VideoError, match="need more than 1024 MiB") as error:
        read_frames(path, 100_000)
    assert error.value.kind == "too_large"
    decoded.clear()
    monkeypatch.setattr(container_fgsgl, "MAX_PIXELS", 1000)
    for read in (lambda path: read_frames(path, 8), probe, Recording):
        with pytest.raises(VideoError, match="the picture is 96 x 64 pixels; 1 to 1000 pixels can be read") as error:
            read(path)
        assert error.value.kind == "too_large"
    assert not decoded


@pytest.mark.parametrize(
    ("limit", "message"), [("MAX_FRAMES", "more than 0 frames"), ("MAX_SECONDS", "more than 0 hours apart")]
)
def test_too_many_frames_or_seconds(videos, monkeypatch, decoded, limit, message):
    monkeypatch.setattr(container_fgsgl, limit, 0)
    for read in (lambda path: read_frames(path, 8), probe, Recording):
        with pytest.raises(VideoError, match=f"{message}. Cut the recording") as error:
            read(videos("b_frames.mp4"))
        assert error.value.kind == "too_large"
    assert not decoded


def test_errors_survive_a_process_boundary(tmp_path):
    path = tmp_path / "a.mp4"
    path.touch()
    with pytest.raises(VideoError) as here:
        read_frames(path, 4)
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool, pytest.raises(VideoError) as there:
        pool.submit(read_frames, path, 4).result()
    assert (str(there.value), there.value.kind) == (str(here.value), "empty")


def test_only_the_needed_frames_are_decoded(videos, decoded):
    read_frames(videos("long_gop.mp4"), 4, 0.0, 2.0)
    assert 4 <= len(decoded) < 40  # of the 50 frames up to 2.0 s, unreferenced ones are skipped


@pytest.mark.parametrize(("start", "end", "groups", "most"), [(2.96, 3.12, {6}, 8), (0.0, 3.2, {0, 2, 4, 5}, 40)])
def test_decoding_starts_at_the_key_frame_before(videos, decoded, start, end, groups, most):
    read_frames(videos("short_gop.mp4"), 4, start, end)
    assert {pts // (12 * 512) for pts in decoded} == groups  # of 12 frames, each 512 units of time long
    assert len(decoded) <= most  # per group: those before the wanted, the wanted, and two that the decoder holds back


@needs_shared
@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("audio_only.mp4", "no_video_stream", "only sound"),
        ("bomb_8192x8192.mp4", "too_large", "the picture is 8192 x 8192 pixels"),
        ("jpeg.mp4", "image_not_video", "still image"),
        ("lfs_pointer.mp4", "lfs_pointer", "git lfs pull"),
        ("real_corrupted.mp4", "truncated", r"only \d+ of 50 frames can be decoded"),
        ("text.mp4", "unreadable", "this is a text file"),
        ("truncated_no_moov.mp4", "unreadable", "It may be cut off"),
        ("zero_byte.mp4", "empty", "the file is empty"),
    ],
)
def test_every_bad_shared_input_says_what_is_wrong(name, kind, message):
    code = (
        "import sys, video_fgsgl\n"
        "sys.path.append('tests')\n"
        "from peak_memory import peak\n"
        "try:\n    video_fgsgl.read_frames(sys.argv[1], 8)\n"
        "except video_fgsgl.VideoError as error:\n    print(error.kind, error)\n"
        "print(peak())\n"
    )
    command = [sys.executable, "-c", code, str(SHARED / "bad_inputs" / name)]
    if name != "bomb_8192x8192.mp4":  # a process of its own, because peak memory never falls
        with pytest.raises(VideoError, match=message) as error:
            read_frames(command[-1], 8)
        assert error.value.kind == kind
        return
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    said, kibibytes = result.stdout.splitlines()
    assert said.startswith(kind)
    assert message in said
    assert int(kibibytes) < 1 << 20
