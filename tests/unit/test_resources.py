"""Tests of harness.tune.resources."""

import pytest

from harness.errors import ConfigError
from harness.tune.resources import Resources


def slots(cpus: int, gpus: int, cpus_per_trial: float, gpus_per_trial: float) -> int:
    return Resources(cpus, gpus, cpus_per_trial, gpus_per_trial).slots()


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ((8, 0, 2, 0), 4),
        ((8, 2, 1, 1), 2),
        ((8, 4, 1, 2), 2),
        ((64, 2, 1, 0.5), 4),
        ((64, 2, 1, 0.4), 4),  # two on each, not five on both
        ((64, 3, 1, 0.6), 3),
        ((3, 2, 1, 0.25), 3),
        ((1, 1, 0.1, 1.0), 1),
        ((2, 0, 0.1, 0), 20),
    ],
)
def test_trials_at_a_time(given: tuple[int, int, float, float], number: int) -> None:
    assert slots(*given) == number


@pytest.mark.parametrize("number", [1, 3, 7, 33, 64])
@pytest.mark.parametrize("gpus", [1, 8])
def test_packed(number: int, gpus: int) -> None:
    found = Resources(1000, gpus, 1, 1.0, measure=True).packed(number)
    assert found.slots() == number * gpus
    assert not found.measure


def test_the_cpus_of_a_gpu() -> None:
    assert int(Resources(16, 4, 2, 1.0).cpu_slots()) == 2
    assert int(Resources(3, 1, 0.3, 1.0).cpu_slots()) == 10


def test_no_trial_fits() -> None:
    with pytest.raises(ConfigError, match="asks for 1 CPUs and 2 GPUs, but this process may use"):
        slots(4, 1, 1, 2)
