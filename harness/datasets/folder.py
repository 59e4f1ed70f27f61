"""A dataset of one's own: ``root/train/<class>/*`` and ``root/test/<class>/*``."""

import os
from pathlib import Path

from harness.datasets.listing import EXTENSIONS, Listing
from harness.errors import DataError

PARTS = ("train", "test")


def list_image_folder(root: Path) -> Listing:
    """List every image of a folder.

    Classes are sorted by name, images by class and file name; hidden files and files with other
    extensions are passed over.

    Args:
        root: Folder that holds ``train`` and ``test``, each with one folder a class.

    Raises:
        DataError: A folder is missing or empty, or the classes of train and test differ.
    """
    listing = Listing("imagefolder", root, _list_classes(root))
    for part in PARTS:
        for label, name in enumerate(listing.classes):
            if listing.add_folder(f"{part}/{name}", label) == 0:
                raise DataError(
                    f"imagefolder: no images in {root / part / name}; expected "
                    f"{', '.join(EXTENSIONS)} files; add some, or remove the class from train and "
                    "test"
                )
        if part == "train":
            listing.num_train = len(listing.files)
    return listing


def list_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, hidden ones left out."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
        )


def _list_classes(root: Path) -> tuple[str, ...]:
    found: dict[str, set[str]] = {}
    for part in PARTS:
        folder = root / part
        if not folder.is_dir():
            raise DataError(
                f"imagefolder: no folder {folder}; expected {root}/train/<class>/ and "
                f"{root}/test/<class>/; check dataset.root"
            )
        found[part] = set(list_folders(folder))
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
