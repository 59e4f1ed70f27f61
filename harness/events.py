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
    main_probability: float | None = None
    """Chance with which the last iteration drew the main model."""
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


@dataclass(frozen=True)
class Verdict:
    """That a search's scheduler lets a distillation go no further."""

    iteration: int
    """At which it was judged: sets of more iterations are not to be made."""
    reason: str
    """Who judged, by what, in some words."""


class StoppedError(Exception):
    """A trial was told to stop; its state is saved. Never leaves ``harness.trial``."""


class StoppedEarlyError(Exception):
    """A scheduler has stopped a trial; its state is saved. Never leaves ``harness.trial``."""

    def __init__(self, iteration: int, reason: str) -> None:
        """Remember where and why.

        Args:
            iteration: Iterations that were done; 0 where it did not begin.
            reason: Of the verdict.
        """
        super().__init__(reason)
        self.iteration = iteration
        self.reason = reason


class DeferredError(Exception):
    """A trial was told not to wait. Never leaves ``harness.trial``."""
