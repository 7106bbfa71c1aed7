"""A page in a headless Chromium: what its console says, and whether its pictures are there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")

# Shows the page in a frame and writes down what became of it; the page itself allows no script.
WATCHER = """<!DOCTYPE html><title>watcher</title><iframe id="page" src="{page}" width="1200" height="900"></iframe>
<script>
document.getElementById("page").addEventListener("load", async (event) => {{
  const inside = event.target.contentDocument;
  const images = [...inside.images];
  await Promise.all(images.map((image) => image.decode().catch(() => null)));
  document.title = JSON.stringify({{
    title: inside.title,
    pictures: images.map((image) => [image.alt, image.naturalWidth]),
    overflow: inside.documentElement.scrollWidth - inside.documentElement.clientWidth,
    text: inside.body.innerText,
    scripts: inside.scripts.length,
  }});
}});
</script>"""


@dataclass(frozen=True)
class Look:
    """What was seen."""

    console: list[str]
    title: str
    pictures: list[tuple[str, int]]
    overflow: int
    text: str
    scripts: int


def look_at(page: Path, folder: Path) -> Look:
    """Opens a page without a network.

    Args:
        page: The HTML file.
        folder: An empty folder for the browser.
    """
    watcher = folder / "watcher.html"
    watcher.write_text(WATCHER.format(page=page.as_uri()), encoding="utf-8")
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--allow-file-access-from-files", "--enable-logging=stderr", "--proxy-server=127.0.0.1:9",
        f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000", "--dump-dom", watcher.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title is not None, done.stderr[-2000:]
    seen = json.loads(unescape(title.group(1)))
    pictures = [(alt, width) for alt, width in seen.pop("pictures")]
    return Look(console=console, pictures=pictures, **seen)
