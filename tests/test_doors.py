"""Every shared file through each of the three doors: a result, or an error of its own, in 10 s and 1 GB."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, SHARED, needs_shared
from devtools import Chromium, needs_chromium
from page_program import served
from peak_memory import forget, peak

from configuration_fgsgl import FGSGLConfig
from microgesture.data.fg_text import VOCABULARY, sentence_parts
from modeling_fgsgl import FGSGLForVideoClassification
from processing_fgsgl import FGSGLProcessor

pytestmark = [
    pytest.mark.slow,
    needs_shared,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc"),
]

SECONDS = 10  # of processor time: the wall clock tells of the machine's other work as well
KIB = 1 << 20

DEMO_VISION = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512,
               "image_size": 96, "patch_size": 16, "attention_bias": True}  # fmt: skip
FILE = "#video input[type=file]"
DONE = """document.querySelector('.refused') || document.querySelectorAll('#frames img').length == 8"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    """A network of the demo's size, which calls every window of a recording a gesture."""
    torch.manual_seed(0)
    text = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64}  # fmt: skip
    limits = {"background": 1.0, "unknown": 0.0, "keep": 1.0, "overlap": 1.0}
    config = FGSGLConfig(
        vision_config=DEMO_VISION, text_config=text, num_frames=8, embed_dim=128, temporal_pooling="learned",
        spatial_pooling="attention", classifier_input="mid_high", id2label={k: f"class {k}" for k in range(17)},
        attribute_words={name: list(words) for name, words in VOCABULARY.items()}, sentence_parts=sentence_parts(),
        spotting={"window_seconds": [1.4, 1.7, 2.1], "hop": 2, "head": limits, "softmax": limits},
    )  # fmt: skip
    words = sum(map(len, VOCABULARY.values()))
    model = FGSGLForVideoClassification(config)
    model.set_prototypes("fine", torch.randn(words, 64), torch.randn(64))
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(folder)
    FGSGLProcessor(num_frames=8, size=96).save_pretrained(folder)
    return str(folder)


def good() -> list[Path]:
    return [p for name in ("videos", "videos_derived") for p in sorted((SHARED / "data" / name).iterdir())]


def bad() -> list[Path]:
    return sorted((SHARED / "data" / "bad_inputs").iterdir())


def judge(found: dict[Path, dict[str, Any]]) -> None:
    """Holds what became of the files against what has to."""
    assert len(found) == len(good()) + len(bad()) > 50
    assert {p.name: f["error"] for p, f in found.items() if f["error"] and p not in bad()} == {}
    messages = [re.sub(r"^\S+: ", "", found[path]["error"]) for path in bad()]
    assert len(set(messages)) == len(bad())
    assert {p.name: f["seconds"] for p, f in found.items() if f["seconds"] > SECONDS} == {}
    assert {p.name: f["kib"] for p, f in found.items() if f["kib"] > KIB} == {}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("door", ["pipeline", "predict"])
def test_python_and_command_line(door, checkpoint) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "tests" / "doors.py"), door, checkpoint, *map(str, good() + bad())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"file"')]
    judge({Path(line["file"]): line for line in lines})


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # its own and those of processes it waited for


@needs_chromium
@pytest.mark.timeout(900)
def test_page(checkpoint, tmp_path) -> None:
    pytest.importorskip("gradio", reason="the page needs Gradio: pip install -e '.[app]'")
    for name in ("chromium", "page"):
        (tmp_path / name).mkdir()
    found = {}
    with served(checkpoint, tmp_path / "page") as (pid, address):
        browser = Chromium(tmp_path / "chromium")
        for path in good() + bad():
            browser.events.clear()
            browser.open(address)
            browser.wait(f"document.querySelector('{FILE}')")
            forget(pid)
            begin = processor_seconds(pid)
            browser.give(FILE, path)
            browser.wait(DONE)
            refused = browser.ask("document.querySelector('.refused')?.innerText ?? null")
            found[path] = {"error": refused, "seconds": processor_seconds(pid) - begin, "kib": peak(pid)}
        browser.close()
    judge(found)
