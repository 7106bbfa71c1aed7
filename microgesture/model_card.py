"""The model card that goes with a checkpoint: written by the run that made it, addressed when it is published."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from microgesture.data.clips import LEAK, write_text
from microgesture.streams import card

CARD_FILE = "README.md"
PLACEHOLDER = "THIS_REPOSITORY"  # stands for the repository's name until the checkpoint is published

_LOAD = """\
```python
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("{repo}", trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained("{repo}", trust_remote_code=True)
logits = model(**processor("clip.mp4")).logits
print(model.config.id2label[int(logits.argmax(-1))])
```

It needs `torch`, `transformers` and, for video files, `av`.
"""

_LOAD_ADAPTER = """\
This repository holds what was trained, and no more: LoRA adapters of the vision encoder, the heads, the prototypes.
The rest is [{base}](https://huggingface.co/{base}) at the commit named here.

```python
from peft import PeftModel
from transformers import AutoModel, AutoProcessor

base = {{"pretrained_model_name_or_path": "{base}", "revision": "{revision}", "trust_remote_code": True}}
model = PeftModel.from_pretrained(AutoModel.from_pretrained(**base), "{repo}").merge_and_unload().eval()
processor = AutoProcessor.from_pretrained(**base)
logits = model(**processor("clip.mp4")).logits
print(model.config.id2label[int(logits.argmax(-1))])
```

It needs `torch`, `transformers`, `peft` and, for video files, `av`.
"""

_USE = """\
## Intended use

Research on micro-gestures: finding and naming small body movements in video, for a person to check. The people in the
videos should know and agree.

## Forbidden use

A micro-gesture is not an emotion, and this model does not recognise emotions, stress, lies or intentions. Do not use
it

* to infer emotions of people at work or in education: the European Union prohibits that (Regulation (EU) 2024/1689,
  Article 5(1)(f));
* to judge, select or watch people: at work, in school, at a border, by the police, in court, for insurance or credit;
* to watch people who do not know of it, or to find out who somebody is.

## Limits

* It always names one of its classes, also for a clip that shows none of them. Its scores are no calibrated
  probabilities.
* It was measured on one data set. How it does with other cameras, rooms, clothes, ages, bodies and cultures was not
  measured; nor whether it does equally well for different groups of people.
* Figures that were measured on synthetic people say nothing about real ones.
"""

_CITATION = """\
## Citation

The method is that of

```bibtex
@article{wei2026fgsgl,
  title   = {FG-SGL: Fine-Grained Semantic Guidance Learning via Motion Process Decomposition for Micro-Gesture
             Recognition},
  author  = {Wei, Jinsheng and Xu, Zhaodi and Lu, Guanming and Chen, Haoyu and Yan, Jingjie},
  journal = {arXiv preprint arXiv:2603.16269},
  year    = {2026}
}
```

Code and weights are a reimplementation and not the authors' own.
"""

_LICENCE = """\
## Licence

Code and weights: Apache License 2.0. A published network that the run started from, and the data set, keep their own
terms; whoever publishes weights trained on data given under an agreement has to see that the agreement allows it.
"""


def write_model_card(folder: Path, config: dict[str, Any], record: dict[str, Any]) -> None:
    """Writes `folder/README.md`, with `PLACEHOLDER` where the repository's name belongs.

    Args:
        folder: The checkpoint's folder.
        config: The network's configuration, as in config.json.
        record: What `write_run_record` wrote.
    """
    write_text(folder / CARD_FILE, model_card(config, record))


def model_card(
    config: dict[str, Any],
    record: dict[str, Any] | None,
    repo: str = PLACEHOLDER,
    base: tuple[str, str] | None = None,
) -> str:
    """The text of a model card.

    Args:
        config: The network's configuration, as in config.json.
        record: The run's metrics.json; `None` where there was no run.
        repo: Name of the repository that the card belongs to.
        base: For adapters: repository and commit of the network that they belong to.

    Returns:
        Markdown with the Hub's metadata as its head; metrics as `model-index`.
    """
    texts = config.get("category_texts")  # a video classifier of transformers has none
    labels = [name for _, name in sorted((int(number), name) for number, name in config["id2label"].items())]
    about = f", trained on {plain(record['dataset'])}" if record else ""
    stream = card.stream_name(config)
    plain_load = card.load(config) if stream else _LOAD
    load = (
        plain_load.format(repo=repo)
        if base is None
        else _LOAD_ADAPTER.format(repo=repo, base=base[0], revision=base[1])
    )
    classes = zip(range(len(labels)), labels, texts or [""] * len(labels), strict=True)
    body = [
        f"# {stream.capitalize()} stream{about}" if stream else f"# FG-SGL{about}",
        card.introduction(config, len(labels))
        if stream
        else f"Tells {len(labels)} gestures apart in short video clips, after *FG-SGL: Fine-Grained Semantic Guidance "
        "Learning via Motion Process Decomposition for Micro-Gesture Recognition* (arXiv 2603.16269).",
        load + "`trust_remote_code` runs the Python files of the repository named there; look at them first.",
        _USE,
        *(_training(record) if record else ["No record of a training run comes with these weights."]),
        "## Classes",
        table(("id", "class", "category sentence"), classes),
        card.citation(config) if stream else _CITATION,
        _LICENCE,
    ]
    tags = ["fg-sgl"] if stream is None else [stream] if card.reads_video(config) else [stream, "keypoints"]
    head = _metadata(record, base, stream, tags).to_yaml()
    text = f"---\n{head}\n---\n\n" + "\n\n".join(part.strip() for part in body if part.strip()) + "\n"
    ModelCard(text)  # raises where the head is not what the Hub reads
    return text


def _metadata(
    record: dict[str, Any] | None, base: tuple[str, str] | None, stream: str | None, tags: list[str]
) -> ModelCardData:
    results = []
    backbone = record.get("backbone") if record else None
    if record and record["validation"]:
        figures = record["validation"]
        common = {
            "task_type": "video-classification",
            "task_name": "Micro-gesture recognition",
            "dataset_type": record["dataset"],
            "dataset_name": f"{record['dataset']}, version {record['dataset_version']}",
            "dataset_split": "validation",
        }
        results = [
            EvalResult(
                metric_type="accuracy",
                metric_value=figures["top1"],
                metric_name=f"top-1 ({figures['correct']} of {figures['total']} clips)",
                **common,
            ),
            EvalResult(
                metric_type="f1",
                metric_value=figures["macro_f1"],
                metric_name=f"macro-F1 ({figures['total']} clips)",
                **common,
            ),
        ]
    return ModelCardData(
        license="apache-2.0",
        library_name="peft" if base else "transformers",
        pipeline_tag="video-classification",
        tags=[
            "micro-gesture",
            *tags,
            "video-classification",
            *(["lora"] if base else []),
        ],
        base_model=base[0] if base else backbone,
        base_model_relation="adapter" if base else "finetune" if backbone else None,
        model_name=f"{f'{stream} stream' if stream else 'FG-SGL'} on {record['dataset']}"
        if results and record
        else None,
        eval_results=results or None,
    )


def _training(record: dict[str, Any]) -> list[str]:
    """The sections that a run's record fills."""
    figures = record["validation"]
    score = (
        f"top-1 {figures['correct']} of {figures['total']} clips ({figures['top1']:.1%}), macro-F1 "
        f"{figures['macro_f1']:.1%}. The checkpoint was chosen on these clips, so expect less on others"
        if figures
        else "not evaluated"
    )
    if record.get("leak"):
        score += f". **Leak:** {LEAK}"
    if overlap := record.get("official_overlap"):
        known = "is not known to be disjoint" if overlap == "unknown" else "is not disjoint"
        score += f". Of the published splits one {known} in people from another; expect less on other people"
    if targets := record.get("adaptation", {}).get("targets"):
        score += (
            f". It was also adapted to {len(targets)} other clips (`metrics.json` has a digest of each): figures on "
            "these are transductive, and not to be compared with figures on new clips"
        )
    settings = yaml.safe_dump(record["recipe_fields"] | record["arguments"], sort_keys=False, allow_unicode=True)
    parameters = [(row["part"], f"{row['trained']:,}", f"{row['frozen']:,}") for row in record["parameters"]]
    return [
        "## How it was trained",
        f"Data set {code(record['dataset'])}, version {code(record['dataset_version'])}; commit "
        f"{code(record['commit'])}; step {record['chosen_step']} of {record['steps']}, stage "
        f"{record['chosen_stage']}, chosen by {code(record['chosen_by'])} on the validation split: {score}.",
        f"Recipe {code(record['recipe'])}, with what the command line changed of it (all else is in "
        "`metrics.json` and `config.json`):",
        block("yaml", settings),
        "Loss terms at the end of each stage:",
        block("json", json.dumps(record["stage_losses"], indent=1)),
        "## Parameters",
        table(("part", "trained", "frozen"), parameters),
        "## Versions",
        table(("library", "version"), sorted(record["versions"].items())),
    ]


def table(head: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table whose cells are shown as they are, whatever characters they hold."""
    lines = [head, ["---"] * len(head), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(value: Any) -> str:
    """Text that Markdown and HTML show as it is, on one line."""
    text = html.escape(" ".join(str(value).split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]|#])", r"\\\1", text)


def code(value: Any) -> str:
    """Text as code on one line; a backtick in it becomes a plain quote."""
    return "`" + " ".join(str(value).split()).replace("`", "'") + "`"


def block(language: str, text: str) -> str:
    """A block of code, fenced by more backticks than the text holds."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.strip()}\n{fence}"
