"""What ``harness search`` makes of its options, on machines with GPUs that are not here."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.commands import search
from harness.commands.search import Asked, describe_plan
from harness.errors import ConfigError
from harness.records import write_json
from harness.search.folder import SearchFolder, open_search
from harness.search.space import read_space

CUDA = torch.device("cuda")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchFolder:
    """A search of 41 trials on a machine with two GPUs and sixteen cores; one of them is done."""
    monkeypatch.setattr(search, "choose_device", lambda name: CUDA)
    monkeypatch.setattr(search, "visible_gpus", lambda: 2)
    monkeypatch.setattr(search, "available_cpus", lambda: 16)
    text = f"[space]\nseed = {{ grid = {list(range(41))} }}"
    found = open_search(tmp_path, read_space(tomllib.loads(text), "a.toml", {}))
    found.prepare()
    return found


def finish(folder: SearchFolder, **more: Any) -> None:
    path = folder.trial_folder(folder.plan[0])
    path.mkdir()
    data = {
        "status": "ok",
        "metrics": {},
        "diagnostics": {},
        "timings": {"distill_s": 3600.0, "distill_cost_s": 3600.0},
    }
    write_json(path / "trial.json", {**data, **more})


def asked(trials_per_gpu: str | None = None, **more: Any) -> Asked:
    plain = Asked("local", None, None, "auto", None, trials_per_gpu)
    return plain._replace(**more)


@pytest.mark.parametrize(
    ("given", "start"),
    [
        (asked(), "40 left, 2 at a time: about 20 hours"),
        (asked("1"), "40 left, 2 at a time: about 20 hours"),
        (asked("4"), "40 left, 8 at a time: about 5 hours"),
        (asked("64"), "40 left, 16 at a time: about 3 hours"),  # by the CPUs
        (asked("4", cpus_per_trial=8.0), "40 left, 2 at a time: about 20 hours"),
        (asked(gpus_per_trial=0.5), "40 left, 4 at a time: about 10 hours"),
        (asked(address="inline"), "40 left, 1 at a time: about 40 hours"),
        (asked(address="a:1"), "40 left, one at a time (what runs there is not known): about 40"),
    ],
)
def test_hours_are_those_of_the_resources(folder: SearchFolder, given: Asked, start: str) -> None:
    finish(folder)
    assert describe_plan(folder, given).startswith(start)


def test_auto_packs_by_what_was_measured(folder: SearchFolder) -> None:
    phases = {"distill": {"peak_gib": 1.0, "used_gib": 20.0, "gpu_s": 1.0}}
    gpu = {"share": 1.0, "total_gib": 80.0, "utilisation": 0.4}
    finish(folder, phases=phases, gpu=gpu)
    said = describe_plan(folder, asked("auto"))
    assert said.startswith("40 left, 6 at a time: about 7 hours")
    assert said.endswith(
        "packing: one trial took 20.00 of 80.00 GiB (phase distill), 40% busy: 3 a GPU, limited by "
        "memory"
    )


def test_auto_knows_nothing_before_a_trial_is_done(folder: SearchFolder) -> None:
    finish(folder)  # as an older version recorded it
    said = describe_plan(folder, asked("auto"))
    assert said.startswith("40 left, 2 at a time: about 20 hours")
    assert said.endswith("how many share a GPU is measured by the first trial")


@pytest.mark.parametrize("text", ["0", "-1", "65", "1.5", "many", "", "²"])
def test_a_number_that_is_none(folder: SearchFolder, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        describe_plan(folder, asked(text))
    expected = f"--trials-per-gpu: got '{text}', expected auto or a number from 1 to 64"
    assert str(caught.value) == expected


@pytest.mark.parametrize("text", ["2", "auto"])
def test_both_ways_to_say_it(folder: SearchFolder, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        describe_plan(folder, asked(text, gpus_per_trial=0.5))
    assert str(caught.value) == (
        f"--trials-per-gpu: got '{text}', but --gpus-per-trial 0.5 says the same in another way; "
        "leave one of them out"
    )
