"""Foreign: what a file of any format holds, before it is fitted to a dataset.

Shape letters: S images of a set, K classes, C channels, H height, W width.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.errors import DataError
from harness.synthetic import SyntheticSet

Writer = Callable[[SyntheticSet, Path], None]


@dataclass(frozen=True, eq=False)
class Foreign:
    """One distilled set as its file holds it."""

    where: str
    """File and entry, for messages."""
    format: str
    """Name in ``harness.formats.FORMATS``."""
    images: Tensor
    """Float32 [S, C, H, W], finite, in the pixel space of its makers."""
    labels: Tensor | None
    """int64 [S], or float32 [S, K]: soft; None: the format implies them, sorted by class."""
    pixels: str | None = None
    """Pixel space, where the format or the file says it: normalised, unit or zca; None: it has to
    be told."""
    lr: float | None = None
    """Learning rate of students that was learned along."""
    entry: int | None = None
    """Which of several sets of a file; None where the format holds one."""
    names: tuple[str, ...] | None = None
    """Name of each class of ``labels``, where the format has names."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What the file says of how it was made."""


def check_images(images: object, where: str) -> Tensor:
    """Return images as float32 [S, C, H, W].

    Raises:
        DataError: It is not a tensor of floats with four dimensions, or holds NaN or infinity.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point() or images.ndim != 4:
        raise DataError(
            f"{where}: got images {_shape(images)}, expected a float tensor [S, C, H, W]"
        )
    if len(images) == 0 or images.is_sparse:
        raise DataError(f"{where}: got no images, expected at least one for each class")
    images = images.detach().float().contiguous()
    if not bool(torch.isfinite(images).all()):
        raise DataError(f"{where}: the images hold NaN or infinity; the set cannot be used")
    return images


def check_labels(labels: object, num: int, where: str) -> Tensor:
    """Return labels as int64 [S], or soft ones as float32 [S, K].

    Raises:
        DataError: They are neither, not one for each of ``num`` images, or not finite.
    """
    if isinstance(labels, Tensor) and labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels.flatten()
    fits = isinstance(labels, Tensor) and labels.ndim in (1, 2) and len(labels) == num
    if not isinstance(labels, Tensor) or not fits:
        raise DataError(
            f"{where}: got labels {_shape(labels)} for {num} images, expected one class number, or "
            "one row of class probabilities, for each"
        )
    labels = labels.detach()
    if labels.ndim == 1:
        whole = labels.long()
        if labels.is_complex() or not bool((whole == labels).all()):
            raise DataError(f"{where}: labels are not whole numbers, expected class numbers")
        return whole
    if not labels.is_floating_point():
        labels = labels.float()
    if not bool(torch.isfinite(labels).all()):
        raise DataError(f"{where}: the soft labels hold NaN or infinity; the set cannot be used")
    return labels.float()


def check_lr(value: object, where: str) -> float:
    """Return a learned rate as a number.

    Raises:
        DataError: It is not one finite number above 0.
    """
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise DataError(f"{where}: got {_shape(value)}, expected one learning rate > 0")
    return float(value)


def _shape(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} of {value.dtype}"
    return f"of type {type(value).__name__}"
