"""The processor squeezes frames as Pillow would, normalises them, and travels with a checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from processing_fgsgl import FGSGLProcessor
from video_fgsgl import VideoError, read_frames

ROOT = Path(__file__).resolve().parents[1]


def frames_of(count: int = 5, height: int = 60, width: int = 80) -> torch.Tensor:
    """Smooth colours with an edge: uint8 (F, H, W, 3)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pictures = [torch.stack([x * 3 + k * 20, y * 4, (x > 30) * 255 - k], -1) % 256 for k in range(count)]
    return torch.stack(pictures).to(torch.uint8)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """A clip of 20 frames, 0.8 s."""
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("video") / "clip.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 80, 60, "yuv420p"
        for k, picture in enumerate(frames_of(20).numpy()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def test_sample_reads_and_resizes(video):
    processor = FGSGLProcessor(num_frames=4, size=32)
    got = processor.sample(video, 0.2, 0.6)
    assert got.shape == (4, 3, 32, 32)
    assert got.dtype == torch.uint8
    assert got.is_contiguous()
    assert torch.equal(got, processor.sample(read_frames(video, 4, 0.2, 0.6)))
    assert torch.equal(processor.sample(video, mirrored=True), processor.sample(read_frames(video, 4).flip(2)))


@pytest.mark.parametrize(("height", "width", "size"), [(120, 160, 48), (60, 80, 96), (97, 41, 64)])
def test_resize_is_pillows_bicubic_within_one_level(height, width, size):
    image = pytest.importorskip("PIL.Image")
    frames = frames_of(3, height, width)
    got = FGSGLProcessor(num_frames=3, size=size).sample(frames).permute(0, 2, 3, 1).int()
    resized = [image.fromarray(f).resize((size, size), image.Resampling.BICUBIC) for f in frames.numpy()]
    expected = torch.from_numpy(np.stack([np.asarray(picture) for picture in resized])).int()
    assert (got - expected).abs().max() <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 6, 3, 4, 5)])
def test_normalize_is_the_formula(shape, dtype):
    processor = FGSGLProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.25, 0.125])
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = torch.empty(shape)
    for channel, (mean, std) in enumerate([(0.1, 0.5), (0.2, 0.25), (0.3, 0.125)]):
        expected[..., channel, :, :] = (pixels[..., channel, :, :] / 255 - mean) / std
    for given in (pixels, pixels.float()):
        before = given.clone()
        got = processor.normalize(given, dtype)
        assert torch.equal(given, before)
        assert got.dtype == dtype
        torch.testing.assert_close(got, expected.to(dtype), rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-5)


def test_call_makes_a_batch(video):
    processor = FGSGLProcessor(num_frames=4, size=16)
    one = processor(video)["pixel_values"]
    assert one.shape == (1, 4, 3, 16, 16)
    assert one.dtype == torch.float32
    batch = processor([video, video.read_bytes(), frames_of().numpy()], start=[0, 0.2, None], end=[None, 0.6, None])
    assert batch["pixel_values"].shape == (3, 4, 3, 16, 16)
    assert torch.equal(batch["pixel_values"][:1], one)
    assert torch.equal(batch["pixel_values"][1], processor.normalize(processor.sample(video, 0.2, 0.6)))
    assert torch.equal(processor([video, video], mirrored=[True, False])["pixel_values"][1:], one)
    assert torch.equal(
        processor([video, video], start=0.2)["pixel_values"][0], processor(video, 0.2)["pixel_values"][0]
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"videos": 3}, TypeError, "videos must be a path, .* or a list of these, got int"),
        ({"videos": []}, ValueError, "videos is an empty list"),
        ({"videos": [3]}, TypeError, "A video must be a path, the bytes of a file or an array of frames, got int"),
        ({"videos": frames_of(), "return_tensors": "np"}, ValueError, "return_tensors must be 'pt'"),
        ({"videos": [frames_of()] * 2, "start": [1.0]}, ValueError, "start has 1 values for 2 videos"),
        ({"videos": frames_of(), "mirrored": "yes"}, TypeError, "mirrored must be True or False, got 'yes'"),
        ({"videos": frames_of(), "mirrored": None}, TypeError, "mirrored must be True or False, got None"),
        ({"videos": "no.mp4"}, VideoError, "no.mp4: there is no such file"),
    ],
)
def test_call_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        FGSGLProcessor(num_frames=2, size=16)(**arguments)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_frame": 8}, TypeError, "FGSGLProcessor has no setting num_frame"),
        ({"num_frames": 0}, ValueError, "num_frames must be a whole number of at least 1, got 0"),
        ({"size": 44.8}, ValueError, "size must be a whole number of at least 1, got 44.8"),
        ({"size": {"height": 448}}, ValueError, "size must be a whole number"),
        ({"image_mean": [0.5]}, ValueError, "image_mean must be three numbers"),
        ({"image_std": [0.5, 0.5, 0]}, ValueError, "image_std must be three numbers above 0"),
        ({"video_backend": "opencv"}, ValueError, "video_backend must be 'pyav' or 'decord', got 'opencv'"),
    ],
)
def test_settings_are_checked(settings, error, message):
    with pytest.raises(error, match=message):
        FGSGLProcessor(**settings)


def test_normalize_refuses():
    with pytest.raises(ValueError, match=r"must be of shape \(\.\.\., 3, height, width\), got \(4, 5, 3\)"):
        FGSGLProcessor().normalize(torch.zeros(4, 5, 3))
    with pytest.raises(TypeError, match=r"uint8 or floating point from 0 to 255, got torch.int64"):
        FGSGLProcessor().normalize(torch.zeros(3, 4, 5, dtype=torch.int64))


def test_sampling_key_tells_settings_apart():
    keys = [
        FGSGLProcessor(**settings).sampling_key
        for settings in ({}, {"num_frames": 4}, {"size": 96}, {"video_backend": "decord"})
    ]
    assert len(set(keys)) == 4
    assert FGSGLProcessor(image_mean=[0, 0, 0]).sampling_key == keys[0]  # frames are cached before normalising


def test_settings_survive_saving(tmp_path):
    processor = FGSGLProcessor(num_frames=3, size=24, image_mean=[0.5, 0.4, 0.3], video_backend="decord")
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    name = "processing_fgsgl.FGSGLProcessor"
    assert saved["auto_map"] == {"AutoFeatureExtractor": name, "AutoProcessor": name}
    files = ["container_fgsgl.py", "processing_fgsgl.py", "video_fgsgl.py"]
    assert sorted(path.name for path in tmp_path.glob("*.py")) == files
    again = FGSGLProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.to_dict()
    assert FGSGLProcessor.from_pretrained(tmp_path, size=48).size == 48
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(saved | {"num_frame": 3}))
    with pytest.raises(TypeError, match="no setting num_frame"):
        FGSGLProcessor.from_pretrained(tmp_path)


def test_checkpoint_loads_where_our_code_is_missing(tmp_path, video):
    """In a fresh process elsewhere, without Pillow and torchvision, through either auto class."""
    processor = FGSGLProcessor(num_frames=3, size=24)
    processor.save_pretrained(tmp_path / "checkpoint")
    torch.save(processor(video)["pixel_values"], tmp_path / "expected.pt")
    code = (
        "import sys\n"
        "sys.modules.update(PIL=None, torchvision=None)\n"
        "import torch, transformers\n"
        "for name in ('AutoProcessor', 'AutoFeatureExtractor'):\n"
        "    processor = getattr(transformers, name).from_pretrained('checkpoint', trust_remote_code=True)\n"
        "    assert processor.__module__.startswith('transformers_modules.'), processor\n"
        "    got = processor(sys.argv[1])['pixel_values']\n"
        "    assert torch.equal(got, torch.load('expected.pt', weights_only=True))\n"
        "    processor.save_pretrained('again')\n"
        "    assert transformers.AutoProcessor.from_pretrained('again', trust_remote_code=True).size == 24\n"
        "assert 'processing_fgsgl' not in sys.modules and 'microgesture' not in sys.modules\n"
    )
    environment = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PATH": "", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code, str(video)]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_crop_is_what_the_network_sees() -> None:
    frames = torch.arange(2 * 8 * 12 * 3, dtype=torch.uint8).view(2, 8, 12, 3)
    cropped = FGSGLProcessor(size=4, crop=[2, 1, 4, 6])
    assert cropped.box(8, 12) == (2, 1, 4, 6)
    assert torch.equal(cropped.resize(frames), FGSGLProcessor(size=4).resize(frames[:, 1:7, 2:6]))
    with pytest.raises(ValueError, match="does not lie in the picture, which has 5 x 8 pixels"):
        cropped.resize(frames[:, :, :5])
    with pytest.raises(ValueError, match="crop must be"):
        FGSGLProcessor(crop=[0, 0, 0, 5])


def test_a_person_is_not_squeezed() -> None:
    frames = torch.full((1, 8, 12, 3), 200, dtype=torch.uint8)
    person = FGSGLProcessor(size=8, crop=[9, 1, 2, 6], keep_aspect=True)
    assert person.box(8, 12) == (6, 1, 6, 6)  # shifted into the picture, not cut off at its edge
    whole = FGSGLProcessor(size=12, keep_aspect=True)
    assert whole.box(8, 12) == (0, 0, 12, 8)
    rows = whole.resize(frames)[0, 0, :, 6]
    assert rows.tolist() == [0, 0, *[200] * 8, 0, 0]


def test_a_crop_is_saved_and_is_part_of_every_cache_key(tmp_path) -> None:
    person = FGSGLProcessor(crop=[1, 2, 3, 4], keep_aspect=True)
    person.save_pretrained(tmp_path)
    again = FGSGLProcessor.from_pretrained(tmp_path)
    assert (again.crop, again.keep_aspect) == ([1, 2, 3, 4], True)
    keys = {p.sampling_key for p in (person, FGSGLProcessor(), FGSGLProcessor(crop=[1, 2, 3, 4]))}
    assert len(keys) == 3
