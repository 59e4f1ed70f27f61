"""Pictures of image sets, for people to look at."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from harness.records import whole_file

if TYPE_CHECKING:  # who only shows pictures needs no torch
    from PIL.Image import Image
    from torch import Tensor

_BORDER = 1
_SHOWN_PIXELS = 2**17
"""About what a screen has room for; as PNG, noise takes up to three bytes a pixel."""


def draw_grid(images: "Tensor", *, columns: int) -> "Image":
    """Draw images as one picture, row by row, a black pixel around each.

    Args:
        images: Float [S, C, H, W] in [0, 1], C = 1 or 3; S is a multiple of ``columns``.
        columns: Images in a row, for example ipc for a row a class.
    """
    from PIL import Image
    from torch.nn.functional import pad

    framed = pad(images.detach().cpu(), [_BORDER] * 4)
    num, channels, height, width = framed.shape
    rows = framed.reshape(num // columns, columns, channels, height, width)
    picture = rows.permute(0, 3, 1, 4, 2).reshape(-1, columns * width, channels)
    pixels = (picture * 255).round().byte().numpy()
    return Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels)


def write_grid(images: "Tensor", path: Path, *, columns: int) -> None:
    """Write images as one PNG; see ``draw_grid``.

    Args:
        images: As there.
        path: Final name; the file appears whole.
        columns: As there.
    """
    with whole_file(path) as aside:
        draw_grid(images, columns=columns).save(aside, format="png")


def shown_part(grid: "Image", columns: int) -> bytes:
    """Encode a grid as PNG, without the columns that make it too large to be shown many times.

    Args:
        grid: Of ``draw_grid``, a row a class.
        columns: Parts of a row that are not divided: its images, or the mosaics that they are
            decoded from; at least the first is kept.
    """
    cell = grid.width // columns
    shown = min(columns, max(1, _SHOWN_PIXELS // (grid.height * cell)))
    encoded = io.BytesIO()
    grid.crop((0, 0, shown * cell, grid.height)).save(encoded, format="png")
    return encoded.getvalue()
