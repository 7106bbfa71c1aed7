"""CLIP-MG-like (after Patapati et al., arXiv 2506.16385): queries at a person's points look at CLIP's frame tokens.

The paper has published no code. Its parts are here, their shapes are ours (docs/paper.md): a CLIP vision model over
the frames, semantic queries guided by the pose, cross-attention of the queries over the tokens of a frame, and a gate
between what they saw and the pose itself. Flat: a checkpoint holds a copy of this file and loads anywhere.

Shapes: B clips, T frames, J joints, N patch tokens of a frame, D_v width of CLIP, E width of the queries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers import initialization as init
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput


@strict
class ClipMGConfig(PreTrainedConfig):
    """Configuration of [`ClipMGForVideoClassification`].

    Args:
        vision_config: The vision encoder, a `CLIPVisionConfig` or a dictionary of its fields; default ViT-B/16.
        layout: Name of the keypoint layout, for people.
        joints: Joint names, J of them, in the order of the points.
        pairs: (left, right), as places in `joints`: what a mirror exchanges.
        num_frames: T that a clip is sampled to; the network itself takes any number.
        width: E, of queries, tokens and pose.
        heads: Attention heads; `width` is a multiple of them.
        temporal_kernel: Frames that a convolution over the pose spans; an odd number.
        dropout: Dropout before the classifier while training.
        semantic_dim: Width of the class sentences that `semantic_embeds` is compared with; 0 for none.
        category_texts: One sentence per class, in the order of `id2label`; empty when unknown.
        id2label: Class names by id.

    Raises:
        ValueError: A field is out of range; the message names it.
    """

    model_type = "microgesture_clip_mg"
    sub_configs_defaults: ClassVar[dict] = {"vision_config": CLIPVisionConfig}
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["semantic_embeds", "pooled", "gate"]

    vision_config: dict | PreTrainedConfig | None = None
    layout: str = ""
    joints: list[str] = field(default_factory=lambda: ["point"])
    pairs: list[list[int]] = field(default_factory=list)
    num_frames: int = 8
    width: int = 256
    heads: int = 8
    temporal_kernel: int = 3
    dropout: float = 0.0
    semantic_dim: int = 0
    category_texts: list[str] = field(default_factory=list)

    def __post_init__(self, **kwargs: Any) -> None:
        if self.vision_config is None:
            self.vision_config = {"patch_size": 16}
        super().__post_init__(**kwargs)
        self._check()
        self.auto_map = {
            "AutoConfig": "clip_mg.ClipMGConfig",
            "AutoModel": "clip_mg.ClipMGForVideoClassification",
            "AutoModelForVideoClassification": "clip_mg.ClipMGForVideoClassification",
        }

    @property
    def image_size(self) -> int:
        """Height and width of the frames in pixels, which the vision encoder decides."""
        return int(self.vision_config.image_size)  # type: ignore[union-attr]

    def _check(self) -> None:
        J = len(self.joints)
        if any(len(row) != 2 or not all(0 <= joint < J for joint in row) for row in self.pairs):
            raise ValueError(f"pairs must be pairs of places from 0 to {J - 1}, got {self.pairs}")
        if self.width < 1 or self.heads < 1 or self.width % self.heads:
            raise ValueError(f"width is {self.width} and heads {self.heads}; width must be a multiple of heads")
        if self.temporal_kernel < 1 or self.temporal_kernel % 2 == 0:
            raise ValueError(f"temporal_kernel is {self.temporal_kernel}; it must be an odd number of frames")
        if self.category_texts and len(self.category_texts) != self.num_labels:
            raise ValueError(
                f"category_texts has {len(self.category_texts)} sentences for {self.num_labels} classes; "
                "give one sentence per class, in the order of id2label"
            )


@dataclass
class ClipMGOutput(ModelOutput):
    """What the network returns; `None` for what was not asked for.

    Args:
        loss: Cross-entropy of `logits`, scalar, when `labels` were given.
        logits: Class scores before softmax `(B, num_labels)`.
        semantic_embeds: The clip in the space of class sentences `(B, semantic_dim)`; not of unit length.
        pooled: Input of the classifier `(B, E)`.
        gate: How much of each frame's features comes from the picture, the rest from the pose `(B, T, E)`, 0 to 1.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    semantic_embeds: torch.Tensor | None = None
    pooled: torch.Tensor | None = None
    gate: torch.Tensor | None = None


def points_of_frames(
    points: torch.Tensor, num_frames: int, width: int, height: int, min_confidence: float = 0.1
) -> torch.Tensor:
    """A clip's table of points -> where they are in the frames that the network sees.

    Args:
        points: `(T', J, 2 or 3)`, a row per frame of the clip: x and y in pixels of the video as it is displayed, and
            how well the point is seen.
        num_frames: T; the middle of each of T equal parts is taken, as of the frames.
        width: Of the video in pixels.
        height: Of the video in pixels.
        min_confidence: A point that is seen less well counts as unseen.

    Returns:
        float32 `(T, J, 3)`: x and y from -1 (left or upper edge) to 1, and the confidence: 0 where a point is unseen
        (no number, 0 throughout, below `min_confidence`, outside the picture).

    Raises:
        ValueError: The shape does not fit.
    """
    if points.ndim != 3 or points.shape[2] not in (2, 3) or 0 in points.shape:
        raise ValueError(f"points of a clip must be (frames, joints, 2 or 3 numbers), got {tuple(points.shape)}")
    moments = ((torch.arange(num_frames) + 0.5) / num_frames * len(points)).long()
    chosen = points[moments].float()
    place = (chosen[..., :2] + 0.5) * 2 / chosen.new_tensor([width, height]) - 1
    sure = chosen[..., 2] if points.shape[2] == 3 else torch.ones_like(chosen[..., 0])
    known = chosen.isfinite().all(-1) & (chosen[..., :2] != 0).any(-1)
    seen = known & (place.abs() <= 1).all(-1) & (sure >= max(min_confidence, 1e-6))
    sure = torch.where(seen, sure.clamp(0, 1), 0.0)
    return torch.cat([torch.where(seen[..., None], place, 0.0), sure[..., None]], -1)


class PoseEncoder(nn.Module):
    """The pose itself: places of all points and their change to the next frame, convolved over time.

    Args:
        joints: J.
        width: E.
        kernel: Frames that a convolution spans.
    """

    def __init__(self, joints: int, width: int, kernel: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(5 * joints, width, kernel, padding=kernel // 2),
            nn.GELU(),
            nn.Conv1d(width, width, kernel, padding=kernel // 2),
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """`(B, T, J, 3)` to `(B, T, E)`."""
        change = F.pad(points[:, 1:, :, :2] - points[:, :-1, :, :2], (0, 0, 0, 0, 0, 1))
        both = torch.minimum(points[:, 1:, :, 2:], points[:, :-1, :, 2:]) > 0  # no motion to or from an unseen point
        change = change * F.pad(both, (0, 0, 0, 0, 0, 1))
        flat = torch.cat([points, change], -1).flatten(2).transpose(1, 2)  # (B, 5 J, T)
        return self.norm(self.layers(flat).transpose(1, 2))


class PoseGuidedAttention(nn.Module):
    """One query per joint: what CLIP sees at its place, and which joint it is; it looks at all tokens of its frame.

    Args:
        joints: J.
        width: E.
        heads: Attention heads.
    """

    def __init__(self, joints: int, width: int, heads: int) -> None:
        super().__init__()
        self.joint = nn.Parameter(torch.zeros(joints, width))
        self.query_norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def queries(self, tokens: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Tokens between whose centres a point lies, mixed by distance: `(F, N, E)`, `(F, J, 3)` to `(F, J, E)`."""
        side = round(tokens.shape[1] ** 0.5)
        picture = tokens.transpose(1, 2).unflatten(2, (side, side))  # (F, E, rows, columns)
        grid = points[:, :, None, :2].to(tokens.dtype)
        there = F.grid_sample(picture, grid, padding_mode="border", align_corners=False)  # (F, E, J, 1)
        return self.query_norm(there[..., 0].transpose(1, 2) + self.joint)

    def forward(self, tokens: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Mean over the points that are seen, by confidence: `(F, N, E)`, `(F, J, 3)` to `(F, E)`.

        A frame in which none is seen asks with all joints alike, from the middle of the picture.
        """
        queries = self.queries(tokens, points)
        seen = queries + self.attention(queries, tokens, tokens, need_weights=False)[0]
        weight = points[..., 2].to(tokens.dtype)
        weight = torch.where(weight.sum(1, keepdim=True) > 0, weight, 1.0)
        return self.norm((seen * weight[..., None]).sum(1) / weight.sum(1, keepdim=True))


class ClipMGForVideoClassification(PreTrainedModel):
    """CLIP's vision model, pose-guided attention, a gate and a linear classifier; what `AutoModel` gives."""

    config_class = ClipMGConfig
    base_model_prefix = "clip_mg"
    main_input_name = "pixel_values"
    input_modalities = ("video",)

    def __init__(self, config: ClipMGConfig) -> None:
        super().__init__(config)
        E, J = config.width, len(config.joints)
        self.vision = CLIPVisionModel(config.vision_config)
        self.project = nn.Sequential(nn.Linear(config.vision_config.hidden_size, E), nn.LayerNorm(E))  # type: ignore[union-attr]
        self.attention = PoseGuidedAttention(J, E, config.heads)
        self.pose = PoseEncoder(J, E, config.temporal_kernel)
        self.gate = nn.Linear(2 * E, E)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(E, config.num_labels)
        self.semantic = nn.Linear(E, config.semantic_dim) if config.semantic_dim else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, PoseGuidedAttention):
            init.normal_(module.joint, std=0.02)

    def forward(
        self,
        pixel_values: torch.Tensor,
        points: torch.Tensor,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> ClipMGOutput | tuple:
        """Classifies clips.

        Args:
            pixel_values: Normalised frames `(B, T, 3, S, S)`.
            points: Where the person's points are in these frames `(B, T, J, 3)`, as `points_of_frames` gives them.
            labels: Class ids `(B,)`; with them, `loss` is the mean cross-entropy.
            return_dict: `False` gives a tuple without the entries that are `None`.

        Returns:
            `ClipMGOutput`.

        Raises:
            ValueError: A shape does not fit.
        """
        B, T = pixel_values.shape[:2]
        expected = (B, T, len(self.config.joints), 3)
        if pixel_values.ndim != 5 or tuple(points.shape) != expected:
            raise ValueError(
                f"points must be {expected}: the clips and frames of pixel_values {tuple(pixel_values.shape)}, the "
                f"joints of {self.config.layout}, and x, y and the confidence; got {tuple(points.shape)}"
            )
        frames = pixel_values.flatten(0, 1).to(self.dtype)
        patches = self.vision(pixel_values=frames).last_hidden_state[:, 1:]  # (B · T, N, D_v)
        # CLIP normalises its class token only; the patches have the same scale, and no weight is left without a use.
        tokens = self.project(self.vision.post_layernorm(patches))
        seen = self.attention(tokens, points.flatten(0, 1)).unflatten(0, (B, T))
        pose = self.pose(points.to(self.dtype))
        gate = self.gate(torch.cat([seen, pose], -1)).sigmoid()
        pooled = (gate * seen + (1 - gate) * pose).mean(1)
        logits = self.classifier(self.dropout(pooled))
        output = ClipMGOutput(
            loss=None if labels is None else F.cross_entropy(logits.float(), labels),
            logits=logits,
            semantic_embeds=None if self.semantic is None else self.semantic(pooled),
            pooled=pooled,
            gate=gate,
        )
        return output.to_tuple() if return_dict is False else output


ClipMGConfig.register_for_auto_class()
ClipMGForVideoClassification.register_for_auto_class("AutoModelForVideoClassification")
