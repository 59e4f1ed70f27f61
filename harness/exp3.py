"""Exp3: which of several arms to pull, where what they give may change as it likes.

Auer, Cesa-Bianchi, Freund, Schapire, "The nonstochastic multiarmed bandit problem", SIAM Journal on
Computing 32 (2002), figure 1. It assumes nothing of how rewards come about, which suits a
distillation: what an arm gives depends on the images so far, and all arms give less as they
converge. It does not depend on how many rounds there will be.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

_DECAY = 0.9
_SPREADS = 4.0


class Exp3:
    """Exponential weights on estimated rewards, mixed with uniform exploration."""

    def __init__(self, start: Sequence[float], exploration: float) -> None:
        """Set the weights so that the first round has given probabilities.

        Args:
            start: Probability of each arm in the first round; they sum to 1, and each is above
                exploration / number of arms. Equal ones are the published start.
            exploration: Gamma, in (0, 1): the share of uniform draws, and the learning rate.
        """
        self._exploration = exploration
        least = exploration / len(start)
        assert all(share > least for share in start), "the settings refuse such a start"
        self.log_weights = [math.log((share - least) / (1 - exploration)) for share in start]

    def probabilities(self) -> list[float]:
        """Chance of each arm in the coming round: at least exploration / number of arms."""
        top = max(self.log_weights)
        weights = [math.exp(value - top) for value in self.log_weights]
        total, arms = sum(weights), len(weights)
        gamma = self._exploration
        return [(1 - gamma) * weight / total + gamma / arms for weight in weights]

    def learn(self, arm: int, reward: float) -> None:
        """Add a round.

        Args:
            arm: The one that was pulled, drawn by ``probabilities``.
            reward: What it gave, 0..1.
        """
        estimated = reward / self.probabilities()[arm]
        self.log_weights[arm] += self._exploration * estimated / len(self.log_weights)


class RewardScale:
    """Turns gains of any size, which shrink on the way, into rewards of 0..1.

    A gain equal to the running mean gives 1/2; two running mean deviations more or less give 1 or
    0. Both run with decay 0.9 (the deviation without the bias of its start). Only the past enters.
    """

    def __init__(self) -> None:
        self._centre = 0.0
        self._spread = 0.0
        self._count = 0

    def reward(self, gain: float) -> float:
        """Rate a gain by those before it, then take it in.

        Args:
            gain: Larger is better; one that is not finite gives 0 and is forgotten.

        Returns:
            0..1; 1/2 for the first gain.
        """
        if not math.isfinite(gain):
            return 0.0
        if self._count == 0:
            self._centre, self._count = gain, 1
            return 0.5
        deviation = gain - self._centre
        self._spread += (1 - _DECAY) * (abs(deviation) - self._spread)
        spread = self._spread / (1 - _DECAY**self._count)
        self._centre += (1 - _DECAY) * deviation
        self._count += 1
        if spread == 0.0:
            return 0.5
        return min(1.0, max(0.0, 0.5 + deviation / (_SPREADS * spread)))

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"centre": self._centre, "spread": self._spread, "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._centre, self._spread = state["centre"], state["spread"]
        self._count = state["count"]
