"""What a distillation draws, for the plain versions to be given; and distillations in float64."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.datasets import ImageData, Split
from harness.distill import dc, learner


class Recording:
    """The networks and the real images of a distillation, by iteration and outer step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.networks: list[nn.Module] = []
        self.rows: dict[tuple[str, int, int], Tensor] = {}
        refill, real_rows = learner.Learner.refill, dc.DC._real_rows

        def keep_network(drawn: learner.Learner, *given: Any) -> None:
            refill(drawn, *given)
            self.networks.append(deepcopy(drawn._network).train())

        def keep_rows(self_: dc.DC, role: str, outer: int, size: int) -> Tensor:
            rows = real_rows(self_, role, outer, size)
            self.rows[role, self_.iteration, outer] = rows
            return rows

        monkeypatch.setattr(learner.Learner, "refill", keep_network)
        monkeypatch.setattr(dc.DC, "_real_rows", keep_rows)

    def batches(self, data: ImageData, role: str, iteration: int, outer: int) -> list[Tensor]:
        """Real images of a step, class by class."""
        rows = self.rows[role, iteration, outer]
        labels = data.train.labels[rows]
        return [data.train.images[rows[labels == k]] for k in range(data.num_classes)]


def in_double(data: ImageData, monkeypatch: pytest.MonkeyPatch) -> ImageData:
    """The same data in float64, and methods that build and start in float64."""
    build, noise = dc.build_network, dc.init_from_noise
    monkeypatch.setattr(dc, "build_network", lambda *args, **more: build(*args, **more).double())
    monkeypatch.setattr(dc, "init_from_noise", lambda **more: noise(**more).double())
    return replace(data, train=Split(data.train.images.double(), data.train.labels))


def distance(found: Tensor, expected: Tensor, first: Tensor) -> float:
    """How far apart two results are, beside how far they have moved."""
    return float(torch.linalg.vector_norm(found - expected) / (expected - first).norm())
