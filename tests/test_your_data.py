"""docs/your_data.md, as a reader follows it: every command of the page, in its order, on tiny clips."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from annotation_files import annotation, observation, region, task, tier, write_boris, write_eaf
from conftest import DIRECTIONS, ROOT, moving_square, write_video

PAGE = ROOT / "docs" / "your_data.md"
PEOPLE = ("anna", "ben", "cleo", "dora", "emil", "finn")


def commands() -> list[str]:
    """The shell blocks of the page."""
    return re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def make_material(folder: Path) -> None:
    """What the page's reader has: clips with a table, folders, ELAN, BORIS and Label Studio files."""
    rng = np.random.default_rng(0)
    for name in ("clips", "elan", "boris", "label_studio"):
        (folder / name).mkdir()
    rows = ["file;label;subject;start;end"]
    for person in PEOPLE:
        for direction in DIRECTIONS[:2]:
            for number in (1, 2):
                path = folder / "clips" / f"{person}_{direction}_{number}.mp4"
                write_video(path, moving_square(direction, rng))
                rows.append(f"{path.name};moving {direction};{person};0,0;0,7")
                other = folder / "clips_by_class" / f"moving {direction}" / path.name
                other.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, other)
        clip = folder / "clips" / f"{person}_up_1.mp4"
        for name in ("elan", "boris", "label_studio"):
            os.link(clip, folder / name / f"{person}.mp4")
        tiers = (
            tier(f"gesture@{person}", [("a1", 0, 300, "up"), ("a2", 350, 700, "still")]),
            tier("talk", type_="text"),
        )
        write_eaf(
            folder / "elan" / f"{person}.eaf", *tiers, media=[(f"file:///C:/study/{person}.mp4", "video/mp4", 0)]
        )
    (folder / "clips" / "clips.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    events = [[0.0, "", "nod", "", ""], [0.2, "", "nod", "", ""], [0.5, "", "blink", "", ""]]
    write_boris(
        folder / "boris" / "project.boris",
        {
            p: observation([[t, p, *rest] for t, _, *rest in events], f"/home/x/{p}.mp4", lengths=(0.7,))
            for p in PEOPLE
        },
    )
    work = annotation(region("nod", 1, 6), region("rub", 9, 14))
    tasks = [task(k, f"/data/upload/1/0a1b2c3d-{p}.mp4", work) for k, p in enumerate(PEOPLE)]
    (folder / "label_studio" / "export.json").write_text(json.dumps(tasks))


def make_clone(folder: Path) -> dict[str, str]:
    """The project's files, and an environment in which its commands are found."""
    for name in ("train_fgsgl.py", "evaluate_fgsgl.py", "recipes"):
        (folder / name).symlink_to(ROOT / name)
    shims = folder / "bin"
    shims.mkdir()
    for name, command in (("microgesture", f"{sys.executable} -m microgesture.cli"), ("python", sys.executable)):
        (shims / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (shims / name).chmod(0o755)
    path = os.pathsep.join([str(shims), str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}


def test_the_page_has_every_step() -> None:
    text = "\n".join(commands())
    for word in (
        "prepare own clips",
        "check data/own",
        "train_fgsgl.py recipes/own.yaml",
        "evaluate_fgsgl.py",
        "predict",
    ):
        assert word in text
    assert len(re.findall(r"^## \d", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) == 6


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_command_of_the_page_runs(tmp_path) -> None:
    make_material(tmp_path)
    environment = make_clone(tmp_path)
    said = {}
    for command in commands():
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        said[command.split()[1] if command.startswith("microgesture") else command.split()[0]] = done.stdout
    assert "errors: none" in said["check"]
    assert (tmp_path / "outputs" / "own" / "model.safetensors").is_file()
    assert "FG-SGL" in said["python"]
    assert "majority class" in said["python"]
    assert said["predict"].count("moving up") >= 12  # each of the clips gets a score for each class
    for name in ("folders", "elan", "boris", "label_studio"):
        assert (tmp_path / "data" / f"from_{name}" / "train" / "metadata.jsonl").is_file()
    assert not (json.loads((tmp_path / "outputs" / "own" / "metrics.json").read_text())).get("leak")
