"""Published networks of detection and pose: a folder or a name on the Hub, and how their pictures are prepared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers.image_transforms import get_size_with_aspect_ratio

CONFIG_FILE = "config.json"
PREPARATION_FILES = ("processor_config.json", "preprocessor_config.json")
_FETCHED = [CONFIG_FILE, *PREPARATION_FILES, "model*.safetensors", "model.safetensors.index.json"]
_MODES = {2: "bilinear", 3: "bicubic"}  # the numbers that Pillow gives them


def checkpoint_folder(name_or_path: str) -> Path:
    """The folder that holds a checkpoint; fetched from the Hub where it is not on this disk yet.

    A checkpoint that is here already is read without a call to the Hub.

    Raises:
        FileNotFoundError: There is no such folder or repository, the Hub cannot be reached, or a file is missing.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        lacking = _lacking(path)
        if lacking:
            raise FileNotFoundError(f"{name_or_path} lacks {lacking}; give the folder of a whole checkpoint")
        return path
    if path.is_absolute() or name_or_path.startswith((".", "~")) or name_or_path.count("/") != 1:
        raise FileNotFoundError(f"the folder {name_or_path} does not exist; give a folder, or OWNER/NAME on the Hub")
    said: Any = ""
    for here in (True, False):
        try:
            folder = Path(snapshot_download(name_or_path, allow_patterns=_FETCHED, local_files_only=here))
        except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
            said = " ".join(str(error).split())
            continue
        if not (said := _lacking(folder)):
            return folder
    raise FileNotFoundError(
        f"cannot get {name_or_path} from the Hub: check the name and the connection, or give a folder that holds the "
        f"checkpoint. Only safetensors are read. What was missing: {said}"
    )


def _lacking(folder: Path) -> str:
    needs = {
        CONFIG_FILE: (folder / CONFIG_FILE).is_file(),
        PREPARATION_FILES[1]: any((folder / name).is_file() for name in PREPARATION_FILES),
        "model.safetensors": any(folder.glob("model*.safetensors")),
    }
    return ", ".join(name for name, there in needs.items() if not there)


@contextmanager
def loading(name_or_path: str, what: str) -> Iterator[None]:
    """Turns what libraries raise for a checkpoint that does not fit into one sentence.

    Raises:
        ValueError: In place of theirs.
    """
    try:
        yield
    except (ValueError, KeyError, RuntimeError, SafetensorError) as error:
        said = " ".join(str(error).split())[:300]
        raise ValueError(f"{name_or_path} is no {what} that transformers can load: {said}") from error


@dataclass(frozen=True)
class Preparation:
    """How pictures become the input of a network, as its preprocessor_config.json says.

    Args:
        size: `{"height", "width"}`, or `{"shortest_edge", "longest_edge"}` in pixels.
        mode: How pictures are resized.
        scale: Bytes are multiplied by it.
        mean: Taken off each colour, after the scale.
        std: By which each colour is divided then.
    """

    size: Mapping[str, int]
    mode: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def read(cls, folder: Path) -> Preparation:
        """Reads it from a checkpoint's folder.

        Raises:
            ValueError: The file is damaged, or asks for something that is not done here.
        """
        path = next(folder / name for name in PREPARATION_FILES if (folder / name).is_file())
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            if "image_processor" not in said and (folder / PREPARATION_FILES[1]).is_file():
                said = json.loads((path := folder / PREPARATION_FILES[1]).read_text(encoding="utf-8"))
            said = said.get("image_processor", said)
            size = said["size"]
            if isinstance(size, int):  # as files of 2022 have it
                size = {"shortest_edge": size, "longest_edge": said.get("max_size", 1333)}
            scale = float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 1.0
            normal = said.get("do_normalize", True)
            mean, std = (tuple(map(float, said[f"image_{name}"])) if normal else () for name in ("mean", "std"))
            sized = {name: int(value) for name, value in size.items() if value is not None}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} does not say how pictures are prepared ({error!r}); fetch it again") from error
        number = said.get("resample", 2)
        if number not in _MODES or not ({"height", "width"} <= set(sized) or "shortest_edge" in sized):
            raise ValueError(
                f"{path} asks for pictures of the size {size} by resampling {number}; only a height and width, or a "
                "shortest edge, and bilinear (2) or bicubic (3) resampling are done here: choose another checkpoint"
            )
        return cls(sized, _MODES[number], scale, mean or (0.0,) * 3, std or (1.0,) * 3)

    def resized(self, picture: torch.Tensor, multiple: int = 1) -> torch.Tensor:
        """A picture in the network's size.

        Args:
            picture: uint8 `(H, W, 3)`.
            multiple: Height and width are rounded down to multiples of it.

        Returns:
            float32 `(3, h, w)` of whole numbers, 0 to 255.
        """
        if {"height", "width"} <= set(self.size):
            height, width = self.size["height"], self.size["width"]
        else:
            edges = self.size["shortest_edge"], self.size.get("longest_edge")
            height, width = get_size_with_aspect_ratio(tuple(picture.shape[:2]), *edges)
        size = [max(multiple, side - side % multiple) for side in (height, width)]
        image = picture.permute(2, 0, 1)[None].float()
        image = F.interpolate(image, size, mode=self.mode, antialias=True, align_corners=False)
        return image[0].round().clamp(0, 255)

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """Numbers 0 to 255 `(N, 3, h, w)`, scaled and normalised."""
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return (images * self.scale - mean) / std
