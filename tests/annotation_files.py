"""Annotation files of the kinds that people have, written for the tests of their readers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

Aligned = tuple[str, int | None, int | None, str]  # id, begin, end in ms, value
Hanging = tuple[str, str, str | None, str]  # id, id of the parent, id of the one before, value


def tier(
    name: str,
    aligned: Sequence[Aligned] = (),
    hanging: Sequence[Hanging] = (),
    type_: str = "gesture",
    parent: str | None = None,
    participant: str = "",
    annotator: str = "",
) -> dict[str, Any]:
    """One tier for `write_eaf`; neighbours without a time share the slot between them."""
    return dict(locals())


def write_eaf(
    path: Path, *tiers: dict[str, Any], media: Sequence[str | tuple[str, str, int]] = ("a.mp4",), head: str = ""
) -> Path:
    """Writes an ELAN 3.0 file; `media` are names, or (MEDIA_URL, MIME type, TIME_ORIGIN)."""
    slots: list[int | None] = []
    bodies = []
    for t in tiers:
        lines = []
        before = None  # number of the slot that the last annotation ended with, where it has no time
        for id_, begin, end, value in t["aligned"]:
            if begin is None and before is not None:
                first = before
            else:
                slots.append(begin)
                first = len(slots)
            slots.append(end)
            last = len(slots)
            before = last if end is None else None
            lines.append(
                f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{id_}" TIME_SLOT_REF1="ts{first}" '
                f'TIME_SLOT_REF2="ts{last}"><ANNOTATION_VALUE>{escape(value)}</ANNOTATION_VALUE>'
                "</ALIGNABLE_ANNOTATION></ANNOTATION>"
            )
        for id_, parent, previous, value in t["hanging"]:
            link = f' PREVIOUS_ANNOTATION="{previous}"' if previous else ""
            lines.append(
                f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{id_}" ANNOTATION_REF="{parent}"{link}>'
                f"<ANNOTATION_VALUE>{escape(value)}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
            )
        words = {"TIER_ID": t["name"], "LINGUISTIC_TYPE_REF": t["type_"], "PARENT_REF": t["parent"]}
        words |= {"PARTICIPANT": t["participant"], "ANNOTATOR": t["annotator"]}
        attributes = " ".join(f"{key}={quoteattr(value)}" for key, value in words.items() if value)
        bodies.append(f"<TIER {attributes}>{''.join(lines)}</TIER>")
    links = ""
    for item in media:
        url, mime, origin = (item, "video/mp4", 0) if isinstance(item, str) else item
        zero = f' TIME_ORIGIN="{origin}"' if origin else ""
        links += f"<MEDIA_DESCRIPTOR MEDIA_URL={quoteattr(url)} MIME_TYPE={quoteattr(mime)}{zero}/>"
    order = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="ts{k}"' + ("/>" if v is None else f' TIME_VALUE="{v}"/>')
        for k, v in enumerate(slots, start=1)
    )
    path.write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>\n{head}<ANNOTATION_DOCUMENT AUTHOR="" FORMAT="3.0" VERSION="3.0">'
        f'<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">{links}</HEADER><TIME_ORDER>{order}</TIME_ORDER>'
        f"{''.join(bodies)}</ANNOTATION_DOCUMENT>",
        encoding="utf-8",
    )
    return path


def observation(events: list[list[Any]], *files: str, lengths: Sequence[float] = (), **more: Any) -> dict[str, Any]:
    """One observation of a BORIS project; `more` adds or replaces fields."""
    data = {"file": {"1": list(files), "2": []}, "type": "MEDIA", "time offset": 0.0, "events": events}
    data["media_info"] = {"length": dict(zip(files, lengths, strict=False)), "offset": {"1": 0.0, "2": 0.0}}
    return data | more


def write_boris(path: Path, observations: dict[str, Any], behaviours: dict[str, Any] | None = None) -> Path:
    """Writes a BORIS project; the default ethogram has the states nod and rub and the point blink."""
    if behaviours is None:
        behaviours = {"nod": "State event", "rub": "State event", "blink": "Point event"}
    ethogram = {
        str(k): {"code": code, "key": code[0], "modifiers": {}}
        | (about if isinstance(about, dict) else {"type": about})
        for k, (code, about) in enumerate(behaviours.items())
    }
    project = {"project_format_version": "7.0", "behaviors_conf": ethogram, "observations": observations}
    path.write_text(json.dumps(project), encoding="utf-8")
    return path


def task(number: int, video: str, *annotations: dict[str, Any], **data: Any) -> dict[str, Any]:
    """One task of a Label Studio export."""
    return {"id": number, "data": {"video": video} | data, "annotations": list(annotations)}


def annotation(*results: dict[str, Any], by: Any = 1, cancelled: bool = False) -> dict[str, Any]:
    """One coder's work on a task."""
    return {"completed_by": by, "was_cancelled": cancelled, "result": list(results)}


def region(label: str, start: int, end: int, id_: str = "r") -> dict[str, Any]:
    """A region of the timeline, in frames from 1 with both ends in it."""
    value = {"ranges": [{"start": start, "end": end}], "timelinelabels": [label]}
    return {"id": id_, "type": "timelinelabels", "from_name": "gesture", "to_name": "video", "value": value}


def choice(name: str, word: str, id_: str = "r") -> dict[str, Any]:
    """A choice, of the region with this id."""
    return {"id": id_, "type": "choices", "from_name": name, "to_name": "video", "value": {"choices": [word]}}
