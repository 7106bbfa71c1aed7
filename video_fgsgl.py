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
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
import torch

try:
    from .container_fgsgl import COPY_AGAIN, Clip, Timeline, VideoError, check_size
except ImportError:
    from container_fgsgl import COPY_AGAIN, Clip, Timeline, VideoError, check_size
try:
    from av.sidedata.sidedata import SideDataContainer
    from av.video.reformatter import VideoReformatter
except ImportError:
    SideDataContainer = VideoReformatter = None  # type: ignore[assignment, misc]
try:
    import decord
except ImportError:
    decord = None

Read = TypeVar("Read")

READER_VERSION = 1  # part of every cache key: raise it when the same file gives other frames

SPAN_SLACK = Fraction(1, 10)  # seconds: annotation tools round, and sound may end a little after the picture

# Where decord was found to return the same frames; anything else is refused.
DECORD_READS = {("mov", "h264"), ("mov", "hevc"), ("mov", "vp9"), ("avi", "mpeg4")}
DECORD_READS |= {("matroska", "h264"), ("matroska", "hevc"), ("matroska", "vp8"), ("matroska", "vp9")}
DECORD_PIXELS = {"yuv420p", "yuvj420p"}


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
        with closing(Clip(video, threads)) as clip:
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
    with closing(Clip(video, 1)) as clip:
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


class UnplannedError(Exception):
    """The packets promise other frames than the decoder shows: open the recording again with `measured`."""


class Recording:
    """A video file opened for many spans: its packets are listed once, and each wanted frame is decoded once.

    Args:
        video: Path or the bytes of a video file.
        threads: Decoder threads.
        measured: Take the times of the frames from a decode of the whole file, and not from its packets.

    Raises:
        VideoError: The file cannot be read.
        ImportError: PyAV is not installed.
    """

    def __init__(self, video: Any, threads: int = 1, measured: bool = False) -> None:
        self._clip = Clip(video, threads)
        self._clip.kept = None  # it may be hours long: packets are read again as frames are wanted
        try:
            planned = None if measured else self._clip.timeline()
            self._planned = planned is not None
            self.timeline = planned or self._clip.measured_timeline()
        except BaseException:
            self._clip.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._clip.close()

    def places(self, num_frames: int, start: Fraction, end: Fraction) -> list[int]:
        """Return the numbers of the frames that `read_frames` returns for this span, which lies inside the video."""
        return _places(self.timeline, num_frames, start, end)

    def pictures(self, places: Collection[int]) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield each wanted frame once, as (number, uint8 RGB (H, W, 3)), in about the order of time; one at a time.

        Raises:
            VideoError: A part of the file cannot be decoded.
            UnplannedError: A frame did not come; open the recording again with `measured`.
        """
        number = {self.timeline.pts[place] if self._planned else place: place for place in places}
        shown = ((f.pts, f) for f in self._clip.wanted_frames(set(number))) if self._planned else None
        for key, picture in _pictures(shown or enumerate(self._clip.all_frames()), number, self.timeline.name):
            yield number.pop(key), picture
        if number:
            raise UnplannedError(self.timeline.name)


def replanned(read: Callable[[bool], Read]) -> Read:
    """Return `read(measured)`: with the times of the packets, and where the decoder shows other frames, measured ones.

    Raises:
        VideoError: Two decodes gave different frames, or as `read`.
    """
    for measured in (False, True):
        try:
            return read(measured)
        except UnplannedError as error:
            name = str(error)
    raise VideoError(f"{name}: two decodes gave different frames. Copy the file again.", "truncated")


def _pick_places(timeline: Timeline, num_frames: int, start: float | None, end: float | None) -> list[int]:
    """Return the places in the timeline of the frames on display at the middle of each of `num_frames` equal parts."""
    return _places(timeline, num_frames, *_check_span(timeline, start, end))


def _places(timeline: Timeline, num_frames: int, first: Fraction, last: Fraction) -> list[int]:
    pts = timeline.pts
    # Exact arithmetic: a moment that falls on the border of two frames must not depend on rounding.
    step = (last - first) / (2 * num_frames)
    moments = (first + (2 * k + 1) * step for k in range(num_frames))
    return [bisect_right(pts, pts[0] + moment // timeline.time_base) - 1 for moment in moments]


def _check_span(timeline: Timeline, start: float | None, end: float | None) -> tuple[Fraction, Fraction]:
    total = timeline.seconds
    first = Fraction(0) if start is None else _seconds("start", start, timeline.name)
    last = total if end is None else _seconds("end", end, timeline.name)
    if last > total + SPAN_SLACK or first >= total:
        hint = ""
        if last.denominator == first.denominator == 1 and last <= len(timeline.pts) + 1:
            fps = float(len(timeline.pts) / total)
            hint = f" If {first} and {last} are frame numbers, divide them by {fps:.6g} frames per second."
        raise VideoError(
            f"{timeline.name}: the span {float(first):g} s to {float(last):g} s reaches beyond the video, which is "
            f"{float(total):.3f} s long. Give seconds from the start of the video, or leave out `end`.{hint}",
            "bad_span",
        )
    if first >= last:
        raise VideoError(
            f"{timeline.name}: the span starts at {float(first):g} s and ends at {float(last):g} s. "
            "Give a start that lies before the end.",
            "bad_span",
        )
    return first, last


def _seconds(field: str, value: float, name: str) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
        raise VideoError(
            f"{name}: {field} must be a number of seconds, got {value!r}. "
            "Fill in the time, or leave it out for the whole video.",
            "bad_span",
        )
    if value < 0:
        raise VideoError(
            f"{name}: {field} is {value:g} s, before the video begins. Times count from its first frame.",
            "bad_span",
        )
    return Fraction(repr(float(value)))  # 0.2 means 1/5 s, not the binary number next to it


def _read_with_pyav(clip: Clip, num_frames: int, start: float | None, end: float | None) -> torch.Tensor:
    timeline = clip.timeline()
    if timeline is not None:
        wanted = [timeline.pts[place] for place in _pick_places(timeline, num_frames, start, end)]
        frames = _collect(((frame.pts, frame) for frame in clip.wanted_frames(set(wanted))), wanted, clip.name)
        if frames is not None:
            return frames
    # Something is damaged, or the decoder shows other frames than the packets promise: a plain decode tells which.
    wanted = _pick_places(clip.measured_timeline(), num_frames, start, end)
    frames = _collect(enumerate(clip.all_frames()), wanted, clip.name)
    if frames is None:
        raise VideoError(f"{clip.name}: two decodes gave different frames. {COPY_AGAIN}", "truncated")
    return frames


def _first_frame(clip: Clip) -> tuple[Timeline, Any]:
    timeline = clip.timeline()
    if timeline is not None:
        for frame in clip.wanted_frames({timeline.pts[0]}):
            if frame.pts == timeline.pts[0]:
                return timeline, frame
    return clip.measured_timeline(), next(clip.all_frames())


def _collect(frames: Iterable[tuple[int, Any]], wanted: list[int], name: str) -> torch.Tensor | None:
    """Return the wanted (key, frame) pairs as RGB (T, H, W, 3), or None when one of them does not come."""
    slots: dict[int, list[int]] = {}
    for slot, key in enumerate(wanted):
        slots.setdefault(key, []).append(slot)
    output: torch.Tensor | None = None
    for key, picture in _pictures(frames, slots, name, len(wanted)):
        if output is None:
            output = picture.new_empty(len(wanted), *picture.shape)
        for slot in slots.pop(key):
            output[slot] = picture
        if not slots:
            return output
    return None


def _pictures(
    frames: Iterable[tuple[int, Any]], wanted: Collection[int], name: str, at_once: int = 1
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the wanted frames as RGB (H, W, 3), all of the size of the first; the caller keeps `at_once` of them."""
    reformatter = VideoReformatter()  # shared, because each one builds a scaler
    size: tuple[int, int] | None = None
    for key, frame in frames:
        if key not in wanted:
            continue
        check_size(frame.width, frame.height, name, at_once)
        size = size or (frame.width, frame.height)  # a later change of size is scaled back to the first
        rgb = reformatter.reformat(frame, width=size[0], height=size[1], format="rgb24", threads=1)
        yield key, _upright(torch.from_numpy(rgb.to_ndarray()), frame)


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
    # `frame.side_data` would be kept by the frame that it keeps: both would stay until Python looks for such circles.
    data = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]
    if data is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(data), dtype="=i4")[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def _read_with_decord(clip: Clip, num_frames: int, start: float | None, end: float | None) -> torch.Tensor:
    if decord is None:
        raise ImportError("The backend 'decord' is not installed. Run: pip install decord, or use the backend 'pyav'.")
    timeline = clip.timeline()
    reason = _why_not_decord(clip, timeline)
    if timeline is None or reason:
        raise _decord_error(clip, reason)
    places = _pick_places(timeline, num_frames, start, end)
    check_size(clip.codec.width, clip.codec.height, clip.name, num_frames)
    source = io.BytesIO(clip.source) if isinstance(clip.source, bytes) else clip.source
    try:
        reader = decord.VideoReader(source, num_threads=clip.threads)
        if len(reader) != len(timeline.pts):  # with a count that is too high, get_batch may never return
            raise _decord_error(clip, f"counts {len(reader)} frames where {len(timeline.pts)} are displayed")
        return torch.from_numpy(reader.get_batch(places).asnumpy())
    except decord.DECORDError as error:
        raise _decord_error(clip, "cannot read it") from error


def _why_not_decord(clip: Clip, timeline: Timeline | None) -> str:
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


def _keys_are_clean(clip: Clip) -> bool:
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


def _decord_error(clip: Clip, reason: str) -> VideoError:
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
    check_size(frames.shape[2], frames.shape[1], "Frames in memory", num_frames)
    places = [(2 * k + 1) * len(frames) // (2 * num_frames) for k in range(num_frames)]
    return frames[places]
