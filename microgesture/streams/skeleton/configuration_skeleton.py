"""`SkeletonConfig`: what a skeleton network is, with the tables of its joints: a checkpoint needs nothing else."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

INPUTS = ("joint", "bone", "joint_motion", "bone_motion")
NETWORKS = ("decoupled", "graph")


@strict
class SkeletonConfig(PreTrainedConfig):
    """Configuration of [`SkeletonForVideoClassification`], the joint stream of arXiv 2606.13030.

    Args:
        layout: Name of the keypoint layout, for people; the network reads the three tables below.
        joints: Joint names, J of them, in the order of the keypoints.
        bones: Which joints are joined, as places in `joints`.
        pairs: (left, right), as places in `joints`: what a mirror exchanges.
        dimensions: Coordinates of a point: 2 (picture) or 3 (space).
        root: The joint that bones are counted from; default: the one with the most bones.
        num_frames: T that clips are resampled to; the network itself takes any length.
        inputs: What the network reads of each joint, of `joint` (its place), `bone` (from its parent), `joint_motion`
            and `bone_motion` (their changes from frame to frame).
        network: `decoupled` (learned mixing of joints, then separable convolution over time) or `graph` (convolution
            over the bones, then several convolutions over time, like ST-GCN++).
        widths: Channels of each block; a block wider than the one before it halves the frames.
        joint_groups: `decoupled`: groups of channels, each with its own mixing of the joints.
        temporal_kernel: `decoupled`: frames that a convolution over time spans; an odd number.
        dropout: Dropout before the classifier while training.
        semantic_dim: Width of the class sentences that `semantic_embeds` is compared with; 0 for none.
        category_texts: One sentence per class, in the order of `id2label`; empty when unknown.
        id2label: Class names by id.

    Raises:
        ValueError: A field is out of range; the message names it.
    """

    model_type = "microgesture_skeleton"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["semantic_embeds", "pooled"]

    layout: str = ""
    joints: list[str] = field(default_factory=lambda: ["point"])
    bones: list[list[int]] = field(default_factory=list)
    pairs: list[list[int]] = field(default_factory=list)
    dimensions: int = 2
    root: int | None = None
    num_frames: int = 64
    inputs: list[str] = field(default_factory=lambda: list(INPUTS))
    network: str = "decoupled"
    widths: list[int] = field(default_factory=lambda: [64, 64, 128, 128, 256, 256])
    joint_groups: int = 8
    temporal_kernel: int = 9
    dropout: float = 0.5
    semantic_dim: int = 0
    category_texts: list[str] = field(default_factory=list)

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self._check()
        if self.root is None:
            ends = [joint for bone in self.bones for joint in bone]
            self.root = max(range(len(self.joints)), key=lambda joint: (ends.count(joint), -joint))
        self.auto_map = {
            "AutoConfig": "configuration_skeleton.SkeletonConfig",
            "AutoModel": "modeling_skeleton.SkeletonForVideoClassification",
            "AutoModelForVideoClassification": "modeling_skeleton.SkeletonForVideoClassification",
        }

    def _check(self) -> None:
        J = len(self.joints)
        if self.dimensions not in (2, 3):
            raise ValueError(f"dimensions is {self.dimensions}; a point has 2 or 3 coordinates")
        for name in ("bones", "pairs"):
            if any(len(row) != 2 or not all(0 <= joint < J for joint in row) for row in getattr(self, name)):
                raise ValueError(f"{name} must be pairs of places from 0 to {J - 1}, got {getattr(self, name)}")
        if self.root is not None and not 0 <= self.root < J:
            raise ValueError(f"root is {self.root}; it must be the place of a joint, 0 to {J - 1}")
        if not self.inputs or not set(self.inputs) <= set(INPUTS) or len(set(self.inputs)) < len(self.inputs):
            raise ValueError(f"inputs is {self.inputs}; name one or more of: {', '.join(INPUTS)}, each once")
        if self.network not in NETWORKS:
            raise ValueError(f"network is {self.network!r}; choose one of: {', '.join(NETWORKS)}")
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths is {self.widths}; give the channels of one block or more")
        if self.network == "decoupled" and any(width % self.joint_groups for width in self.widths):
            raise ValueError(f"widths {self.widths} must be multiples of joint_groups, which is {self.joint_groups}")
        if self.network == "graph" and min(self.widths) < 6:
            raise ValueError(f"widths is {self.widths}; the graph network shares them among 6 branches, so 6 or more")
        if self.temporal_kernel < 1 or self.temporal_kernel % 2 == 0:
            raise ValueError(f"temporal_kernel is {self.temporal_kernel}; it must be an odd number of frames")
        if self.category_texts and len(self.category_texts) != self.num_labels:
            raise ValueError(
                f"category_texts has {len(self.category_texts)} sentences for {self.num_labels} classes; "
                "give one sentence per class, in the order of id2label"
            )

    @property
    def channels(self) -> int:
        """Numbers that the network reads of each joint: the coordinates of every input, and how well it is seen."""
        return self.dimensions * len(self.inputs) + 1

    def tree(self) -> tuple[list[int], list[int]]:
        """Parent of each joint, and the number of bones between it and the root.

        A parent is the neighbour that is nearer to the root. The root is its own parent, and so is the first joint of
        those that no bone leads to from there.
        """
        J = len(self.joints)
        near: list[list[int]] = [[] for _ in range(J)]
        for a, b in self.bones:
            near[a].append(b)
            near[b].append(a)
        parents, distances = [-1] * J, [0] * J
        for root in (self.root or 0, *range(J)):
            frontier = [root] if parents[root] < 0 else []
            parents[root] = root if frontier else parents[root]
            while frontier:
                here = frontier.pop(0)
                for joint in near[here]:
                    if parents[joint] < 0:
                        parents[joint], distances[joint] = here, distances[here] + 1
                        frontier.append(joint)
        return parents, distances


SkeletonConfig.register_for_auto_class()
