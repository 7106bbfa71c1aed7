"""`StreamTrainer`: the Trainer of FG-SGL for a network that reads keypoints or frames, and no clip's sentence."""

from __future__ import annotations

from typing import Any

import torch

from microgesture.streams.rgb.classifiers import finish
from microgesture.trainer import FGSGLTrainer


class StreamTrainer(FGSGLTrainer):
    """Trains a stream: `L = L_cls + λ·L_sem`, logged as `cls` and `sem`.

    Args:
        **kwargs: As for `FGSGLTrainer`, without its sentence table.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(sentence_table=torch.empty(0, 1), **kwargs)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As in transformers; afterwards a network of transformers is as ordinary as it was before."""
        result = super().train(*args, **kwargs)
        finish(self.model)
        return result

    def _forward(self, model: torch.nn.Module, inputs: dict[str, Any]) -> Any:
        name = self.model.main_input_name  # also where `model` is wrapped
        points = {"points": inputs["points"]} if "points" in inputs else {}
        output = model(**{name: inputs["keypoints"] if "keypoints" in inputs else self._pixels(inputs)}, **points)
        output["logits"] = output.logits.flatten(1)  # VideoPrism's are (B, 1, C)
        return output
