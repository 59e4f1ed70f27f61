"""A search on pretended GPUs, through the real controller.

Real: ``run_on_ray`` and all below it (``control``, ``PlanSearcher``, the console, the search's
folder, which reads each trial's record), Tune's controller, its actor manager and its placement
groups, a private Ray with so many logical GPUs, a remote call and its answer for each step.

Pretended: the worker processes. One process answers for all of them, each a ``TrialWorker`` whose
step waits, computes nothing, and in the end writes a record of the usual size. So neither starting
processes nor the trials' own work is in what is measured.

A process of its own: see ``tests.simulated.runs``.
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest.mock import patch

import ray
from ray.actor import ActorClass
from ray.tune.execution.tune_controller import _ActorClassCache

from harness.schema import TRIAL_FILE, TRIALS_FOLDER
from harness.search.console import SearchConsole
from harness.tune import controller
from harness.tune.resources import Resources
from harness.tune.run import run_on_ray
from harness.tune.trainable import TrialWorker
from tests.simulated.runs import Busy, Work, open_pretended

_RECORDED_ITERATIONS = 1000
_CPUS, _CPUS_A_TRIAL = 2, 1e-3
"""So few that Ray starts no worker processes beforehand; and enough for every trial."""


class _Worker(TrialWorker):
    """A warm worker that only pretends."""

    work: Work

    def setup(self, config: dict[str, Any]) -> None:
        super().setup(config)
        self._reported = 0

    def step(self) -> dict[str, Any]:
        self._reported += 1
        if self._reported < self.work.reports:
            fraction = self._reported / self.work.reports
            return self._result(done=False, status="running", fraction=fraction)
        given = self._tune_config
        folder = Path(given["out"]) / TRIALS_FOLDER / given["trial_id"]
        folder.mkdir(exist_ok=True)
        record = {**_record(), **self.work.record}
        (folder / TRIAL_FILE).write_text(json.dumps(record))
        return self._result(done=True, status="ok", metrics=record["metrics"])


class _Host:
    """All workers, in one process."""

    def __init__(self, work: Work) -> None:
        _Worker.work = work
        self._work = work
        self._workers: dict[int, _Worker] = {}
        self._steps: list[Busy] = []

    async def make(self, number: int, arguments: dict[str, Any]) -> None:
        self._workers[number] = _Worker(**arguments)

    async def call(
        self, number: int, name: str, args: Sequence[Any], options: Mapping[str, Any]
    ) -> Any:
        if name == "__ray_ready__":
            return True
        if name == "__ray_terminate__":
            self._workers.pop(number, None)
            return None
        worker = self._workers[number]
        if name != "train":
            return getattr(worker, name)(*args, **options)
        start = time.monotonic()
        await asyncio.sleep(self._work.seconds / self._work.reports)
        self._steps.append(Busy(number, worker._tune_config["trial_id"], start, time.monotonic()))
        return worker.train()

    async def steps(self) -> list[Busy]:
        return self._steps


class _Class:
    """Stands for the class of the workers, as Tune's actor manager uses one."""

    def __init__(self, host: Any) -> None:
        self._host = host
        self._made = 0

    @property
    def __class__(self) -> Any:  # the manager asks
        return ActorClass

    def options(self, **_: object) -> "_Class":
        return self

    def remote(self, **arguments: Any) -> "_Handle":
        self._made += 1
        self._host.make.remote(self._made, arguments)
        return _Handle(self._host, self._made)


class _Handle:
    """Stands for a worker: each call is a real one, of the host."""

    def __init__(self, host: Any, number: int) -> None:
        self._host = host
        self._number = number

    def __getattr__(self, name: str) -> "_Method":
        if name.startswith("_") and not name.startswith("__ray_"):
            raise AttributeError(name)
        return _Method(self, name)


class _Method:
    def __init__(self, handle: _Handle, name: str) -> None:
        self._handle = handle
        self._name = name

    def remote(self, *args: Any, **options: Any) -> Any:
        handle = self._handle
        return handle._host.call.remote(handle._number, self._name, args, options)

    def options(self, **_: object) -> "_Method":
        return self


class _Waiting:
    """Adds up the time in which the controller waits for something to do."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._patch = patch.object(ray, "wait", self._wait)
        self._real = ray.wait

    def _wait(self, *args: Any, **options: Any) -> Any:
        start = time.monotonic()
        try:
            return self._real(*args, **options)
        finally:
            self.seconds += time.monotonic() - start

    def __enter__(self) -> "_Waiting":
        self._patch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._patch.stop()


def main(given: Mapping[str, Any]) -> None:
    """Run the search that ``tests.simulated.runs`` asks for; the last line says what was seen."""
    work = Work(*given["work"])
    folder = open_pretended(Path(given["out"]), given["trials"])
    resources = Resources(_CPUS, given["gpus"], _CPUS_A_TRIAL, 1.0, given["measure"])
    seen: dict[str, Any] = {}
    real = controller.control

    def control(*args: Any, **options: Any) -> None:
        host = ray.remote(num_cpus=0, max_concurrency=100_000)(_Host).remote(work)
        ray.get(host.steps.remote())  # its process has started
        pretended = _Class(host)
        with patch.object(_ActorClassCache, "get", lambda *_: pretended), _Waiting() as waiting:
            start, cpu = time.monotonic(), time.thread_time()
            real(*args, **options)
            seen.update(wall_s=time.monotonic() - start, cpu_s=time.thread_time() - cpu)
            seen["waited_s"] = waiting.seconds
        seen["steps"] = ray.get(host.steps.remote())

    with patch.object(controller, "control", control), SearchConsole(folder, 1) as console:
        reason = run_on_ray(
            folder,
            folder.plan,
            device="cpu",
            address="local",
            resources=resources,
            console=console,
            store=folder.path / "store",
        )
    assert reason is None, reason
    print(json.dumps(seen))  # noqa: T201


def _record() -> dict[str, Any]:
    """A record as large as that of a trial of so many iterations."""
    return {
        "status": "ok",
        "metrics": {"validation/unseen_mean": 0.5},
        "timings": {"distill_s": 1.0, "distill_cost_s": 1.0, "eval_s": 1.0},
        "diagnostics": {},
        "notes": [],
        "matching_loss": [1.0 + k / 7 for k in range(_RECORDED_ITERATIONS)],
        "pool_draws": {"architectures": ["main"], "draws": [0] * _RECORDED_ITERATIONS},
        "files": {},
    }


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
