"""Small video files of many kinds, written by PyAV for the tests of the reader."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av")

B_FRAMES = {"g": "12", "bf": "3"}
UNEVEN = [40 * k + 2 * (k % 5) ** 2 + 600 * (k > 12) for k in range(30)]  # milliseconds
ONE = 65536  # 1 in the fixed point of a display matrix
FLIPS = {  # (a, b, c, d) of the display matrix, and the same done by NumPy
    "hflip": ((-ONE, 0, 0, ONE), lambda x: x[:, :, ::-1]),
    "vflip": ((ONE, 0, 0, -ONE), lambda x: x[:, ::-1]),
    "r90": ((0, ONE, -ONE, 0), lambda x: np.rot90(x, -1, (1, 2))),
    "r180": ((-ONE, 0, 0, -ONE), lambda x: np.rot90(x, 2, (1, 2))),
    "r270": ((0, -ONE, ONE, 0), lambda x: np.rot90(x, 1, (1, 2))),
    "r90_hflip": ((0, ONE, ONE, 0), lambda x: np.rot90(x, -1, (1, 2))[:, :, ::-1]),
    "r270_hflip": ((0, -ONE, -ONE, 0), lambda x: np.rot90(x, 1, (1, 2))[:, :, ::-1]),
}


def scene(k: int, width: int = 96, height: int = 64) -> np.ndarray:
    """A picture that differs from those of all other k, with no symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([(x * 2 + k * 5) % 256, (y * 3 + k * 3) % 256, (x + y + k * 7) % 256], -1)
    picture[4:20, (3 * k) % max(1, width - 16) :][:, :16] = (255, (k * 9) % 256, 0)
    return picture.astype(np.uint8)


def write(
    path: Path,
    codec: str = "libx264",
    frames: int = 30,
    size: tuple[int, int] = (96, 64),
    pixels: str = "yuv420p",
    times: list[int] | None = None,
    matrix: tuple[int, int, int, int] | None = None,
    cover: bool = False,
    movflags: str = "",
    container: str | None = None,
    **options: str,
) -> Path:
    """Write `frames` scenes at 25 per second, or at `times` in milliseconds."""
    base = Fraction(1, 25) if times is None else Fraction(1, 1000)
    with av.open(str(path), "w", format=container, options={"movflags": movflags} if movflags else {}) as file:
        stream = file.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = base
        stream.codec_context.thread_count = 1
        if matrix is not None:
            a, b, c, d = matrix
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        picture = None
        if cover:
            picture = file.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 320, 240, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
        for k in range(frames):
            frame = av.VideoFrame.from_ndarray(scene(k, *size), format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = k if times is None else times[k], base
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if picture is not None:
            frame = av.VideoFrame.from_ndarray(scene(0, 320, 240), format="rgb24").reformat(format="yuvj420p")
            frame.pts, frame.time_base = 0, Fraction(1)
            file.mux([*picture.encode(frame), *picture.encode(None)])
    return path


def cut_edit_list(path: Path, skip: int) -> None:
    """Let the edit list of an MP4 begin `skip` frames later, as `ffmpeg -ss -c copy` does."""
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 12
    duration, begin = struct.unpack_from(">Ii", data, place)
    struct.pack_into(">Ii", data, place, duration - skip * 40, begin + skip * 512)
    path.write_bytes(data)


def call_all_key_frames(path: Path) -> None:
    """Take the table of key frames out of an MP4, which then calls every frame one."""
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))


def drop_pictures(path: Path) -> None:
    """Leave every fifth picture out of an AVI, as screen recorders do where nothing moves."""
    whole = path.with_name("whole.avi")
    path.rename(whole)
    with av.open(str(whole)) as source, av.open(str(path), "w") as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size and packet.dts % 5 != 3:
                packet.stream = stream
                file.mux(packet)


def decode_all(path: Path) -> tuple[np.ndarray, list[Fraction]]:
    """Every frame as stored, and when it is displayed, by a plain decode."""
    with av.open(str(path)) as file:
        stream = next(s for s in file.streams.video if not s.disposition & s.disposition.attached_pic)
        frames = [(frame.to_ndarray(format="rgb24"), frame.pts * frame.time_base) for frame in file.decode(stream)]
    times = [time - frames[0][1] for _, time in frames]
    if times != sorted(times):  # AVI stores no display times: with B frames only the order is right
        times = [Fraction(k, 25) for k in range(len(times))]
    return np.stack([picture for picture, _ in frames]), times


MAKERS = {
    "b_frames.mp4": lambda p: write(p, **B_FRAMES),
    "b_frames.mkv": lambda p: write(p, **B_FRAMES),
    "b_frames.avi": lambda p: write(p, **B_FRAMES),
    "b_frames.ts": lambda p: write(p, container="mpegts", **B_FRAMES),
    "long_gop.mp4": lambda p: write(p, frames=80, g="250", bf="3"),
    "short_gop.mp4": lambda p: write(p, frames=80, **B_FRAMES, **{"x264-params": "scenecut=0"}),
    "open_gop.mp4": lambda p: write(p, **B_FRAMES, **{"x264-params": "open-gop=1:keyint=12:scenecut=0"}),
    "intra_refresh.mp4": lambda p: write(p, bf="0", **{"x264-params": "intra-refresh=1:keyint=12"}),
    "interlaced.mp4": lambda p: write(p, flags="+ildct+ilme", **{"x264-params": "tff=1:bframes=2:keyint=12"}),
    "fragmented.mp4": lambda p: write(p, movflags="frag_keyframe+empty_moov", **B_FRAMES),
    "vfr.mp4": lambda p: write(p, times=UNEVEN, **B_FRAMES),
    "vfr.webm": lambda p: write(p, "libvpx-vp9", times=UNEVEN, **{"cpu-used": "8", "g": "10"}),
    "three_frames.mp4": lambda p: write(p, frames=3, **B_FRAMES),
    "ten_bit.mkv": lambda p: write(p, pixels="yuv420p10le", **B_FRAMES),
    "gray.mp4": lambda p: write(p, pixels="gray", **B_FRAMES),
    "yuv444.mp4": lambda p: write(p, pixels="yuv444p", size=(97, 65), **B_FRAMES),
    "mpeg4.avi": lambda p: write(p, "mpeg4", g="10"),
    "mpeg4_b.avi": lambda p: write(p, "mpeg4", g="10", bf="2"),
    "mpeg2.mkv": lambda p: write(p, "mpeg2video", **{"g": "12", "bf": "2"}),
    "ffv1.mkv": lambda p: write(p, "ffv1", g="5", size=(97, 65), pixels="yuv444p"),
    "vp8.webm": lambda p: write(
        p, "libvpx", **{"g": "10", "auto-alt-ref": "1", "lag-in-frames": "10", "cpu-used": "8"}
    ),
    "animated.gif": lambda p: write(p, "gif", pixels="rgb8"),
    "wmv2.asf": lambda p: write(p, "wmv2"),
    "cover.mp4": lambda p: write(p, cover=True, **B_FRAMES),
    "false_keys.mp4": lambda p: (write(p, **B_FRAMES), call_all_key_frames(p)),
    "false_keys_mpeg4.mp4": lambda p: (write(p, "mpeg4", g="12"), call_all_key_frames(p)),
    "dropped.avi": lambda p: (write(p, "mjpeg", pixels="yuvj420p"), drop_pictures(p)),
    "edit_list.mp4": lambda p: (write(p, frames=60, g="250", bf="3"), cut_edit_list(p, 37)),
}


def video_file(folder: Path, name: str) -> Path:
    """Return the path of a video of `MAKERS` or `FLIPS`, written into the folder when it is not there yet."""
    path = folder / (name if name in MAKERS else f"{name}.mp4")
    if not path.exists() and name in MAKERS:
        MAKERS[name](path)
    elif not path.exists():
        write(path, frames=8, matrix=FLIPS[name][0], **B_FRAMES)
    return path
