"""Tests of harness.search.front, against the definition over all pairs."""

import random

import pytest

from harness.search.front import non_dominated


def by_definition(rows: list[tuple[float, ...]], modes: list[str]) -> list[int]:
    def better(a: float, b: float, mode: str) -> bool:
        return a > b if mode == "max" else a < b

    found = []
    for i, row in enumerate(rows):
        beaten = False
        for other in rows:
            triples = list(zip(other, row, modes, strict=True))
            worse_nowhere = not any(better(b, a, mode) for a, b, mode in triples)
            better_somewhere = any(better(a, b, mode) for a, b, mode in triples)
            beaten = beaten or (worse_nowhere and better_somewhere)
        if not beaten:
            found.append(i)
    return found


@pytest.mark.parametrize("modes", [["max", "min"], ["max"], ["min", "min", "max"]])
def test_the_front_is_that_of_the_definition(modes: list[str]) -> None:
    rng = random.Random(0)
    for _ in range(30):
        rows = [tuple(float(rng.randint(0, 4)) for _ in modes) for _ in range(12)]
        assert non_dominated(rows, modes) == by_definition(rows, modes)


def test_equal_rows_stay_together() -> None:
    assert non_dominated([(1.0, 2.0), (1.0, 2.0), (0.0, 3.0)], ["max", "min"]) == [0, 1]
