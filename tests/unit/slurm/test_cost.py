"""The cost of a launch, by what was measured."""

import json
from pathlib import Path

import pytest

from harness.search.folder import SearchFolder
from harness.search.plan import make_plan
from harness.search.space import read_space
from harness.store import Entry, Key, Store
from slurm.cost import describe_cost, seconds_per_iteration
from slurm.folder import Launch
from slurm.launch import make_launch
from slurm.profile import Profile

SPACE = {
    "base": {"iterations": 1000},
    "space": {"pool.main_probability": {"grid": [0.0, 1.0]}},
    "search": {"replicates": 2},
}


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    space = read_space(SPACE, "space.toml", {})
    made = SearchFolder(tmp_path / "out", space, tuple(make_plan(space)))
    made.prepare()
    return made


def launch(folder: SearchFolder) -> Launch:
    profile = Profile(nodes=2, gpus_per_node=1)
    return make_launch(profile, [trial.config for trial in folder.plan], device="auto")


def test_without_anything_measured_it_says_so(folder: SearchFolder) -> None:
    said = describe_cost(folder, launch(folder))
    assert "cannot be known before a trial is done" in said
    assert len(said.splitlines()) == 2


def test_a_store_tells_what_distilling_takes(folder: SearchFolder) -> None:
    store = Store(folder.path / "store")
    key = Key("distillation", {"distillation": "a"})
    store.put(key.at(100), Entry(cost_s=100.0))
    store.put(key.at(200), Entry(cost_s=180.0))
    store.put(Key("distillation", {"distillation": "b"}).at(100), Entry(cost_s=90.0))
    assert seconds_per_iteration(store.path) == pytest.approx(270 / 300)
    said = describe_cost(folder, launch(folder))
    assert "at 0.9 s an iteration" in said
    assert "about 0.5 hours" in said  # 4 x 1000 x 0.9 s on two GPUs
    assert "GPU-hours: about 1, at 1 GPUs a trial" in said


def test_trials_that_are_done_tell_all(folder: SearchFolder) -> None:
    done = folder.trial_folder(folder.plan[0])
    done.mkdir(parents=True)
    record = {"status": "ok", "timings": {"distill_s": 1000.0, "eval_s": 200.0}}
    record |= {"metrics": {}, "diagnostics": {}, "files": {}}
    (done / "trial.json").write_text(json.dumps(record))
    said = describe_cost(folder, launch(folder))
    assert "3 left, 2 at a time: about 0.67 hours" in said
    assert "GPU-hours: about 1, at 1 GPUs a trial" in said
