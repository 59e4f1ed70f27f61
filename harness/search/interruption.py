"""Signals of a running search: the first asks it to save and stop, the second stops it."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

GRACE_S = 20.0
"""Seconds between being asked and being stopped."""
_LOOK_S = 1.0


class Interruption:
    """Turns SIGINT and SIGTERM into a request to stop, and then into KeyboardInterrupt.

    Use as a context manager in the main thread, inside of whatever sets handlers of its own.
    """

    def __init__(self, on_request: Callable[[], object] = lambda: None) -> None:
        """Prepare.

        Args:
            on_request: Called once, when the search is first asked to stop.
        """
        self.reason: str | None = None
        """Why the search is to stop, in a word or a sentence; None while it is not."""
        self._on_request = on_request
        self._before: dict[int, Any] = {}
        self._timer = threading.Timer(GRACE_S, _signal_self)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether the search is to stop."""
        return self.reason is not None

    def request(self, reason: str) -> None:
        """Ask the search to stop; it is stopped after ``GRACE_S`` if it does not."""
        if self.reason is None:
            self.reason = reason
            self._timer.start()
            self._on_request()

    def force(self, reason: str) -> None:
        """Stop the search now, from any thread."""
        self.reason = reason
        _signal_self()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.reason is not None:
            raise KeyboardInterrupt
        self.request("interrupted")


class StopFile:
    """Tells workers on any machine to stop: a file that they see, empty until they are to.

    It is there from the start and opened anew at each look, since over NFS a file that appears
    may be seen late, and one that is opened is up to date.
    """

    def __init__(self, path: Path) -> None:
        """Prepare; ``create`` makes the file."""
        self.path = path
        self._next_look = 0.0
        self._asked = False

    def create(self) -> None:
        """Make the file, empty."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("")

    def ask(self) -> None:
        """Ask all who look at the file to stop."""
        self.path.write_text("stop")

    def __call__(self) -> bool:
        """Whether they are to stop; looks at most once a second."""
        now = time.monotonic()
        if not self._asked and now >= self._next_look:
            self._next_look = now + _LOOK_S
            try:
                self._asked = bool(self.path.read_text())
            except OSError:
                self._asked = False
        return self._asked


def _signal_self() -> None:
    # Not SIGTERM, which a batch system's job may have to block (``slurm.supervisor``).
    os.kill(os.getpid(), signal.SIGINT)
