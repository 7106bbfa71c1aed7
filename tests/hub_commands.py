"""Commands in processes of their own that talk to the Hub of hub_server.py."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from conftest import ROOT
from hub_server import TOKEN, HubServer


def environment(server: HubServer, home: Path, token: str | None = TOKEN) -> dict[str, str]:
    """HF_ENDPOINT is read when huggingface_hub is imported, so every command is a process of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_DATASETS_CACHE")}
    ours = {"HF_ENDPOINT": server.url, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    return kept | ours | {"PYTHONPATH": str(ROOT)} | ({"HF_TOKEN": token} if token else {})


def run(server: HubServer, home: Path, *argv: object, token: str | None = TOKEN, status: int = 0) -> str:
    """Runs a command; everything it said."""
    done = subprocess.run(
        [sys.executable, *map(str, argv)], cwd=home, env=environment(server, home, token),
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == status, said[-3000:]
    assert TOKEN not in said
    return said


def microgesture(server: HubServer, home: Path, *argv: object, token: str | None = TOKEN, status: int = 0) -> str:
    return run(server, home, "-m", "microgesture.cli", *argv, token=token, status=status)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
