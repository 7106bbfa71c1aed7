"""FG-Text in Label Studio: the labelling page, the clips as tasks, and what Label Studio exports (format JSON)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from microgesture.annotation.answers import CANCELLED, FIELDS, UNFINISHED, Answer, choices
from microgesture.annotation.key import Item
from microgesture.data.fg_text import ATTRIBUTES, QUESTIONS, SIDED

VIDEO = "video"
PAGE_FILE = "labeling.xml"
MEDIA_URL = "/data/local-files/?d="
"""Where Label Studio serves files that lie beside it, below its document root."""
REQUIRED = (*ATTRIBUTES, "confidence")


def page(mirrored: bool | str, show_label: bool) -> str:
    """The labelling page: a video and one single choice per field.

    The side is asked where one hand, arm or leg moves, and how often only of a movement that does not stand still.

    Args:
        mirrored: As in labels.json; with `"unknown"` there are no words for left and right.
        show_label: Whether the coder is told the class.

    Returns:
        Label Studio's labelling configuration (XML).
    """
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Video", name=VIDEO, value=f"${VIDEO}", frameRate="$fps")
    if show_label:
        ElementTree.SubElement(view, "Header", value="$label")
    asked = choices(mirrored)
    still = [word for word in asked["direction"] if word != "static"]
    conditions = {"side": ("initiator", SIDED), "repetition": ("direction", still)}
    for name, words in asked.items():
        when: dict[str, str] = {}
        if name in conditions:
            other, values = conditions[name]
            when = {"visibleWhen": "choice-selected", "whenTagName": other, "whenChoiceValue": ",".join(values)}
        part = ElementTree.SubElement(view, "View", when)
        ElementTree.SubElement(part, "Header", value=QUESTIONS[name], size="5")
        # The condition stands here as well: answers to a question that is hidden again are then not handed in.
        about = {"name": name, "toName": VIDEO, "choice": "single", "showInline": "true"} | when
        if name in REQUIRED:
            about |= {"required": "true", "requiredMessage": f"Please answer: {QUESTIONS[name]}"}
        box = ElementTree.SubElement(part, "Choices", about)
        for word, meaning in words.items():
            ElementTree.SubElement(box, "Choice", {"value": word} | ({"hint": meaning} if meaning else {}))
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def tasks(items: Sequence[Item], folder: str) -> list[dict[str, Any]]:
    """Label Studio's tasks, one per item, in order; prefilled items come with a prediction.

    Args:
        items: What to code.
        folder: Name of the folder of the export, which lies in Label Studio's document root.
    """
    made: list[dict[str, Any]] = []
    for item in items:
        data = {VIDEO: MEDIA_URL + quote(f"{folder}/{item.media}"), "fps": item.fps, "item": item.number}
        if item.shown_label is not None:
            data["label"] = item.shown_label
        task: dict[str, Any] = {"data": data}
        if item.prefill:
            task["predictions"] = [{"model_version": "prefill", "result": result(item.prefill)}]
        made.append(task)
    return made


def result(words: dict[str, str]) -> list[dict[str, Any]]:
    """Answers as Label Studio writes them."""
    return [
        {"from_name": name, "to_name": VIDEO, "type": "choices", "value": {"choices": [word]}}
        for name, word in words.items()
    ]


def read(path: Path) -> Iterator[Answer]:
    """Reads a file that Label Studio exported as JSON.

    Args:
        path: The file.

    Yields:
        One answer per annotation, and one unfinished answer per task without any.

    Raises:
        ValueError: It is not such a file; the line is named.
    """
    for line, task in _tasks(path):
        where = f"{path.name} line {line}"
        data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(data, dict) or not isinstance(task.get("annotations"), list):
            raise ValueError(
                f"{where}: this is not a task with its annotations; in Label Studio choose Export and the format JSON "
                "(not JSON-MIN)"
            )
        number = data.get("item")
        if not isinstance(number, str):
            raise ValueError(f"{where}: the task has no `item`; is this the export of another project?")
        if not task["annotations"]:
            yield Answer(number, path.name, line, None, {}, state=UNFINISHED)
        for annotation in task["annotations"]:
            yield _answer(number, path.name, line, annotation)


def _answer(number: str, file: str, line: int, annotation: Any) -> Answer:
    try:
        coder = _coder(annotation.get("completed_by"))
        if annotation.get("was_cancelled"):
            return Answer(number, file, line, coder, {}, state=CANCELLED)
        words: dict[str, str] = {}
        for part in annotation["result"]:
            name = part.get("from_name")
            if name in FIELDS:  # a project may ask more than we do
                (word,) = part["value"]["choices"]
                if name in words or not isinstance(word, str):
                    raise ValueError(f"{name} is answered twice")
                words[name] = word
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file} line {line}, clip {number}: the annotation is not as Label Studio writes one for this project "
            f"({error!r}); export again, as JSON"
        ) from error
    return Answer(number, file, line, coder, words)


def _coder(who: Any) -> str | None:
    """Label Studio names people by number, or by e-mail when it is asked to."""
    if isinstance(who, dict):
        return who.get("email") or _coder(who.get("id"))
    return None if who is None else f"user_{who}"


def _tasks(path: Path) -> Iterator[tuple[int, Any]]:
    """Yields the tasks of an exported file with the lines where they begin."""
    text = path.read_text(encoding="utf-8-sig")
    decoder = json.JSONDecoder()
    place = _skip(text, 0)
    line, counted = 1, 0
    if text[place : place + 1] != "[":
        raise ValueError(f"{path} is not a list of tasks; in Label Studio choose Export and the format JSON")
    place = _skip(text, place + 1)
    while text[place : place + 1] != "]":
        line, counted = line + text.count("\n", counted, place), place
        try:
            task, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} line {line}: this is not JSON ({error}); export again") from error
        yield line, task
        place = _skip(text, place)
        if text[place : place + 1] == ",":
            place = _skip(text, place + 1)
        elif text[place : place + 1] != "]":
            raise ValueError(f"{path} breaks off after line {line}; export again")


def _skip(text: str, place: int) -> int:
    while text[place : place + 1].isspace():
        place += 1
    return place
