"""FG-SGL: video frames to mid and high features, embeddings in two text spaces, and class logits.

The network of FG-SGL (arXiv 2603.16269, Sec. III) over transformers' own InternVL vision tower and projector.
The language model is no part of it: sentences enter as frozen embeddings, prototypes travel in the checkpoint.

Shapes: B clips, T frames, N tokens, D_v vision width, D_t text width, E embedding width, C classes, K sentences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import nn
from transformers import InternVLVisionModel
from transformers import initialization as init
from transformers.modeling_utils import PreTrainedModel
from transformers.models.internvl.modeling_internvl import InternVLMultiModalProjector
from transformers.utils import ModelOutput

try:
    from .configuration_fgsgl import FGSGLConfig
except ImportError:
    from configuration_fgsgl import FGSGLConfig
if TYPE_CHECKING:
    # Never run. save_pretrained and the Hub's loader take along every file that stands in such a line, and a
    # checkpoint without its pipeline would not be whole.
    from .pipeline_fgsgl import FGSGLPipeline  # noqa: F401

SPACES = ("fine", "class")


@dataclass
class FGSGLOutput(ModelOutput):
    """What the network returns; `None` for what was not asked for.

    Args:
        loss: Cross-entropy of `logits`, scalar, when `labels` were given.
        logits: Class scores before softmax `(B, C)`.
        fine_embeds: `mid` in the space of FG-Text sentences `(B, E)`, unit length (Sec. III-C).
        class_embeds: `high` in the space of category sentences `(B, E)`, unit length (Sec. III-D).
        fine_text_embeds: The given sentence embeddings in the fine space `(K, E)`, unit length.
        category_embeds: The category prototypes in the class space `(C, E)`, unit length.
        semantic_embeds: `pooled` in the space of frozen category sentences `(B, D_t)`, of any length; with
            `semantic_head` only.
        pooled: Input of the classifier `(B, P)`.
        mid: Patch tokens after block `mid_layer` `(B, T, N, D_v)`.
        high: Output of the projector `(B, T, N/4, D_t)`.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    fine_embeds: torch.Tensor | None = None
    class_embeds: torch.Tensor | None = None
    fine_text_embeds: torch.Tensor | None = None
    category_embeds: torch.Tensor | None = None
    semantic_embeds: torch.Tensor | None = None
    pooled: torch.Tensor | None = None
    mid: torch.Tensor | None = None
    high: torch.Tensor | None = None


def pixel_shuffle(tokens: torch.Tensor, factor: int) -> torch.Tensor:
    """Joins `factor` x `factor` neighbouring tokens along the channels, in InternVL's order ("ps_version v2").

    Args:
        tokens: Patch tokens `(B, N, D)`, N a square number.
        factor: Tokens joined per side.

    Returns:
        `(B, N / factor², D · factor²)`.
    """
    B, N, D = tokens.shape
    side = math.isqrt(N)
    grid = tokens.view(B, side // factor, factor, side // factor, factor, D)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(B, N // factor**2, D * factor**2)


def cosine_basis(num_frames: int) -> torch.Tensor:
    """The orthonormal DCT-II over time `(T, T)`: row 0 is the mean, row 1 first against last, and so on."""
    steps = torch.arange(num_frames, dtype=torch.float64)
    basis = torch.cos(math.pi / num_frames * (steps[None] + 0.5) * steps[:, None]) * math.sqrt(2 / num_frames)
    basis[0] /= math.sqrt(2)
    return basis.float()


class FGSGLPooling(nn.Module):
    """Pools token features over time, then over space.

    Args:
        width: D of the tokens.
        config: Gives `spatial_pooling`, `temporal_pooling` and `num_frames`.

    A mean over time cannot tell a movement from its reverse. `learned` applies T filters over the T frames at every
    place of the picture; they start as a cosine basis (row 0 is the mean, the others are changes) and are trained.
    Each of these components is then pooled over space by itself, so that attention can look where something changes,
    and normalised by itself: people and rooms are in the mean, gestures are in the changes, and these are many times
    smaller (docs/log.md has both effects).
    """

    attention_groups = 4  # each quarter of the channels looks at its own place in the picture

    def __init__(self, width: int, config: FGSGLConfig) -> None:
        super().__init__()
        self.num_frames = config.num_frames
        self.norm = nn.LayerNorm(width)
        self.scores = nn.Linear(width, self.attention_groups) if config.spatial_pooling == "attention" else None
        learned = config.temporal_pooling == "learned"
        self.filters = nn.Parameter(cosine_basis(self.num_frames)) if learned else None
        self.width = width * (self.num_frames if learned else 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Pools `(B, T, N, D)` to `(B, P)`, P = `self.width`.

        Raises:
            ValueError: T is not `num_frames`, with `learned` pooling over time.
        """
        components = self._over_time(self.norm(tokens))  # (B, K, N, D), K = T or 1
        if self.scores is None:
            pooled = components.mean(2)
        else:
            weights = self.scores(F.layer_norm(components, components.shape[-1:])).softmax(2)  # (B, K, N, G)
            groups = components.unflatten(-1, (weights.shape[-1], -1))
            pooled = torch.einsum("bkng,bkngd->bkgd", weights, groups).flatten(2)
        return F.layer_norm(pooled, pooled.shape[-1:]).flatten(1)

    def _over_time(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.filters is None:
            return tokens.mean(1, keepdim=True)
        if tokens.shape[1] != self.num_frames:
            raise ValueError(
                f"this network pools exactly {self.num_frames} frames over time and got {tokens.shape[1]}; "
                f"sample {self.num_frames} frames per clip (the processor's num_frames)"
            )
        return torch.einsum("kt,btnd->bknd", self.filters.to(tokens.dtype), tokens)


class FGSGLTextProjection(nn.Module):
    """Frozen sentence embeddings into a shared space, and the prototypes that live there.

    Args:
        text_width: D_t.
        embed_dim: E.
        num_prototypes: Prototypes kept, as unprojected embeddings.

    `mean (D_t)`, `prototypes (n, D_t)` and `learned (n,)` are persistent buffers: never trained, always saved.
    """

    def __init__(self, text_width: int, embed_dim: int, num_prototypes: int) -> None:
        super().__init__()
        self.proj = nn.Linear(text_width, embed_dim, bias=False)
        self.register_buffer("mean", torch.zeros(text_width))
        self.register_buffer("prototypes", torch.zeros(num_prototypes, text_width))
        self.register_buffer("learned", torch.zeros(num_prototypes, dtype=torch.bool))

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Embeddings `(K, D_t)` to unit vectors `(K, E)`; their common part, the mean sentence, is taken off first."""
        centred = embeddings.to(self.mean.dtype) - self.mean
        return F.normalize(self.proj(centred.to(self.proj.weight.dtype)), dim=-1)

    def project_prototypes(self) -> torch.Tensor:
        """The prototypes in the shared space `(n, E)`."""
        return self(self.prototypes)


class FGSGLPreTrainedModel(PreTrainedModel):
    """Loading, saving and the methods that both models share."""

    config_class = FGSGLConfig
    base_model_prefix = "fgsgl"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # the loss is a mean over clips; see Trainer's gradient accumulation
    _no_split_modules: ClassVar[list[str]] = ["InternVLVisionLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # Models are built on the meta device and filled here: also buffers, or they would hold garbage.
        if isinstance(module, FGSGLPooling) and module.filters is not None:
            init.copy_(module.filters, cosine_basis(module.num_frames))
        elif isinstance(module, FGSGLTextProjection):
            for buffer in (module.mean, module.prototypes, module.learned):
                init.zeros_(buffer)

    def encode_video(self, pixel_values: torch.Tensor, space: str = "class") -> torch.Tensor:
        """Embeds clips.

        Args:
            pixel_values: Normalised frames `(B, T, 3, H, W)`.
            space: `fine` (compare with FG-Text sentences) or `class` (with category sentences).

        Returns:
            Unit vectors `(B, E)`.

        Raises:
            ValueError: `space` is neither.
        """
        _check_space(space)
        return getattr(self.base_model(pixel_values), f"{space}_embeds")

    def encode_text(self, embeddings: torch.Tensor, space: str = "class") -> torch.Tensor:
        """Projects sentence embeddings of the frozen language model.

        Args:
            embeddings: `(N, D_t)`, from the text encoder that the checkpoint was trained with.
            space: `fine` or `class`.

        Returns:
            Unit vectors `(N, E)`.

        Raises:
            ValueError: `space` is neither, or the width is not D_t.
        """
        _check_space(space)
        width = self.config.text_config.hidden_size
        if embeddings.ndim != 2 or embeddings.shape[1] != width:
            raise ValueError(f"embeddings have shape {tuple(embeddings.shape)}; expected (N, {width})")
        return getattr(self.base_model, f"{space}_text_proj")(embeddings)

    @torch.no_grad()
    def describe(self, pixel_values: torch.Tensor) -> list[dict[str, list[tuple[str, float]]]]:
        """Ranks, for each FG-Text attribute, the words that training sentences held.

        Args:
            pixel_values: Normalised frames `(B, T, 3, H, W)`.

        Returns:
            For each clip, attribute -> `(word, cosine similarity)`, best first. A word that no training sentence held
            is not learned and never ranked, so an attribute may have no words.
        """
        return self.rank_words(self.encode_video(pixel_values, "fine"))

    @torch.no_grad()
    def rank_words(self, fine_embeds: torch.Tensor) -> list[dict[str, list[tuple[str, float]]]]:
        """What `describe` answers, for clips that are embedded already.

        Args:
            fine_embeds: Unit vectors `(B, E)` of the space `fine`.

        Returns:
            As `describe`.
        """
        head = self.base_model.fine_text_proj
        scores = (fine_embeds.float() @ head.project_prototypes().float().T).cpu()
        learned = head.learned.tolist()
        answers = []
        for row in scores.tolist():
            ranked: dict[str, list[tuple[str, float]]] = {name: [] for name in self.config.attribute_words}
            for (attribute, word), score, known in zip(self.config.words, row, learned, strict=True):
                if known:
                    ranked[attribute].append((word, score))
            answers.append({name: sorted(words, key=lambda item: -item[1]) for name, words in ranked.items()})
        return answers

    @torch.no_grad()
    def set_prototypes(
        self, space: str, prototypes: torch.Tensor, mean: torch.Tensor, learned: torch.Tensor | None = None
    ) -> None:
        """Writes the frozen embeddings of a space into its persistent buffers.

        Args:
            space: `fine` (one prototype per word of `config.words`) or `class` (one per category sentence).
            prototypes: Unprojected embeddings `(n, D_t)`.
            mean: The mean sentence embedding `(D_t,)`, taken off before projecting.
            learned: Which prototypes stand for something `(n,)`; default: all.

        Raises:
            ValueError: `space` is neither, or a shape does not fit.
        """
        _check_space(space)
        head = getattr(self.base_model, f"{space}_text_proj")
        if prototypes.shape != head.prototypes.shape or mean.shape != head.mean.shape:
            raise ValueError(
                f"{space} prototypes {tuple(prototypes.shape)} and mean {tuple(mean.shape)} do not fit this network: "
                f"expected {tuple(head.prototypes.shape)} and {tuple(head.mean.shape)}"
            )
        head.prototypes.copy_(prototypes)
        head.mean.copy_(mean)
        head.learned.copy_(torch.ones_like(head.learned) if learned is None else learned)


def _check_space(space: str) -> None:
    if space not in SPACES:
        raise ValueError(f"space is {space!r}; choose one of: {', '.join(SPACES)}")


class FGSGLModel(FGSGLPreTrainedModel):
    """Vision tower, projector and the two alignment heads (FG-SA on `mid`, CP-A on `high`)."""

    def __init__(self, config: FGSGLConfig) -> None:
        super().__init__(config)
        D_v, D_t, E = config.vision_config.hidden_size, config.text_config.hidden_size, config.embed_dim
        self.vision_tower = InternVLVisionModel._from_config(config.vision_config)
        self.multi_modal_projector = InternVLMultiModalProjector(config)
        self.fine_pool = FGSGLPooling(D_v, config)
        self.fine_proj = nn.Linear(self.fine_pool.width, E)
        self.fine_text_proj = FGSGLTextProjection(D_t, E, len(config.words))
        self.class_pool = FGSGLPooling(D_t, config)
        self.class_proj = nn.Linear(self.class_pool.width, E)
        self.class_text_proj = FGSGLTextProjection(D_t, E, config.num_labels)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The patch embedding."""
        return self.vision_tower.get_input_embeddings()

    def features(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The two levels of Fig. 2.

        Args:
            pixel_values: Normalised frames `(B, T, 3, H, W)`.

        Returns:
            `mid (B, T, N, D_v)`, the patch tokens after block `mid_layer`, and `high (B, T, N/4, D_t)`.

        Raises:
            ValueError: The shape is another.
        """
        size = self.config.image_size
        if pixel_values.ndim != 5 or pixel_values.shape[2:] != (3, size, size):
            raise ValueError(
                f"pixel_values has shape {tuple(pixel_values.shape)}; expected (clips, frames, 3, {size}, {size}), "
                "as the checkpoint's own processor makes it"
            )
        B, T = pixel_values.shape[:2]
        dtype = self.vision_tower.embeddings.patch_embeddings.projection.weight.dtype
        # transformers records the one asked-for block with a forward hook; no other hidden state stays alive.
        out = self.vision_tower(pixel_values.flatten(0, 1).to(dtype), output_hidden_states=[self.config.mid_layer])
        mid = out.hidden_states[self.config.mid_layer][:, 1:]  # token 0 is CLS
        joined = pixel_shuffle(out.last_hidden_state[:, 1:], round(1 / self.config.downsample_ratio))
        high = self.multi_modal_projector(joined)
        return mid.unflatten(0, (B, T)), high.unflatten(0, (B, T))

    def forward(
        self,
        pixel_values: torch.Tensor,
        fine_texts: torch.Tensor | None = None,
        return_features: bool = False,
    ) -> FGSGLOutput:
        """Embeds clips, and sentences where given.

        Args:
            pixel_values: Normalised frames `(B, T, 3, H, W)`.
            fine_texts: Frozen FG-Text sentence embeddings `(K, D_t)`. They pass through the same forward as the clips
                so that data-parallel wrappers see every parameter that is used.
            return_features: Also return `mid` and `high`.

        Returns:
            `FGSGLOutput` with `fine_embeds`, `class_embeds`, `category_embeds`, `pooled`.

        Raises:
            ValueError: A shape does not fit.
        """
        mid, high = self.features(pixel_values)
        output = self.embed(mid, high)
        output["fine_text_embeds"] = None if fine_texts is None else self.fine_text_proj(fine_texts)
        output["category_embeds"] = self.class_text_proj.project_prototypes()
        if return_features:
            output["mid"], output["high"] = mid, high
        return output

    def embed(self, mid: torch.Tensor, high: torch.Tensor) -> FGSGLOutput:
        """What follows the tower: clips that share frames share their features, and only this is done for each.

        Args:
            mid: As `features` gives it `(B, T, N, D_v)`.
            high: As `features` gives it `(B, T, N/4, D_t)`.

        Returns:
            `FGSGLOutput` with `fine_embeds`, `class_embeds`, `pooled`.
        """
        pooled_mid, pooled_high = self.fine_pool(mid), self.class_pool(high)
        both = self.config.classifier_input == "mid_high"
        return FGSGLOutput(
            fine_embeds=F.normalize(self.fine_proj(pooled_mid), dim=-1),
            class_embeds=F.normalize(self.class_proj(pooled_high), dim=-1),
            pooled=torch.cat([pooled_mid, pooled_high], -1) if both else pooled_high,
        )


class FGSGLForVideoClassification(FGSGLPreTrainedModel):
    """FG-SGL with a linear classifier on the pooled features; what `AutoModel` gives."""

    def __init__(self, config: FGSGLConfig) -> None:
        super().__init__(config)
        self.fgsgl = FGSGLModel(config)
        width = self.fgsgl.class_pool.width
        if config.classifier_input == "mid_high":
            width += self.fgsgl.fine_pool.width
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(width, config.num_labels)
        self.background = nn.Linear(width, 1) if config.spotting else None
        self.semantic = nn.Linear(width, config.text_config.hidden_size) if config.semantic_head else None
        self.post_init()

    @torch.no_grad()
    def set_background(self, weight: torch.Tensor, bias: torch.Tensor, spotting: dict) -> None:
        """Gives the network a head that tells background, where nothing is annotated, from gestures.

        Args:
            weight: Of a linear model on `pooled` `(1, P)`.
            bias: `(1,)`.
            spotting: The settings that belong to it; see `FGSGLConfig`.

        Raises:
            ValueError: The settings do not fit, or `weight` is not of this width.
        """
        width = self.classifier.in_features
        if weight.shape != (1, width):
            raise ValueError(f"background weight has shape {tuple(weight.shape)}; expected (1, {width})")
        self.config.set_spotting(spotting)
        self.background = nn.Linear(width, 1).to(self.classifier.weight)
        self.background.weight.copy_(weight)
        self.background.bias.copy_(bias)

    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        fine_texts: torch.Tensor | None = None,
        return_features: bool = False,
        return_dict: bool | None = None,
    ) -> FGSGLOutput | tuple:
        """Classifies clips.

        Args:
            pixel_values: Normalised frames `(B, T, 3, H, W)`.
            labels: Class ids `(B,)`; with them, `loss` is the mean cross-entropy (L_cls of eq. 3).
            fine_texts: See `FGSGLModel.forward`.
            return_features: Also return `mid` and `high`.
            return_dict: `False` gives a tuple without the entries that are `None`.

        Returns:
            `FGSGLOutput`.

        Raises:
            ValueError: A shape does not fit.
        """
        output = self.fgsgl(pixel_values, fine_texts, return_features)
        output["logits"] = self.classifier(self.dropout(output.pooled))
        output["semantic_embeds"] = None if self.semantic is None else self.semantic(output.pooled)
        if labels is not None:
            output["loss"] = F.cross_entropy(output.logits.float(), labels)
        ordered = FGSGLOutput(**{name: output.get(name) for name in FGSGLOutput.__dataclass_fields__})
        return ordered.to_tuple() if return_dict is False else ordered


FGSGLForVideoClassification.register_for_auto_class("AutoModel")

__all__ = ["FGSGLForVideoClassification", "FGSGLModel", "FGSGLOutput", "FGSGLPreTrainedModel"]
