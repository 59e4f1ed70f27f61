"""Pixels: images kept as bytes, and normalised as they are taken.

Shape letters: N images of a split, M stored images, C channels, H height, W width.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from harness.errors import DataError

CHUNK = 2048
"""Images that are turned into floats, or hashed, at a time."""


class Constants(NamedTuple):
    """Mean and std of each channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Pixels:
    """Images of one split, uint8 in memory (or in a mapped file), float32 when indexed.

    It answers to what a float32 tensor [N, C, H, W] would be asked for: ``shape``, ``dtype``,
    ``device``, ``len``, iteration, ``to`` and an index along N, which gives a fresh tensor, equal
    bit for bit to indexing the normalised images.
    """

    dtype = torch.float32
    """Of what an index gives."""

    def __init__(self, stored: Tensor, constants: Constants, rows: Tensor | None = None) -> None:
        """Wrap stored images.

        Args:
            stored: uint8 [M, C, H, W], on any device; it is not copied.
            constants: Mean and std of each channel.
            rows: int64 [N] on the device of ``stored``: which images, in which order; None: all.
        """
        self._stored = stored
        self._rows = rows
        self._constants = constants
        self._scale = torch.full((1, 1, 1), 255.0, device=stored.device)
        self._mean = per_channel(constants.mean, stored.device)
        self._std = per_channel(constants.std, stored.device)

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W)."""
        return torch.Size((len(self), *self._stored.shape[1:]))

    @property
    def device(self) -> torch.device:
        """Where the bytes are."""
        return self._stored.device

    def __len__(self) -> int:
        return len(self._stored if self._rows is None else self._rows)

    def __getitem__(self, index: "int | slice | Tensor") -> Tensor:
        """Normalise some images.

        Args:
            index: Into N: a number, a slice, or a tensor of int64 or bool.

        Returns:
            Float32 [C, H, W] for a number, else [n, C, H, W], contiguous, on ``device``.
        """
        picked = self._stored[index if self._rows is None else self._rows[index]]
        images = picked.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        # By a tensor of the device: dividing by a Python number rounds differently on a GPU.
        return images.div_(self._scale).sub_(self._mean).div_(self._std)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield one image [C, H, W] after the other."""
        return (self[i] for i in range(len(self)))

    def to(self, device: torch.device | str) -> "Pixels":
        """Return the same images with their bytes on ``device``; only this split's are moved."""
        if torch.device(device) == self.device:
            return self
        return Pixels(take(self._stored, self._rows).to(device), self._constants)

    def tensor(self) -> Tensor:
        """Return all images as one float32 tensor [N, C, H, W]: four times the memory."""
        return self[:]


def per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return one value a channel as float32 [C, 1, 1]."""
    return torch.tensor(values, device=device).reshape(-1, 1, 1)


def take(stored: Tensor, rows: Tensor | None) -> Tensor:
    """Return the images at ``rows`` as a tensor of their own; all of them, uncopied, for None."""
    return stored if rows is None else stored[rows]


def chunks(stored: Tensor, rows: Tensor | None) -> Iterator[Tensor]:
    """Yield the images at ``rows`` in order, ``CHUNK`` at a time."""
    for start in range(0, len(stored if rows is None else rows), CHUNK):
        part = slice(start, start + CHUNK)
        yield stored[part if rows is None else rows[part]]


def check_spread(name: str, constants: Constants) -> None:
    """Refuse constants that cannot normalise.

    Raises:
        DataError: A channel has a std of 0: all its training pixels are equal.
    """
    if 0.0 in constants.std:
        raise DataError(
            f"{name}: channel {constants.std.index(0.0)} has the same value in every training "
            "pixel (std 0), so it cannot be normalised; set dataset.normalise_as, or check the "
            "images"
        )
