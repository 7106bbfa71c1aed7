"""TSM: temporal shift in a ResNet (Lin et al., *TSM: Temporal Shift Module for Efficient Video Understanding*, 2019).

A Hub file of its own: a checkpoint holds a copy of it. Shapes: B clips, T frames, N channels, H × W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import ResNetConfig, ResNetModel
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput

RESNET_FIELDS = ("embedding_size", "hidden_sizes", "depths", "layer_type", "downsample_in_bottleneck")


@strict
class TSMConfig(PreTrainedConfig):
    """Configuration of [`TSMForVideoClassification`]. The defaults are ResNet-50 and 8 frames, as published.

    Args:
        num_frames: T, frames of a clip; the network takes clips of this length only.
        image_size: S, height and width in pixels; the network itself takes any size.
        shift_fraction: Share of the channels that is shifted in each direction (Sec. 3.2: 1/8, together a quarter).
        embedding_size: Channels of the stem, as in transformers' `ResNetConfig`.
        hidden_sizes: Channels of each stage.
        depths: Blocks of each stage.
        layer_type: `bottleneck`, or `basic` (ResNet-18 and 34).
        downsample_in_bottleneck: Whether a block's first convolution halves height and width, not its second.
        dropout: Dropout before the classifier while training.
        semantic_dim: Width of the class sentences that `semantic_embeds` is compared with; 0 for none.
        category_texts: One sentence per class, in the order of `id2label`; empty when unknown.
        id2label: Class names by id.

    Raises:
        ValueError: A field is out of range; the message names it.
    """

    model_type = "microgesture_tsm"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["semantic_embeds", "pooled"]

    num_frames: int = 8
    image_size: int = 224
    shift_fraction: float = 1 / 8
    embedding_size: int = 64
    hidden_sizes: list[int] = field(default_factory=lambda: [256, 512, 1024, 2048])
    depths: list[int] = field(default_factory=lambda: [3, 4, 6, 3])
    layer_type: str = "bottleneck"
    downsample_in_bottleneck: bool = False
    dropout: float = 0.5
    semantic_dim: int = 0
    category_texts: list[str] = field(default_factory=list)

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self._check()
        network = "tsm.TSMForVideoClassification"
        self.auto_map = {
            "AutoConfig": "tsm.TSMConfig",
            "AutoModel": network,
            "AutoModelForVideoClassification": network,
        }

    def _check(self) -> None:
        if min(self.num_frames, self.image_size) < 1:
            raise ValueError(f"num_frames {self.num_frames} and image_size {self.image_size} must be 1 or more")
        if not 0 <= self.shift_fraction <= 0.5:
            raise ValueError(f"shift_fraction is {self.shift_fraction}; two directions share the channels: 0 to 0.5")
        if not self.hidden_sizes or len(self.depths) != len(self.hidden_sizes):
            raise ValueError(f"hidden_sizes {self.hidden_sizes} and depths {self.depths} need one number per stage")
        if self.category_texts and len(self.category_texts) != self.num_labels:
            raise ValueError(
                f"category_texts has {len(self.category_texts)} sentences for {self.num_labels} classes; "
                "give one sentence per class, in the order of id2label"
            )


@dataclass
class TSMOutput(ModelOutput):
    """What the network returns; `None` for what was not asked for.

    Args:
        loss: Cross-entropy of `logits`, scalar, when `labels` were given.
        logits: Class scores before softmax, the mean over frames `(B, num_labels)`.
        semantic_embeds: The clip in the space of class sentences `(B, semantic_dim)`; not of unit length.
        pooled: Mean over frames of what the classifier reads `(B, N)`.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    semantic_embeds: torch.Tensor | None = None
    pooled: torch.Tensor | None = None


def temporal_shift(x: torch.Tensor, frames: int, fraction: float) -> torch.Tensor:
    """Takes the first channels from the next frame and as many further ones from the one before (Sec. 3.1).

    Where there is no such frame, they are 0.

    Args:
        x: Frames of clips one after the other `(B · T, N, H, W)`.
        frames: T.
        fraction: Share of the channels for each direction.

    Returns:
        `(B · T, N, H, W)`.
    """
    clips = x.unflatten(0, (-1, frames))
    fold = int(clips.shape[2] * fraction)
    later, earlier, rest = clips.split([fold, fold, clips.shape[2] - 2 * fold], dim=2)
    over_time = (0, 0) * 3  # neither pixels nor channels are padded
    shifted = [F.pad(later[:, 1:], (*over_time, 0, 1)), F.pad(earlier[:, :-1], (*over_time, 1, 0)), rest]
    return torch.cat(shifted, dim=2).flatten(0, 1)


class ShiftedBranch(nn.Sequential):
    """The residual branch of a block behind a temporal shift; the skip sees each frame as it is (Sec. 3.2, Fig. 3b).

    Args:
        branch: The block's convolutions, whose names stay the same.
        frames: T.
        fraction: Share of the channels for each direction.
    """

    def __init__(self, branch: nn.Sequential, frames: int, fraction: float) -> None:
        super().__init__(*branch)
        self.frames, self.fraction = frames, fraction

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B · T, N, H, W)` to `(B · T, N', H', W')`."""
        return super().forward(temporal_shift(x, self.frames, self.fraction))


class TSMForVideoClassification(PreTrainedModel):
    """transformers' ResNet with a shift in every block, and a linear classifier on every frame."""

    config_class = TSMConfig
    base_model_prefix = "tsm"
    main_input_name = "pixel_values"

    def __init__(self, config: TSMConfig) -> None:
        super().__init__(config)
        self.resnet = ResNetModel(ResNetConfig(**{name: getattr(config, name) for name in RESNET_FIELDS}))
        for stage in self.resnet.encoder.stages:
            for block in stage.layers:
                block.layer = ShiftedBranch(block.layer, config.num_frames, config.shift_fraction)
        width = config.hidden_sizes[-1]
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(width, config.num_labels)
        self.semantic = nn.Linear(width, config.semantic_dim) if config.semantic_dim else None
        self.post_init()

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, return_dict: bool | None = None
    ) -> TSMOutput | tuple:
        """Classifies clips.

        Args:
            pixel_values: Normalised frames, as `FGSGLProcessor` prepares them, `(B, T, 3, H, W)`.
            labels: Class ids `(B,)`; with them, `loss` is the mean cross-entropy.
            return_dict: `False` gives a tuple without the entries that are `None`.

        Returns:
            `TSMOutput`.

        Raises:
            ValueError: The shape does not fit.
        """
        T = self.config.num_frames
        if pixel_values.ndim != 5 or tuple(pixel_values.shape[1:3]) != (T, 3):
            raise ValueError(
                f"pixel_values must be (clips, {T} frames, 3 colours, height, width), got {tuple(pixel_values.shape)}"
            )
        each = self.resnet(pixel_values.flatten(0, 1).to(self.dtype)).pooler_output.flatten(1).unflatten(0, (-1, T))
        pooled = each.mean(1)
        logits = self.classifier(self.dropout(each)).mean(1)
        output = TSMOutput(
            loss=None if labels is None else F.cross_entropy(logits.float(), labels),
            logits=logits,
            semantic_embeds=None if self.semantic is None else self.semantic(pooled),
            pooled=pooled,
        )
        return output.to_tuple() if return_dict is False else output


TSMConfig.register_for_auto_class()
TSMForVideoClassification.register_for_auto_class("AutoModelForVideoClassification")
