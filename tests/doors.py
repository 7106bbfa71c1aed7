"""Two of the three doors, as a program: what becomes of each file, and what it costs; no tests in here.

python doors.py pipeline|predict CHECKPOINT FILE...    # a line of JSON per file: file, error, seconds, kib
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peak_memory import forget, peak


def through_the_pipeline(checkpoint: str, files: list[str]) -> Iterator[dict[str, Any]]:
    """One pipeline, as a Python session has it, and file after file."""
    from transformers import pipeline

    pipe = pipeline("micro-gesture-recognition", model=checkpoint, trust_remote_code=True, device="cpu")
    for file in files:
        forget()
        begin = time.process_time()
        (answer,) = pipe([file], attributes=True)
        yield {"error": answer.get("error", {}).get("message"), "seconds": time.process_time() - begin, "kib": peak()}


def through_the_command(checkpoint: str, files: list[str]) -> Iterator[dict[str, Any]]:
    """A process for each file, as `microgesture predict` is; the libraries are imported once, before all of them."""
    import pipeline_fgsgl  # noqa: F401
    from microgesture import cli

    for file in files:
        with tempfile.TemporaryDirectory() as folder:
            journal, cost = Path(folder, "found.jsonl"), Path(folder, "cost.json")
            child = os.fork()
            if not child:
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    status = cli.main(["predict", checkpoint, file, "--device", "cpu", "--json", str(journal)])
                cost.write_text(json.dumps({"seconds": time.process_time(), "kib": peak()}))
                os._exit(status)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            error = json.loads(journal.read_text().splitlines()[1]).get("error", {}).get("message")
            assert status == (1 if error else 0), (file, status)
            yield {"error": error} | json.loads(cost.read_text())


if __name__ == "__main__":
    door = {"pipeline": through_the_pipeline, "predict": through_the_command}[sys.argv[1]]
    for name, found in zip(sys.argv[3:], door(sys.argv[2], sys.argv[3:]), strict=True):
        sys.stdout.write(json.dumps({"file": name} | found) + "\n")
