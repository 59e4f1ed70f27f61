"""Exp3 and the scale of its rewards, against their plain versions and on simulated arms."""

import math
from itertools import accumulate
from statistics import fmean

import pytest

from harness.exp3 import Exp3, RewardScale
from harness.seeding import python_random
from tests.reference import exp3 as reference


def play(
    start: list[float], gamma: float, means: list[float], rounds: int, seed: int
) -> tuple[Exp3, list[int], list[float], list[list[float]]]:
    """Pull arms that give 1 with a chance of their own, else 0."""
    bandit = Exp3(start, gamma)
    pulled, rewards, ways = [], [], [bandit.probabilities()]
    for number in range(rounds):
        rng = python_random(seed, "simulation", number)
        chance = rng.random()
        arm = next(k for k, end in enumerate(accumulate(ways[-1])) if chance < end + 1e-12)
        reward = float(rng.random() < means[arm])
        bandit.learn(arm, reward)
        pulled.append(arm)
        rewards.append(reward)
        ways.append(bandit.probabilities())
    return bandit, pulled, rewards, ways


@pytest.mark.parametrize("gamma", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("arms", [2, 5])
def test_probabilities_agree_with_the_published_weights(arms: int, gamma: float) -> None:
    _, pulled, rewards, ways = play([1 / arms] * arms, gamma, [0.4] * arms, 60, seed=arms)
    expected = reference.rounds([1.0] * arms, gamma, pulled, rewards)
    for way, plain in zip(ways, expected, strict=True):
        assert way == pytest.approx(plain, rel=1e-12)


def test_it_starts_at_given_probabilities_and_keeps_exploring() -> None:
    start = [0.9, 0.06, 0.04]
    assert Exp3(start, 0.1).probabilities() == pytest.approx(start, rel=1e-12)
    _, _, _, ways = play(start, 0.1, [0.0, 1.0, 0.0], 3000, seed=0)
    assert min(map(min, ways)) >= 0.1 / 3
    assert all(sum(way) == pytest.approx(1.0) for way in ways)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("best", [0, 1])
def test_the_better_arm_is_found(best: int, seed: int) -> None:
    """Whichever it is, and although one of them starts at 0.9."""
    means = [0.7 if arm == best else 0.3 for arm in range(2)]
    _, pulled, rewards, ways = play([0.9, 0.1], 0.1, means, 1000, seed)
    assert ways[-1][best] > 0.85
    assert pulled[-300:].count(best) > 250
    assert fmean(rewards[-300:]) > 0.6


def test_it_follows_no_arm_where_none_is_better() -> None:
    _, _, _, ways = play([0.5, 0.5], 0.05, [0.5, 0.5], 500, seed=1)
    assert all(0.1 < way[0] < 0.9 for way in ways)


def test_weights_of_many_rounds_stay_finite() -> None:
    bandit = Exp3([0.5, 0.5], 0.9)
    for _ in range(20_000):
        bandit.learn(0, 1.0)
    assert bandit.probabilities() == pytest.approx([0.55, 0.45])


# --- Rewards --------------------------------------------------------------------------------


def test_rewards_agree_with_the_plain_version() -> None:
    rng = python_random(0, "gains")
    gains = [rng.gauss(0.1, 1.0) * math.exp(-number / 50) for number in range(200)]
    scale = RewardScale()
    found = [scale.reward(gain) for gain in gains]
    assert found == pytest.approx(reference.scaled(gains), rel=1e-9, abs=1e-12)
    assert min(found) >= 0.0
    assert max(found) <= 1.0
    assert fmean(found[100:]) == pytest.approx(0.5, abs=0.1)  # though gains have all but gone


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_rewards_do_not_depend_on_the_unit_of_gains(factor: float) -> None:
    gains = [1.0, 0.5, 0.75, 2.0, -1.0]
    one, other = RewardScale(), RewardScale()
    assert [one.reward(gain) for gain in gains] == pytest.approx(
        [other.reward(factor * gain) for gain in gains]
    )


def test_gains_that_are_not_finite_give_nothing_and_are_forgotten() -> None:
    one, other = RewardScale(), RewardScale()
    for gain in (1.0, 2.0):
        assert one.reward(gain) == other.reward(gain)
    assert [one.reward(gain) for gain in (math.nan, -math.inf, math.inf)] == [0.0] * 3
    assert one.state_dict() == other.state_dict()


def test_equal_gains_are_in_the_middle() -> None:
    scale = RewardScale()
    assert [scale.reward(0.25) for _ in range(4)] == [0.5] * 4


def test_a_scale_goes_on_from_its_state() -> None:
    gains = [0.3, 0.1, -0.2, 0.15, 0.05]
    whole, first, second = RewardScale(), RewardScale(), RewardScale()
    expected = [whole.reward(gain) for gain in gains]
    found = [first.reward(gain) for gain in gains[:2]]
    second.load_state_dict(first.state_dict())
    assert found + [second.reward(gain) for gain in gains[2:]] == expected
