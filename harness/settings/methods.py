"""Settings that only some methods have, and what a method fills in where nothing is said.

A table is dropped from the identity of every method that does not have it, so that a new table
changes no digest and no key of the store.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from harness.errors import suggest
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


class KMeansSettings(Settings):
    """What only the method ``kmeans`` has."""

    epochs: int = Field(default=20, ge=1)
    """Passes over the training images that the main model learns its features in."""


class DSASettings(Settings):
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


TABLES: dict[str, tuple[str, ...]] = {
    "kmeans": ("kmeans",),
    "dsa": ("dsa",),
}
"""Table of settings -> the methods that have it; all others ignore it."""

PUBLISHED_AUGMENTATION: dict[str, str] = {"dsa": "dsa"}
"""Method -> how its students' images are augmented where ``evaluation.augmentation`` is not set."""


def dsa_operations(dataset: str) -> tuple[str, ...]:
    """The published operations of DSA for a dataset."""
    return tuple(name for name in OPERATIONS if name != "flip" or dataset not in OF_CHARACTERS)


def defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the method of a trial fills in: plain settings, and tables of some.

    Args:
        given: The settings that are given, not yet checked.
    """
    fill = _FILL.get(given.get("method", "dc"))
    return {} if fill is None else fill(given)


def _dsa(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"init": "real", "dsa": {"operations": dsa_operations(_dataset(given))}}


def _dataset(given: Mapping[str, Any]) -> str:
    dataset = given.get("dataset")
    name = dataset.get("name", DIGITS) if isinstance(dataset, Mapping) else DIGITS
    return name if isinstance(name, str) else DIGITS


_FILL: dict[Any, Callable[[Mapping[str, Any]], dict[str, Any]]] = {"dsa": _dsa}


def merge(filled: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Given settings over filled-in ones, also within tables."""
    merged = {**filled, **given}
    for name, table in filled.items():
        if isinstance(table, Mapping) and isinstance(own := given.get(name), Mapping):
            merged[name] = {**table, **own}
    return merged
