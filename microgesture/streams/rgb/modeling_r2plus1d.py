"""Frames to class scores: an 18-layer residual network whose convolutions are (2+1)-dimensional.

Shapes: B clips, T frames, H × W pixels, N channels, M channels between the two halves of a convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_r2plus1d import R2Plus1DConfig


@dataclass
class R2Plus1DOutput(ModelOutput):
    """What the network returns; `None` for what was not asked for.

    Args:
        loss: Cross-entropy of `logits`, scalar, when `labels` were given.
        logits: Class scores before softmax `(B, num_labels)`.
        semantic_embeds: The clip in the space of class sentences `(B, semantic_dim)`; not of unit length.
        pooled: Input of the classifier `(B, N)`.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    semantic_embeds: torch.Tensor | None = None
    pooled: torch.Tensor | None = None


def middle_channels(width_in: int, width_out: int, t: int = 3, d: int = 3) -> int:
    """`M = ⌊t d² N_in N_out / (d² N_in + t N_out)⌋` (Tran et al., Sec. 3.5).

    With it, d × d over pixels and then t over frames have as many weights as one convolution of t × d × d.
    """
    return t * d * d * width_in * width_out // (d * d * width_in + t * width_out)


def _conv(width_in: int, middle: int, width_out: int, stride: tuple[int, int], size: int = 3) -> nn.Sequential:
    """Over `size` × `size` pixels, then over 3 frames; `stride` is the step over frames and over pixels."""
    t, s = stride
    return nn.Sequential(
        nn.Conv3d(width_in, middle, (1, size, size), (1, s, s), (0, size // 2, size // 2), bias=False),
        nn.BatchNorm3d(middle),
        nn.ReLU(),
        nn.Conv3d(middle, width_out, (3, 1, 1), (t, 1, 1), (1, 0, 0), bias=False),
        nn.BatchNorm3d(width_out),
    )


class R2Plus1DBlock(nn.Module):
    """Two (2+1)-dimensional convolutions around a skip.

    As published with weights (torchvision), both have the M of the first one; the authors' own Caffe2 code computes
    one for each. They differ in the first block of stages 2 to 4 alone: 31.5 or 33.4 million parameters.

    Args:
        width_in: Channels in.
        width: Channels out.
        stride: Step over frames and over pixels.
    """

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        middle = middle_channels(width_in, width)
        self.first = _conv(width_in, middle, width, (stride, stride))
        self.second = _conv(width, middle, width, (1, 1))
        same = width_in == width and stride == 1
        self.skip: nn.Module = nn.Identity()
        if not same:
            self.skip = nn.Sequential(
                nn.Conv3d(width_in, width, 1, stride, bias=False),
                nn.BatchNorm3d(width),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, N, T, H, W)` to `(B, N', T', H', W')`."""
        return F.relu(self.second(F.relu(self.first(x))) + self.skip(x))


class R2Plus1DPreTrainedModel(PreTrainedModel):
    """Weights of R(2+1)D, and where they start."""

    config_class = R2Plus1DConfig
    base_model_prefix = "r2plus1d"
    main_input_name = "pixel_values"

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv3d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class R2Plus1DForVideoClassification(R2Plus1DPreTrainedModel):
    """Stem, stages, mean over time and space, and a linear classifier; what `AutoModel` gives."""

    def __init__(self, config: R2Plus1DConfig) -> None:
        super().__init__(config)
        width_in = config.widths[0]
        self.stem = _conv(3, config.stem_channels, width_in, (1, 2), size=7)
        blocks = []
        for stage, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            for block in range(depth):
                blocks.append(R2Plus1DBlock(width_in, width, 2 if stage and not block else 1))
                width_in = width
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(width_in, config.num_labels)
        self.semantic = nn.Linear(width_in, config.semantic_dim) if config.semantic_dim else None
        self.post_init()

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, return_dict: bool | None = None
    ) -> R2Plus1DOutput | tuple:
        """Classifies clips.

        Args:
            pixel_values: Normalised frames, as `FGSGLProcessor` prepares them, `(B, T, 3, H, W)`.
            labels: Class ids `(B,)`; with them, `loss` is the mean cross-entropy.
            return_dict: `False` gives a tuple without the entries that are `None`.

        Returns:
            `R2Plus1DOutput`.

        Raises:
            ValueError: The shape does not fit.
        """
        if pixel_values.ndim != 5 or pixel_values.shape[2] != 3:
            raise ValueError(
                f"pixel_values must be (clips, frames, 3 colours, height, width), got {tuple(pixel_values.shape)}"
            )
        pooled = self.blocks(F.relu(self.stem(pixel_values.transpose(1, 2).to(self.dtype)))).mean((2, 3, 4))
        logits = self.classifier(self.dropout(pooled))
        output = R2Plus1DOutput(
            loss=None if labels is None else F.cross_entropy(logits.float(), labels),
            logits=logits,
            semantic_embeds=None if self.semantic is None else self.semantic(pooled),
            pooled=pooled,
        )
        return output.to_tuple() if return_dict is False else output


R2Plus1DForVideoClassification.register_for_auto_class("AutoModelForVideoClassification")
