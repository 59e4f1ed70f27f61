"""The model of the controller against queueing theory, and the controller on pretended GPUs."""

import random
from pathlib import Path

import pytest

from tests.simulated.events import (
    Load,
    constant_idle_share,
    exponential_idle_share,
    idle_share,
    most_gpus,
)
from tests.simulated.runs import Work, run_pretended

CONSTANT = [
    Load(1, 1.0, 0.5),
    Load(1, 60.0, 0.01, reports=3),
    Load(4, 10.0, 1.0),
    Load(64, 2.0, 0.01),
    Load(11, 10.0, 1.0),  # the controller just keeps up
    Load(20, 10.0, 1.0),
    Load(512, 60.0, 0.5, reports=2),
]


@pytest.mark.parametrize("load", CONSTANT)
def test_where_nothing_varies_gpus_wait_for_themselves_or_in_turn(load: Load) -> None:
    found = idle_share(load, rounds=50)
    assert found == pytest.approx(constant_idle_share(load), abs=0.02)


@pytest.mark.parametrize("load", [Load(1, 1.0, 0.5), Load(5, 4.0, 1.0), Load(20, 10.0, 0.4)])
def test_exponential_times_are_the_machine_repairman(load: Load) -> None:
    generator = random.Random(1)
    found = idle_share(
        load,
        rounds=20_000 // load.gpus,
        work=lambda mean: generator.expovariate(1 / mean),
        service=lambda mean: generator.expovariate(1 / mean),
    )
    assert found == pytest.approx(exponential_idle_share(load), abs=0.02)


def test_the_closed_form_itself_at_one_machine() -> None:
    # Alone, a machine is away for a share cost / (cost + seconds) of the time.
    assert exponential_idle_share(Load(1, 3.0, 1.0)) == pytest.approx(0.25)


def test_the_most_gpus_are_those_that_the_controller_can_serve() -> None:
    # Constant times: GPUs wait from seconds / cost on; at 5% idle there are a twentieth more.
    found = most_gpus(Load(1, 60.0, 0.5), 0.05, lambda mean: mean)
    assert found == pytest.approx(120 / 0.95, rel=0.03)
    assert most_gpus(Load(1, 1.0, 0.5), 0.05, lambda mean: mean) == 0


@pytest.mark.ray
@pytest.mark.slow
def test_every_result_arrives_once(tmp_path: Path) -> None:
    trials, gpus = 150, 16
    run = run_pretended(tmp_path / "out", Work(0.2, reports=2), trials=trials, gpus=gpus)
    assert run.folder.counts() == {"ok": trials}
    planned = [trial.trial_id for trial in run.folder.plan]
    assert sorted(step.trial_id for step in run.steps) == sorted(planned * 2)
    ended = [line.split()[0] for line in run.lines]
    assert sorted(ended) == sorted(planned)  # one line each, and none besides
    assert run.most_at_once <= gpus
    assert 0.0 <= run.waited_s <= run.wall_s
    assert 0.0 <= run.idle_share(gpus) < 1.0


@pytest.mark.ray
@pytest.mark.slow
def test_trials_are_packed_by_the_first_ones(tmp_path: Path) -> None:
    record = {
        "phases": {"distill": {"peak_gib": 8.0, "used_gib": 10.0, "gpu_s": 1.0}},
        "gpu": {"share": 1.0, "total_gib": 80.0, "utilisation": 0.3},
    }
    work = Work(1.0, record=record)
    run = run_pretended(tmp_path / "out", work, trials=20, gpus=2, measure=True)
    assert run.folder.counts() == {"ok": 20}
    (line,) = [line for line in run.lines if line.startswith("packing: ")]
    assert line == (
        "packing: one trial took 10.00 of 80.00 GiB (phase distill), 30% busy: 3 a GPU, limited by "
        "utilisation"
    )
    assert run.lines.index(line) == 2  # one trial on each GPU was measured
    first = [step for step in run.steps if step.trial_id in {x.split()[0] for x in run.lines[:2]}]
    rest = [step for step in run.steps if step not in first]
    assert max(step.end for step in first) <= min(step.start for step in rest)
    assert 2 < run.most_at_once <= 6
