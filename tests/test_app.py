"""The page, in a real browser: what people drop in, what they see, what they take away."""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from conftest import moving_square, write_video
from devtools import Chromium, needs_chromium
from page_program import served
from tiny_checkpoint import talking, write_checkpoint

from microgesture.cli import load_pipeline
from microgesture.data.fg_text import ATTRIBUTES

pytest.importorskip("gradio", reason="the page needs Gradio: pip install -e '.[app]'")
pympi = pytest.importorskip("pympi", reason="ELAN files need pympi-ling: pip install -e '.[app]'")
app = pytest.importorskip("app")

pytestmark = [pytest.mark.slow, needs_chromium]

FILE = "#video input[type=file]"
EMPTY = f"document.querySelector('{FILE}')"
ANSWER = "document.querySelectorAll('#frames img').length == 4"
REFUSED = "document.querySelector('.refused')"
LABELS = ("nod", "<b>Non-MG</b>", "=rub", "shrug", "lean", "tap", "blink")


def texts(selector: str) -> str:
    """The script for what is written in each element."""
    return f"[...document.querySelectorAll('{selector}')].map((element) => element.innerText)"


def wait_until(met: Callable[[], bool], seconds: float = 60) -> None:
    """Waits for a condition."""
    until = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < until
        time.sleep(0.02)


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
    best = [item["label"] for item in answer["labels"]]
    assert len(best) == 5 < len(LABELS)
    assert page.ask(texts("#bars .confidence-set dt")) == best
    scores = [float(width) for width in page.ask("[...document.querySelectorAll('#bars meter')].map((m) => m.value)")]
    assert scores == pytest.approx([item["score"] for item in answer["labels"]], abs=1e-4)
    assert page.ask(texts("#words .words b")) == ["initiator", "receiver", "direction", "motion type"]
    for name, shown in zip(ATTRIBUTES, page.ask(texts("#words .words span")), strict=True):
        first, second, third = (item["label"].replace("_", " ") for item in answer["attributes"][name][:3])
        assert shown == f"{first} or {second}, {third}"
    assert "no emotion detector" in text
    assert "no lie detector" in text
    assert page.ask("document.querySelectorAll('#timeline button').length") == 0
    page.ask("document.querySelectorAll('#frames button')[3].click()")
    page.wait("Math.abs(document.querySelector('#video video').currentTime - 3.5 / 4 * 20 / 28) < 0.01")
    assert best[0] == "<b>Non-MG</b>"
    assert page.ask(texts("#frames b")) == best[:1]  # a label is text, not markup


def test_the_frames_are_red_where_it_counted(page, videos, pipe) -> None:
    page.give(FILE, videos / "clip.mp4")
    page.wait(ANSWER)
    seen = page.ask("""(async () => {
        const tiles = [...document.querySelectorAll("#frames img")];
        await Promise.all(tiles.map((tile) => tile.decode()));
        return tiles.map((tile) => {
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [tile.naturalWidth, tile.naturalHeight];
            const context = canvas.getContext("2d");
            context.drawImage(tile, 0, 0);
            return [...context.getImageData(0, 0, canvas.width, canvas.height).data];
        });
    })()""")
    tiles = np.array(seen).reshape(4, 32, 32, 4)[..., :3]
    plain = pipe.feature_extractor.sample(str(videos / "clip.mp4")).permute(0, 2, 3, 1).numpy().astype(int)
    red = (tiles - plain) @ [1.0, -0.5, -0.5]
    assert np.abs(plain @ [1.0, -0.5, -0.5]).max() < 20  # the clip itself has no colour
    assert red.max() > 100
    # Each patch of 8 × 8 has 4 × 4 pixels here: the reddest lies where blurring costs the class most, and where
    # it costs nothing in any patch around, the frame is as it was.
    worth = pipe.explain(str(videos / "clip.mp4")).patches
    t, y, x = np.unravel_index(red.argmax(), red.shape)
    assert (t, y // 4, x // 4) == np.unravel_index(worth.argmax(), worth.shape)
    around = np.pad(worth, ((0, 0), (1, 1), (1, 1)), mode="edge")
    cold = np.lib.stride_tricks.sliding_window_view(around, (3, 3), (1, 2)).max((-2, -1)) <= 0
    cold = cold.repeat(4, 1).repeat(4, 2)
    assert cold.any()
    assert (tiles[cold] == plain[cold]).all()


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
    assert "'=rub" in {row["label"] for row in rows}
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


def upload(server: str, data: bytes) -> Path:
    """Sends a file without a browser, and so without the browser's own look at its size; says where it lies."""
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="upload.mp4"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    request = urllib.request.Request(f"{server}gradio_api/upload", head + data + b"\r\n--b--\r\n", kind)
    with urllib.request.urlopen(request) as reply:
        return Path(*json.load(reply))


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


def test_an_example_is_answered_when_it_is_clicked(page, pipe) -> None:
    files = sorted(app.EXAMPLES.glob("*.mp4"))
    page.wait(f"document.querySelectorAll('.gallery-item').length == {len(files)}")
    page.ask("document.querySelector('.gallery-item').click()")
    page.wait(ANSWER)
    assert page.ask("document.querySelector('#video video').src").endswith(files[0].name)
    # To this checkpoint, whose windows are short, the clip is a recording: the best of its segments is shown.
    best = max(pipe.spot(str(files[0]), progress=False), key=lambda segment: segment["score"])
    answer = pipe({"video": str(files[0]), "start": best["start"], "end": best["end"]}, attributes=True)
    assert page.ask(texts("#words .sentence")) == [answer["sentence"]]
    assert page.ask(texts("#bars .confidence-set dt")) == [item["label"] for item in answer["labels"]]
    assert page.ask(texts("#frames b")) == [answer["labels"][0]["label"]]


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


def test_one_is_served_and_eight_wait(page, pipe, videos, server, monkeypatch) -> None:
    built = app.build(pipe)
    network = [fn for fn in built.fns.values() if fn.name in ("answered", "clicked")]
    assert [(fn.concurrency_id, fn.concurrency_limit) for fn in network] == [("network", 1)] * 2
    assert built._queue.max_size == app.MAX_WAITING == 8

    served, begun, go, real = [], threading.Event(), threading.Event(), app.answer

    def slow(pipe, path) -> Iterator[list]:
        served.append(path)
        begun.set()
        assert go.wait(60)
        yield from real(pipe, path)

    monkeypatch.setattr(app, "answer", slow)
    with urllib.request.urlopen(f"{server}config") as reply:
        number = next(fn["id"] for fn in json.load(reply)["dependencies"] if fn["targets"][0][1] == "change")
    body = json.dumps({"data": [None], "fn_index": number, "session_hash": "somebody"}).encode()
    join = urllib.request.Request(f"{server}gradio_api/queue/join", body, {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(join).close()
        assert begun.wait(60)
        for _ in range(8):
            urllib.request.urlopen(join).close()
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(join)
        page.give(FILE, videos / "clip.mp4")
        page.wait("/busy|queue is full/i.test(document.body.innerText)")
        assert len(served) == 1
    finally:
        go.set()
    wait_until(lambda: len(served) == 9)
    assert served == [None] * 9


def test_the_program_serves_this_machine_only_and_leaves_nothing_behind(pipe, tmp_path, videos) -> None:
    with served(pipe.model.name_or_path, tmp_path) as (_, address):
        assert upload(f"{address}/", (videos / "clip.mp4").read_bytes()).is_relative_to(tmp_path)
        assert list(tmp_path.rglob("upload.mp4"))
    assert not list(tmp_path.rglob("*.mp4"))


def test_the_program_deletes_old_uploads_while_it_runs(pipe, tmp_path, videos) -> None:
    age = 1.5  # seconds
    script = f"import app; app.DELETE_EVERY, app.DELETE_AFTER = 0.05, {age}; app.main()"
    with served(pipe.model.name_or_path, tmp_path, "-c", script) as (_, address):
        examples = set(tmp_path.rglob("*.mp4"))
        assert len(examples) == len(list(app.EXAMPLES.glob("*.mp4")))
        deadline = time.monotonic() + 60
        stayed = False
        while not stayed:  # once more where this test itself was so slow that the fresh file had time to grow old
            assert time.monotonic() < deadline
            begin = time.time()
            old = upload(f"{address}/", (videos / "clip.mp4").read_bytes())
            wait_until(lambda begin=begin: time.time() - begin > age / 2)
            assert old.exists() or time.time() - begin > age
            begin = time.time()
            fresh = upload(f"{address}/", (videos / "recording.mp4").read_bytes())
            wait_until(lambda old=old: not old.exists())
            stayed = fresh.exists()
            assert stayed or time.time() - begin > age
        wait_until(lambda: not fresh.exists())
        assert set(tmp_path.rglob("*.mp4")) == examples
