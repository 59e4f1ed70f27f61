"""Selections: baselines whose set is real training images as they are.

Shape letters: N real images, K classes, S = K * ipc.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from harness.architecture import Architecture
from harness.config import Distillation
from harness.datasets import ImageData
from harness.synthetic import SyntheticSet, labels_by_class


class Baseline:
    """A method without iterations; see ``harness.distill.Distiller``."""

    def __init__(self, config: Distillation, data: ImageData, device: torch.device) -> None:
        """Remember what to take from; nothing is computed.

        Args:
            config: Settings.
            data: Real images on ``device``; only ``data.train`` is read.
            device: Where the set is to be.
        """
        self.iteration = 0
        self.draws: list[Architecture] = []
        self._config = config
        self._data = data
        self._device = device

    @property
    def pool_path(self) -> list[tuple[int, float]]:
        """It draws from no pool."""
        return []

    def step(self) -> Tensor:
        """There is none to do."""
        raise AssertionError(f"method '{self._config.method}' has no iterations")


class Selection(Baseline, ABC):
    """Chooses ``ipc`` training images of each class, when first asked for them."""

    _rows: Tensor | None = None

    def synthetic(self) -> SyntheticSet:
        """The chosen images, with hard labels."""
        provenance = {**self._data.provenance(), "distillation": self._config.lineage()}
        images = self._data.train.images[self._chosen().to(self._data.train.labels.device)]
        labels = labels_by_class(self._data.num_classes, self._config.ipc)
        return SyntheticSet(images.to(self._device), labels.to(self._device), provenance)

    def state_dict(self) -> dict[str, Any]:
        """The chosen rows."""
        return {"rows": self._chosen()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over chosen rows."""
        self._rows = state["rows"]

    @abstractmethod
    def choose(self) -> Tensor:
        """Choose.

        Returns:
            Rows of the training images, int64 [S] on the CPU, grouped by class, all different.

        Raises:
            DataError: A class has fewer images than ``ipc``.
        """

    def _chosen(self) -> Tensor:
        if self._rows is None:
            self._rows = self.choose()
        return self._rows
