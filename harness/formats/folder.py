"""A folder of image files for each class, and pictures for people to look at.

DD-Ranking reads such folders too, with soft labels or a learned rate in files beside them.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from harness.datasets.folder import list_folders
from harness.datasets.listing import Listing, read_pixels
from harness.errors import DataError
from harness.formats.foreign import Foreign, check_images, check_labels, check_lr
from harness.formats.safe import load_torch
from harness.images import write_grid
from harness.records import whole_file
from harness.synthetic import SyntheticSet

_HINT = "replace it"


def read(path: Path) -> list[Foreign]:
    """Read every image; pixels are in [0, 1], classes are named by their folders."""
    names = tuple(list_folders(path))
    listing = Listing("distilled set", path, names)
    for label, name in enumerate(names):
        if listing.add_folder(name, label) == 0:
            raise DataError(f"{path / name}: holds no images; expected some for each class")
    if not names:
        raise DataError(
            f"{path}: holds neither a distilled set nor a folder of images for each class"
        )
    read = [
        read_pixels(listing.path(i), listing.name, hint=_HINT) for i in range(len(listing.files))
    ]
    sizes = {pixels.shape[:2] for pixels, _ in read}
    if len(sizes) > 1:
        raise DataError(f"{path}: holds images of {len(sizes)} sizes, expected one")
    channels = 1 if all(gray for _, gray in read) else 3
    stacked = torch.from_numpy(np.stack([pixels[:, :, :channels] for pixels, _ in read]))
    images = check_images(stacked.permute(0, 3, 1, 2).float() / 255, str(path))
    soft, lr = path / "labels.pt", path / "lr.pt"
    labels = load_torch(soft) if soft.is_file() else torch.tensor(listing.labels)
    return [
        Foreign(
            str(path),
            "folder",
            images,
            check_labels(labels, len(images), str(soft if soft.is_file() else path)),
            pixels="unit",
            lr=check_lr(load_torch(lr), str(lr)) if lr.is_file() else None,
            names=names,
        )
    ]


def write(synthetic: SyntheticSet, path: Path) -> None:
    """Write a folder a class, named after it; images are rounded to 8 bits and clamped."""
    if synthetic.labels.is_floating_point():
        raise DataError("--format: 'folder' holds no soft labels; choose dd-ranking, mtt or kip")
    names = synthetic.provenance.get("classes")
    pixels = to_bytes(synthetic.images)
    path.mkdir(exist_ok=True)
    if others := sorted(entry.name for entry in path.iterdir()):
        raise DataError(f"--to: {path} is not empty ({others[0]}); choose another folder")
    counts: dict[int, int] = {}
    for image, label in zip(pixels, synthetic.labels.tolist(), strict=True):
        name = str(names[label]) if isinstance(names, list) else f"{label:05d}"
        (path / name.replace("/", "_")).mkdir(exist_ok=True)
        counts[label] = counts.get(label, -1) + 1
        with whole_file(path / name.replace("/", "_") / f"{counts[label]:05d}.png") as aside:
            array = image.permute(1, 2, 0).numpy()
            Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).save(
                aside, format="png"
            )


def write_picture(synthetic: SyntheticSet, path: Path) -> None:
    """Write all images as one picture, a row a class."""
    columns = synthetic.per_class
    if len(synthetic.labels) % columns:
        columns = 1
    write_grid(synthetic.images.clamp(0, 1), path, columns=columns)


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    """Turn pixels in [0, 1] into uint8, clamped and rounded, on the CPU."""
    return (images.detach().cpu().clamp(0, 1) * 255).round().byte()
