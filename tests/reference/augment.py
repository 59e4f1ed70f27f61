"""DSA's operations, one image at a time: loops over pixels, torch's own affine grids.

``numbers`` are the three uniform numbers of an image, from which all parameters come.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional


def color(image: Tensor, numbers: list[float]) -> Tensor:
    image = image + (numbers[0] - 0.5) * 1.0
    mean = sum(image[c] for c in range(len(image))) / len(image)
    image = torch.stack([(plane - mean) * (2.0 * numbers[1]) + mean for plane in image])
    centre = image.sum() / image.numel()
    return (image - centre) * (numbers[2] + 0.5) + centre


def crop(image: Tensor, numbers: list[float]) -> Tensor:
    _, height, width = image.shape
    most = [math.floor(0.125 * side + 0.5) for side in (height, width)]
    down, right = (math.floor((2 * m + 1) * u) - m for m, u in zip(most, numbers, strict=False))
    padded = functional.pad(image, (most[1], most[1], most[0], most[0]))
    top, left = most[0] + down, most[1] + right
    return padded[:, top : top + height, left : left + width]


def cutout(image: Tensor, numbers: list[float]) -> Tensor:
    _, height, width = image.shape
    size = [math.floor(0.5 * side + 0.5) for side in (height, width)]
    centre = [
        math.floor((side + 1 - s % 2) * u)
        for side, s, u in zip((height, width), size, numbers, strict=False)
    ]
    mask = torch.ones(height, width, dtype=image.dtype)
    for di in range(size[0]):
        for dj in range(size[1]):
            i = min(max(centre[0] - size[0] // 2 + di, 0), height - 1)
            j = min(max(centre[1] - size[1] // 2 + dj, 0), width - 1)
            mask[i, j] = 0.0
    return image * mask


def flip(image: Tensor, numbers: list[float]) -> Tensor:
    return torch.flip(image, [2]) if numbers[0] < 0.5 else image


def warp(image: Tensor, matrix: list[list[float]]) -> Tensor:
    theta = torch.tensor([matrix], dtype=image.dtype)
    grid = functional.affine_grid(theta, [1, *image.shape], align_corners=False)
    return functional.grid_sample(image[None], grid, align_corners=False)[0]


def scale(image: Tensor, numbers: list[float]) -> Tensor:
    sx, sy = (u * (1.2 - 1 / 1.2) + 1 / 1.2 for u in numbers[:2])
    return warp(image, [[sx, 0.0, 0.0], [0.0, sy, 0.0]])


def rotate(image: Tensor, numbers: list[float]) -> Tensor:
    angle = (numbers[0] - 0.5) * 2 * 15.0 / 180 * math.pi
    cos, sin = math.cos(angle), math.sin(angle)
    return warp(image, [[cos, -sin, 0.0], [sin, cos, 0.0]])


def augment(image: Tensor, operations: list[str], numbers: list[list[float]]) -> Tensor:
    """One operation after the other, each with its own numbers."""
    for name, own in zip(operations, numbers, strict=True):
        image = globals()[name](image, own)
    return image
