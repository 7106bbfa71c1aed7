"""`HeatmapConfig`: what a heatmap network is and how its volumes are drawn, with the tables of its joints."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

PARTS = ("joints", "limbs")
VIEWS = ("front", "side")


@strict
class HeatmapConfig(PreTrainedConfig):
    """Configuration of [`HeatmapForVideoClassification`], the heatmap stream of arXiv 2606.13030.

    The defaults are those of PoseC3D with SlowOnly (Duan et al., CVPR 2022).

    Args:
        layout: Name of the keypoint layout, for people; the network reads the three tables below.
        joints: Joint names, J of them, in the order of the keypoints.
        bones: Which joints are joined, as places in `joints`: the limbs.
        pairs: (left, right), as places in `joints`: what a mirror exchanges.
        dimensions: Coordinates of a point: 2 (picture) or 3 (space).
        num_frames: T that clips are resampled to; the network itself takes any length.
        size: H = W of the volumes in pixels.
        sigma: Standard deviation of the Gaussians in pixels.
        padding: Margin around the box of all points of a clip, as a share of the box.
        parts: What is drawn, of `joints` (a spot each) and `limbs` (a line each).
        views: For points in space: `front` (x, y) and `side` (z, y), each with channels of its own.
        stem_kernel: Pixels that the first convolution spans; an odd number.
        base_channels: Channels of the stem.
        stage_blocks: Bottleneck blocks of each stage; each stage halves height and width and doubles the channels.
        inflate: For each stage, 1 where its blocks also convolve over three frames.
        temporal_strides: Step over frames at the beginning of each stage.
        dropout: Dropout before the classifier while training.
        semantic_dim: Width of the class sentences that `semantic_embeds` is compared with; 0 for none.
        category_texts: One sentence per class, in the order of `id2label`; empty when unknown.
        id2label: Class names by id.

    Raises:
        ValueError: A field is out of range; the message names it.
    """

    model_type = "microgesture_heatmap"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["semantic_embeds", "pooled"]

    layout: str = ""
    joints: list[str] = field(default_factory=lambda: ["point"])
    bones: list[list[int]] = field(default_factory=list)
    pairs: list[list[int]] = field(default_factory=list)
    dimensions: int = 2
    num_frames: int = 48
    size: int = 56
    sigma: float = 0.6
    padding: float = 0.25
    parts: list[str] = field(default_factory=lambda: ["joints"])
    views: list[str] = field(default_factory=lambda: ["front"])
    stem_kernel: int = 7
    base_channels: int = 32
    stage_blocks: list[int] = field(default_factory=lambda: [4, 6, 3])
    inflate: list[int] = field(default_factory=lambda: [0, 1, 1])
    temporal_strides: list[int] = field(default_factory=lambda: [1, 1, 2])
    dropout: float = 0.5
    semantic_dim: int = 0
    category_texts: list[str] = field(default_factory=list)

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self._check()
        self.auto_map = {
            "AutoConfig": "configuration_heatmap.HeatmapConfig",
            "AutoModel": "modeling_heatmap.HeatmapForVideoClassification",
            "AutoModelForVideoClassification": "modeling_heatmap.HeatmapForVideoClassification",
        }

    def _check(self) -> None:
        J = len(self.joints)
        if self.dimensions not in (2, 3):
            raise ValueError(f"dimensions is {self.dimensions}; a point has 2 or 3 coordinates")
        for name in ("bones", "pairs"):
            if any(len(row) != 2 or not all(0 <= joint < J for joint in row) for row in getattr(self, name)):
                raise ValueError(f"{name} must be pairs of places from 0 to {J - 1}, got {getattr(self, name)}")
        for name, choices in (("parts", PARTS), ("views", VIEWS)):
            chosen = getattr(self, name)
            if not chosen or not set(chosen) <= set(choices) or len(set(chosen)) < len(chosen):
                raise ValueError(f"{name} is {chosen}; name one or more of: {', '.join(choices)}, each once")
        if "side" in self.views and self.dimensions == 2:
            raise ValueError("views asks for the side, which points of a picture (dimensions 2) do not have")
        if "limbs" in self.parts and not self.bones:
            raise ValueError("parts asks for limbs, but there are no bones; give bones, or parts: [joints]")
        if not self.sigma > 0 or self.padding < 0 or min(self.size, self.num_frames, self.base_channels) < 1:
            raise ValueError(
                f"sigma {self.sigma} must be above 0, padding {self.padding} 0 or more, and size {self.size}, "
                f"num_frames {self.num_frames} and base_channels {self.base_channels} 1 or more"
            )
        if self.stem_kernel < 1 or self.stem_kernel % 2 == 0:
            raise ValueError(f"stem_kernel is {self.stem_kernel}; it must be an odd number of pixels")
        stages = len(self.stage_blocks)
        if not stages or {len(self.inflate), len(self.temporal_strides)} != {stages}:
            raise ValueError(
                f"stage_blocks {self.stage_blocks}, inflate {self.inflate} and temporal_strides "
                f"{self.temporal_strides} must have one number per stage each"
            )
        if min(self.stage_blocks) < 1 or not set(self.inflate) <= {0, 1} or min(self.temporal_strides) < 1:
            raise ValueError("stage_blocks and temporal_strides are 1 or more, inflate is 0 or 1 for each stage")
        if self.category_texts and len(self.category_texts) != self.num_labels:
            raise ValueError(
                f"category_texts has {len(self.category_texts)} sentences for {self.num_labels} classes; "
                "give one sentence per class, in the order of id2label"
            )

    @property
    def channels(self) -> int:
        """Channels of the volumes: every part in every view."""
        drawn = {"joints": len(self.joints), "limbs": len(self.bones)}
        return len(self.views) * sum(drawn[part] for part in self.parts)


HeatmapConfig.register_for_auto_class()
