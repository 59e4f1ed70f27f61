"""ImageData: a dataset ready for training, and how raw pixels become one.

Shape letters: N images, C channels, H height, W width.
"""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from harness.errors import DataError


class Split(NamedTuple):
    """Images of one purpose: training, validation or test."""

    images: Tensor
    """Float32 [N, C, H, W], contiguous, normalised per channel."""
    labels: Tensor
    """Class of each image, int64 [N], values 0 .. classes - 1, in no particular order."""


class RawSplit(NamedTuple):
    """Images as read, before normalisation."""

    images: Tensor
    """uint8 [N, C, H, W] with values 0 .. 255, or float32 [N, C, H, W] in [0, 1]."""
    labels: Tensor
    """Class of each image, int64 [N]."""


class Constants(NamedTuple):
    """Mean and std of each channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class RawData(NamedTuple):
    """What a reader returns."""

    train: RawSplit
    test: RawSplit
    classes: tuple[str, ...]
    constants: Constants | None = None
    """The dataset's own; None: to be measured on the training images."""
    validation: RawSplit | None = None
    """None: not split off yet, or not wanted."""


# eq=False: comparing tensors with == gives tensors, so a generated __eq__ could only fail.
@dataclass(frozen=True, eq=False)
class ImageData:
    """A dataset: three splits and how their pixels were normalised."""

    name: str
    """Name of the dataset in the settings."""
    train: Split
    """Images to distil."""
    validation: Split | None
    """Images that a search judges on, disjoint from ``train``; None under protocol ``paper``."""
    test: Split
    """Images that are only reported on."""
    mean: tuple[float, ...]
    """Subtracted from each channel of pixels in [0, 1]."""
    std: tuple[float, ...]
    """What each channel is then divided by."""
    classes: tuple[str, ...]
    """Name of each class."""
    checksum: str
    """SHA-256 (64 hex digits) of pixels, labels, mean and std, wherever the files lie."""

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def to(self, device: torch.device | str) -> "ImageData":
        """Return the same data with every tensor on ``device``."""

        def move(split: Split) -> Split:
            return Split(split.images.to(device), split.labels.to(device))

        return replace(
            self,
            train=move(self.train),
            validation=None if self.validation is None else move(self.validation),
            test=move(self.test),
        )

    def denormalise(self, images: Tensor) -> Tensor:
        """Turn normalised images back into pixels.

        Args:
            images: Float [..., C, H, W], normalised like this dataset's, on any device.

        Returns:
            Float32 [..., C, H, W] in [0, 1]: values beyond black and white are clamped.
        """
        mean, std = (_per_channel(values, images.device) for values in (self.mean, self.std))
        return (images.float() * std + mean).clamp(0.0, 1.0)


def assemble(name: str, raw: RawData, constants: Constants) -> ImageData:
    """Normalise what was read.

    Args:
        name: Name of the dataset in the settings.
        raw: Pixels and labels, split.
        constants: Mean and std, one value for each channel of the images.

    Returns:
        Images ``(pixel - mean) / std`` in float32, by the steps of torchvision's ``ToTensor`` and
        ``Normalize``, so that they equal those of published code bit for bit.

    Raises:
        DataError: A channel has a std of 0: all its training pixels are equal.
    """
    if 0.0 in constants.std:
        raise DataError(
            f"{name}: channel {constants.std.index(0.0)} has the same value in every training "
            "pixel (std 0), so it cannot be normalised; set dataset.normalise_as, or check the "
            "images"
        )

    def normalise(split: RawSplit) -> Split:
        images = split.images.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        if split.images.dtype == torch.uint8:
            images.div_(255)
        images.sub_(_per_channel(constants.mean, images.device))
        images.div_(_per_channel(constants.std, images.device))
        return Split(images, split.labels)

    return ImageData(
        name=name,
        train=normalise(raw.train),
        validation=None if raw.validation is None else normalise(raw.validation),
        test=normalise(raw.test),
        mean=constants.mean,
        std=constants.std,
        classes=raw.classes,
        checksum=_checksum(raw, constants),
    )


def measure(images: Tensor) -> Constants:
    """Compute mean and (population) std of each channel.

    The sums are exact, so that the result, which is part of the checksum, depends neither on the
    number of threads nor on the order of the images.

    Args:
        images: uint8 [N, C, H, W], or float32 [N, C, H, W] in [0, 1].

    Returns:
        The constants, of pixels in [0, 1].
    """
    of_channel = _measure_bytes if images.dtype == torch.uint8 else _measure_floats
    pairs = [of_channel(images[:, c].flatten()) for c in range(images.shape[1])]
    return Constants(tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs))


def _measure_bytes(pixels: Tensor) -> tuple[float, float]:
    histogram = torch.bincount(pixels, minlength=256).tolist()
    count = sum(histogram)
    total = sum(value * times for value, times in enumerate(histogram))
    squares = sum(value * value * times for value, times in enumerate(histogram))
    spread = math.sqrt(count * squares - total * total)
    return total / (255 * count), spread / (255 * count)


def _measure_floats(pixels: Tensor) -> tuple[float, float]:
    values = pixels.double()
    mean = math.fsum(values.tolist()) / len(values)
    return mean, math.sqrt(math.fsum((values - mean).square().tolist()) / len(values))


def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device).reshape(-1, 1, 1)


def _checksum(raw: RawData, constants: Constants) -> str:
    """Hash the content: no names, no paths, nothing of how the files were stored."""
    digest = hashlib.sha256(repr(tuple(constants)).encode())
    for role, split in (("train", raw.train), ("validation", raw.validation), ("test", raw.test)):
        if split is None:
            continue
        for tensor in split:
            # The header keeps neighbours apart: bytes may not move from one tensor to the next.
            digest.update(f"{role}/{tensor.dtype}/{tuple(tensor.shape)}".encode())
            digest.update(tensor.flatten().numpy().data)
    return digest.hexdigest()
