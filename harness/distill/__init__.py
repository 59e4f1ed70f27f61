"""Distillation methods: one file each, named in ``harness.config.METHODS``."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

import torch
from torch import Tensor

from harness.architecture import Architecture
from harness.config import METHODS, Distillation
from harness.datasets import ImageData
from harness.synthetic import SyntheticSet


class Distiller(Protocol):
    """What a method is: it learns a synthetic set, one iteration at a time.

    Constructed with (config, data, device). Its randomness comes from ``harness.seeding``,
    addressed by iteration, so that ``state_dict`` needs no generator states.
    """

    iteration: int
    """Iterations done; a baseline has none to do."""
    draws: list[Architecture]
    """The architecture that each iteration drew."""

    @property
    def pool_path(self) -> Sequence[tuple[int, float]]:
        """The main-model probability on the way (``ModelPool.path``); a baseline has none."""

    def step(self) -> Tensor:
        """Do one iteration; return its loss, a detached scalar on the device (maybe not finite)."""

    def synthetic(self) -> SyntheticSet | None:
        """The set as it stands, detached from what follows; None: it is all training images."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on besides config and data."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state, bit for bit."""


def build_distiller(config: Distillation, data: ImageData, device: torch.device) -> Distiller:
    """Construct the method that ``config.method`` names."""
    module, _, name = METHODS[config.method].partition(":")
    distiller: Distiller = getattr(import_module(module), name)(config, data, device)
    return distiller
