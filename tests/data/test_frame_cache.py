"""A clip is decoded once, whoever asks, and a damaged or half-written entry is never taken for a whole one."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from full_disk import largest_file
from object_arrays import write_npy, write_npz

from microgesture.data import frame_cache
from microgesture.data.frame_cache import FORMS, Clip, FrameCache
from microgesture.disk import NoRoomError

T, S = 4, 32


class FakeProcessor:
    """Makes frames from the file's content and the span, and keeps a list of what it was asked for."""

    num_frames, size, sampling_key = T, S, "fake-4x32"

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def sample(self, video, start=None, end=None, mirrored=False):
        self.calls.append((video, start, end, mirrored))
        data = Path(video).read_bytes() if isinstance(video, str | os.PathLike) else bytes(video)
        if data == b"bad":
            raise ValueError(f"{video}: this is no video")
        seed = sum(data) + int(1000 * (start or 0))
        y, x = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="ij")
        picture = torch.stack([x * 4 + seed, y * 5, x + y]).clamp(0, 255).to(torch.uint8)
        return (picture.flip(-1) if mirrored else picture).expand(T, -1, -1, -1).contiguous()


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"video 1")
    os.utime(path, (1_000_000, 1_000_000))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_second_run_decodes_nothing(tmp_path, video, form):
    first, second = FakeProcessor(), FakeProcessor()
    expected = first.sample(video)
    one = FrameCache(tmp_path / "cache", first, form).get(video)
    two = FrameCache(tmp_path / "cache", second, form).get(str(video))
    assert second.calls == []
    assert one.shape == (T, 3, S, S)
    assert one.dtype == torch.uint8
    assert torch.equal(one, two)
    if form == "jpeg":
        error = (one.float() - expected.float()).square().mean()
        assert 10 * torch.log10(255**2 / error) > 38
    else:
        assert torch.equal(one, expected)


@pytest.mark.parametrize("form", FORMS)
def test_writing_to_frames_leaves_the_entry(tmp_path, video, form):
    cache = FrameCache(tmp_path / "cache", FakeProcessor(), form)
    before = cache.get(video).clone()
    cache.get(video).zero_()
    assert torch.equal(cache.get(video), before)


def test_key_is_content_span_mirrored_and_settings(tmp_path, video):
    cache = FrameCache(tmp_path / "cache", FakeProcessor())
    copy = tmp_path / "moved.mp4"
    copy.write_bytes(video.read_bytes())
    assert cache.path(copy) == cache.path(video) == cache.path(video.read_bytes())
    assert cache.path(video, 1, 2) == cache.path(video, 1.0, 2.0)
    other = FrameCache(tmp_path / "cache", FakeProcessor())
    other.processor.sampling_key = "fake-8x32"
    different = [
        cache.path(video),
        cache.path(video, 0.5),
        cache.path(video, None, 0.5),
        cache.path(video, mirrored=True),
        cache.path(b"video 2"),
        other.path(video),
        FrameCache(tmp_path / "cache", FakeProcessor(), "jpeg").path(video),
    ]
    assert len(set(different)) == len(different)


def test_changed_file_is_decoded_again(tmp_path, video):
    cache = FrameCache(tmp_path / "cache", FakeProcessor())
    cache.get(video)
    video.write_bytes(b"video 2")
    assert torch.equal(cache.get(video), FakeProcessor().sample(video))
    assert len(cache.processor.calls) == 2


def test_digest_of_a_settled_file_is_computed_once(tmp_path, video, monkeypatch):
    FrameCache(tmp_path / "cache", FakeProcessor()).path(video)
    monkeypatch.setattr(frame_cache.hashlib, "file_digest", lambda *a: pytest.fail("read the file again"))
    FrameCache(tmp_path / "cache", FakeProcessor()).path(video)


def test_digest_of_a_fresh_file_is_not_noted(tmp_path, video):
    os.utime(video, (time.time(), time.time()))
    FrameCache(tmp_path / "cache", FakeProcessor()).path(video)
    assert not any((tmp_path / "cache" / "digests").iterdir())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("damage", ["empty", "half", "one_byte_less", "one_byte_more", "other_header", "other_frames"])
def test_damaged_entry_is_decoded_again(tmp_path, video, form, damage, caplog):
    cache = FrameCache(tmp_path / "cache", FakeProcessor(), form)
    expected = cache.get(video).clone()
    path = cache.path(video)
    data = path.read_bytes()
    head = 80 if form == "raw" else 16
    broken = {
        "empty": b"",
        "half": data[: len(data) // 2],
        "one_byte_less": data[:-1],
        "one_byte_more": data + b"\0",
        "other_header": b"x" * head + data[head:],
        "other_frames": data.replace(f"({T}, 3,".encode(), f"({T - 1}, 3,".encode()) if form == "raw" else data[:40],
    }[damage]
    path.write_bytes(broken)
    assert torch.equal(cache.get(video), expected)
    assert len(cache.processor.calls) == 2
    assert "is damaged" in caplog.text
    assert path.read_bytes() == data


@pytest.mark.parametrize("write", [write_npy, write_npz])
def test_no_pickle_is_read(tmp_path, video, write):
    cache = FrameCache(tmp_path / "cache", FakeProcessor())
    expected = cache.get(video).clone()
    with cache.path(video).open("wb") as file:
        write(file, np.array([{"a": 1}], dtype=object))
    assert torch.equal(cache.get(video), expected)


def test_killed_writer_leaves_no_entry(tmp_path, video):
    cache = FrameCache(tmp_path / "cache", FakeProcessor())
    path = cache.path(video)
    path.parent.mkdir()
    writer = multiprocessing.get_context("fork").Process(target=_die_writing, args=(path,))
    writer.start()
    writer.join(60)
    assert writer.exitcode == 9
    assert [name.name[:9] for name in path.parent.iterdir()] == [".writing-"]
    assert torch.equal(cache.get(video), FakeProcessor().sample(video))


def _die_writing(path: Path) -> None:
    with frame_cache._replacing(path) as file:
        file.write(b"half of it")
        file.flush()
        os._exit(9)


def test_failed_writer_cleans_up(tmp_path):
    with contextlib.suppress(KeyboardInterrupt), frame_cache._replacing(tmp_path / "entry") as file:
        file.write(b"half of it")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def _read_many(directory: str, video: str) -> int:
    cache = FrameCache(directory, FakeProcessor())
    return sum(int(cache.get(video, k / 10).sum()) for k in range(20))


def test_two_writers_agree(tmp_path, video):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        jobs = [pool.apply_async(_read_many, (str(tmp_path / "cache"), str(video))) for _ in range(2)]
        sums = [job.get(60) for job in jobs]
    processor = FakeProcessor()
    assert sums == [sum(int(processor.sample(video, k / 10).sum()) for k in range(20))] * 2
    assert list((tmp_path / "cache").rglob(".writing-*")) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_fill_reports_what_cannot_be_read(tmp_path, video, workers, capsys):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"bad")
    cache = FrameCache(tmp_path / "cache", FakeProcessor())
    clips = [Clip(video), (video, 0.5, 1.0), Clip(bad), (video, None, None, True)]
    assert cache.fill(clips, workers=workers, disable=True) == [(2, f"{bad}: this is no video")]
    assert capsys.readouterr().err == ""
    cache.processor.calls.clear()
    for clip in (clips[0], clips[1], clips[3]):
        cache.get(*clip)
    assert cache.processor.calls == []


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("form", FORMS)
def test_no_room_is_one_error_and_what_is_there_stays_whole(tmp_path, video, form, workers):
    cache = FrameCache(tmp_path / "cache", FakeProcessor(), form)
    clips = [(video, second, None) for second in (0.0, 0.5, 1.0, 1.5)]
    cache.fill(clips[:2], disable=True)
    there = {path: path.read_bytes() for path in cache.directory.rglob(f"*.{form}")}
    with largest_file(min(len(data) for data in there.values()) // 2), pytest.raises(NoRoomError) as error:
        cache.fill(clips, workers=workers, disable=True)
    text = str(error.value)
    assert text.startswith(
        f"[Errno 27] the frames of clips could not be written to {cache.directory}: a file would be larger than is "
        "allowed here. What is there already is whole and kept: free space and start the same line again, or give "
        "another --cache_dir"
    )
    assert ("--cache_form jpeg" in text) == (form != "jpeg")
    # 4 x 3 x 32 x 32 bytes each: 0.012 MB, too little to show in one decimal.
    assert text.endswith(f"2 clips were left; as {form} they take {'at most' if form == 'raw' else 'about'} 0.0 MB.")
    assert {path: path.read_bytes() for path in cache.directory.rglob("*") if path.suffix == f".{form}"} == there
    assert list(cache.directory.rglob(".writing-*")) == []
    cache.processor.calls.clear()
    assert cache.fill(clips, disable=True) == []
    assert [start for _, start, *_ in cache.processor.calls] == [1.0, 1.5]


def test_runs_side_by_side_decode_a_clip_once(tmp_path):
    videos = []
    for number in range(6):
        videos.append(tmp_path / f"{number}.mp4")
        videos[-1].write_bytes(b"video" + bytes([number]))
    processors = [FakeProcessor() for _ in range(3)]

    def fill(processor):
        assert FrameCache(tmp_path / "cache", processor).fill([(v,) for v in videos], disable=True) == []

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(fill, processors))
    assert sum(len(processor.calls) for processor in processors) == len(videos)


def test_missing_file_is_the_processors_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.mp4"):
        FrameCache(tmp_path / "cache", FakeProcessor()).get(tmp_path / "no.mp4")


def test_refusals(tmp_path, video, monkeypatch):
    with pytest.raises(ValueError, match="form must be one of raw, lossless, jpeg, got 'png'"):
        FrameCache(tmp_path, FakeProcessor(), "png")
    processor = FakeProcessor()
    cache = FrameCache(tmp_path, processor)
    processor.sample = lambda *a, **k: torch.zeros(T, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"returned torch.uint8 \(4, 3, 16, 16\) where the cache keeps uint8"):
        cache.get(video)
    monkeypatch.setattr(frame_cache, "av", None)
    FrameCache(tmp_path, FakeProcessor())
    with pytest.raises(ImportError, match="The cache form 'jpeg' needs PyAV"):
        FrameCache(tmp_path, FakeProcessor(), "jpeg")


def test_frames_in_memory_are_told_apart_by_content_and_shape(tmp_path):
    cache = FrameCache(tmp_path, FakeProcessor())
    frames = np.zeros((2, 4, 6, 3), np.uint8)
    assert cache.path(frames) == cache.path(torch.from_numpy(frames))
    assert cache.path(frames) != cache.path(frames.reshape(2, 6, 4, 3))
    assert cache.path(frames) != cache.path(frames + 1)
