"""Publishing a data set: card, labels, splits and FG-Text; videos only where that is allowed and asked for."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import datasets
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard, get_token

from microgesture.data.clips import LABELS_FILE, METADATA_FILE, DatasetInfo, load
from microgesture.data.fg_text import ATTRIBUTES
from microgesture.hub.load_back import loader
from microgesture.hub.upload import Say, Upload, check_name, left_out, open_repo, send, without_tokens
from microgesture.model_card import CARD_FILE

COLUMNS = ("file_name", "label", "subject", "start", "end", *ATTRIBUTES, "side", "provenance")
FILE_COLUMNS = ("file_name", "keypoints")  # what goes along with the videos
ROWS = "data/{split}.jsonl"
TYPED_METADATA = "metadata.parquet"

_LOAD = """
## Load it

```python
from datasets import load_dataset

clips = load_dataset("{repo}")
```
"""
_WITHOUT_VIDEOS = """
This repository holds labels, splits and FG-Text, and **no videos**. `file_name` says which file of the original data a
row is about. Beside your own copy of the clips, `data/train.jsonl` is what `train/metadata.jsonl` is to
`microgesture`, and so on for the other splits.
"""
_WITH_VIDEOS = """
The column `video` decodes with `torchcodec`; `clips.cast_column("video", datasets.Video(decode=False))` gives files
instead. Downloaded as it is (`hf download {repo} --repo-type dataset --local-dir DIR`), the repository is a data set
folder that `train_fgsgl.py --dataset_dir DIR` reads.
"""


def dataset_upload(folder: Path, repo: str, with_videos: bool = False) -> Upload:
    """What is published of a data set.

    Without videos the rows are plain JSON lines under `data/`, since a `metadata.jsonl` with `file_name` makes
    `load_dataset` look for the files.

    Args:
        folder: As `microgesture prepare` makes it.
        repo: `OWNER/NAME`.
        with_videos: Publish clips, keypoints and all columns as well.

    Raises:
        FileNotFoundError: The folder is no data set, or it has no card.
        PermissionError: Videos are asked for, and labels.json does not say that they may be passed on.
        ValueError: The card names no licence, or a row is not as it should be.
    """
    check_name(repo)
    info, data = DatasetInfo.read(folder), load(folder)
    if with_videos and not info.redistributable:
        raise PermissionError(
            f'{folder / LABELS_FILE} does not say "redistributable": true, so no video of {info.name} is published. '
            "Say so only if the licence of the recordings and the people in them allow it; or leave out --with-videos"
        )
    files: dict[str, Path | bytes] = {LABELS_FILE: folder / LABELS_FILE}
    features = _features(data, info)
    for split, rows in data.items():
        plain = _plain(rows, folder / split)
        if with_videos:
            names = {METADATA_FILE} | {row[column] for row in plain for column in FILE_COLUMNS if row.get(column)}
            files |= {f"{split}/{name}": folder / split / name for name in sorted(names)}
            files[f"{split}/{TYPED_METADATA}"] = _parquet(plain, features)
        else:
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in map(published_row, plain)]
            files[ROWS.format(split=split)] = "".join(lines).encode()
    files[CARD_FILE] = _card(folder, repo, list(data), features, with_videos).encode()
    managed = "|".join(["data", *data])
    return without_tokens(Upload(repo, "dataset", files, left_out(folder, files), rf"({managed})/.*"))


def _plain(split: datasets.Dataset, folder: Path) -> list[dict[str, Any]]:
    """Rows with the label's name, and the video as `file_name` relative to the folder of its split."""
    names, root = split.features["label"].names, folder.resolve()
    return [
        {"file_name": Path(row.pop("video")["path"]).relative_to(root).as_posix()}
        | row
        | {"label": names[row["label"]]}
        for row in split.to_list()
    ]


def published_row(row: dict[str, Any]) -> dict[str, Any]:
    """The columns that are published without the videos."""
    return {name: row.get(name) for name in COLUMNS}


def _features(data: datasets.DatasetDict, info: DatasetInfo) -> datasets.Features:
    """One type per column for all splits: a column that is empty in one split takes its type from another."""
    found: dict[str, Any] = {"file_name": datasets.Value("string")}
    for split in data.values():
        for name, feature in split.remove_columns("video").features.items():
            if found.get(name, datasets.Value("null")) == datasets.Value("null"):
                found[name] = feature
    found["label"] = datasets.ClassLabel(names=info.names)
    return datasets.Features(found)


def _parquet(rows: list[dict[str, Any]], features: datasets.Features) -> bytes:
    """metadata.jsonl once more, with types: JSON has none for a column that is empty in one split and not in another,
    and `load_dataset` refuses splits whose types differ.
    """
    label, buffer = features["label"], io.BytesIO()
    table = [{name: row.get(name) for name in features} | {"label": label.str2int(row["label"])} for row in rows]
    datasets.Dataset.from_list(table, features=features).to_parquet(buffer)
    return buffer.getvalue()


def _card(folder: Path, repo: str, splits: list[str], features: datasets.Features, with_videos: bool) -> str:
    """The data set's own card, with what `load_dataset` has to know in its head and how to load it below."""
    path = folder / CARD_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: a data set is published with a card. Write one that begins with the lines "
            '"---", "license: …" (e.g. cc-by-4.0, or other), "---", and then says who is seen, how they agreed, how '
            "it was recorded and labelled, and what it must not be used for"
        )
    card = DatasetCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=False)
    if not card.data.get("license"):
        raise ValueError(f"{path} names no licence: put `license: …` into its head, between two lines of `---`")
    pattern = "{split}/**" if with_videos else ROWS
    files = [{"split": split, "path": pattern.format(split=split)} for split in splits]
    config: dict[str, Any] = {"config_name": "default", "data_files": files}
    if with_videos:
        config |= {"drop_labels": True, "metadata_filenames": [TYPED_METADATA]}
        columns = {"video": datasets.Video()} | {name: features[name] for name in features if name != "file_name"}
    else:
        columns = {name: features.get(name, datasets.Value("string")) for name in COLUMNS}
    card.data["configs"] = [config]
    described = datasets.DatasetInfo(features=datasets.Features(columns))
    DatasetInfosDict({"default": described}).to_dataset_card_data(card.data)
    text = str(card).rstrip() + "\n" + _LOAD + (_WITH_VIDEOS if with_videos else _WITHOUT_VIDEOS)
    text = text.replace("{repo}", repo)
    DatasetCard(text)  # raises where the head is not what the Hub reads
    return text


def publish_dataset(
    folder: Path, upload: Upload, say: Say, *, private: bool | None = None, revision: str | None = None
) -> str:
    """Sends a data set, loads the commit with `load_dataset` in a process with empty caches, and compares every row.

    Args:
        folder: The data set's folder.
        upload: From `dataset_upload`.
        say: Takes each line for the user.
        private: Whether a new repository is private; default: as the owner's settings say.
        revision: The branch; default: main.

    Returns:
        The commit.

    Raises:
        ValueError: What was published does not load, or is not what lies in the folder.
        OSError: No token, no network, or the Hub refuses.
    """
    open_repo(upload.repo, "dataset", private, revision)
    commit = send(upload, say, revision=revision)
    where = f"{upload.repo} at commit {commit}"
    say(f"loading back {where} with load_dataset")
    with loader(get_token()) as ask:
        found = ask({"dataset": upload.repo, "revision": commit}, f"{where} cannot be loaded: do not use this commit")
    for split, rows in _expected(folder, upload).items():
        got = [{name: row.get(name) for name in rows[0]} for row in found.get(split, [])]
        if sorted(map(json.dumps, rows)) != sorted(map(json.dumps, got)):
            raise ValueError(
                f"{where}: split {split} loads {len(got)} rows that are not the {len(rows)} of {folder}: do not use "
                "this commit; publish again"
            )
    counts = ", ".join(f"{split} {len(rows)}" for split, rows in found.items())
    say(f"loaded back and compared, row by row: {counts}")
    return commit


def _expected(folder: Path, upload: Upload) -> dict[str, list[dict[str, Any]]]:
    """What `load_dataset` has to give, per split."""
    expected = {}
    for split, rows in load(folder).items():
        wanted = [published_row(row) for row in _plain(rows, folder / split)]
        if f"{split}/{METADATA_FILE}" in upload.files:  # with videos: these instead of their names
            for row in wanted:
                row["sha256"] = hashlib.sha256((folder / split / row.pop("file_name")).read_bytes()).hexdigest()
        expected[split] = wanted
    return expected
