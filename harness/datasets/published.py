"""The published datasets, read through torchvision from files that are already there."""

import hashlib
import pickle
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.datasets.image_data import RawData, RawSplit
from harness.datasets.pixels import Constants
from harness.errors import DataError

_IDX_FILES = tuple(
    f"raw/{part}-{kind}-ubyte"
    for part in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)
_DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Published:
    """What is known of a published dataset before its files are read."""

    factory: str
    """Name of its class in ``torchvision.datasets``."""
    folder: str
    """Folder of its files below the data root; empty: the root itself."""
    files: tuple[str, ...]
    """Every file that torchvision reads, below ``folder``."""
    shape: tuple[int, int, int]
    """Channels, height and width."""
    num_classes: int
    constants: Constants
    """As in VICO-UoE/DatasetCondensation, utils.py, which published numbers rest on."""
    classes: tuple[str, ...] | None = None
    """Names of the classes; None: as torchvision gives them."""


PUBLISHED: dict[str, Published] = {
    "mnist": Published(
        factory="MNIST",
        folder="MNIST",
        files=_IDX_FILES,
        shape=(1, 28, 28),
        num_classes=10,
        constants=Constants((0.1307,), (0.3081,)),
        classes=_DIGITS,
    ),
    "fashionmnist": Published(
        factory="FashionMNIST",
        folder="FashionMNIST",
        files=_IDX_FILES,
        shape=(1, 28, 28),
        num_classes=10,
        constants=Constants((0.2861,), (0.3530,)),
    ),
    "svhn": Published(
        factory="SVHN",
        folder="",
        files=("train_32x32.mat", "test_32x32.mat"),
        shape=(3, 32, 32),
        num_classes=10,
        constants=Constants((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
        classes=_DIGITS,
    ),
    "cifar10": Published(
        factory="CIFAR10",
        folder="cifar-10-batches-py",
        files=(*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
        shape=(3, 32, 32),
        num_classes=10,
        # The std is the mean over images of each image's own std, smaller than that of all pixels.
        constants=Constants((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    ),
    "cifar100": Published(
        factory="CIFAR100",
        folder="cifar-100-python",
        files=("train", "test", "meta"),
        shape=(3, 32, 32),
        num_classes=100,
        constants=Constants((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
    ),
}
"""Name -> the dataset. Order as in ``harness.config.DATASETS``."""


def read_published(name: str, root: Path) -> RawData:
    """Read the train and test split of a published dataset.

    torchvision compares each CIFAR batch's and each SVHN file's MD5 with the published one before
    it opens the file, so no foreign pickle is ever loaded; MNIST's files are plain arrays.
    SVHN's ``extra`` split is not used.

    Args:
        name: A key of ``PUBLISHED``.
        root: The data root: torchvision's ``root``.

    Returns:
        Images uint8 [N, C, H, W] in the order of the files, and the published constants.

    Raises:
        DataError: A file is missing or corrupt; the message holds a command that fetches it.
    """
    known = PUBLISHED[name]
    _check_there(name, root)
    from torchvision import datasets

    factory = getattr(datasets, known.factory)
    by_split = name == "svhn"
    try:
        sets = [
            factory(str(root), **({"split": part} if by_split else {"train": part == "train"}))
            for part in ("train", "test")
        ]
        train, test = (_read_split(dataset, known) for dataset in sets)
    except (
        AssertionError,
        EOFError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{name}: corrupt files in {root / known.folder} ({reason}); remove "
            f"{' and '.join(known.files) if by_split else 'the folder'}, then run "
            f"{fetch_command(name, root)}"
        ) from error
    classes = known.classes or tuple(sets[0].classes)
    return RawData(train=train, test=test, classes=classes, constants=known.constants)


def published_key(name: str, root: Path, layout: int) -> str:
    """Hash where a published dataset's files are, their sizes and times of change.

    Raises:
        DataError: A file is missing.
    """
    _check_there(name, root)
    known = PUBLISHED[name]
    files = [root / known.folder / file for file in known.files]
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((layout, name, stats)).encode()).hexdigest()


def _check_there(name: str, root: Path) -> None:
    if lacking := missing_file(name, root):
        raise DataError(
            f"{name}: no file {lacking}; run {fetch_command(name, root)}, or set dataset.root (or "
            "$HARNESS_DATA) to the folder that it is in"
        )


def missing_file(name: str, root: Path) -> Path | None:
    """Return the first file of a published dataset that is not there, or None."""
    known = PUBLISHED[name]
    paths = (root / known.folder / file for file in known.files)
    return next((path for path in paths if not path.is_file()), None)


def fetch_command(name: str, root: Path) -> str:
    """Return a shell command that downloads a published dataset into ``root``."""
    return f"harness datasets fetch {name} --root {shlex.quote(str(root))}"


def _read_split(dataset: Any, known: Published) -> RawSplit:
    """Take a torchvision dataset's arrays whole, and check that they fit together.

    Raises:
        ValueError: They do not.
    """
    images = torch.as_tensor(dataset.data)
    labels = torch.as_tensor(dataset.labels if known.factory == "SVHN" else dataset.targets)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    elif known.factory.startswith("CIFAR"):
        images = images.permute(0, 3, 1, 2)
    _check(images, labels, known)
    return RawSplit(images.contiguous(), labels.long())


def _check(images: Tensor, labels: Tensor, known: Published) -> None:
    if tuple(images.shape[1:]) != known.shape or images.dtype != torch.uint8:
        raise ValueError(f"images are {tuple(images.shape[1:])}, expected {known.shape}")
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} images but {len(labels)} labels")
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= known.num_classes:
        raise ValueError(f"labels are not within 0 to {known.num_classes - 1}")
