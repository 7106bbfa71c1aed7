"""`StreamTrainer`: the Trainer of FG-SGL for a network that reads keypoints or frames, and no clip's sentence."""

from __future__ import annotations

from typing import Any

import torch

from microgesture.losses.orthogonal import orthogonal_semantic_loss, semantic_embedding_loss
from microgesture.negatives import StepShare
from microgesture.streams.rgb.classifiers import finish
from microgesture.trainer import FGSGLTrainer


class StreamTrainer(FGSGLTrainer):
    """Trains a stream: `L = L_cls + λ·L_sem`, logged as `cls` and `sem`.

    Args:
        targets: What `semantic_embeds` is drawn to, one row per class `(C, D_t)`: orthogonal targets, or the
            embeddings of the class sentences themselves; `None` without L_sem.
        **kwargs: As for `FGSGLTrainer`, without its sentence table.
    """

    def __init__(self, *, targets: torch.Tensor | None, **kwargs: Any) -> None:
        super().__init__(sentence_table=torch.empty(0, 1), **kwargs)
        self.targets = None if targets is None else targets.to(self.args.device)

    def weights_at(self, progress: float) -> dict[str, float]:
        """Weights of this run's terms: the same from the first step to the last."""
        sem = {"sem": self.args.lambda_semantic} if self.args.semantic_loss != "none" else {}
        return {"cls": 1.0} | sem

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As in transformers; afterwards a network of transformers is as ordinary as it was before."""
        result = super().train(*args, **kwargs)
        finish(self.model)
        return result

    def _forward(self, model: torch.nn.Module, inputs: dict[str, Any]) -> Any:
        name = self.model.main_input_name  # also where `model` is wrapped
        points = {"points": inputs["points"]} if "points" in inputs else {}
        return model(**{name: inputs["keypoints"] if "keypoints" in inputs else self._pixels(inputs)}, **points)

    def _terms(self, outputs: Any, labels: torch.Tensor, share: StepShare) -> dict[str, torch.Tensor]:
        terms = super()._terms(outputs, labels, share)
        if self.targets is not None:
            if self.args.semantic_loss == "orthogonal":
                off_diagonal = self.args.semantic_off_diagonal
                loss = orthogonal_semantic_loss(outputs.semantic_embeds, self.targets, labels, off_diagonal)
            else:
                loss = semantic_embedding_loss(outputs.semantic_embeds, self.targets, labels)
            terms["sem"] = share.clip_weight * loss
        return terms
