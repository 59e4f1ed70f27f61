"""ZCA: a pixel space in which neighbouring pixels are nearly uncorrelated.

As MTT and its successors use it (GeorgeCazenavette/mtt-distillation, utils.py, by kornia): fitted
on training images in [0, 1] without normalisation, regularised by 0.1, the same transform for test
images. With the covariance U diag(s) U^T, x becomes (x - mean) U diag(1 / sqrt(s + eps)) U^T.

Shape letters: N images of a split, M stored images, C channels, H height, W width, D = C * H * W.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from harness.datasets.pixels import CHUNK, chunks, take
from harness.errors import DataError
from harness.records import whole_file

EPSILON = 0.1
"""Added to every variance along an eigenvector, of pixels in [0, 1]."""

MAX_VALUES = 3 * 32 * 32
"""Largest D: the transform is a matrix [D, D], whose making takes time with the cube of D."""

# Sums of so many products of bytes stay below 2**24, so that float32 holds each of them exactly.
_EXACT = 256


@dataclass(frozen=True, eq=False)
class Whitening:
    """The transform of a dataset.

    Attributes:
        mean: Float32 [D], of pixels in [0, 1].
        forward: Float32 [D, D], symmetric.
        backward: Float32 [D, D], its inverse.
    """

    mean: Tensor
    forward: Tensor
    backward: Tensor

    def apply(self, images: Tensor) -> Tensor:
        """Whiten pixels.

        Args:
            images: Float32 [..., C, H, W], in [0, 1].

        Returns:
            Float32 of the same shape, unbounded.
        """
        flat = images.flatten(-3) - self.mean.to(images.device)
        return (flat @ self.forward.to(images.device)).reshape(images.shape)

    def inverse(self, images: Tensor) -> Tensor:
        """Turn whitened images back into pixels, float32 of the same shape, not clamped."""
        flat = images.flatten(-3) @ self.backward.to(images.device)
        return (flat + self.mean.to(images.device)).reshape(images.shape)


class Whitened:
    """Images of one split that are whitened when the first of them is asked for.

    It answers to what a float32 tensor [N, C, H, W] would be asked for; see ``Pixels``.
    """

    dtype = torch.float32

    def __init__(self, stored: Tensor, whitening: Whitening, rows: Tensor | None = None) -> None:
        """Wrap stored images.

        Args:
            stored: uint8 [M, C, H, W], or float32 [M, C, H, W] in [0, 1], on any device.
            whitening: The transform.
            rows: int64 [N], which images, in which order; None: all.
        """
        self._stored = stored
        self._rows = rows
        self._whitening = whitening

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W)."""
        return torch.Size((len(self), *self._stored.shape[1:]))

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self._stored.device

    def __len__(self) -> int:
        return len(self._stored if self._rows is None else self._rows)

    def __getitem__(self, index: "int | slice | Tensor") -> Tensor:
        """Return some images, float32 [C, H, W] for a number, else [n, C, H, W]."""
        return self._images[index]

    def __iter__(self) -> Iterator[Tensor]:
        """Yield one image [C, H, W] after the other."""
        return iter(self._images)

    def to(self, device: torch.device | str) -> "Whitened":
        """Return the same images with their pixels on ``device``."""
        if torch.device(device) == self.device:
            return self
        return Whitened(take(self._stored, self._rows).to(device), self._whitening)

    def tensor(self) -> Tensor:
        """Return all images as one float32 tensor [N, C, H, W]."""
        return self._images

    @cached_property
    def _images(self) -> Tensor:
        out = torch.empty(self.shape, device=self.device)
        for i, part in enumerate(chunks(self._stored, self._rows)):
            pixels = part.float() / 255 if part.dtype == torch.uint8 else part
            out[i * CHUNK : i * CHUNK + len(part)] = self._whitening.apply(pixels)
        return out


def fit(images: Tensor, rows: Tensor | None, *, name: str) -> Whitening:
    """Fit the transform.

    Bytes are summed exactly, so that the sums depend neither on threads nor on order; the
    eigenvectors are computed in float64 on one thread.

    Args:
        images: uint8 [M, C, H, W], or float32 [M, C, H, W] in [0, 1].
        rows: The images to fit on, int64 [N]; None: all.
        name: Name of the dataset, for messages.

    Raises:
        DataError: Images have more than ``MAX_VALUES`` values, or there are fewer than two.
    """
    values = images[0].numel()
    num = len(images if rows is None else rows)
    if values > MAX_VALUES or num < 2:
        raise DataError(
            f"dataset.pixels: got 'zca' for {num} training images of {values} values in '{name}', "
            f"expected at least 2 images of at most {MAX_VALUES} values (3x32x32); set "
            "dataset.pixels = 'normalised'"
        )
    if images.dtype == torch.uint8:
        mean, covariance = _covariance(images, rows)
    else:
        with _one_thread():
            mean, covariance = _covariance(images, rows)
    with _one_thread():
        variances, vectors = torch.linalg.eigh(covariance)
        roots = (variances.clamp(min=0.0) + EPSILON).sqrt()
        forward = (vectors / roots) @ vectors.T
        backward = (vectors * roots) @ vectors.T
    return Whitening(mean.float(), forward.float(), backward.float())


def load_or_fit(path: Path | None, images: Tensor, rows: Tensor | None, *, name: str) -> Whitening:
    """Read a transform that was fitted before, else fit it and keep it.

    Args:
        path: File that is named after all that the transform depends on; None: do not keep it.
        images: As for ``fit``.
        rows: As for ``fit``.
        name: Name of the dataset, for messages.
    """
    if path is not None and (found := _read(path)) is not None:
        return found
    made = fit(images, rows, name=name)
    if path is not None:
        tensors = {"mean": made.mean, "forward": made.forward, "backward": made.backward}
        metadata = {"zca": json.dumps({"epsilon": EPSILON})}
        with whole_file(path) as aside:
            aside.write_bytes(save(tensors, metadata=metadata))
    return made


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, so that the last bits do not depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _read(path: Path) -> Whitening | None:
    try:
        with safe_open(path, framework="pt") as file:
            return Whitening(*(file.get_tensor(name) for name in ("mean", "forward", "backward")))
    except (OSError, SafetensorError):
        return None


def _covariance(images: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean [D] and (unbiased) covariance [D, D] of pixels in [0, 1], float64."""
    of_bytes = images.dtype == torch.uint8
    scale = 255.0 if of_bytes else 1.0
    values, num = images[0].numel(), len(images if rows is None else rows)
    total = torch.zeros(values, dtype=torch.float64)
    products = torch.zeros(values, values, dtype=torch.float64)
    for chunk in chunks(images, rows):
        for part in torch.split(chunk.flatten(1), _EXACT):
            part = part.float() if of_bytes else part.double()
            total += part.sum(0, dtype=torch.float64)
            products += part.T @ part
    mean = total / num
    covariance = (products - num * torch.outer(mean, mean)) / (num - 1)
    return mean / scale, covariance / scale**2
