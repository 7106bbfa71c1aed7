"""What the model card of a stream says that FG-SGL's does not."""

from __future__ import annotations

from typing import Any

from microgesture.arguments import VIDEO_CLASSIFIERS

_LOAD = """\
```python
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("{repo}", trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained("{repo}", trust_remote_code=True)
logits = model(**processor(points)).logits  # points: (frames, joints, numbers) in the layout of model.config.joints
print(model.config.id2label[int(logits.argmax(-1))])
```

It reads keypoints, not video, and needs `torch` and `transformers`.
"""

_LOAD_VIDEO = """\
```python
from transformers import AutoModelForVideoClassification, AutoProcessor

model = AutoModelForVideoClassification.from_pretrained("{repo}"{trust}).eval()
processor = AutoProcessor.from_pretrained("{repo}", trust_remote_code=True)
logits = model(processor("clip.mp4")["pixel_values"]).logits
print(model.config.id2label[int(logits.argmax(-1))])
```

It needs `torch`, `transformers` and, for video files, `av`.
"""

_LOAD_BOTH = """\
```python
from transformers import AutoModel, AutoProcessor
from transformers.dynamic_module_utils import get_class_from_dynamic_module

model = AutoModel.from_pretrained("{repo}", trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained("{repo}", trust_remote_code=True)
placed = get_class_from_dynamic_module("clip_mg.points_of_frames", "{repo}")
# table: a tensor (frames of the clip, joints of model.config.joints, x and y in pixels of the video and confidence)
points = placed(table, model.config.num_frames, width, height)[None]
logits = model(processor("clip.mp4")["pixel_values"], points).logits
print(model.config.id2label[int(logits.argmax(-1))])
```

It reads video and the keypoints of the person in it, and needs `torch`, `transformers` and, for video files, `av`.
"""

_CITATION = """\
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

_NETWORKS = {
    "r2plus1d": "R(2+1)D (Tran et al., *A Closer Look at Spatiotemporal Convolutions for Action Recognition*, CVPR "
    "2018)",
    "tsm": "TSM (Lin et al., *TSM: Temporal Shift Module for Efficient Video Understanding*, ICCV 2019)",
    "ms_g3d": "MS-G3D (Liu et al., *Disentangling and Unifying Graph Convolutions for Skeleton-Based Action "
    "Recognition*, CVPR 2020, arXiv 2003.14111)",
    "clip_mg": "a network after CLIP-MG (Patapati et al., *CLIP-MG: Guiding Semantic Attention with Skeletal Pose "
    "Features and RGB Data for Micro-Gesture Recognition on the iMiGUE Dataset*, arXiv 2506.16385), whose code is not "
    "public",
}

TITLE = (
    "A Multi-Modal Framework with Cross-Subject Pseudo-Labeling and Semantic Alignment for Micro-Gesture Recognition"
)


def stream_name(config: dict) -> str | None:
    """The stream whose configuration this is, e.g. `skeleton` or `videomae`; `None` for FG-SGL."""
    kind = str(config.get("model_type"))
    return (
        kind.removeprefix("microgesture_") if kind.startswith("microgesture_") or kind in VIDEO_CLASSIFIERS else None
    )


def reads_video(config: dict) -> bool:
    """Whether a stream reads frames; the others read keypoints."""
    return "joints" not in config or "vision_config" in config


def load(config: dict[str, Any]) -> str:
    """How a stream is loaded, with `{repo}` where the repository's name belongs."""
    if not reads_video(config):
        return _LOAD
    if "joints" in config:
        return _LOAD_BOTH
    ours = config["model_type"] not in VIDEO_CLASSIFIERS
    return _LOAD_VIDEO.replace("{trust}", ", trust_remote_code=True" if ours else "")


def introduction(config: dict[str, Any], classes: int) -> str:
    """The card's first paragraph."""
    stream = str(stream_name(config))
    if reads_video(config):
        network = _NETWORKS.get(stream, f"transformers' `{stream}`")
        return f"Tells {classes} gestures apart in short video clips, with {network}."
    if stream in _NETWORKS:
        return f"Tells {classes} gestures apart by the keypoints of people in short clips, with {_NETWORKS[stream]}."
    return (
        f"Tells {classes} gestures apart by the keypoints of people in short clips, after the {stream} stream of "
        f"*{TITLE}* (arXiv 2606.13030)."
    )


def citation(config: dict[str, Any]) -> str:
    """The card's section on whom to cite."""
    return "" if reads_video(config) or stream_name(config) in _NETWORKS else _CITATION
