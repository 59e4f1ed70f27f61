"""LRS and ARS: scores that set a distilled set beside real images (DD-Ranking, arXiv 2505.13300).

All accuracies are fractions, 0 to 1; the released code of DD-Ranking puts percentages into the
exponential and counts hard-label scores twice, which is not followed.
"""

import math
from typing import NamedTuple

_WEIGHT = 0.5


class Comparison(NamedTuple):
    """Mean accuracies of the main model, fractions, each over the same number of networks."""

    recipe: float
    """On the distilled set, by the recipe that was asked for."""
    recipe_random: float
    """On as many random real images, by the same recipe."""
    hard: float
    """On the distilled set, by cross-entropy on hard labels, without augmentation or teacher."""
    plain: float
    """As the recipe, without augmentation."""
    plain_random: float
    """The same on random real images."""
    augmented: float
    """As the recipe, with augmentation."""
    augmented_random: float
    """The same on random real images."""


def improvement_over_random(found: Comparison) -> float:
    """IOR: what distilling gains over picking real images, -1 to 1."""
    return found.recipe - found.recipe_random


def hard_label_recovery(found: Comparison, real: float) -> float:
    """HLR: what is lost against all real images, with hard labels, -1 to 1.

    Args:
        found: Accuracies of the set.
        real: Accuracy of the main model trained on all real images.
    """
    return real - found.hard


def label_robust_score(found: Comparison, real: float) -> float:
    """LRS: 0 to 1, larger is better; 0.269 where nothing is gained and nothing lost."""
    gain = _WEIGHT * improvement_over_random(found)
    return _score(gain - (1 - _WEIGHT) * hard_label_recovery(found, real))


def augmentation_robust_score(found: Comparison) -> float:
    """ARS: 0 to 1, larger is better; 0.269 where the set is as good as random real images."""
    augmented = found.augmented - found.augmented_random
    plain = found.plain - found.plain_random
    return _score(_WEIGHT * augmented + (1 - _WEIGHT) * plain)


def _score(balance: float) -> float:
    """Map -1 .. 1 to 0 .. 1."""
    return (math.exp(balance) - math.exp(-1)) / (math.e - math.exp(-1))
