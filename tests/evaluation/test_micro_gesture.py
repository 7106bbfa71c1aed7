"""metrics/micro_gesture loaded by path, in a process of its own: `evaluate` settles its folders when imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from microgesture.evaluation.calibration import calibration
from microgesture.evaluation.metrics import classification_metrics, score_metrics
from microgesture.evaluation.segments import Segment, segment_metrics

ROOT = Path(__file__).resolve().parents[2]
IDS, TRUE, NAMES = [0, 0, 1, 1, 0], [0, 0, 0, 1, 2], ["nod", "rub", "fold", "wave"]
SCORES = [[0.1, 2.0, -1.0], [3.0, 0.5, 0.25]]
FOUND = [[{"label": 1, "start": 0.0, "end": 9.0, "score": 0.5}], []]
SPANS = [[{"label": 1, "start": 0.0, "end": 10.0}, {"label": 0, "start": 12.0, "end": 15.0}], []]
SCRIPT = f"""
import json, sys
import evaluate
metric = evaluate.load("metrics/micro_gesture")
found = [metric.compute(predictions={IDS}, references={TRUE}, names={NAMES})]
found.append(metric.compute(predictions={IDS}, references={TRUE}))
found.append(evaluate.load("metrics/micro_gesture", "scores").compute(predictions={SCORES}, references=[1, 2]))
found.append(evaluate.load("metrics/micro_gesture", "segments").compute(predictions={FOUND}, references={SPANS}))
try:
    evaluate.load("metrics/micro_gesture", "spans")
except ValueError as error:
    found.append(str(error))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list:
    home = tmp_path_factory.mktemp("evaluate")
    env = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_class_ids(found) -> None:
    assert found[0] == classification_metrics(IDS, TRUE, NAMES)
    assert found[1] == classification_metrics(IDS, TRUE, ["0", "1", "2"])


def test_scores(found) -> None:
    assert found[2] == score_metrics(SCORES, [1, 2], ["0", "1", "2"]) | {"calibration": calibration(SCORES, [1, 2])}


def test_segments(found) -> None:
    sides = ({str(n): [Segment(**s) for s in part] for n, part in enumerate(side)} for side in (FOUND, SPANS))
    assert found[3] == segment_metrics(*sides)
    assert found[3]["f1@iou>0.3"]["hits"] == 1


def test_unknown_configuration(found) -> None:
    assert found[4] == "configuration 'spans' must be one of: default, scores, segments"
