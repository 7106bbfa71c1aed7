"""`FGSGLConfig`: what an FG-SGL network is. Nothing here says how it is trained or where data lie."""

from __future__ import annotations

from typing import ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, InternVLVisionConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec

TASK = "micro-gesture-recognition"
ATTRIBUTES = ("initiator", "receiver", "direction", "motion_type")
SPOTTING_LIMITS = ("background", "unknown", "keep", "overlap")
_CHOICES = {
    "temporal_pooling": ("mean", "learned"),
    "spatial_pooling": ("mean", "attention"),
    "classifier_input": ("high", "mid_high"),
}


@strict
class FGSGLConfig(PreTrainedConfig):
    """Configuration of [`FGSGLModel`] and [`FGSGLForVideoClassification`] (FG-SGL, arXiv 2603.16269).

    Args:
        vision_config: The vision encoder, an `InternVLVisionConfig` or a dictionary of its fields.
        text_config: The language model whose embeddings stand for sentences; its `hidden_size` is `D_t`. The language
            model itself is no part of the network.
        downsample_ratio: Pixel shuffle before the projector: 0.5 makes four patch tokens one.
        projector_hidden_act: Activation of the projector.
        num_frames: T, the frames taken from a clip (Sec. IV-A: 8).
        mid_layer: The vision block, counted from 1, whose output is `mid` (Sec. III-C); default: half the depth.
        embed_dim: E, the width of the two shared embedding spaces.
        temporal_pooling: `mean` over frames, or `learned`: filters over time that see the order of frames.
        spatial_pooling: `mean` over tokens, or `attention`: learned weights per frame.
        classifier_input: `high`, or `mid_high` for both levels.
        category_texts: One sentence T_c per class (Sec. III-D), in the order of `id2label`; empty when unknown.
        attribute_words: For each FG-Text attribute the words that `describe` may rank.
        sentence_parts: How words become a sentence: `template` and the phrases of each word of `initiator`,
            `motion_type` and `direction`, under `""` that of an unknown one; without them there is no sentence.
        spotting: How gestures are found in untrimmed recordings, as `microgesture fit-spotting` measured it:
            `window_seconds`, `hop` (frames between two windows), and for each way to tell background, `head` and
            `softmax`, the limits `background`, `unknown`, `keep` and `overlap` (see `spotting_fgsgl.segments`).
        training_clips: Smallest and greatest `seconds`, `fps`, `height` and `aspect` (width by height) of the clips
            of training.
        classifier_dropout: Dropout before the classifier while training.
        semantic_head: Whether what the classifier reads is also projected to the space of category sentences, as
            `semantic_embeds`.
        initializer_range: Standard deviation of new weights outside the vision tower, which has its own.
        id2label: Class names by id.

    Raises:
        ValueError: A field is out of range; the message names it.
    """

    model_type = "fgsgl"
    sub_configs_defaults: ClassVar[dict] = {
        "vision_config": InternVLVisionConfig,
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="qwen2"),
    }
    # Evaluation collects logits; the other outputs are for losses and for people.
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "fine_embeds", "class_embeds", "fine_text_embeds", "category_embeds", "semantic_embeds", "pooled",
        "mid", "high",
    ]  # fmt: skip

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    downsample_ratio: float = 0.5
    projector_hidden_act: str = "gelu"
    num_frames: int = 8
    mid_layer: int | None = None
    embed_dim: int = 256
    temporal_pooling: str = "mean"
    spatial_pooling: str = "mean"
    classifier_input: str = "high"
    category_texts: list[str] | None = None
    attribute_words: dict[str, list[str]] | None = None
    sentence_parts: dict | None = None
    spotting: dict | None = None
    training_clips: dict[str, list[float]] | None = None
    classifier_dropout: float = 0.0
    semantic_head: bool = False
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        depth = self.vision_config.num_hidden_layers
        if self.mid_layer is None:
            self.mid_layer = max(1, depth // 2)
        self.category_texts = self.category_texts or []
        self.attribute_words = self.attribute_words or {}
        self.auto_map = {
            "AutoConfig": "configuration_fgsgl.FGSGLConfig",
            "AutoModel": "modeling_fgsgl.FGSGLForVideoClassification",
            "AutoModelForVideoClassification": "modeling_fgsgl.FGSGLForVideoClassification",
        }
        self.restore_pipeline()
        self._check(depth)

    def restore_pipeline(self) -> None:
        """Names the pipeline as config.json does; `transformers.pipeline` puts classes there, which are no JSON."""
        about = {
            "impl": "pipeline_fgsgl.FGSGLPipeline",
            "pt": ["AutoModelForVideoClassification"],
            "type": "multimodal",
        }
        self.custom_pipelines = {TASK: about}

    def set_spotting(self, spotting: dict) -> None:
        """Sets `spotting`.

        Raises:
            ValueError: A setting is missing or out of range.
        """
        _check_spotting(spotting, self.num_frames)
        self.spotting = spotting

    def _check(self, depth: int) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose one of: {', '.join(choices)}")
        if not 1 <= self.mid_layer <= depth:
            raise ValueError(f"mid_layer is {self.mid_layer}; blocks are counted from 1 to {depth}")
        for name in ("num_frames", "embed_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        side, patch = self.vision_config.image_size[0], self.vision_config.patch_size[0]
        factor = round(1 / self.downsample_ratio)
        if self.vision_config.image_size[1] != side or side % patch or (side // patch) % factor:
            raise ValueError(
                f"image_size {self.vision_config.image_size} must be square and a multiple of {factor} patches of "
                f"{patch} pixels (downsample_ratio {self.downsample_ratio})"
            )
        if self.category_texts and len(self.category_texts) != self.num_labels:
            raise ValueError(
                f"category_texts has {len(self.category_texts)} sentences for {self.num_labels} classes; "
                "give one sentence per class, in the order of id2label"
            )
        if self.spotting:
            _check_spotting(self.spotting, self.num_frames)
        unknown = sorted(set(self.attribute_words) - set(ATTRIBUTES))
        if unknown:
            raise ValueError(f"attribute_words names {unknown}; the attributes are: {', '.join(ATTRIBUTES)}")

    @property
    def image_size(self) -> int:
        """Side of the square frames in pixels."""
        return self.vision_config.image_size[0]

    @property
    def words(self) -> list[tuple[str, str]]:
        """(attribute, word) in the order of the word prototypes."""
        return [
            (attribute, word) for attribute in ATTRIBUTES for word in (self.attribute_words or {}).get(attribute, [])
        ]


def _check_spotting(spotting: dict, num_frames: int) -> None:
    wanted = {"window_seconds", "hop", "head", "softmax"}
    if set(spotting) != wanted:
        raise ValueError(f"spotting has the settings {sorted(spotting)}; it needs {sorted(wanted)}")
    lengths, hop = spotting["window_seconds"], spotting["hop"]
    if not lengths or min(lengths) <= 0 or not 1 <= hop <= num_frames:
        raise ValueError(f"spotting: window_seconds {lengths} must be above 0 and hop {hop} from 1 to {num_frames}")
    for way in ("head", "softmax"):
        values = [spotting[way].get(name) for name in SPOTTING_LIMITS]
        if not all(isinstance(value, int | float) and 0 <= value <= 1 for value in values):
            raise ValueError(f"spotting: {', '.join(SPOTTING_LIMITS)} of {way!r} must be from 0 to 1: {values}")


FGSGLConfig.register_for_auto_class()
