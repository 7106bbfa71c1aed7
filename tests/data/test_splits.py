"""Splits by person: nobody on two sides, classes on all of them where that can be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microgesture.data.splits import SPLITS, at_random, by_group, folds, people, random_folds


def clips(count, persons, classes, seed=0):
    rng = np.random.default_rng(seed)
    subjects = [f"p{k % persons}" for k in range(count)]
    return [f"c{k}" for k in rng.integers(0, classes, count)], people(subjects, range(count))


def sides(names, groups):
    return {split: {g for g, name in zip(groups.tolist(), names, strict=True) if name == split} for split in SPLITS}


def test_everybody_on_one_side_near_the_shares():
    labels, groups = clips(400, 20, 5)
    names = by_group(labels, groups)
    counts = Counter(names)
    assert counts["train"] == pytest.approx(280, abs=30)
    assert counts["test"] == pytest.approx(60, abs=20)
    assert sum(len(s) for s in sides(names, groups).values()) == 20
    assert {(split, label) for split, label in zip(names, labels, strict=True)} == {
        (split, f"c{k}") for split in SPLITS for k in range(5)
    }


def test_a_rare_class_stays_in_training_and_comes_to_the_others_where_it_can():
    labels = ["common"] * 40
    groups = np.repeat(np.arange(10), 4)
    for person in (2, 5, 7):
        labels[4 * person] = "rare"
    names = by_group(labels, groups)
    assert {split for split, label in zip(names, labels, strict=True) if label == "rare"} == set(SPLITS)


def test_one_person_with_nearly_all_clips_trains():
    groups = np.array([0] * 90 + [1] * 5 + [2] * 5)
    names = by_group(["a", "b"] * 50, groups)
    assert Counter(names) == {"train": 90, "validation": 5, "test": 5}


def test_seed_and_order():
    labels, groups = clips(100, 10, 3)
    assert by_group(labels, groups, seed=1) == by_group(labels, groups, seed=1)
    assert len({tuple(by_group(labels, groups, seed=s)) for s in range(5)}) > 1


def test_without_test_split():
    labels, groups = clips(40, 2, 2)
    names = by_group(labels, groups, (0.8, 0.2, 0.0))
    assert set(names) == {"train", "validation"}


def test_too_few_people():
    labels, groups = clips(40, 2, 2)
    with pytest.raises(ValueError, match=r"3 splits need 3 people .* here are 2.*--ratio 80,20,0"):
        by_group(labels, groups)
    with pytest.raises(ValueError, match="5 folds need 5 people"):
        folds(labels, groups, 5)
    with pytest.raises(ValueError, match="2 folds leave no clips to train on"):
        folds(labels, groups, 2)


def test_people_who_share_a_recording_stay_together():
    groups = people(["a", "b", "c", "d", "a"], ["v1", "v1", "v2", "v3", "v3"])
    assert groups[0] == groups[1] == groups[3] == groups[4] != groups[2]


def test_folds_test_everybody_once():
    labels, groups = clips(200, 9, 4)
    plans = folds(labels, groups, 4)
    tested = [side["test"] for side in (sides(plan, groups) for plan in plans)]
    assert sorted(g for part in tested for g in part) == list(range(9))
    for plan in plans:
        parts = sides(plan, groups)
        assert all(parts.values())
        assert sum(map(len, parts.values())) == 9
    validated = [sides(plan, groups)["validation"] for plan in plans]
    assert validated == tested[1:] + tested[:1]


def test_random_split_keeps_the_classes_in_proportion():
    labels = ["a"] * 100 + ["b"] * 20 + ["c"]
    names = at_random(labels)
    assert Counter(zip(labels, names, strict=True)) == {
        ("a", "train"): 70, ("a", "validation"): 15, ("a", "test"): 15,
        ("b", "train"): 14, ("b", "validation"): 3, ("b", "test"): 3, ("c", "train"): 1,
    }  # fmt: skip
    assert set(at_random(labels, (0.5, 0.5, 0.0))) == {"train", "validation"}
    plans = random_folds(labels, 5)
    assert [Counter(plan)["test"] for plan in plans] == [24, 24, 25, 24, 24]


@settings(max_examples=40)
@given(st.data())
def test_any_split_is_whole_and_tears_nobody_apart(data):
    persons = data.draw(st.integers(3, 8))
    count = data.draw(st.integers(persons, 40))
    owner = list(range(persons)) + data.draw(
        st.lists(st.integers(0, persons - 1), min_size=count - persons, max_size=count - persons)
    )
    labels = data.draw(st.lists(st.sampled_from("abc"), min_size=count, max_size=count))
    groups = np.array(owner)
    names = by_group(labels, groups, seed=data.draw(st.integers(0, 5)))
    parts = sides(names, groups)
    assert len(names) == count
    assert all(parts.values())
    assert sum(map(len, parts.values())) == persons
