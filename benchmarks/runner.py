"""Runs the arms of a case: one process each, in turn, round by round.

Processes are apart because the allocator's thresholds and torch's settings are process-wide. They
all start first, and wait while another one is timed. Rounds are interleaved so that a slow spell
of the machine falls on every arm, and ratios are taken within a round.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.arms import arms_of
from benchmarks.cases import Case

_ROOT = Path(__file__).parents[1]
# "As it comes" holds only where the user's shell has not tuned the allocator already.
_ALLOCATOR = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


class ArmError(Exception):
    """The process of an arm ended before its time."""


class Timing(NamedTuple):
    """One round of one arm."""

    seconds: float
    """Median call of the round."""
    peak_gib: float
    """Peak memory of the process so far: resident on the CPU, allocated on a GPU."""
    first_s: float | None = None
    """First call of the process, in which programs are compiled and graphs recorded."""
    kernels: int | None = None
    """Launched by a call on a GPU."""
    flop: float | None = None
    """Operations of a call; the floor alone knows them, and what follows."""
    bytes: float | None = None
    flop_per_s: float | None = None
    bytes_per_s: float | None = None


def run_case(case: Case, *, device: str, threads: int) -> dict[str, list[Timing]]:
    """Time every arm of a case.

    Args:
        case: What to time; its first round is a warm-up and thrown away.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of each arm.

    Returns:
        Variant -> its rounds, in order: equal positions were timed next to each other.

    Raises:
        ArmError: A process failed; its traceback went to the standard error.
    """
    with ExitStack() as stack:
        arms = {
            variant: stack.enter_context(_start(case, variant, device, threads))
            for variant in arms_of(case, device)
        }
        for variant, process in arms.items():
            _answer(process, case, variant)
        rounds: dict[str, list[Timing]] = {variant: [] for variant in arms}
        for _ in range(1 + case.rounds):
            for variant, process in arms.items():
                rounds[variant].append(Timing(**_ask(process, case, variant)))
        return {variant: timings[1:] for variant, timings in rounds.items()}


def clean_environment() -> dict[str, str]:
    """The environment less what would tune the allocator of every arm."""
    return {key: value for key, value in os.environ.items() if not key.startswith(_ALLOCATOR)}


@contextmanager
def _start(
    case: Case, variant: str, device: str, threads: int
) -> Iterator["subprocess.Popen[str]"]:
    spec = {"case": asdict(case), "variant": variant, "device": device, "threads": threads}
    # A cache of its own: every compiled arm shows what compiling costs.
    with TemporaryDirectory(prefix="benchmarks-") as cache:
        process = subprocess.Popen(
            _command(spec),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env={**clean_environment(), "TORCHINDUCTOR_CACHE_DIR": cache},
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def _command(spec: dict[str, Any]) -> Sequence[str]:
    return [sys.executable, "-m", "benchmarks.worker", json.dumps(spec)]


def _ask(process: "subprocess.Popen[str]", case: Case, variant: str) -> dict[str, Any]:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it ended: the answer is missing and says so
        process.stdin.write("\n")
        process.stdin.flush()
    return _answer(process, case, variant)


def _answer(process: "subprocess.Popen[str]", case: Case, variant: str) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise ArmError(
            f"{case.benchmark}, {case.label}: the process of '{variant}' ended with status "
            f"{process.wait()}; its message is above"
        )
    answer: dict[str, Any] = json.loads(line)
    return answer
