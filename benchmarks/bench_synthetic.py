"""Clips per second of the synthetic generator, and where the time goes: drawing or encoding.

    python benchmarks/bench_synthetic.py --clips 40

CPU time of this process, so that a busy machine does not count; one process draws. Reading a plan costs nothing.
"""

import argparse
import tempfile
import time
from pathlib import Path

from microgesture.data.synthetic import generator_hash
from microgesture.data.synthetic.motion import FPS
from microgesture.data.synthetic.plan import plan_clips
from microgesture.data.synthetic.render import pose
from microgesture.data.synthetic.scene import Painter
from microgesture.data.synthetic.video import write_video


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=40)
    count = parser.parse_args().clips
    plans = plan_clips("demo", 0)
    clips = plans["train"][:count]
    spent = dict.fromkeys(("pose", "draw", "encode"), 0.0)
    frames = 0
    with tempfile.TemporaryDirectory() as folder:
        for clip in clips:
            start = time.process_time()
            motion, skeleton, _ = pose(clip)
            posed = time.process_time()
            painted = list(Painter(clip.subject, clip.look, clip.timing.seed).frames(motion, skeleton))
            drawn = time.process_time()
            write_video(Path(folder) / "clip.mp4", painted, FPS, clip.preset, clip.crf)
            spent["pose"] += posed - start
            spent["draw"] += drawn - posed
            spent["encode"] += time.process_time() - drawn
            frames += len(painted)
    total = sum(spent.values())
    print(f"generator {generator_hash()}: {len(clips)} clips, {frames} frames")
    print(f"{len(clips) / total:.2f} clips/s per core, {1e3 * total / frames:.2f} ms/frame")
    for name, seconds in spent.items():
        print(f"  {name:7s} {1e3 * seconds / frames:6.2f} ms/frame  {100 * seconds / total:5.1f} %")
    whole = sum(map(len, plans.values()))
    print(f"demo ({whole} clips): {whole * total / len(clips):.0f} s of one core")


if __name__ == "__main__":
    main()
