"""Distillation methods: one file each, named in ``harness.config.METHODS``.

Those of other packages keep the same protocol (``harness.plugins``).
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from harness.architecture import Architecture
from harness.config import METHODS, Distillation
from harness.datasets import ImageData
from harness.store import Store
from harness.synthetic import SyntheticSet


class Distiller(Protocol):
    """What a method is: it learns a synthetic set, one iteration at a time.

    Constructed with (config, data, device). Its randomness comes from ``harness.seeding``,
    addressed by iteration, so that ``state_dict`` needs no generator states.
    """

    iteration: int
    """Iterations done; a baseline has none to do."""
    draws: list[Architecture]
    """The architecture that each iteration drew; empty where the method draws none."""

    @property
    def pool_path(self) -> Sequence[tuple[int, float]]:
        """The main-model probability on the way (``ModelPool.path``); empty without a pool."""

    def step(self) -> Tensor:
        """Do one iteration; return its loss, a detached scalar on the device (maybe not finite)."""

    def synthetic(self) -> SyntheticSet | None:
        """The set as it stands, detached from what follows; None: it is all training images."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on besides config and data."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state, bit for bit."""


@runtime_checkable
class UsesStore(Protocol):
    """What a method has besides, if it takes from the store what other trials need as well."""

    def use_store(self, store: Store) -> None:
        """Told once, before the first step, where there is a store."""

    def take_borrowed_s(self) -> float:
        """Seconds that what came from the store had cost to make, since this was last asked.

        They are part of what the set costs, whoever spent them; seconds spent waiting are
        subtracted.
        """


def build_distiller(
    config: Distillation, data: ImageData, device: torch.device, store: Store | None = None
) -> Distiller:
    """Construct the method that ``config.method`` names.

    Args:
        config: Settings.
        data: Real images, on ``device``.
        device: Where tensors live.
        store: For methods that share what they prepare (``UsesStore``).
    """
    module, _, name = METHODS.get(config.method, config.method).partition(":")
    distiller: Distiller = getattr(import_module(module), name)(config, data, device)
    if store is not None and isinstance(distiller, UsesStore):
        distiller.use_store(store)
    return distiller
