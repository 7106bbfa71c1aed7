"""A video file -> its packets, when each frame is displayed, and decoded frames; or words on what is wrong with it."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

try:
    import av
except ImportError:
    av = None  # type: ignore[assignment]

COPY_AGAIN = "Copy or download the file again, or export it again from its source."
MAX_PIXELS = 4096 * 4096  # of one picture: 16.8 million, which holds 4K and 5.3K cameras
MAX_OUTPUT_BYTES = 1 << 30
MAX_FRAMES = 1_000_000  # of one file: nine hours at 30 a second
MAX_SECONDS = 24 * 3600
KEPT_PACKET_BYTES = 64 << 20  # a longer file is read a second time instead of being held in memory

# Playlists (hls, concat) and still images open other files or are no video, so the demuxers are named one by one.
FORMATS = ("mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "asf", "flv", "ogg", "gif", "dv", "mxf")
# Decoding may start at any key frame of these; other codecs are decoded from the first packet.
KEYED_CODECS = {"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4", "mpeg2video", "prores", "mjpeg"}
NONREF_CODECS = {"h264", "hevc"}  # others lose frames when their unreferenced pictures are skipped

_IMAGES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}


class VideoError(ValueError):
    """A video that cannot be read, or a request that it cannot serve; the message says what to do.

    Attributes:
        kind: One word for programs, such as ``empty``, ``not_found``, ``lfs_pointer``, ``too_large`` or ``bad_span``.
    """

    def __init__(self, message: str, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Timeline:
    """When each frame is displayed: `pts` ascending and `end`, in units of `time_base` seconds."""

    name: str
    pts: list[int]
    end: int
    time_base: Fraction

    @property
    def seconds(self) -> Fraction:
        """Length of the video, from the first frame's start to the last frame's end."""
        return (self.end - self.pts[0]) * self.time_base


class _Packet(NamedTuple):
    """What the frame plan needs to know of one packet, in the order of the file."""

    pts: int | None
    duration: int
    key: bool
    shown: bool


class Clip:
    """An open video file, its real video stream and the list of that stream's packets.

    Args:
        video: Path or the bytes of a video file.
        threads: Decoder threads.

    Raises:
        VideoError: This is no video that can be read, or a part of it is missing.
        ImportError: PyAV is not installed.
    """

    def __init__(self, video: Any, threads: int) -> None:
        if av is None:
            raise ImportError("Reading video files needs PyAV, which is not installed. Run: pip install av")
        self.name, self.source = _check_source(video)
        self.threads = threads
        self._open()
        try:
            self.table = self._list_packets()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; `reopen` opens it again."""
        self.container.close()

    def reopen(self) -> None:
        """Go back to the first packet, with a fresh decoder."""
        self.close()
        self._open()

    def _open(self) -> None:
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
                f"an MP4 stands at its end), damaged, or of another type than its name says. {COPY_AGAIN}"
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

    def packets(self) -> Iterator[Any]:
        """Yield the stream's packets in the order of the file, without the empty ones."""
        try:
            for packet in self.container.demux(self.stream):
                if packet.size > 0:  # an empty one means "end of file" to a decoder
                    yield packet
        except (av.error.FFmpegError, IndexError) as error:  # PyAV looks up streams that damaged packets name
            raise VideoError(
                f"{self.name}: the file breaks off or is damaged ({_reason(error)}). {COPY_AGAIN}", "truncated"
            ) from error

    def _list_packets(self) -> list[_Packet]:
        table: list[_Packet] = []
        kept: list[Any] = []
        size = 0
        for packet in self.packets():
            # A transport stream is made to be cut and joined anywhere; elsewhere a broken packet is a broken file.
            if packet.is_corrupt and self.format != "mpegts":
                raise VideoError(f"{self.name}: the file breaks off or is damaged inside. {COPY_AGAIN}", "truncated")
            table.append(_Packet(packet.pts, packet.duration or 0, packet.is_keyframe, not packet.is_discard))
            if len(table) > MAX_FRAMES:
                raise self._too_long(f"more than {MAX_FRAMES} frames")
            size += packet.size
            if size <= KEPT_PACKET_BYTES:
                kept.append(packet)
        self.kept = kept if size <= KEPT_PACKET_BYTES else None
        self._check_complete(table)
        times = [packet.pts for packet in table if packet.pts is not None] or [0]
        if (max(times) - min(times)) * self.time_base > MAX_SECONDS:
            raise self._too_long(f"frames that lie more than {MAX_SECONDS // 3600} hours apart")
        return table

    def _too_long(self, what: str) -> VideoError:
        return VideoError(f"{self.name}: the file has {what}. Cut the recording into several files.", "too_large")

    def _check_complete(self, table: list[_Packet]) -> None:
        """Raise when the header promises more than the file holds: a cut file is no shorter gesture."""
        # An edit list may leave frames out of the index. AVI counts repeated pictures, which are no packets.
        promised = min(self.stream.frames, len(self.stream.index_entries)) if self.format == "mov" else 0
        if not table or len(table) < promised:
            raise VideoError(
                f"{self.name}: the header promises {promised or 'some'} frames, but the file holds {len(table)}. "
                f"{COPY_AGAIN}",
                "truncated",
            )
        length = self._promised_seconds()
        end = max((packet.pts or 0) + packet.duration for packet in table) * self.time_base
        if length > end + Fraction(1, 2):
            raise VideoError(
                f"{self.name}: the header promises {float(length):.2f} s of video, but the file breaks off after "
                f"{float(end):.2f} s. {COPY_AGAIN}",
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

    def timeline(self) -> Timeline | None:
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
        return Timeline(self.name, pts, pts[-1] + self._interval(pts, durations[pts[-1]]), self.time_base)

    def measured_timeline(self) -> Timeline:
        """Return the timeline of the frames that a plain decode of the whole file displays."""
        pts = [frame.pts for frame in self.all_frames()]
        if any(time is None for time in pts) or any(b <= a for a, b in pairwise(pts)):
            interval = self._interval([], 0)
            pts = [k * interval for k in range(len(pts))]
        durations = {packet.pts: packet.duration for packet in self.table}
        end = pts[-1] + self._interval(pts, durations.get(pts[-1], 0))
        return Timeline(self.name, pts, end, self.time_base)

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
                f"rest is damaged. {COPY_AGAIN}",
                "truncated",
            )

    def wanted_frames(self, wanted: set[int]) -> Iterator[Any]:
        """Decode the frames of these pts and what they refer to; frames of other pts come along.

        Ends early where decoding fails, a frame is damaged or the file calls a packet a key frame that is none.
        """
        parts = self._parts(wanted)
        entries = {self.table[first].pts for first, _ in parts if first}
        with suppress(av.error.FFmpegError):
            for frame in self._decode_parts(parts, wanted):
                if frame.is_corrupt or (frame.pts in entries and not frame.key_frame):
                    return
                yield frame

    def _decode_parts(self, parts: list[tuple[int, int]], wanted: set[int]) -> Iterator[Any]:
        skip = self.codec.name in NONREF_CODECS
        starts = {first for first, _ in parts[1:]}
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


def check_size(width: int, height: int, name: str, num_frames: int = 1) -> None:
    """Raise when a picture, or `num_frames` of them in RGB, would need too much memory."""
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
    check_size(best.codec_context.width, best.codec_context.height, name)
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
        raise VideoError(f"{name}: the file is empty (0 bytes). {COPY_AGAIN}", "empty")
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
    text = "PDF document" if head.startswith(b"%PDF") else "text file" if _is_text(head) else None
    if text is not None:
        raise VideoError(
            f"{name}: this is a {text}, not a video, whatever its name says. Give the video.", "unreadable"
        )


def _is_text(head: bytes) -> bool:
    return head.isascii() and head.translate(None, b"\t\n\r\f").decode().isprintable()


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
