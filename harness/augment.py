"""Differentiable augmentation, shared within a group of images or drawn for each image.

Source: DSA (arXiv 2102.08259; VICO-UoE/DatasetCondensation, utils.py, ``DiffAugment``). Random
numbers come from CPU generators, whatever the device of the images; with these numbers given, every
operation is an affine map of the pixels, batched over images, whose backward repeats its bits on a
GPU too (torch's own grid sampling has none that does).

Shape letters: B images, G groups of images, C channels, H height, W width.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from harness.settings.methods import OPERATIONS

Stages = Sequence[Sequence[str]]
"""Operations to choose one from, stage after stage."""

_NUMBERS = 3
_CROP = 0.125
_CUTOUT = 0.5
_SCALE = 1.2
_ROTATE_DEGREES = 15.0


class Draws(NamedTuple):
    """What each group of images undergoes."""

    operations: list[list[str]]
    """For each stage, the operation of each group."""
    numbers: Tensor
    """Float64 [stages, G, 3] in [0, 1): what the operations take their parameters from."""

    def to(self, device: torch.device) -> "Draws":
        """The same draws for images on a device."""
        return Draws(self.operations, self.numbers.to(device))


def draw_by_group(stages: Stages, generators: Sequence[Generator]) -> Draws:
    """Draw an operation and its parameters for each group of images (siamese augmentation).

    Args:
        stages: Each chooses one of its operations.
        generators: CPU generators, one a group.
    """
    chosen, numbers = [], []
    for rng in generators:
        chosen.append([_choose(operations, rng) for operations in stages])
        numbers.append(torch.rand(len(stages), _NUMBERS, generator=rng, dtype=torch.float64))
    return Draws([list(column) for column in zip(*chosen, strict=True)], torch.stack(numbers, 1))


def draw_by_image(stages: Stages, rng: Generator, count: int) -> Draws:
    """Draw one operation for a batch, with parameters for each of its images: B groups of one.

    Args:
        stages: Each chooses one of its operations.
        rng: CPU generator.
        count: B.
    """
    chosen = [[_choose(operations, rng)] * count for operations in stages]
    shape = (len(stages), count, _NUMBERS)
    return Draws(chosen, torch.rand(shape, generator=rng, dtype=torch.float64))


def augment(images: Tensor, draws: Draws, sizes: Sequence[int] | None = None) -> Tensor:
    """Augment images, differentiably.

    Args:
        images: Float [B, C, H, H].
        draws: On the device of the images.
        sizes: Images of each group, which lie one after the other and sum to B; None: one each.

    Returns:
        The same shape and dtype.
    """
    groups = torch.arange(draws.numbers.shape[1])
    owners = groups if sizes is None else groups.repeat_interleave(torch.tensor(sizes))
    assert len(owners) == len(images), "every image belongs to a group"
    for operations, numbers in zip(draws.operations, draws.numbers, strict=True):
        images = _stage(images, operations, numbers, owners)
    return images


def _choose(operations: Sequence[str], rng: Generator) -> str:
    return operations[int(torch.randint(len(operations), (), generator=rng))]


def _stage(images: Tensor, operations: list[str], numbers: Tensor, owners: Tensor) -> Tensor:
    """Apply to each image its group's operation, all groups of one operation together."""
    names = [name for name in OPERATIONS if name in operations]
    if len(names) == 1:
        return _APPLY[names[0]](images, numbers, owners.to(images.device))
    rows, parts = [], []
    for name in names:
        mine = torch.tensor([operation == name for operation in operations])
        own = torch.nonzero(mine[owners]).flatten()
        there = own.to(images.device)
        parts.append(_APPLY[name](images[there], numbers, owners[own].to(images.device)))
        rows.append(own)
    return torch.cat(parts)[torch.cat(rows).argsort().to(images.device)]


# --- Operations: (images [B, C, H, W], numbers [G, 3], owner of each image [B]) -------------


def _color(images: Tensor, numbers: Tensor, owners: Tensor) -> Tensor:
    """Brightness, then saturation, then contrast."""
    one, two, three = numbers[owners].to(images.dtype)[:, :, None, None, None].unbind(1)
    bright = images + (one - 0.5)
    grey = bright.mean(1, keepdim=True)
    saturated = (bright - grey) * (2 * two) + grey
    mean = saturated.mean((1, 2, 3), keepdim=True)
    return (saturated - mean) * (three + 0.5) + mean


def _crop(images: Tensor, numbers: Tensor, owners: Tensor) -> Tensor:
    """Shift by up to an eighth of the side, zero border."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) + _shift(numbers[:, 0], height)
    columns = torch.arange(width, device=images.device) + _shift(numbers[:, 1], width)
    return _gather(images, _index(rows[:, :, None], columns[:, None, :], images), owners)


def _shift(numbers: Tensor, side: int) -> Tensor:
    """Whole pixels in [-s, s], uniform, [G, 1]; s is an eighth of the side, rounded."""
    most = int(side * _CROP + 0.5)
    return ((2 * most + 1) * numbers).floor().long()[:, None] - most


def _cutout(images: Tensor, numbers: Tensor, owners: Tensor) -> Tensor:
    """Set a square of half the side to zero; its centre is anywhere, the border cuts it off."""
    outside = [
        _outside(numbers[:, axis], side)[owners] for axis, side in enumerate(images.shape[2:])
    ]
    kept = outside[0][:, :, None] | outside[1][:, None, :]
    return images * kept[:, None].to(images.dtype)


def _outside(numbers: Tensor, side: int) -> Tensor:
    """Which pixels along an axis the square leaves out: bool [G, side]."""
    size = int(side * _CUTOUT + 0.5)
    centre = ((side + 1 - size % 2) * numbers).floor().long()[:, None]
    place = torch.arange(side, device=numbers.device)
    first = centre - size // 2
    return (place < first) | (place >= first + size)


def _flip(images: Tensor, numbers: Tensor, owners: Tensor) -> Tensor:
    """Mirror left and right with probability one half."""
    mirrored = numbers[owners, 0] < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def _scale(images: Tensor, numbers: Tensor, owners: Tensor) -> Tensor:
    """Enlarge or shrink each axis by up to 1.2, bilinear, zero border."""
    factors = numbers[:, :2] * (_SCALE - 1 / _SCALE) + 1 / _SCALE
    y, x = _places(images)
    return _resample(images, factors[:, 1, None, None] * y, factors[:, 0, None, None] * x, owners)


def _rotate(images: Tensor, numbers: Tensor, owners: Tensor) -> Tensor:
    """Turn by up to 15 degrees, bilinear, zero border."""
    angle = (2 * numbers[:, 0] - 1)[:, None, None] * math.radians(_ROTATE_DEGREES)
    y, x = _places(images)
    sine, cosine = angle.sin(), angle.cos()
    return _resample(images, sine * x + cosine * y, cosine * x - sine * y, owners)


def _places(images: Tensor) -> tuple[Tensor, Tensor]:
    """Centres of the pixels in [-1, 1]: float64 [1, H, 1] and [1, 1, W]."""
    height, width = images.shape[2:]
    options = {"dtype": torch.float64, "device": images.device}
    y = (2 * torch.arange(height, **options) + 1) / height - 1  # type: ignore[call-overload]
    x = (2 * torch.arange(width, **options) + 1) / width - 1  # type: ignore[call-overload]
    return y[None, :, None], x[None, None, :]


def _resample(images: Tensor, y: Tensor, x: Tensor, owners: Tensor) -> Tensor:
    """Read images bilinearly at places [G, H, W] in [-1, 1], zero outside."""
    height, width = images.shape[2:]
    y, x = ((y + 1) * height - 1) / 2, ((x + 1) * width - 1) / 2
    total = torch.zeros_like(images)
    for below in (0, 1):
        for right in (0, 1):
            row, column = y.floor() + below, x.floor() + right
            weight = (1 - (y - row).abs()) * (1 - (x - column).abs())
            corner = _gather(images, _index(row.long(), column.long(), images), owners)
            total = total + corner * weight.to(images.dtype)[owners][:, None]
    return total


def _index(rows: Tensor, columns: Tensor, images: Tensor) -> Tensor:
    """Where pixels lie in an image with a border of one pixel: int64 [G, H * W]."""
    height, width = images.shape[2:]
    index = (rows + 1).clamp(0, height + 1) * (width + 2) + (columns + 1).clamp(0, width + 1)
    return index.flatten(1)


def _gather(images: Tensor, index: Tensor, owners: Tensor) -> Tensor:
    """Read pixels by ``_index``; those outside of an image are zero."""
    bordered = pad(images, (1, 1, 1, 1)).flatten(2)
    places = index[owners][:, None].expand(-1, images.shape[1], -1)
    return bordered.gather(2, places).reshape(images.shape)


_APPLY: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}
