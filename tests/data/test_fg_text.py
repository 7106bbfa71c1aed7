import dataclasses

import pytest

from microgesture.data.fg_text import (
    ATTRIBUTES,
    CONFIDENCES,
    PROVENANCES,
    SENTENCES,
    SIDED,
    SPECIAL,
    VOCABULARY,
    VOCABULARY_VERSION,
    FGText,
    check_sides,
)

# --- sentences -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("hand", "neck", "up", "touch", "left"), "The left hand touches the neck, moving up."),
        (("both_hands", "hands", "back_and_forth", "rub", None), "Both hands rub the hands, moving back and forth."),
        (("fingers", "suprasternal_notch", None, "cover", None), "The fingers cover the suprasternal notch."),
        (("shoulders", "none", "up", "raise", None), "The shoulders raise, moving up."),
        (("arm", "air", "left", "swipe", None), "The arm swipes through the air, moving to the person's left."),
        (("leg", "leg", "static", "cross", "left"), "The left leg crosses over the leg, without moving on."),
        (("both_arms", "chest", None, "fold", None), "Both arms fold over the chest."),
        (("hand", None, None, "scratch", None), "The hand scratches."),
        (("hand", "face", None, None, None), "The hand moves toward the face."),
        (("both_hands", None, "outward", None, None), "Both hands move, moving outward."),
        ((None, "face", None, "touch", None), "A body part touches the face."),
        ((None, None, "up", None, "right"), "The right body part moves, moving up."),
    ],
)  # fmt: skip
def test_sentence(words, sentence):
    assert FGText(*words).sentence() == sentence


def test_sentence_of_every_word_is_one_clean_sentence():
    for attribute in ATTRIBUTES:
        for word in VOCABULARY[attribute]:
            for side in (None, "left"):
                for base in ({}, {"initiator": "hand", "receiver": "face", "direction": "up", "motion_type": "touch"}):
                    text = FGText(**(base | {attribute: word, "side": side})).sentence()
                    assert text[0].isupper(), text
                    assert text.endswith("."), text
                    assert "_" not in text, text
                    assert "  " not in text, text
                    assert "None" not in text, text


@pytest.mark.parametrize("attribute", ["initiator", "direction", "motion_type"])
def test_sentences_tell_words_apart(attribute):
    base = {"initiator": "hand", "receiver": "face", "direction": "up", "motion_type": "touch"}
    texts = {FGText(**(base | {attribute: word})).sentence() for word in VOCABULARY[attribute]}
    assert len(texts) == len(VOCABULARY[attribute])


def test_vocabulary_has_no_word_twice():
    assert tuple(VOCABULARY) == ATTRIBUTES
    for words in VOCABULARY.values():
        assert len(set(words)) == len(words)


def test_paraphrases_say_the_same():
    record = FGText("hand", "neck", "up", "touch", "left")
    assert [record.sentence(template) for template in SENTENCES] == [
        "The left hand touches the neck, moving up.",
        "Moving up, the left hand touches the neck.",
        "In this clip, the left hand touches the neck, moving up.",
        "A person is filmed while the left hand touches the neck, moving up.",
    ]
    assert FGText("hand", None, None, "scratch").sentence(SENTENCES[1]) == "The hand scratches."


@pytest.mark.parametrize("template", SENTENCES)
def test_every_template_keeps_every_word(template):
    base = {"initiator": "leg", "receiver": "face", "direction": "up", "motion_type": "touch"}
    for attribute in ATTRIBUTES:
        texts = {FGText(**(base | {attribute: word})).sentence(template) for word in VOCABULARY[attribute]}
        assert len(texts) == len(VOCABULARY[attribute])


@pytest.mark.parametrize("special", SPECIAL)
def test_special_values_stay_out_of_the_sentence(special):
    words = {"initiator": "hand", "receiver": "face", "direction": "up", "motion_type": "touch", "side": "left"}
    for field in words:
        left_out = FGText(**(words | {field: None}))
        record = FGText(**(words | {field: special}))
        assert record.sentence() == left_out.sentence()
        assert record != left_out  # in the data they are not the same
    assert FGText(receiver=special).sentence() == FGText(special, side="left").sentence() == ""
    assert not set(SPECIAL) & {word for words in VOCABULARY.values() for word in words}
    assert not FGText("hand", special, special, side=special).names_a_side
    assert FGText("hand", direction=special, side=special).flipped() == FGText("hand", direction=special, side=special)


def test_vocabulary_is_versioned_and_consistent():
    assert VOCABULARY_VERSION == "1.1"  # another word, order or template is another version
    assert [len(words) for words in VOCABULARY.values()] == [15, 28, 14, 46]
    assert set(SIDED) < set(VOCABULARY["initiator"])
    assert sorted(CONFIDENCES.values(), reverse=True) == list(CONFIDENCES.values())


# --- flips ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "side", "flipped_direction", "flipped_side"),
    [
        ("left", "right", "right", "left"),
        ("right", None, "left", None),
        ("clockwise", "left", "counter_clockwise", "right"),
        ("counter_clockwise", None, "clockwise", None),
        ("up", "left", "up", "right"),
        ("sideways", None, "sideways", None),
        (None, None, None, None),
    ],
)
def test_flip(direction, side, flipped_direction, flipped_side):
    record = FGText("hand", "face", direction, "touch", side, provenance="confirmed")
    flipped = record.flipped()
    assert (flipped.direction, flipped.side) == (flipped_direction, flipped_side)
    assert dataclasses.replace(flipped, direction=direction, side=side) == record  # nothing else has changed
    assert flipped.flipped() == record


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"side": "left", "motion_type": "touch"}, True),
        ({"direction": "right"}, True),
        ({"direction": "clockwise"}, True),
        ({"direction": "circular"}, False),
        ({"initiator": "hand", "direction": "up"}, False),
    ],
)
def test_names_a_side(words, named):
    record = FGText(**words)
    assert record.names_a_side is named
    assert (record.flipped() != record) is named


# --- reading rows --------------------------------------------------------------------------------------------------


def test_from_mapping():
    row = {"initiator": "hand", "receiver": "", "direction": None, "motion_type": "touch", "side": "left", "label": 3}
    assert FGText.from_mapping(row) == FGText("hand", motion_type="touch", side="left", provenance="human")
    assert FGText.from_mapping(row | {"provenance": "model"}).provenance == "model"
    assert FGText.from_mapping(row | {"confidence": "", "coder": ""}) == FGText.from_mapping(row)


@pytest.mark.parametrize(
    "row", [{}, dict.fromkeys(ATTRIBUTES), {"initiator": "", "side": "left", "provenance": "human"}]
)
def test_row_that_describes_nothing(row):
    assert FGText.from_mapping(row) is None


def test_row_and_record_agree():
    record = FGText("hand", "neck", "up", "scratch", "right", "confirmed", "repeated", "anna", 0.67)
    assert FGText.from_mapping(dataclasses.asdict(record)) == record


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_unknown_word(attribute):
    with pytest.raises(ValueError, match=f"FG-Text {attribute} 'knee' is not in the vocabulary; choose one of: "):
        FGText(**{attribute: "knee"})
    with pytest.raises(ValueError, match="'elbow' is not in the vocabulary"):
        FGText.from_mapping({attribute: "elbow"})


@pytest.mark.parametrize(
    ("attribute", "word", "meant"),
    [
        ("initiator", "Both hands", "both_hands"),
        ("receiver", "suprasternal-notch", "suprasternal_notch"),
        ("direction", "counterclockwise", "counter_clockwise"),
        ("motion_type", "scratches", "scratch"),
        ("motion_type", "not visible", "not_visible"),
    ],
)
def test_unknown_word_suggests_the_nearest(attribute, word, meant):
    with pytest.raises(ValueError, match=f"'{word}' is not in the vocabulary; did you mean '{meant}'"):
        FGText(**{attribute: word})


def test_empty_word_is_no_word():
    with pytest.raises(ValueError, match="FG-Text receiver '' is not in the vocabulary"):
        FGText(initiator="hand", receiver="")


def test_unknown_side():
    with pytest.raises(
        ValueError, match=r"FG-Text side 'both' must be 'left', 'right' or empty \(the subject's own side\)"
    ):
        FGText("hand", side="both")


def test_unknown_provenance():
    with pytest.raises(ValueError, match=f"FG-Text provenance 'guess' must be one of: {', '.join(PROVENANCES)}"):
        FGText("hand", provenance="guess")


def test_unknown_repetition():
    with pytest.raises(ValueError, match="FG-Text repetition 'twice' must be empty or one of: single, repeated, cont"):
        FGText("hand", repetition="twice")


@pytest.mark.parametrize("value", [-0.1, 1.01, float("nan"), "sure", True])
def test_confidence_out_of_range(value):
    with pytest.raises(ValueError, match=r"FG-Text confidence .* must be a number from 0 to 1, or empty"):
        FGText("hand", confidence=value)


def test_record_without_attributes():
    with pytest.raises(ValueError, match="needs at least one of its four attributes; leave the record out instead"):
        FGText(side="left")


# --- mirrored data sets --------------------------------------------------------------------------------------------

WITH_SIDE, PLAIN = FGText("hand", side="left"), FGText("hand", "face")


@pytest.mark.parametrize("mirrored", [True, False])
def test_sides_are_fine_where_mirroring_is_known(mirrored):
    check_sides([WITH_SIDE, None, PLAIN], mirrored)


def test_sides_are_refused_where_mirroring_is_unknown():
    check_sides([PLAIN, None], "unknown")
    with pytest.raises(
        ValueError, match=r"FG-Text record 2 names a side \('The left hand moves.'\) but .* find out, and set"
    ):
        check_sides([PLAIN, None, WITH_SIDE], "unknown")


@pytest.mark.parametrize("mirrored", [None, "yes", "true", ""])
def test_mirrored_is_one_of_three(mirrored):
    with pytest.raises(ValueError, match=r'mirrored is .*; a data set states true, false or "unknown"'):
        check_sides([], mirrored)
