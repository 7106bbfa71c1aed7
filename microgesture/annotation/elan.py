"""ELAN files (`.eaf`): annotations on tiers, aligned with time or hanging on others, and the media they are about.

The XML is read as a stream by the standard library's expat. A document type declaration is refused, and with it every
entity, so that a small file can neither grow nor open another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from microgesture.annotation.readers import (
    MAX_BYTES,
    Annotation,
    Problems,
    Reading,
    VideoFinder,
    one_form,
    record,
    span_problem,
)
from microgesture.data.fg_text import ATTRIBUTES


@dataclass
class ElanAnnotation:
    """One annotation.

    Args:
        id: ANNOTATION_ID, unique in the file.
        value: What the coder wrote.
        start: Begin in milliseconds of the document's time; `None` where the file does not tell.
        end: End in milliseconds.
        parent: Id of the annotation that it hangs on (REF_ANNOTATION), else `None`.
        previous: Id of the one before it, where several hang on one parent.
    """

    id: str
    value: str = ""
    start: float | None = None
    end: float | None = None
    parent: str | None = None
    previous: str | None = None


@dataclass
class ElanTier:
    """One tier.

    Args:
        name: TIER_ID; what stands before an `@` says what is annotated, what follows it who.
        type: LINGUISTIC_TYPE_REF.
        parent: Name of the parent tier, `None` for a tier of its own.
        participant: Who is annotated.
        annotator: Who annotated.
        annotations: In the order of the file.
    """

    name: str
    type: str = ""
    parent: str | None = None
    participant: str = ""
    annotator: str = ""
    annotations: list[ElanAnnotation] = field(default_factory=list)

    @property
    def topic(self) -> str:
        """The name without the participant: `gesture` of `gesture@anna`."""
        return self.name.split("@")[0].strip()

    @property
    def subject(self) -> str | None:
        """Who is annotated, where the tier says it."""
        return self.participant.strip() or (self.name.split("@", 1)[1].strip() if "@" in self.name else "") or None


@dataclass(frozen=True)
class ElanMedia:
    """A linked media file: the names it has, and the moment in it (ms) at which the document's time begins."""

    names: tuple[str, ...]
    mime_type: str
    origin: int


@dataclass
class Eaf:
    """The content of an `.eaf` file: media and tiers, every annotation with its time."""

    media: list[ElanMedia] = field(default_factory=list)
    tiers: dict[str, ElanTier] = field(default_factory=dict)


def read_eaf(path: Path) -> Eaf:
    """Reads an `.eaf` file of any version from 2.0 on.

    Times that ELAN left open are filled in as ELAN shows them: evenly between their aligned neighbours on the tier,
    and an annotation that hangs on another has the other's time, or its share of it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no ELAN file, too large, declares entities, or counts time in frames.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; check the spelling and the folder")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} is larger than {MAX_BYTES >> 20} MiB; is it an ELAN file?")
    content = _Content()
    try:
        with path.open("rb") as file:
            content.parser.ParseFile(file)
    except (expat.ExpatError, LookupError, KeyError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as an ELAN file ({error}); save it again in ELAN") from error
    if not content.is_elan:
        raise ValueError(f"{path} is no ELAN file: it does not begin with ANNOTATION_DOCUMENT")
    for tier in content.eaf.tiers.values():
        _fill_open_times(tier, content.slots_of)
    _fill_hanging(content.eaf.tiers)
    return content.eaf


class _Content:
    """What the parser has met so far."""

    def __init__(self) -> None:
        self.eaf = Eaf()
        self.is_elan = False
        self.slots: dict[str, int | None] = {}
        self.slots_of: dict[str, tuple[str, str]] = {}  # of each aligned annotation
        self._tier = ElanTier("")
        self._annotation = ElanAnnotation("")
        self._text: list[str] | None = None
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def _refuse(self, *_: object) -> None:
        raise ValueError("it declares a document type, which ELAN never does and which may be an attack")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "ANNOTATION_DOCUMENT":
            self.is_elan = True
        elif name == "HEADER" and attributes.get("TIME_UNITS", "milliseconds") != "milliseconds":
            raise ValueError(f"it counts time in {attributes['TIME_UNITS']}, not in milliseconds")
        elif name == "MEDIA_DESCRIPTOR":
            names = (attributes.get("RELATIVE_MEDIA_URL"), attributes.get("MEDIA_URL"))
            origin = int(attributes.get("TIME_ORIGIN") or 0)
            self.eaf.media.append(ElanMedia(tuple(n for n in names if n), attributes.get("MIME_TYPE", ""), origin))
        elif name == "TIME_SLOT":
            value = attributes.get("TIME_VALUE")
            self.slots[attributes["TIME_SLOT_ID"]] = None if value is None else int(value)
        elif name == "TIER":
            self._tier = ElanTier(
                attributes["TIER_ID"],
                attributes.get("LINGUISTIC_TYPE_REF", ""),
                attributes.get("PARENT_REF"),
                attributes.get("PARTICIPANT", ""),
                attributes.get("ANNOTATOR", ""),
            )
            self.eaf.tiers[self._tier.name] = self._tier
        elif name in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION"):
            self._annotation = ElanAnnotation(
                attributes["ANNOTATION_ID"],
                parent=attributes.get("ANNOTATION_REF"),
                previous=attributes.get("PREVIOUS_ANNOTATION"),
            )
            if name == "ALIGNABLE_ANNOTATION":
                first, last = attributes["TIME_SLOT_REF1"], attributes["TIME_SLOT_REF2"]
                self._annotation.start, self._annotation.end = self.slots[first], self.slots[last]
                self.slots_of[self._annotation.id] = (first, last)
            self._tier.annotations.append(self._annotation)
        elif name == "ANNOTATION_VALUE":
            self._text = []

    def _end(self, name: str) -> None:
        if name == "ANNOTATION_VALUE" and self._text is not None:
            self._annotation.value = "".join(self._text)
            self._text = None

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)


def _fill_open_times(tier: ElanTier, slots: dict[str, tuple[str, str]]) -> None:
    """Gives the borders that nobody aligned even places between the aligned ones around them."""
    after = {slots[a.id][0]: a for a in tier.annotations if a.id in slots}
    for first in tier.annotations:
        if first.start is None or first.end is not None or first.id not in slots:
            continue
        chain = [first]
        while chain[-1].end is None and slots[chain[-1].id][1] in after and len(chain) <= len(after):
            chain.append(after[slots[chain[-1].id][1]])
        begin, end = first.start, chain[-1].end
        if end is None:
            continue
        for place, annotation in enumerate(chain):
            annotation.start = begin + (end - begin) * place / len(chain)
            annotation.end = begin + (end - begin) * (place + 1) / len(chain)


def _fill_hanging(tiers: dict[str, ElanTier]) -> None:
    """Gives annotations that hang on others their time: tiers nearest to an aligned one first."""
    known = {a.id: a for tier in tiers.values() for a in tier.annotations}
    for tier in sorted(tiers.values(), key=lambda t: _depth(t, tiers)):
        families: dict[str, list[ElanAnnotation]] = {}
        for annotation in tier.annotations:
            if annotation.parent is not None:
                families.setdefault(annotation.parent, []).append(annotation)
        for parent_id, children in families.items():
            parent = known.get(parent_id)
            if parent is None or parent.start is None or parent.end is None:
                continue
            length = (parent.end - parent.start) / len(children)
            for place, child in enumerate(_in_order(children)):
                child.start = parent.start + place * length
                child.end = parent.end if place == len(children) - 1 else parent.start + (place + 1) * length


def _depth(tier: ElanTier, tiers: dict[str, ElanTier]) -> int:
    depth = 0
    while tier.parent in tiers and depth <= len(tiers):  # a circle of parents ends as well
        tier, depth = tiers[tier.parent], depth + 1
    return depth


def _in_order(children: list[ElanAnnotation]) -> list[ElanAnnotation]:
    """Annotations on one parent as they follow each other; in the file's order where they do not say."""
    follower = {child.previous: child for child in children if child.previous is not None}
    ordered = [child for child in children if child.previous is None]
    while ordered and ordered[-1].id in follower and len(ordered) < len(children):
        ordered.append(follower[ordered[-1].id])
    return ordered if len(ordered) == len(children) else children


# --- clips -----------------------------------------------------------------------------------------------------------


def read_elan(path: Path, finder: VideoFinder, tiers: Sequence[str] = (), coder: str | None = None) -> Reading:
    """Reads the annotations of an ELAN file as labelled spans of its video.

    Args:
        path: The `.eaf` file.
        finder: Finds the linked video.
        tiers: The tiers whose annotations are classes, by tier name, by what stands before its `@`, or by tier type;
            default: the tiers without a parent, if they are all of one type.
        coder: Only tiers of this annotator, where several are named.

    Returns:
        One annotation per annotation of these tiers; the subject is the tier's participant. Child tiers called
        `initiator`, `receiver`, `direction`, `motion_type` or `side` are its FG-Text.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no ELAN file, does not say which tiers hold classes, or annotations cannot be read.
    """
    eaf = read_eaf(path)
    reading, problems = Reading(), Problems()
    wanted = _label_tiers(path, eaf, tiers, coder)
    video, origin = _video(path, eaf, finder, reading)
    empty = 0
    for tier in wanted:
        texts = words_below(eaf, tier)
        for annotation in tier.annotations:
            where = f"{path.name}, tier {tier.name}, annotation {annotation.id}"
            if not annotation.value.strip():
                empty += 1
                continue
            try:
                span = span_of(annotation, origin)
                words = record(texts.get(annotation.id, {}))
            except ValueError as error:
                problems.add(where, error)
                continue
            label = one_form(annotation.value).strip()
            reading.annotations.append(Annotation(video, label, where, tier.subject, *span, words))
    problems.check()
    if empty:
        reading.notes.append(f"{path.name}: {empty} annotations without a text were left out")
    return reading


def _label_tiers(path: Path, eaf: Eaf, names: Sequence[str], coder: str | None) -> list[ElanTier]:
    used = [tier for tier in eaf.tiers.values() if tier.annotations]
    listed = ", ".join(f"{tier.name} ({len(tier.annotations)})" for tier in used) or "none"
    if names:
        found = [tier for tier in used if {tier.name, tier.topic, tier.type} & set(names)]
        if not found:
            raise ValueError(f"{path} has no annotations on a tier {' or '.join(names)}; it has: {listed}")
    else:
        found = [tier for tier in used if tier.parent is None and tier.topic.lower() not in (*ATTRIBUTES, "side")]
        if len({tier.type for tier in found}) != 1:
            raise ValueError(
                f"{path} does not tell which tiers hold the classes; name them with --tier. It has: {listed}"
            )
    coders = {tier.annotator for tier in found if tier.annotator}
    if coder is not None:
        found = [tier for tier in found if tier.annotator == coder]
        if not found:
            raise ValueError(
                f"{path} has no tier of the coder {coder!r}; it has: {', '.join(sorted(coders)) or 'none'}"
            )
    elif len(coders) > 1:
        raise ValueError(
            f"{path} holds the work of several coders ({', '.join(sorted(coders))}), and a clip needs one label; "
            "choose one with --coder"
        )
    return found


def _video(path: Path, eaf: Eaf, finder: VideoFinder, reading: Reading) -> tuple[Path, int]:
    """The first linked video, and its origin."""
    videos = videos_of(eaf)
    if not videos:
        raise ValueError(f"{path} links no video; open it in ELAN and link one (Edit, Linked files)")
    if len(videos) > 1:
        reading.notes.append(f"{path.name}: of {len(videos)} linked videos the first is used, {videos[0].names[-1]}")
    error: ValueError | None = None
    for name in videos[0].names:
        try:
            return finder.find(name, path.parent), videos[0].origin
        except ValueError as failure:
            error = failure
    raise ValueError(f"{path}: {error}")


def videos_of(eaf: Eaf) -> list[ElanMedia]:
    """The linked media that are not sound alone."""
    return [
        m
        for m in eaf.media
        if m.names and not m.mime_type.startswith("audio/") and not m.names[0].lower().endswith(".wav")
    ]


def span_of(annotation: ElanAnnotation, origin: int) -> tuple[float, float]:
    """Start and end of an annotation in seconds of the video.

    Raises:
        ValueError: It has no time, or none that can be.
    """
    if annotation.start is None or annotation.end is None:
        raise ValueError("it has no time; align it in ELAN, or delete it")
    start, end = (annotation.start + origin) / 1000, (annotation.end + origin) / 1000
    problem = span_problem(start, end)
    if problem:
        raise ValueError(problem)
    return start, end


def words_below(eaf: Eaf, tier: ElanTier) -> dict[str, dict[str, str]]:
    """FG-Text words by the annotation they hang on."""
    words: dict[str, dict[str, str]] = {}
    for child, name in _attribute_tiers(eaf, tier):
        for annotation in child.annotations:
            if annotation.parent is not None and annotation.value.strip():
                words.setdefault(annotation.parent, {})[name] = annotation.value
    return words


def _attribute_tiers(eaf: Eaf, tier: ElanTier) -> Iterator[tuple[ElanTier, str]]:
    for child in eaf.tiers.values():
        name = next((n for n in (child.topic.lower(), child.type.lower()) if n in (*ATTRIBUTES, "side")), None)
        if child.parent == tier.name and name is not None:
            yield child, name
