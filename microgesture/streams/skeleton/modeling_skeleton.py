"""Keypoints to class scores: a decoupled spatial-temporal convolution network, and an ST-GCN++-like graph network.

Shapes: B clips, M people, T frames, J joints, D coordinates, C channels of a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_skeleton import SkeletonConfig


@dataclass
class SkeletonOutput(ModelOutput):
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


class JointMixing(nn.Module):
    """Convolution over the joints, all of them at once: each group of channels mixes them by its own J × J matrix.

    Args:
        channels: Channels in and out.
        joints: J.
        groups: Groups of channels.

    Joints have no order that a small kernel could slide along, so the kernel spans them all. It starts as the
    identity: every joint by itself.
    """

    def __init__(self, channels: int, joints: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.mix = nn.Parameter(torch.eye(joints).repeat(groups, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, C, T, J)` to the same."""
        N, C, T, J = x.shape
        grouped = x.reshape(N, self.groups, C // self.groups * T, J)
        return (grouped @ self.mix).view(N, C, T, J)


class DecoupledBlock(nn.Module):
    """Over joints, then over time: channels, joints and frames are never mixed by the same weights.

    Args:
        config: Gives joints, groups and temporal kernel.
        width_in: Channels in.
        width: Channels out; more than `width_in` halve the frames.
    """

    def __init__(self, config: SkeletonConfig, width_in: int, width: int) -> None:
        super().__init__()
        stride, k = _stride(width_in, width), config.temporal_kernel
        self.spatial = nn.Sequential(
            nn.Conv2d(width_in, width, 1, bias=False),
            JointMixing(width, len(config.joints), config.joint_groups),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.temporal = nn.Sequential(
            nn.Conv2d(width, width, (k, 1), (stride, 1), (k // 2, 0), groups=width, bias=False),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.skip = _skip(width_in, width, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, C, T, J)` to `(N, C', T', J)`."""
        return F.relu(self.temporal(self.spatial(x)) + self.skip(x))


class GraphBlock(nn.Module):
    """Graph convolution over the bones, then parallel convolutions over time (after ST-GCN++, Duan et al., 2022).

    Args:
        config: Gives the bones.
        width_in: Channels in.
        width: Channels out; more than `width_in` halve the frames.

    The three graphs (a joint itself, its neighbours towards the root, those away from it) are where the trained
    matrices start.
    """

    def __init__(self, config: SkeletonConfig, width_in: int, width: int) -> None:
        super().__init__()
        stride = _stride(width_in, width)
        self.graphs = nn.Parameter(bone_graphs(config))
        self.expand = nn.Conv2d(width_in, 3 * width, 1)
        self.spatial_norm = nn.BatchNorm2d(width)
        self.spatial_skip = _skip(width_in, width, 1)
        share = width // 6
        first = width - 5 * share
        branches: list[nn.Module] = [_dilated(width, first if d == 1 else share, d, stride) for d in (1, 2, 3, 4)]
        greatest = [
            nn.Conv2d(width, share, 1),
            nn.BatchNorm2d(share),
            nn.ReLU(),
            nn.MaxPool2d((3, 1), (stride, 1), (1, 0)),
        ]
        branches += [nn.Sequential(*greatest), nn.Conv2d(width, share, 1, (stride, 1))]
        self.branches = nn.ModuleList(branches)
        self.merge = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 1), nn.BatchNorm2d(width))
        self.skip = _skip(width_in, width, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, C, T, J)` to `(N, C', T', J)`."""
        parts = self.expand(x).unflatten(1, (3, -1))  # (N, 3, C', T, J)
        mixed = torch.einsum("nkctj,kji->ncti", parts, self.graphs)
        mixed = F.relu(self.spatial_norm(mixed) + self.spatial_skip(x))
        over_time = self.merge(torch.cat([branch(mixed) for branch in self.branches], 1))
        return F.relu(over_time + self.skip(x))


def bone_graphs(config: SkeletonConfig) -> torch.Tensor:
    """Which joint a joint reads `(3, J, J)`, columns summing to 1 or 0: itself, towards the root, away from it."""
    J, depth = len(config.joints), config.tree()[1]
    graphs = torch.zeros(3, J, J)
    graphs[0] = torch.eye(J)
    for bone in config.bones:
        for source, target in (bone, bone[::-1]):
            graphs[1 if depth[source] < depth[target] else 2, source, target] = 1
    return graphs / graphs.sum(1, keepdim=True).clamp(min=1)


def _dilated(width: int, share: int, dilation: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(share, share, (3, 1), (stride, 1), (dilation, 0), (dilation, 1))
    return nn.Sequential(nn.Conv2d(width, share, 1), nn.BatchNorm2d(share), nn.ReLU(), conv)


def _stride(width_in: int, width: int) -> int:
    return 2 if width > width_in else 1


def _skip(width_in: int, width: int, stride: int) -> nn.Module:
    if width_in == width and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(width_in, width, 1, (stride, 1), bias=False), nn.BatchNorm2d(width))


BLOCKS = {"decoupled": DecoupledBlock, "graph": GraphBlock}


class SkeletonPreTrainedModel(PreTrainedModel):
    """Weights of the skeleton networks, and where they start."""

    config_class = SkeletonConfig
    base_model_prefix = "skeleton"
    main_input_name = "keypoints"

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, JointMixing):
            init.copy_(module.mix, torch.eye(module.mix.shape[-1]).expand_as(module.mix))
        elif isinstance(module, GraphBlock):
            init.copy_(module.graphs, bone_graphs(self.config))


class SkeletonForVideoClassification(SkeletonPreTrainedModel):
    """A skeleton network with a linear classifier; what `AutoModel` gives."""

    def __init__(self, config: SkeletonConfig) -> None:
        super().__init__(config)
        widths = config.widths
        self.parents = config.tree()[0]
        self.input_norm = nn.BatchNorm1d(config.channels * len(config.joints))
        # The first block keeps the frames: its input is only a few numbers wide.
        self.stem = nn.Sequential(nn.Conv2d(config.channels, widths[0], 1, bias=False), nn.BatchNorm2d(widths[0]))
        block = BLOCKS[config.network]
        self.blocks = nn.Sequential(*(block(config, a, b) for a, b in zip(widths[:1] + widths, widths, strict=False)))
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(widths[-1], config.num_labels)
        self.semantic = nn.Linear(widths[-1], config.semantic_dim) if config.semantic_dim else None
        self.post_init()

    def forward(
        self, keypoints: torch.Tensor, labels: torch.Tensor | None = None, return_dict: bool | None = None
    ) -> SkeletonOutput | tuple:
        """Classifies clips.

        Args:
            keypoints: As `SkeletonProcessor` prepares them, `(B, M, T, J, D + 1)`; of one person `(B, T, J, D + 1)`.
            labels: Class ids `(B,)`; with them, `loss` is the mean cross-entropy.
            return_dict: `False` gives a tuple without the entries that are `None`.

        Returns:
            `SkeletonOutput`.

        Raises:
            ValueError: A shape does not fit.
        """
        pooled = self.pool(keypoints[:, None] if keypoints.ndim == 4 else keypoints)
        logits = self.classifier(self.dropout(pooled))
        output = SkeletonOutput(
            loss=None if labels is None else F.cross_entropy(logits.float(), labels),
            logits=logits,
            semantic_embeds=None if self.semantic is None else self.semantic(pooled),
            pooled=pooled,
        )
        return output.to_tuple() if return_dict is False else output

    def pool(self, keypoints: torch.Tensor) -> torch.Tensor:
        """Features of clips: the mean over frames, joints and the people who are there.

        Args:
            keypoints: `(B, M, T, J, D + 1)`.

        Returns:
            `(B, P)`.

        Raises:
            ValueError: A shape does not fit.
        """
        J, D = len(self.config.joints), self.config.dimensions
        if keypoints.ndim != 5 or keypoints.shape[3:] != (J, D + 1):
            raise ValueError(
                f"keypoints must be (clips, people, frames, {J} joints of {self.config.layout}, {D} coordinates and "
                f"the confidence), got {tuple(keypoints.shape)}"
            )
        B, M = keypoints.shape[:2]
        present = (keypoints[..., D] > 0).any(-1).any(-1)  # (B, M)
        present[:, 0] |= ~present.any(1)  # a clip in which nobody is seen still has an answer
        clip = torch.arange(B, device=keypoints.device)[:, None].expand(B, M)[present]
        features = self.blocks(self.read(keypoints[present])).mean((2, 3))  # (people, P)
        total = features.new_zeros(B, features.shape[1]).index_add(0, clip, features)
        return total / present.sum(1, keepdim=True)

    def read(self, person: torch.Tensor) -> torch.Tensor:
        """What the first block sees of each person: `(N, T, J, D + 1)` to `(N, C, T, J)`."""
        place, seen = person.to(self.dtype).split([self.config.dimensions, 1], -1)
        bone = place - place[:, :, self.parents]
        inputs = {"joint": place, "bone": bone, "joint_motion": _motion(place), "bone_motion": _motion(bone)}
        x = torch.cat([*(inputs[name] for name in self.config.inputs), seen], -1)
        N, T, J, C = x.shape
        x = self.input_norm(x.permute(0, 3, 2, 1).reshape(N, C * J, T)).view(N, C, J, T).transpose(2, 3)
        return F.relu(self.stem(x))


def _motion(place: torch.Tensor) -> torch.Tensor:
    """Changes to the next frame, 0 at the last: `(N, T, J, D)` to the same."""
    return F.pad(place[:, 1:] - place[:, :-1], (0, 0, 0, 0, 0, 1))


SkeletonForVideoClassification.register_for_auto_class("AutoModelForVideoClassification")
