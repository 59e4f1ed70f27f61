"""Exp3 as its paper prints it: weights multiplied, nothing in logarithms."""

import math


def rounds(
    weights: list[float], gamma: float, pulled: list[int], rewards: list[float]
) -> list[list[float]]:
    """Probabilities of each round, given which arms were pulled and what they gave; and the next.

    Args:
        weights: w_1(1) .. w_K(1); the paper has all 1.
        gamma: In (0, 1].
        pulled: Arm i_t of each round.
        rewards: x_{i_t}(t) in [0, 1].
    """
    w = list(weights)
    k = len(w)
    found = []
    for t in range(len(pulled) + 1):
        p = [(1 - gamma) * w[i] / sum(w) + gamma / k for i in range(k)]
        found.append(p)
        if t < len(pulled):
            for j in range(k):
                estimate = rewards[t] / p[j] if j == pulled[t] else 0.0
                w[j] = w[j] * math.exp(gamma * estimate / k)
    return found


def scaled(gains: list[float]) -> list[float]:
    """Rewards by a running mean and a running mean deviation, each as its weighted sum."""
    rewards = [0.5]
    centre = gains[0]
    deviations: list[float] = []
    for gain in gains[1:]:
        deviations.append(gain - centre)
        n = len(deviations)
        weights = [0.9 ** (n - 1 - i) for i in range(n)]
        spread = sum(w * abs(d) for w, d in zip(weights, deviations, strict=True)) / sum(weights)
        rewards.append(min(1.0, max(0.0, 0.5 + deviations[-1] / (4 * spread))))
        centre = 0.9 * centre + 0.1 * gain
    return rewards
