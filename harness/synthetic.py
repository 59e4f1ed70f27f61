"""Synthetic sets: the learnable images of a distillation, and the distilled set on disk.

Shape letters: N real images, K classes, S = K * ipc, C channels, H height, W width.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from harness.datasets import Images
from harness.errors import DataError
from harness.records import whole_file

METADATA_KEY = "harness"

Usable = Callable[[Tensor], Tensor]
"""Keeps, of a class's shuffled rows, those that may be drawn, in their order."""


def _all(rows: Tensor) -> Tensor:
    return rows


@dataclass(frozen=True)
class SyntheticSet:
    """Images and labels that stand for a dataset.

    Attributes:
        images: Float32 [S, C, H, W], in the pixel space of ``provenance["pixels"]``, unbounded.
        labels: Int64 [S], sorted by class: row ``k * ipc`` to ``(k + 1) * ipc - 1`` are class k
            (of mosaics, which are held decoded, ``ipc`` times factor squared).
            Or soft: float32 [S, K], class probabilities, sorted by the largest.
        provenance: Plain data on how it was made, without time, host or trial id, so that equal
            sets are equal files.
    """

    images: Tensor
    labels: Tensor
    provenance: dict[str, Any]

    @property
    def per_class(self) -> int:
        """Images of its largest class: ``ipc``, or more where they are decoded."""
        hard = self.labels.argmax(1) if self.labels.is_floating_point() else self.labels
        return int(torch.bincount(hard).max())

    def save(self, path: Path) -> None:
        """Write the set as safetensors, whole; metadata is one key with sorted JSON."""
        tensors = {
            "images": self.images.detach().cpu().contiguous(),
            "labels": self.labels.cpu().contiguous(),
        }
        metadata = {METADATA_KEY: json.dumps(self.provenance, sort_keys=True)}
        with whole_file(path) as aside:
            aside.write_bytes(save(tensors, metadata=metadata))


def load_synthetic(path: Path) -> SyntheticSet:
    """Read a distilled set that ``SyntheticSet.save`` wrote.

    Raises:
        DataError: The file is missing, truncated, not such a set, or holds non-finite images.
    """
    try:
        with safe_open(path, framework="pt") as file:
            provenance = json.loads((file.metadata() or {})[METADATA_KEY])
            images, labels = file.get_tensor("images"), file.get_tensor("labels")
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise DataError(
            f"{path}: not a distilled set of this project ({error}); distil it again"
        ) from error
    soft = labels.ndim == 2 and labels.dtype == torch.float32
    if images.ndim != 4 or labels.ndim != 1 + soft or labels.shape[:1] != images.shape[:1]:
        raise DataError(
            f"{path}: got images {tuple(images.shape)} and labels {tuple(labels.shape)}, expected "
            "[S, C, H, W] and [S]; distil it again"
        )
    if images.dtype != torch.float32 or labels.dtype != (torch.float32 if soft else torch.int64):
        raise DataError(
            f"{path}: got images of {images.dtype} and labels of {labels.dtype}, expected "
            "torch.float32 and torch.int64; distil it again"
        )
    if not isinstance(provenance, dict):
        raise DataError(f"{path}: got provenance {provenance!r}, expected a table; distil it again")
    for name, tensor in (("images", images), ("labels", labels)):
        if not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{path}: the {name} hold NaN or infinity; distil it again")
    return SyntheticSet(images, labels, provenance)


def init_from_noise(
    *, classes: int, ipc: int, shape: tuple[int, int, int], rng: torch.Generator
) -> Tensor:
    """Draw standard normal images: float32 [S, C, H, W], in normalised pixel space."""
    return torch.randn((classes * ipc, *shape), generator=rng)


def init_from_real(
    images: Images,
    labels: Tensor,
    *,
    ipc: int,
    rng: torch.Generator,
    usable: Usable = _all,
) -> Tensor:
    """Draw ``ipc`` different real images of each class.

    Args:
        images: Float32 [N, C, H, W].
        labels: Int64 [N], values 0 .. K - 1.
        ipc: Images per class; a smaller class raises DataError.
        rng: CPU generator of the draw.
        usable: See ``Usable``.

    Returns:
        Float32 [S, C, H, W], grouped by class.
    """
    rows = draw_rows(labels, ipc=ipc, rng=rng, usable=usable)
    return images[rows.to(images.device)].detach().clone()


def draw_rows(
    labels: Tensor,
    *,
    ipc: int,
    rng: torch.Generator,
    usable: Usable = _all,
) -> Tensor:
    """Draw ``ipc`` different rows of each class: int64 [S] on the CPU, grouped by class.

    Args:
        labels: Int64 [N], values 0 .. K - 1.
        ipc: Rows of each class.
        rng: CPU generator of the draw.
        usable: See ``Usable``.

    Raises:
        DataError: A class has fewer rows.
    """
    drawn = []
    for k in range(int(labels.max()) + 1):
        members = torch.nonzero(labels == k).flatten().cpu()
        rows = usable(members[torch.randperm(len(members), generator=rng)])
        if (n := len(rows)) < ipc:
            raise DataError(
                f"class {k}: got {n} training images, expected at least ipc = {ipc}; lower ipc"
            )
        drawn.append(rows[:ipc])
    return torch.cat(drawn)


def labels_by_class(classes: int, ipc: int) -> Tensor:
    """Labels of a set grouped by class: int64 [S]."""
    return torch.arange(classes).repeat_interleave(ipc)
