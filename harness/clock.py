"""A trial's clock: seconds of each kind of work, read after the device has done it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from harness import numerics


class Clock:
    """Adds up seconds by name, from 0."""

    def __init__(self, device: torch.device, *names: str) -> None:
        """Start at zero for each name."""
        self._device = device
        self.seconds = dict.fromkeys(names, 0.0)

    @contextmanager
    def measure(self, *names: str) -> Iterator[None]:
        """Add the seconds of a block to each of the names, also where it raises."""
        numerics.synchronise(self._device)
        start = time.perf_counter()
        try:
            yield
        finally:
            numerics.synchronise(self._device)
            passed = time.perf_counter() - start
            for name in names:
                self.seconds[name] += passed
