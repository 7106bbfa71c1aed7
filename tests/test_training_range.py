"""What training clips were like, written down and compared."""

from __future__ import annotations

import pytest

from microgesture.data import load
from microgesture.training_range import training_range, unlike
from video_fgsgl import VideoInfo, probe


def test_the_range_of_a_data_set(tiny_dataset) -> None:
    found = training_range(load(tiny_dataset)["train"], probe)
    assert found.pop("seconds") == pytest.approx([20 / 28, 20 / 28], abs=1e-3)
    assert found == {"fps": [28.0, 28.0], "height": [64.0, 64.0], "aspect": [1.0, 1.0]}


def test_spans_count_and_not_their_files() -> None:
    info = VideoInfo("mp4", "h264", "yuv420p", 1280, 720, 100, 40.0, 25.0, 0, False, 1.0)
    rows = [{"video": {"path": "a"}, "start": start, "end": end} for start, end in ((1, 2.5), (None, 3), (38, None))]
    ranges = training_range(rows, lambda path: info)
    assert ranges["seconds"] == [1.5, 3.0]
    assert unlike(ranges, info, 3.5, 1280, 720) == []
    assert unlike(ranges, info, 9, 1280, 720) == ["9 s long, and the training clips were 1.5 to 3"]
    assert unlike(ranges, info, None, 360, 720) == ["0.5 times as wide as high, and the training clips were 1.78"]
    assert unlike({"height": [448, 448]}, info, None, 1920, 1080) == [
        "1080 pixels high, and the training clips were 448"
    ]
    assert unlike(None, info, 9, 360, 720) == []
