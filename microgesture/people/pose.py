"""Where joints are: ViTPose (Xu et al., NeurIPS 2022), with crops and heatmaps handled in torch alone.

A box is widened to the network's aspect ratio and by a quarter, and warped to its input. The greatest value of a
heatmap is refined to fractions of a pixel as DARK does (Zhang et al., CVPR 2020, eq. 6 to 8), in the unbiased
coordinates of Huang et al. (CVPR 2020): the first and last pixel lie on the borders of the widened box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from transformers import AutoConfig, VitPoseForPoseEstimation

from microgesture.data.keypoints import read_layout
from microgesture.people.weights import Preparation, checkpoint_folder, loading

LAYOUT = "coco_17"
PADDING = 1.25
"""By how much a box is widened before it is cut out; what ViTPose was trained with."""
COCO = 0
"""Which of the data sets that the mixture-of-experts networks ("plus") know has these 17 joints."""
BLUR, RADIUS = 0.8, 5
"""Heatmaps are smoothed with a Gaussian of so many pixels, over so many on each side, as transformers does."""
LOWEST, HIGHEST = 1e-3, 50.0
"""Smoothed heatmaps are kept between these before their logarithm is taken."""


class PoseEstimator:
    """Finds the 17 joints of COCO in boxes around people.

    Args:
        model: A `VitPoseForPoseEstimation`.
        preparation: How it wants its pictures.
        batch_size: Boxes that pass the network together.

    Raises:
        ValueError: The model has another number of joints.
    """

    def __init__(self, model: Any, preparation: Preparation, batch_size: int = 16) -> None:
        joints = len(read_layout(LAYOUT).names)
        if model.config.num_labels != joints:
            raise ValueError(
                f"the pose network finds {model.config.num_labels} joints; keypoints are written as {LAYOUT}, which "
                f"has {joints}: choose a ViTPose that was trained on COCO"
            )
        self.model, self.preparation, self.batch_size = model.eval(), preparation, batch_size
        height, width = model.config.backbone_config.image_size
        self.height, self.width = int(height), int(width)

    @classmethod
    def from_pretrained(cls, name_or_path: str, device: Any = "cpu", batch_size: int = 16) -> PoseEstimator:
        """Reads a ViTPose from a folder, or by its name on the Hub.

        Raises:
            FileNotFoundError: It is not there, or lacks a file.
            ValueError: It is no ViTPose, or has other joints.
        """
        folder = checkpoint_folder(name_or_path)
        with loading(name_or_path, "ViTPose"):
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            if config.model_type != "vitpose":
                raise ValueError(f"it is a {config.model_type}")
            model = VitPoseForPoseEstimation.from_pretrained(
                folder, config=config, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
        return cls(model.to(device), Preparation.read(folder), batch_size)

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[torch.Tensor], boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """The joints of one person in each picture.

        Args:
            pictures: N pictures, uint8 `(H, W, 3)`; the same one may stand several times.
            boxes: `(N, 4)`: left, top, right, bottom in pixels.

        Returns:
            float32 `(N, 17, 3)`: x and y in pixels of the picture, and confidence, 0 to 1.
        """
        found = []
        for start in range(0, len(pictures), self.batch_size):
            part = slice(start, start + self.batch_size)
            middle, size = widened(torch.as_tensor(boxes[part], dtype=torch.float32), self.width / self.height)
            crops = [
                warp(picture.to(self.model.device), m, s, self.height, self.width)
                for picture, m, s in zip(pictures[part], middle, size, strict=True)
            ]
            heat = self.model(self.preparation.normalised(torch.stack(crops)), **self._expert(len(crops))).heatmaps
            places, scores = joints(heat.float().cpu())
            last = torch.tensor([heat.shape[-1] - 1, heat.shape[-2] - 1])
            inside = middle[:, None] + (places / last - 0.5) * size[:, None]
            found.append(torch.cat([inside, scores.clamp(0, 1)[..., None]], -1))
        return torch.cat(found).numpy() if found else np.empty((0, self.model.config.num_labels, 3), np.float32)

    def _expert(self, count: int) -> dict[str, torch.Tensor]:
        """Which expert of a mixture is asked; plain networks are not told."""
        if self.model.config.backbone_config.num_experts == 1:
            return {}
        return {"dataset_index": torch.full((count,), COCO, device=self.model.device)}


def widened(boxes: torch.Tensor, aspect: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Middles `(N, 2)` and sizes `(N, 2)` of boxes `(N, 4)`, widened to an aspect ratio (width over height)."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    size = torch.stack([torch.maximum(width, aspect * height), torch.maximum(height, width / aspect)], 1)
    return (boxes[:, :2] + boxes[:, 2:]) / 2, size * PADDING


def warp(picture: torch.Tensor, middle: torch.Tensor, size: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Cuts a part out of a picture and brings it to a size; what lies outside the picture is black.

    Args:
        picture: uint8 `(H, W, 3)`.
        middle: Of the part, x and y.
        size: Of the part, width and height; its first and last pixel lie on its borders.
        height: Of the result.
        width: Of the result.

    Returns:
        float32 `(3, height, width)` of whole numbers, 0 to 255.
    """
    x = float(middle[0]) + (torch.arange(width) / (width - 1) - 0.5) * float(size[0])
    y = float(middle[1]) + (torch.arange(height) / (height - 1) - 0.5) * float(size[1])
    rows, columns = (
        _neighbours(at.to(picture.device), side) for at, side in zip((y, x), picture.shape[:2], strict=True)
    )
    out = sum(
        picture[row[:, None], column] * (down[:, None] * across)[..., None]
        for row, down in rows
        for column, across in columns
    )
    return torch.as_tensor(out).permute(2, 0, 1).round()


def _neighbours(at: torch.Tensor, side: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The pixels before and after places along a side of a picture, and their weights, 0 outside."""
    before = at.floor().long()
    share = at - before
    pixels = ((before, 1 - share), (before + 1, share))
    return [(p.clamp(0, side - 1), torch.where((p >= 0) & (p < side), weight, 0.0)) for p, weight in pixels]


def joints(heat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Reads joints off heatmaps.

    Args:
        heat: float32 `(N, J, h, w)`.

    Returns:
        x and y in pixels of the heatmap `(N, J, 2)`, and the greatest value `(N, J)`.
    """
    scores, at = heat.flatten(2).max(-1)
    peak = torch.stack([at % heat.shape[-1], at // heat.shape[-1]], -1)
    return peak + _refinement(heat, peak), scores


def _refinement(heat: torch.Tensor, peak: torch.Tensor) -> torch.Tensor:
    """The step from the greatest pixel to the maximum of the logarithm's second-order expansion, `(N, J, 2)`.

    A step of more than a pixel and a half is no refinement: there the heatmap has no such maximum, and the pixel
    itself is kept.
    """
    around = _smoothed(heat, peak).clamp(LOWEST, HIGHEST).log()

    def at(x: int, y: int) -> torch.Tensor:
        return around[..., 1 + y, 1 + x]

    here = at(0, 0)
    slope = torch.stack([(at(1, 0) - at(-1, 0)) / 2, (at(0, 1) - at(0, -1)) / 2], -1)
    xx, yy = at(1, 0) - 2 * here + at(-1, 0), at(0, 1) - 2 * here + at(0, -1)
    xy = (at(1, 1) - at(1, 0) - at(0, 1) + 2 * here - at(-1, 0) - at(0, -1) + at(-1, -1)) / 2
    curve = xx * yy - xy * xy
    x = (xy * slope[..., 1] - yy * slope[..., 0]) / curve
    y = (xy * slope[..., 0] - xx * slope[..., 1]) / curve
    step = torch.stack([x, y], -1)
    fits = (step.abs() <= 1.5).all(-1, keepdim=True)  # also false where the curvature is 0
    return torch.where(fits, step, 0.0)


def _smoothed(heat: torch.Tensor, peak: torch.Tensor) -> torch.Tensor:
    """Heatmaps `(N, J, h, w)`, smoothed by a Gaussian, in the 3 × 3 pixels around peaks: `(N, J, 3, 3)`.

    Beyond the borders heatmaps are mirrored.
    """
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=heat.dtype)
    kernel = torch.exp(-0.5 * (offsets / BLUR) ** 2)
    wide = 2 * RADIUS + 3
    kernels = torch.stack([F.pad(kernel / kernel.sum(), (shift, 2 - shift)) for shift in range(3)])
    rows, columns = (torch.from_numpy(np.pad(np.arange(s), RADIUS + 1, mode="symmetric")) for s in heat.shape[2:])
    places = torch.arange(wide)
    row, column = rows[peak[..., 1, None] + places], columns[peak[..., 0, None] + places]
    n, j = (torch.arange(size) for size in heat.shape[:2])
    patch = heat[n[:, None, None, None], j[:, None, None], row[..., None], column[..., None, :]]
    return kernels @ patch @ kernels.T
