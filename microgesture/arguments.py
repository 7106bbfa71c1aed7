"""What a run is made of: model, data and training arguments, read from a recipe and the command line."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser, TrainingArguments
from transformers.models.auto.modeling_auto import MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES
from transformers.trainer_utils import HubStrategy

from microgesture import launch, text_encoders
from microgesture.data.text_controls import SHUFFLES
from microgesture.losses.class_balance import KINDS
from microgesture.recipes import read_recipe
from microgesture.schedule import ORDERS

DEFAULT_RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "synthetic.yaml"

VIDEO_CLASSIFIERS = tuple(MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES)
"""Model types of all video classifiers of the installed transformers, such as `videomae`."""
STREAMS = ("skeleton", "heatmap", "ms_g3d", "r2plus1d", "tsm", "clip_mg", *VIDEO_CLASSIFIERS)

# What `--dry_run` changes: two steps, one in each stage, then one evaluation and one checkpoint; nothing leaves home.
DRY_RUN = {
    "max_steps": 2, "stage2_start": 0.5, "logging_strategy": "steps", "logging_steps": 1, "eval_strategy": "steps",
    "eval_steps": 2, "save_strategy": "steps", "save_steps": 2, "resume_from_checkpoint": None, "push_to_hub": False,
    "report_to": "none",
}  # fmt: skip


@dataclass
class ModelArguments:
    """What the network is; these become fields of `FGSGLConfig`."""

    backbone: str | None = field(
        default=None,
        metadata={
            "help": "Published InternVL weights to start from: a repository of the Hub, or a folder (paper: "
            "OpenGVLab/InternVL2_5-8B). Without one the tower starts from nothing and sentences are embedded by "
            "a tiny language model that is made on the spot."
        },
    )
    backbone_revision: str | None = field(
        default=None, metadata={"help": "Branch, tag or commit of the backbone on the Hub; default: main."}
    )
    vision_config: str = field(
        default="{}",
        metadata={
            "help": "Without a backbone: fields of transformers' InternVLVisionConfig, as JSON or as a YAML mapping."
        },
    )
    num_frames: int = field(default=8, metadata={"help": "Frames taken from each clip (paper: 8)."})
    mid_layer: int | None = field(
        default=None, metadata={"help": "Vision block, counted from 1, that FG-SA reads; default: half the depth."}
    )
    embed_dim: int = field(default=256, metadata={"help": "Width of the two shared embedding spaces."})
    temporal_pooling: str = field(
        default="mean", metadata={"help": "Over frames: mean, or learned, which sees their order."}
    )
    spatial_pooling: str = field(default="mean", metadata={"help": "Over patches: mean, or attention."})
    classifier_input: str = field(default="high", metadata={"help": "What the classifier reads: high, or mid_high."})
    classifier_dropout: float = field(default=0.0, metadata={"help": "Dropout before the classifier."})
    attn_implementation: str = field(
        default="sdpa", metadata={"help": "Attention code: sdpa, or eager (faster for tiny networks on a CPU)."}
    )

    stream: str | None = field(
        default=None,
        metadata={
            "help": "Train this network in place of FG-SGL. On keypoints: skeleton, heatmap or ms_g3d; on video: "
            "r2plus1d, tsm, or a video classifier of transformers by its model type: "
            f"{', '.join(VIDEO_CLASSIFIERS)}; on both: clip_mg."
        },
    )
    stream_config: str = field(
        default="{}",
        metadata={
            "help": "With a stream: fields of its configuration and processor (microgesture/streams/, "
            "microgesture/baselines/), as JSON or as a YAML mapping."
        },
    )

    stream_weights: str | None = field(
        default=None,
        metadata={
            "help": "With a video classifier of transformers, tsm or clip_mg: published weights to start from, a "
            "repository of the Hub or a folder; for tsm an image classifier's, e.g. microsoft/resnet-50, for clip_mg "
            "a CLIP, e.g. openai/clip-vit-base-patch16. Default: from nothing."
        },
    )

    def __post_init__(self) -> None:
        _choose("stream", self.stream, (None, *STREAMS))
        if self.stream is None and (self.stream_weights or json.loads(self.stream_config)):
            raise ValueError("stream_config or stream_weights is given but no stream; name one, e.g. stream: skeleton")
        if self.stream_weights and self.stream in ("skeleton", "heatmap", "ms_g3d", "r2plus1d"):
            raise ValueError(
                f"stream_weights is {self.stream_weights!r}, but there are no published weights for the stream "
                f"{self.stream}; leave it out, or go on from a checkpoint of ours with init_from"
            )
        if self.backbone and json.loads(self.vision_config):
            raise ValueError(
                f"vision_config is given beside the backbone {self.backbone}, whose own configuration decides what "
                "the vision tower is; leave one of the two out"
            )
        if self.backbone_revision and not self.backbone:
            raise ValueError(f"backbone_revision is {self.backbone_revision!r} but no backbone is given")


@dataclass
class DataArguments:
    """Where the data lie and how clips are read."""

    dataset_dir: str = field(metadata={"help": "A data set folder as `microgesture prepare` makes it."})
    generate: str | None = field(
        default=None,
        metadata={"help": "demo or full: make the synthetic set of this size when dataset_dir is missing."},
    )
    cache_dir: str = field(
        default="cache", metadata={"help": "Where sampled frames and sentence embeddings are kept between runs."}
    )
    cache_form: str = field(
        default="raw",
        metadata={
            "help": "How frames are kept: raw (exact, 4.8 MB a clip at 448 px), lossless (exact, about a third) "
            "or jpeg (slightly lossy, about a twentieth)."
        },
    )
    video_backend: str = field(default="pyav", metadata={"help": "Video reader: pyav, or decord."})
    fg_text: str = field(
        default="fine",
        metadata={"help": "Sentence of a clip: fine (its own FG-Text) or class (its class's sentence; Table III)."},
    )
    fg_text_shuffle: str = field(
        default="none",
        metadata={"help": "Control: hand FG-Text on among the training clips of each class (class), or of all (all)."},
    )
    fg_text_noise: float = field(
        default=0.0, metadata={"help": "Control: share of FG-Text's attribute values replaced by others, 0 to 1."}
    )
    fg_text_paraphrases: bool = field(
        default=False,
        metadata={"help": "Augmentation: word all FG-Text sentences differently from step to step (vocabulary.json)."},
    )
    text_encoder: str = field(
        default="backbone",
        metadata={
            "help": "Embeds sentences: backbone (its language model, or the tiny one), or as a control multi_hot, "
            "bag_of_words or random."
        },
    )
    category_prototypes: str = field(
        default="text", metadata={"help": "Embeddings of the category sentences: text, or as a control orthonormal."}
    )
    augment: bool = field(
        default=False,
        metadata={"help": "Vary tempo, place and colour of training clips (the paper states no augmentation)."},
    )
    augment_camera: float = field(
        default=1.0,
        metadata={
            "help": "With augment: how much of the full shift (a tenth), zoom (a fifth) and turn (7 degrees), 0 to 1."
        },
    )
    mirror_clips: bool = field(
        default=False,
        metadata={
            "help": "Mirror every other training clip, with its label and sentence; only classes that labels.json "
            "gives a flip_label."
        },
    )
    jpeg_degradation: bool = field(
        default=False,
        metadata={
            "help": "Store training frames as JPEG of a random quality from 75 to 100, as InternVL's training "
            "transform does; needs Pillow."
        },
    )

    def __post_init__(self) -> None:
        _choose("generate", self.generate, (None, "demo", "full"))
        _choose("cache_form", self.cache_form, ("raw", "lossless", "jpeg"))
        _choose("fg_text", self.fg_text, ("fine", "class"))
        _choose("fg_text_shuffle", self.fg_text_shuffle, SHUFFLES)
        _choose("text_encoder", self.text_encoder, ("backbone", *text_encoders.NAMES))
        _choose("category_prototypes", self.category_prototypes, ("text", "orthonormal"))
        if not 0 <= self.fg_text_noise <= 1:
            raise ValueError(f"fg_text_noise is {self.fg_text_noise}; it is a share of the values, 0 to 1")
        if self.fg_text_paraphrases and (self.fg_text != "fine" or self.text_encoder != "backbone"):
            raise ValueError(
                "fg_text_paraphrases words FG-Text differently: it needs fg_text fine, text_encoder backbone"
            )
        if not 0 <= self.augment_camera <= 1:
            raise ValueError(f"augment_camera is {self.augment_camera}; it is a share of the full movement, 0 to 1")


@dataclass
class FGSGLTrainingArguments(TrainingArguments):
    """transformers' `TrainingArguments` with the paper's settings as defaults, and the fields of FG-SGL."""

    learning_rate: float = field(default=4e-5, metadata={"help": "Peak learning rate (paper: 4e-5 SMG, 1e-4 iMiGUE)."})
    num_train_epochs: float = field(default=15, metadata={"help": "Epochs (paper: 15)."})
    per_device_train_batch_size: int = field(default=8, metadata={"help": "Clips per device and forward (paper: 8)."})
    weight_decay: float = field(default=0.05, metadata={"help": "AdamW's weight decay (paper: 0.05)."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradient clipping (paper: 1.0)."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Learning-rate schedule (paper: cosine)."})
    warmup_steps: float = field(
        default=0.03, metadata={"help": "Warm-up; below 1 a share of all steps (paper: 0.03)."}
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save: no, steps or epoch."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints kept besides the best."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Keep the best checkpoint (paper: yes)."})
    metric_for_best_model: str | None = field(default="top1", metadata={"help": "Chooses the best (paper: top-1)."})
    greater_is_better: bool | None = field(default=True, metadata={"help": "Whether more of it is better."})
    hub_strategy: HubStrategy | str = field(
        default="end", metadata={"help": "With --push_to_hub: the complete checkpoint is published at the end."}
    )
    hub_token: str | None = field(
        default=None,
        repr=False,
        metadata={"help": "With --push_to_hub; others may see command lines, so rather use `hf auth login`."},
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "Must stay false: the losses need them."})
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Not needed: a loss that is no number stops the run."}
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Not needed: every trained parameter takes part in every step."}
    )
    lambda_fg: float = field(default=0.5, metadata={"help": "Weight of L_fg in eq. 3 (the paper does not say)."})
    lambda_cp: float = field(default=0.5, metadata={"help": "Weight of L_cp in eq. 3 (the paper does not say)."})
    temperature: float = field(default=0.07, metadata={"help": "Temperature of eq. 1 and 2 (the paper does not say)."})
    fg_sa: bool = field(default=True, metadata={"help": "Fine-grained semantic alignment, L_fg (Table II)."})
    cp_a: bool = field(default=True, metadata={"help": "Category prototype alignment, L_cp (Table II)."})
    ml_co: bool = field(default=True, metadata={"help": "Two stages; false: all terms from the start (Table II)."})
    stage2_start: float = field(
        default=1 / 3, metadata={"help": "Share of training after which L_fg is switched on (the paper does not say)."}
    )
    ml_co_order: str = field(
        default="cp_first",
        metadata={
            "help": "Which term comes first: cp_first (the paper), or as a control fg_first, or level (all from the "
            "start, L_fg weaker so that its weight sums to the same)."
        },
    )
    fg_loss: str = field(
        default="contrast",
        metadata={"help": "L_fg: contrast with sentences (eq. 1), or as a control one classifier per attribute."},
    )
    fg_sentences: int = field(
        default=0,
        metadata={
            "help": "With fg_negatives batch: a micro-batch with fewer distinct sentences is given others of the "
            "training set up to so many; equal numbers for a fair comparison of texts."
        },
    )
    fg_negatives: str = field(
        default="batch",
        metadata={
            "help": "Other sentences of L_fg: batch (this device's micro-batch), global (all devices and "
            "micro-batches of one optimizer step) or bank (all distinct sentences of the training set)."
        },
    )
    class_balance: str = field(
        default="none",
        metadata={
            "help": "How rare classes count in the classifier's loss: none (every clip the same), square_root, "
            "inverse, effective_number, focal or logit_adjustment."
        },
    )
    class_balance_clip: float | None = field(
        default=None,
        metadata={
            "help": "With class_balance square_root: how many times a rare class may weigh the most frequent one."
        },
    )
    semantic_loss: str = field(
        default="none",
        metadata={
            "help": "A further loss, which draws clips to their class's sentence: none, orthogonal or plain (JSSEL)."
        },
    )
    lambda_semantic: float = field(
        default=1.0, metadata={"help": "Weight of the semantic loss (JSSEL: 20, with plain)."}
    )
    semantic_off_diagonal: float = field(
        default=0.0,
        metadata={
            "help": "With semantic_loss orthogonal: weight of the penalty on similarity to other classes' sentences."
        },
    )
    vision_tuning: str = field(
        default="lora", metadata={"help": "Vision encoder: lora (the paper), full (small, from scratch) or frozen."}
    )
    mlp_tuning: str = field(
        default="projector",
        metadata={"help": "The paper's 'MLP layers': projector, or vit_mlp (the blocks' MLPs as well)."},
    )
    lora_r: int = field(default=8, metadata={"help": "LoRA rank (paper: 8)."})
    lora_alpha: int = field(default=16, metadata={"help": "LoRA scale (the paper does not say)."})
    lora_dropout: float = field(default=0.05, metadata={"help": "LoRA dropout (the paper does not say)."})
    adapter_dtype: str = field(
        default="float32", metadata={"help": "Adapters and frozen weights: float32, or bfloat16 (with --bf16)."}
    )
    resume: bool = field(
        default=False,
        metadata={"help": "Go on from the last whole checkpoint in output_dir; start from the beginning without one."},
    )
    init_from: str | None = field(
        default=None,
        metadata={"help": "Start from the weights of this checkpoint folder, with a new optimizer and schedule."},
    )
    matmul_precision: str = field(
        default="highest",
        metadata={"help": "torch's float32 matrix products: highest, or medium (faster on some CPUs)."},
    )
    # `world_size` itself is what transformers calls the number of processes that were started.
    recipe_world_size: int | None = field(
        default=None,
        metadata={"aliases": ["--world_size"], "help": "Processes the recipe is meant for, all machines together."},
    )
    estimate: bool = field(
        default=False, metadata={"help": "Print parameters, memory, steps and FLOPs of the run, and do nothing else."}
    )
    dry_run: bool = field(
        default=False, metadata={"help": "Two steps on two clips with all that belongs to a run; nothing is kept."}
    )

    def __post_init__(self) -> None:
        for name, value in DRY_RUN.items() if self.dry_run else ():
            setattr(self, name, value)
        on_cpu: bool = self.use_cpu  # type: ignore[has-type]
        self.use_cpu = on_cpu or self.estimate  # an estimate of a run in bf16 needs no GPU that has it
        super().__post_init__()
        self.use_cpu = on_cpu
        if self.push_to_hub and self.hub_strategy != HubStrategy.END:
            raise ValueError(
                f"hub_strategy is {HubStrategy(self.hub_strategy).value!r}; only 'end' is there: what a run saves on "
                "its way is no complete checkpoint, and its optimizer state is nobody else's business"
            )
        _choose("fg_negatives", self.fg_negatives, ("batch", "global", "bank"))
        _choose("class_balance", self.class_balance, KINDS)
        _choose("semantic_loss", self.semantic_loss, ("none", "orthogonal", "plain"))
        _choose("vision_tuning", self.vision_tuning, ("lora", "full", "frozen"))
        _choose("mlp_tuning", self.mlp_tuning, ("projector", "vit_mlp"))
        _choose("adapter_dtype", self.adapter_dtype, ("float32", "bfloat16"))
        _choose("matmul_precision", self.matmul_precision, ("highest", "high", "medium"))
        if self.mlp_tuning == "vit_mlp" and self.vision_tuning == "frozen":
            raise ValueError("mlp_tuning is vit_mlp but vision_tuning is frozen; choose lora, or mlp_tuning projector")
        if self.adapter_dtype == "bfloat16" and not self.bf16:
            raise ValueError("adapter_dtype bfloat16 needs bf16: true, so that float32 heads meet bfloat16 features")
        _choose("ml_co_order", self.ml_co_order, ORDERS)
        _choose("fg_loss", self.fg_loss, ("contrast", "attributes"))
        self._check_controls()
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; it must be above 0")
        if not 0 <= self.stage2_start < 1:
            raise ValueError(f"stage2_start is {self.stage2_start}; it is a share of training, from 0 to below 1")
        if self.remove_unused_columns:
            raise ValueError("remove_unused_columns must stay false: the losses need the sentence of each clip")

    def _check_controls(self) -> None:
        if self.ml_co_order != "cp_first" and not (self.ml_co and self.fg_sa and self.cp_a):
            raise ValueError(f"ml_co_order {self.ml_co_order} orders two terms; it needs ml_co, fg_sa and cp_a")
        if self.fg_loss == "attributes" and (self.fg_negatives != "batch" or self.fg_sentences):
            raise ValueError("fg_loss attributes compares with no sentences; leave fg_negatives and fg_sentences out")
        if self.fg_negatives != "batch" and self.fg_sentences:
            raise ValueError(f"fg_sentences goes with fg_negatives batch, not {self.fg_negatives}")
        if 0 < self.fg_sentences < self.per_device_train_batch_size:
            raise ValueError(
                f"fg_sentences is {self.fg_sentences}; a micro-batch of {self.per_device_train_batch_size} clips may "
                "have more sentences, so that numbers would not be equal: give at least per_device_train_batch_size"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Whatever pickles the arguments (`training_args.bin`, a worker process) never gets the token."""
        return self.__dict__ | {"hub_token": None}

    @property
    def terms(self) -> tuple[str, ...]:
        """The loss terms of this run."""
        chosen = {"cls": True, "cp": self.cp_a, "fg": self.fg_sa, "sem": self.semantic_loss != "none"}
        return tuple(name for name, used in chosen.items() if used)


def _choose(name: str, value: str | None, choices: Sequence[str | None]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; choose one of: {', '.join(str(c) for c in choices)}")


def parse(argv: Sequence[str]) -> tuple[ModelArguments, DataArguments, FGSGLTrainingArguments, Path]:
    """Reads `[RECIPE.yaml] [--name value ...]`; the command line overrides the recipe.

    Args:
        argv: The command line without the program's name.

    Returns:
        The three groups of arguments, and the recipe's path.

    Raises:
        FileNotFoundError: The recipe is not there.
        ValueError: A key is unknown, stands twice, or the recipe is no list of `name: value` lines.
        SystemExit: A value has the wrong type; the message names the key.
    """
    words, recipe = command_words(argv)
    parser = HfArgumentParser(
        (ModelArguments, DataArguments, FGSGLTrainingArguments),
        prog="train_fgsgl.py",
        usage="accelerate launch train_fgsgl.py [RECIPE.yaml] [--name value ...]",
        description="Trains FG-SGL. Without a recipe it runs recipes/synthetic.yaml.",
        allow_abbrev=False,
    )
    if launch.deepspeed_config(os.environ, words) is not None:
        for name, value in launch.ALONE.items():
            os.environ.setdefault(name, value)
    model, data, training, rest = parser.parse_args_into_dataclasses(
        args=words, look_for_args_file=False, return_remaining_strings=True
    )
    if rest:
        if rest[0].partition("=")[0].replace("-", "_") == "__warmup_ratio":
            raise ValueError("warmup_ratio no longer exists; write warmup_steps, where below 1 means a share: 0.03")
        known = [option for action in parser._actions for option in action.option_strings]
        near = difflib.get_close_matches(rest[0], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; see --help for all of them"
        raise ValueError(f"{rest[0]} is no setting of train_fgsgl.py (recipe {recipe} or command line){hint}")
    return model, data, training, recipe


def command_words(argv: Sequence[str]) -> tuple[list[str], Path]:
    """The recipe and the command line as one list of command-line words, where the later one wins.

    Args:
        argv: The command line without the program's name.

    Returns:
        The words, and the recipe's path.

    Raises:
        FileNotFoundError: The recipe is not there.
        ValueError: The recipe is no list of `name: value` lines, or names one twice.
    """
    argv = list(argv)
    recipe = Path(argv.pop(0)) if argv and not argv[0].startswith("-") else DEFAULT_RECIPE
    words = _recipe_words(recipe) if not {"-h", "--help"} & set(argv) else []
    return [*words, *argv], recipe


def _recipe_words(recipe: Path) -> list[str]:
    """The recipe as command-line words, so that one parser types and checks both (YAML leaves 4e-5 a string)."""
    words: list[str] = []
    for name, value in read_recipe(recipe).items():
        if value is None:
            continue
        words.append(f"--{name}")
        if isinstance(value, dict):
            words.append(json.dumps(value))
        elif isinstance(value, list):
            words += [str(item) for item in value]
        else:
            words.append(str(value))
    return words
