"""Sending to the Hugging Face Hub: listed first, in one commit, with errors that say what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id

_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{20,}")
_TEXT = {".json", ".jsonl", ".md", ".py", ".yaml"}
_NETWORK_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]  # of httpx, by whichever name huggingface_hub has it
_ATOMIC = (
    "the repository is as it was. Check the network and run the command again: what has arrived is not sent twice"
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Upload:
    """What is going to be published.

    Args:
        repo: `OWNER/NAME`.
        repo_type: `model` or `dataset`.
        files: Path in the repository -> a file, or its content.
        left_out: What lies in the folder and is not published.
        replaces: Pattern of the paths that are removed from the repository when they are not in `files`.
        base: For adapters: repository and commit of the network that they belong to.
    """

    repo: str
    repo_type: str
    files: dict[str, Path | bytes]
    left_out: tuple[str, ...]
    replaces: str
    base: tuple[str, str] | None = None

    def listing(self) -> str:
        """The files with their sizes; many of one folder on one line."""
        folders: dict[str, list[str]] = {}
        for name in sorted(self.files):
            folders.setdefault(str(PurePosixPath(name).parent), []).append(name)
        rows: list[tuple[str, int]] = []
        for folder, names in folders.items():
            sizes = [_size(self.files[name]) for name in names]
            many = len(names) > 20
            rows += [(f"{folder}/ ({len(names)} files)", sum(sizes))] if many else zip(names, sizes, strict=True)
        total = sum(size for _, size in rows)
        width = max(len(name) for name, _ in rows)
        lines = [f"to {self.repo_type} {self.repo}: {len(self.files)} files, {_readable(total)}"]
        lines += [f"  {name:<{width}}  {_readable(size):>9}" for name, size in rows]
        if self.left_out:
            lines.append(f"not published: {', '.join(self.left_out)}")
        return "\n".join(lines)


def _size(source: Path | bytes) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def _readable(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "B" else f"{size} B"
        size /= 1000
    return f"{size:.3g} GB"


def check_name(repo: str) -> None:
    """Refuses what is no name of a repository.

    Raises:
        ValueError: With what a name looks like.
    """
    if repo.count("/") != 1:
        raise ValueError(f"{repo!r} is no repository on the Hub: give OWNER/NAME, e.g. your-user-name/fgsgl-smg")
    try:
        validate_repo_id(repo)
    except ValueError as error:
        raise ValueError(f"{repo!r} is no name the Hub takes for a repository: {error}") from error


def left_out(folder: Path, published: Iterable[str]) -> tuple[str, ...]:
    """What lies in the folder itself and is not published, hidden files aside."""
    kept = {PurePosixPath(name).parts[0] for name in published}
    rest = [path for path in sorted(folder.iterdir()) if path.name not in kept and not path.name.startswith(".")]
    return tuple(path.name + "/" * path.is_dir() for path in rest)


def without_tokens(upload: Upload) -> Upload:
    """The same upload, once no text file in it is seen to hold a token.

    Raises:
        ValueError: One does; the message names it.
    """
    for name, source in upload.files.items():
        if PurePosixPath(name).suffix in _TEXT:
            data = source if isinstance(source, bytes) else source.read_bytes()
            if _TOKEN.search(data):
                raise ValueError(
                    f"{name} holds what looks like a Hugging Face token: take it out, and revoke it at "
                    "https://huggingface.co/settings/tokens if anybody else may have read it"
                )
    return upload


def open_repo(
    repo: str,
    repo_type: str = "model",
    private: bool | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> str:
    """Makes the repository, or finds it, and sees that it may be written.

    Args:
        repo: `OWNER/NAME`, or a name of the token's owner.
        repo_type: `model` or `dataset`.
        private: Whether a new repository is private; default: as the owner's settings say.
        revision: A branch that is made when it is missing.
        token: Default: the one of `hf auth login`, or HF_TOKEN.

    Returns:
        Its full name.

    Raises:
        PermissionError: No token, it may not write there, or the repository is public and should be private.
        ConnectionError: The Hub cannot be reached.
    """
    if (token or get_token()) is None:
        raise PermissionError(
            "there is no Hugging Face token on this machine: run `hf auth login`, or set HF_TOKEN, with a token that "
            "may write (https://huggingface.co/settings/tokens)"
        )
    api = HfApi(token=token)
    with plain_errors(repo):
        repo = api.create_repo(repo, repo_type=repo_type, private=private, exist_ok=True).repo_id
        if private and not api.repo_info(repo, repo_type=repo_type).private:
            raise PermissionError(
                f"{repo} exists and is public: make it private in its settings on the Hub, or name another repository"
            )
        if revision and revision != constants.DEFAULT_REVISION:
            api.create_branch(repo, repo_type=repo_type, branch=revision, exist_ok=True)
    return repo


def send(upload: Upload, say: Say, *, revision: str | None = None, token: str | None = None) -> str:
    """Sends everything in one commit, which the Hub stores whole or not at all.

    Args:
        upload: What to send; its repository is there (`open_repo`).
        say: Takes each line for the user.
        revision: The branch; default: main.
        token: Default: the one of `hf auth login`, or HF_TOKEN.

    Returns:
        The commit.

    Raises:
        OSError: No network, or the Hub refuses.
    """
    api = HfApi(token=token)
    where: dict[str, Any] = {"repo_type": upload.repo_type, "revision": revision}
    with plain_errors(upload.repo):
        there = api.list_repo_files(upload.repo, **where)
        old = sorted(n for n in there if n not in upload.files and re.fullmatch(upload.replaces, n))
        operations: list[Any] = [CommitOperationAdd(name, source) for name, source in upload.files.items()]
        operations += [CommitOperationDelete(name) for name in old]
        message = f"Publish {len(upload.files)} files with microgesture"
        commit = api.create_commit(upload.repo, operations, commit_message=message, **where)
    if old:
        say(f"removed from {upload.repo} (its history still has them): {', '.join(old)}")
    say(f"published: {commit.commit_url}")
    return str(commit.oid)


@contextmanager
def plain_errors(repo: str) -> Iterator[None]:
    """Says what the Hub's errors mean and what to do; a missing repository is left to the caller."""
    try:
        yield
    except RepositoryNotFoundError:
        raise
    except OfflineModeIsEnabled as error:
        raise ConnectionError("HF_HUB_OFFLINE is set, so the Hub is not asked: unset it to publish") from error
    except HfHubHTTPError as error:
        status, reason = error.response.status_code, error.server_message or "no reason given"
        if status in (401, 403):
            raise PermissionError(
                f"the Hub refuses {repo} ({reason}): use a token that may write there (`hf auth login`), and check "
                "the owner's name"
            ) from error
        raise ConnectionError(f"the Hub answered {status} for {repo} ({reason}); {_ATOMIC}") from error
    except _NETWORK_ERROR as error:
        raise ConnectionError(f"{constants.ENDPOINT} cannot be reached ({error}); {_ATOMIC}") from error
    except RuntimeError as error:  # how huggingface_hub wraps what went wrong with one large file
        if not isinstance(error.__cause__, _NETWORK_ERROR):
            raise
        raise ConnectionError(f"{error} ({error.__cause__}); {_ATOMIC}") from error
