"""MS-G3D (Liu et al., *Disentangling and Unifying Graph Convolutions*, CVPR 2020): keypoints to class scores.

Flat: a checkpoint holds a copy of this file and loads anywhere. Shapes: B clips, M people, N persons of all clips, T
frames, J joints, D coordinates, C channels of a block, K scales of a graph.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import initialization as init
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput

INPUTS = ("joint", "bone")
DILATIONS = (1, 2, 3, 4)
SMALLEST_WIDTH = len(DILATIONS) + 2


@strict
class MSG3DConfig(PreTrainedConfig):
    """Configuration of [`MSG3DForVideoClassification`]; the defaults are those of the paper on NTU RGB+D.

    Args:
        layout: Name of the keypoint layout, for people; the network reads the tables below.
        joints: Joint names, J of them, in the order of the keypoints.
        bones: Which joints are joined, as places in `joints`.
        pairs: (left, right), as places in `joints`: what a mirror exchanges.
        dimensions: Coordinates of a point: 2 (picture; the confidence is read as the third number) or 3 (space).
        num_frames: T that clips are resampled to; the network itself takes any length.
        inputs: `joint` (places) or `bone` (from the neighbour nearer to the middle). The paper trains one network for
            each and adds their scores (`microgesture fuse`).
        scales: K of the graphs over the joints: 0 to K - 1 bones away.
        window_scales: The same in the windows.
        windows: Frames of the windows over which joints of several frames are mixed; odd numbers.
        widths: Channels of the blocks; all but the first halve the frames. Each is shared among 6 branches over time.
        dropout: Dropout before the classifier while training; the paper has none.
        semantic_dim: Width of the class sentences that `semantic_embeds` is compared with; 0 for none.
        category_texts: One sentence per class, in the order of `id2label`; empty when unknown.
        id2label: Class names by id.

    Raises:
        ValueError: A field is out of range; the message names it.
    """

    model_type = "microgesture_ms_g3d"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["semantic_embeds", "pooled"]

    layout: str = ""
    joints: list[str] = field(default_factory=lambda: ["point"])
    bones: list[list[int]] = field(default_factory=list)
    pairs: list[list[int]] = field(default_factory=list)
    dimensions: int = 2
    num_frames: int = 64
    inputs: str = "joint"
    scales: int = 13
    window_scales: int = 6
    windows: list[int] = field(default_factory=lambda: [3, 5])
    widths: list[int] = field(default_factory=lambda: [96, 192, 384])
    dropout: float = 0.0
    semantic_dim: int = 0
    category_texts: list[str] = field(default_factory=list)

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self._check()
        self.auto_map = {
            "AutoConfig": "ms_g3d.MSG3DConfig",
            "AutoModel": "ms_g3d.MSG3DForVideoClassification",
            "AutoModelForVideoClassification": "ms_g3d.MSG3DForVideoClassification",
        }

    def _check(self) -> None:
        J = len(self.joints)
        if self.dimensions not in (2, 3):
            raise ValueError(f"dimensions is {self.dimensions}; a point has 2 or 3 coordinates")
        for name in ("bones", "pairs"):
            if any(len(row) != 2 or not all(0 <= joint < J for joint in row) for row in getattr(self, name)):
                raise ValueError(f"{name} must be pairs of places from 0 to {J - 1}, got {getattr(self, name)}")
        if self.inputs not in INPUTS:
            raise ValueError(f"inputs is {self.inputs!r}; choose one of: {', '.join(INPUTS)}")
        if min(self.scales, self.window_scales) < 1:
            raise ValueError(f"scales {self.scales} and window_scales {self.window_scales} must be 1 or more")
        if not self.windows or any(size < 1 or size % 2 == 0 for size in self.windows):
            raise ValueError(f"windows is {self.windows}; give one or more odd numbers of frames")
        if not self.widths or any(width < 1 or width % SMALLEST_WIDTH for width in self.widths):
            raise ValueError(f"widths is {self.widths}; give multiples of {SMALLEST_WIDTH}, one for each block")
        if self.category_texts and len(self.category_texts) != self.num_labels:
            raise ValueError(
                f"category_texts has {len(self.category_texts)} sentences for {self.num_labels} classes; "
                "give one sentence per class, in the order of id2label"
            )


@dataclass
class MSG3DOutput(ModelOutput):
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


def bone_distances(joints: int, bones: list[list[int]]) -> torch.Tensor:
    """Number of bones between any two joints `(J, J)`, infinite where none lead from one to the other."""
    steps = torch.eye(joints, device="cpu")  # numbers are needed here also where weights are read later
    for a, b in bones:
        steps[a, b] = steps[b, a] = 1.0
    distances = torch.full((joints, joints), torch.inf, device="cpu").fill_diagonal_(0.0)
    reached = torch.eye(joints, device="cpu")
    for k in range(1, joints):
        reached = (reached @ steps).clamp(max=1)
        distances[(reached > 0) & distances.isinf()] = k
    return distances


def scale_graphs(distances: torch.Tensor, scales: int, window: int = 1) -> torch.Tensor:
    """Disentangled graphs (Sec. 3.2, eq. 3, and 3.3): at scale k a joint reads itself and those exactly k bones away.

    Within a window each joint is joined to itself and to its neighbours in every other frame, as within its own.

    Args:
        distances: `(J, J)`, as `bone_distances` gives them.
        scales: K.
        window: Frames W of a window.

    Returns:
        Graphs of W · J nodes, frame by frame, normalised by the degree on both sides `(K, W · J, W · J)`.
    """
    whole = distances.repeat(window, window)
    whole[whole == 0] = 1.0  # the same joint in another frame is a neighbour
    whole.fill_diagonal_(0.0)
    levels = torch.arange(scales, device=whole.device).view(-1, 1, 1)
    graphs = ((whole == levels) | torch.eye(len(whole), dtype=torch.bool, device=whole.device)).float()
    degree = graphs.sum(-1).rsqrt()
    return degree[:, :, None] * graphs * degree[:, None, :]


class MultiScaleGraph(nn.Module):
    """Graph convolution at all scales at once: `BN(W · [A_0 x, …, A_{K-1} x])`, each A with a learned addition.

    Args:
        width_in: Channels in.
        width: Channels out.
        graphs: `(K, V, V)`, as `scale_graphs` gives them.
    """

    graphs: torch.Tensor

    def __init__(self, width_in: int, width: int, graphs: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("graphs", graphs)
        self.added = nn.Parameter(torch.zeros(graphs.shape))
        self.project = nn.Sequential(nn.Conv2d(width_in * len(graphs), width, 1), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, C, T, V)` to `(N, C', T, V)`, not negative."""
        mixed = torch.einsum("kvu,nctu->nkctv", self.graphs + self.added, x)
        return F.relu(self.project(mixed.flatten(1, 2)))


class G3D(nn.Module):
    """Unified space-time graph convolution over windows of frames (Sec. 3.3).

    Args:
        width_in: Channels in.
        inside: Channels within the windows.
        width: Channels out.
        graphs: Those of a window.
        window: Frames of a window.
        stride: Step over frames.
    """

    def __init__(self, width_in: int, inside: int, width: int, graphs: torch.Tensor, window: int, stride: int) -> None:
        super().__init__()
        self.window, self.stride = window, stride
        self.graph = MultiScaleGraph(width_in, inside, graphs)
        self.collapse = nn.Sequential(nn.Conv2d(inside * window, width, 1), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, C, T, J)` to `(N, C', T', J)`."""
        J, around = x.shape[-1], self.window // 2
        windows = F.pad(x, (0, 0, around, around)).unfold(2, self.window, self.stride)  # (N, C, T', J, W)
        mixed = self.graph(windows.transpose(3, 4).flatten(3))  # (N, C, T', W · J)
        return self.collapse(mixed.unflatten(3, (self.window, J)).transpose(2, 3).flatten(1, 2))


class MultiScaleTemporal(nn.Module):
    """Parallel convolutions over time with four dilations, a maximum and a plain branch, around a skip (Sec. 3.4).

    Args:
        width_in: Channels in.
        width: Channels out.
        stride: Step over frames.
        activate: Whether the sum is cut off below 0; the last one of a pathway leaves that to the sum of pathways.
    """

    def __init__(self, width_in: int, width: int, stride: int = 1, activate: bool = True) -> None:
        super().__init__()
        self.activate = activate
        share = width // SMALLEST_WIDTH
        branches = [
            nn.Sequential(*_point(width_in, share), nn.ReLU(), *_dilated(share, stride, dilation))
            for dilation in DILATIONS
        ]
        greatest = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        branches.append(nn.Sequential(*_point(width_in, share), nn.ReLU(), greatest, nn.BatchNorm2d(share)))
        branches.append(nn.Sequential(*_point(width_in, share, stride)))
        self.branches = nn.ModuleList(branches)
        same = width_in == width and stride == 1
        self.skip = nn.Identity() if same else nn.Sequential(*_point(width_in, width, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, C, T, J)` to `(N, C', T', J)`."""
        total = torch.cat([branch(x) for branch in self.branches], 1) + self.skip(x)
        return F.relu(total) if self.activate else total


def _point(width_in: int, width: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(width_in, width, 1, (stride, 1)), nn.BatchNorm2d(width)


def _dilated(width: int, stride: int, dilation: int) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv2d(width, width, (3, 1), (stride, 1), (dilation, 0), (dilation, 1))
    return conv, nn.BatchNorm2d(width)


class Block(nn.Module):
    """A pathway over joints, then time, beside one per window over both at once; then once more over time (Fig. 3).

    Args:
        config: Gives scales and windows.
        distances: Bones between the joints.
        width_in: Channels in.
        width: Channels out.
        first: Whether it is the first block, which keeps the frames and widens at once.
    """

    def __init__(self, config: MSG3DConfig, distances: torch.Tensor, width_in: int, width: int, first: bool) -> None:
        super().__init__()
        stride, inside = (1, width) if first else (2, width_in)
        self.factorised = nn.Sequential(
            MultiScaleGraph(width_in, inside, scale_graphs(distances, config.scales)),
            MultiScaleTemporal(inside, width, stride),
            MultiScaleTemporal(width, width, activate=False),
        )
        self.unified = nn.ModuleList(
            G3D(width_in, inside, width, scale_graphs(distances, config.window_scales, size), size, stride)
            for size in config.windows
        )
        self.after = MultiScaleTemporal(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, C, T, J)` to `(N, C', T', J)`."""
        total = self.factorised(x)
        for pathway in self.unified:
            total = total + pathway(x)
        return self.after(F.relu(total))


class MSG3DForVideoClassification(PreTrainedModel):
    """MS-G3D with a linear classifier; what `AutoModel` gives."""

    config_class = MSG3DConfig
    base_model_prefix = "ms_g3d"
    main_input_name = "keypoints"

    def __init__(self, config: MSG3DConfig) -> None:
        super().__init__(config)
        J = len(config.joints)
        distances = bone_distances(J, config.bones)
        # From whom a bone leads to each joint: its neighbour that is nearer to the joint with the most bones.
        root = distances[int((distances == 1).sum(1).argmax())]
        nearer = (distances == 1) & (root[None] < root[:, None])
        self.parents = [int(row.nonzero()[0]) if bool(row.any()) else joint for joint, row in enumerate(nearer)]
        self.input_norm = nn.BatchNorm1d(3 * J)
        widths = [3, *config.widths]
        self.blocks = nn.Sequential(
            *(Block(config, distances, a, b, first=number == 0) for number, (a, b) in enumerate(pairwise(widths)))
        )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(widths[-1], config.num_labels)
        self.semantic = nn.Linear(widths[-1], config.semantic_dim) if config.semantic_dim else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, MultiScaleGraph):
            init.uniform_(module.added, -1e-6, 1e-6)

    def forward(
        self, keypoints: torch.Tensor, labels: torch.Tensor | None = None, return_dict: bool | None = None
    ) -> MSG3DOutput | tuple:
        """Classifies clips.

        Args:
            keypoints: As the processor prepares them, `(B, M, T, J, D + 1)`; of one person `(B, T, J, D + 1)`.
            labels: Class ids `(B,)`; with them, `loss` is the mean cross-entropy.
            return_dict: `False` gives a tuple without the entries that are `None`.

        Returns:
            `MSG3DOutput`.

        Raises:
            ValueError: A shape does not fit.
        """
        pooled = self.pool(keypoints[:, None] if keypoints.ndim == 4 else keypoints)
        logits = self.classifier(self.dropout(pooled))
        output = MSG3DOutput(
            loss=None if labels is None else F.cross_entropy(logits.float(), labels),
            logits=logits,
            semantic_embeds=None if self.semantic is None else self.semantic(pooled),
            pooled=pooled,
        )
        return output.to_tuple() if return_dict is False else output

    def pool(self, keypoints: torch.Tensor) -> torch.Tensor:
        """Features of clips `(B, P)`: the mean over frames, joints and the people who are there.

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
        features = self.blocks(self.read(keypoints[present])).mean((2, 3))  # (N, P)
        total = features.new_zeros(B, features.shape[1]).index_add(0, clip, features)
        return total / present.sum(1, keepdim=True)

    def read(self, person: torch.Tensor) -> torch.Tensor:
        """What the first block sees of each person: `(N, T, J, D + 1)` to `(N, 3, T, J)`."""
        place, seen = person.to(self.dtype).split([self.config.dimensions, 1], -1)
        if self.config.inputs == "bone":
            place = place - place[:, :, self.parents]
        x = place if self.config.dimensions == 3 else torch.cat([place, seen], -1)
        N, T, J, _ = x.shape
        return self.input_norm(x.permute(0, 3, 2, 1).reshape(N, 3 * J, T)).view(N, 3, J, T).transpose(2, 3)


MSG3DConfig.register_for_auto_class()
MSG3DForVideoClassification.register_for_auto_class("AutoModelForVideoClassification")
