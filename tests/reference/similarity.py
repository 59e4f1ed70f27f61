"""Similarity of image gradients as its definition: explicit sums over draws, members and pixels."""

from collections.abc import Callable

from torch import Tensor


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of all pixels of all images, as one vector."""
    x, y = a.reshape(-1).tolist(), b.reshape(-1).tolist()
    dot = sum(p * q for p, q in zip(x, y, strict=True))
    return float(dot / (sum(p * p for p in x) * sum(q * q for q in y)) ** 0.5)


def pool_similarity(
    gradient: Callable[[str, str, int], Tensor], main: str, weights: dict[str, float], draws: int
) -> float:
    """Mean by weight of the mean over draws.

    Args:
        gradient: Image gradient of (architecture, role, draw), by ``matching.match``.
        main: The main model.
        weights: Of the others; they sum to 1.
        draws: Number of draws.
    """
    total = 0.0
    for label, weight in weights.items():
        for draw in range(draws):
            pair = gradient(label, "other", draw), gradient(main, "main", draw)
            total += weight * cosine(*pair) / draws
    return total
