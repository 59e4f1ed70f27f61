"""What a search may use, and what each of its trials takes."""

from dataclasses import dataclass

from harness.errors import ConfigError


@dataclass(frozen=True)
class Resources:
    """What a search may use on this machine, and what each trial takes.

    Attributes:
        cpus: Cores of this process (its affinity).
        gpus: GPUs that this process sees.
        cpus_per_trial: Cores a trial; > 0.
        gpus_per_trial: GPUs a trial; may be a fraction.
    """

    cpus: int
    gpus: int
    cpus_per_trial: float
    gpus_per_trial: float

    def slots(self) -> int:
        """Trials that run at the same time.

        Raises:
            ConfigError: Not even one does.
        """
        slots = int(self.cpus / self.cpus_per_trial)
        if self.gpus_per_trial > 0:
            slots = min(slots, int(self.gpus / self.gpus_per_trial + 1e-9))
        if slots < 1:
            raise ConfigError(
                f"a trial asks for {self.cpus_per_trial:g} CPUs and {self.gpus_per_trial:g} GPUs, "
                f"but this process may use {self.cpus} CPUs and {self.gpus} GPUs; lower "
                "--cpus-per-trial, --gpus-per-trial or threads"
            )
        return slots
