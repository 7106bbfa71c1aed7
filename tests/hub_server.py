"""A Hub on this machine: the part of huggingface.co's HTTP API that pushing, loading and `load_dataset` use.

It keeps everything in memory, and refuses what the real one would: writing without a token, a private repository read
without one, a large file whose bytes are not those of its sha256, a commit that names bytes which never came, a card
whose head is no YAML. A commit is stored whole or not at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_" + "aTokenThatMustNotLeak" * 2
REGULAR_LIMIT = 10 * 2**20


@dataclass
class Repo:
    """One repository: commits are whole trees, branches name one of them."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {}})
    branches: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """The files of a branch or commit."""
        return self.commits[self.branches.get(revision, revision)]


class HubServer(ThreadingHTTPServer):
    """Serves on a free port of the loopback device until `close`.

    Args:
        serve: Changes the bytes of a file as it is served; for faults.
        receive: Called with each large file before it is kept; for faults.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}  # "models/me/name", "datasets/me/name"
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.serve: Callable[[str, bytes], bytes] = lambda path, data: data
        self.receive: Callable[[bytes], None] = lambda data: None
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Address of the server, for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_port}"

    def close(self) -> None:
        """Stops the server."""
        self.shutdown()
        self.server_close()


class Refused(Exception):  # noqa: N818
    """A request that the Hub answers with an error."""

    def __init__(self, status: int, code: str, message: str = "", **more: str) -> None:
        super().__init__(message or code)
        self.status, self.code, self.more = status, code, more


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
            self.send(200, *self.route(parts))
        except Refused as refused:
            headers = {"X-Error-Code": refused.code, "X-Error-Message": str(refused)}
            self.send(refused.status, json.dumps({"error": str(refused)} | refused.more).encode(), headers)

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body)), "X-Request-Id": "local"} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def route(self, parts: list[str]) -> tuple[bytes, dict[str, str]]:
        if parts[:1] == ["lfs"]:
            return self.lfs_object(parts[1])
        if parts[0] == "api" and parts[1] not in ("models", "datasets"):
            names = {"api/repos/create": self.create, "api/validate-yaml": self.validate_yaml}
            call = names.get("/".join(parts))
            if call is None:
                raise Refused(404, "NotFound")
            return reply(call(json.loads(self.body)))
        if parts[0] == "api":
            key, rest = "/".join(parts[1:4]), parts[4:]
            return reply(self.api(key, rest[0] if rest else "revision", rest[1:]))
        kind = parts.pop(0) if parts[0] == "datasets" else "models"
        owner, name, action, *rest = parts
        if action == "info":
            return reply(self.lfs_batch(f"{kind}/{owner}/{name.removesuffix('.git')}", json.loads(self.body)))
        if action != "resolve":
            raise Refused(404, "NotFound")
        repo = self.repo(f"{kind}/{owner}/{name}")
        return self.resolve(repo, rest[0], "/".join(rest[1:]))

    # ---- repositories -----------------------------------------------------------------------------------------------

    def signed_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def writing(self) -> None:
        if not self.signed_in():
            raise Refused(401, "Unauthorized", "Invalid username or password.")

    def repo(self, key: str) -> Repo:
        repo = self.server.repos.get(key)
        if repo is None or (repo.private and not self.signed_in()):
            raise Refused(404 if self.signed_in() else 401, "RepoNotFound", "Repository not found")
        return repo

    def create(self, ask: dict) -> dict:
        self.writing()
        owner = ask.get("organization") or "me"
        if owner != "me":
            raise Refused(403, "Forbidden", f"You don't have the rights to create a model under {owner}")
        kind = ask.get("type", "model") + "s"
        key = f"{kind}/me/{ask['name']}"
        url = f"{self.server.url}/{'datasets/' if kind == 'datasets' else ''}me/{ask['name']}"
        if key in self.server.repos:
            raise Refused(409, "Conflict", "You already created this repo", url=url)
        self.server.repos[key] = Repo(private=ask.get("visibility") == "private")
        return {"url": url, "name": f"me/{ask['name']}"}

    def validate_yaml(self, ask: dict) -> dict:
        head = ask["content"].split("---\n")[1] if ask["content"].startswith("---\n") else ""
        if not isinstance(yaml.safe_load(head), dict):
            raise Refused(400, "BadRequest", "Invalid metadata in README.md")
        return {"errors": [], "warnings": []}

    def api(self, key: str, action: str, rest: list[str]) -> Any:
        repo = self.repo(key)
        revision = rest[0] if rest else "main"
        if action in ("preupload", "commit", "branch"):
            self.writing()
        if action == "branch":
            if revision in repo.branches:
                raise Refused(409, "Conflict", f"{revision} exists")
            repo.branches[revision] = repo.branches["main"]
            return {}
        if revision not in repo.branches and revision not in repo.commits:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if action == "preupload":
            return {"files": [upload_mode(one) for one in json.loads(self.body)["files"]]}
        if action == "commit":
            return self.commit(repo, key, revision)
        files = repo.files(revision)
        if action == "tree":
            return tree(files, "".join(f"{part}/" for part in rest[1:]), "recursive=true" in self.path.lower())
        if action == "paths-info":
            wanted = self.paths_asked()
            return [entry(path, files[path]) for path in wanted if path in files]
        if action != "revision":
            raise Refused(404, "NotFound")
        siblings = [{"rfilename": path} for path in files]
        sha = repo.branches.get(revision, revision)
        return {"id": key.split("/", 1)[1], "sha": sha, "private": repo.private, "siblings": siblings, "tags": []}

    def paths_asked(self) -> list[str]:
        if "json" in self.headers.get("Content-Type", ""):
            paths = json.loads(self.body)["paths"]
            return [paths] if isinstance(paths, str) else paths
        fields = [pair.split("=", 1) for pair in self.body.decode().split("&")]
        return [unquote(value.replace("+", " ")) for name, value in fields if name == "paths"]

    # ---- writing ----------------------------------------------------------------------------------------------------

    def commit(self, repo: Repo, key: str, branch: str) -> dict:
        operations = [json.loads(line) for line in self.body.splitlines()]
        if operations[0]["key"] != "header" or not operations[0]["value"]["summary"]:
            raise Refused(400, "BadRequest", "a commit begins with its message")
        files = dict(repo.files(branch))
        for operation in operations[1:]:
            value = operation["value"]
            if operation["key"] == "deletedFile":
                del files[value["path"]]
            elif operation["key"] == "lfsFile":
                data = self.server.blobs.get(value["oid"], b"")
                if value["algo"] != "sha256" or hashlib.sha256(data).hexdigest() != value["oid"]:
                    raise Refused(400, "BadRequest", f"{value['path']}: its bytes were never uploaded")
                if value["size"] != len(data):
                    raise Refused(400, "BadRequest", f"{value['path']}: wrong size")
                files[value["path"]] = data
            else:
                data = base64.b64decode(value["content"], validate=True)
                if is_large(value["path"], data, len(data)):
                    raise Refused(400, "BadRequest", f"{value['path']} must be uploaded as a large file")
                files[value["path"]] = data
        sha = hashlib.sha1(self.body + repo.branches[branch].encode()).hexdigest()
        repo.commits[sha] = files
        repo.branches[branch] = sha
        return {"commitUrl": f"{self.server.url}/{key.removeprefix('models/')}/commit/{sha}", "commitOid": sha}

    def lfs_batch(self, key: str, ask: dict) -> dict:
        self.writing()
        self.repo(key)
        answers = []
        for one in ask["objects"]:
            if one["oid"] in self.server.blobs:
                answers.append(one)
            else:
                answers.append(one | {"actions": {"upload": {"href": f"{self.server.url}/lfs/{one['oid']}"}}})
        return {"transfer": "basic", "objects": answers}

    def lfs_object(self, oid: str) -> tuple[bytes, dict[str, str]]:
        self.server.receive(self.body)
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refused(400, "BadRequest", "the bytes are not those of their sha256")
        self.server.blobs[oid] = self.body
        return b"", {}

    # ---- reading ----------------------------------------------------------------------------------------------------

    def resolve(self, repo: Repo, revision: str, path: str) -> tuple[bytes, dict[str, str]]:
        sha = repo.branches.get(revision, revision)
        if sha not in repo.commits:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if path not in repo.commits[sha]:
            raise Refused(404, "EntryNotFound", "Entry not found")
        data = self.server.serve(path, repo.commits[sha][path])
        return data, {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": sha}


def reply(value: Any) -> tuple[bytes, dict[str, str]]:
    """A JSON answer."""
    return json.dumps(value).encode(), {"Content-Type": "application/json"}


def is_large(path: str, sample: bytes, size: int) -> bool:
    """Whether the Hub keeps a file as a large one."""
    return size > REGULAR_LIMIT or path.endswith((".safetensors", ".mp4", ".npy", ".bin")) or b"\0" in sample


def upload_mode(ask: dict) -> dict:
    """How one file has to be uploaded."""
    large = is_large(ask["path"], base64.b64decode(ask["sample"]), ask["size"])
    return {"path": ask["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": None}


def entry(path: str, data: bytes) -> dict:
    """A file as the tree lists it."""
    return {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}


def tree(files: dict[str, bytes], folder: str, recursive: bool) -> list[dict]:
    """Files and folders below `folder` ("" or "a/b/")."""
    below = {path: data for path, data in files.items() if path.startswith(folder)}
    if folder and not below:
        raise Refused(404, "EntryNotFound", f"{folder} does not exist")
    parents = {str(parent) for path in below for parent in PurePosixPath(path).parents}
    found = [entry(path, data) for path, data in below.items()]
    found += [{"type": "directory", "path": p, "size": 0, "oid": ""} for p in sorted(parents) if p.startswith(folder)]
    return [one for one in found if recursive or "/" not in one["path"].removeprefix(folder)]
