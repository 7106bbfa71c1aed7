"""Frozen sentence embeddings: computed once per sentence, kept on disk, looked up ever after."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import save_file

from microgesture import disk

logger = logging.getLogger(__name__)

TOO_CLOSE = 1 - 1e-4
_CURE = "What was there is whole and kept: free space and start the same line again, or give another --cache_dir."


class SentenceEncoder(Protocol):
    """A frozen language model that embeds sentences."""

    def encode(self, sentences: Sequence[str]) -> torch.Tensor:
        """Embeds sentences to `(n, D_t)`, float32."""


@dataclass(frozen=True)
class EncoderKey:
    """What an embedding depends on besides the sentence.

    Args:
        name: The text encoder.
        revision: Its revision, or a digest of its weights' recipe.
        pooling: How token states become one vector.
        dtype: Of the encoder's weights.
    """

    name: str
    revision: str
    pooling: str = "mean"
    dtype: str = "float32"


class LanguageModelEncoder:
    """Mean over the last hidden states of a sentence's own tokens.

    Padding is none of them, nor is a token that only says where a sentence begins: a decoder looks back only, so its
    state is the same for every sentence, and its share of the mean would tell nothing but the sentence's length.

    Args:
        model: A decoder without its language head, e.g. `LlamaModel`.
        tokenizer: Its tokenizer.
        batch_size: Sentences per forward.
    """

    def __init__(self, model: torch.nn.Module, tokenizer: Callable, batch_size: int = 64) -> None:
        self.model, self.tokenizer, self.batch_size = model.eval(), tokenizer, batch_size

    @torch.no_grad()
    def encode(self, sentences: Sequence[str]) -> torch.Tensor:
        """Embeds sentences to `(n, D_t)`, float32, in their own order."""
        device = next(self.model.parameters()).device
        order = sorted(range(len(sentences)), key=lambda i: (len(sentences[i]), sentences[i]))  # little padding
        rows: list[torch.Tensor | None] = [None] * len(sentences)
        for begin in range(0, len(order), self.batch_size):
            chosen = order[begin : begin + self.batch_size]
            batch = self.tokenizer(
                [sentences[i] for i in chosen], padding=True, return_special_tokens_mask=True, return_tensors="pt"
            ).to(device)
            states = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
            real = (1 - batch["special_tokens_mask"]).unsqueeze(-1).float()
            pooled = (states.float() * real).sum(1) / real.sum(1)
            for i, row in zip(chosen, pooled.cpu(), strict=True):
                rows[i] = row
        return torch.stack(rows)  # type: ignore[arg-type]


class TextBank:
    """A table sentence → embedding of one encoder, on disk.

    Args:
        directory: Where tables are kept; one file per encoder.
        key: The encoder's identity.
        load_encoder: Loads the encoder; called only when a sentence is missing.
    """

    def __init__(self, directory: Path | str, key: EncoderKey, load_encoder: Callable[[], SentenceEncoder]) -> None:
        self.key, self.load_encoder = key, load_encoder
        digest = hashlib.sha256(json.dumps(asdict(key), sort_keys=True).encode()).hexdigest()[:16]
        self.path = Path(directory) / f"text_bank_{digest}.safetensors"

    def embed(self, sentences: Sequence[str]) -> torch.Tensor:
        """Embeddings of sentences; what the table lacks is computed once and kept.

        Args:
            sentences: Any sentences, repeats allowed.

        Returns:
            `(n, D_t)`, float32.

        Raises:
            ValueError: A sentence is empty, or two different ones have (nearly) the same embedding.
        """
        table = self.fill(sentences)
        distinct = sorted(set(sentences))
        refuse_twins(distinct, torch.stack([table[s] for s in distinct]))
        return torch.stack([table[sentence] for sentence in sentences])

    def fill(self, sentences: Sequence[str]) -> dict[str, torch.Tensor]:
        """Embeds what the table lacks, in one go, so that a large encoder is loaded once; returns the table.

        Raises:
            ValueError: A sentence is empty.
            disk.NoRoomError: There is no room for the table; the one before it is kept.
        """
        if any(not sentence.strip() for sentence in sentences):
            raise ValueError("an empty sentence cannot be embedded; leave the clip's FG-Text out instead")
        with disk.explaining("sentence embeddings", self.path.parent, _CURE):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock"):  # runs side by side embed a sentence once, and lose none
            table = self._read()
            missing = sorted(set(sentences) - set(table))
            if missing:
                logger.info("embedding %d sentences with %s", len(missing), self.key.name)
                table |= dict(zip(missing, self.load_encoder().encode(missing), strict=True))
                self._write(table)
        return table

    def _read(self) -> dict[str, torch.Tensor]:
        if not self.path.is_file():
            return {}
        with safe_open(self.path, "pt") as file:
            sentences = json.loads(file.metadata()["sentences"])
            return dict(zip(sentences, file.get_tensor("embeddings"), strict=True))

    def _write(self, table: dict[str, torch.Tensor]) -> None:
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        about = {"sentences": json.dumps(list(table), ensure_ascii=False), "encoder": json.dumps(asdict(self.key))}
        embeddings = torch.stack(list(table.values()))
        with disk.explaining(f"{embeddings.nbytes / 1e6:,.1f} MB of sentence embeddings", self.path.parent, _CURE):
            save_file({"embeddings": embeddings}, partial, about)
            os.replace(partial, self.path)


def cosine_summary(embeddings: torch.Tensor) -> tuple[float, float]:
    """Mean and greatest cosine between different rows of `(n, D)`; zeros when there is but one row."""
    if len(embeddings) < 2:
        return 0.0, 0.0
    unit = F.normalize(embeddings.double(), dim=-1)
    n = len(unit)
    total = float(unit.sum(0).square().sum()) - n
    greatest = max(float(value) for value, _, _ in _closest(unit))
    return total / (n * (n - 1)), greatest


def refuse_twins(sentences: Sequence[str], embeddings: torch.Tensor) -> None:
    """Refuses an encoder that cannot tell two sentences apart.

    Raises:
        ValueError: Names the two sentences and their cosine.
    """
    for value, i, j in _closest(F.normalize(embeddings.double(), dim=-1)):
        if value > TOO_CLOSE:
            raise ValueError(
                f"the text encoder gives {sentences[i]!r} and {sentences[j]!r} the same embedding "
                f"(cosine {value:.6f}): word one of them differently, or use a stronger text encoder"
            )


def _closest(unit: torch.Tensor, rows: int = 2048) -> Iterator[tuple[float, int, int]]:
    """Yields the closest pair `(cosine, i, j)`, i < j, of each block of rows; memory stays `rows` × n."""
    for begin in range(0, len(unit) - 1, rows):
        block = unit[begin : begin + rows] @ unit.T
        later = torch.arange(len(unit)) > torch.arange(begin, begin + len(block))[:, None]
        block = block.masked_fill(~later, -2.0)
        best = int(block.argmax())
        i, j = divmod(best, len(unit))
        yield float(block[i, j]), begin + i, j
