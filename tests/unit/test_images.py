"""Grids of images."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from harness.images import write_grid


def test_images_stand_row_by_row_inside_borders(tmp_path: Path) -> None:
    images = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 1, 2, 2) / 10
    write_grid(images, tmp_path / "grid.png", columns=2)
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    assert pixels.shape == (3 * 4, 2 * 4)
    assert pixels[1::4, 1::4].tolist() == [[0, 26], [51, 76], [102, 128]]
    assert not pixels[0::4].any()
    assert not pixels[3::4].any()


def test_colour_images_keep_their_channels(tmp_path: Path) -> None:
    image = torch.tensor([1.0, 0.5, 0.0]).reshape(1, 3, 1, 1)
    write_grid(image, tmp_path / "grid.png", columns=1)
    assert np.asarray(Image.open(tmp_path / "grid.png"))[1, 1].tolist() == [255, 128, 0]
