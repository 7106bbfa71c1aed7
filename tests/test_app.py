"""The page, in a real browser: what people drop in, what they see, what they take away."""

from __future__ import annotations

import base64
import csv
import io
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from conftest import ROOT, moving_square, write_video
from devtools import Chromium, needs_chromium
from tiny_checkpoint import talking, write_checkpoint

from microgesture.cli import load_pipeline

pytest.importorskip("gradio", reason="the page needs Gradio: pip install -e '.[app]'")
pympi = pytest.importorskip("pympi", reason="ELAN files need pympi-ling: pip install -e '.[app]'")
app = pytest.importorskip("app")

pytestmark = [pytest.mark.slow, needs_chromium]

FILE = "#video input[type=file]"
EMPTY = f"document.querySelector('{FILE}')"
ANSWER = "document.querySelectorAll('#frames img').length == 4"
REFUSED = "document.querySelector('.refused')"
LABELS = ("nod", "=rub", "<b>Non-MG</b>")


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder, LABELS, temporal_pooling="learned", **talking(0.5))
    return load_pipeline(folder, torch.device("cpu"))


@pytest.fixture(scope="module")
def uploads(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def server(pipe, uploads) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        page = app.build(pipe)
        _, address, public = app.launch(page, prevent_thread_lock=True, quiet=True)
        assert public is None
        yield address
        page.close()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def page(server, chromium) -> Chromium:
    chromium.events.clear()
    chromium.open(server)
    chromium.wait(EMPTY)
    return chromium


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    frames = moving_square("up", np.random.default_rng(0))
    write_video(folder / "clip.mp4", frames)
    write_video(folder / "recording.mp4", np.concatenate([frames, frames[::-1]] * 4))
    (folder / "text <i>.mp4").write_text("no video")
    # As a browser writes it while it records: nobody goes back to the beginning to put the length in.
    with av.open(str(folder / "camera.webm"), "w", options={"live": "1"}) as container:
        stream = container.add_stream("libvpx", rate=28, options={"cpu-used": "8"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    with (folder / "too_large.mp4").open("wb") as file:
        file.truncate(app.MAX_UPLOAD + 1)
    return folder


def test_a_clip_gives_bars_words_and_frames(page, videos, pipe) -> None:
    page.give(FILE, videos / "clip.mp4")
    page.wait(ANSWER)
    text = page.ask("document.body.innerText")
    answer = pipe(str(videos / "clip.mp4"), attributes=True)
    assert answer["sentence"] in text
    for name in LABELS:
        assert name in page.ask("document.querySelector('#bars').innerText")
    assert "no emotion detector" in text
    assert "no lie detector" in text
    assert page.ask("document.querySelectorAll('#timeline button').length") == 0
    page.ask("document.querySelectorAll('#frames button')[3].click()")
    page.wait("Math.abs(document.querySelector('#video video').currentTime - 3.5 / 4 * 20 / 28) < 0.01")
    assert page.ask("document.querySelectorAll('#frames b')[0].children.length") == 0  # a label is text, not markup


def test_a_file_unlike_the_training_clips_is_warned_of(page, videos, pipe, monkeypatch) -> None:
    monkeypatch.setattr(pipe.model.config, "training_clips", {"fps": [50.0, 60.0]})
    page.give(FILE, videos / "clip.mp4")
    page.wait(ANSWER)
    text = page.ask("document.querySelector('#words').innerText")
    assert "Take care: " in text
    assert "28 frames a second" in text
    assert ".." not in text


def test_the_timeline_seeks_the_player_and_says_why(page, videos, pipe) -> None:
    page.give(FILE, videos / "recording.mp4")
    page.wait(ANSWER)
    found = pipe.spot(str(videos / "recording.mp4"), progress=False)
    assert page.ask("document.querySelectorAll('#timeline .line button').length") == len(found) > 1
    assert page.ask("document.querySelectorAll('#timeline .chosen').length") == 2
    last = "[...document.querySelectorAll('#timeline .line button')].at(-1)"
    if page.ask(f"{last}.classList.contains('chosen')"):
        last = "document.querySelector('#timeline .line button')"
    second = page.ask(f"Number({last}.dataset.second)")
    page.ask(f"{last}.click()")
    page.wait(f"Math.abs(document.querySelector('#video video').currentTime - {second}) < 0.01")
    page.wait(f"{last}.classList.contains('chosen')")
    page.wait(f"{ANSWER} && Number(document.querySelector('#frames button').dataset.second) >= {second}")


def test_what_was_found_can_be_taken_away(page, videos, pipe) -> None:
    page.give(FILE, videos / "recording.mp4")
    page.wait(ANSWER)
    found = pipe.spot(str(videos / "recording.mp4"), progress=False)
    for name in ("csv", "elan"):
        page.wait(f"document.querySelector('#{name}')")
        page.ask(f"(document.querySelector('#{name} a, a#{name}') ?? document.querySelector('#{name}')).click()")
    rows = list(csv.DictReader(io.StringIO(page.downloaded(".csv").read_text(encoding="utf-8"))))
    assert [float(row["start"]) for row in rows] == pytest.approx([item["start"] for item in found])
    assert {row["file"] for row in rows} == {"recording.mp4"}
    assert not [row for row in rows if row["label"].startswith("=")]
    elan = page.downloaded(".eaf")
    tiers = pympi.Eaf(str(elan))
    count = sum(len(tiers.get_annotation_data_for_tier(t)) for t in tiers.get_tier_names() if t.startswith("gesture"))
    assert count == len(found)
    assert 'RELATIVE_MEDIA_URL="recording.mp4"' in elan.read_text(encoding="utf-8")


@pytest.mark.parametrize("way", ["chosen", "dropped"])
def test_a_file_is_taken_whose_type_the_browser_does_not_know(page, videos, tmp_path, way) -> None:
    file = tmp_path / f"{way}.unheard_of"
    shutil.copyfile(videos / "clip.mp4", file)
    if way == "chosen":
        page.give(FILE, file)
    else:
        data = base64.b64encode(file.read_bytes()).decode()
        page.ask(f"""(() => {{
            const bytes = Uint8Array.from(atob("{data}"), (letter) => letter.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], "{file.name}"));
            const drop = new DragEvent("drop", {{ bubbles: true, cancelable: true, dataTransfer }});
            document.querySelector("#video button").dispatchEvent(drop);
        }})()""")
    page.wait(ANSWER)
    assert not page.ask(REFUSED)


def test_a_browser_recording_without_a_length_is_read(page, videos) -> None:
    page.give(FILE, videos / "camera.webm")
    page.wait(ANSWER)
    assert not page.ask(REFUSED)


def test_what_the_camera_sees_is_recognised(page) -> None:
    def press(words: str) -> None:
        button = (
            f"[...document.querySelectorAll('#video button')].find((b) => /{words}/.test(b.ariaLabel + b.innerText))"
        )
        page.wait(button)
        page.ask(f"{button}.click()")

    # Gradio keeps the slices of 200 ms that have come before "Stop": on a busy machine the first comes late.
    page.ask("""(() => {
        const start = MediaRecorder.prototype.start;
        window.slices = 0;
        MediaRecorder.prototype.start = function (...about) {
            this.addEventListener("dataavailable", (event) => { window.slices += event.data.size > 0; });
            start.apply(this, about);
        };
    })()""")
    press("camera")
    press("Access Webcam")
    press("Record$")
    page.wait("window.slices >= 6")
    press("Stop$")
    page.wait(ANSWER)


def test_a_bad_file_is_refused_with_its_reason(page, videos, uploads) -> None:
    page.give(FILE, videos / "text <i>.mp4")
    page.wait(REFUSED)
    text = page.ask("document.body.innerText")
    assert "not a video" in text or "cannot be read" in text or "no video" in text
    assert "Traceback" not in text
    assert str(uploads) not in text
    assert page.ask("document.querySelectorAll('.refused *').length") == 0
    assert page.ask("document.querySelectorAll('#frames img').length") == 0


def upload(server: str, data: bytes) -> None:
    """Sends a file without a browser, and so without the browser's own look at its size."""
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="upload.mp4"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    request = urllib.request.Request(f"{server}gradio_api/upload", head + data + b"\r\n--b--\r\n", kind)
    urllib.request.urlopen(request).close()


def test_a_file_that_is_too_large_is_refused(page, videos, server, uploads) -> None:
    page.give(FILE, videos / "too_large.mp4")
    page.wait("/exceeds|too large|maximum/i.test(document.body.innerText)")
    assert not list(uploads.rglob("too_large*"))
    with pytest.raises(urllib.error.HTTPError, match="413"):
        upload(server, bytes(app.MAX_UPLOAD + 1))
    assert not list(uploads.rglob("upload.mp4"))


def test_nothing_comes_from_or_goes_to_another_machine(page, videos, server) -> None:
    page.give(FILE, videos / "clip.mp4")
    page.wait(ANSWER)
    outside = {a for a in page.asked_for() if not a.startswith((server, "data:", "blob:"))}
    assert outside == set()
    # A small file has arrived before the page asks how far it has come; Gradio answers 404 then.
    assert [text for text in page.complaints() if "upload_progress" not in text] == []
    assert server.startswith("http://127.0.0.1:")
    assert page.ask("fetch('https://example.org').then(() => 'sent', () => 'refused')") == "refused"


@pytest.mark.parametrize("width", [1280, 420])
def test_the_page_fits_its_window(page, videos, width) -> None:
    page.resize(width, 900)
    page.give(FILE, videos / "recording.mp4")
    page.wait(ANSWER)
    assert page.ask("document.documentElement.scrollWidth") <= width


def test_examples_are_small_and_readable(pipe) -> None:
    files = sorted(app.EXAMPLES.glob("*.mp4"))
    assert len(files) >= 2
    assert sum(file.stat().st_size for file in files) < 400_000
    assert not [file for file in files if "error" in app.find(pipe, str(file))]


def test_uploads_are_deleted_with_what_was_made_of_them(page, videos, uploads) -> None:
    page.give(FILE, videos / "recording.mp4")
    page.wait(ANSWER)
    made = {file for file in uploads.rglob("recording.*") if file.parent == page_folder(uploads, videos)}
    assert {file.suffix for file in made} == {".mp4", ".csv", ".eaf"}
    others = {file for file in uploads.rglob("*") if file.is_file()} - made
    app.sweep(uploads, others, 3600)
    assert made == {file for file in made if file.exists()}
    app.sweep(uploads, others, -1)
    assert not [file for file in made if file.exists()]
    assert all(file.exists() for file in others)


def page_folder(uploads: Path, videos: Path) -> Path:
    """Where the server put a file, told by its content."""
    data = (videos / "recording.mp4").read_bytes()
    return next(file.parent for file in uploads.rglob("recording.mp4") if file.read_bytes() == data)


def test_a_sweep_outlives_a_file_that_is_moved_away_meanwhile(tmp_path) -> None:
    class Mover(set):
        def __contains__(self, file: Path) -> bool:
            file.rename(file.with_suffix(".moved"))
            return False

    names = ("a", "b", "c")
    for name in names:
        (tmp_path / name).touch()
    app.sweep(tmp_path, Mover(), 3600)
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{name}.moved" for name in names]


def test_the_program_serves_this_machine_only_and_leaves_nothing_behind(pipe, tmp_path, videos) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(ROOT / "app.py"), pipe.model.name_or_path]
    program = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        lines = iter(program.stdout.readline, "")
        address = next(match[0] for line in lines if (match := re.search(r"http://127\.0\.0\.1:\d+", line)))
        upload(f"{address}/", (videos / "clip.mp4").read_bytes())
        assert list(tmp_path.rglob("upload.mp4"))
    finally:
        program.terminate()
        program.wait(60)
    assert not list(tmp_path.rglob("*.mp4"))
