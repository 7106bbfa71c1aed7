"""A headless Chromium that is driven over the DevTools protocol, on two pipes, with the standard library alone."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import select
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
A4, MARGIN = (210, 297), 14  # mm; the margin is page.css's
INCH, PIXELS = 25.4, 96  # mm, and CSS pixels, of an inch


class Chromium:
    """One window.

    Args:
        folder: An empty folder for the browser's profile and downloads.
    """

    def __init__(self, folder: Path) -> None:
        self.downloads = folder / "downloads"
        self.downloads.mkdir()
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        command = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--remote-debugging-pipe", "--no-first-run", "--disable-background-networking",
            "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
            f"--user-data-dir={folder / 'profile'}", "about:blank",
        ]  # fmt: skip

        def wire() -> None:  # the protocol wants the pipes to be numbers 3 and 4 of the browser
            ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser, from_browser)]
            for number, end in zip((3, 4), ends, strict=True):
                os.dup2(end, number)

        self._process = subprocess.Popen(command, preexec_fn=wire, pass_fds=(3, 4), stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self._number, self._buffer, self._session = 0, b"", None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "DOM", "Log"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def close(self) -> None:
        """Ends the browser."""
        self._process.terminate()
        self._process.wait(20)
        os.close(self._out)
        os.close(self._in)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command, and its answer; events that come meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + 60
        while True:
            answer = self._receive(until - time.monotonic())
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _receive(self, seconds: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(seconds, 0))
            assert ready, "the browser does not answer"
            data = os.read(self._in, 1 << 20)
            assert data, "the browser has ended"
            self._buffer += data
        first, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(first)
        if "method" in message:
            self.events.append(message)
        return message

    def open(self, url: str, width: int = 1280, height: int = 900) -> None:
        """Opens a page in a window of a size."""
        self.resize(width, height)
        self.call("Page.navigate", url=url)

    def resize(self, width: int, height: int) -> None:
        """Makes the window wide or narrow."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def ask(self, script: str) -> Any:
        """The value of an expression on the page."""
        about = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in about, about["exceptionDetails"]
        return about["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> None:
        """Waits until an expression is true."""
        until = time.monotonic() + seconds
        while not self.ask(f"!!({script})"):
            assert time.monotonic() < until, f"never true: {script}\n{self.ask('document.body.innerText')[:3000]}"
            time.sleep(0.2)

    def give(self, selector: str, file: Path) -> None:
        """Chooses a file in a file field."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        field = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        assert field, selector
        self.call("DOM.setFileInputFiles", files=[str(file)], nodeId=field)

    def downloaded(self, ending: str, seconds: float = 30) -> Path:
        """A file that was downloaded, when it is whole."""
        until = time.monotonic() + seconds
        while not (found := sorted(self.downloads.glob(f"*{ending}"))):
            assert time.monotonic() < until, list(self.downloads.iterdir())
            time.sleep(0.1)
        return found[0]

    def asked_for(self) -> set[str]:
        """Addresses that the page wanted and the browser tried."""
        return {e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"}

    def complaints(self) -> list[str]:
        """What the console holds as errors."""
        entries = [e["params"]["entry"] for e in self.events if e["method"] == "Log.entryAdded"]
        thrown = [
            str(e["params"]["exceptionDetails"]) for e in self.events if e["method"] == "Runtime.exceptionThrown"
        ]
        return [f"{e['text']} {e.get('url', '')}" for e in entries if e["level"] == "error"] + thrown

    def picture(self, path: Path, whole: bool = True) -> None:
        """Writes what the window shows as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self) -> bytes:
        """The page as it is printed on A4."""
        width, height = (side / INCH for side in A4)
        return base64.b64decode(self.call("Page.printToPDF", paperWidth=width, paperHeight=height)["data"])


@dataclass(frozen=True)
class Look:
    """What was seen of a page.

    Args:
        console: All that the console holds, of whatever level.
        asked_for: Addresses of the network that it wanted.
        title: Its title.
        pictures: What each picture is said to show, and its width; 0 for one that is not there.
        overflow: By how many pixels it is wider than the window.
        text: What can be read on it.
        scripts: How many it has.
        print_overflow: By how many pixels it is wider than a sheet of A4 between its margins, laid out for printing;
            the browser makes everything smaller to fit it in.
        sheets: Pages of the PDF file that it is printed to.
    """

    console: list[str]
    asked_for: set[str]
    title: str
    pictures: list[tuple[str, int]]
    overflow: int
    text: str
    scripts: int
    print_overflow: int
    sheets: int


OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
LOOK = """(async () => {
  const images = [...document.images];
  await Promise.all(images.map((image) => image.decode().catch(() => null)));
  return {
    title: document.title,
    pictures: images.map((image) => [image.alt, image.naturalWidth]),
    overflow: OVERFLOW,
    text: document.body.innerText,
    scripts: document.scripts.length,
  };
})()""".replace("OVERFLOW", OVERFLOW)


def look_at(page: Path, folder: Path) -> Look:
    """Opens a page of this machine, and prints it.

    Args:
        page: The HTML file.
        folder: An empty folder for the browser.
    """
    browser = Chromium(folder)
    try:
        browser.open(page.as_uri())
        browser.wait(f"location.href == {json.dumps(page.as_uri())} && document.readyState == 'complete'")
        seen = browser.ask(LOOK)
        seen["sheets"] = len(re.findall(rb"/Type\s*/Page\b", browser.pdf()))
        browser.call("Emulation.setEmulatedMedia", media="print")
        browser.resize(int((A4[0] - 2 * MARGIN) / INCH * PIXELS), 1000)
        seen["print_overflow"] = browser.ask(OVERFLOW)
        kinds = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        console = [json.dumps(event["params"]) for event in browser.events if event["method"] in kinds]
        asked_for = {url for url in browser.asked_for() if not url.startswith(("file:", "data:", "about:"))}
    finally:
        browser.close()
    pictures = [(alt, width) for alt, width in seen.pop("pictures")]
    return Look(console=console, asked_for=asked_for, pictures=pictures, **seen)
