"""Time from a video file to 8 frames of 448 x 448, for our reader and the usual ways, in one run.

    python benchmarks/bench_reader.py            all clips, 15 rounds
    python benchmarks/bench_reader.py --quick    one clip, 7 rounds, under 40 s

Every method runs once in each round, so that a busy machine slows all of them; ratios are medians over the rounds to
"ours" of the same round. CPU time of this process, one thread, the file opened each time.
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
from pathlib import Path

import av
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from processing_fgsgl import FGSGLProcessor
from video_fgsgl import decord, read_frames

try:
    from PIL import Image
except ImportError:
    Image = None

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


def decode_touching_nothing(path: Path) -> None:
    with av.open(str(path)) as file:
        file.streams.video[0].codec_context.thread_count = 1
        for _ in file.decode(video=0):
            pass


def plain(path: Path, count: int) -> torch.Tensor:
    wanted = set(middles(count))
    with av.open(str(path)) as file:
        file.streams.video[0].codec_context.thread_count = 1
        frames = [f.to_ndarray(format="rgb24", threads=1) for k, f in enumerate(file.decode(video=0)) if k in wanted]
    return torch.from_numpy(np.stack(frames))


def every_frame_to_rgb(path: Path, count: int) -> torch.Tensor:
    with av.open(str(path)) as file:
        file.streams.video[0].codec_context.thread_count = 1
        frames = [frame.to_ndarray(format="rgb24", threads=1) for frame in file.decode(video=0)]
    return torch.from_numpy(np.stack([frames[k] for k in middles(count)]))


def with_decord(path: Path, count: int) -> torch.Tensor:
    return torch.from_numpy(decord.VideoReader(str(path), num_threads=1).get_batch(middles(count)).asnumpy())


def pillow_resize(frames: torch.Tensor) -> None:
    for frame in frames.numpy():
        np.asarray(Image.fromarray(frame).resize((S, S), Image.Resampling.BICUBIC))


def compare(title: str, methods: dict[str, Callable[[], object]], rounds: int) -> None:
    """Print one table; the first method is what the others are compared with."""
    spent: dict[str, list[float]] = {name: [] for name in methods}
    for name, method in [*methods.items()] * (rounds + 1):
        begin = time.process_time()
        method()
        spent[name].append(time.process_time() - begin)
    reference = next(iter(methods))
    print(f"\n{title}\n{'method':48} {'CPU ms':>8} {'ratio':>7}")
    for name, times in spent.items():
        pairs = [time / base for time, base in zip(times[1:], spent[reference][1:], strict=True)]  # round 0 warms up
        print(f"{name:48} {1e3 * statistics.median(times[1:]):8.1f} {statistics.median(pairs):7.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one clip and 7 rounds")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    processor = FGSGLProcessor(num_frames=T, size=S)
    print(f"{platform.platform()}, {platform.machine()}; PyAV {av.__version__}, torch {torch.__version__}")
    clips = [(1280, 720, 63, 250), (1280, 720, 63, 12), (1920, 1080, 56, 250)][: 1 if quick else 3]
    with tempfile.TemporaryDirectory() as folder:
        for width, height, count, gop in clips:
            path = Path(folder) / f"{height}_{gop}.mp4"
            write_clip(path, width, height, count, gop)
            methods: dict[str, Callable[[], object]] = {
                "ours (PyAV)": lambda path=path: processor.sample(path),
                "limit: decode everything, touch nothing": lambda path=path: decode_touching_nothing(path),
                "plain decode, wanted to RGB, our resize": lambda path=path, n=count: processor.sample(plain(path, n)),
                "every frame to RGB, our resize": lambda path=path, n=count: processor.sample(
                    every_frame_to_rgb(path, n)
                ),
            }
            if decord is not None:
                methods["ours (backend decord)"] = lambda path=path: FGSGLProcessor(
                    num_frames=T, size=S, video_backend="decord"
                ).sample(path)
                methods["decord, our resize"] = lambda path=path, n=count: processor.sample(with_decord(path, n))
                if Image is not None:
                    methods["decord, Pillow resize (the usual InternVL way)"] = lambda path=path, n=count: (
                        pillow_resize(with_decord(path, n))
                    )
            expected = plain(path, count)
            print(f"\nsame frames as a plain decode: {torch.equal(read_frames(path, T), expected)}")
            compare(f"{width} x {height}, {count} frames, GOP {gop}", methods, 7 if quick else 15)
            resizes: dict[str, Callable[[], object]] = {"our resize": lambda frames=expected: processor.sample(frames)}
            if Image is not None:
                resizes["Pillow bicubic"] = lambda frames=expected: pillow_resize(frames)
            compare(f"8 frames of {width} x {height} -> {S} x {S}", resizes, 7 if quick else 15)


if __name__ == "__main__":
    main()
