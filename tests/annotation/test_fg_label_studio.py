import json
from xml.etree import ElementTree

import pytest
from fg_cases import item, key, words
from hypothesis import given, settings
from hypothesis import strategies as st

from microgesture.annotation import fg_label_studio as ls
from microgesture.annotation.answers import FIELDS, collect
from microgesture.data.fg_text import SPECIAL, VOCABULARY

SAID = {"initiator": "hand", "side": "left", "receiver": "neck", "direction": "up", "motion_type": "touch"}


def exported(*annotations, number="0001", **data):
    """One task as Label Studio exports it."""
    return {"id": 7, "data": {"video": "x", "item": number} | data, "annotations": list(annotations)}


def annotation(said=SAID, who=1, **fields):
    return {"completed_by": who, "was_cancelled": False, "result": ls.result(said)} | fields


def read(tmp_path, tasks, *items, indent=None):
    path = tmp_path / "project.json"
    path.write_text(tasks if isinstance(tasks, str) else json.dumps(tasks, indent=indent), encoding="utf-8")
    return collect(key(*items, tool="label-studio"), ls.read(path))


# --- the page and the tasks ----------------------------------------------------------------------------------------


def boxes(mirrored=False, show_label=False):
    page = ElementTree.fromstring(ls.page(mirrored, show_label))
    return {box.get("name"): box for box in page.iter("Choices")}


def test_page_asks_every_field_with_the_whole_vocabulary():
    found = boxes()
    assert tuple(found) == FIELDS
    for name, allowed in VOCABULARY.items():
        assert [choice.get("value") for choice in found[name]] == [*allowed, *SPECIAL]
        assert (found[name].get("choice"), found[name].get("required")) == ("single", "true")
    assert {box.get("toName") for box in found.values()} == {"video"}


def test_side_and_repetition_depend_on_other_answers():
    found = boxes()
    side, often = found["side"], found["repetition"]
    assert (side.get("whenTagName"), side.get("whenChoiceValue")) == ("initiator", "hand,fingers,arm,leg,foot")
    assert often.get("whenTagName") == "direction"
    assert set(often.get("whenChoiceValue").split(",")) == {*VOCABULARY["direction"], *SPECIAL} - {"static"}
    assert side.get("visibleWhen") == often.get("visibleWhen") == "choice-selected"
    assert not side.get("required")
    assert not often.get("required")


def test_no_words_for_sides_where_nobody_knows_whether_the_picture_is_mirrored():
    found = boxes(mirrored="unknown")
    assert "side" not in found
    directions = {choice.get("value") for choice in found["direction"]}
    assert directions.isdisjoint({"left", "right", "clockwise", "counter_clockwise"})
    assert {"up", "circular", "unclear"} <= directions


def test_the_class_is_on_the_page_only_when_asked_for():
    assert "$label" not in ls.page(False, show_label=False)
    assert "$label" in ls.page(False, show_label=True)
    assert "label" not in ls.tasks([item()], "out")[0]["data"]
    assert ls.tasks([item(shown_label="Neck")], "out")[0]["data"]["label"] == "Neck"


def test_blind_tasks_hold_a_number_and_a_video_with_its_rate_and_nothing_else():
    assert ls.tasks([item()], "näpe 1") == [
        {"data": {"video": "/data/local-files/?d=n%C3%A4pe%201/clips/c0001.mp4", "fps": 28.0, "item": "0001"}}
    ]


# --- reading -------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(said=st.lists(words(), min_size=1, max_size=4))
def test_round_trip(said, tmp_path_factory):
    items = [item(f"{n:04d}") for n in range(len(said))]
    tasks = [exported(annotation(answers), number=one.number) for one, answers in zip(items, said, strict=True)]
    records, states = read(tmp_path_factory.mktemp("ls"), tasks, *items)
    assert states["finished"] == len(said)
    again = [exported(annotation(ls_words(record)), number=one.number)
             for one, record in zip(items, records, strict=True)]  # fmt: skip
    assert sorted(map(repr, said_of(again))) == sorted(map(repr, said_of(tasks)))
    assert read(tmp_path_factory.mktemp("ls"), again, *items)[0] == records


def ls_words(record):
    levels = {1.0: "sure", 0.67: "fairly_sure", 0.33: "guess"}
    text = {name: getattr(record.text, name) for name in FIELDS if name != "confidence"}
    return {name: word for name, word in text.items() if word} | {"confidence": levels[record.text.confidence]}


def said_of(tasks):
    return [
        sorted((part["from_name"], *part["value"]["choices"]) for part in task["annotations"][0]["result"])
        for task in tasks
    ]


def test_two_coders_of_one_task(tmp_path):
    shared = item(coder=None)
    other = {"initiator": "fingers", "motion_type": "scratch", "confidence": "guess"}
    tasks = [exported(annotation(), annotation(other, who={"id": 9, "email": "ben@lab"}))]
    (anna, ben), states = read(tmp_path, tasks, shared)[0][::-1], read(tmp_path, tasks, shared)[1]
    assert (anna.text.coder, anna.text.side, anna.text.confidence) == ("user_1", "left", None)
    assert (ben.text.coder, ben.text.receiver, ben.text.confidence) == ("ben@lab", None, 0.33)
    assert anna.text.provenance == ben.text.provenance == "human"
    assert states == {"finished": 2, "unfinished": 0}


def test_the_coder_of_the_export_is_who_counts(tmp_path):
    assert read(tmp_path, [exported(annotation())])[0][0].text.coder == "anna"


def test_cancelled_and_unfinished_are_counted_and_left_out(tmp_path):
    items = [item(f"{n:04d}") for n in range(1, 6)]
    tasks = [
        exported(annotation(was_cancelled=True), number="0001"),
        exported(number="0002"),
        exported(annotation({}), number="0003"),
        exported(annotation(), number="0004"),  # 0005 is not in the file at all
    ]
    records, states = read(tmp_path, tasks, *items)
    assert [record.look for record in records] == [1]
    assert states == {"finished": 1, "cancelled": 1, "unfinished": 3}


def test_prefilled_and_accepted_unchanged(tmp_path):
    prefill = {"initiator": "hand", "receiver": "neck", "direction": "up", "motion_type": "touch"}
    items = [item(f"{n:04d}", prefill=prefill) for n in range(1, 4)]
    tasks = [
        exported(annotation(prefill), number="0001"),
        exported(annotation(prefill | {"side": "left", "repetition": "single", "confidence": "sure"}), number="0002"),
        exported(annotation(prefill | {"motion_type": "rub"}), number="0003"),
    ]
    records, _ = read(tmp_path, tasks, *items)
    assert [record.text.provenance for record in records] == ["confirmed", "confirmed", "human"]


def test_prefilled_word_that_was_taken_back(tmp_path):
    prefill = {"initiator": "hand", "motion_type": "touch", "side": "left"}
    records, _ = read(tmp_path, [exported(annotation({"initiator": "hand"}))], item(prefill=prefill))
    assert records[0].text.provenance == "human"


def test_side_whose_question_was_not_asked_is_no_change(tmp_path):
    prefill = {"initiator": "both_hands", "motion_type": "touch", "side": "left"}  # the page hides the side here
    shown = {"initiator": "both_hands", "motion_type": "touch"}
    assert read(tmp_path, [exported(annotation(shown))], item(prefill=prefill))[0][0].text.provenance == "confirmed"


def test_shown_label_and_second_look_are_recorded(tmp_path):
    records, _ = read(tmp_path, [exported(annotation())], item(shown_label="Neck", look=2))
    assert (records[0].label_shown, records[0].look) == (True, 2)


def test_further_questions_of_a_project_are_passed_over(tmp_path):
    extra = [*ls.result(SAID), {"from_name": "note", "type": "textarea", "value": {"text": ["dark"]}}]
    assert len(read(tmp_path, [exported(annotation(result=extra))])[0]) == 1


# --- what is refused -----------------------------------------------------------------------------------------------


def test_unknown_words_are_named_with_line_and_clip(tmp_path):
    items = [item("0001"), item("0002")]
    tasks = [
        exported(annotation({"initiator": "hnd"}), number="0001"),
        exported(annotation({"initiator": "hand", "side": "lefft", "confidence": "sur"}), number="0002"),
    ]
    with pytest.raises(ValueError, match="initiator") as error:
        read(tmp_path, tasks, *items, indent=1)
    first, second, third = str(error.value).split("\n")
    lines = (tmp_path / "project.json").read_text().split("\n")
    begins = [number for number, line in enumerate(lines, start=1) if line == " {"]
    assert first.startswith(f"project.json line {begins[0]}, clip 0001: FG-Text initiator 'hnd'")
    assert "did you mean 'hand'?" in first
    assert second.startswith(f"project.json line {begins[1]}, clip 0002: FG-Text side 'lefft' is not one of its words")
    assert "did you mean 'sure'?" in third


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a list of tasks; in Label Studio choose Export and the format JSON"),
        ('{"a": 1}', "is not a list of tasks"),
        ('[{"video": "x", "item": "0001", "initiator": "hand"}]', r"line 1: .* the format JSON \(not JSON-MIN\)"),
        ("[\n{,", "line 2: this is not JSON"),
        ('[{"data": {"item": "0001"}, "annotations": []}', "breaks off after line 1; export again"),
        ('[{"data": {"video": "x"}, "annotations": []}]', "the task has no `item`; is this the export of another pro"),
        ('[{"data": {"item": "0001"}, "annotations": [3]}]', "clip 0001: the annotation is not as Label Studio"),
        ("[" * 100_000, "this is not JSON"),
    ],
)  # fmt: skip
def test_files_that_are_no_export(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize("choices", [["hand", "leg"], [], [3], "hand"])
def test_answers_that_are_not_one_word(tmp_path, choices):
    bad = [{"from_name": "initiator", "type": "choices", "value": {"choices": choices}}]
    with pytest.raises(ValueError, match="the annotation is not as Label Studio writes one"):
        read(tmp_path, [exported(annotation(result=bad))])


def test_the_same_clip_twice_by_one_coder(tmp_path):
    with pytest.raises(ValueError, match=r"coder 'anna' has answered this clip already \(.*line 1.*keep one"):
        read(tmp_path, [exported(annotation(), annotation(who=2))])


def test_number_of_another_export(tmp_path):
    with pytest.raises(ValueError, match="clip 0999: this export has no clip of that number"):
        read(tmp_path, [exported(annotation(), number="0999")])


def test_nobody_knows_the_coder(tmp_path):
    with pytest.raises(ValueError, match="does not say who the coder is; export with --coders"):
        read(tmp_path, [exported(annotation(who=None))], item(coder=None))


def test_sides_where_mirroring_is_unknown(tmp_path):
    path = tmp_path / "project.json"
    path.write_text(json.dumps([exported(annotation())]))
    with pytest.raises(ValueError, match="clip 0001: FG-Text record 0 names a side"):
        collect(key(item(), mirrored="unknown"), ls.read(path))
