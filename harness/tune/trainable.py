"""The Trainable: runs one trial after another in a warm worker process."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch
from ray import tune

from harness.config import TrialConfig, make_config
from harness.schema import QUICK, TRIALS_FOLDER, UNSEEN_MEAN
from harness.trial import Context, Decision, Progress, record_error, shared_data, trial_steps

Steps = Generator[Progress, Decision, dict[str, Any]]


class TrialWorker(tune.Trainable):  # type: ignore[misc]
    """Runs ``harness.trial`` step by step, one report a step.

    ``setup`` and ``reset_config`` only store the config: Tune may set up an actor for a trial that
    a warm one then runs, so folders and files are touched in the first ``step`` alone.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Remember what to run."""
        self._tune_config = config
        self._steps: Steps | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Remember what to run next; the process and its images stay."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run to the next report, or to the end.

        Failures of a trial are recorded in its folder and end it: an exception here would cost
        the warm worker.
        """
        try:
            if self._steps is None:
                self._steps = self._open()
                progress = next(self._steps)
            else:
                progress = self._steps.send(Decision.CONTINUE)
        except StopIteration as end:
            record: dict[str, Any] = end.value
            return self._result(done=True, status=record["status"], metrics=record["metrics"])
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - recorded with its traceback
            record_error(*self._trial(), error)
            return self._result(done=True, status="error", metrics={})
        metrics = {QUICK: progress.quick}
        fraction = progress.iteration / progress.iterations
        return self._result(done=False, status="running", metrics=metrics, fraction=fraction)

    def _open(self) -> Steps:
        return trial_steps(*self._trial())

    def _trial(self) -> tuple[TrialConfig, Context]:
        given = self._tune_config
        config = make_config(given["settings"])
        device = torch.device(given["device"])
        context = Context(
            folder=Path(given["out"]) / TRIALS_FOLDER / given["trial_id"],
            device=device,
            data=shared_data(config.dataset, config.protocol, device),
            trial_id=given["trial_id"],
            search=Path(given["out"]).name,
            replicate=given["replicate"],
        )
        return config, context

    def _result(
        self, *, done: bool, status: str, metrics: dict[str, Any], fraction: float = 1.0
    ) -> dict[str, Any]:
        return {
            "done": done,
            "status": status,
            "fraction": fraction,
            UNSEEN_MEAN: metrics.get(UNSEEN_MEAN),
            QUICK: metrics.get(QUICK),
        }
