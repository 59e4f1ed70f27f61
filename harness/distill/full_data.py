"""All training images: what a distilled set is to come near to.

Nothing is selected or copied: students are trained on the images where they are, by the recipe of
DD-Ranking (``harness.evaluate.baselines.real_network``).
"""

from typing import Any

from harness.distill.selection import Baseline


class FullData(Baseline):
    """The whole training set."""

    def synthetic(self) -> None:
        """No set of its own: it is all training images."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take over."""
