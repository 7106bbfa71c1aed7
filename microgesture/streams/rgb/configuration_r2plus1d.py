"""`R2Plus1DConfig`: what an R(2+1)D network is."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig


@strict
class R2Plus1DConfig(PreTrainedConfig):
    """Configuration of [`R2Plus1DForVideoClassification`], one of the two RGB networks of arXiv 2606.13030.

    The defaults are those of R(2+1)D-18 (Tran et al., CVPR 2018, Sec. 3.5) as published.

    Args:
        num_frames: T, frames of a clip; the network itself takes any number.
        image_size: S, height and width in pixels; the network itself takes any size.
        stem_channels: Channels between the two convolutions of the stem; the published stem does not follow the
            formula of the blocks.
        widths: Channels of each stage; those of the first come out of the stem.
        depths: Blocks of each stage; all stages but the first halve frames, height and width.
        dropout: Dropout before the classifier while training.
        semantic_dim: Width of the class sentences that `semantic_embeds` is compared with; 0 for none.
        category_texts: One sentence per class, in the order of `id2label`; empty when unknown.
        id2label: Class names by id.

    Raises:
        ValueError: A field is out of range; the message names it.
    """

    model_type = "microgesture_r2plus1d"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["semantic_embeds", "pooled"]

    num_frames: int = 16
    image_size: int = 112
    stem_channels: int = 45
    widths: list[int] = field(default_factory=lambda: [64, 128, 256, 512])
    depths: list[int] = field(default_factory=lambda: [2, 2, 2, 2])
    dropout: float = 0.0
    semantic_dim: int = 0
    category_texts: list[str] = field(default_factory=list)

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self._check()
        self.auto_map = {
            "AutoConfig": "configuration_r2plus1d.R2Plus1DConfig",
            "AutoModel": "modeling_r2plus1d.R2Plus1DForVideoClassification",
            "AutoModelForVideoClassification": "modeling_r2plus1d.R2Plus1DForVideoClassification",
        }

    def _check(self) -> None:
        for name in ("num_frames", "image_size", "stem_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if not self.widths or len(self.depths) != len(self.widths) or min(*self.widths, *self.depths) < 1:
            raise ValueError(
                f"widths {self.widths} and depths {self.depths} must have one number of 1 or more for each stage"
            )
        if self.category_texts and len(self.category_texts) != self.num_labels:
            raise ValueError(
                f"category_texts has {len(self.category_texts)} sentences for {self.num_labels} classes; "
                "give one sentence per class, in the order of id2label"
            )


R2Plus1DConfig.register_for_auto_class()
