"""The handwritten digits that come with scikit-learn: a dataset that is always there."""

import importlib.util
from pathlib import Path

import numpy as np
import torch

from harness.datasets.image_data import RawData, RawSplit, measure
from harness.datasets.pixels import Constants
from harness.datasets.splits import apportion, select, shuffled_members

NUM_VALIDATION, NUM_TEST = 197, 400
SIZE = 28


def read_digits(protocol: str) -> RawData:
    """Read the 1,797 digits, resized from 8x8 to 28x28.

    Args:
        protocol: ``held-out`` gives the fixed split 1,200 / 197 / 400 (training, validation,
            test), stratified; ``paper`` trains on the 1,397 that are not for testing.

    Returns:
        Images float32 [N, 1, 28, 28] in [0, 1]. The constants are those of the 1,200 images under
        either protocol, so that a set distilled under one can be evaluated under the other.
    """
    every = _read_images()
    train, validation, test = [], [], []
    sizes = torch.bincount(every.labels).tolist()
    num_test, num_validation = apportion(NUM_TEST, sizes), apportion(NUM_VALIDATION, sizes)
    for label in range(len(sizes)):
        members = shuffled_members(every.labels, label)
        start, end = num_test[label], num_test[label] + num_validation[label]
        test.append(members[:start])
        validation.append(members[start:end])
        train.append(members[end:])
    paper = protocol == "paper"
    own = select(every, train)
    return RawData(
        train=select(every, train + validation if paper else train),
        validation=None if paper else select(every, validation),
        test=select(every, test),
        classes=tuple(str(label) for label in range(len(sizes))),
        constants=measure(own.images, own.rows),
    )


def digits_constants() -> Constants:
    """Return mean and std of the 1,200 training images, for other datasets to use."""
    constants = read_digits("held-out").constants
    assert constants is not None
    return constants


def _read_images() -> RawSplit:
    table = torch.from_numpy(_read_table())
    small = table[:, :-1].reshape(-1, 1, 8, 8) / 16
    # In float64, so that what the float32 result loses hides differences between machines.
    images = torch.nn.functional.interpolate(
        small, size=(SIZE, SIZE), mode="bilinear", align_corners=False
    )
    return RawSplit(images.float(), table[:, -1].long())


def _read_table() -> np.ndarray:
    """The digits as float64 [1797, 65]: 64 pixels, 0..16, and the label.

    Importing scikit-learn takes a second, in every worker; so its file is read without it where it
    lies at the usual place.
    """
    package = importlib.util.find_spec("sklearn")
    if package is not None and package.origin is not None:
        file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target])
