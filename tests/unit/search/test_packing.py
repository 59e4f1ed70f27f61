"""Tests of harness.search.packing."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from harness.records import write_json
from harness.search.folder import SearchFolder, open_search
from harness.search.packing import (
    MOST,
    Measured,
    choose_packing,
    find_measured,
    gpu_share,
    most_costly,
    read_measured,
)
from harness.search.space import read_space

SPACE = """
[base]
network.width = 8
outer_loop = 1
inner_loop = 1
[space]
ipc = { grid = [1, 20, 10] }
"""


def measured(total: float = 80.0, utilisation: float | None = None, **used: float) -> Measured:
    return Measured(total, used or {"distill": 10.0}, utilisation)


def record(**more: Any) -> dict[str, Any]:
    return {
        "status": "ok",
        "metrics": {},
        "diagnostics": {},
        "timings": {"distill_s": 5.0, "distill_cost_s": 5.0},
        "phases": {
            "distill": {"peak_gib": 1.0, "used_gib": 3.0, "gpu_s": 5.0},
            "evaluate": {"peak_gib": 2.0, "used_gib": 4.0, "gpu_s": 1.0},
        },
        "gpu": {"share": 1.0, "total_gib": 80.0, "utilisation": 0.25},
        **more,
    }


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    found = open_search(tmp_path, read_space(tomllib.loads(SPACE), "a.toml", {}))
    found.prepare()
    return found


def finish(folder: SearchFolder, number: int, data: dict[str, Any]) -> None:
    path = folder.trial_folder(folder.plan[number])
    path.mkdir()
    write_json(path / "trial.json", data)


# --- the number ---------------------------------------------------------------------------


def test_memory_alone_limits_where_utilisation_is_unknown() -> None:
    found = choose_packing(measured(), cpu_slots=100)
    assert found.number == 6  # 80 * 0.95 / (10 * 1.15)
    assert found.reason == (
        "one trial took 10.00 of 80.00 GiB (phase distill), unknown utilisation (no nvidia-smi): "
        "6 a GPU, limited by memory"
    )


def test_the_largest_phase_counts() -> None:
    found = choose_packing(measured(distill=2.0, evaluate=30.0, quick=1.0), cpu_slots=100)
    assert found.number == 2
    assert "took 30.00 of 80.00 GiB (phase evaluate)" in found.reason


@pytest.mark.parametrize(
    ("busy", "number"), [(1.0, 1), (0.9, 1), (0.89, 2), (0.45, 2), (0.3, 3), (0.29, 4), (0.0, 6)]
)
def test_a_gpu_that_is_busy_has_no_room(busy: float, number: int) -> None:
    assert choose_packing(measured(utilisation=busy), cpu_slots=100).number == number


def test_the_cpus_limit() -> None:
    found = choose_packing(measured(utilisation=0.1), cpu_slots=4.0)
    assert found.number == 4
    assert found.reason.endswith("10% busy: 4 a GPU, limited by the CPUs")


@pytest.mark.parametrize(
    ("found", "cpu_slots"),
    [(measured(distill=79.0), 100.0), (measured(distill=200.0), 100.0), (measured(), 0.25)],
)
def test_one_trial_is_the_least(found: Measured, cpu_slots: float) -> None:
    assert choose_packing(found, cpu_slots).number == 1


def test_tiny_trials_have_a_limit_too() -> None:
    found = measured(distill=1e-3, utilisation=1e-4)
    assert choose_packing(found, 1e6).number == MOST
    assert choose_packing(measured(distill=0.0), 1e6).number == MOST


@pytest.mark.parametrize("number", range(1, MOST + 1))
def test_so_many_shares_and_no_more_are_a_gpu(number: int) -> None:
    share = round(gpu_share(number) * 10_000)  # as Ray counts
    assert share == pytest.approx(gpu_share(number) * 10_000)
    assert number * share <= 10_000 < (number + 1) * share


# --- what was measured --------------------------------------------------------------------


def test_a_record_of_a_trial_alone_on_its_gpu_is_a_measurement() -> None:
    found = read_measured(record())
    assert found == Measured(80.0, {"distill": 3.0, "evaluate": 4.0}, 0.25)


@pytest.mark.parametrize(
    "data",
    [
        None,
        record(status="oom"),
        record(gpu=None),
        record(gpu={"share": 0.5, "total_gib": 80.0, "utilisation": None}),
        record(timings={"distill_s": 0.1, "distill_cost_s": 5.0}),  # from the store
        record(phases={"distill": {"peak_gib": 1.0, "used_gib": None, "gpu_s": 0.0}}),
        {name: item for name, item in record().items() if name not in ("gpu", "phases")},
    ],
    ids=["none", "oom", "cpu", "shared", "from-store", "unmeasured", "older"],
)
def test_other_records_are_none(data: dict[str, Any] | None) -> None:
    assert read_measured(data) is None


def test_the_most_costly_measurement_is_found(folder: SearchFolder) -> None:
    assert [trial.config.ipc for trial in most_costly(folder.plan)] == [20, 10, 1]
    assert find_measured(folder) is None
    finish(folder, 0, record())
    finish(folder, 2, record(gpu={"share": 1.0, "total_gib": 40.0, "utilisation": None}))
    finish(folder, 1, record(status="oom"))
    found = find_measured(folder)
    assert found is not None
    assert found.total_gib == 40.0
