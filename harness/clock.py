"""A trial's clock: seconds of each kind of work, and the memory that it took at most.

Seconds are read after the device has done the work.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from harness import numerics


class Clock:
    """Adds up seconds by name, from 0, and keeps peaks of memory by name."""

    def __init__(self, device: torch.device, *names: str) -> None:
        """Start at zero for each name, and a new reading of the peak memory."""
        self._device = device
        self.seconds = dict.fromkeys(names, 0.0)
        self.peaks_gib: dict[str, float] = {}
        """By name, of those that were measured: ``numerics.peak_gib`` during their blocks."""
        self.used_gib: dict[str, float | None] = {}
        """By name: what was taken of the device at the end of a block, by all who use it; None on
        the CPU. Torch keeps what it has once taken, so this is a peak as well."""
        self._peak_gib = 0.0
        self._open: list[str] = []
        numerics.reset_peak_memory(device)

    @contextmanager
    def measure(self, *names: str) -> Iterator[None]:
        """Add the seconds of a block to each of the names, also where it raises; may be nested."""
        numerics.synchronise(self._device)
        self.peak_gib()
        self._open += names
        start = time.perf_counter()
        try:
            yield
        finally:
            numerics.synchronise(self._device)
            passed = time.perf_counter() - start
            self.peak_gib()
            used = numerics.used_gib(self._device)
            for name in names:
                self.seconds[name] += passed
                self.used_gib[name] = max(used, self.used_gib.get(name) or 0.0) if used else None
                self._open.remove(name)

    def peak_gib(self) -> float:
        """Peak memory so far, GiB; closes the reading for the blocks that are open."""
        peak = numerics.peak_gib(self._device)
        for name in self._open:
            self.peaks_gib[name] = max(peak, self.peaks_gib.get(name, 0.0))
        self._peak_gib = max(peak, self._peak_gib)
        numerics.reset_peak_memory(self._device)
        return self._peak_gib
