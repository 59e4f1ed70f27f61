"""A dataset of one's own: ``root/train/<class>/*`` and ``root/test/<class>/*``.

Shape letters: N images, H height, W width.
"""

import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from harness.datasets.image_data import RawData, RawSplit
from harness.errors import DataError
from harness.numerics import available_cpus

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_GRAYSCALE = ("1", "L", "LA")
_CHUNK = 256
# More threads decode no faster, since each image takes the interpreter's lock for a while.
_MAX_THREADS = 8


def read_image_folder(root: Path) -> RawData:
    """Read every image of a folder.

    Classes are sorted by name, images by class and file name; hidden files and files with other
    extensions are passed over. Pixels are taken as stored: nothing is resized or rotated, and
    transparency is dropped.

    Args:
        root: Folder that holds ``train`` and ``test``, each with one folder a class.

    Returns:
        Images uint8 [N, 1, H, W] where every image is grayscale, else uint8 [N, 3, H, W].

    Raises:
        DataError: A folder is missing or empty, the classes of train and test differ, or an image
            is corrupt, has another size than the first, or is grayscale of more than 8 bits.
    """
    classes = _list_classes(root)

    def list_part(part: str) -> list[tuple[Path, int]]:
        return [
            (path, label)
            for label, name in enumerate(classes)
            for path in _list_images(root / part / name)
        ]

    train, test = list_part("train"), list_part("test")
    # Decoded together: whether train is grayscale depends on test, and the other way round.
    images = torch.from_numpy(_decode([path for path, _ in train + test]))
    labels = torch.tensor([label for _, label in train + test])
    return RawData(
        train=RawSplit(images[: len(train)], labels[: len(train)]),
        test=RawSplit(images[len(train) :], labels[len(train) :]),
        classes=classes,
    )


def _list_classes(root: Path) -> tuple[str, ...]:
    found: dict[str, set[str]] = {}
    for part in ("train", "test"):
        folder = root / part
        if not folder.is_dir():
            raise DataError(
                f"imagefolder: no folder {folder}; expected {root}/train/<class>/ and "
                f"{root}/test/<class>/; check dataset.root"
            )
        with os.scandir(folder) as entries:
            found[part] = {
                entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
            }
    if found["train"] != found["test"]:
        only = [
            f"only in {part}: {', '.join(sorted(found[part] - found[other]))}"
            for part, other in (("train", "test"), ("test", "train"))
            if found[part] - found[other]
        ]
        raise DataError(
            f"imagefolder: {root}/train and {root}/test hold different classes ({'; '.join(only)});"
            " give both the same class folders"
        )
    if not found["train"]:
        raise DataError(
            f"imagefolder: no class folders in {root / 'train'}; expected one folder of images for "
            "each class"
        )
    return tuple(sorted(found["train"]))


def _list_images(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if entry.name.lower().endswith(EXTENSIONS)
            and not entry.name.startswith(".")
            and entry.is_file()
        )
    if not names:
        raise DataError(
            f"imagefolder: no images in {folder}; expected {', '.join(EXTENSIONS)} files; "
            "add some, or remove the class from train and test"
        )
    return [folder / name for name in names]


def _decode(files: Sequence[Path]) -> NDArray[np.uint8]:
    """Decode images of one size, on the cores of the process.

    Returns:
        uint8 [N, 1, H, W] or [N, 3, H, W].

    Raises:
        DataError: Of the first file, in order, that does not fit.
    """
    from PIL import Image

    # Pillow loads rarer decoders on first use, which is not safe to race for.
    Image.init()
    height, width = _read_pixels(files[0])[0].shape[:2]
    out = np.empty((len(files), 3, height, width), np.uint8)

    def fill(start: int) -> bool:
        all_grayscale = True
        for i in range(start, min(start + _CHUNK, len(files))):
            pixels, grayscale = _read_pixels(files[i])
            if pixels.shape[:2] != (height, width):
                raise DataError(
                    f"imagefolder: {files[i]} is {pixels.shape[1]}x{pixels.shape[0]} (width x "
                    f"height), expected {width}x{height} as {files[0]}; resize the images to one "
                    "size"
                )
            out[i] = pixels.transpose(2, 0, 1)
            all_grayscale &= grayscale
        return all_grayscale

    with ThreadPoolExecutor(min(available_cpus(), _MAX_THREADS)) as pool:
        # map yields in order, so it is the first file's error that is raised, whatever ran first.
        grayscale = list(pool.map(fill, range(0, len(files), _CHUNK)))
    return np.ascontiguousarray(out[:, :1]) if all(grayscale) else out


def _read_pixels(path: Path) -> tuple[NDArray[np.uint8], bool]:
    """Return one image as uint8 [H, W, 3], and whether it is grayscale."""
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            _check_depth(image, path)
            return np.asarray(image.convert("RGB")), image.mode in _GRAYSCALE
    except (
        EOFError,
        LookupError,
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        raise DataError(
            f"imagefolder: {path} cannot be read as an image ({' '.join(str(error).split())}); "
            "replace or remove it"
        ) from error


def _check_depth(image: "Image", path: Path) -> None:
    # Pillow would clip such values to 255, not scale them.
    if image.mode.startswith(("I", "F")):
        raise DataError(
            f"imagefolder: {path} has more than 8 bits a channel (mode {image.mode}), expected 8; "
            "convert it"
        )
