"""What a trial says on its way, and what it may be answered."""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


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
    losses: Sequence[float] = ()
    """Matching loss of each iteration since the last report, the last of which is ``iteration``."""
    picture: Callable[[], bytes] | None = field(default=None, compare=False, repr=False)
    """Draws the set as it stands, as a PNG; None where a repeated report lies behind that. To be
    called before the trial goes on."""


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
