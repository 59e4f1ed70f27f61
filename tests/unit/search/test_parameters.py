"""Tests of harness.search.parameters."""

import math
import random
from typing import Any

import pytest

from harness.errors import ConfigError
from harness.search.parameters import KINDS, Parameter, read_parameter


def read(entry: dict[str, Any]) -> Parameter:
    return read_parameter("ipc", entry, "a.toml")


@pytest.mark.parametrize(
    ("entry", "values"),
    [
        ({"grid": [1, 10]}, (1, 10)),
        ({"choice": ["similar", [{"network": "mlp", "weight": 1.0}]]}, None),
        ({"uniform": [0, 1.0]}, (0, 1.0)),
        ({"loguniform": [1e-3, 1]}, (1e-3, 1)),
        ({"randint": [-1, 3]}, (-1, 3)),
    ],
)
def test_entries(entry: dict[str, Any], values: tuple[Any, ...] | None) -> None:
    (kind,) = entry
    parameter = read(entry)
    expected = tuple(entry[kind]) if values is None else values
    assert parameter == Parameter("ipc", kind, expected)


@pytest.mark.parametrize(
    "when",
    [
        {"kd.variant": "softened", "ipc": [1, 10]},
        {"kd": {"variant": "softened"}, "ipc": [1, 10]},
    ],
)
def test_conditions_by_bare_and_quoted_names(when: dict[str, Any]) -> None:
    parameter = read({"grid": [1], "when": when})
    assert parameter.when == (("kd.variant", "softened"), ("ipc", [1, 10]))


@pytest.mark.parametrize(
    ("values", "active"),
    [
        ({"kd.variant": "softened", "ipc": 1}, True),
        ({"kd.variant": "softened", "ipc": 10}, True),
        ({"kd.variant": "softened", "ipc": 50}, False),
        ({"kd.variant": "off", "ipc": 1}, False),
    ],
)
def test_all_conditions_must_hold(values: dict[str, Any], active: bool) -> None:
    when = (("kd.variant", "softened"), ("ipc", [1, 10]))
    assert Parameter("kd.temperature", "grid", (1.0,), when).is_active(values) is active
    assert Parameter("kd.temperature", "grid", (1.0,)).is_active(values)


KIND_LIST = "grid, choice, uniform, loguniform, randint"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, f"got [], expected one of {KIND_LIST}"),
        ({"when": {}}, f"got ['when'], expected one of {KIND_LIST}"),
        ({"grid": [1], "choice": [1]}, f"got ['choice', 'grid'], expected one of {KIND_LIST}"),
        (
            {"gridd": [1]},
            "unknown kind 'gridd'; did you mean 'grid'? "
            "known: choice, grid, loguniform, randint, uniform",
        ),
    ],
)
def test_an_entry_has_one_kind(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(entry)
    assert str(caught.value) == f"a.toml: space.ipc: {message}"


INTEGERS = "expected two integers [low, high] with low < high"
NUMBERS = "expected two numbers [low, high] with low < high"


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        *((kind, 3, "got 3, expected a list of values") for kind in KINDS),
        *((kind, [], "got [], expected a list of values") for kind in KINDS),
        ("grid", [1, 2, 1], "a value is listed twice: [1, 2, 1]"),
        ("choice", [0.5, 0.5], "a value is listed twice: [0.5, 0.5]"),
        ("grid", [1, 1.0], "a value is listed twice: [1, 1.0]"),
        ("uniform", [1, 0], f"got [1, 0], {NUMBERS}"),
        ("uniform", [1, 1], f"got [1, 1], {NUMBERS}"),
        ("uniform", [1], f"got [1], {NUMBERS}"),
        ("uniform", [1, 2, 3], f"got [1, 2, 3], {NUMBERS}"),
        ("uniform", ["0", "1"], f"got ['0', '1'], {NUMBERS}"),
        ("uniform", [False, True], f"got [False, True], {NUMBERS}"),
        ("uniform", [0, math.inf], f"got [0, inf], {NUMBERS}"),
        ("loguniform", [math.nan, 1], f"got [nan, 1], {NUMBERS}"),
        ("loguniform", [0, 1], "got [0, 1], expected low > 0 for a logarithmic scale"),
        ("loguniform", [-1, 1], "got [-1, 1], expected low > 0 for a logarithmic scale"),
        ("randint", [0.0, 2.0], f"got [0.0, 2.0], {INTEGERS}"),
        ("randint", [2, 1], f"got [2, 1], {INTEGERS}"),
        ("randint", [False, 3], f"got [False, 3], {INTEGERS}"),
    ],
)
def test_values_and_bounds(kind: str, values: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read({kind: values})
    assert str(caught.value) == f"a.toml: space.ipc.{kind}: {message}"


def test_conditions_are_a_table() -> None:
    with pytest.raises(ConfigError) as caught:
        read({"grid": [1], "when": "kd.variant"})
    assert str(caught.value) == "a.toml: space.ipc.when: got 'kd.variant', expected a table"


# --- samples --------------------------------------------------------------------------------


def samples(kind: Any, *values: Any, count: int = 4000) -> list[Any]:
    rng = random.Random(0)
    return [Parameter("x", kind, values).sample(rng) for _ in range(count)]


def test_choices_are_uniform() -> None:
    drawn = samples("choice", "a", "b", None)
    assert set(drawn) == {"a", "b", None}
    assert abs(drawn.count("a") / len(drawn) - 1 / 3) < 4 * math.sqrt(2 / 9 / len(drawn))


def test_integer_bounds_are_inclusive() -> None:
    drawn = samples("randint", 2, 4)
    assert set(drawn) == {2, 3, 4}
    assert all(type(value) is int for value in drawn)


def test_uniform() -> None:
    drawn = samples("uniform", 2, 4)
    assert all(2 <= value <= 4 for value in drawn)
    assert abs(sum(drawn) / len(drawn) - 3) < 4 * (2 / math.sqrt(12 * len(drawn)))


def test_loguniform_is_uniform_in_the_exponent() -> None:
    drawn = samples("loguniform", 1e-4, 1)
    assert all(1e-4 <= value <= 1 for value in drawn)
    below = sum(value < 1e-2 for value in drawn) / len(drawn)
    assert abs(below - 0.5) < 4 * math.sqrt(0.25 / len(drawn))


def test_loguniform_never_leaves_its_bounds_by_rounding() -> None:
    class Edge(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return math.nextafter(b, math.inf)

    parameter = Parameter("x", "loguniform", (0.1, 0.3))
    assert parameter.sample(Edge()) == 0.3
