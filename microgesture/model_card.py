"""The model card that goes with a checkpoint, written by the run that made it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from microgesture.data.clips import LEAK, write_text

_INTENDED = """\
## Intended use

Research on micro-gestures: finding and naming small body movements in video, for a person to check. A micro-gesture
is not an emotion, and this model does not recognise emotions. Do not use it to judge people at work, in school, at a
border or in court.
"""


def write_model_card(folder: Path, config: Any, record: dict[str, Any]) -> None:
    """Writes `folder/README.md`.

    Args:
        folder: The checkpoint's folder.
        config: The network's `FGSGLConfig`.
        record: What `write_run_record` wrote.
    """
    validation = record["validation"]
    header = {
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "video-classification",
        "tags": ["micro-gesture", "fg-sgl", "video-classification"],
    }
    yaml = "\n".join(f"{key}: {json.dumps(value)}" for key, value in header.items())
    score = (
        f"top-1 {validation['correct']} of {validation['total']} clips ({validation['top1']:.1%}), "
        f"macro-F1 {validation['macro_f1']:.1%}"
        if validation
        else "not evaluated"
    )
    if record.get("leak"):
        score += f". **Leak:** {LEAK}"
    classes = "\n".join(
        f"| {number} | {config.id2label[number]} | {text} |" for number, text in enumerate(config.category_texts)
    )
    losses = json.dumps(record["stage_losses"], indent=1)
    write_text(
        folder / "README.md",
        f"""---
{yaml}
---

# FG-SGL, trained on {record["dataset"]}

Recognises {config.num_labels} micro-gestures in short video clips, after *FG-SGL: Fine-Grained Semantic Guidance
Learning via Motion Process Decomposition for Micro-Gesture Recognition* (arXiv 2603.16269).

```python
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("THIS_REPOSITORY", trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained("THIS_REPOSITORY", trust_remote_code=True)
logits = model(**processor("clip.mp4")).logits
print(model.config.id2label[int(logits.argmax(-1))])
```

It needs `torch`, `transformers` and, for video files, `av`.

## How it was trained

Data set `{record["dataset"]}`, version {record["dataset_version"]}; recipe `{record["recipe"]}`, commit
`{record["commit"]}`; step {record["chosen_step"]} of {record["steps"]}, stage {record["chosen_stage"]}, chosen by
{record["chosen_by"]} on the validation split: {score}. Everything else stands in `metrics.json`.

Loss terms at the end of each stage:

```json
{losses}
```

{_INTENDED}
## Classes

| id | class | category sentence |
| --- | --- | --- |
{classes}
""",
    )
