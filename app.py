"""A page in the browser: a clip or a recording in, what the network sees in it out. Also a Hugging Face Space.

python app.py                       # outputs/synthetic, on http://127.0.0.1:7860
python app.py outputs/RUN           # another checkpoint; a Space sets FGSGL_CHECKPOINT to a repository's name
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from PIL import Image
from starlette.middleware import Middleware

from microgesture.annotation import results as tables
from microgesture.cli import load_pipeline
from microgesture.data.fg_text import ATTRIBUTES
from microgesture.prediction import recognise
from video_fgsgl import probe

MAX_UPLOAD = 200 * 2**20  # bytes
MAX_WAITING = 8  # people in the queue; one is served at a time
DELETE_EVERY, DELETE_AFTER = 60, 1800  # seconds
LONG = 2  # a file longer than that many of the longest windows is a recording
EXAMPLES = Path(__file__).resolve().parent / "examples"
TOP = 5

HEAD = """
# Micro-gestures

Drop a clip of one gesture, or a longer recording of one person, or record yourself.

**This names movements, not what they mean.** It is no emotion detector and no lie detector. Do not judge people by it.
"""
FOOT = f"""
Files stay on the machine that runs this page and are deleted there within {(DELETE_AFTER + DELETE_EVERY) // 60}
minutes. At most {MAX_UPLOAD >> 20} MB a file. Scores are the network's own and say little about people unlike those it
was trained on.
"""
CSS = """
footer, #video button[aria-label^="Trim"], #video button[aria-label^="Reset"] { display: none !important; }
#bars * { font-family: inherit; }
#bars h2 { text-align: center; }
#video video { max-height: 330px; }
.words { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin-top: .5rem; }
.words b { font-weight: 600; }
.words small, .hint { opacity: .75; }
.sentence { font-size: 1.15rem; margin: 0; }
.refused { border-left: 4px solid #c0392b; padding: .4rem .8rem; margin: 0; overflow-wrap: anywhere; }
#frames button, #timeline button { margin: 0; border: 0; font-weight: normal; color: inherit; cursor: pointer; }
#frames button, #timeline .rows button { background: none; }
.frames { display: grid; grid-template-columns: repeat(auto-fit, minmax(76px, 1fr)); gap: 6px; }
#frames button { display: block; padding: 0; text-align: center; font-size: .75rem; }
.frames img { width: 100%; border-radius: 4px; display: block; margin: 0; }
.frames .bar { display: block; height: 6px; margin: 3px 0 1px; background: #8883; border-radius: 3px; }
.frames .bar i { display: block; height: 100%; background: #c0392b; border-radius: 3px; }
.line { position: relative; background: #8882; border-radius: 6px; margin: .3rem 0 .1rem; overflow: hidden; }
#timeline .line button { position: absolute; height: 22px; min-width: 5px; border-radius: 3px; padding: 0; }
.scale { display: flex; justify-content: space-between; font-size: .75rem; opacity: .75; }
.rows { max-height: 15rem; overflow-y: auto; margin-top: .4rem; }
#timeline .rows button { display: grid; grid-template-columns: 6.5rem 2.5rem 1fr; gap: .5rem; width: 100%;
  padding: .15rem .4rem; text-align: left; font-size: .85rem; border-radius: 4px; }
#timeline .rows button:hover, #timeline .rows button.chosen { background: #8883; }
.line button.chosen, .line button:focus-visible, .rows button:focus-visible, .frames button:focus-visible
  { outline: 2px solid currentColor; outline-offset: -1px; }
"""
# A click on a moment shows it in the player; on a segment, also what it rests on.
SEEK = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-second]");
  if (!button) return;
  const player = document.querySelector("#video video");
  if (player) { player.pause(); player.currentTime = Number(button.dataset.second); }
  if (button.dataset.segment) trigger("select", { index: Number(button.dataset.segment) });
});
"""
# Gradio goes by the type that the browser names: a GIF is no video there, and of other endings some systems know none.
# Here the reader decides.
ANY_FILE = """
<script>
(() => {
  const known = (file) => file.type.startsWith("video/");
  const asVideos = (files) => {
    const all = new DataTransfer();
    for (const file of files) all.items.add(known(file) ? file : new File([file], file.name, { type: "video/mp4" }));
    return all;
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("#video input[type=file]")) event.target.files = asVideos(event.target.files).files;
  }, true);
  document.addEventListener("drop", (event) => {
    if (!event.target.closest("#video") || [...event.dataTransfer.files].every(known)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const again = { bubbles: true, cancelable: true, dataTransfer: asVideos(event.dataTransfer.files) };
    event.target.dispatchEvent(new DragEvent("drop", again));
  }, true);
})();
</script>
"""
# The browser itself refuses whatever would come from, or go to, another machine.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; form-action 'self'"
)
Details = tuple[str, dict[str, float] | None, str]


class Headers:
    """Adds the policy to every answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes a request on."""

        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = [(b"content-security-policy", POLICY.encode()), (b"referrer-policy", b"no-referrer")]
                message = message | {"headers": [*message["headers"], *own]}
            await send(message)

        await self.app(scope, receive, with_policy)


def find(pipe: Any, path: str) -> dict[str, Any]:
    """What is in a file: the line that `microgesture predict` writes of it, and `spot`: whether it is a recording."""
    settings = pipe.model.config.spotting
    try:
        spot = bool(settings) and probe(path).duration > LONG * max(settings["window_seconds"])
    except (ValueError, OSError) as error:
        return {"file": path, "error": {"message": str(error)}}
    options = argparse.Namespace(spot=spot, background=None, mirrored=False, batch_size=1, num_workers=0)
    return next(recognise(pipe, [path], options, probe)) | {"spot": spot}


def answer(pipe: Any, path: str | None) -> Iterator[list[Any]]:
    """Fills the page, the slow part last: result, sentence and words, bars, frames, timeline, CSV, ELAN."""
    nothing = gr.update(value=None, visible=False)
    if path is None:
        yield [None, "", None, "", "", nothing, nothing]
        return
    result = find(pipe, path)
    if "error" in result:
        reason = result["error"]["message"].replace(path, Path(path).name)
        yield [None, f'<p class="refused" role="alert">{escape(reason)}</p>', None, "", "", nothing, nothing]
        return
    files = [gr.update(value=file, visible=True) for file in write_tables(pipe, result)]
    best = max(range(len(result["segments"])), key=lambda k: result["segments"][k]["score"], default=None)
    line = timeline(result, best) if result["spot"] else ""
    if best is None:
        words = '<p class="sentence">No gesture found in this recording.</p>' + notes(pipe, result)
        yield [result, words, None, "", line, *files]
        return
    for part in details(pipe, result, best):
        yield [result, *part, line, *files]


def chosen(pipe: Any, result: dict[str, Any] | None, event: gr.EventData) -> Iterator[list[Any]]:
    """Fills the page for the segment that was clicked."""
    if result is None or not 0 <= event.index < len(result["segments"]):
        return
    for part in details(pipe, result, event.index):
        yield [*part, timeline(result, event.index)]


def details(pipe: Any, result: dict[str, Any], number: int) -> Iterator[Details]:
    """Sentence and words, bars, and then also the frames of one segment; of a clip, of the whole of it."""
    segment = result["segments"][number]
    span = {"start": segment["start"], "end": segment["end"]} if result["spot"] else {}
    if result["spot"]:  # a segment may end after the last frame by what its time was rounded
        span["end"] = min(span["end"], result["seconds"])
    found = pipe({"video": result["file"], **span}, top_k=TOP, attributes=True)
    bars = {item["label"]: item["score"] for item in found["labels"]}
    words = describe(found) + notes(pipe, result)
    yield words, bars, '<p class="hint">Looking for what counted …</p>'
    yield words, bars, frames(pipe.explain(result["file"], **span), segment["start"], segment["end"])


def describe(found: dict[str, Any]) -> str:
    """The sentence, and the best words of each attribute."""
    text = f'<p class="sentence">{escape(found["sentence"])}</p>' if found["sentence"] else ""
    rows = []
    for name in ATTRIBUTES:
        words = [escape(item["label"].replace("_", " ")) for item in found["attributes"].get(name, ())[:3]]
        if words:
            others = f" <small>or {', '.join(words[1:])}</small>" if words[1:] else ""
            rows.append(f"<b>{name.replace('_', ' ')}</b><span>{words[0]}{others}</span>")
    return text + f'<div class="words">{"".join(rows)}</div>'


def notes(pipe: Any, result: dict[str, Any]) -> str:
    """What to know about an answer: how the file differs from the training clips, and for what it was taken."""
    told = [f"Take care: {escape(warning)}." for warning in result.get("warnings", ())]
    if not pipe.model.config.spotting and result["seconds"] >= 10:
        told.append(
            "This file was taken for a clip of one gesture. To find gestures in recordings, fit the checkpoint to "
            "recordings: <code>microgesture fit-spotting</code>."
        )
    return "".join(f'<p class="hint">{text}</p>' for text in told)


def frames(explanation: Any, start: float, end: float) -> str:
    """The frames that the network saw, red where covering a patch costs the class most, with a bar for each frame."""
    size, count = explanation.picture.shape[0], len(explanation.frames)
    most = max(float(explanation.frames.max()), 1e-6)
    tiles = []
    for t, value in enumerate(explanation.frames):
        second = start + (t + 0.5) / count * (end - start)
        file = io.BytesIO()
        Image.fromarray(explanation.picture[:, t * size : (t + 1) * size]).save(file, "PNG")
        data = base64.b64encode(file.getvalue()).decode()
        tiles.append(
            f'<button data-second="{second:.3f}" title="{value:+.3f}"><img alt="frame at {second:.2f} s" '
            f'src="data:image/png;base64,{data}"><span class="bar"><i style="width:{max(0, value / most):.0%}"></i>'
            f"</span>{second:.2f} s</button>"
        )
    return (
        f'<p class="hint">Why <b>{escape(explanation.label)}</b>: red where blurring a patch costs it most; the bar '
        f'is what the frame as a whole is worth.</p><div class="frames">{"".join(tiles)}</div>'
    )


def timeline(result: dict[str, Any], number: int | None) -> str:
    """The segments over time, and as a list; each a button."""
    if not result["segments"]:
        return ""
    seconds, names = result["seconds"], sorted({s["label"] for s in result["segments"]})
    layers: list[float] = []  # when the last segment of each ends
    marks, rows = [], []
    for k, segment in enumerate(result["segments"]):
        start, end, label = segment["start"], segment["end"], escape(segment["label"])
        row = next((r for r, until in enumerate(layers) if until <= start), len(layers))
        layers[row : row + 1] = [end]
        hue = 360 * names.index(segment["label"]) // len(names)
        about = f'data-second="{start:.3f}" data-segment="{k}" class="{"chosen" if k == number else ""}"'
        place = f"left:{start / seconds:.2%};width:{(end - start) / seconds:.2%};top:{4 + 26 * row}px"
        title = f"{start:.1f} to {end:.1f} s: {label}"
        marks.append(
            f'<button {about} title="{title}" aria-label="{title}" style="{place};background:hsl({hue} 55% 50%)">'
            "</button>"
        )
        rows.append(
            f"<button {about}><span>{start:.1f} – {end:.1f} s</span><span>{segment['score']:.0%}</span>"
            f"<span>{label}</span></button>"
        )
    return (
        f'<p class="hint">Found: {len(rows)}. Click one to see it and why.</p>'
        f'<div class="line" style="height:{4 + 26 * len(layers)}px">{"".join(marks)}</div>'
        f'<div class="scale"><span>0 s</span><span>{seconds:.0f} s</span></div><div class="rows">{"".join(rows)}</div>'
    )


def write_tables(pipe: Any, result: dict[str, Any]) -> list[str]:
    """The CSV and the ELAN file of one result, beside the upload and deleted with it."""
    video = Path(result["file"])
    table, elan = (video.with_name(f"{video.stem}{ending}") for ending in (".csv", ".eaf"))
    names = [pipe.model.config.id2label[k] for k in range(pipe.model.config.num_labels)]
    tables.write_csv(table, [result | {"file": video.name}])
    tables.write_eaf(elan, result, [*names, "unknown"])
    return [str(table), str(elan)]


def sweep(folder: Path, keep: set[Path], age: float) -> None:
    """Deletes files that were uploaded, or made of uploads, more than `age` seconds ago."""
    for file in folder.rglob("*"):
        with suppress(OSError):  # moved away meanwhile, as each upload is once when it is whole, or in use on Windows
            if file.is_file() and file not in keep and time.time() - file.stat().st_ctime > age:
                file.unlink()


def keep_clean(folder: Path) -> None:
    """Sweeps now and then for as long as the page runs; what lies there already are the examples."""
    keep = set(folder.rglob("*"))

    def work() -> None:
        while True:
            time.sleep(DELETE_EVERY)
            sweep(folder, keep, DELETE_AFTER)

    threading.Thread(target=work, daemon=True).start()


def one_by_one(worker: ThreadPoolExecutor, steps: Iterator[list[Any]]) -> Iterator[list[Any]]:
    """Takes the steps in the worker's thread, and gives each as it comes."""
    while (step := worker.submit(next, steps, None).result()) is not None:
        yield step


def build(pipe: Any) -> gr.Blocks:
    """The page over a pipeline."""
    examples = sorted(map(str, EXAMPLES.glob("*.mp4")))
    with gr.Blocks(title="Micro-gestures", analytics_enabled=False) as page:
        result = gr.State(None, time_to_live=DELETE_AFTER)
        gr.Markdown(HEAD)
        with gr.Row():
            with gr.Column(min_width=320):
                video = gr.Video(label="Clip or recording", sources=["upload", "webcam"], elem_id="video")
                gr.Examples(examples, video, label="Examples: drawn people, two clips and a recording")
            with gr.Column(min_width=320):
                words = gr.HTML(elem_id="words")
                bars = gr.Label(num_top_classes=TOP, label="Most likely", elem_id="bars")
        line = gr.HTML(js_on_load=SEEK, elem_id="timeline")
        shown = gr.HTML(js_on_load=SEEK, elem_id="frames")
        with gr.Row():
            csv = gr.DownloadButton("Table (CSV)", visible=False, elem_id="csv")
            elan = gr.DownloadButton("ELAN (.eaf)", visible=False, elem_id="elan")
        gr.Markdown(FOOT)

        # One thread for the network: each thread that decodes keeps some memory for itself, and Gradio has forty.
        worker = ThreadPoolExecutor(1)

        def answered(path: str | None) -> Iterator[list[Any]]:
            yield from one_by_one(worker, answer(pipe, path))

        def clicked(found: dict[str, Any] | None, event: gr.EventData) -> Iterator[list[Any]]:
            yield from one_by_one(worker, chosen(pipe, found, event))

        about: dict[str, Any] = {"concurrency_id": "network", "concurrency_limit": 1, "api_visibility": "private"}
        video.change(answered, video, [result, words, bars, shown, line, csv, elan], **about)
        line.select(clicked, result, [words, bars, shown, line], **about)
    return page.queue(max_size=MAX_WAITING)


def launch(page: gr.Blocks, **options: Any) -> Any:
    """Serves the page on this machine only; a Space serves it to those who may see the Space."""
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return page.launch(
        server_name=None if "SPACE_ID" in os.environ else "127.0.0.1", share=False, max_file_size=MAX_UPLOAD,
        app_kwargs={"middleware": [Middleware(Headers)], "docs_url": None, "redoc_url": None},
        theme=theme, css=CSS, head=ANY_FILE, footer_links=[], run_history=False, ssr_mode=False, pwa=False,
        mcp_server=False, enable_monitoring=False, **options,
    )  # fmt: skip


def find_checkpoint(name: str) -> Path:
    """The folder of a checkpoint: a folder, or for a Space the name of a repository, which is fetched once."""
    if "SPACE_ID" not in os.environ or Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))


def main() -> None:
    """Runs the page until it is interrupted."""
    parser = argparse.ArgumentParser(description="The page, on http://127.0.0.1:7860")
    parser.add_argument(
        "checkpoint", nargs="?", default=os.environ.get("FGSGL_CHECKPOINT", "outputs/synthetic"),
        help="folder of a trained checkpoint (default: outputs/synthetic, which `make demo` makes)",
    )  # fmt: skip
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        tables.check_elan()
        pipe = load_pipeline(find_checkpoint(parser.parse_args().checkpoint), device)
    except (ImportError, OSError, ValueError) as error:
        parser.exit(1, f"app.py: {error}\n")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the folder goes as well
    with tempfile.TemporaryDirectory(prefix="micro-gestures-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build(pipe)
        keep_clean(Path(folder))
        launch(page)


if __name__ == "__main__":
    main()
