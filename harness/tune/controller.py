"""Tune's controller over a plan: needs a Ray that is connected (see ``harness.tune.run``)."""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from ray import tune

from harness.search.console import SearchConsole
from harness.search.folder import SearchFolder
from harness.search.plan import PlannedTrial
from harness.tune.resources import Resources
from harness.tune.searchers import PlanSearcher
from harness.tune.trainable import TrialWorker

_LOST_WORKERS_A_TRIAL = 2


def control(
    folder: SearchFolder,
    trials: Sequence[PlannedTrial],
    *,
    device: str,
    resources: Resources,
    console: SearchConsole,
) -> None:
    """Run trials on the connected Ray; see ``harness.tune.run.run_on_ray``."""
    tuner = tune.Tuner(
        tune.with_resources(
            TrialWorker, {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
        ),
        tune_config=tune.TuneConfig(
            search_alg=PlanSearcher(trials, {"out": str(folder.path), "device": device}),
            num_samples=-1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder.path / "ray"),
            verbose=0,
            callbacks=[_Events(trials, console)],
            failure_config=tune.FailureConfig(max_failures=_LOST_WORKERS_A_TRIAL),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(folder.path / "ray", ignore_errors=True)


class _Events(tune.Callback):  # type: ignore[misc]
    """Tells the console what Tune's controller sees."""

    def __init__(self, trials: Sequence[PlannedTrial], console: SearchConsole) -> None:
        self._planned = {trial.trial_id: trial for trial in trials}
        self._console = console

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes itself to disk with its callbacks, and is never read back."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._console.advanced(self._planned[trial.config["trial_id"]], 0.0)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        if not result["done"]:
            self._console.advanced(self._planned[trial.config["trial_id"]], result["fraction"])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        planned = self._planned[trial.config["trial_id"]]
        self._console.say(f"{planned.trial_id} lost its worker and is started again")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._console.ended(self._planned[trial.config["trial_id"]])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._console.ended(self._planned[trial.config["trial_id"]])
