"""Where people are: a published object detector, with pictures prepared and answers read in torch alone.

transformers' own image processors need torchvision, which is not a dependency here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoConfig, AutoModelForObjectDetection

from microgesture.people.weights import Preparation, checkpoint_folder, loading

Boxes = npt.NDArray[np.float32]

MIN_SCORE = 0.5
"""What is less sure is no person; the threshold of transformers' own post-processing."""
DUPLICATE = 0.8
"""Two boxes that overlap by so much are one person: these networks repeat themselves now and then."""
_PATCHES = {"yolos": 16}  # whose pictures are cut down to whole patches


@dataclass(frozen=True)
class People:
    """The people of one picture, the surest first.

    Args:
        boxes: float32 `(N, 4)`: left, top, right, bottom in pixels of the picture, inside it.
        scores: float32 `(N,)`, 0 to 1.
    """

    boxes: Boxes
    scores: npt.NDArray[np.float32]


class PersonDetector:
    """Finds people with a detector of the DETR family (RT-DETR, D-FINE, YOLOS, DETR, …).

    Args:
        model: An `AutoModelForObjectDetection` with a class called `person`.
        preparation: How it wants its pictures.
        min_score: What is less sure is no person.

    Raises:
        ValueError: The model has no such class.
    """

    def __init__(self, model: Any, preparation: Preparation, min_score: float = MIN_SCORE) -> None:
        names = model.config.id2label
        found = [int(number) for number, name in names.items() if str(name).lower() == "person"]
        if not found:
            listed = ", ".join(list(map(str, names.values()))[:6])
            raise ValueError(
                f"the detector knows no class `person` (it knows {listed}, …); choose one that was trained on COCO"
            )
        self.model, self.preparation, self.min_score = model.eval(), preparation, min_score
        self.person = found[0]

    @classmethod
    def from_pretrained(cls, name_or_path: str, device: Any = "cpu", min_score: float = MIN_SCORE) -> PersonDetector:
        """Reads a detector from a folder, or by its name on the Hub; code of others is never run.

        Raises:
            FileNotFoundError: It is not there, or lacks a file.
            ValueError: It is no object detector, or knows no people.
            ImportError: It needs a library that is not installed, such as timm.
        """
        folder = checkpoint_folder(name_or_path)
        with loading(name_or_path, "detector"):
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            model = AutoModelForObjectDetection.from_pretrained(
                folder, config=config, local_files_only=True, use_safetensors=True, trust_remote_code=False,
                dtype=torch.float32,
            )  # fmt: skip
        return cls(model.to(device), Preparation.read(folder), min_score)

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[torch.Tensor]) -> list[People]:
        """The people of each picture.

        Args:
            pictures: uint8 `(H, W, 3)` each, all of one size; they pass the network together.
        """
        device, multiple = self.model.device, _PATCHES.get(self.model.config.model_type, 1)
        small = [self.preparation.resized(picture.to(device), multiple) for picture in pictures]
        out = self.model(pixel_values=self.preparation.normalised(torch.stack(small)))
        scores = self._scores(out.logits).float().cpu()
        middle, size = out.pred_boxes.float().cpu().split(2, -1)
        height, width = pictures[0].shape[:2]
        corners = torch.cat([middle - size / 2, middle + size / 2], -1).clamp(0, 1)
        corners = corners * torch.tensor([width, height, width, height])
        return [self._people(s.numpy(), b.numpy()) for s, b in zip(scores, corners, strict=True)]

    def _scores(self, logits: torch.Tensor) -> torch.Tensor:
        """How sure each query `(B, Q, C)` is of a person, `(B, Q)`."""
        # DETR and YOLOS have one class more than names, for `nothing here`, and choose among all; the others were
        # trained with focal loss and judge each class by itself.
        if logits.shape[-1] == self.model.config.num_labels + 1:
            return logits.softmax(-1)[..., self.person]
        return logits[..., self.person].sigmoid()

    def _people(self, scores: npt.NDArray[np.float32], boxes: Boxes) -> People:
        order = np.argsort(-scores, kind="stable")
        order = order[(scores[order] >= self.min_score) & ((boxes[order, 2:] - boxes[order, :2]) >= 1).all(1)]
        kept: list[int] = []
        for number in order:
            if not kept or overlap(boxes[number][None], boxes[kept]).max() < DUPLICATE:
                kept.append(int(number))
        return People(boxes[kept].reshape(-1, 4), scores[kept])


def overlap(some: Boxes, others: Boxes) -> npt.NDArray[np.float32]:
    """Intersection over union of each box `(N, 4)` with each other box `(M, 4)`, `(N, M)`."""
    shared = shared_area(some, others)
    union = area(some)[:, None] + area(others)[None] - shared
    return np.where(union > 0, shared / np.maximum(union, 1e-9), 0.0).astype(np.float32)


def shared_area(some: Boxes, others: Boxes) -> npt.NDArray[np.float32]:
    """Area that each box `(N, 4)` has in common with each other box `(M, 4)`, `(N, M)`."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    return np.maximum(high - low, 0).prod(-1)


def area(boxes: Boxes) -> npt.NDArray[np.float32]:
    """Areas of boxes `(N, 4)`."""
    return np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(-1)
