import json

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import brier_score_loss, log_loss

from microgesture.evaluation.calibration import TEMPERATURES, at_coverages, calibration, fit_temperature, risk_coverage


@pytest.fixture(params=[(0, 300, 5), (1, 40, 12), (2, 1, 3)], ids=["many", "few", "one"])
def sample(request):
    seed, N, C = request.param
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, C, N)
    return generator.normal(size=(N, C)) * 2 + 2 * np.eye(C)[labels], labels


def test_brier_and_nll_like_sklearn(sample) -> None:
    scores, labels = sample
    p, ids = softmax(scores / 1.7, axis=1), np.arange(scores.shape[1])
    figures = calibration(scores, labels, temperature=1.7)
    assert figures["nll"] == pytest.approx(log_loss(labels, p, labels=ids))
    assert figures["brier"] == pytest.approx(brier_score_loss(labels, p, labels=ids, scale_by_half=False))


def test_ece_is_its_formula_as_a_plain_loop(sample) -> None:
    scores, labels = sample
    p = softmax(scores, axis=1)
    confidence, right = p.max(1), p.argmax(1) == labels
    ece = 0.0
    for b in range(15):
        inside = [i for i in range(len(labels)) if b / 15 < confidence[i] <= (b + 1) / 15]
        if inside:
            gap = np.mean([right[i] for i in inside]) - np.mean([confidence[i] for i in inside])
            ece += len(inside) / len(labels) * abs(gap)
    figures = calibration(scores, labels)
    assert figures["ece"] == pytest.approx(ece)
    assert sum(row["total"] for row in figures["reliability"]) == len(labels)
    assert sum(row["correct"] for row in figures["reliability"]) == int(right.sum())
    assert json.loads(json.dumps(figures)) == figures


def test_closed_forms() -> None:
    knows_nothing = calibration(np.zeros((4, 4)), [0, 1, 2, 3])
    assert knows_nothing["nll"] == pytest.approx(np.log(4))
    assert knows_nothing["ece"] == pytest.approx(0.0)  # a quarter sure, a quarter right
    assert knows_nothing["brier"] == pytest.approx(1 - 1 / 4)
    sure = 1000 * np.eye(2)
    assert calibration(sure, [0, 1])["brier"] == calibration(sure, [0, 1])["ece"] == 0
    assert calibration(sure, [1, 0])["brier"] == pytest.approx(2)
    assert calibration(sure, [1, 0])["nll"] == pytest.approx(1000)  # and not infinite


class Logits(ClassifierMixin, BaseEstimator):
    """Logits as an estimator that needs no fitting."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        return X

    def predict(self, X):
        return X.argmax(1)


@pytest.mark.parametrize("seed", range(3))
def test_temperature_like_sklearn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, 400)
    scores = (generator.normal(size=(400, 4)) + np.eye(4)[labels]) * (3, 1, 0.4)[seed]
    theirs = CalibratedClassifierCV(FrozenEstimator(Logits().fit(scores, labels)), method="temperature")
    theirs.fit(scores, labels)
    T = fit_temperature(scores, labels)
    np.testing.assert_allclose(softmax(scores / T, axis=1), theirs.predict_proba(scores), atol=1e-4)
    best = calibration(scores, labels, T)["nll"]
    assert all(best <= calibration(scores, labels, T * factor)["nll"] for factor in (0.98, 1.02))


def test_temperature_of_a_model_that_is_never_wrong_or_always() -> None:
    low, high = TEMPERATURES
    assert fit_temperature(np.eye(3), [0, 1, 2]) == pytest.approx(low, rel=1e-3)
    assert fit_temperature(np.eye(3), [1, 2, 0]) == pytest.approx(high, rel=1e-3)


def test_risk_and_coverage_by_hand() -> None:
    scores = np.array([[4.0, 0], [3, 0], [3, 0], [0, 1]])
    result = risk_coverage(scores, [0, 1, 0, 0])  # right; wrong and right at one confidence; wrong
    assert [(p["answered"], p["correct"], p["risk"]) for p in result["curve"]] == [
        (1, 1, 0.0), (3, 2, pytest.approx(1 / 3)), (4, 2, 0.5),
    ]  # fmt: skip
    assert result["curve"][0]["threshold"] == pytest.approx(softmax([4, 0])[0])
    assert result["aurc"] == pytest.approx((0 + 1 / 3 + 1 / 3 + 1 / 2) / 4)
    assert result["aurc_oracle"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert [p["answered"] for p in at_coverages(result["curve"], 4)] == [1, 3, 4]


def test_risk_coverage_without_ties_is_the_mean_of_running_risks(sample) -> None:
    scores, labels = sample
    p = softmax(scores, axis=1)
    right = (p.argmax(1) == labels)[np.argsort(-p.max(1))]
    running = [1 - np.mean(right[:n]) for n in range(1, len(right) + 1)]
    result = risk_coverage(scores, labels)
    assert result["aurc"] == pytest.approx(np.mean(running))
    assert result["aurc_oracle"] <= result["aurc"] + 1e-12
    assert result["curve"][-1]["risk"] == pytest.approx(1 - right.mean())
    assert json.loads(json.dumps(result)) == result


def test_bad_temperature() -> None:
    with pytest.raises(ValueError, match="must be more than 0"):
        calibration(np.eye(2), [0, 1], 0.0)
