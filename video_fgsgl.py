"""Video file -> exact frames, upright as displayed.

`read_frames` returns the very frames that a plain decode from the first packet to the last would return, but decodes
only what those need: it lists the packets first, starts at the key frame before each wanted frame, and skips pictures
that no other picture refers to. Where a file does not allow that, it is decoded from start to end.

Time is in seconds from the first displayed frame. Frame k of T of the span [start, end) is the one on display at
``start + (k + 1/2) / T * (end - start)``.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

try:
    import av
    from av.video.reformatter import VideoReformatter
except ImportError:
    av = None  # type: ignore[assignment]
try:
    import decord
except ImportError:
    decord = None

READER_VERSION = 1  # part of every cache key: raise it when the same file gives other frames

MAX_PIXELS = 4096 * 4096  # of one picture: 16.8 million, which holds 4K and 5.3K cameras
MAX_OUTPUT_BYTES = 1 << 30
SPAN_SLACK = Fraction(1, 10)  # seconds: annotation tools round, and sound may end a little after the picture
KEPT_PACKET_BYTES = 64 << 20  # a longer file is read a second time instead of being held in memory

# Playlists (hls, concat) and still images open other files or are no video, so the demuxers are named one by one.
FORMATS = ("mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "asf", "flv", "ogg", "gif", "dv", "mxf")
# Decoding may start at any key frame of these; other codecs are decoded from the first packet.
KEYED_CODECS = {"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4", "mpeg2video", "prores", "mjpeg"}
NONREF_CODECS = {"h264", "hevc"}  # others lose frames when their unreferenced pictures are skipped
# Where decord was found to return the same frames; anything else is refused.
DECORD_READS = {("mov", "h264"), ("mov", "hevc"), ("mov", "vp9"), ("avi", "mpeg4")}
DECORD_READS |= {("matroska", "h264"), ("matroska", "hevc"), ("matroska", "vp8"), ("matroska", "vp9")}
DECORD_PIXELS = {"yuv420p", "yuvj420p"}

_IMAGES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
_COPY_AGAIN = "Copy or download the file again, or export it again from its source."


class VideoError(ValueError):
    """A video that cannot be read, or a request that it cannot serve; the message says what to do.

    Attributes:
        kind: One word for programs, such as ``empty``, ``not_found``, ``lfs_pointer``, ``too_large`` or ``bad_span``.
    """

    def __init__(self, message: str, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds, as displayed.

    Attributes:
        container: FFmpeg's name of the file format, such as ``mov`` (also MP4), ``matroska`` (also WebM) or ``avi``.
        codec: FFmpeg's name of the decoder.
        pixel_format: FFmpeg's name of the stored pixels.
        width: Displayed width in stored pixels, after rotation.
        height: Displayed height in stored pixels, after rotation.
        frames: Number of displayed frames.
        duration: Seconds from the first frame's start to the last frame's end.
        fps: Frames over duration; frame intervals may vary.
        rotation: Clockwise degrees that turn the stored picture upright: 0, 90, 180 or 270.
        hflip: Whether the picture is mirrored left to right after that rotation.
        pixel_aspect: Width of one pixel over its height; the frames returned are not stretched by it.
    """

    container: str
    codec: str
    pixel_format: str
    width: int
    height: int
    frames: int
    duration: float
    fps: float
    rotation: int
    hflip: bool
    pixel_aspect: float


def read_frames(
    video: Any,
    num_frames: int,
    start: float | None = None,
    end: float | None = None,
    *,
    mirrored: bool = False,
    backend: str = "pyav",
    threads: int = 1,
) -> torch.Tensor:
    """Read frames evenly spread over a video or over a span of it.

    Args:
        video: Path, the bytes of a video file, or uint8 frames (F, H, W, 3) as a NumPy array or torch tensor.
        num_frames: T, how many frames to return; a shorter clip repeats frames.
        start: Start of the span in seconds from the first displayed frame; None is the start of the video.
        end: End of the span in seconds, itself outside; None is the end of the last frame.
        mirrored: Whether the camera stored a mirror image: True flips left and right, after the file's own rotation.
        backend: ``"pyav"``, or ``"decord"`` for the files on which it returns the same frames.
        threads: Decoder threads.

    Returns:
        uint8 RGB frames (T, H, W, 3), upright as displayed.

    Raises:
        VideoError: The file cannot be read, or not in this span or with this backend.
        ImportError: The backend is not installed.
    """
    if isinstance(num_frames, bool) or not isinstance(num_frames, int) or num_frames < 1:
        raise ValueError(f"num_frames must be a whole number of at least 1, got {num_frames!r}.")
    if backend not in ("pyav", "decord"):
        raise ValueError(f"backend must be 'pyav' or 'decord', got {backend!r}.")
    if isinstance(video, np.ndarray | torch.Tensor):
        frames = _pick_array_frames(video, num_frames, start, end)
    else:
        with closing(_Clip(video, threads)) as clip:
            read = _read_with_decord if backend == "decord" else _read_with_pyav
            frames = read(clip, num_frames, start, end)
    return frames.flip(2) if mirrored else frames


def probe(video: Any) -> VideoInfo:
    """Describe a video without decoding more of it than its first frame needs.

    Args:
        video: Path or the bytes of a video file.

    Raises:
        VideoError: The file cannot be read.
        ImportError: PyAV is not installed.
    """
    with closing(_Clip(video, 1)) as clip:
        timeline, frame = _first_frame(clip)
        swap, rows, columns = _display_flips(frame)
        duration = timeline.seconds
        return VideoInfo(
            container=clip.format,
            codec=clip.codec.name,
            pixel_format=frame.format.name,
            width=frame.height if swap else frame.width,
            height=frame.width if swap else frame.height,
            frames=len(timeline.pts),
            duration=float(duration),
            fps=float(len(timeline.pts) / duration),
            # A swap of rows and columns followed by a flip of the columns is a turn by 90 degrees, of the rows by 270.
            rotation=(270 if rows else 90) if swap else (180 if rows else 0),
            hflip=rows == columns if swap else rows != columns,
            pixel_aspect=float(clip.stream.sample_aspect_ratio or 1),
        )


@dataclass(frozen=True)
class _Timeline:
    """When each frame is displayed: `pts` ascending and `end`, in units of `time_base` seconds."""

    name: str
    pts: list[int]
    end: int
    time_base: Fraction

    @property
    def seconds(self) -> Fraction:
        return (self.end - self.pts[0]) * self.time_base

    def pick(self, num_frames: int, start: float | None, end: float | None) -> list[int]:
        """Return the places in `pts` of the frames on display at the middle of each of `num_frames` equal parts."""
        first, last = self._check_span(start, end)
        # Exact arithmetic: a moment that falls on the border of two frames must not depend on rounding.
        step = (last - first) / (2 * num_frames)
        moments = (first + (2 * k + 1) * step for k in range(num_frames))
        return [bisect_right(self.pts, self.pts[0] + moment // self.time_base) - 1 for moment in moments]

    def _check_span(self, start: float | None, end: float | None) -> tuple[Fraction, Fraction]:
        total = self.seconds
        first = Fraction(0) if start is None else self._seconds("start", start)
        last = total if end is None else self._seconds("end", end)
        if last > total + SPAN_SLACK or first >= total:
            hint = ""
            if last.denominator == first.denominator == 1 and last <= len(self.pts) + 1:
                fps = float(len(self.pts) / total)
                hint = f" If {first} and {last} are frame numbers, divide them by {fps:.6g} frames per second."
            raise VideoError(
                f"{self.name}: the span {float(first):g} s to {float(last):g} s reaches beyond the video, which is "
                f"{float(total):.3f} s long. Give seconds from the start of the video, or leave out `end`.{hint}",
                "bad_span",
            )
        if first >= last:
            raise VideoError(
                f"{self.name}: the span starts at {float(first):g} s and ends at {float(last):g} s. "
                "Give a start that lies before the end.",
                "bad_span",
            )
        return first, last

    def _seconds(self, field: str, value: float) -> Fraction:
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
            raise VideoError(
                f"{self.name}: {field} must be a number of seconds, got {value!r}. "
                "Fill in the time, or leave it out for the whole video.",
                "bad_span",
            )
        if value < 0:
            raise VideoError(
                f"{self.name}: {field} is {value:g} s, before the video begins. Times count from its first frame.",
                "bad_span",
            )
        return Fraction(repr(float(value)))  # 0.2 means 1/5 s, not the binary number next to it


class _Packet(NamedTuple):
    """What the frame plan needs to know of one packet, in the order of the file."""

    pts: int | None
    duration: int
    key: bool
    shown: bool


class _Clip:
    """An open video file, its real video stream and the list of that stream's packets."""

    def __init__(self, video: Any, threads: int) -> None:
        if av is None:
            raise ImportError("Reading video files needs PyAV, which is not installed. Run: pip install av")
        self.name, self.source = _check_source(video)
        self.threads = threads
        self.open()
        try:
            self.table = self._list_packets()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.container.close()

    def open(self) -> None:
        """Open, or open again, at the first packet."""
        file = io.BytesIO(self.source) if isinstance(self.source, bytes) else f"file:{self.source}"
        options = {
            "protocol_whitelist": "file",
            "format_whitelist": ",".join(FORMATS),
            "max_pixels": str(MAX_PIXELS),
        }
        try:
            self.container: Any = av.open(file, options=options, metadata_errors="replace")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise VideoError(
                f"{self.name}: this is no video that can be read ({_reason(error)}). It may be cut off (the index of "
                f"an MP4 stands at its end), damaged, or of another type than its name says. {_COPY_AGAIN}"
            ) from error
        try:
            self.stream = _choose_stream(self.container, self.name)
        except VideoError:
            self.container.close()
            raise
        self.format = self.container.format.name.split(",")[0]
        self.codec = self.stream.codec_context
        self.codec.thread_count = self.threads
        self.codec.options = {"max_pixels": str(MAX_PIXELS)}  # a header may promise less than the pictures hold
        self.time_base: Fraction = self.stream.time_base

    def reopen(self) -> None:
        self.close()
        self.open()

    def packets(self) -> Iterator[Any]:
        """Yield the stream's packets in the order of the file, without the empty ones."""
        try:
            for packet in self.container.demux(self.stream):
                if packet.size > 0:  # an empty one means "end of file" to a decoder
                    yield packet
        except (av.error.FFmpegError, IndexError) as error:  # PyAV looks up streams that damaged packets name
            raise VideoError(
                f"{self.name}: the file breaks off or is damaged ({_reason(error)}). {_COPY_AGAIN}", "truncated"
            ) from error

    def _list_packets(self) -> list[_Packet]:
        table = []
        self.kept: list[Any] | None = []
        size = 0
        for packet in self.packets():
            # A transport stream is made to be cut and joined anywhere; elsewhere a broken packet is a broken file.
            if packet.is_corrupt and self.format != "mpegts":
                raise VideoError(f"{self.name}: the file breaks off or is damaged inside. {_COPY_AGAIN}", "truncated")
            table.append(_Packet(packet.pts, packet.duration or 0, packet.is_keyframe, not packet.is_discard))
            size += packet.size
            if self.kept is not None:
                self.kept.append(packet)
                if size > KEPT_PACKET_BYTES:
                    self.kept = None
        self._check_complete(table)
        return table

    def _check_complete(self, table: list[_Packet]) -> None:
        """Raise when the header promises more than the file holds: a cut file is no shorter gesture."""
        # An edit list may leave frames out of the index. AVI counts repeated pictures, which are no packets.
        promised = min(self.stream.frames, len(self.stream.index_entries)) if self.format == "mov" else 0
        if not table or len(table) < promised:
            raise VideoError(
                f"{self.name}: the header promises {promised or 'some'} frames, but the file holds {len(table)}. "
                f"{_COPY_AGAIN}",
                "truncated",
            )
        length = self._promised_seconds()
        end = max((packet.pts or 0) + packet.duration for packet in table) * self.time_base
        if length > end + Fraction(1, 2):
            raise VideoError(
                f"{self.name}: the header promises {float(length):.2f} s of video, but the file breaks off after "
                f"{float(end):.2f} s. {_COPY_AGAIN}",
                "truncated",
            )

    def _promised_seconds(self) -> Fraction:
        """Return the length of the video in formats whose header tells it, else 0."""
        if self.format == "avi":
            return (self.stream.duration or 0) * self.time_base
        clock = re.fullmatch(r"(\d+):(\d\d):(\d\d\.?\d*)", self.stream.metadata.get("DURATION", ""))
        if self.format != "matroska" or clock is None:
            return Fraction(0)
        hours, minutes, seconds = map(Fraction, clock.groups())
        return 3600 * hours + 60 * minutes + seconds

    def timeline(self) -> _Timeline | None:
        """Return the timeline that the packets tell, or None where only decoding can tell it."""
        shown = [packet for packet in self.table if packet.shown]
        times = [packet.pts for packet in shown if packet.pts is not None]
        untold = len(times) < len(shown) or len(set(times)) < len(times) or not times
        # AVI stores no display times: with reordered pictures those that FFmpeg makes up need not be right. Pictures
        # displayed before the first key frame cannot be decoded.
        if untold or (self.format == "avi" and self.codec.has_b_frames):
            return None
        first_key = next((packet.pts for packet in self.table if packet.key), None)
        pts = sorted(times)
        if first_key is None or first_key > pts[0]:
            return None
        durations = {packet.pts: packet.duration for packet in shown}
        return _Timeline(self.name, pts, pts[-1] + self._interval(pts, durations[pts[-1]]), self.time_base)

    def measured_timeline(self) -> _Timeline:
        """Return the timeline of the frames that a plain decode of the whole file displays."""
        pts = [frame.pts for frame in self.all_frames()]
        if not pts:
            raise VideoError(f"{self.name}: no frame of the video can be decoded. {_COPY_AGAIN}", "truncated")
        if any(time is None for time in pts) or any(b <= a for a, b in pairwise(pts)):
            interval = self._interval([], 0)
            pts = [k * interval for k in range(len(pts))]
        durations = {packet.pts: packet.duration for packet in self.table}
        end = pts[-1] + self._interval(pts, durations.get(pts[-1], 0))
        return _Timeline(self.name, pts, end, self.time_base)

    def _interval(self, pts: list[int], duration: int) -> int:
        """Return how long the last frame stays: its own duration, the median interval, or what the rate says."""
        if duration > 0:
            return duration
        if len(pts) > 1:
            return int(np.median(np.diff(pts)))
        rate = self.stream.average_rate or Fraction(25)
        return max(1, round(1 / rate / self.time_base))

    def all_frames(self) -> Iterator[Any]:
        """Decode the file from start to end; raises at the end where a part of it cannot be decoded."""
        self.reopen()
        count = broken = 0
        for packet in chain(self.packets(), [None]):
            try:
                frames = self.codec.decode(packet)
            except av.error.FFmpegError:
                broken += 1
                continue
            broken += sum(frame.is_corrupt for frame in frames)
            count += len(frames)
            yield from frames
        if broken or not count:
            raise VideoError(
                f"{self.name}: only {count - broken if count else 0} of {len(self.table)} frames can be decoded, the "
                f"rest is damaged. {_COPY_AGAIN}",
                "truncated",
            )

    def wanted_frames(self, wanted: set[int]) -> Iterator[Any]:
        """Decode the frames of these pts and what they refer to; frames of other pts come along.

        Ends early where a frame is damaged or where the file calls a packet a key frame that is none.
        """
        for frame in self._decode_parts(wanted):
            if frame.is_corrupt or (frame.pts in self.entries and not frame.key_frame):
                return
            yield frame

    def _decode_parts(self, wanted: set[int]) -> Iterator[Any]:
        skip = self.codec.name in NONREF_CODECS
        parts = self._parts(wanted)
        starts = {first for first, _ in parts[1:]}
        self.entries = {self.table[first].pts for first, _ in parts if first}
        for number, packet in self._packets_of(parts):
            if number in starts:  # frames still in the decoder come out before it forgets all it saw
                yield from self.codec.decode(None)
                self.codec.flush_buffers()
            if skip:
                # A picture that no other picture refers to may be left out without a trace in the others.
                self.codec.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
            yield from self.codec.decode(packet)
        yield from self.codec.decode(None)

    def _parts(self, wanted: set[int]) -> list[tuple[int, int]]:
        """Return the stretches (first, last) of packets that hold the wanted frames and all that those refer to."""
        stretches = []
        keys: list[tuple[int, int]] = []  # (number, pts) of the key frames so far
        for number, packet in enumerate(self.table):
            if packet.key and packet.pts is not None:
                keys.append((number, packet.pts))
            if packet.shown and packet.pts in wanted:
                # A picture stored after a key frame but displayed before it refers to the part before.
                before = (key for key, pts in reversed(keys) if pts <= packet.pts)
                stretches.append((next(before, 0) if self.codec.name in KEYED_CODECS else 0, number))
        parts: list[tuple[int, int]] = []
        for first, last in sorted(stretches):
            if parts and first <= parts[-1][1]:
                first, last = parts[-1][0], max(last, parts.pop()[1])
            parts.append((first, last))
        return parts

    def _packets_of(self, parts: list[tuple[int, int]]) -> Iterator[tuple[int, Any]]:
        if self.kept is None:
            self.reopen()
        packets = iter(self.kept if self.kept is not None else self.packets())
        passed = 0
        for first, last in parts:
            yield from enumerate(islice(packets, first - passed, last + 1 - passed), first)
            passed = last + 1


def _read_with_pyav(clip: _Clip, num_frames: int, start: float | None, end: float | None) -> torch.Tensor:
    timeline = clip.timeline()
    if timeline is not None:
        wanted = [timeline.pts[place] for place in timeline.pick(num_frames, start, end)]
        try:
            frames = _collect(((frame.pts, frame) for frame in clip.wanted_frames(set(wanted))), wanted, clip.name)
        except av.error.FFmpegError:
            frames = None  # the plain decode below tells what is wrong
        if frames is not None:
            return frames
    # The decoder shows other frames than the packets promise: only a plain decode knows which.
    wanted = clip.measured_timeline().pick(num_frames, start, end)
    frames = _collect(enumerate(clip.all_frames()), wanted, clip.name)
    if frames is None:
        raise VideoError(f"{clip.name}: two decodes gave different frames. {_COPY_AGAIN}", "truncated")
    return frames


def _first_frame(clip: _Clip) -> tuple[_Timeline, Any]:
    timeline = clip.timeline()
    if timeline is not None:
        try:
            for frame in clip.wanted_frames({timeline.pts[0]}):
                if frame.pts == timeline.pts[0]:
                    return timeline, frame
        except av.error.FFmpegError:
            pass
    return clip.measured_timeline(), next(clip.all_frames())


def _collect(frames: Iterable[tuple[int, Any]], wanted: list[int], name: str) -> torch.Tensor | None:
    """Return the wanted (key, frame) pairs as RGB (T, H, W, 3), or None when one of them does not come."""
    slots: dict[int, list[int]] = {}
    for slot, key in enumerate(wanted):
        slots.setdefault(key, []).append(slot)
    reformatter = VideoReformatter()  # shared, because each one builds a scaler
    output: torch.Tensor | None = None
    for key, frame in frames:
        if key not in slots:
            continue
        _check_size(frame.width, frame.height, name, len(wanted))
        if output is None:
            width, height = frame.width, frame.height  # a later change of size is scaled back to the first
        rgb = reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        picture = _upright(torch.from_numpy(rgb.to_ndarray()), frame)
        if output is None:
            output = picture.new_empty(len(wanted), *picture.shape)
        for slot in slots.pop(key):
            output[slot] = picture
        if not slots:
            return output
    return None


def _upright(picture: torch.Tensor, frame: Any) -> torch.Tensor:
    swap, rows, columns = _display_flips(frame)
    if swap:
        picture = picture.transpose(0, 1)
    axes = [axis for axis, flip in enumerate((rows, columns)) if flip]
    return picture.flip(axes) if axes else picture


def _display_flips(frame: Any) -> tuple[bool, bool, bool]:
    """Return how to show the frame: swap rows and columns, then flip the rows, then flip the columns.

    The display matrix sends the stored point (x, y) to (a x + c y, b x + d y). Angles between right angles go to the
    nearest right angle.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(data), dtype="=i4")[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def _read_with_decord(clip: _Clip, num_frames: int, start: float | None, end: float | None) -> torch.Tensor:
    if decord is None:
        raise ImportError("The backend 'decord' is not installed. Run: pip install decord, or use the backend 'pyav'.")
    timeline = clip.timeline()
    reason = _why_not_decord(clip, timeline)
    if timeline is None or reason:
        raise _decord_error(clip, reason)
    places = timeline.pick(num_frames, start, end)
    _check_size(clip.codec.width, clip.codec.height, clip.name, num_frames)
    source = io.BytesIO(clip.source) if isinstance(clip.source, bytes) else clip.source
    try:
        reader = decord.VideoReader(source, num_threads=clip.threads)
        if len(reader) != len(timeline.pts):  # with a count that is too high, get_batch may never return
            raise _decord_error(clip, f"counts {len(reader)} frames where {len(timeline.pts)} are displayed")
        return torch.from_numpy(reader.get_batch(places).asnumpy())
    except decord.DECORDError as error:
        raise _decord_error(clip, "cannot read it") from error


def _why_not_decord(clip: _Clip, timeline: _Timeline | None) -> str:
    """Return what makes decord fail or return other frames than those displayed; empty where nothing does."""
    if timeline is None:
        return "returns wrong frames, because the file does not say when its frames are displayed"
    if (clip.format, clip.codec.name) not in DECORD_READS:
        return f"does not read {clip.codec.name} in {clip.format} reliably"
    if clip.format == "mov" and not clip.stream.frames:
        return "returns wrong frames of fragmented files"
    if clip.format == "mov" and [e.is_keyframe for e in clip.stream.index_entries] != [p.key for p in clip.table]:
        return "believes the file's list of key frames, which is wrong"
    if clip.codec.field_order > 1:
        return "returns wrong frames of interlaced video"
    if clip.codec.pix_fmt not in DECORD_PIXELS:
        return f"converts the pixels ({clip.codec.pix_fmt}) to other colours"
    if not all(packet.shown for packet in clip.table):
        return "ignores the file's edit list, which leaves some frames out"
    if not _keys_are_clean(clip):
        return "returns wrong frames where pictures refer to others before a key frame (open GOP, intra refresh)"
    swap, rows, columns = _display_flips(_first_frame(clip)[1])
    if swap == (rows == columns):
        return "ignores that the file asks to be shown mirrored"
    return ""


def _keys_are_clean(clip: _Clip) -> bool:
    """Return whether no picture refers across a key frame, so that decoding may start at any of them."""
    key_pts = None
    for packet in clip.table:
        if key_pts is not None and packet.pts is not None and packet.pts < key_pts:
            return False
        key_pts = packet.pts if packet.key else key_pts
    header = clip.codec.extradata or b""
    if clip.codec.name != "h264" or header[:1] != b"\x01":
        return True
    clip.reopen()
    width = (header[4] & 3) + 1  # bytes of the length before each unit of a packet
    return all(_has_idr(bytes(packet), width) for packet in clip.packets() if packet.is_keyframe)


def _has_idr(packet: bytes, width: int) -> bool:
    """Return whether an H.264 packet holds a slice of an IDR picture (unit type 5), which nothing refers across."""
    place = 0
    while place + width < len(packet):
        if packet[place + width] & 31 == 5:
            return True
        place += width + int.from_bytes(packet[place : place + width], "big")
    return False


def _decord_error(clip: _Clip, reason: str) -> VideoError:
    return VideoError(f"{clip.name}: decord {reason}. Use the backend 'pyav' for this file.", "backend")


def _pick_array_frames(video: Any, num_frames: int, start: float | None, end: float | None) -> torch.Tensor:
    if start is not None or end is not None:
        raise VideoError(
            "Frames in memory have no times, so start and end cannot be used: cut the array instead.", "bad_span"
        )
    frames = torch.as_tensor(video)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != torch.uint8 or 0 in frames.shape:
        raise VideoError(
            f"Frames must be uint8 of shape (frames, height, width, 3), got {frames.dtype} {tuple(frames.shape)}.",
            "unsupported",
        )
    _check_size(frames.shape[2], frames.shape[1], "Frames in memory", num_frames)
    places = [(2 * k + 1) * len(frames) // (2 * num_frames) for k in range(num_frames)]
    return frames[places]


def _check_size(width: int, height: int, name: str, num_frames: int = 1) -> None:
    if not 0 < width * height <= MAX_PIXELS:
        raise VideoError(
            f"{name}: the picture is {width} x {height} pixels; 1 to {MAX_PIXELS} pixels can be read. "
            "Export the video again with a smaller picture.",
            "too_large",
        )
    if 3 * width * height * num_frames > MAX_OUTPUT_BYTES:
        raise VideoError(
            f"{name}: {num_frames} frames of {width} x {height} pixels need more than {MAX_OUTPUT_BYTES >> 20} MiB. "
            "Ask for fewer frames or export the video again with a smaller picture.",
            "too_large",
        )


def _choose_stream(container: Any, name: str) -> Any:
    streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
    if not streams:
        raise VideoError(
            f"{name}: the file holds no video, only sound or a cover picture. Give the file with the picture.",
            "no_video_stream",
        )
    known = [s for s in streams if s.codec_context is not None]
    if not known:
        raise VideoError(
            f"{name}: no decoder knows the video in this file. Export it again as MP4 (H.264).", "unsupported"
        )
    best = max(known, key=lambda s: (bool(s.disposition & s.disposition.default), s.width * s.height, -s.index))
    _check_size(best.codec_context.width, best.codec_context.height, name)
    return best


def _check_source(video: Any) -> tuple[str, bytes | str]:
    """Return the name for messages and the absolute path or the bytes, once they look like a video."""
    if isinstance(video, bytes | bytearray):
        name = "<bytes of a video>"
        _check_head(bytes(video[:512]), name)
        return name, bytes(video)
    if not isinstance(video, str | os.PathLike):
        raise TypeError(
            f"A video must be a path, the bytes of a file or an array of frames, got {type(video).__name__}."
        )
    name = os.fsdecode(video)
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", name):
        raise VideoError(f"{name}: this is a web address. Download the file first and give its path.", "unsupported")
    path = Path(name)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise VideoError(f"{name}: this is a folder. Give one video file in it.", "is_directory")
        if not stat.S_ISREG(mode):
            raise VideoError(f"{name}: this is no ordinary file. Give a video file.", "unsupported")
        with path.open("rb") as file:
            head = file.read(512)
    except PermissionError as error:
        raise VideoError(
            f"{name}: you have no permission to read this file. Ask its owner, or copy it.", "permission"
        ) from error
    except OSError as error:
        raise VideoError(f"{name}: there is no such file. Check the spelling and the folder.", "not_found") from error
    _check_head(head, name)
    return name, str(path.absolute())


def _check_head(head: bytes, name: str) -> None:
    """Raise the most helpful error for a file whose first bytes say that it is no video."""
    if not head:
        raise VideoError(f"{name}: the file is empty (0 bytes). {_COPY_AGAIN}", "empty")
    if head.startswith(b"version https://git-lfs"):
        raise VideoError(
            f"{name}: this is a Git LFS pointer, not the video itself. Run `git lfs pull` in its repository.",
            "lfs_pointer",
        )
    image = next((kind for magic, kind in _IMAGES.items() if head.startswith(magic)), None)
    if image is None and head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        image = "WebP"
    if image is not None:
        raise VideoError(
            f"{name}: this is a still image ({image}), not a video, whatever its name says. Give the video.",
            "image_not_video",
        )
    if head.startswith((b"ffconcat", b"#EXTM3U")):
        raise VideoError(
            f"{name}: this is a list of other files, not a video. Give the video files themselves.", "unsupported"
        )
    if head.lstrip()[:1] == b"<":
        raise VideoError(
            f"{name}: this is a web page, perhaps a download that failed. Download the video again.", "unreadable"
        )


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
