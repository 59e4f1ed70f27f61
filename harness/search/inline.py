"""The executor of this process: runs a plan's trials one after the other, without Ray."""

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

import torch

from harness.context import Context
from harness.events import Decision, Event, Waiting
from harness.schema import NOT_RUN
from harness.search.console import SearchConsole
from harness.search.folder import SearchFolder
from harness.search.interruption import Interruption
from harness.search.plan import PlannedTrial
from harness.search.proposals import Chooser
from harness.search.schedule import in_order, lineage, needed_iterations
from harness.search.stopping import EarlyStopping
from harness.store import Store
from harness.tracking import Tracker
from harness.trial import record_error, run_trial, shared_data


class Claims(Protocol):
    """What shares a plan out among several processes."""

    def take(self, trial: PlannedTrial) -> AbstractContextManager[object] | None:
        """The right to run a trial, for as long as it is held; None where another has it."""

    def is_done(self, trial: PlannedTrial) -> bool:
        """Whether one of them has run a trial to its end."""


def run_inline(
    folder: SearchFolder,
    trials: Sequence[PlannedTrial],
    device: torch.device,
    console: SearchConsole,
    store: Path,
    proposals: Chooser | None = None,
    claims: Claims | None = None,
    stopping: EarlyStopping | None = None,
) -> str | None:
    """Run trials; each leaves its folder, whatever becomes of it.

    Args:
        folder: The search.
        trials: What to run; distinct distillations go first.
        device: Where to run it.
        console: Told of every event.
        store: Folder of the store.
        proposals: What chooses more trials, one configuration after the other.
        claims: Where several processes run this plan, what shares it out among them: this one then
            returns when the others hold all that is left.
        stopping: What stops trials early; None: nothing does.

    Returns:
        Why the run was stopped before its end; None where it was not. The trial under way is then
        saved in the store.
    """
    with Interruption() as interruption:
        executor = _Inline(folder, device, console, Store(store), interruption, claims, stopping)
        try:
            executor.run(in_order(trials), proposals)
        except KeyboardInterrupt:
            return interruption.reason or "interrupted"
        except OSError as error:
            return f"{error.strerror or error} ({error.filename or store})"
        return interruption.reason


class _Inline:
    """The trials of one call, and those that are to be tried again."""

    def __init__(
        self,
        folder: SearchFolder,
        device: torch.device,
        console: SearchConsole,
        store: Store,
        interruption: Interruption,
        claims: Claims | None,
        stopping: EarlyStopping | None,
    ) -> None:
        self._folder = folder
        self._device = device
        self._console = console
        self._store = store
        self._interruption = interruption
        self._claims = claims
        self._stopping = stopping
        self._needed = needed_iterations(folder.plan)

    def run(self, trials: Sequence[PlannedTrial], proposals: Chooser | None) -> None:
        """Run all; a trial whose set another process makes goes behind those that can start."""
        waiting = deque((trial, False) for trial in trials)
        out_of_memory = []
        refused = 0
        while not self._interruption():
            if not waiting and proposals is not None:
                waiting.extend((trial, False) for trial in proposals.next())
            if not waiting:
                break
            trial, deferred = waiting.popleft()
            held = nullcontext() if self._claims is None else self._claims.take(trial)
            if held is None:
                waiting.append((trial, deferred))
                refused += 1
                if refused >= len(waiting):
                    break  # others run all that is left
                continue
            refused = 0
            with held:
                if self._claims is not None and self._claims.is_done(trial):
                    continue
                status = self._run(trial, patient=deferred or not waiting)
            if status == NOT_RUN:
                waiting.append((trial, True))
                continue
            self._console.ended(trial)
            if proposals is not None:
                proposals.ended(trial)
            if status == "oom":
                out_of_memory.append(trial)
        for trial in out_of_memory:
            if not self._interruption():
                self._console.say(f"{trial.trial_id} ran out of memory and is tried again alone")
                self._run(trial, patient=True)
                self._console.ended(trial)

    def _run(self, trial: PlannedTrial, *, patient: bool) -> str:
        def report(event: Event) -> Decision:
            if isinstance(event, Waiting):
                stop = self._interruption() or not patient
                return Decision.STOP if stop else Decision.CONTINUE
            self._console.advanced(trial, event.iteration / event.iterations)
            if self._stopping is not None:
                self._stopping.report(trial, event.iteration, event.quick)
            tracker.report(event)
            return Decision.CONTINUE

        context = Context(
            folder=self._folder.trial_folder(trial),
            device=self._device,
            data=shared_data(trial.config.dataset, trial.config.protocol, self._device),
            trial_id=trial.trial_id,
            search=self._folder.path.name,
            replicate=trial.replicate,
            report=report,
            store=self._store,
            keep=frozenset(self._needed.get(lineage(trial), ())),
            stopping=self._interruption,
            verdict=lambda: None if self._stopping is None else self._stopping.verdict(trial),
        )
        tracker = Tracker(
            context.folder,
            trial.config.digest(),
            lambda text: self._console.say(f"{trial.trial_id}: {text}"),
        )
        self._console.advanced(trial, 0.0)
        try:
            record = run_trial(trial.config, context)
            tracker.finish(record)
            return str(record["status"])
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug in one trial must not end the search
            record_error(trial.config, context, error)
            return "error"
        finally:
            tracker.close()
