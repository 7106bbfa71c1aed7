"""A training run that publishes its checkpoint: `--push_to_hub`, with the Trainer's own flags for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from microgesture.arguments import FGSGLTrainingArguments
from microgesture.hub.checkpoint import publish, whole_checkpoint
from microgesture.hub.upload import Say, open_repo


def open_run(training: FGSGLTrainingArguments) -> None:
    """Opens the repository and keeps its whole name as `hub_model_id`: at the start, and not after hours of training.

    Raises:
        PermissionError: No token, it may not write there, or the repository is public and should be private.
        ConnectionError: The Hub cannot be reached.
    """
    repo = training.hub_model_id or Path(training.output_dir).absolute().name
    training.hub_model_id = open_repo(repo, **_options(training))


def publish_run(training: FGSGLTrainingArguments, say: Say) -> None:
    """Publishes the complete checkpoint, as `microgesture push` does.

    Args:
        training: Names the run's folder and the repository.
        say: Gets lines for people.

    Raises:
        SystemExit: It could not be published; the checkpoint is on disk all the same.
    """
    output, repo = Path(training.output_dir), str(training.hub_model_id)
    try:
        upload = whole_checkpoint(output, repo)
        say(upload.listing())
        publish(output, upload, say, **_options(training))
    except (OSError, ValueError) as error:
        raise SystemExit(
            f"the run has ended and its checkpoint is whole in {output}, but: {error}. "
            f"To publish it later: microgesture push {output} {repo}"
        ) from error


def _options(training: FGSGLTrainingArguments) -> dict[str, Any]:
    return {"private": training.hub_private_repo, "revision": training.hub_revision, "token": training.hub_token}
