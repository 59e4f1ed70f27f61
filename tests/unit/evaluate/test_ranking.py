"""Tests of harness.evaluate.ranking."""

import math
import random

import pytest

from harness.evaluate.ranking import (
    Comparison,
    augmentation_robust_score,
    hard_label_recovery,
    improvement_over_random,
    label_robust_score,
)
from tests.reference import ranking as reference


def make(**known: float) -> Comparison:
    return Comparison(**{**dict.fromkeys(Comparison._fields, 0.0), **known})


def test_the_published_example() -> None:
    found = make(recipe=0.5, recipe_random=0.3, hard=0.4)
    assert improvement_over_random(found) == pytest.approx(0.2)
    assert hard_label_recovery(found, 0.8) == pytest.approx(0.4)
    assert label_robust_score(found, 0.8) == pytest.approx(0.2285, abs=5e-5)


@pytest.mark.parametrize(("balance", "score"), [(0.0, 0.2689), (1.0, 1.0), (-1.0, 0.0)])
def test_the_ends_and_the_middle(balance: float, score: float) -> None:
    if balance >= 0:
        found, real = make(recipe=balance, hard=balance), 0.0
        augmented = make(augmented=balance, plain=balance)
    else:
        found, real = make(recipe_random=-balance), -balance
        augmented = make(augmented_random=-balance, plain_random=-balance)
    assert label_robust_score(found, real) == pytest.approx(score, abs=5e-5)
    assert augmentation_robust_score(augmented) == pytest.approx(score, abs=5e-5)


def test_they_are_the_reference_s() -> None:
    rng = random.Random(0)
    for _ in range(50):
        found, real = Comparison(*(rng.random() for _ in Comparison._fields)), rng.random()
        expected = reference.lrs(real, found.hard, found.recipe, found.recipe_random)
        assert math.isclose(label_robust_score(found, real), expected, rel_tol=1e-12)
        expected = reference.ars(
            found.augmented, found.augmented_random, found.plain, found.plain_random
        )
        assert math.isclose(augmentation_robust_score(found), expected, rel_tol=1e-12)
