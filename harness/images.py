"""Pictures of image sets, for people to look at."""

from pathlib import Path

from torch import Tensor
from torch.nn.functional import pad

from harness.records import whole_file

_BORDER = 1


def write_grid(images: Tensor, path: Path, *, columns: int) -> None:
    """Write images as one PNG, row by row, a black pixel around each.

    Args:
        images: Float [S, C, H, W] in [0, 1], C = 1 or 3; S is a multiple of ``columns``.
        path: Final name; the file appears whole.
        columns: Images in a row, for example ipc for a row a class.
    """
    from PIL import Image

    framed = pad(images.cpu(), [_BORDER] * 4)
    num, channels, height, width = framed.shape
    rows = framed.reshape(num // columns, columns, channels, height, width)
    picture = rows.permute(0, 3, 1, 4, 2).reshape(-1, columns * width, channels)
    pixels = (picture * 255).round().byte().numpy()
    with whole_file(path) as aside:
        Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels).save(aside, format="png")
