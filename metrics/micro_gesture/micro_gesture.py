"""The figures of `microgesture/evaluation` as a module of `evaluate`: `evaluate.load("metrics/micro_gesture")`."""

import datasets
import evaluate

from microgesture.evaluation.calibration import calibration
from microgesture.evaluation.metrics import classification_metrics, score_metrics
from microgesture.evaluation.segments import Segment, segment_metrics

DESCRIPTION = """Figures for micro-gesture recognition, counted clip by clip (k of N beside every rate).

Three configurations: `default` for class ids, `scores` for logits, `segments` for untrimmed recordings.
"""
INPUTS = """Args:
    predictions: `default`: class ids (N,). `scores`: logits (N, C). `segments`: for each recording a list of
        {"label", "start", "end", "score"}.
    references: Class ids (N,); for `segments` a list of {"label", "start", "end"} for each recording.
    names: Class names in the order of their ids; without them, classes are called by their ids and counted up to the
        highest one seen. Not for `segments`.

Returns:
    What `classification_metrics`, `score_metrics` (and `calibration`) or `segment_metrics` of microgesture.evaluation
    return.
"""
CITATION = """@misc{fgsgl,
  title = {{FG-SGL}: Fine-Grained Semantic Guidance Learning via Motion Process Decomposition for
           Micro-Gesture Recognition},
  author = {Wei and Xu and Lu and Chen and Yan},
  note = {arXiv:2603.16269}
}
"""
_SPAN = {"label": datasets.Value("int64"), "start": datasets.Value("float64"), "end": datasets.Value("float64")}
_CLASS = datasets.Value("int64")
FEATURES = {
    "default": {"predictions": _CLASS, "references": _CLASS},
    "scores": {"predictions": datasets.List(datasets.Value("float64")), "references": _CLASS},
    "segments": {
        "predictions": datasets.List(_SPAN | {"score": datasets.Value("float64")}),
        "references": datasets.List(_SPAN),
    },
}


class MicroGesture(evaluate.Metric):
    """Thin over `microgesture.evaluation`, which has to be importable."""

    def _info(self):
        if self.config_name not in FEATURES:
            raise ValueError(f"configuration {self.config_name!r} must be one of: {', '.join(FEATURES)}")
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features(FEATURES[self.config_name]),
        )

    def _compute(self, predictions, references, names=None):
        if self.config_name == "segments":
            sides = (
                {str(row): [Segment(**s) for s in part] for row, part in enumerate(p)}
                for p in (predictions, references)
            )
            return segment_metrics(*sides)
        if self.config_name == "scores":
            names = names or [str(number) for number in range(len(predictions[0]))]
            return score_metrics(predictions, references, names) | {
                "calibration": calibration(predictions, references)
            }
        names = names or [str(number) for number in range(max([*predictions, *references], default=0) + 1)]
        return classification_metrics(predictions, references, names)
