"""IDC and acc-DD: ``[images, labels]`` in [0, 1], each image a mosaic of smaller ones.

Source: snu-mllab/Efficient-Dataset-Condensation, data.py (``decode_zoom``).
"""

from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from harness.formats.foreign import Foreign, check_images, check_labels
from harness.formats.safe import save_torch
from harness.synthetic import SyntheticSet

_PADDING = 0.5


def knows(content: object) -> bool:
    """Whether a torch file holds this format."""
    return (
        isinstance(content, list | tuple)
        and len(content) == 2
        and all(isinstance(item, Tensor) for item in content)
    )


def read(path: Path, content: object) -> list[Foreign]:
    """Read the mosaics, still to be decoded (``decode``)."""
    stored, labels = cast("list[Tensor]", content)
    where = str(path)
    images = check_images(stored, where)
    return [Foreign(where, "idc", images, check_labels(labels, len(images), where), pixels="unit")]


def write(synthetic: SyntheticSet, path: Path) -> None:
    """Write images as mosaics of one, factor 1."""
    save_torch([synthetic.images.cpu(), synthetic.labels.cpu()], path)


def decode(images: Tensor, factor: int) -> Tensor:
    """Cut each mosaic into its parts and enlarge them (bilinear) to the size of the mosaic.

    Args:
        images: Float32 [S, C, H, H]; a side that ``factor`` does not divide is padded with 0.5 at
            the right and at the bottom.
        factor: Parts along each side, >= 1.

    Returns:
        Float32 [factor**2 * S, C, H, H]: the first part of every image, then the second, row by
        row; labels repeat likewise.
    """
    if factor == 1:
        return images
    side = images.shape[-1]
    if beyond := -side % factor:
        images = pad(images, (0, beyond, 0, beyond), value=_PADDING)
    part = images.shape[-1] // factor
    parts = [
        images[:, :, i * part : (i + 1) * part, j * part : (j + 1) * part]
        for i in range(factor)
        for j in range(factor)
    ]
    return interpolate(torch.cat(parts), size=side, mode="bilinear", align_corners=False)
