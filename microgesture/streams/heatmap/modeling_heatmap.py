"""Keypoints to Gaussian volumes to class scores: rendering on the device, and a PoseC3D-like 3-D ResNet.

Shapes: B clips, M people, T frames, J joints, L limbs, H × W pixels, K channels of the volumes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_heatmap import HeatmapConfig

AXES = {"front": 0, "side": 2}
EXPANSION = 4


@dataclass
class HeatmapOutput(ModelOutput):
    """What the network returns; `None` for what was not asked for.

    Args:
        loss: Cross-entropy of `logits`, scalar, when `labels` were given.
        logits: Class scores before softmax `(B, num_labels)`.
        semantic_embeds: The clip in the space of class sentences `(B, semantic_dim)`; not of unit length.
        pooled: Input of the classifier `(B, P)`.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    semantic_embeds: torch.Tensor | None = None
    pooled: torch.Tensor | None = None


def render_joints(points: torch.Tensor, size: int, sigma: float) -> torch.Tensor:
    """Draws a Gaussian spot at every point: `confidence · exp(-((u - x)² + (v - y)²) / 2σ²)` at column u, row v.

    A spot is the product of one curve over columns and one over rows, so only these are computed.

    Args:
        points: Column, row and confidence of each point, in pixels `(..., T, J, 3)`; whole numbers are pixel centres.
        size: H = W.
        sigma: σ in pixels.

    Returns:
        `(..., J, T, H, W)`.
    """
    x, y, sure = points.movedim(-2, -3).unbind(-1)  # (..., J, T) each
    pixels = torch.arange(size, device=points.device, dtype=points.dtype)
    scale = 2**0.5 * sigma
    columns, rows = (_gaussian(((pixels - place[..., None]) / scale).square()) for place in (x, y))
    return (sure[..., None] * rows)[..., :, None] * columns[..., None, :]


def render_limbs(points: torch.Tensor, bones: torch.Tensor, size: int, sigma: float) -> torch.Tensor:
    """Draws a line along every bone: `min confidence · exp(-d² / 2σ²)`, d the distance to the bone.

    Args:
        points: As for `render_joints`, `(..., T, J, 3)`.
        bones: Both ends of each bone, as places of joints `(L, 2)`.
        size: H = W.
        sigma: σ in pixels.

    Returns:
        `(..., L, T, H, W)`.
    """
    a, b = points.movedim(-2, -3)[..., bones.T, :, :].unbind(-4)  # (..., L, T, 3) each
    scale = 2**0.5 * sigma
    step = (b - a)[..., :2] / scale
    length = step.norm(dim=-1, keepdim=True)
    # Along the bone and across it; one that has no length has no direction, and any will do.
    unit = torch.where(length > 1e-4, step / length.clamp(min=1e-4), step.new_tensor([1.0, 0.0]))
    c, s = unit[..., :1], unit[..., 1:]
    pixels = torch.arange(size, device=points.device, dtype=points.dtype)
    u, v = (pixels - a[..., :1]) / scale, (pixels - a[..., 1:2]) / scale  # (..., L, T, W) and (..., L, T, H)
    half = length[..., None] / 2
    beyond = (v * s)[..., :, None] + (u * c - half[..., 0])[..., None, :]  # from the middle of the bone
    beyond = beyond.abs_().sub_(half).relu_()
    across = (v * c)[..., :, None] - (u * s)[..., None, :]
    return _gaussian(across.square_().addcmul_(beyond, beyond)).mul_(
        torch.minimum(a[..., 2], b[..., 2])[..., None, None]
    )


def _gaussian(squares: torch.Tensor) -> torch.Tensor:
    """`exp(-x)`, in place, of what is not negative; 1e-11 from x = 25 on.

    Smaller numbers mean nothing here, and on a CPU exp takes ten times as long where it ends near the smallest one.
    """
    return squares.clamp_(max=25.0).neg_().exp_()


class Bottleneck(nn.Module):
    """1×1×1 (or over three frames), 1×3×3, 1×1×1, around a skip.

    Args:
        width_in: Channels in.
        width: Channels in the middle; `EXPANSION` times as many come out.
        stride: Step over frames and over pixels.
        inflate: Whether the first convolution spans three frames.
    """

    def __init__(self, width_in: int, width: int, stride: tuple[int, int], inflate: bool) -> None:
        super().__init__()
        t, s = stride
        out, k = EXPANSION * width, 3 if inflate else 1
        self.first = _conv(width_in, width, (k, 1, 1), (1, 1, 1))
        self.second = _conv(width, width, (1, 3, 3), (t, s, s))
        self.third = _conv(width, out, (1, 1, 1), (1, 1, 1))
        same = width_in == out and (t, s) == (1, 1)
        self.skip = nn.Identity() if same else _conv(width_in, out, (1, 1, 1), (t, s, s))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, C, T, H, W)` to `(B, C', T', H', W')`."""
        inside = F.relu(self.second(F.relu(self.first(x))))
        return F.relu(self.third(inside) + self.skip(x))


def _conv(width_in: int, width: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> nn.Sequential:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(nn.Conv3d(width_in, width, kernel, stride, padding, bias=False), nn.BatchNorm3d(width))


class HeatmapPreTrainedModel(PreTrainedModel):
    """Weights of the heatmap networks, and where they start."""

    config_class = HeatmapConfig
    base_model_prefix = "heatmap"
    main_input_name = "keypoints"

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv3d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class HeatmapForVideoClassification(HeatmapPreTrainedModel):
    """Rendering, SlowOnly's stages, and a linear classifier; what `AutoModel` gives."""

    def __init__(self, config: HeatmapConfig) -> None:
        super().__init__(config)
        base = config.base_channels
        self.stem = _conv(config.channels, base, (1, config.stem_kernel, config.stem_kernel), (1, 1, 1))
        blocks, width_in = [], base
        stages = zip(config.stage_blocks, config.inflate, config.temporal_strides, strict=True)
        for stage, (count, inflate, t) in enumerate(stages):
            for block in range(count):
                stride = (t, 2) if block == 0 else (1, 1)
                blocks.append(Bottleneck(width_in, base * 2**stage, stride, bool(inflate)))
                width_in = EXPANSION * base * 2**stage
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(width_in, config.num_labels)
        self.semantic = nn.Linear(width_in, config.semantic_dim) if config.semantic_dim else None
        self.post_init()

    def forward(
        self, keypoints: torch.Tensor, labels: torch.Tensor | None = None, return_dict: bool | None = None
    ) -> HeatmapOutput | tuple:
        """Classifies clips.

        Args:
            keypoints: As `HeatmapProcessor` prepares them, `(B, M, T, J, D + 1)`; of one person `(B, T, J, D + 1)`.
            labels: Class ids `(B,)`; with them, `loss` is the mean cross-entropy.
            return_dict: `False` gives a tuple without the entries that are `None`.

        Returns:
            `HeatmapOutput`.

        Raises:
            ValueError: A shape does not fit.
        """
        volumes = self.volumes(keypoints[:, None] if keypoints.ndim == 4 else keypoints).to(self.dtype)
        if volumes.device.type == "cpu":
            # Channels next to each other: small networks train 1.4 times as fast (benchmarks/RESULTS.md).
            volumes = volumes.contiguous(memory_format=torch.channels_last_3d)
        pooled = self.blocks(F.relu(self.stem(volumes))).mean((2, 3, 4))
        logits = self.classifier(self.dropout(pooled))
        output = HeatmapOutput(
            loss=None if labels is None else F.cross_entropy(logits.float(), labels),
            logits=logits,
            semantic_embeds=None if self.semantic is None else self.semantic(pooled),
            pooled=pooled,
        )
        return output.to_tuple() if return_dict is False else output

    @torch.no_grad()
    def volumes(self, keypoints: torch.Tensor) -> torch.Tensor:
        """Renders clips on their device; of two people the brighter pixel counts.

        Args:
            keypoints: `(B, M, T, J, D + 1)`, coordinates in the box of the clip from -1 to 1.

        Returns:
            `(B, K, T, H, W)` in float32, each view with its parts one after the other; row 0 is the top.

        Raises:
            ValueError: A shape does not fit.
        """
        c = self.config
        J, D = len(c.joints), c.dimensions
        if keypoints.ndim != 5 or keypoints.shape[3:] != (J, D + 1):
            raise ValueError(
                f"keypoints must be (clips, people, frames, {J} joints of {c.layout}, {D} coordinates and the "
                f"confidence), got {tuple(keypoints.shape)}"
            )
        upright = keypoints.float()
        # A layout in space counts y upwards, a picture downwards.
        turn = -1.0 if D == 3 else 1.0
        bones = torch.tensor(c.bones if "limbs" in c.parts else [], device=keypoints.device, dtype=torch.long)
        drawn = []
        for view in c.views:
            xy = torch.stack([upright[..., AXES[view]], turn * upright[..., 1]], -1)
            pixels = (xy / (1 + 2 * c.padding) + 1) / 2 * c.size - 0.5
            points = torch.cat([pixels, upright[..., D:]], -1)
            for part in c.parts:
                if part == "joints":
                    drawn.append(render_joints(points, c.size, c.sigma))
                else:
                    drawn.append(render_limbs(points, bones, c.size, c.sigma))
        return torch.cat([people.amax(1) if people.shape[1] > 1 else people[:, 0] for people in drawn], 1)


HeatmapForVideoClassification.register_for_auto_class("AutoModelForVideoClassification")
