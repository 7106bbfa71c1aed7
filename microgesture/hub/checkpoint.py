"""Publishing checkpoints: what belongs to one, whole or adapters alone, and that a stranger gets the same answers."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import RepositoryNotFoundError

from microgesture.hub.load_back import loader
from microgesture.hub.upload import Say, Upload, check_name, left_out, open_repo, plain_errors, send, without_tokens
from microgesture.model_card import CARD_FILE, PLACEHOLDER, model_card
from microgesture.run_record import RECORD_FILE

CONFIG_FILE, WEIGHTS_FILE, INDEX_FILE = "config.json", "model.safetensors", "model.safetensors.index.json"
PROCESSOR_FILE = "preprocessor_config.json"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TOLERANCE, ADAPTER_TOLERANCE = 1e-5, 1e-4  # of the answers, relative to their size
# Settings in which a network and what a run made of it may differ: training switches the cache off.
_OF_THE_RUN = {"transformers_version", "dtype", "use_cache"}
# Weights and pickles of an earlier push, training_args.bin among them, must not stay beside the new ones.
_OLD_WEIGHTS = r"[^/]+\.(bin|pt|pth|ckpt|safetensors|safetensors\.index\.json)"


def whole_checkpoint(folder: Path, repo: str) -> Upload:
    """A complete checkpoint: merged weights, code, configuration, processor, record of the run, model card.

    Args:
        folder: As `train_fgsgl.py` writes it.
        repo: `OWNER/NAME`.

    Raises:
        ValueError: The repository's name is none, or a file holds a token.
        FileNotFoundError: The checkpoint is not complete; the message names what is missing.
    """
    check_name(repo)
    names = checkpoint_files(folder)
    files: dict[str, Path | bytes] = {name: folder / name for name in names}
    files[CARD_FILE] = _card(folder, repo)
    return without_tokens(Upload(repo, "model", files, left_out(folder, files), _OLD_WEIGHTS))


def adapter_only(folder: Path, repo: str, base: str, token: str | None = None) -> Upload:
    """What a LoRA run trained, alone: adapters, heads with their prototypes, record and card.

    Args:
        folder: As `train_fgsgl.py` writes it; the adapters are in `folder/adapter`.
        repo: `OWNER/NAME`.
        base: Repository of the network that the run started from, as a complete checkpoint.
        token: Token for a private base; default: the one of `hf auth login`.

    Raises:
        FileNotFoundError: The run had no adapters, or the checkpoint is not complete.
        ValueError: The base is another network, or has other code than this checkpoint.
        OSError: The base cannot be read.
    """
    check_name(repo)
    check_name(base)
    checkpoint_files(folder)  # the merged checkpoint is what the published one is compared with
    config = folder / "adapter" / ADAPTER_CONFIG
    if not config.is_file():
        raise FileNotFoundError(
            f"{config} does not exist: only a run with `vision_tuning: lora` has adapters. "
            "Publish the whole checkpoint, without --adapter"
        )
    commit = _check_base(folder, base, token)
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings |= {"base_model_name_or_path": base, "revision": commit}
    card = model_card(_json(folder / CONFIG_FILE), _record(folder), repo, (base, commit))
    files: dict[str, Path | bytes] = {
        ADAPTER_CONFIG: (json.dumps(settings, indent=2, sort_keys=True) + "\n").encode(),
        ADAPTER_WEIGHTS: folder / "adapter" / ADAPTER_WEIGHTS,
        CARD_FILE: card.encode(),
    }
    if (folder / RECORD_FILE).is_file():
        files[RECORD_FILE] = folder / RECORD_FILE
    rest = left_out(folder, [*files, "adapter"])
    return without_tokens(Upload(repo, "model", files, rest, _OLD_WEIGHTS, (base, commit)))


def checkpoint_files(folder: Path) -> list[str]:
    """Names of the files that a complete checkpoint consists of, the card aside.

    Raises:
        FileNotFoundError: Something is missing; the message names it.
        ValueError: The checkpoint's code is that of another repository.
    """
    if (folder / ADAPTER_CONFIG).is_file():
        raise FileNotFoundError(
            f"{folder} holds adapters only. Give the folder of the whole run, and --adapter --base REPOSITORY"
        )
    wanted = [CONFIG_FILE, PROCESSOR_FILE]
    if (folder / INDEX_FILE).is_file() and not (folder / WEIGHTS_FILE).is_file():
        wanted += [INDEX_FILE, *sorted(set(_json(folder / INDEX_FILE)["weight_map"].values()))]
    else:
        wanted.append(WEIGHTS_FILE)
    wanted += _code_files(folder)
    missing = [name for name in wanted if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} is not a complete checkpoint; missing: {', '.join(missing)}. Give the --output_dir of a run of "
            "train_fgsgl.py that has ended, or a folder to which model and processor were saved with save_pretrained"
        )
    return wanted + [RECORD_FILE] * (folder / RECORD_FILE).is_file()


def _code_files(folder: Path) -> list[str]:
    """The Python files that config and processor name, and those that these import from beside them."""
    open_ends: list[str] = []
    for name in (CONFIG_FILE, PROCESSOR_FILE):
        mapped = _json(folder / name).get("auto_map", {}) if (folder / name).is_file() else {}
        for reference in mapped.values():
            if "--" in reference:
                raise ValueError(
                    f"{folder / name} takes its code from {reference.split('--')[0]}: save model and processor again "
                    "with the code beside them before you publish them"
                )
            open_ends.append(reference.split(".")[0])
    found: list[str] = []
    while open_ends:
        file = f"{open_ends.pop()}.py"
        if file not in found:
            found.append(file)
            open_ends += _siblings(folder / file) if (folder / file).is_file() else []
    return sorted(found)


def _siblings(path: Path) -> list[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module]


def _card(folder: Path, repo: str) -> bytes:
    """The folder's own card, which may have been edited, with the repository's name; a new one where there is none."""
    path = folder / CARD_FILE
    if path.is_file():
        return path.read_text(encoding="utf-8").replace(PLACEHOLDER, repo).encode()
    return model_card(_json(folder / CONFIG_FILE), _record(folder), repo).encode()


def _record(folder: Path) -> dict[str, Any] | None:
    return _json(folder / RECORD_FILE) if (folder / RECORD_FILE).is_file() else None


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _check_base(folder: Path, base: str, token: str | None) -> str:
    """The base's newest commit, once its settings and code are seen to be this checkpoint's own."""
    api = HfApi(token=token)
    try:
        with plain_errors(base):
            commit = api.repo_info(base).sha
            present = set(api.list_repo_files(base, revision=commit))
            # What is loaded back runs the base's code, so only code that is already here is ever run.
            code = [name for name in checkpoint_files(folder) if name.endswith(".py")]
            wanted = [CONFIG_FILE, PROCESSOR_FILE, *code]
            missing = [name for name in wanted if name not in present]
            theirs = {name: _content(api, base, commit, name) for name in wanted if name in present}
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"the base {base} does not exist, or is private and not yours: publish the network that the run started "
            f"from first, with `microgesture push FOLDER {base}`"
        ) from error
    if missing:
        raise ValueError(f"the base {base} is no complete FG-SGL checkpoint; missing: {', '.join(missing)}")
    for name, data in theirs.items():
        ours = (folder / name).read_bytes()
        if name.endswith(".py") and data != ours:
            raise ValueError(f"the base {base} has another {name} than {folder}: publish both from the same version")
        if name.endswith(".json") and (fields := _other_fields(json.loads(data), json.loads(ours))):
            raise ValueError(f"the base {base} is another network than {folder}: {name} differs in {fields}")
    return str(commit)


def _content(api: HfApi, repo: str, commit: str | None, name: str) -> bytes:
    return Path(api.hf_hub_download(repo, name, revision=commit)).read_bytes()


def _other_fields(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    names = sorted((set(theirs) | set(ours)) - _OF_THE_RUN)
    return ", ".join(name for name in names if theirs.get(name) != ours.get(name))


def publish(
    folder: Path,
    upload: Upload,
    say: Say,
    *,
    private: bool | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> str:
    """Loads the checkpoint, sends it, loads it back from the commit, and compares the answers.

    Both are loaded as a stranger would, with `AutoModel`, in a process with empty caches; this runs the Python files
    of the checkpoint. A seeded random clip goes through both.

    Args:
        folder: The checkpoint's folder; for adapters, that of the merged checkpoint beside them.
        upload: From `whole_checkpoint` or `adapter_only`.
        say: Takes each line for the user.
        private: Whether a new repository is private; default: as the owner's settings say.
        revision: The branch; default: main.
        token: Default: the one of `hf auth login`, or HF_TOKEN.

    Returns:
        The commit.

    Raises:
        ValueError: The checkpoint does not load, or what was published does not give its answers.
        OSError: No token, no network, or the Hub refuses.
    """
    open_repo(upload.repo, private=private, revision=revision, token=token)
    with loader(token or get_token()) as ask:
        say("loading the checkpoint as it lies here")
        ask({"model": str(folder.resolve())}, f"{folder} cannot be loaded, so nothing was published")
        commit = send(upload, say, revision=revision, token=token)
        where = f"{upload.repo} at commit {commit}"
        say(f"loading back {where}")
        question = {"model": upload.repo, "revision": commit}
        if upload.base:
            base, base_commit = upload.base
            question = {"model": base, "revision": base_commit, "adapter": upload.repo, "adapter_revision": commit}
        found = ask(question, f"{where} cannot be loaded back: do not use this commit")
    say(f"loaded back and compared: {same_answers(found, folder, where, bool(upload.base))}")
    return commit


def same_answers(found: dict[str, Any], folder: Path, where: str, is_adapter: bool) -> str:
    """Says how far the answers of folder and publication are apart.

    Args:
        found: As `load_back.compare` gives it.
        folder: Where the one came from.
        where: Where the other came from.
        is_adapter: Whether adapters were merged again.

    Raises:
        ValueError: Farther than by rounding, or not a number, or a setting differs.
    """
    # Merging on this machine rounds otherwise than merging where the run was, more so in bfloat16.
    tolerance = max(ADAPTER_TOLERANCE, 8 * found["precision"]) if is_adapter else TOLERANCE
    limit = tolerance * max(1.0, found["scale"])
    answers = f"logits differ by at most {found['logits']:.3g}, embeddings and prototypes by {found['embeddings']:.3g}"
    if found["logits"] <= limit and found["embeddings"] <= limit and not found["settings"]:  # NaN is not <=
        return answers
    what = f"it differs in {', '.join(found['settings'])}" if found["settings"] else f"{answers}, beyond {limit:.3g}"
    cure = "check that --base is the network that this run started from" if is_adapter else "publish again"
    raise ValueError(f"{where} is not what lies in {folder} ({what}): do not use this commit; {cure}")
