"""Recorded steps, with a recorder that stands in for CUDA's: it replays by running the step."""

import logging

import pytest
import torch
from torch import Tensor

from harness.graphs import Recording, StaticStep, Work, overwrite

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Counter:
    """A step that adds one to a tensor and returns it; counts its runs."""

    def __init__(self) -> None:
        self.value = torch.zeros(())
        self.runs = 0

    def __call__(self) -> Tensor:
        self.runs += 1
        return self.value.add_(1.0)


def rerun(work: Work) -> Recording:
    """Warm up three times, record once, replay by running again."""
    for _ in range(4):
        result = work()
    return Recording(lambda: result.copy_(work()), result)


def refuse(work: Work) -> Recording:
    work()
    raise RuntimeError("operation not permitted when stream is capturing\nand more")


def test_without_cuda_a_step_runs_as_it_is() -> None:
    work = Counter()
    step = StaticStep("count", work, written=[work.value], device=CPU, record=refuse)
    assert [float(step()) for _ in range(3)] == [1.0, 2.0, 3.0]
    assert work.runs == 3


def test_warming_up_leaves_no_trace() -> None:
    work = Counter()
    step = StaticStep("count", work, written=[work.value], device=CUDA, record=rerun)
    results = [step() for _ in range(3)]
    assert [float(result) for result in results] == [1.0, 2.0, 3.0]  # none was overwritten
    assert float(work.value) == 3.0
    assert work.runs == 4 + 3


def test_what_cannot_be_recorded_runs_as_it_is_and_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Counter()
    step = StaticStep("counting", work, written=[work.value], device=CUDA, record=refuse)
    with caplog.at_level(logging.WARNING):
        assert [float(step()) for _ in range(2)] == [1.0, 2.0]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "counting: not recorded as a CUDA graph, runs slower: "
        "operation not permitted when stream is capturing"
    )


def test_memory_that_runs_out_while_recording_is_not_hidden() -> None:
    def exhaust(work: Work) -> Recording:
        work()
        raise torch.OutOfMemoryError("CUDA out of memory")

    work = Counter()
    step = StaticStep("count", work, written=[work.value], device=CUDA, record=exhaust)
    with pytest.raises(torch.OutOfMemoryError):
        step()
    assert float(work.value) == 0.0


def test_overwrite_keeps_the_place() -> None:
    static = torch.zeros(3, dtype=torch.int64)
    place = static.data_ptr()
    overwrite(static, torch.tensor([4, 5, 6]))
    assert static.tolist() == [4, 5, 6]
    assert static.data_ptr() == place
