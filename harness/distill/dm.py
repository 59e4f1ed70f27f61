"""DM: the mean features of each class, under siamese augmentation, match (arXiv 2110.04181).

Each iteration draws a network, initialises it, and takes one image step; no network is trained.
"""

from typing import Any

from torch import Tensor

from harness.distill.dsa import DSA
from harness.distill.features import match_features
from harness.distill.learner import Learner


class DM(DSA):
    """Distribution matching; see ``harness.distill.Distiller``."""

    def _learner_options(self) -> dict[str, Any]:
        return {"compare": match_features, "freeze": False}

    def _batch_norm_rows(self, learner: Learner, outer: int) -> Tensor | None:
        """None: batch norms see all classes in one batch, in training mode."""
        return None
