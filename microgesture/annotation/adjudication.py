"""Records of several coders -> one record per clip, by majority; the clips without one go back to the coders.

OUT.jsonl           one record per clip that is decided, for `annotate apply`
OUT_votes.jsonl     one line per clip, decided or not: {"split", "file_name", "start", "end", "subject", "outcome",
                    "open": [fields], "votes": {field: {word: [coders]}}, "records": [what each coder wrote],
                    "replaced": [what they wrote in an earlier round]}
OUT_ties/           the export of the clips that go back
"""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from microgesture.annotation.agreement import clip_name
from microgesture.annotation.export import CODER_NAME, Source, export, sources
from microgesture.annotation.key import Key
from microgesture.annotation.media import VideoReader
from microgesture.annotation.records import Clip, CodedClip, refuse, write_records
from microgesture.data.clips import write_text
from microgesture.data.fg_text import ATTRIBUTES, SIDED, FGText

UNANIMOUS, MAJORITY, ALONE, TIE = "unanimous", "by majority", "by one coder only", "back to coders"
VOTERS = ("human", "confirmed")
VOTED = (*ATTRIBUTES, "side")
"""What has to be decided; how often a movement repeats is left empty where coders do not agree."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of one clip.

    Args:
        clip: Which clip.
        outcome: `UNANIMOUS`, `MAJORITY`, `ALONE` or `TIE`.
        record: The record, `None` where the clip goes back to the coders.
        open: The fields that no majority decides.
        votes: Field → word → coders.
        records: What counted: the last that each coder wrote about the clip.
        replaced: What they wrote in earlier rounds.
    """

    clip: Clip
    outcome: str
    record: CodedClip | None
    open: tuple[str, ...]
    votes: dict[str, dict[str, list[str]]]
    records: tuple[CodedClip, ...]
    replaced: tuple[CodedClip, ...]

    def row(self) -> dict[str, Any]:
        """The line of the table of votes."""
        about = set(asdict(self.clip))
        said = [[{k: v for k, v in one.row().items() if k not in about} for one in many]
                for many in (self.records, self.replaced)]  # fmt: skip
        return asdict(self.clip) | {"outcome": self.outcome, "open": list(self.open), "votes": self.votes,
                                    "records": said[0], "replaced": said[1]}  # fmt: skip


def adjudicate(rounds: Sequence[Sequence[CodedClip]]) -> tuple[list[Verdict], Counter[str]]:
    """Merges the records of all coders, clip by clip and field by field.

    A word is decided when more than half of the coders who answered the field gave it; `not_visible` and `unclear` are
    words like others. The side is decided by those who named the moving part that was decided. A clip of which an
    attribute or the side is not decided goes back as a whole. A record that one coder alone wrote stays as it is.

    Args:
        rounds: The tables in the order in which they were made: what a coder wrote in a later one replaces what they
            wrote about the same clip before.

    Returns:
        One verdict per clip, in the order of the data set's names, and how many records had no vote: `second looks`,
        and by provenance those that a model proposed or that come from the class.

    Raises:
        ValueError: A coder is not named or wrote twice about one clip in one round, or nothing has a vote.
    """
    last: dict[tuple, dict[str, CodedClip]] = defaultdict(dict)
    replaced: dict[tuple, list[CodedClip]] = defaultdict(list)
    without: Counter[str] = Counter()
    for table in rounds:
        for key, coders in _voters(table, without).items():
            replaced[key] += [last[key][coder] for coder in coders if coder in last[key]]
            last[key] |= coders
    if not last:
        raise ValueError("no record of a coder is in these tables, so there is nothing to decide")
    order = sorted(last, key=lambda key: (key[0], key[1], key[2] or 0.0, key[3] or 0.0))
    return [
        _verdict(tuple(last[key][name] for name in sorted(last[key])), tuple(replaced[key])) for key in order
    ], without


def _voters(table: Sequence[CodedClip], without: Counter[str]) -> dict[tuple, dict[str, CodedClip]]:
    """The records of one round that have a vote, by clip and coder; the others are counted."""
    found: dict[tuple, dict[str, CodedClip]] = defaultdict(dict)
    problems = []
    for record in table:
        coder = record.text.coder
        if record.text.provenance not in VOTERS:
            without[record.text.provenance] += 1
        elif record.look != 1:
            without["second looks"] += 1
        elif not coder:
            problems.append(f"{clip_name(record)}: a record without a coder; a vote needs one")
        elif found[record.clip.key].setdefault(coder, record) is not record:
            problems.append(
                f"{clip_name(record)}: coder {coder!r} wrote about this clip twice in one table; keep one of the two, "
                "or give the rounds as tables of their own, in their order"
            )
    refuse(problems)
    return found


def _verdict(records: tuple[CodedClip, ...], replaced: tuple[CodedClip, ...]) -> Verdict:
    clip = records[0].clip
    strangers = {record.clip.subject for record in (*records, *replaced)} - {clip.subject}
    if strangers:
        raise ValueError(
            f"{clip_name(records[0])} shows {clip.subject!r} in one record and {sorted(strangers)[0]!r} in another; "
            "these records are of different data sets"
        )
    votes = {name: _votes(records, name) for name in (*ATTRIBUTES, "repetition")}
    decided = {name: _majority(said) for name, said in votes.items()}
    same_part = [record for record in records if record.text.initiator == decided["initiator"]]
    votes["side"] = _votes(same_part, "side") if decided["initiator"] in SIDED else {}
    decided["side"] = _majority(votes["side"])
    open_fields = tuple(name for name in VOTED if votes[name] and decided[name] is None)
    votes = {name: votes[name] for name in (*VOTED, "repetition") if votes[name]}
    if len(records) == 1:
        return Verdict(clip, ALONE, records[0], (), votes, records, replaced)
    if open_fields:
        return Verdict(clip, TIE, None, open_fields, votes, records, replaced)
    agreed = all(getattr(record.text, name) == decided[name] for record in records for name in VOTED)
    merged = _merged(clip, records, decided)
    return Verdict(clip, UNANIMOUS if agreed else MAJORITY, merged, (), votes, records, replaced)


def _votes(records: Sequence[CodedClip], name: str) -> dict[str, list[str]]:
    said: dict[str, list[str]] = defaultdict(list)
    for record in records:
        word = getattr(record.text, name)
        if word is not None:
            said[word].append(str(record.text.coder))
    return dict(sorted(said.items(), key=lambda entry: (-len(entry[1]), entry[0])))


def _majority(said: Mapping[str, Sequence[str]]) -> str | None:
    """The word of more than half of those who answered."""
    total = sum(len(coders) for coders in said.values())
    return next((word for word, coders in said.items() if 2 * len(coders) > total), None)


def _merged(clip: Clip, records: Sequence[CodedClip], decided: Mapping[str, str | None]) -> CodedClip:
    """The record of all: nobody's words were a coder's own where all accepted what was filled in beforehand."""
    own = any(record.text.provenance == "human" for record in records)
    coders = ", ".join(str(record.text.coder) for record in records)
    text = FGText(**decided, coder=coders, provenance="human" if own else "confirmed")  # type: ignore[arg-type]
    return CodedClip(clip, text, 1, any(record.label_shown for record in records))


@dataclass(frozen=True)
class Places:
    """Where adjudication writes: the records, the votes, and the clips that go back."""

    records: Path
    votes: Path
    ties: Path

    @classmethod
    def beside(cls, out: Path, ties: Path | None = None) -> Places:
        """The places that go with a table.

        Raises:
            FileExistsError: One of them holds something already.
        """
        places = cls(out, out.with_name(f"{out.stem}_votes.jsonl"), ties or out.with_name(f"{out.stem}_ties"))
        for path in (places.records, places.votes, places.ties):
            if path.exists():
                raise FileExistsError(f"{path} is there already, and nothing is overwritten; choose another --out")
        return places


def write(
    places: Places,
    folder: Path,
    verdicts: Sequence[Verdict],
    reader: VideoReader,
    *,
    tool: str = "label-studio",
    coders: Sequence[str] = (),
    seed: int = 0,
    progress: bool = True,
) -> Key | None:
    """Writes what is decided and exports what is not, all of it or nothing. The table of records comes last.

    Args:
        places: Where to.
        folder: The data set.
        verdicts: What `adjudicate` found.
        reader: The module `video_fgsgl`.
        tool: For which tool the clips that go back are exported, `label-studio` or `elan`.
        coders: Who gets them; none: those who wrote about them.
        seed: Of their order.
        progress: Whether a progress bar is shown.

    Returns:
        The key of that export, `None` where everything is decided.

    Raises:
        ValueError: A clip is not in the data set, or as for `export`.
        OSError: A file cannot be written.
    """
    ties = _sources_of(folder, verdicts)
    names = coders or _coders([one for one in verdicts if one.record is None], tool)
    places.records.parent.mkdir(parents=True, exist_ok=True)
    key = None
    if ties:
        key = export(folder, places.ties, reader, clips=ties, tool=tool, coders=names, seed=seed, progress=progress)
    try:
        write_text(places.votes, "".join(json.dumps(one.row(), ensure_ascii=False) + "\n" for one in verdicts))
        write_records(places.records, [one.record for one in verdicts if one.record is not None])
    except BaseException:  # also when interrupted by the keyboard
        places.votes.unlink(missing_ok=True)
        if key is not None:
            shutil.rmtree(places.ties, ignore_errors=True)
        raise
    return key


def _sources_of(folder: Path, verdicts: Sequence[Verdict]) -> list[Source]:
    """The clips that go back; refuses records of another data set before anything is written."""
    known = {source.clip.key: source for source in sources(folder)}
    problems, found = [], []
    for one in verdicts:
        source = known.get(one.clip.key)
        if source is None or source.clip.subject != one.clip.subject:
            problems.append(
                f"{clip_name(one.records[0])} of {one.clip.subject!r} is not in {folder}; these records are of "
                "another data set"
            )
        elif one.record is None:
            found.append(source)
    refuse(problems)
    return found


def _coders(ties: Sequence[Verdict], tool: str) -> tuple[str, ...]:
    """Those who wrote about the clips. Label Studio may have named them by e-mail: then it will do so again."""
    names = sorted({str(record.text.coder) for one in ties for record in one.records})
    if tool == "label-studio" and not all(CODER_NAME.fullmatch(name) for name in names):
        return ()
    return tuple(names)
