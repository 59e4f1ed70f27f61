"""Steps on tensors that stay in place: a CUDA graph is replayed on a GPU, elsewhere they just run.

At IPC 1 a step is thousands of small kernels, and launching them takes longer than they do. A graph
launches them all at once. It reads and writes the same memory each time, so that whatever changes
between two runs (weights, rows of a batch) is copied into tensors that the step was made with.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

_WARM_UPS = 3
_log = logging.getLogger(__name__)

Work = Callable[[], Tensor]


class Recording(NamedTuple):
    """A step that was recorded."""

    replay: Callable[[], None]
    result: Tensor
    """Where each replay leaves what the step returns."""


def record(work: Work) -> Recording:
    """Run a step to warm it up, then record it as a CUDA graph.

    Raises:
        RuntimeError: It does what a graph cannot hold, such as reading a value on the host.
    """
    side, pool = _stream_and_memory()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UPS):
            work()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.empty_cache()  # what warming up took; the recording has memory of its own
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=side):
        result = work()
    return Recording(graph.replay, result)


@cache
def _stream_and_memory() -> tuple[torch.cuda.Stream, Any]:
    """The stream that recordings are made on, and the memory that they all share.

    Steps are replayed one after the other and their results are copied at once, so that one
    step's recording may overwrite what another's left behind.
    """
    return torch.cuda.Stream(), torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call]


class StaticStep:
    """A step that is called again and again on the same tensors.

    A replay runs the kernels that the step itself would run, so both give the same bits. Where a
    step cannot be recorded it runs as it is, and one line in the log says why.
    """

    def __init__(
        self,
        name: str,
        work: Work,
        *,
        written: Sequence[Tensor],
        device: torch.device,
        record: Callable[[Work], Recording] = record,
    ) -> None:
        """Describe a step; it is recorded when it is first called.

        Args:
            name: Of the step, for the log.
            work: Reads and writes tensors in place; returns one tensor.
            written: Every tensor that ``work`` changes, so that warming up leaves no trace.
            device: Where they live; only CUDA devices have graphs.
            record: Makes a recording of ``work``.
        """
        self._name = name
        self._work = work
        self._written = written
        self._record = record if device.type == "cuda" else None
        self._recording: Recording | None = None

    def __call__(self) -> Tensor:
        """Do the step; what is returned stays as it is when the step is done again."""
        if self._recording is None and self._record is not None:
            self._recording = self._try(self._record)
        if self._recording is None:
            return self._work()
        self._recording.replay()
        return self._recording.result.clone()

    def _try(self, record: Callable[[Work], Recording]) -> Recording | None:
        before = [tensor.detach().clone() for tensor in self._written]
        try:
            return record(self._work)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            _log.warning("%s: not recorded as a CUDA graph, runs slower: %s", self._name, reason)
            self._record = None
            return None
        finally:
            with torch.no_grad():
                for tensor, value in zip(self._written, before, strict=True):
                    tensor.copy_(value)


def overwrite(static: Tensor, values: Tensor) -> None:
    """Copy values from the CPU into a tensor that a step reads, without waiting for the device."""
    if static.device.type == "cuda":
        values = values.pin_memory()
    static.copy_(values, non_blocking=True)
