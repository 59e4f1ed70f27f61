"""Tune's controller over a plan: needs a Ray that is connected (see ``harness.tune.run``)."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune

from harness.schema import NOT_RUN, QUICK, RAY_FOLDER
from harness.search.console import SearchConsole
from harness.search.folder import SearchFolder
from harness.search.interruption import Interruption
from harness.search.plan import PlannedTrial
from harness.search.proposals import Chooser
from harness.search.schedule import in_order, needed_iterations
from harness.search.stopping import EarlyStopping
from harness.tune.measuring import pack
from harness.tune.resources import Resources
from harness.tune.searchers import PlanSearcher
from harness.tune.trainable import RUNNING, TrialWorker
from harness.tune.verdicts import VerdictFiles

_LOST_WORKERS_A_TRIAL = 2


def control(
    folder: SearchFolder,
    trials: Sequence[PlannedTrial],
    *,
    device: str,
    resources: Resources,
    console: SearchConsole,
    store: Path,
    stop_file: Path,
    interruption: Interruption,
    proposals: Chooser | None = None,
    stopping: EarlyStopping | None = None,
) -> None:
    """Run trials on the connected Ray; see ``harness.tune.run.run_on_ray``."""
    verdicts = None
    if stopping is not None:
        verdicts = VerdictFiles(folder.path / RAY_FOLDER / "verdicts", stopping)
    run: dict[str, PlannedTrial] = {}

    def fit(chosen: Sequence[PlannedTrial], given: Resources, more: Chooser | None) -> None:
        common = {
            "out": str(folder.path),
            "device": device,
            "store": str(store),
            "stop_file": str(stop_file),
            "gpu_share": given.gpus_per_trial,
            "measure": given.measure,
        }
        needed = needed_iterations(folder.plan)
        searcher = PlanSearcher(chosen, common, needed, interruption, more, given.slots(), verdicts)
        _fit(folder, searcher, given, _Events(searcher.known, console, interruption, verdicts))
        run.update(searcher.known)

    try:
        left = list(trials)
        if resources.measure:
            left, resources = pack(folder, left, resources, proposals, console, fit)
        if (left or proposals is not None) and not interruption():
            fit(in_order(left), resources, proposals)
        out_of_memory = [trial for trial in run.values() if folder.status(trial) == "oom"]
        if out_of_memory and not interruption():
            number = len(out_of_memory)
            console.say(f"{number} ran out of memory: tried again alone, on a whole device each")
            fit(out_of_memory, _whole(resources), None)
    finally:
        shutil.rmtree(folder.path / RAY_FOLDER, ignore_errors=True)


def _whole(resources: Resources) -> Resources:
    """So much for a trial that no other one runs beside it on its device."""
    resources = replace(resources, measure=False)
    if resources.gpus_per_trial > 0:
        return replace(resources, gpus_per_trial=max(1.0, resources.gpus_per_trial))
    return replace(resources, cpus_per_trial=resources.cpus)


def _fit(
    folder: SearchFolder, searcher: PlanSearcher, resources: Resources, events: "_Events"
) -> None:
    # Tune reads it here: trials that wait for their resources, by default one for a searcher.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(resources.slots())
    tuner = tune.Tuner(
        tune.with_resources(
            TrialWorker, {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
        ),
        tune_config=tune.TuneConfig(search_alg=searcher, num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder.path / RAY_FOLDER),
            verbose=0,
            callbacks=[events],
            failure_config=tune.FailureConfig(max_failures=_LOST_WORKERS_A_TRIAL),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    tuner.fit()


class _Events(tune.Callback):  # type: ignore[misc]
    """Tells the console what Tune's controller sees, and has reports judged.

    Tune's own scheduler is first in, first out: a trial that is stopped from outside could not
    say so in its record. Tune lets a trial go on only after it has told of its report here.
    """

    def __init__(
        self,
        known: Mapping[str, PlannedTrial],
        console: SearchConsole,
        interruption: Interruption,
        verdicts: VerdictFiles | None,
    ) -> None:
        self._verdicts = verdicts
        self._planned = known
        self._console = console
        self._interruption = interruption

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes itself to disk with its callbacks, and is never read back."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._console.advanced(self._planned[trial.config["trial_id"]], 0.0)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        if result["reason"]:
            self._interruption.request(result["reason"])
        planned = self._planned[trial.config["trial_id"]]
        if result["note"]:
            self._console.say(f"{trial.config['trial_id']}: {result['note']}")
        if not result["done"]:
            self._console.advanced(planned, result["fraction"])
        if self._verdicts is not None and result["status"] == RUNNING:
            self._verdicts.report(planned, result["iteration"], result[QUICK])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        planned = self._planned[trial.config["trial_id"]]
        self._console.say(f"{planned.trial_id} lost its worker and is started again")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        planned = self._planned[trial.config["trial_id"]]
        if trial.last_result.get("status") == NOT_RUN:
            self._console.put_back(planned)
        else:
            self._console.ended(planned)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._console.ended(self._planned[trial.config["trial_id"]])
