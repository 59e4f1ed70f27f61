"""Augmentation of a student's training images, as published for DC and for DSA.

Source: VICO-UoE/DatasetCondensation, utils.py (``augment``, ``get_daparam``, ``DiffAugment``).
``crop-scale-rotate`` is used for MNIST, ``crop-noise`` for ConvNets with batch norm: one operation
is chosen for each image. ``dsa`` (``harness.augment``) chooses one for a batch, whose images have
parameters of their own. Random numbers come from a CPU generator, so that they do not depend on the
device.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate, pad

from harness.architecture import Architecture
from harness.augment import augment as differentiable
from harness.augment import draw_by_image
from harness.settings.methods import OF_CHARACTERS, OPERATIONS

_CROP_PIXELS = 4
_SCALE = 0.2
_ROTATE_DEGREES = 45
_NOISE = 0.001

Operation = Callable[[Tensor, Tensor, Generator], Tensor]


def resolve(setting: str, dataset: str, student: Architecture) -> str:
    """Turn ``auto`` into the published choice for a dataset and a student.

    Images of characters are never flipped: ``dsa`` is ``dsa-noflip`` there.
    """
    if setting == "dsa" and dataset in OF_CHARACTERS:
        return "dsa-noflip"
    if setting != "auto":
        return setting
    if student.name == "convnet" and student.norm == "batchnorm":
        return "crop-noise"
    return "crop-scale-rotate" if dataset == "mnist" else "none"


def augment(images: Tensor, name: str, rng: Generator) -> Tensor:
    """Augment a batch.

    Args:
        images: Float32 [B, C, H, W], normalised.
        name: ``none``, ``crop-scale-rotate``, ``crop-noise``, ``dsa`` or ``dsa-noflip``.
        rng: CPU generator.

    Returns:
        The same shape; ``images`` itself for ``none``.
    """
    if name == "none":
        return images
    if name in _DSA:
        draws = draw_by_image([_DSA[name]], rng, len(images))
        return differentiable(images, draws.to(images.device))
    operations = _OPERATIONS[name]
    means = images.mean(dim=(0, 2, 3))
    chosen = torch.randint(len(operations), (len(images),), generator=rng).tolist()
    return torch.stack(
        [operations[k](image, means, rng) for k, image in zip(chosen, images, strict=True)]
    )


def _crop(image: Tensor, means: Tensor, rng: Generator) -> Tensor:
    """Shift by up to four pixels each way; the border is each channel's mean."""
    height, width = image.shape[1:]
    padded = pad(image - means[:, None, None], [_CROP_PIXELS] * 4) + means[:, None, None]
    top, left = torch.randint(2 * _CROP_PIXELS, (2,), generator=rng).tolist()
    return padded[:, top : top + height, left : left + width]


def _scale(image: Tensor, means: Tensor, rng: Generator) -> Tensor:
    """Resize height and width by 0.8 to 1.2 each, nearest pixel; zero border, centre crop."""
    height, width = image.shape[1:]
    factors = 1 + _SCALE * (2 * torch.rand(2, generator=rng) - 1)
    scaled_height, scaled_width = int(height * factors[0]), int(width * factors[1])
    scaled = interpolate(image[None], [scaled_height, scaled_width])[0]
    canvas = image.new_zeros(len(image), max(height, scaled_height), max(width, scaled_width))
    top = (canvas.shape[1] - scaled_height) // 2
    left = (canvas.shape[2] - scaled_width) // 2
    canvas[:, top : top + scaled_height, left : left + scaled_width] = scaled
    return _centre(canvas, height, width)


def _rotate(image: Tensor, means: Tensor, rng: Generator) -> Tensor:
    """Turn by whole degrees in [-45, 45), cubic spline; the border is the mean of the means."""
    from scipy import ndimage  # a fifth of a second, which few students need

    angle = int(torch.randint(-_ROTATE_DEGREES, _ROTATE_DEGREES, (), generator=rng))
    turned = ndimage.rotate(
        image.cpu().numpy(), angle, axes=(-2, -1), cval=float(means.mean()), order=3
    )
    rotated = torch.from_numpy(np.ascontiguousarray(turned)).to(image)
    return _centre(rotated, *image.shape[1:])


def _noise(image: Tensor, means: Tensor, rng: Generator) -> Tensor:
    """Add normal noise of standard deviation 0.001."""
    return image + _NOISE * torch.randn(image.shape, generator=rng).to(image)


def _centre(image: Tensor, height: int, width: int) -> Tensor:
    top = (image.shape[1] - height) // 2
    left = (image.shape[2] - width) // 2
    return image[:, top : top + height, left : left + width]


_DSA: dict[str, tuple[str, ...]] = {
    "dsa": OPERATIONS,
    "dsa-noflip": tuple(name for name in OPERATIONS if name != "flip"),
}
_OPERATIONS: dict[str, tuple[Operation, ...]] = {
    "crop-scale-rotate": (_crop, _scale, _rotate),
    "crop-noise": (_crop, _noise),
}
