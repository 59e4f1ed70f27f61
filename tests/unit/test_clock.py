"""Tests of harness.clock: seconds, and whose peak is whose."""

from collections.abc import Callable

import pytest
import torch

from harness import numerics
from harness.clock import Clock
from harness.results import phases

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Memory:
    """A GPU's memory as torch counts it."""

    def __init__(self) -> None:
        self.now = self.peak = self.used = 0.0

    def take(self, gib: float) -> None:
        self.now += gib
        self.peak = max(self.peak, self.now)
        self.used = max(self.used, self.now + 0.5)

    def reset(self, device: torch.device) -> None:
        self.peak = self.now


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    found = Memory()
    answers: dict[str, Callable[[torch.device], object]] = {
        "synchronise": lambda device: None,
        "reset_peak_memory": found.reset,
        "peak_gib": lambda device: found.peak,
        "used_gib": lambda device: found.used,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(numerics, name, answer)
    return found


def test_each_block_has_its_own_peak(memory: Memory) -> None:
    memory.take(9.0)
    memory.take(-9.0)  # before the trial
    clock = Clock(CUDA, "a", "b", "c")
    with clock.measure("a"):
        memory.take(3.0)
        memory.take(-2.0)
    memory.take(4.0)
    memory.take(-4.0)
    for size in (1.0, 2.0, 0.5):
        with clock.measure("b", "c"):
            memory.take(size)
            memory.take(-size)
    assert clock.peaks_gib == {"a": 3.0, "b": 3.0, "c": 3.0}
    assert clock.peak_gib() == 5.0
    assert clock.used_gib["a"] == 9.5


def test_a_block_within_another_counts_for_both(memory: Memory) -> None:
    clock = Clock(CUDA, "outer", "inner")
    with clock.measure("outer"):
        memory.take(5.0)
        memory.take(-4.0)
        with clock.measure("inner"):
            memory.take(1.0)
            memory.take(-1.0)
        assert clock.peaks_gib == {"outer": 5.0, "inner": 2.0}
        with clock.measure("inner"):
            memory.take(7.0)
    assert clock.peaks_gib == {"outer": 8.0, "inner": 8.0}


def test_a_block_that_raises_is_measured(memory: Memory) -> None:
    clock = Clock(CUDA, "a")

    def fail() -> None:
        with clock.measure("a"):
            memory.take(2.0)
            raise MemoryError

    with pytest.raises(MemoryError):
        fail()
    assert clock.peaks_gib == {"a": 2.0}
    assert clock.seconds["a"] > 0.0


def test_phases_are_those_that_were_run(memory: Memory) -> None:
    clock = Clock(CUDA, "distill_s", "quick_s", "eval_s", "teacher_s", "control_s", "store_s")
    with clock.measure("distill_s"):
        memory.take(2.0)
    with clock.measure("store_s"):
        pass
    clock.seconds["distill_s"] = 8.0
    assert phases(clock, 0.25) == {"distill": {"peak_gib": 2.0, "used_gib": 2.5, "gpu_s": 2.0}}


def test_the_cpu_has_no_gpu_seconds() -> None:
    clock = Clock(CPU, "eval_s")
    with clock.measure("eval_s"):
        pass
    (found,) = phases(clock, 0.0).values()
    assert (found["gpu_s"], found["used_gib"]) == (0.0, None)
    assert found["peak_gib"] is not None
    assert found["peak_gib"] > 0.0
