"""Non-dominated configurations: what remains of several metrics when none is weighed."""

from collections.abc import Sequence


def non_dominated(values: Sequence[Sequence[float]], modes: Sequence[str]) -> list[int]:
    """Return the indices of the rows that no other row dominates, in order.

    A row dominates another that it is nowhere worse than, and somewhere better.

    Args:
        values: A row for each configuration, a number for each metric.
        modes: ``max`` or ``min`` for each metric.
    """
    signs = [1.0 if mode == "max" else -1.0 for mode in modes]
    rows = [[sign * value for sign, value in zip(signs, row, strict=True)] for row in values]

    def dominates(a: list[float], b: list[float]) -> bool:
        return a != b and all(x >= y for x, y in zip(a, b, strict=True))

    return [i for i, row in enumerate(rows) if not any(dominates(other, row) for other in rows)]
