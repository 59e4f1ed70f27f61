"""The Trainable: runs one trial after another in a warm worker process."""

from collections.abc import Generator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from ray import tune

from harness.config import TrialConfig, make_config
from harness.context import Context
from harness.errors import ConfigError
from harness.events import Decision, Event, Waiting
from harness.numerics import gpu_uuid
from harness.records import is_full
from harness.schema import NOT_RUN, QUICK, TRIALS_FOLDER, UNSEEN_MEAN
from harness.search.interruption import StopFile
from harness.store import Store
from harness.tracking import Tracker, tracked
from harness.trial import record_error, shared_data, trial_steps
from harness.tune.utilisation import Utilisation
from harness.tune.verdicts import read_verdict

RUNNING = "running"
"""Status of the result of a report on the way."""

Steps = Generator[Event, Decision, dict[str, Any]]


@lru_cache(maxsize=1)
def _shared_store(path: str) -> Store:
    """The store, one object for the trials of a worker: it remembers what it saw of leases."""
    return Store(Path(path))


def _sampled(config: TrialConfig, context: Context, utilisation: Utilisation) -> Steps:
    """A trial whose GPU is looked at meanwhile."""
    with utilisation:
        return (yield from trial_steps(config, context))


class TrialWorker(tune.Trainable):  # type: ignore[misc]
    """Runs ``harness.trial`` step by step, one report a step.

    ``setup`` and ``reset_config`` only store the config: Tune may set up an actor for a trial that
    a warm one then runs, so folders and files are touched in the first ``step`` alone.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Remember what to run."""
        self._tune_config = config
        self._steps: Steps | None = None
        self._answer = Decision.CONTINUE
        self._notes: list[str] = []
        self._stopping = StopFile(Path(config["stop_file"]))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Remember what to run next; the process and its images stay."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Save the state of a trial that Tune ends from outside; none is ended so by a verdict."""
        steps, self._steps = self._steps, None
        if steps is not None:
            try:
                while True:
                    steps.send(Decision.STOP)
            except (StopIteration, OSError):
                return

    def step(self) -> dict[str, Any]:
        """Run to the next report, or to the end.

        Failures of a trial are recorded in its folder and end it: an exception here would cost
        the warm worker.
        """
        try:
            if self._steps is None:
                if self._stopping():
                    return self._result(done=True, status=NOT_RUN)
                try:
                    self._steps = self._open()
                except ConfigError as error:  # a method of a package that only the driver has
                    return self._result(done=True, status=NOT_RUN, reason=str(error))
                event = next(self._steps)
            else:
                event = self._steps.send(self._answer)
        except StopIteration as end:
            self._steps = None
            record: dict[str, Any] = end.value
            return self._result(done=True, status=record["status"], metrics=record["metrics"])
        except OSError as error:
            self._steps = None
            if not is_full(error):
                raise
            reason = f"{error.strerror} ({error.filename or self._tune_config['out']})"
            return self._result(done=True, status=NOT_RUN, reason=reason)
        except Exception as error:  # noqa: BLE001 - recorded with its traceback
            self._steps = None
            record_error(*self._trial(), error)
            return self._result(done=True, status="error")
        if isinstance(event, Waiting):
            patient = self._tune_config["patient"] and not self._stopping()
            self._answer = Decision.CONTINUE if patient else Decision.STOP
            return self._result(done=False, status="waiting", fraction=0.0)
        self._answer = Decision.CONTINUE
        metrics = {QUICK: event.quick}
        return self._result(
            done=False,
            status=RUNNING,
            metrics=metrics,
            fraction=event.iteration / event.iterations,
            iteration=event.iteration,
        )

    def _open(self) -> Steps:
        config, context = self._trial()
        tracker = Tracker(context.folder, config.digest(), self._notes.append)
        if context.device.type != "cuda" or not self._tune_config["measure"]:
            return tracked(trial_steps(config, context), tracker)
        utilisation = Utilisation(gpu_uuid(context.device))
        context = replace(context, utilisation=utilisation)
        return tracked(_sampled(config, context, utilisation), tracker)

    def _trial(self) -> tuple[TrialConfig, Context]:
        given = self._tune_config
        config = make_config(given["settings"])
        verdict_file = Path(given["verdict_file"]) if given["verdict_file"] else None
        device = torch.device(given["device"])
        context = Context(
            folder=Path(given["out"]) / TRIALS_FOLDER / given["trial_id"],
            device=device,
            data=shared_data(config.dataset, config.protocol, device),
            trial_id=given["trial_id"],
            search=Path(given["out"]).name,
            replicate=given["replicate"],
            store=_shared_store(given["store"]),
            keep=frozenset(given["keep"]),
            stopping=self._stopping,
            verdict=lambda: read_verdict(verdict_file),
            gpu_share=given["gpu_share"],
        )
        return config, context

    def _result(
        self,
        *,
        done: bool,
        status: str,
        metrics: dict[str, Any] | None = None,
        fraction: float = 1.0,
        iteration: int = 0,
        reason: str = "",
    ) -> dict[str, Any]:
        found = metrics or {}
        notes, self._notes[:] = "; ".join(self._notes), []
        return {
            "done": done,
            "status": status,
            "fraction": fraction,
            "iteration": iteration,
            "reason": reason,
            "note": notes,
            UNSEEN_MEAN: found.get(UNSEEN_MEAN),
            QUICK: found.get(QUICK),
        }
