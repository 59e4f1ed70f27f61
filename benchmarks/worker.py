"""The process of one arm: sets itself, makes its workload, then times a round when asked.

Run by ``runner.py`` as ``python -m benchmarks.worker SPEC``. It answers in lines of JSON: one when
it is ready, then one for each line that it reads.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.arms import arms_of
from benchmarks.cases import Case
from benchmarks.floor import Floor
from harness import numerics


class Clock:
    """Times the calls of a workload."""

    def __init__(self, work: Callable[[], Any], device: torch.device) -> None:
        self._work = work
        self._device = device
        self._first: float | None = None
        self._kernels: int | None = None

    def round(self, round_s: float) -> dict[str, Any]:
        """Call until a round is full, at least once; return the median call, and what it used."""
        calls: list[float] = []
        while not calls or sum(calls) < round_s:
            numerics.synchronise(self._device)
            start = time.perf_counter()
            self._work()
            numerics.synchronise(self._device)
            calls.append(time.perf_counter() - start)
            self._first = self._first or calls[0]
        if self._kernels is None and self._device.type == "cuda":
            self._kernels = self._count_kernels()
        return {
            "seconds": statistics.median(calls),
            "peak_gib": numerics.peak_gib(self._device),
            "first_s": self._first,
            "kernels": self._kernels,
        }

    def _count_kernels(self) -> int:
        """Kernels and copies that one call runs on the GPU."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            self._work()
            numerics.synchronise(self._device)
        on_gpu = torch.autograd.DeviceType.CUDA
        return sum(event.device_type == on_gpu for event in profiled.events() or [])


def main() -> None:
    """Serve rounds until the input ends."""
    # Answers alone go to the runner; whatever a library prints goes the way of warnings.
    answers, sys.stdout = sys.stdout, sys.stderr
    spec = json.loads(sys.argv[1])
    case, device = Case(**spec["case"]), torch.device(spec["device"])
    arm = arms_of(case, device.type)[spec["variant"]]
    arm.setup(spec["threads"])
    work = arm.make(case, device, spec["threads"])
    print("{}", file=answers, flush=True)
    clock = None if isinstance(work, Floor) else Clock(work, device)
    for _ in sys.stdin:
        if isinstance(work, Floor):
            answer = {**work.measure()._asdict(), "peak_gib": numerics.peak_gib(device)}
        else:
            assert clock is not None
            answer = clock.round(case.round_s)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
