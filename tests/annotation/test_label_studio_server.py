"""A real Label Studio: our export becomes a project, two people code it, and what the server exports is read in."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_video

import video_fgsgl
from microgesture.annotation.export import export, sources
from microgesture.annotation.fg_label_studio import result
from microgesture.annotation.key import Key
from microgesture.annotation.reading import read_coded
from microgesture.data.clips import ClipSample, write_split
from microgesture.data.fg_text import FGText

PROGRAM = shutil.which(os.environ.get("LABEL_STUDIO") or "label-studio")
START_SECONDS = 900  # its first start makes a data base, which takes a minute on a quiet machine
PREFILL = {"initiator": "hand", "receiver": "neck", "direction": "up", "motion_type": "touch"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(START_SECONDS + 300),
    pytest.mark.skipif(
        PROGRAM is None, reason="no Label Studio: run `make label-studio`, or set LABEL_STUDIO to its program"
    ),
]


class Person:
    """Somebody who has signed up at the server."""

    def __init__(self, address: str, email: str) -> None:
        self.address = address
        self.browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar := CookieJar()))
        page = f"{address}/user/signup/"
        self.browser.open(page).read()
        token = next(cookie.value for cookie in jar if cookie.name == "csrftoken")
        form = {"csrfmiddlewaretoken": token, "email": email, "password": f"password of {email}"}
        data = urllib.parse.urlencode(form).encode()
        self.browser.open(urllib.request.Request(page, data, {"Referer": page})).read()
        self.token = json.loads(self.browser.open(f"{address}/api/current-user/token").read())["token"]

    def fetch(self, path: str, body: Any = None) -> bytes:
        """One call of the API, the way a program of theirs would make it."""
        headers = {"Authorization": f"Token {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.address + path, data, headers)) as reply:
            return reply.read()

    def call(self, path: str, body: Any = None) -> Any:
        return json.loads(self.fetch(path, body))

    def answer(self, task: int, words: dict[str, str], cancel: bool = False) -> None:
        self.call(f"/api/tasks/{task}/annotations/", {"result": result(words), "was_cancelled": cancel})


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `blind` and `prefilled`, exported of one data set of four clips."""
    root = tmp_path_factory.mktemp("label_studio")
    classes = [{"name": "Neck", "text": "A person touches the neck.", "default": PREFILL}]
    (root / "mini/train/clips").mkdir(parents=True)
    about = {"name": "mini", "version": "1", "mirrored": False, "classes": classes}
    (root / "mini/labels.json").write_text(json.dumps(about))
    for number in range(4):
        write_video(root / f"mini/train/clips/{number}.mp4", np.full((8, 32, 32, 3), 60 * number, np.uint8))
    text = FGText(**PREFILL, provenance="default")
    write_split(root / "mini/train", [ClipSample(f"clips/{n}.mp4", "Neck", "p1", text) for n in range(4)])
    clips = sources(root / "mini")
    export(root / "mini", root / "served/blind", video_fgsgl, clips=clips, progress=False)
    export(root / "mini", root / "served/prefilled", video_fgsgl, clips=clips, prefill=True, progress=False)
    return root / "served"


@pytest.fixture(scope="module")
def server(exports: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Label Studio that serves the clips of the exports, and only to this machine."""
    home = tmp_path_factory.mktemp("label_studio_home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    local = {"SERVING_ENABLED": "true", "DOCUMENT_ROOT": str(exports)}
    environment = os.environ | {f"LABEL_STUDIO_LOCAL_FILES_{name}": value for name, value in local.items()}
    environment |= {"LABEL_STUDIO_COLLECT_ANALYTICS": "false", "LABEL_STUDIO_LATEST_VERSION_CHECK": "false"}
    for name in ("PYTHONPATH", "DJANGO_SETTINGS_MODULE"):
        environment.pop(name, None)
    command = [str(PROGRAM), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    command += ["--data-dir", str(home), "--username", "host@example.org", "--password", "password of the host"]
    address = f"http://127.0.0.1:{port}"
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--enable-legacy-api-token"], cwd=home, env=environment, stdout=log, stderr=log
        )
        try:
            wait(process, address, home / "log")
            yield address
        finally:
            process.terminate()
            process.wait(30)


def wait(process: subprocess.Popen, address: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health"):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(1)
    raise AssertionError(f"Label Studio did not start:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="module")
def people(server: str) -> tuple[Person, Person]:
    return Person(server, "anna@example.org"), Person(server, "ben@example.org")


def project(who: Person, folder: Path, tasks: str = "tasks.json") -> int:
    """What READ_ME.txt says: the page, the place of the clips, the tasks."""
    page = (folder / "labeling.xml").read_text()
    number = who.call("/api/projects/", {"title": folder.name, "label_config": page})["id"]
    storage = {"project": number, "path": str(folder / "clips"), "use_blob_urls": True}
    who.call("/api/storages/localfiles/", storage)
    told = who.call(f"/api/projects/{number}/import", json.loads((folder / tasks).read_text()))
    assert told["task_count"] == 5  # four clips, one of them twice
    return number


def tasks_of(who: Person, number: int) -> dict[str, dict[str, Any]]:
    found = who.call(f"/api/tasks/?project={number}&fields=all")["tasks"]
    return {task["data"]["item"]: task for task in found}


def test_two_coders(people: tuple[Person, Person], exports: Path, tmp_path: Path) -> None:
    anna, ben = people
    number = project(anna, exports / "blind")
    tasks = tasks_of(anna, number)
    assert all(not task["predictions"] for task in tasks.values())
    first = anna.call(f"/api/projects/{number}/next")
    assert (first["data"]["item"], first["predictions"], first["annotations"]) == ("0001", [], [])
    for task in tasks.values():  # the page finds the very clip
        name = task["data"]["video"].split("/clips/")[1]
        assert anna.fetch(task["data"]["video"]) == (exports / "blind/clips" / name).read_bytes()
    said = {item: {"initiator": "hand", "side": "left", "motion_type": "rub", "confidence": "sure"} for item in tasks}
    other = {"initiator": "not_visible", "receiver": "none", "direction": "static", "repetition": "continuous"}
    for item, task in tasks.items():
        anna.answer(task["id"], said[item])
        if item == "0002":
            ben.answer(task["id"], other, cancel=True)
        elif item != "0003":
            ben.answer(task["id"], other)
    file = tmp_path / "project.json"
    file.write_bytes(anna.fetch(f"/api/projects/{number}/export?exportType=JSON"))
    records, states = read_coded(exports / "blind", [file])
    assert states == Counter(finished=8, cancelled=1, unfinished=0)
    coders = Counter(record.text.coder for record in records)
    assert sorted(coders.values()) == [3, 5]
    items = {(one.clip.key, one.look) for one in Key.read(exports / "blind").items}
    hers = [record for record in records if record.text.initiator == "hand"]
    his = [record for record in records if record.text.initiator == "not_visible"]
    assert {(record.clip.key, record.look) for record in hers} == items
    for record in hers:
        coder, text = record.text.coder, record.text
        assert text == FGText("hand", None, None, "rub", "left", "human", None, coder, 1.0)
    for record in his:
        coder = record.text.coder
        assert record.text == FGText(**other, coder=coder, provenance="human")  # type: ignore[arg-type]


def test_prefilled(people: tuple[Person, Person], exports: Path, tmp_path: Path) -> None:
    anna, _ = people
    number = project(anna, exports / "prefilled")
    first = anna.call(f"/api/projects/{number}/next")
    (shown,) = first["predictions"]
    assert {part["from_name"]: part["value"]["choices"] for part in shown["result"]} == {
        name: [word] for name, word in PREFILL.items()
    }
    tasks = tasks_of(anna, number)
    anna.answer(tasks["0001"]["id"], PREFILL | {"confidence": "sure"})
    anna.answer(tasks["0002"]["id"], PREFILL | {"direction": "down", "confidence": "sure"})
    file = tmp_path / "project.json"
    file.write_bytes(anna.fetch(f"/api/projects/{number}/export?exportType=JSON"))
    records, states = read_coded(exports / "prefilled", [file])
    assert states == Counter(finished=2, unfinished=3)
    assert Counter(record.text.provenance for record in records) == Counter(confirmed=1, human=1)
