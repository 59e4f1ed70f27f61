"""Random generators addressed by (seed, role, index), never consumed in sequence across steps.

A draw depends on its address alone: resuming at iteration 700 needs no replay of the first 699,
and a different draw in one role (the model pool, say) shifts no draw in another. That is what
pairs the replicates of different configurations.
"""

import hashlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator


def derive(seed: int, role: str, *index: int | str) -> int:
    """Hash an address into a 63-bit seed.

    Args:
        seed: The trial's seed, >= 0.
        role: What the draw is for, for example ``"real-batch"``.
        index: Position within the role: iteration, class, student and so on; counts by its text,
            so that 1 and ``"1"`` are the same position. Neither it nor ``role`` holds a slash.

    Returns:
        An integer in [0, 2**63), equal for equal addresses on every platform.
    """
    parts = [role, *map(str, index)]
    assert not any("/" in part for part in parts), f"two addresses could meet: {parts}"
    text = "/".join([str(seed), *parts])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, role: str, *index: int | str) -> "Generator":
    """Return a fresh CPU ``torch.Generator`` for an address (see ``derive``).

    CPU generators give the same numbers whatever device the result is used on.
    """
    from torch import Generator

    return Generator().manual_seed(derive(seed, role, *index))


def python_random(seed: int, role: str, *index: int | str) -> random.Random:
    """Return a fresh ``random.Random`` for an address, where torch is not wanted."""
    return random.Random(derive(seed, role, *index))
