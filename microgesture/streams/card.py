"""What the model card of a stream says that FG-SGL's does not."""

from __future__ import annotations

LOAD = """\
```python
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("{repo}", trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained("{repo}", trust_remote_code=True)
logits = model(**processor(points)).logits  # points: (frames, joints, numbers) in the layout of model.config.joints
print(model.config.id2label[int(logits.argmax(-1))])
```

It reads keypoints, not video, and needs `torch` and `transformers`.
"""

CITATION = """\
## Citation

The framework that this stream is a part of is that of

```bibtex
@article{zhang2026multimodal,
  title   = {A Multi-Modal Framework with Cross-Subject Pseudo-Labeling and Semantic Alignment for Micro-Gesture
             Recognition},
  author  = {Zhang, Haoran and Zhang, Haokun and Liu, Pengyu and Zhang, Yujia and Xue, Weibao and Hao, Yanbin},
  journal = {arXiv preprint arXiv:2606.13030},
  year    = {2026}
}
```

Code and weights are this project's own; the paper leaves the network open.
"""

BASELINES = {
    "ms_g3d": "MS-G3D (Liu et al., *Disentangling and Unifying Graph Convolutions for Skeleton-Based Action "
    "Recognition*, CVPR 2020, arXiv 2003.14111), written anew",
}
"""Published methods that are compared with, and belong to no framework; as a card names them."""

TITLE = (
    "A Multi-Modal Framework with Cross-Subject Pseudo-Labeling and Semantic Alignment for Micro-Gesture Recognition"
)


def stream_name(config: dict) -> str | None:
    """The stream whose configuration this is, e.g. `skeleton`; `None` for FG-SGL."""
    kind = str(config.get("model_type"))
    return kind.removeprefix("microgesture_") if kind.startswith("microgesture_") else None


def introduction(stream: str, classes: int) -> str:
    """The card's first paragraph."""
    if stream in BASELINES:
        return f"Tells {classes} gestures apart by the keypoints of people in short clips, with {BASELINES[stream]}."
    return (
        f"Tells {classes} gestures apart by the keypoints of people in short clips, after the {stream} stream of "
        f"*{TITLE}* (arXiv 2606.13030)."
    )
