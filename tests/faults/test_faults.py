"""A seeded matrix of faults over running searches: after each, the rows of an undisturbed run."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.matrix import FAULTS, Fault
from tests.faults.scene import TRIALS, Rows, Scene, rows

SAMPLE = {
    "killed-in-a-step-1",
    "killed-while-a-file-is-synced-2",
    "terminated-in-a-step-0",
    "a-state-is-truncated-0",
    "the-disk-is-full-at-some-write-0",
    "one-of-two-searches-over-one-store-is-killed-0",
    "a-holder-s-clock-stands-still-0",
    "the-plan-is-truncated-1",
}


def parameters() -> list[Any]:
    found = []
    for item in FAULTS:
        marks = [pytest.mark.fault]
        if item.kind == "ray":
            marks.append(pytest.mark.ray)
        if item.name in SAMPLE:
            marks.append(pytest.mark.sample)
        found.append(pytest.param(item, id=item.name, marks=marks))
    return found


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rows, dict[str, int]]:
    """Rows of an undisturbed run, and the number of calls at each point of it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    scene = Scene(folder, random.Random(0), {}, {})
    said = scene.start(counts=folder / "counts.json").wait()
    assert said.status == 0, said.out
    found = rows(scene.out)
    assert len(found) == TRIALS
    assert all(len(own) == 2 for own in found.values())
    return found, json.loads((folder / "counts.json").read_text())


@pytest.fixture
def scene(tmp_path: Path, undisturbed: tuple[Rows, dict[str, int]]) -> Iterator[Scene]:
    made = Scene(tmp_path, random.Random(0), *undisturbed)
    yield made
    made.settle()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", parameters())
def test_a_fault_loses_and_repeats_nothing(scene: Scene, fault: Fault) -> None:
    scene.rng = random.Random(fault.seed)
    scene.report_every = 1 if fault.kind == "ray" else 500
    fault.happen(scene)
    scene.check()


@pytest.mark.sample
def test_the_matrix_is_as_large_as_it_says() -> None:
    assert len(FAULTS) >= 40
    assert len({item.name for item in FAULTS}) == len(FAULTS)
    assert {item.name for item in FAULTS} >= SAMPLE


@pytest.mark.sample
def test_the_check_can_fail(scene: Scene) -> None:
    """Rows of another seed are not those of the undisturbed run."""
    assert scene.run("--set", "seed=1").status == 0
    assert rows(scene.out) != scene.reference
