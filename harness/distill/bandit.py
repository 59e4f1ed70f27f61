"""A pool whose main-model probability adapts while it distils (``pool.schedule = "bandit"``).

Time after the warm-up goes in rounds of ``every`` iterations. A round pulls one arm: the main
model, or the others, drawn by their weights in each iteration (with ``arms = "members"`` each of
them is an arm). So an iteration draws the main model with the arm's probability, which compares
with a constant ``pool.main_probability``; what it chooses is how often, not which others.

What a round gives is the drop, from its begin to its end, of the loss of probe networks: small
networks of other architectures than the trial is judged on, trained for a few steps on the set,
always from the same weights, and measured on training images that are in no matching batch.
``RewardScale`` makes a reward of it and ``Exp3`` learns from that. Nothing depends on how many
iterations are to come: longer distillations go through shorter ones.

At default settings the probes took 12% of the time where an iteration is at its cheapest (digits,
ipc 1, width 32, 32 real images a class, one CPU thread) and about 1% at width 128 and 256 images.
"""

import math
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from harness import seeding
from harness.architecture import Architecture
from harness.config import Distillation
from harness.datasets import ImageData
from harness.distill.probes import Probes, probe_rows
from harness.exp3 import Exp3, RewardScale
from harness.pool import Member, ModelPool
from harness.synthetic import SyntheticSet

_STATE = "bandit"


def make_pool(config: Distillation, data: ImageData, device: torch.device) -> ModelPool:
    """The pool that a method draws from.

    Args:
        config: Settings.
        data: Real images, on ``device``; only ``data.train`` is read.
        device: Where an adaptive pool trains its probes.

    Raises:
        DataError: An adaptive pool finds a class with fewer than two training images.
    """
    if config.pool.schedule == "bandit":
        return BanditPool(config, data, device)
    return ModelPool(config.pool, config.network, config.seed, config.iterations)


class BanditPool(ModelPool):
    """Draws from the arm of the round; see the module."""

    def __init__(self, config: Distillation, data: ImageData, device: torch.device) -> None:
        """Keep the probe images, and start at ``pool.main_probability``; see ``make_pool``."""
        super().__init__(config.pool, config.network, config.seed)
        settings = config.pool.bandit
        self._every = settings.every
        p = config.pool.main_probability
        total = sum(member.weight for member in self._others)
        by_member = settings.arms == "members"
        groups = [(member,) for member in self._others] if by_member else [self._others]
        shares = [sum(member.weight for member in group) / total for group in groups]
        self._arms: list[tuple[Member, ...]] = [(Member(config.network, 1.0),), *groups]
        self._exp3 = Exp3([p, *((1 - p) * share for share in shares)], settings.exploration)
        self._scale = RewardScale()
        rows = probe_rows(data, settings.probe_images, config.seed)
        self._probes = Probes(settings, data, rows, config.seed, device)
        self._kept = torch.zeros(len(data.train.labels), dtype=torch.bool)
        self._kept[rows] = True
        self._arm: int | None = None
        self._loss: float | None = None
        self._path: list[tuple[int, float]] = [(0, 1.0)] if config.pool.warmup > 0 else []

    def main_probability(self, iteration: int) -> float:
        """Chance that an iteration up to the present round's draws the main model."""
        return next(p for start, p in reversed(self._path) if start <= iteration)

    def draw(
        self, iteration: int, synthetic: Callable[[], SyntheticSet] | None = None
    ) -> Architecture:
        """Return the architecture of the next iteration; each is to be drawn once, in order."""
        since = iteration - self._settings.warmup
        if since < 0:
            return self._main
        if since % self._every == 0:
            assert synthetic is not None, "a bandit looks at the set"
            self._begin_round(iteration, synthetic())
        assert self._arm is not None, "a round has begun"
        group = self._arms[self._arm]
        random = seeding.python_random(self._seed, "pool", iteration)
        random.random()  # as a constant pool, which here asks whether to draw the main model
        cumulative = list(accumulate(member.weight for member in group))
        return random.choices(group, cum_weights=cumulative)[0].architecture

    def path(self, iterations: int) -> list[tuple[int, float]]:
        """As ``ModelPool.path``, as far as it is known."""
        return [(start, p) for start, p in self._path if start < iterations]

    def usable(self, rows: Tensor) -> Tensor:
        """Rows that are no probe images, in the order given."""
        return rows[~self._kept[rows]]

    def state_dict(self) -> dict[str, Any]:
        """Weights, scale, the round's arm, the last finite loss, and the path."""
        return {
            _STATE: {
                "log_weights": list(self._exp3.log_weights),
                "scale": self._scale.state_dict(),
                "arm": self._arm,
                "loss": self._loss,
                "path": [list(item) for item in self._path],
            }
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        own = state[_STATE]
        self._exp3.log_weights = list(own["log_weights"])
        self._scale.load_state_dict(own["scale"])
        self._arm, self._loss = own["arm"], own["loss"]
        self._path = [(start, p) for start, p in own["path"]]

    def _begin_round(self, iteration: int, synthetic: SyntheticSet) -> None:
        """End the round before, if there was one, and choose the next one's arm."""
        loss = self._probes.loss(synthetic)
        if self._arm is not None:
            gain = math.nan if self._loss is None else self._loss - loss
            self._exp3.learn(self._arm, self._scale.reward(gain))
        if math.isfinite(loss):
            self._loss = loss
        probabilities = self._exp3.probabilities()
        # The number by which a constant pool draws in this iteration, so that the two are paired.
        chance = seeding.python_random(self._seed, "pool", iteration).random()
        reached = enumerate(accumulate(probabilities))
        self._arm = next((k for k, end in reached if chance < end), len(probabilities) - 1)
        if not self._path or self._path[-1][1] != probabilities[0]:
            self._path.append((iteration, probabilities[0]))
