import json

import pytest

from microgesture.data.fg_text import FGText
from microgesture.evaluation.attributes import attribute_metrics

DEFAULTS = [FGText("hand", "neck", "up", "touch"), FGText("leg", "none", "inward", "cross")]


def test_by_hand() -> None:
    records = [
        FGText("hand", "neck", "up", "touch"),  # says what the class default says
        FGText("hand", "neck", "down", "touch"),  # goes another way
        FGText("fingers", "neck", "unclear", None),  # another part; the direction is no word
        None,  # nobody wrote anything
        FGText("leg", "none", "inward", "cross"),
    ]
    described = [
        {"initiator": "hand", "direction": "up"},
        {"initiator": "hand", "direction": "down"},
        {"initiator": "hand", "direction": "down"},
        {"initiator": "leg", "direction": "up"},
        {"initiator": None, "direction": "inward"},
    ]
    predicted, true = [0, 0, 1, 0, 0], [0, 0, 0, 0, 1]
    train = [FGText("hand", "neck", "up", "touch"), FGText("hand", "neck", "up", "touch"), DEFAULTS[1], None]
    result = attribute_metrics(records, described, predicted, true, DEFAULTS, train)
    assert list(result) == ["initiator", "receiver", "direction", "motion_type"]
    initiator = result["initiator"]
    assert initiator["most_frequent_word"] == "hand"
    assert initiator["all"] == {
        "total": 4, "described": 2, "most_frequent": 2, "predicted_default": 2, "true_default": 3,
    }  # fmt: skip
    assert initiator["differing"] == {
        "total": 2, "described": 1, "most_frequent": 1, "predicted_default": 1, "true_default": 1,
    }  # fmt: skip
    direction = result["direction"]
    assert direction["all"] == {
        "total": 3, "described": 3, "most_frequent": 1, "predicted_default": 1, "true_default": 2,
    }  # fmt: skip
    # Only the second clip differs and has a word: the third differs too, but nobody wrote its direction down.
    assert direction["differing"] == {
        "total": 1, "described": 1, "most_frequent": 0, "predicted_default": 0, "true_default": 0,
    }  # fmt: skip
    assert direction["grounded"] is False  # better on one clip may be chance
    assert result["receiver"]["all"]["described"] == 0  # the model has no word for it
    assert result["motion_type"]["all"]["total"] == 3
    assert json.loads(json.dumps(result)) == result


def evaluated(right: int, total: int = 40) -> dict:
    """Clips of class 0 that go down where the default goes up; the model says so for the first `right` of them."""
    records = [FGText("hand", "neck", "down", "touch")] * total
    described = [{"initiator": "hand", "direction": "down" if n < right else "up"} for n in range(total)]
    return attribute_metrics(records, described, [0] * total, [0] * total, DEFAULTS, records)


def test_grounded_only_where_the_predicted_default_is_beaten() -> None:
    result = evaluated(30)
    assert result["direction"]["grounded"] is True
    assert result["direction"]["p"] == pytest.approx(2 * 2 / 2**30)  # Holm: two attributes have a smaller one
    assert result["initiator"]["differing"]["described"] == result["initiator"]["differing"]["predicted_default"] == 40
    assert result["initiator"]["grounded"] is False  # as good as the default is not better
    worse = result["receiver"]
    assert worse["p"] < 0.05
    assert worse["grounded"] is False
    assert evaluated(2)["direction"]["grounded"] is False


def test_without_words_or_defaults() -> None:
    assert attribute_metrics([None], [{}], [0], [0], [None], []) == {}
    only = attribute_metrics([FGText("hand")], [{"initiator": "hand"}], [0], [0], [None], [])
    assert list(only) == ["initiator"]
    assert only["initiator"]["most_frequent_word"] is None
    assert only["initiator"]["differing"] == {
        "total": 1, "described": 1, "most_frequent": 0, "predicted_default": 0, "true_default": 0,
    }  # fmt: skip
    same = attribute_metrics([DEFAULTS[0]], [{}], [0], [0], DEFAULTS, [])
    assert same["direction"]["differing"]["total"] == 0
    assert (same["direction"]["p"], same["direction"]["grounded"]) == (None, False)
