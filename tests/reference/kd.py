"""Knowledge-distillation losses as sums over images and classes, from probabilities."""

import math

import torch
from torch import Tensor


def softmax(logits: list[float], temperature: float) -> list[float]:
    top = max(logits)
    exps = [math.exp((z - top) / temperature) for z in logits]
    return [e / sum(exps) for e in exps]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True) if a > 0)


def cross_entropy(student: Tensor, labels: Tensor) -> float:
    rows = [
        -math.log(softmax(z, 1.0)[y])
        for z, y in zip(student.tolist(), labels.tolist(), strict=True)
    ]
    return sum(rows) / len(rows)


def soft_cross_entropy(student: Tensor, probabilities: Tensor) -> float:
    """Mean over images of -sum over classes of p * log q."""
    rows = [
        -sum(a * math.log(b) for a, b in zip(p, softmax(z, 1.0), strict=True))
        for z, p in zip(student.tolist(), probabilities.tolist(), strict=True)
    ]
    return sum(rows) / len(rows)


def softened(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, alpha: float
) -> float:
    """alpha * tau^2 * KL(teacher || student) + (1 - alpha) * CE, batch means."""
    divergences = [
        kl(softmax(t, temperature), softmax(s, temperature))
        for s, t in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    mean = sum(divergences) / len(divergences)
    return alpha * temperature**2 * mean + (1 - alpha) * cross_entropy(student, labels)


def legacy(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, alpha: float
) -> float:
    """alpha * tau^3 * KL(student || teacher) + (1 - alpha) * CE; logits are never divided."""
    divergences = [
        kl(softmax(s, 1.0), softmax(t, 1.0))
        for s, t in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    mean = sum(divergences) / len(divergences)
    return alpha * temperature**3 * mean + (1 - alpha) * cross_entropy(student, labels)


def random_logits(seed: int, n: int = 6, classes: int = 5) -> Tensor:
    return 3 * torch.randn(
        n, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
