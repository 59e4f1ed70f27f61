"""The Trainable as Tune calls it, without Ray: steps, cuts, waiting, and failures."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness import distilling
from harness.config import TrialConfig, make_config
from harness.context import Context
from harness.events import Decision, Progress
from harness.search.interruption import StopFile
from harness.store import Store
from harness.tune import trainable
from harness.tune.trainable import Steps, TrialWorker
from harness.tune.utilisation import Utilisation

SETTINGS = {
    "iterations": 6,
    "batch_real": 4,
    "network": {"width": 4, "depth": 1},
    "evaluation": {"students": ["mlp"], "student_seeds": 1, "epochs": 1},
    "run": {"report_every": 2},
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distilling, "quick_score", lambda *_: 0.5)


def given(out: Path, trial_id: str = "t", **more: Any) -> dict[str, Any]:
    return {
        "out": str(out),
        "trial_id": trial_id,
        "replicate": 0,
        "device": "cpu",
        "store": str(out / "store"),
        "stop_file": str(out / "ray" / "stop"),
        "keep": [],
        "patient": True,
        "verdict_file": "",
        "gpu_share": 1.0,
        "measure": False,
        "settings": make_config(SETTINGS).model_dump(mode="json"),
        **more,
    }


def worker(config: dict[str, Any]) -> TrialWorker:
    made = TrialWorker.__new__(TrialWorker)
    made.setup(config)
    return made


def status(out: Path, trial_id: str = "t") -> Any:
    return json.loads((out / "trials" / trial_id / "trial.json").read_text())["status"]


def states(out: Path) -> list[str]:
    folders = out.glob("store/distillation/*/0*")
    return sorted(path.name.lstrip("0") for path in folders)


def test_a_trial_is_reported_step_by_step(tmp_path: Path) -> None:
    own = worker(given(tmp_path))
    found = [own.step() for _ in range(3)]
    assert [result["done"] for result in found] == [False, False, True]
    assert [result["fraction"] for result in found] == [2 / 6, 4 / 6, 1.0]
    assert [result["validation/quick"] for result in found] == [0.5, 0.5, None]
    assert found[2]["status"] == "ok"
    assert found[2]["validation/unseen_mean"] is not None
    assert status(tmp_path) == "ok"


@pytest.mark.parametrize("how", ["reset", "cleanup"])
def test_a_trial_that_a_scheduler_cuts_is_saved_and_goes_on(tmp_path: Path, how: str) -> None:
    own = worker(given(tmp_path))
    own.step()
    if how == "reset":
        assert own.reset_config(given(tmp_path, "other"))
    else:
        own.cleanup()
    assert states(tmp_path) == ["2"]
    assert status(tmp_path) == "interrupted"
    again = worker(given(tmp_path))
    assert again.step()["fraction"] == 2 / 6  # from the store
    assert again.step()["fraction"] == 4 / 6
    assert again.step()["status"] == "ok"


def test_a_verdict_ends_a_trial_at_its_next_look(tmp_path: Path) -> None:
    file = tmp_path / "verdict"
    file.touch()
    own = worker(given(tmp_path, verdict_file=str(file)))
    assert own.step()["iteration"] == 2
    file.write_text('{"iteration": 2')  # not whole yet: goes on
    assert own.step()["iteration"] == 4
    file.write_text('{"iteration": 4, "reason": "too low"}')
    result = own.step()
    assert (result["done"], result["status"]) == (True, "stopped_early")
    assert states(tmp_path) == ["4"]
    record = json.loads((tmp_path / "trials" / "t" / "trial.json").read_text())
    assert record["stopped"] == {"iteration": 4, "reason": "too low"}
    assert record["validation/quick"] == [[2, 0.5], [4, 0.5]]


def test_a_method_that_is_not_on_the_worker_s_machine_ends_the_search_in_one_line(
    tmp_path: Path,
) -> None:
    settings = {**make_config(SETTINGS).model_dump(mode="json"), "method": "nowhere.at:All"}
    result = worker(given(tmp_path, settings=settings)).step()
    assert (result["done"], result["status"]) == (True, "not_run")
    assert "'nowhere.at' cannot be imported" in result["reason"]
    assert not (tmp_path / "trials").exists()


def test_nothing_begins_when_the_search_is_to_stop(tmp_path: Path) -> None:
    file = StopFile(tmp_path / "ray" / "stop")
    file.create()
    file.ask()
    result = worker(given(tmp_path)).step()
    assert result["done"]
    assert result["status"] == "not_run"
    assert not (tmp_path / "trials").exists()


@pytest.mark.parametrize("patient", [True, False])
def test_a_trial_waits_only_where_it_is_told_to(tmp_path: Path, patient: bool) -> None:
    holder = worker(given(tmp_path))
    holder.step()
    own = worker(given(tmp_path, "second", patient=patient))
    assert own.step()["status"] == "waiting"
    result = own.step()
    if not patient:
        assert (result["done"], result["status"]) == (True, "not_run")
        assert not (tmp_path / "trials" / "second").exists()
        return
    assert (result["done"], result["status"]) == (False, "waiting")
    holder.step(), holder.step()
    results = [own.step() for _ in range(3)]
    assert [item["done"] for item in results] == [False, False, True]
    assert status(tmp_path, "second") == "ok"


def test_a_full_disk_ends_the_trial_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/store/x")

    monkeypatch.setattr(Store, "put", full)
    own = worker(given(tmp_path))
    result = [own.step() for _ in range(3)][-1]
    assert (result["done"], result["status"]) == (True, "not_run")
    assert result["reason"] == "No space left on device (/store/x)"


def test_another_failure_of_the_disk_costs_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(trainable, "trial_steps", broken)
    with pytest.raises(OSError, match="Input/output error"):
        worker(given(tmp_path)).step()


def test_a_bug_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(trainable, "trial_steps", broken)
    own = worker(given(tmp_path))
    assert own.step()["status"] == "error"
    assert own._answer is Decision.CONTINUE
    assert status(tmp_path) == "error"


def test_a_gpu_is_looked_at_only_while_its_trial_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Looking(Utilisation):
        def start(self) -> None:
            seen.append(("start", self._command[1]))

        def stop(self) -> None:
            seen.append(("stop", self._command[1]))

    def steps(config: TrialConfig, context: Context) -> Steps:
        seen.append(("share", context.gpu_share))
        seen.append(("busy", context.utilisation()))
        yield Progress(1, 2, 0.0, None)
        return {"status": "ok", "metrics": {}}

    monkeypatch.setattr(trainable, "Utilisation", Looking)
    monkeypatch.setattr(trainable, "trial_steps", steps)
    monkeypatch.setattr(trainable, "gpu_uuid", lambda device: "GPU-1")
    monkeypatch.setattr(trainable, "shared_data", lambda *_: None)
    own = worker(given(tmp_path, device="cuda", gpu_share=0.5))
    own.step(), own.step()
    assert seen == [("share", 0.5), ("busy", None)]
    seen.clear()
    own = worker(given(tmp_path, device="cuda", measure=True))
    own.step()
    assert seen == [("start", "--id=GPU-1"), ("share", 1.0), ("busy", None)]
    own.step()
    assert seen[-1] == ("stop", "--id=GPU-1")
