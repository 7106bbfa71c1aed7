"""Size, quality and time of each form of the frame cache against decoding again, in one run.

    python benchmarks/bench_frame_cache.py            24 clips
    python benchmarks/bench_frame_cache.py --quick    6 clips, under 40 s
    python benchmarks/bench_frame_cache.py a.mp4 ...  these videos instead of generated ones

CPU time of this process, one thread; the files are in the page cache, so that a slow disk is not seen.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench_decode import write_clip

from microgesture.data.frame_cache import FORMS, FrameCache
from processing_fgsgl import FGSGLProcessor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path, help="videos to use instead of a generated one")
    parser.add_argument("--quick", action="store_true", help="6 clips")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    processor = FGSGLProcessor()
    print(f"{platform.platform()}, {platform.machine()}; torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.videos:
            clips = [(path, None, None) for path in arguments.videos]
        else:
            path = Path(folder) / "clip.mp4"
            write_clip(path, 1280, 720, 63, 250)
            clips = [(path, k / 100, 1.5 + k / 100) for k in range(6 if arguments.quick else 24)]
        exact = []
        decode = []
        for clip in clips:
            begin = time.process_time()
            exact.append(processor.sample(*clip))
            decode.append(time.process_time() - begin)
        print(f"\n{'form':10} {'MB/clip':>8} {'write ms':>9} {'read ms':>8} {'x faster':>9} {'PSNR dB':>8}")
        print(f"{'decode':10} {'':8} {'':9} {1e3 * statistics.median(decode):8.2f} {1:9.1f} {'exact':>8}")
        for form in FORMS:
            row(FrameCache(Path(folder) / form, processor, form), clips, exact, statistics.median(decode))


def row(cache: FrameCache, clips: list[tuple], exact: list[torch.Tensor], decode: float) -> None:
    """Print the line of one form; reading includes finding the entry and a copy of all pixels."""
    write, read, errors, size = [], [], [], 0
    for clip, frames in zip(clips, exact, strict=True):
        path = cache.path(*clip)
        begin = time.process_time()
        cache._write(path, frames)
        write.append(time.process_time() - begin)
        size += path.stat().st_size
        errors.append((cache.get(*clip).float() - frames.float()).square().mean().item())
        begin = time.process_time()
        cache.get(*clip).clone()
        read.append(time.process_time() - begin)
    worst = max(errors)
    psnr = f"{10 * math.log10(255**2 / worst):.1f}" if worst else "exact"
    took = statistics.median(read)
    print(
        f"{cache.form:10} {size / len(clips) / 1e6:8.2f} {1e3 * statistics.median(write):9.2f} {1e3 * took:8.2f} "
        f"{decode / took:9.1f} {psnr:>8}"
    )


if __name__ == "__main__":
    main()
