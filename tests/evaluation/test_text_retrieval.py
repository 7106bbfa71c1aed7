import json

import numpy as np
import pytest

from microgesture.evaluation.text_retrieval import sentence_retrieval


def test_by_hand() -> None:
    similarities = np.array([[0.9, 0.1, 0.0, 0, 0, 0], [0.9, 0.8, 0, 0, 0, 0], [6, 5, 4, 3, 2, 1]])
    result = sentence_retrieval(similarities, [0, 1, 5])
    assert result == {
        "sentences": 6,
        "recall@1": {"correct": 1, "total": 3, "recall": 1 / 3, "chance": 1 / 6},
        "recall@5": {"correct": 2, "total": 3, "recall": 2 / 3, "chance": 5 / 6},
    }
    assert json.loads(json.dumps(result)) == result


def test_chance_is_what_a_random_order_gives() -> None:
    generator = np.random.default_rng(0)
    result = sentence_retrieval(generator.normal(size=(20000, 12)), generator.integers(0, 12, 20000))
    for k in (1, 5):
        assert result[f"recall@{k}"]["chance"] == k / 12
        assert result[f"recall@{k}"]["recall"] == pytest.approx(k / 12, abs=0.015)


def test_equal_similarities_earn_no_credit() -> None:
    result = sentence_retrieval(np.zeros((6, 6)), np.arange(6))
    assert (result["recall@1"]["correct"], result["recall@5"]["correct"]) == (1, 5)


def test_fewer_sentences_than_ranks() -> None:
    assert list(sentence_retrieval(np.eye(3), [0, 1, 2])) == ["sentences", "recall@1"]
    with pytest.raises(ValueError, match="labels hold the class id 3"):
        sentence_retrieval(np.eye(3), [0, 1, 3])
