"""The fingerprint of a data set follows its content and nothing else."""

from __future__ import annotations

import os
import shutil

from microgesture.data.fingerprint import fingerprint


def test_it_follows_texts_and_videos_and_not_the_place(tiny_dataset, tmp_path) -> None:
    known = fingerprint(tiny_dataset)
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny_dataset, copy)
    os.utime(copy / "labels.json", (0, 0))
    assert fingerprint(copy) == known
    table = copy / "train" / "metadata.jsonl"
    table.write_text(table.read_text().replace('"rub"', '"touch"', 1))
    assert fingerprint(copy) != known
    shutil.copy(tiny_dataset / "train" / "metadata.jsonl", table)
    assert fingerprint(copy) == known
    with (copy / "test" / "clips" / "000.mp4").open("ab") as file:
        file.write(b"x")
    assert fingerprint(copy) != known
