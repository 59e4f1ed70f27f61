"""Process-wide settings of the arithmetic, and one record of them.

Threads, TF32, deterministic algorithms and the allocator are set in one place, before the first
tensor of a trial, so that the same config gives the same bits on the same kind of device.
"""

import ctypes
import os
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from harness.errors import ConfigError

ENGINE_REVISION = 2
"""Raised by every change of the code that changes a distilled set's bits."""

# glibc, malloc.h: M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD.
_MALLOPT = ((-4, 0), (-1, 2**31 - 1), (-2, 256 << 20))


def available_cpus() -> int:
    """CPU cores that this process may use: its affinity, not the machine's size."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus() -> int:
    """GPUs that this process may use, as CUDA_VISIBLE_DEVICES leaves them."""
    return torch.cuda.device_count()


def choose_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a device that is there.

    Raises:
        ConfigError: The name is unknown, or CUDA is asked for and not there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device: got '{name}', expected auto, cpu or cuda")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError(
            "--device: got 'cuda', but torch sees no CUDA device here; use --device cpu, or check "
            "CUDA_VISIBLE_DEVICES and the driver"
        )
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def configure(*, threads: int, tf32: bool = False) -> None:
    """Set this process's arithmetic for a trial.

    Args:
        threads: CPU threads of torch, at most the cores that the process may use.
        tf32: Whether GPUs multiply float32 numbers in TF32 (10 bits of mantissa).

    Raises:
        ConfigError: More threads than cores: they would wait for one another.
    """
    if threads > (cores := available_cpus()):
        raise ConfigError(
            f"threads: got {threads}, but this process may use {cores} cores; lower threads"
        )
    _tune_allocator()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    # As use_deterministic_algorithms(True), which imports the compiler first: a second a process.
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32


def describe(device: torch.device) -> dict[str, Any]:
    """Record what the arithmetic depends on besides the config, as plain data."""
    record: dict[str, Any] = {
        "engine_revision": ENGINE_REVISION,
        "torch": torch.__version__,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    if device.type == "cuda":
        record["tf32"] = torch.backends.cudnn.allow_tf32
        record["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        record["cuda"] = torch.version.cuda
    else:
        record["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
    return record


def device_name(device: torch.device) -> str:
    """``cpu``, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def gpu_uuid(device: torch.device) -> str:
    """A GPU's name for ``nvidia-smi``, whatever CUDA_VISIBLE_DEVICES numbers it."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def synchronise(device: torch.device) -> None:
    """Wait for queued GPU work, so that a clock read next to it is true."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak_memory(device: torch.device) -> None:
    """Start a new reading of ``peak_gib``, where the system lets a process do so."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_gib(device: torch.device) -> float:
    """Peak memory in GiB since the last reset: allocated on the GPU, or resident on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        if match := re.search(r"VmHWM:\s+(\d+) kB", status):
            return int(match[1]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def used_gib(device: torch.device) -> float | None:
    """GiB of a GPU that are taken, by this process and all others; None on the CPU."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return float(total - free) / 2**30


def total_gib(device: torch.device) -> float | None:
    """GiB of memory that a GPU has; None on the CPU."""
    if device.type != "cuda":
        return None
    _, total = torch.cuda.mem_get_info(device)
    return float(total) / 2**30


def _tune_allocator() -> None:
    """Keep freed blocks, where the C library is glibc.

    Second-order graphs free and take large blocks every step; by default glibc gives each back
    to the system and pays page faults for it again: about half of a matching step's time.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _MALLOPT:
            mallopt(parameter, value)
