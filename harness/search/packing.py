"""Packing: how many trials share a GPU (``--trials-per-gpu``).

A GPU that is shared has no walls: one trial's exhausted memory can fail its neighbours. The number
changes when trials run, never what they compute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from harness.config import TrialConfig
from harness.search.folder import SearchFolder
from harness.search.plan import PlannedTrial

MOST = 64
"""Trials on one GPU at most."""
_PARTS = 10_000
"""Ray counts GPUs in ten-thousandths."""
_ROOM = 0.95
"""Share of a GPU's memory that is given out."""
_MARGIN = 1.15
"""Times the measured memory that a trial is given, since trials differ."""
_BUSY = 0.9
"""Share of its time in which a GPU should be busy: more trials would only queue for it."""


@dataclass(frozen=True)
class Measured:
    """What one trial took of a GPU that it had to itself.

    Attributes:
        total_gib: Memory of the GPU.
        used_gib: Memory taken by the end of each phase, by phase; at least one.
        utilisation: Share of its time in which the GPU was busy, 0..1; None where unknown.
    """

    total_gib: float
    used_gib: Mapping[str, float]
    utilisation: float | None


@dataclass(frozen=True)
class Packing:
    """How many trials share a GPU.

    Attributes:
        number: 1 .. ``MOST``.
        reason: What was measured and what limits the number, in one line.
    """

    number: int
    reason: str


def choose_packing(measured: Measured, cpu_slots: float) -> Packing:
    """Choose how many trials share a GPU.

    As many as fit into its memory at the largest phase's need and a margin, as its utilisation
    has room for, and as the CPUs allow; never less than one, also where one does not fit.

    Args:
        measured: Of the most costly trial.
        cpu_slots: Trials that the CPUs allow for each GPU; > 0.
    """
    phase, used = max(measured.used_gib.items(), key=lambda item: item[1])
    limits = {
        "memory": int(measured.total_gib * _ROOM / (used * _MARGIN)) if used > 0 else MOST,
        "the CPUs": int(cpu_slots),
        "the most that is tried": MOST,
    }
    known = measured.utilisation
    if known is not None:
        # Rounded up: the last one fills what is left of the GPU's time.
        limits["utilisation"] = ceil(_BUSY / known - 1e-9) if known > 0 else MOST
    limit = min(limits, key=lambda name: limits[name])
    number = max(1, limits[limit])
    busy = "unknown utilisation (no nvidia-smi)" if known is None else f"{known:.0%} busy"
    return Packing(
        number,
        f"one trial took {used:.2f} of {measured.total_gib:.2f} GiB (phase {phase}), {busy}: "
        f"{number} a GPU, limited by {limit}",
    )


def gpu_share(number: int) -> float:
    """GPUs of a trial where so many share one: 1 / number, down to what Ray can count."""
    return (_PARTS // number) / _PARTS


def read_measured(record: Mapping[str, Any] | None) -> Measured | None:
    """What a trial's ``trial.json`` says of a GPU that it had to itself.

    None where it did not end well, ran on the CPU or beside others, took its distilled set from
    the store, or was written before this was recorded.
    """
    record = record or {}
    gpu, timings = record.get("gpu"), record.get("timings", {})
    if record.get("status") != "ok" or not gpu or gpu["share"] < 1.0 or not gpu["total_gib"]:
        return None
    if timings["distill_s"] < timings["distill_cost_s"] / 2:
        return None
    used = {name: phase["used_gib"] for name, phase in record["phases"].items()}
    known = {name: gib for name, gib in used.items() if gib is not None}
    return Measured(gpu["total_gib"], known, gpu["utilisation"]) if known else None


def find_measured(folder: SearchFolder) -> Measured | None:
    """The measurement of the most costly trial that has one; None where there is none.

    Reads records of finished trials, most costly first, until one has it.
    """
    for trial in most_costly(folder.plan):
        if folder.status(trial) == "ok":
            found = read_measured(folder.record(trial))
            if found is not None:
                return found
    return None


def most_costly(trials: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """Trials by how much memory they are likely to take, most first; equal ones stay in order."""
    return sorted(trials, key=lambda trial: _cost(trial.config), reverse=True)


def _cost(config: TrialConfig) -> tuple[int, int, int]:
    """Grows with memory: activations of the main model, students, real images in a batch."""
    network = config.network
    synthetic = config.ipc * network.width * network.depth
    return synthetic, len(config.students()), config.batch_real
