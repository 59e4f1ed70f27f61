"""The floor of a workload: the time that its operations, or its bytes, take at the machine's rate.

Operations are those of convolutions and matrix products. Bytes are what each torch operation reads
and writes, none fused with the next: a compiled program can pass below that part of the floor, no
program below the other. Both rates are measured beside the workload, round by round.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from harness import numerics

_SIDE = {"cpu": 1536, "cuda": 8192}
"""Of the square matrices whose product gives the rate of operations."""
_COPIED_BYTES = {"cpu": 2**28, "cuda": 2**32}
_REPEATS = 5


class Bound(NamedTuple):
    """What a floor is made of."""

    seconds: float
    """The longer of the two."""
    flop: float
    """Floating-point operations of a call."""
    bytes: float
    """Read and written by a call."""
    flop_per_s: float
    """Rate of a float32 matrix product, at the process's TF32 setting."""
    bytes_per_s: float
    """Rate of a copy, reading and writing counted."""


class Floor:
    """Counts a workload once, then measures the machine whenever asked."""

    def __init__(self, work: Callable[[], Any], device: torch.device) -> None:
        """Run the workload once under counters."""
        self._device = device
        traffic = _Traffic()
        with FlopCounterMode(display=False) as counter, traffic:
            work()
        self._flop = float(counter.get_total_flops())
        self._bytes = float(traffic.bytes)

    def measure(self) -> Bound:
        """Measure both rates; return the bound that follows."""
        flop_per_s, bytes_per_s = _product_rate(self._device), _copy_rate(self._device)
        seconds = max(self._flop / flop_per_s, self._bytes / bytes_per_s)
        return Bound(seconds, self._flop, self._bytes, flop_per_s, bytes_per_s)


class _Traffic(TorchDispatchMode):
    """Adds up the bytes of what operations read and write; views move none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        read, written = _places(args), _places(result)
        is_view = {storage for storage, _ in written} <= {storage for storage, _ in read}
        if func._schema.is_mutable or not is_view:
            self.bytes += sum(read.values()) + sum(written.values())
        return result


def _places(tree: Any) -> dict[tuple[int, int], int]:
    """Storage and address of each tensor in a tree -> its bytes."""
    tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
    return {
        (x.untyped_storage().data_ptr(), x.data_ptr()): x.numel() * x.element_size()
        for x in tensors
    }


def _product_rate(device: torch.device) -> float:
    side = _SIDE[device.type]
    a, b = torch.randn(2, side, side, device=device)
    return 2.0 * side**3 / _best(lambda: a @ b, device)


def _copy_rate(device: torch.device) -> float:
    source = torch.randn(_COPIED_BYTES[device.type] // 4, device=device)
    target = torch.empty_like(source)
    return 2.0 * source.numel() * 4 / _best(lambda: target.copy_(source), device)


def _best(work: Callable[[], Any], device: torch.device) -> float:
    """Shortest of some calls, in seconds."""
    times = []
    for _ in range(_REPEATS):
        numerics.synchronise(device)
        start = time.perf_counter()
        work()
        numerics.synchronise(device)
        times.append(time.perf_counter() - start)
    return min(times)
