"""What a trial says on its way, and what it may be answered."""

import enum
from dataclasses import dataclass


class Decision(enum.Enum):
    """Answer to an event."""

    CONTINUE = "continue"
    STOP = "stop"


@dataclass(frozen=True)
class Progress:
    """A report on the way."""

    iteration: int
    """Iterations done."""
    iterations: int
    """Iterations to do."""
    matching_loss: float
    """Mean since the last report, a class and outer step."""
    quick: float | None
    """``validation/quick``; None where there are no validation images."""
    main_probability: float | None = None
    """Chance with which the last iteration drew the main model."""


@dataclass(frozen=True)
class Waiting:
    """Somebody else makes what the trial needs; asked again until it is there.

    STOP gives the trial back unbegun, so that other work may go first.
    """

    what: str
    """Kind of what is waited for."""


Event = Progress | Waiting


class StoppedError(Exception):
    """A trial was told to stop; its state is saved. Never leaves ``harness.trial``."""


class DeferredError(Exception):
    """A trial was told not to wait. Never leaves ``harness.trial``."""
