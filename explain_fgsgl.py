"""Which frames and which patches carried a decision: occlusion.

A patch of one frame is blurred away, and what the class loses in log-probability is what the patch was worth (Zeiler
and Fergus, ECCV 2014). It is blurred as by Fong and Vedaldi (ICCV 2017), because a grey square in one frame of a clip
is a flash, and a network that looks for changes answers to it on an empty wall. Gradients times attention would be
faster, but tell where the network looks and not what it needs. A patch changes the features of its own frame only, so
the tower sees T · G² frames instead of T · G² clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Explanation:
    """What a decision rests on: T frames, G × G patches.

    Args:
        label: The class that is explained.
        score: Its probability.
        frames: What the class loses in log-probability when a frame shows what its neighbour shows `(T,)`; above 0,
            the frame spoke for the class.
        patches: The same when a patch is blurred away `(T, G, G)`.
        picture: The T frames side by side with the patches that spoke for the class in red `(S, T·S, 3)`, uint8.
    """

    label: str
    score: float
    frames: np.ndarray
    patches: np.ndarray
    picture: np.ndarray


@torch.inference_mode()
def explain(
    model: Any, processor: Any, frames: torch.Tensor, label: int | None, grid: int, batch_size: int
) -> Explanation:
    """Blurs each patch of each frame in turn.

    Args:
        model: An `FGSGLForVideoClassification`, on its device.
        processor: Its processor.
        frames: uint8 `(T, 3, S, S)`, as the processor's `sample` gives them.
        label: The class id to explain; default: the most likely one.
        grid: G, patches per side.
        batch_size: Clips' worth of frames that pass the tower together.
    """
    T, _, S, _ = frames.shape
    if not 1 <= grid <= S:
        raise ValueError(f"grid is {grid}; a picture of {S} pixels has 1 to {S} patches per side")
    pixels = processor.normalize(frames.to(model.device), model.dtype)
    mid, high = (part[0] for part in model.base_model.features(pixels[None]))
    whole = _log_probabilities(model, mid[None], high[None])[0]
    label = int(whole.argmax()) if label is None else label
    neighbour = [max(t - 1, 0) if T > 1 and t else min(1, T - 1) for t in range(T)]
    losses = torch.zeros(T)
    patches = torch.zeros(T, grid, grid)
    edges = torch.linspace(0, S, grid + 1).round().int().tolist()
    smooth = blurred(pixels, grid)
    cells = [(row, column) for row in range(grid) for column in range(grid)]
    for t in range(T):
        losses[t] = (
            whole[label] - _with(model, mid, high, t, mid[neighbour[t]][None], high[neighbour[t]][None])[0, label]
        )
        for begin in range(0, len(cells), T * batch_size):
            some = cells[begin : begin + T * batch_size]
            covered = pixels[t].repeat(len(some), 1, 1, 1)
            for k, (row, column) in enumerate(some):
                patch = slice(edges[row], edges[row + 1]), slice(edges[column], edges[column + 1])
                covered[k, :, *patch] = smooth[t, :, *patch]
            other = (part[0] for part in model.base_model.features(covered[None]))
            worth = whole[label] - _with(model, mid, high, t, *other)[:, label]
            for (row, column), value in zip(some, worth.tolist(), strict=True):
                patches[t, row, column] = value
    name = model.config.id2label[label]
    return Explanation(name, float(whole[label].exp()), losses.numpy(), patches.numpy(), overlay(frames, patches))


def blurred(pixels: torch.Tensor, grid: int) -> torch.Tensor:
    """Frames `(T, 3, S, S)` of which nothing as small as two patches of the grid is left."""
    coarse = F.adaptive_avg_pool2d(pixels.float(), max(1, grid // 2))
    return F.interpolate(coarse, size=pixels.shape[-2:], mode="bilinear", align_corners=False).to(pixels.dtype)


def _log_probabilities(model: Any, mid: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    return model.classifier(model.base_model.embed(mid, high).pooled).float().log_softmax(-1).cpu()


def _with(
    model: Any, mid: torch.Tensor, high: torch.Tensor, t: int, mids: torch.Tensor, highs: torch.Tensor
) -> torch.Tensor:
    """Log-probabilities `(n, C)` of the clip with each of n other features in place of frame `t`."""
    clips = []
    for part, others in ((mid, mids), (high, highs)):
        clip = part.expand(len(others), *part.shape).clone()
        clip[:, t] = others
        clips.append(clip)
    return _log_probabilities(model, *clips)


def overlay(frames: torch.Tensor, patches: torch.Tensor) -> np.ndarray:
    """The frames side by side, red where a patch spoke for the class.

    Args:
        frames: uint8 `(T, 3, S, S)`.
        patches: `(T, G, G)`; the greatest value is the strongest red, values below 0 are not drawn.

    Returns:
        uint8 `(S, T·S, 3)`.
    """
    S = frames.shape[-1]
    heat = F.interpolate(patches[:, None].clamp(min=0), size=(S, S), mode="bilinear", align_corners=False)
    heat = 0.6 * heat / heat.max().clamp(min=1e-6)
    red = torch.tensor([255.0, 0.0, 0.0]).view(1, 3, 1, 1)
    mixed = (frames * (1 - heat) + red * heat).round().to(torch.uint8)
    return torch.cat(list(mixed), dim=-1).permute(1, 2, 0).numpy()
