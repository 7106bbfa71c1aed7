"""Videos -> `pixel_values`: 8 frames, squeezed to a square and normalised, as the network expects them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import BatchFeature, FeatureExtractionMixin

try:
    from .video_fgsgl import READER_VERSION, read_frames
except ImportError:
    from video_fgsgl import READER_VERSION, read_frames

RESIZER_VERSION = 1  # part of every cache key: raise it when the same frames give other pixels

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# What save_pretrained writes beside the settings, so that it must be accepted when they are read back.
_BOOKKEEPING = {"auto_map", "feature_extractor_type", "processor_class", "_processor_class"}


class FGSGLProcessor(FeatureExtractionMixin):
    """Turn videos into the input of FG-SGL.

    Frames are taken evenly over the clip and squeezed to a square, as the paper does; with `keep_aspect` they are not
    squeezed.

    Args:
        num_frames: T, frames per clip.
        size: S, height and width in pixels that frames are resized to.
        image_mean: Mean of each colour, on a scale of 0 to 1, subtracted by `normalize`.
        image_std: Standard deviation of each colour, on the same scale, divided by in `normalize`.
        video_backend: ``"pyav"``, or ``"decord"`` for the files on which it returns the same frames.
        crop: The part of the picture to look at, x, y, width and height in pixels of the upright, un-mirrored picture;
            None is all of it.
        keep_aspect: Whether the crop is widened to a square in place of being squeezed into one; where the picture
            ends, it is filled up with black.

    Raises:
        TypeError: A setting is unknown.
        ValueError: A setting has a value outside its range.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012 -- transformers reads it so

    def __init__(
        self,
        num_frames: int = 8,
        size: int = 448,
        image_mean: Sequence[float] = IMAGENET_MEAN,
        image_std: Sequence[float] = IMAGENET_STD,
        video_backend: str = "pyav",
        crop: Sequence[int] | None = None,
        keep_aspect: bool = False,
        **kwargs: Any,
    ) -> None:
        unknown = sorted(set(kwargs) - _BOOKKEEPING)
        if unknown:
            raise TypeError(
                f"FGSGLProcessor has no setting {', '.join(unknown)}. "
                "Its settings are num_frames, size, image_mean, image_std, video_backend, crop and keep_aspect."
            )
        super().__init__(**kwargs)
        for name, value in (("num_frames", num_frames), ("size", size)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")
        for name, values in (("image_mean", image_mean), ("image_std", image_std)):
            if len(values) != 3 or (name == "image_std" and min(values) <= 0):
                above = " above 0" if name == "image_std" else ""
                raise ValueError(f"{name} must be three numbers{above}, for red, green and blue, got {values!r}.")
        if video_backend not in ("pyav", "decord"):
            raise ValueError(f"video_backend must be 'pyav' or 'decord', got {video_backend!r}.")
        if crop is not None and (len(crop) != 4 or min(crop) < 0 or min(crop[2:]) < 1):
            raise ValueError(f"crop must be x, y, width and height in pixels, got {crop!r}.")
        self.num_frames = num_frames
        self.size = size
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        self.video_backend = video_backend
        self.crop = None if crop is None else list(crop)
        self.keep_aspect = keep_aspect
        # register_for_auto_class keeps one auto class; pipelines ask for the other one.
        self.auto_map = dict.fromkeys(("AutoFeatureExtractor", "AutoProcessor"), "processing_fgsgl.FGSGLProcessor")

    @property
    def sampling_key(self) -> str:
        """Everything but the video and the span that `sample` depends on; a cache puts it into its keys."""
        versions = f"reader{READER_VERSION}-resizer{RESIZER_VERSION}"
        framing = "" if self.crop is None and not self.keep_aspect else f"-crop{self.crop}-{self.keep_aspect}"
        return f"{versions}-{self.video_backend}-{self.num_frames}x{self.size}{framing}"

    def sample(
        self, video: Any, start: float | None = None, end: float | None = None, mirrored: bool = False
    ) -> torch.Tensor:
        """Read the frames of one clip at the size of the network, not yet normalised.

        Args:
            video: Path, the bytes of a video file, or uint8 frames (F, H, W, 3) as a NumPy array or torch tensor.
            start: Start of the clip in seconds from the first displayed frame; None is the start of the video.
            end: End of the clip in seconds, itself outside; None is the end of the video.
            mirrored: Whether the camera stored a mirror image, in which left and right are exchanged.

        Returns:
            uint8 RGB frames (T, 3, S, S).

        Raises:
            VideoError: The video cannot be read, or not in this span.
        """
        if not isinstance(mirrored, bool | np.bool_):
            raise TypeError(f"mirrored must be True or False, got {mirrored!r}.")
        frames = read_frames(video, self.num_frames, start, end, mirrored=bool(mirrored), backend=self.video_backend)
        return self.resize(frames)

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the part of a picture that the network sees, as x, y, width and height in pixels.

        Raises:
            ValueError: The crop does not lie in the picture.
        """
        x, y, w, h = self.crop or (0, 0, width, height)
        if x + w > width or y + h > height:
            raise ValueError(
                f"The box {x},{y},{w},{h} does not lie in the picture, which has {width} x {height} pixels. "
                "Give x, y, width and height in pixels of the upright picture."
            )
        if self.keep_aspect:
            side = max(w, h)
            (x, w), (y, h) = _grown(x, w, side, width), _grown(y, h, side, height)
        return x, y, w, h

    def resize(self, frames: torch.Tensor) -> torch.Tensor:
        """Crop frames where that is asked for, and squeeze them to the size of the network.

        Args:
            frames: uint8 RGB frames (T, H, W, 3), of any T.

        Returns:
            uint8 RGB frames (T, 3, S, S).

        Raises:
            ValueError: The crop does not lie in the picture.
        """
        x, y, w, h = self.box(*frames.shape[1:3])
        frames = frames[:, y : y + h, x : x + w]
        if self.keep_aspect and w != h:
            right, below = max(h - w, 0), max(w - h, 0)
            frames = functional.pad(frames, (0, 0, right // 2, right - right // 2, below // 2, below - below // 2))
        # A permuted view of (T, H, W, 3) is what makes the uint8 kernel fast, and equal to Pillow's bicubic within one
        # level; the pretrained vision weights have seen Pillow's.
        resized = functional.interpolate(
            frames.permute(0, 3, 1, 2), size=(self.size, self.size), mode="bicubic", antialias=True
        )
        return resized.contiguous()

    def normalize(self, frames: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Scale pixels to mean 0 and deviation 1 as the pretrained weights expect, on the device they are on.

        Args:
            frames: Pixels from 0 to 255, uint8 or floating (..., 3, H, W).
            dtype: Type of the result.

        Returns:
            Normalised pixels, of the same shape.
        """
        if frames.ndim < 3 or frames.shape[-3] != 3:
            raise ValueError(f"frames must be of shape (..., 3, height, width), got {tuple(frames.shape)}.")
        if frames.dtype != torch.uint8 and not frames.is_floating_point():
            raise TypeError(f"frames must be uint8 or floating point from 0 to 255, got {frames.dtype}.")
        mean = torch.tensor(self.image_mean, device=frames.device).view(3, 1, 1)
        std = torch.tensor(self.image_std, device=frames.device).view(3, 1, 1)
        # (x / 255 - mean) / std, in float32 whatever the result's type, and in one buffer: on a CPU each further one
        # of this size costs more than the arithmetic.
        return frames.to(torch.float32, copy=True).mul_(1 / (255 * std)).sub_(mean / std).to(dtype)

    def __call__(
        self,
        videos: Any,
        start: float | Sequence[float | None] | None = None,
        end: float | Sequence[float | None] | None = None,
        mirrored: bool | Sequence[bool] = False,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """Prepare one video or a list of videos for the network.

        Args:
            videos: One video or a list of them, each of a type that `sample` takes.
            start: Start in seconds, of all videos or a list with that of each.
            end: End in seconds, of all videos or a list with that of each.
            mirrored: Whether the camera stored a mirror image, for all videos or a list with that of each.
            return_tensors: ``"pt"`` for torch tensors, the only kind.

        Returns:
            `pixel_values`, float32 (B, T, 3, S, S).

        Raises:
            VideoError: A video cannot be read, or not in its span.
        """
        if return_tensors != "pt":
            raise ValueError(f"return_tensors must be 'pt' (torch tensors), got {return_tensors!r}.")
        if not isinstance(videos, list | tuple):
            if not isinstance(videos, str | os.PathLike | bytes | bytearray | np.ndarray | torch.Tensor):
                raise TypeError(
                    "videos must be a path, the bytes of a video file, an array of frames or a list of these, "
                    f"got {type(videos).__name__}."
                )
            videos = [videos]
        if not videos:
            raise ValueError("videos is an empty list. Give at least one video.")
        columns = [_per_video(name, value, len(videos)) for name, value in (("start", start), ("end", end))]
        columns.append(_per_video("mirrored", mirrored, len(videos)))
        clips = [self.sample(video, *span) for video, *span in zip(videos, *columns, strict=True)]
        return BatchFeature({"pixel_values": self.normalize(torch.stack(clips))}, tensor_type=return_tensors)


def _grown(first: int, length: int, side: int, limit: int) -> tuple[int, int]:
    """A span of pixels made as long as a side, around its middle, inside the picture: its beginning and length."""
    side = min(side, limit)
    return min(max(0, first - (side - length) // 2), limit - side), side


def _per_video(name: str, value: Any, count: int) -> list[Any]:
    if not isinstance(value, list | tuple | np.ndarray):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name} has {len(value)} values for {count} videos. Give one value, or one for each video.")
    return list(value)


FGSGLProcessor.register_for_auto_class("AutoProcessor")
