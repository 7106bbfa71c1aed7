"""Checkpoint + video -> labels, attributes and sentence; segments of untrimmed recordings; what carried a decision.

pipe = pipeline("micro-gesture-recognition", model="outputs/synthetic", trust_remote_code=True)
pipe("clip.mp4")                    # [{"label": ..., "score": ...}, ...]
pipe.spot("interview.mp4")          # [{"start": ..., "end": ..., "label": ..., "score": ..., "attributes": ...}, ...]
pipe.explain("clip.mp4").picture    # the frames, red where it counted
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AutoModelForVideoClassification, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

try:
    from .configuration_fgsgl import ATTRIBUTES, TASK
    from .explain_fgsgl import Explanation, explain
    from .spotting_fgsgl import UNKNOWN, UNKNOWN_ID, Candidate, background_scores, candidates, scan_whole, segments
except ImportError:
    from configuration_fgsgl import ATTRIBUTES, TASK
    from explain_fgsgl import Explanation, explain
    from spotting_fgsgl import UNKNOWN, UNKNOWN_ID, Candidate, background_scores, candidates, scan_whole, segments

Ranked = dict[str, list[dict[str, Any]]]


class FGSGLPipeline(Pipeline):
    """Recognises micro-gestures in videos.

    A call takes a path, the bytes of a video file, uint8 frames `(F, H, W, 3)`, a row of a data set (a mapping with
    `video`, or `path` and `bytes`, and where wanted `start`, `end` and `mirrored`), or a list, generator, torch
    `Dataset` or `datasets` column of these.

    Call arguments:
        top_k: How many classes, best first (default 5).
        attributes: Also the four FG-Text attributes and the sentence made of their best words.
        start, end: Seconds of all clips that do not name their own.
        mirrored: Whether the camera stored a mirror image.
        batch_size, num_workers: As in any pipeline.

    Returns, for each clip: `[{"label", "score"}]`; with `attributes`, `{"labels": [...], "attributes": {name:
    [{"label", "score"}]}, "sentence"}`, where an attribute's score is a cosine similarity. In a list, a file that
    cannot be read gives `{"error": {"kind", "message"}}` in its place; alone, it raises.
    """

    _load_feature_extractor = True
    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_tokenizer = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model.eval()
        self.model.config.restore_pipeline()

    def _sanitize_parameters(self, **given: Any) -> tuple[dict, dict, dict]:
        groups: tuple[dict, dict, dict] = ({}, {}, {})
        for name, value in given.items():
            if name in ("start", "end", "mirrored"):
                groups[0][name] = value
            elif name in ("top_k", "attributes"):
                groups[2][name] = value
            else:
                raise TypeError(f"{name} is no setting of this pipeline: start, end, mirrored, top_k, attributes")
        top_k = groups[2].get("top_k", 1)
        if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
            raise ValueError(f"top_k is {top_k!r}; it must be a whole number of at least 1")
        return groups

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Recognises one clip or many; see the class."""
        if isinstance(inputs, list | tuple):
            return super().__call__(list(inputs), **kwargs) if inputs else []
        if hasattr(inputs, "column_name") and hasattr(inputs, "source"):  # a column of a `datasets.Dataset`
            videos = _undecoded(inputs)
            return list(super().__call__((video for video in videos), **kwargs))
        return super().__call__(inputs, **kwargs)

    def run_single(self, inputs: Any, preprocess_params: dict, forward_params: dict, postprocess_params: dict) -> Any:
        """One clip by itself: what is wrong with it is raised, and not returned."""
        outputs = self.forward(self._read(inputs, **preprocess_params), **forward_params)
        return self.postprocess(outputs, **postprocess_params)

    def preprocess(self, inputs: Any, **params: Any) -> dict[str, Any]:
        """Reads a clip, or says what is wrong with it."""
        try:
            return self._read(inputs, **params)
        except (ValueError, OSError, TypeError) as error:
            # Not `except VideoError`: the processor's modules are loaded a second time with remote code.
            size, T = self.feature_extractor.size, self.feature_extractor.num_frames
            about = {"kind": getattr(error, "kind", "unsupported"), "message": str(error)}
            return {"pixel_values": torch.zeros(0, T, 3, size, size, dtype=torch.uint8), "error": about}

    def _read(self, inputs: Any, **params: Any) -> dict[str, Any]:
        video, own = _unpack(inputs)
        return {"pixel_values": self.feature_extractor.sample(video, **(params | own))[None], "error": None}

    def _forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Passes the clips that could be read; the rows of the others stay empty."""
        errors = inputs["error"] if isinstance(inputs["error"], list) else [inputs["error"]]
        good = torch.tensor([error is None for error in errors])
        logits = torch.zeros(len(errors), self.model.config.num_labels)
        embeds = torch.zeros(len(errors), self.model.config.embed_dim)
        if good.any():
            pixels = self.feature_extractor.normalize(inputs["pixel_values"], self.model.dtype)
            out = self.model(pixel_values=pixels)
            logits[good], embeds[good] = out.logits.float().cpu(), out.fine_embeds.float().cpu()
        return {"error": errors, "logits": logits, "fine_embeds": embeds}

    def postprocess(self, outputs: dict[str, Any], top_k: int = 5, attributes: bool = False) -> Any:
        """One clip's answer."""
        error = outputs["error"][0] if isinstance(outputs["error"], list) else outputs["error"]
        if error is not None:
            return {"error": error}
        scores = outputs["logits"][0].softmax(-1)
        best = scores.topk(min(top_k, len(scores)))
        names = self.model.config.id2label
        labels = [{"label": names[k], "score": s} for s, k in zip(*(part.tolist() for part in best), strict=True)]
        if not attributes:
            return labels
        return {"labels": labels} | self._described(outputs["fine_embeds"], top_k)

    def _described(self, fine_embeds: torch.Tensor, top_k: int) -> dict[str, Any]:
        """Attributes and sentence of one clip from its embedding `(1, E)`."""
        words = self.model.rank_words(fine_embeds.to(self.model.device))[0]
        ranked = {
            name: [{"label": word, "score": score} for word, score in words.get(name, [])[:top_k]]
            for name in ATTRIBUTES
        }
        return {"attributes": ranked, "sentence": sentence(self.model.config.sentence_parts, ranked)}

    def spot(
        self,
        video: Any,
        *,
        background: str | None = None,
        settings: dict[str, Any] | None = None,
        mirrored: bool = False,
        batch_size: int | None = None,
        threads: int = 1,
        progress: bool = True,
    ) -> list[dict[str, Any]]:
        """Finds gestures in an untrimmed recording.

        Args:
            video: Path or the bytes of a video file.
            background: How windows without a gesture are told: `head` (default, where the checkpoint has one) or
                `softmax`, the baseline.
            settings: In place of the checkpoint's own `config.spotting`.
            mirrored: Whether the camera stored a mirror image.
            batch_size: Clips' worth of frames that pass the network together.
            threads: Decoder threads.
            progress: Whether a progress bar is shown.

        Returns:
            `[{"start", "end", "label", "score", "attributes", "sentence"}]` in seconds and in the order of time.
            Segments of one label do not overlap; the label `unknown` says that no class is likely enough. Segments of
            different labels share no more (IoU) than the fitted `overlap` of the settings: below 1.0 it can suppress
            gestures that different body parts make at once, 1.0 allows them.

        Raises:
            VideoError: The file cannot be read.
            ValueError: The checkpoint has no settings for this.
        """
        settings = settings or self.model.config.spotting
        if not settings:
            raise ValueError(
                "this checkpoint was not fitted to untrimmed recordings: run `microgesture fit-spotting CHECKPOINT "
                "RECORDINGS` with recordings whose gestures are annotated, or pass `settings`"
            )
        way = background or ("softmax" if self.model.background is None else "head")
        if way not in ("head", "softmax") or (way == "head" and self.model.background is None):
            raise ValueError(f"background is {way!r}; choose 'softmax', or 'head' with a checkpoint that has one")
        limits = settings[way]
        options = {"mirrored": mirrored, "threads": threads, "progress": progress}
        options["batch_size"] = batch_size or self._batch_size or 1

        def take(windows: Any) -> list[Candidate]:
            return candidates(windows, background_scores(self.model, windows, way), limits["background"])

        lengths, hop = settings["window_seconds"], settings["hop"]
        parts = scan_whole(take, self.model, self.feature_extractor, video, lengths, hop, **options)
        merged = segments(list(chain(*parts)), limits["unknown"], limits["keep"], limits["overlap"])
        return [self._segment(item) for item in merged]

    def _segment(self, item: Candidate) -> dict[str, Any]:
        label = UNKNOWN if item.label == UNKNOWN_ID else self.model.config.id2label[item.label]
        embed = F.normalize(torch.from_numpy(item.embed)[None], dim=-1)
        head = {"start": round(item.start, 3), "end": round(item.end, 3), "label": label, "score": item.score}
        return head | self._described(embed, 5)

    def explain(
        self,
        video: Any,
        *,
        start: float | None = None,
        end: float | None = None,
        mirrored: bool = False,
        label: str | None = None,
        grid: int = 8,
        batch_size: int | None = None,
    ) -> Explanation:
        """Says which frames and which patches carried a decision, by blurring them away one after the other.

        Args:
            video: As for a call.
            start: Seconds, `None` for the start of the video.
            end: Seconds, `None` for its end.
            mirrored: Whether the camera stored a mirror image.
            label: The class to explain; default: the most likely one.
            grid: Patches per side of a frame; the cost grows with its square.
            batch_size: Clips' worth of frames that pass the network together.

        Returns:
            An `Explanation`: arrays and a picture.

        Raises:
            VideoError: The file cannot be read.
            ValueError: There is no such class, or `grid` is out of range.
        """
        numbers = {name: number for number, name in self.model.config.id2label.items()}
        if label is not None and label not in numbers:
            raise ValueError(f"{label!r} is no class of this checkpoint: {', '.join(numbers)}")
        clip, own = _unpack(video)
        frames = self.feature_extractor.sample(clip, **({"start": start, "end": end, "mirrored": mirrored} | own))
        wanted = None if label is None else numbers[label]
        return explain(self.model, self.feature_extractor, frames, wanted, grid, batch_size or self._batch_size or 1)


def _unpack(item: Any) -> tuple[Any, dict[str, Any]]:
    """A video, and the span that comes with it."""
    if not isinstance(item, Mapping):
        return item, {}
    video = item["video"] if item.get("video") is not None else item
    if isinstance(video, Mapping):
        video = video["bytes"] if video.get("bytes") is not None else video.get("path")
    if video is None:
        raise TypeError(f"a row needs `video`, `path` or `bytes`; this one has: {', '.join(map(str, item))}")
    return video, {name: item[name] for name in ("start", "end", "mirrored") if item.get(name) is not None}


def _undecoded(column: Any) -> Any:
    """The column with files in place of decoded videos: the pipeline's own reader takes the right frames."""
    if getattr(column.features, "decode", False):
        return column.source.cast_column(column.column_name, type(column.features)(decode=False))[column.column_name]
    return column


def sentence(parts: dict[str, Any] | None, ranked: Ranked) -> str | None:
    """The FG-Text sentence of the best words, e.g. `The hand touches the neck, moving up.` (FG-SGL, Sec. III-B).

    Args:
        parts: `sentence_parts` of the configuration.
        ranked: Words of each attribute, best first.

    Returns:
        `None` where the checkpoint has no parts, or learned no word.
    """
    word = {name: words[0]["label"] if words else "" for name, words in ranked.items()}
    if not parts or not any(word.values()):
        return None
    subject, plural = parts["initiator"].get(word["initiator"]) or parts["initiator"][""]
    verbs = parts["motion_type"].get(word["motion_type"]) or parts["motion_type"][""]
    receiver = word["receiver"].replace("_", " ")
    filled = {
        "subject": subject,
        "verb": verbs[1] if plural else verbs[0],
        "object": "" if receiver in ("", "none") else f"{verbs[2]} the {receiver}".strip(),
        "direction": parts["direction"].get(word["direction"], ""),
    }

    def optional(part: re.Match[str]) -> str:
        return part[1] if all(filled[name] for name in re.findall(r"{(\w+)}", part[1])) else ""

    text = re.sub(r"\[([^]]*)]", optional, parts["template"]).format(**filled)
    return text[0].upper() + text[1:]


PIPELINE_REGISTRY.register_pipeline(
    TASK, pipeline_class=FGSGLPipeline, pt_model=AutoModelForVideoClassification, type="multimodal"
)
