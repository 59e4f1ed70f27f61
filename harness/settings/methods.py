"""Settings that only some methods have, and what a method fills in where nothing is said.

A table is dropped from the identity of every method that does not have it, so that a new table
changes no digest and no key of the store.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, model_validator

from harness.errors import suggest
from harness.plugins import is_plugin, load_plugin
from harness.settings.base import Settings, as_tuple

OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")
"""Operations of differentiable augmentation, in the order of the published strategy."""

DIGITS = "digits"
"""The dataset where none is named."""

OF_CHARACTERS = (DIGITS, "mnist", "svhn")
"""Datasets whose images are never flipped: their mirror images are others, or none."""

LOOPS: dict[int, tuple[int, int]] = {
    1: (1, 1),
    10: (10, 50),
    20: (20, 25),
    30: (30, 20),
    40: (40, 15),
    50: (50, 10),
}
"""ipc -> (outer_loop, inner_loop) of gradient matching (VICO-UoE/DatasetCondensation, utils.py)."""


class MethodSettings(Settings):
    """Base of the tables that some methods have."""

    @property
    def active(self) -> bool:
        """Whether it counts where the method has it."""
        return True


class KMeansSettings(MethodSettings):
    """What only the method ``kmeans`` has."""

    epochs: int = Field(default=20, ge=1)
    """Passes over the training images that the main model learns its features in."""


class DSASettings(MethodSettings):
    """Differentiable siamese augmentation (arXiv 2102.08259)."""

    operations: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = OPERATIONS
    """Operations that one is drawn from for each class and step; default all six, without ``flip``
    for ``digits``, ``mnist`` and ``svhn``."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.operations:
            raise ValueError("dsa.operations: got an empty list, expected at least one operation")
        for name in self.operations:
            if name not in OPERATIONS:
                raise ValueError(f"dsa.operations: got '{name}'; {suggest(name, OPERATIONS)}")
        if len(set(self.operations)) < len(self.operations):
            raise ValueError("dsa.operations: an operation is named twice; name each once")
        return self


class IDCSettings(MethodSettings):
    """Efficient parameterisation (arXiv 2205.14959)."""

    factor: int = Field(default=2, ge=1, le=8)
    """Parts along each side of a stored image, each of which becomes an image; default 3 for
    ImageNet's subsets."""
    distance: Literal["mse", "l1"] = "mse"
    """Of the gradients of convolutions: sum of squared or of absolute differences; default ``mse``
    for photographs of 32x32 pixels, else ``l1``."""
    net_images: int = Field(default=500, ge=1)
    """Real images that the network is trained on between image steps; default 2000 for CIFAR."""


class AccSettings(MethodSettings):
    """Model augmentation: early-stage networks, perturbed (acc-DD, arXiv 2212.06152)."""

    networks: int = Field(default=0, ge=0)
    """Early-stage networks of each architecture, one of which an iteration draws (published: 5);
    0: each iteration draws a fresh random network, and the other settings do not count."""
    epochs: int = Field(default=2, ge=1)
    """Passes over the real images that they are trained for (published: 2, ImageNet 10)."""
    directions: int = Field(default=2, ge=0, le=2)
    """Random directions that their weights are moved along."""
    magnitude_min: float = Field(default=0.01, ge=0.0)
    """Least move along a direction, as a share of each filter's length."""
    magnitude_max: float = Field(default=0.09, ge=0.0)
    """Largest move."""

    @property
    def active(self) -> bool:
        """Whether networks are drawn from them."""
        return self.networks > 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.magnitude_min > self.magnitude_max:
            raise ValueError(
                f"acc.magnitude_min: got {self.magnitude_min}, expected at most "
                f"acc.magnitude_max = {self.magnitude_max}"
            )
        return self


TABLES: dict[str, tuple[str, ...]] = {
    "kmeans": ("kmeans",),
    "dsa": ("dsa", "dm"),
    "idc": ("idc",),
    "acc": ("dc", "dsa", "dm", "idc"),
}
"""Table of settings -> the methods that have it; all others ignore it."""

PUBLISHED_AUGMENTATION: dict[str, str] = {"dsa": "dsa", "dm": "dsa", "idc": "dsa"}
"""Method -> how its students' images are augmented where ``evaluation.augmentation`` is not set."""

FIXED: dict[str, dict[str, Any]] = {
    "dm": {"outer_loop": 1, "inner_loop": 1, "lr_net": 0.01},
    "idc": {"inner_loop": 1},
}
"""Method -> shared settings that it does not have, each with the only value that is taken."""


def dsa_operations(dataset: str) -> tuple[str, ...]:
    """The published operations of DSA for a dataset."""
    return tuple(name for name in OPERATIONS if name != "flip" or dataset not in OF_CHARACTERS)


def defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the method of a trial fills in: plain settings, and tables of some.

    Args:
        given: The settings that are given, not yet checked.
    """
    method = given.get("method")
    if is_plugin(method):
        return dict(load_plugin(method).defaults)
    fill = _FILL.get(method) if isinstance(method, str) else None
    return {} if fill is None else fill(given)


def _dsa(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"init": "real", "dsa": {"operations": dsa_operations(_dataset(given))}}


def _dm(given: Mapping[str, Any]) -> dict[str, Any]:
    ipc = given.get("ipc", 1)
    return {
        **_dsa(given),
        "iterations": 20_000,
        "lr_img": 10.0 if isinstance(ipc, int) and ipc >= 100 else 1.0,
        "outer_loop": 1,
        "inner_loop": 1,
    }


class _IDCDefaults(NamedTuple):
    """What IDC was published with for a dataset."""

    lr: float
    """At 10 images a class and the side below."""
    side: int
    """Pixels."""
    factor: int
    distance: str
    net_images: int
    iterations: int


_CIFAR = _IDCDefaults(5e-3, 32, 2, "mse", 2000, 2000)
_ACC_CIFAR_LR = 1e-2
"""Published for CIFAR with early-stage networks."""
_CHARACTERS = _IDCDefaults(1e-4, 28, 2, "l1", 500, 2000)
_IMAGENET = _IDCDefaults(3e-3, 224, 3, "l1", 500, 500)
_IDC: dict[str, _IDCDefaults] = {
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
    "svhn": _CIFAR._replace(net_images=500),
    "tinyimagenet": _CIFAR,
    "imagefolder": _CIFAR,
    "digits": _CHARACTERS._replace(lr=1e-3),  # not published; docs/methods.md has the sweep
    "mnist": _CHARACTERS,
    "fashionmnist": _CHARACTERS,
}
"""Dataset -> its defaults; the subsets of ImageNet have their own."""

_SIDES = {"digits": 28, "mnist": 28, "fashionmnist": 28, "tinyimagenet": 64}


def _idc(given: Mapping[str, Any]) -> dict[str, Any]:
    name, ipc = _dataset(given), given.get("ipc", 1)
    own = _IDC.get(name, _IMAGENET)
    factor = _table(given, "idc").get("factor", own.factor)
    resized = _table(given, "dataset").get("resize")
    side = resized or _SIDES.get(name, 32 if name in _IDC else 128)
    scale = ipc / 10 * (side / own.side) ** 2 if _is_number(ipc) and _is_number(side) else 1.0
    lr = own.lr
    if own.lr == _CIFAR.lr and _table(given, "acc").get("networks"):
        lr = _ACC_CIFAR_LR
    return {
        "iterations": own.iterations,
        "init": "real" if factor == 1 else "mix",
        "lr_img": lr * scale if scale > 0 else lr,
        "batch_real": 64,
        "outer_loop": 100,
        "inner_loop": 1,
        "idc": {"factor": own.factor, "distance": own.distance, "net_images": own.net_images},
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _table(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = given.get(name)
    return table if isinstance(table, Mapping) else {}


def _dataset(given: Mapping[str, Any]) -> str:
    name = _table(given, "dataset").get("name", DIGITS)
    return name if isinstance(name, str) else DIGITS


_FILL: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "dsa": _dsa,
    "dm": _dm,
    "idc": _idc,
}


def merge(filled: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Given settings over filled-in ones, also within tables."""
    merged = {**filled, **given}
    for name, table in filled.items():
        if isinstance(table, Mapping) and isinstance(own := given.get(name), Mapping):
            merged[name] = {**table, **own}
    return merged
