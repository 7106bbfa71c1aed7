"""From videos to keypoint files, on which a stream trains; with networks that were taught one thing in a minute."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT  # noqa: F401

from microgesture import cli


def world(tiny_dataset, tmp_path):
    out = tmp_path / "data"
    shutil.copytree(tiny_dataset, out)
    return out


def test_first(tiny_dataset, tmp_path, yolos, vitpose, capsys):
    data = world(tiny_dataset, tmp_path)
    assert cli.main(["keypoints", str(data), "--detector", str(yolos), "--pose", str(vitpose), "--people", "2"]) == 0
    print(capsys.readouterr().out)
    assert cli.main(["keypoints", str(data), "--detector", str(yolos), "--pose", str(vitpose), "--people", "2"]) == 0
    print(capsys.readouterr().out)
    assert cli.main(["check", str(data)]) == 0
    files = sorted(str(p) for p in (data / "train/clips").glob("*"))[:3]
    assert (
        cli.main(
            ["keypoints", *files, "--out", str(data / "unlabelled"), "--detector", str(yolos), "--pose", str(vitpose)]
        )
        == 0
    )
    print((data / "unlabelled/metadata.jsonl").read_text())
    from microgesture.data import load

    print(load(data))
