"""Frames decoded once: one file per clip on disk, shared by processes, epochs and runs.

An entry is found by the content of its video, the span, `mirrored` and the processor's sampling settings, so that a
moved folder keeps its entries and a changed video or setting never meets an old one. Three forms:

    raw       uint8 as in memory, mapped instead of read; 4.8 MB per clip of 8 frames of 448 x 448
    lossless  the same pixels in a third of the space (MagicYUV), at a few milliseconds per read
    jpeg      a twentieth of the space (JPEG 4:4:4, about 44 dB), at some ten milliseconds per read
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from microgesture import disk

try:
    import av
    from av.video.reformatter import VideoReformatter
except ImportError:
    av = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

CACHE_VERSION = 1  # part of every key: raise it when an entry of the same key is stored in another way

# Form -> codec, its pixels, its settings. A quantiser fixed at 2 is JPEG's quality of about 95.
CODECS = {
    "lossless": ("magicyuv", "gbrp", {}),
    "jpeg": ("mjpeg", "yuvj444p", {"qmin": "2", "qmax": "2"}),
}
FORMS = ("raw", *CODECS)
_SPACE = {"raw": 1.0, "lossless": 1 / 3, "jpeg": 1 / 20}  # of the pixels' own bytes, about

_MAGIC = b"FGSGL-FRAMES-1\n\0"
_SETTLED = 2.0  # seconds: a younger file may still change without a new time stamp
_DIGEST_LENGTH = 64


class Clip(NamedTuple):
    """What `FrameCache.get` takes, as one row: a video, its span in seconds and whether it is mirrored."""

    video: Any
    start: float | None = None
    end: float | None = None
    mirrored: bool = False


class FrameCache:
    """Frames of clips as `processor.sample` returns them, decoded at most once and kept in a folder.

    Several processes may use one folder at the same time: entries appear whole or not at all, and a damaged one is
    decoded again.

    Args:
        directory: Folder of the entries, made when missing.
        processor: An object with `sample(video, start, end, mirrored)`, `sampling_key`, `num_frames` and `size`.
        form: ``"raw"`` (exact, fastest), ``"lossless"`` (exact, a third of the space) or ``"jpeg"`` (smallest).

    Raises:
        ValueError: The form is unknown.
        ImportError: A compressed form is asked for and PyAV is not installed.
    """

    def __init__(self, directory: str | os.PathLike[str], processor: Any, form: str = "raw") -> None:
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}.")
        if form in CODECS and av is None:
            raise ImportError(f"The cache form {form!r} needs PyAV. Run: pip install av, or use the form 'raw'.")
        self.directory = Path(directory)
        self.processor = processor
        self.form = form
        self.shape = (processor.num_frames, 3, processor.size, processor.size)  # (T, 3, S, S)
        self._digests: dict[str, str] = {}
        with self._explaining():
            (self.directory / "digests").mkdir(parents=True, exist_ok=True)

    def get(
        self, video: Any, start: float | None = None, end: float | None = None, mirrored: bool = False
    ) -> torch.Tensor:
        """Return the frames of one clip, from the folder when they are there.

        Args:
            video: Path, the bytes of a video file, or frames, as `processor.sample` takes them.
            start: Start of the clip in seconds; None is the start of the video.
            end: End of the clip in seconds, itself outside; None is the end of the video.
            mirrored: Whether the camera stored a mirror image.

        Returns:
            uint8 RGB frames (T, 3, S, S). Writing to them does not change the entry.

        Raises:
            ValueError: The video cannot be read (`VideoError`); nothing is stored.
            disk.NoRoomError: There is no room for the entry.
        """
        with self._explaining():
            return self._get(video, start, end, mirrored)

    def _get(self, video: Any, start: float | None, end: float | None, mirrored: bool) -> torch.Tensor:
        path = self.path(video, start, end, mirrored)
        frames = self._read(path)
        if frames is not None:
            return frames
        frames = self.processor.sample(video, start=start, end=end, mirrored=mirrored)
        if tuple(frames.shape) != self.shape or frames.dtype != torch.uint8:
            raise ValueError(
                f"processor.sample returned {frames.dtype} {tuple(frames.shape)} where the cache keeps uint8 "
                f"{self.shape}. Make a new FrameCache after a change of the processor's settings."
            )
        self._write(path, frames)
        # A lossy entry must give the same pixels in the first epoch as in those that follow.
        return self._read(path) if self.form == "jpeg" else frames  # type: ignore[return-value]

    def fill(self, clips: Iterable[Sequence[Any]], workers: int = 0, disable: bool = False) -> list[tuple[int, str]]:
        """Decode the clips that are not in the folder yet.

        Args:
            clips: Rows of (video, start, end, mirrored), from the right shortened at will; see `Clip`.
            workers: Processes that decode, with one thread each; 0 decodes in this process.
            disable: Whether to hide the progress bar.

        Returns:
            Place and message of each clip whose video cannot be read.

        Raises:
            disk.NoRoomError: There is no room for the entries; it says how much the clips that are left take.
        """
        rows = _Filling(self, [Clip(*clip) for clip in clips])
        loader = DataLoader(rows, batch_size=None, num_workers=workers)
        failures = []
        with self._explaining(), FileLock(self.directory / "filling.lock"):  # runs side by side decode a clip once
            for place, fault in enumerate(tqdm(loader, desc="decoding clips", unit="clip", disable=disable)):
                if isinstance(fault, disk.NoRoomError):
                    raise disk.NoRoomError(fault.errno, f"{fault.strerror} {self._still_needed(len(rows) - place)}")
                if fault:
                    failures.append((place, fault))
        if failures:
            logger.warning("%d of %d clips cannot be read, the first: %s", len(failures), len(rows), failures[0][1])
        return failures

    def path(self, video: Any, start: float | None = None, end: float | None = None, mirrored: bool = False) -> Path:
        """Return where the entry of a clip is, or will be."""
        span = [None if moment is None else repr(float(moment)) for moment in (start, end)]
        identity = (CACHE_VERSION, self._digest(video), *span, bool(mirrored), self.processor.sampling_key)
        key = hashlib.sha256(repr(identity).encode()).hexdigest()
        return self.directory / key[:2] / f"{key}.{self.form}"

    def _explaining(self) -> AbstractContextManager[None]:
        smaller = "" if self.form == "jpeg" else ", or train with --cache_form jpeg, a twentieth of raw frames"
        cure = (
            "What is there already is whole and kept: free space and start the same line again, or give another "
            f"--cache_dir{smaller}."
        )
        return disk.explaining("the frames of clips", self.directory, cure)

    def _still_needed(self, clips: int) -> str:
        size, known = math.prod(self.shape) * _SPACE[self.form] / 1e6, "at most" if self.form == "raw" else "about"
        return f"{clips} clips were left; as {self.form} they take {known} {size * clips:,.1f} MB."

    def _digest(self, video: Any) -> str:
        if isinstance(video, bytes | bytearray):
            return hashlib.sha256(video).hexdigest()
        if isinstance(video, np.ndarray | torch.Tensor):
            array = np.ascontiguousarray(torch.as_tensor(video).numpy())
            return hashlib.sha256(repr((array.dtype.str, array.shape)).encode() + array.tobytes()).hexdigest()
        path = os.path.abspath(video)
        try:
            status = os.stat(path)
        except OSError:
            return path  # the processor says what is wrong with it
        name = hashlib.sha256(repr((path, status.st_size, status.st_mtime_ns)).encode()).hexdigest()
        if name not in self._digests:
            self._digests[name] = self._file_digest(path, self.directory / "digests" / name, status)
        return self._digests[name]

    @staticmethod
    def _file_digest(path: str, memo: Path, status: os.stat_result) -> str:
        """Return the sha256 of a file's content, which another process or run may have noted in `memo`."""
        if memo.is_file() and memo.stat().st_size == _DIGEST_LENGTH:
            return memo.read_text(encoding="ascii")
        if not os.path.isfile(path):
            return path
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time() - status.st_mtime > _SETTLED:
            with _replacing(memo) as file:
                file.write(digest.encode("ascii"))
        return digest

    def _read(self, path: Path) -> torch.Tensor | None:
        """Return the entry, or None where it is missing or damaged."""
        try:
            return _read_raw(path, self.shape) if self.form == "raw" else _read_coded(path, self.shape, self.form)
        except FileNotFoundError:
            return None
        except ValueError as error:  # FFmpeg's errors of damaged data are ValueErrors too
            logger.warning("%s is damaged (%s) and is decoded again.", path, error)
            return None

    def _write(self, path: Path, frames: torch.Tensor) -> None:
        path.parent.mkdir(exist_ok=True)
        with _replacing(path) as file:
            if self.form == "raw":
                # Not `write_array`: it writes by `ndarray.tofile`, whose error does not say that the disk is full.
                array = np.ascontiguousarray(frames.numpy())
                np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
                file.write(array.data)
            else:
                _write_coded(file, frames, self.form)


class _Filling(Dataset[str | disk.NoRoomError]):
    """Item i makes sure that clip i is in the cache; its value is what is wrong with the video, or empty.

    A lack of room is given back, not raised: a worker's traceback would be all that a loader makes of it.
    """

    def __init__(self, cache: FrameCache, clips: list[Clip]) -> None:
        self.cache = cache
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, place: int) -> str | disk.NoRoomError:
        try:
            self.cache.get(*self.clips[place])
        except ValueError as error:
            return str(error)
        except disk.NoRoomError as error:
            return error
        return ""


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that takes the place of `path` when all went well, so that no one ever sees a part of it."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _read_raw(path: Path, shape: tuple[int, ...]) -> torch.Tensor:
    # Mode "c" maps the file copy-on-write: the pages are shared until someone writes to his own copy.
    array = np.lib.format.open_memmap(path, mode="c")
    if array.shape != shape or array.dtype != np.uint8:
        raise ValueError(f"it holds {array.dtype} {array.shape}, not uint8 {shape}")
    if path.stat().st_size != array.offset + array.nbytes:
        raise ValueError(f"it has {path.stat().st_size} bytes, not {array.offset + array.nbytes}")
    return torch.from_numpy(array)


def _write_coded(file: BinaryIO, frames: torch.Tensor, form: str) -> None:
    """Write magic, T lengths as little-endian uint32, then the T coded pictures."""
    codec, pixels, options = CODECS[form]
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = frames.shape[2:]
    encoder.pix_fmt, encoder.time_base, encoder.options = pixels, Fraction(1, 25), options
    encoder.thread_count = 1
    if form == "jpeg":
        encoder.color_range = 2  # JPEG's: 0 to 255
    packets = []
    for place, picture in enumerate(frames.permute(0, 2, 3, 1).contiguous().numpy()):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels, threads=1)
        frame.pts, frame.time_base = place, encoder.time_base
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    packets += [bytes(packet) for packet in encoder.encode(None)]
    file.write(_MAGIC)
    file.write(np.array([len(packet) for packet in packets], dtype="<u4").tobytes())
    file.writelines(packets)


def _read_coded(path: Path, shape: tuple[int, ...], form: str) -> torch.Tensor:
    data = path.read_bytes()
    head = len(_MAGIC) + 4 * shape[0]
    if not data.startswith(_MAGIC) or len(data) < head:
        raise ValueError("it has no header")
    ends = head + np.cumsum(np.frombuffer(data, dtype="<u4", count=shape[0], offset=len(_MAGIC)), dtype=np.int64)
    if ends[-1] != len(data):
        raise ValueError(f"it has {len(data)} bytes where its header says {ends[-1]}")
    decoder: Any = av.CodecContext.create(CODECS[form][0], "r")
    decoder.thread_count = 1
    reformatter = VideoReformatter()
    frames = torch.empty(shape, dtype=torch.uint8)
    begin = head
    for picture, end in zip(frames, ends, strict=True):
        (frame,) = decoder.decode(av.Packet(data[begin:end]))
        rgb = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        picture.copy_(torch.from_numpy(rgb).permute(2, 0, 1))
        begin = int(end)
    return frames
