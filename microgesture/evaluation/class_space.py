"""Where the clips of a split and the category prototypes lie in the class space: in one file, and as a map.

`class_space_<split>.safetensors` holds `class_embeds (N, E)` and `category_embeds (C, E)`, float32, of unit length.
Its header holds `weights` as the score file does, and `clips`, the names of the N clips as a JSON list in its order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA

from microgesture.evaluation.tensor_file import read_tensors, write_tensors

FORMAT = "fgsgl-class-space-1"
EMBEDS = ("class_embeds", "category_embeds")

Floats = npt.NDArray[np.float32]


def space_path(folder: Path, split: str) -> Path:
    """Where the class space of a split lies in a checkpoint's folder."""
    return folder / f"class_space_{split}.safetensors"


@dataclass(frozen=True, eq=False)
class ClassSpace:
    """Clips and categories in the space that L_cp compares them in (FG-SGL, Sec. III-D).

    Args:
        clips: A name per clip.
        class_embeds: Of the clips `(N, E)`.
        category_embeds: Of the category sentences `(C, E)`.
        weights: What `score_file.weights_digest` says of the checkpoint.
    """

    clips: tuple[str, ...]
    class_embeds: Floats
    category_embeds: Floats
    weights: str = ""

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all."""
        clips = json.dumps(list(self.clips), ensure_ascii=False)
        tensors = {name: getattr(self, name) for name in EMBEDS}
        write_tensors(path, FORMAT, {"weights": self.weights, "clips": clips}, tensors)

    @classmethod
    def read(cls, path: Path) -> ClassSpace:
        """Reads such a file.

        Raises:
            FileNotFoundError: There is none.
            ValueError: It is no such file.
        """
        about, (clips, categories) = read_tensors(path, FORMAT, "class space", ("clips", "weights"), EMBEDS)
        return cls(tuple(json.loads(about["clips"])), clips, categories, about["weights"])

    def plane(self) -> tuple[Floats, Floats, tuple[float, float]]:
        """The plane in which the clips spread most (PCA of the clips; labels play no part), and all points in it.

        Returns:
            Clips `(N, 2)`, categories `(C, 2)`, and the share of the clips' variance along each axis.

        Raises:
            ValueError: There are fewer than three clips.
        """
        if len(self.clips) < 3:
            raise ValueError(f"{len(self.clips)} clips span no plane: at least 3 are needed")
        pca = PCA(2, svd_solver="full").fit(self.class_embeds)
        along, across = (float(share) for share in pca.explained_variance_ratio_)
        return pca.transform(self.class_embeds), pca.transform(self.category_embeds), (along, across)

    def nearest(self) -> npt.NDArray[np.int64]:
        """The category of the nearest prototype of each clip, `(N,)`."""
        return (self.class_embeds @ self.category_embeds.T).argmax(1)
