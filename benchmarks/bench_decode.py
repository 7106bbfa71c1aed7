"""Time from a video file to 8 frames of 448 x 448, for our reader and the usual libraries, in one run.

    python benchmarks/bench_decode.py            720p and 1080p, key frames every 12 and 250 frames, 1 and 2 threads
    python benchmarks/bench_decode.py --quick    one clip, 1 thread, 7 rounds, and the time of the resize

Libraries that are not installed are left out. Every method opens the file, takes the same 8 frames and resizes them in
the same way, once in each round, so that a busy machine slows all of them; ratios are medians over the rounds to
"ours" of the same round. CPU time is that of all threads of this process. "same" says whether the 8 frames are those
of a plain sequential decode, byte for byte.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from processing_fgsgl import FGSGLProcessor
from video_fgsgl import decord, read_frames

try:
    import cv2
except ImportError:
    cv2 = None
try:
    from PIL import Image
except ImportError:
    Image = None
try:
    from torchcodec.decoders import VideoDecoder
except (ImportError, OSError, RuntimeError):  # also where its FFmpeg libraries are missing
    VideoDecoder = None

Reader = Callable[[Path, int, int], torch.Tensor]

T, S = 8, 448


def write_clip(path: Path, width: int, height: int, frames: int, gop: int) -> None:
    """A textured room, a moving figure and sensor noise, x264 with its defaults at 25 frames per second."""
    random = np.random.default_rng(0)
    coarse = random.integers(40, 200, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    room = coarse.repeat(16, 0).repeat(16, 1)[:height, :width].astype(np.int16)
    noise = random.integers(-6, 7, (height + 64, width + 64, 1), dtype=np.int16)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(
            "libx264", rate=25, options={"crf": "23", "g": str(gop), "preset": "veryfast", "bf": "3"}
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(frames):
            picture = room.copy()
            x, y = width // 3 + 4 * k, height // 4 + int(30 * np.sin(k / 4))
            picture[y : y + height // 2, x : x + width // 8] = (180, 140, 120)
            dy, dx = random.integers(0, 64, 2)
            picture += noise[dy : dy + height, dx : dx + width]
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def middles(count: int) -> list[int]:
    return [(2 * k + 1) * count // (2 * T) for k in range(T)]


def ours(path: Path, count: int, threads: int) -> torch.Tensor:
    return read_frames(path, T, threads=threads)


def plain(path: Path, count: int, threads: int) -> torch.Tensor:
    wanted = set(middles(count))
    with av.open(str(path)) as file:
        file.streams.video[0].codec_context.thread_count = threads
        frames = [f.to_ndarray(format="rgb24", threads=1) for k, f in enumerate(file.decode(video=0)) if k in wanted]
    return torch.from_numpy(np.stack(frames))


def every_frame_to_rgb(path: Path, count: int, threads: int) -> torch.Tensor:
    with av.open(str(path)) as file:
        file.streams.video[0].codec_context.thread_count = threads
        frames = [frame.to_ndarray(format="rgb24", threads=1) for frame in file.decode(video=0)]
    return torch.from_numpy(np.stack([frames[k] for k in middles(count)]))


def with_decord(path: Path, count: int, threads: int) -> torch.Tensor:
    return torch.from_numpy(decord.VideoReader(str(path), num_threads=threads).get_batch(middles(count)).asnumpy())


def with_opencv(path: Path, count: int, threads: int) -> torch.Tensor:
    wanted, frames = set(middles(count)), []
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
    for k in range(count):
        video.grab()
        if k in wanted:
            frames.append(cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB))
    video.release()
    return torch.from_numpy(np.stack(frames))


def with_torchcodec(path: Path, count: int, threads: int) -> torch.Tensor:
    decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=threads)
    return decoder.get_frames_at(middles(count)).data


def readers() -> dict[str, Reader]:
    """The ways to 8 frames that are installed here; the first is what the others are compared with."""
    found: dict[str, Reader] = {
        "ours": ours,
        "PyAV, one after the other, wanted to RGB": plain,
        "PyAV, every frame to RGB": every_frame_to_rgb,
    }
    if decord is not None:
        found["decord"] = with_decord
        found["ours (backend decord)"] = lambda path, _, threads: read_frames(
            path, T, threads=threads, backend="decord"
        )
    if cv2 is not None:
        found["OpenCV, one after the other"] = with_opencv
    if VideoDecoder is not None:
        found["torchcodec"] = with_torchcodec
    return found


def pillow_resize(frames: torch.Tensor) -> None:
    for frame in frames.numpy():
        np.asarray(Image.fromarray(frame).resize((S, S), Image.Resampling.BICUBIC))


def compare(title: str, methods: dict[str, Callable[[], object]], same: dict[str, str], rounds: int) -> None:
    """Prints one table; the first method is what the others are compared with."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for name, method in [*methods.items()] * (rounds + 1):
        begin = time.process_time(), time.perf_counter()
        method()
        spent[name].append((time.process_time() - begin[0], time.perf_counter() - begin[1]))
    first = spent[next(iter(methods))][1:]  # round 0 warms up
    print(f"\n{title}\n{'method':42} {'CPU ms':>8} {'ratio':>6} {'wall ms':>8} {'ratio':>6}  same")
    for name, times in spent.items():
        columns = ""
        for clock in (0, 1):
            ratio = statistics.median(t[clock] / base[clock] for t, base in zip(times[1:], first, strict=True))
            columns += f" {1e3 * statistics.median(t[clock] for t in times[1:]):8.1f} {ratio:6.2f}"
        print(f"{name:42}{columns}  {same.get(name, '')}", flush=True)


def compare_resizes(processor: FGSGLProcessor, frames: torch.Tensor, rounds: int) -> None:
    ways: dict[str, Callable[[], object]] = {"our resize": partial(processor.resize, frames)}
    if Image is not None:
        ways["Pillow bicubic"] = partial(pillow_resize, frames)
    compare(f"8 frames of {frames.shape[2]} x {frames.shape[1]} -> {S} x {S}", ways, {}, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one clip, 1 thread, 7 rounds")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    processor = FGSGLProcessor(num_frames=T, size=S)
    libraries = {"decord": decord, "OpenCV": cv2, "torchcodec": VideoDecoder}
    missing = [name for name, library in libraries.items() if library is None]
    print(f"{platform.platform()}, {platform.machine()}; PyAV {av.__version__}, torch {torch.__version__}")
    print(f"not installed: {', '.join(missing) or 'nothing'}")
    shapes = [(1280, 720, 63, 250), (1280, 720, 63, 12), (1920, 1080, 56, 250), (1920, 1080, 56, 12)]
    rounds = 7 if args.quick else args.rounds
    with tempfile.TemporaryDirectory() as folder:
        for width, height, count, gop in shapes[: 1 if args.quick else 4]:
            path = Path(folder) / f"{height}_{gop}.mp4"
            write_clip(path, width, height, count, gop)
            expected = plain(path, count, 1)
            for threads in (1,) if args.quick else (1, 2):
                ways = {name: partial(read, path, count, threads) for name, read in readers().items()}
                same = {name: "yes" if torch.equal(read(), expected) else "NO" for name, read in ways.items()}
                methods = {name: lambda read=read: processor.resize(read()) for name, read in ways.items()}
                title = f"{width} x {height}, {count} frames, a key frame every {gop}, threads: {threads}"
                compare(title, methods, same, rounds)
            if args.quick:
                compare_resizes(processor, expected, rounds)


if __name__ == "__main__":
    main()
