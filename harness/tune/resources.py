"""What a search may use, and what each of its trials takes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from harness.errors import ConfigError
from harness.search.packing import gpu_share


@dataclass(frozen=True)
class Resources:
    """What a search may use on this machine, or on each of several, and what each trial takes.

    Attributes:
        cpus: Cores of this process (its affinity), or of a machine.
        gpus: GPUs that this process sees, or of a machine.
        cpus_per_trial: Cores a trial; > 0.
        gpus_per_trial: GPUs a trial; below 1 several trials share one.
        measure: Whether how many share a GPU is to be measured; until then each has one.
        nodes: Machines.
    """

    cpus: int
    gpus: int
    cpus_per_trial: float
    gpus_per_trial: float
    measure: bool = False
    nodes: int = 1

    def slots(self) -> int:
        """Trials that run at the same time.

        Raises:
            ConfigError: Not even one does.
        """
        slots = int(self.cpus / self.cpus_per_trial + 1e-9)
        if self.gpus_per_trial > 0:
            slots = min(slots, self._on_gpus())
        if slots < 1:
            raise ConfigError(
                f"a trial asks for {self.cpus_per_trial:g} CPUs and {self.gpus_per_trial:g} GPUs, "
                f"but this process may use {self.cpus} CPUs and {self.gpus} GPUs; lower "
                "--cpus-per-trial, --gpus-per-trial or threads"
            )
        return slots * self.nodes

    def _on_gpus(self) -> int:
        if self.gpus_per_trial < 1:  # a share lies on one GPU
            return self.gpus * int(1 / self.gpus_per_trial + 1e-9)
        return int(self.gpus / self.gpus_per_trial + 1e-9)

    def cpu_slots(self) -> float:
        """Trials for each GPU that the CPUs allow; ``gpus`` > 0."""
        return self.cpus / self.cpus_per_trial / self.gpus + 1e-9

    def packed(self, number: int) -> Self:
        """So many trials on each GPU."""
        return replace(self, gpus_per_trial=gpu_share(number), measure=False)


@dataclass(frozen=True)
class Cluster:
    """Machines that are to join the Ray of a search's driver, and may come and go.

    Attributes:
        nodes: How many at most run trials, this one included where it does.
        cpus: Cores of each.
        gpus: GPUs of each.
        head_cpus: Cores of this machine for trials; may be 0.
        head_gpus: GPUs of this machine for trials.
        token: File of mode 0600 with the token that who joins must have.
        port: Where others join; 0: a free port.
        announce: Told HOST:PORT once they can.
    """

    nodes: int
    cpus: int
    gpus: int
    head_cpus: int
    head_gpus: int
    token: Path
    port: int
    announce: Callable[[str], object]
