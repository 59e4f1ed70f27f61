"""From what a file holds to a set that students of a dataset can be trained on.

Nothing is guessed silently: labels, factor and pixel space come from the file or from the user,
and what can be checked against the real images is.

Shape letters: S images of a set, K classes, C channels, H height, W width.
"""

from typing import Literal

import torch
from torch import Tensor

from harness.datasets import ImageData
from harness.errors import ConfigError, DataError, suggest
from harness.formats import idc
from harness.formats.foreign import Foreign
from harness.synthetic import SyntheticSet, labels_by_class

PIXELS = ("normalised", "unit", "zca")
LABELS = ("hard", "probabilities", "logits")

_SUM_TOLERANCE = 1e-3
_OVERSHOOT = 0.5
_MAX_BEYOND, _MAX_BELOW = 0.1, 0.4
"""Shares of the values of a set in [0, 1] that may lie ``_OVERSHOOT`` beyond it, and below 0. A set
learned from noise has some 1% and up to 34% (MNIST); normalised images have over 30% beyond, and
whitened ones half below 0."""
_FACTOR = 4.0
"""How many times wider or narrower than real images a set in the same pixel space may spread:
DC's sets spread 0.9 to 1.3 times as wide, and CIFAR10 in ZCA space spreads a fifth of normalised
CIFAR10."""

PixelSpace = Literal["normalised", "unit", "zca"]


def pixel_space(foreign: Foreign, told: str | None) -> str:
    """Return the pixel space of a set: the one it records, else the one that the user tells.

    Raises:
        ConfigError: Neither is there, they differ, or there is no such space.
    """
    if told is not None and told not in PIXELS:
        raise ConfigError(f"--pixels: got '{told}'; {suggest(told, PIXELS)}")
    if foreign.pixels is None:
        if told is None:
            raise ConfigError(
                f"{foreign.where}: a set of format '{foreign.format}' does not record its pixel "
                "space; give --pixels normalised (mean and std of the dataset), unit (0 to 1) or "
                "zca"
            )
        if told == "zca" and foreign.format == "kip":
            raise ConfigError(
                f"{foreign.where}: --pixels: got 'zca', but KIP's whitening is another one; turn "
                "the images back into pixels and give --pixels unit"
            )
        return told
    if told not in (None, foreign.pixels):
        raise ConfigError(
            f"{foreign.where}: --pixels: got '{told}', but the set is in '{foreign.pixels}'; "
            "leave --pixels out"
        )
    return foreign.pixels


def fit_to_dataset(
    foreign: Foreign,
    data: ImageData,
    *,
    pixels: str | None = None,
    labels: str | None = None,
    factor: int | None = None,
) -> SyntheticSet:
    """Check a set against a dataset and bring it into the dataset's pixel space.

    Args:
        foreign: What a file holds.
        data: Real images, in ``normalised`` or ``zca`` space.
        pixels: Pixel space of the set, where it does not record it.
        labels: How to take soft labels: ``hard`` (the largest), ``probabilities`` or ``logits``
            (their softmax); None: as probabilities, which they must then be.
        factor: Parts along each side of IDC's mosaics; None for other formats.

    Returns:
        Images float32 [S, C, H, W], sorted by class; labels int64 [S] or float32 [S, K].

    Raises:
        ConfigError: The user has to say more, or says what does not fit.
        DataError: The set does not fit the dataset.
    """
    space = pixel_space(foreign, pixels)
    images = foreign.images
    if images.shape[1:] != data.in_shape:
        raise DataError(
            f"{foreign.where}: got images {_by(images.shape[1:])}, but those of '{data.name}' are "
            f"{_by(data.in_shape)}; set dataset.name (or dataset.resize) to what it was made from"
        )
    targets = _take_labels(foreign, data, labels)
    images, targets = _decode(foreign, images, targets, factor)
    classes = targets.argmax(1) if targets.is_floating_point() else targets
    order = torch.sort(classes, stable=True).indices
    images = _convert(foreign, images, space, data)
    provenance = {
        **foreign.provenance,
        "pixels": data.pixels,
        "mean": list(data.mean),
        "std": list(data.std),
        "classes": list(data.classes),
    }
    if foreign.lr is not None:
        provenance["lr"] = foreign.lr
    if not foreign.provenance:
        provenance["format"] = foreign.format
    return SyntheticSet(images[order].contiguous(), targets[order], provenance)


def images_per_class(foreign: Foreign, classes: int) -> int:
    """Return how many images a class are stored: the set's ipc, before mosaics are decoded."""
    made = foreign.provenance.get("distillation")
    # This project's sets hold decoded images.
    if isinstance(made, dict) and made.get("method") == "idc" and isinstance(made.get("ipc"), int):
        return max(int(made["ipc"]), 1)
    return max(len(foreign.images) // classes, 1)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _take_labels(foreign: Foreign, data: ImageData, told: str | None) -> Tensor:
    if told is not None and told not in LABELS:
        raise ConfigError(f"--labels: got '{told}'; {suggest(told, LABELS)}")
    labels, classes, where = foreign.labels, data.num_classes, foreign.where
    if labels is None:
        ipc, rest = divmod(len(foreign.images), classes)
        if rest:
            raise DataError(
                f"{where}: got {len(foreign.images)} images without labels for {classes} classes, "
                "expected as many for each; put the labels beside them"
            )
        return labels_by_class(classes, ipc)
    if labels.is_floating_point():
        return _take_soft(labels, data, told, where)
    if told in ("probabilities", "logits"):
        raise ConfigError(
            f"{where}: --labels: got '{told}', but the labels are class numbers; leave it out"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise DataError(
            f"{where}: labels go from {int(labels.min())} to {int(labels.max())}, but '{data.name}'"
            f" has the classes 0 to {classes - 1}; check dataset.name"
        )
    if foreign.names is not None:
        labels = _by_name(foreign, data)[labels]
    _check_balance(labels, classes, where)
    return labels


def _take_soft(labels: Tensor, data: ImageData, told: str | None, where: str) -> Tensor:
    if labels.shape[1] != data.num_classes:
        raise DataError(
            f"{where}: got soft labels of {labels.shape[1]} classes, but '{data.name}' has "
            f"{data.num_classes}; check dataset.name"
        )
    sums = labels.sum(1)
    likely = bool((labels >= 0).all()) and bool(((sums - 1).abs() <= _SUM_TOLERANCE).all())
    if told == "logits":
        return labels.softmax(1)
    if told != "hard" and not likely:
        raise ConfigError(
            f"{where}: the labels are neither class numbers nor probabilities (rows sum to "
            f"{float(sums.min()):.3g} .. {float(sums.max()):.3g}); give --labels logits (their "
            "softmax) or --labels hard (the largest)"
        )
    one_hot = bool(((labels == 0) | (labels == 1)).all())
    if told == "hard" or (told is None and one_hot):
        hard = labels.argmax(1)
        _check_balance(hard, data.num_classes, where)
        return hard
    return labels / sums[:, None]


def _by_name(foreign: Foreign, data: ImageData) -> Tensor:
    """Class of the dataset for each class of a set that has names."""
    assert foreign.names is not None
    known = [name.replace("/", "_") for name in data.classes]
    names = [name.replace("/", "_") for name in foreign.names]
    if sorted(names) == sorted(known):
        return torch.tensor([known.index(name) for name in names])
    if all(name.isdecimal() for name in names):
        numbers = [int(name) for name in names]
        if sorted(numbers) == list(range(len(known))):
            return torch.tensor(numbers)
    lacking = sorted(set(known) - set(names)) or sorted(set(names) - set(known))
    raise DataError(
        f"{foreign.where}: its classes are not those of '{data.name}' (for example "
        f"'{lacking[0]}'); name them as the dataset does, or 0 to {len(known) - 1}"
    )


def _check_balance(labels: Tensor, classes: int, where: str) -> None:
    counts = torch.bincount(labels, minlength=classes)
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[least] != counts[most]:
        raise DataError(
            f"{where}: unbalanced classes: class {least} has {int(counts[least])} images and class "
            f"{most} has {int(counts[most])}, expected as many of each"
        )


def _decode(
    foreign: Foreign, images: Tensor, targets: Tensor, factor: int | None
) -> tuple[Tensor, Tensor]:
    if foreign.format != "idc":
        if factor not in (None, 1):
            raise ConfigError(
                f"--factor: got {factor}, but {foreign.where} is of format '{foreign.format}', "
                "which has no mosaics; leave it out"
            )
        return images, targets
    if factor is None:
        raise ConfigError(
            f"{foreign.where}: a set of format 'idc' does not record its factor; give --factor 1 "
            "(plain images), 2 (published for CIFAR10, SVHN and MNIST) or 3 (ImageNet)"
        )
    if not 1 <= factor <= images.shape[-1]:
        raise ConfigError(
            f"--factor: got {factor}, expected 1 to {images.shape[-1]}, the side of the images"
        )
    return idc.decode(images, factor), torch.cat([targets] * factor**2)


def _convert(foreign: Foreign, images: Tensor, space: str, data: ImageData) -> Tensor:
    """Bring images into the dataset's pixel space, after a look at whether they are in theirs."""
    where = foreign.where
    if space == "unit":
        _check_unit(images, where)
        return data.from_unit(images)
    if space != data.pixels:
        raise ConfigError(
            f"{where}: is in '{space}' space, but dataset.pixels is '{data.pixels}'; leave "
            f"dataset.pixels out, or set it to '{space}'"
        )
    own = foreign.provenance
    if space == "normalised" and own.get("mean") and own.get("std"):
        made_with = (tuple(own["mean"]), tuple(own["std"]))
        if made_with != (data.mean, data.std):
            mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in made_with)
            return data.from_unit(images * std + mean)
        return images
    if foreign.pixels is None:  # told by the user, not by the file
        _check_spread(images, where, space, data)
    return images


def _check_unit(images: Tensor, where: str) -> None:
    beyond = float(((images < -_OVERSHOOT) | (images > 1 + _OVERSHOOT)).float().mean())
    below = float((images < 0).float().mean())
    if beyond > _MAX_BEYOND or below > _MAX_BELOW:
        raise DataError(
            f"{where}: implausible in 'unit' space: values go from {float(images.min()):.3g} to "
            f"{float(images.max()):.3g}, {below:.0%} of them below 0, expected about 0 to 1; give "
            "--pixels normalised or zca"
        )


def _check_spread(images: Tensor, where: str, space: str, data: ImageData) -> None:
    low, high = float(images.min()), float(images.max())
    if low >= 0 and high <= 1:
        raise DataError(
            f"{where}: implausible in '{space}' space: all values are between 0 and 1 "
            f"({low:.3g} to {high:.3g}); give --pixels unit"
        )
    real = float(data.test.images[:1000].std(correction=0))
    ours = float(images.std(correction=0))
    if not real / _FACTOR <= ours <= real * _FACTOR:
        raise DataError(
            f"{where}: implausible in '{space}' space: its values have a std of {ours:.3g}, those "
            f"of real '{data.name}' images have {real:.3g}; check --pixels (normalised, unit or "
            "zca) and dataset.name"
        )
