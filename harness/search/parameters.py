"""The parameters of a search space: which values a setting may take, and when it counts."""

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.errors import ConfigError, suggest

Kind = Literal["grid", "choice", "uniform", "loguniform", "randint"]
KINDS: tuple[Kind, ...] = ("grid", "choice", "uniform", "loguniform", "randint")
Point = dict[str, Any]
"""Dotted setting -> value: what one configuration of a search sets."""


@dataclass(frozen=True)
class Parameter:
    """One varied setting.

    Attributes:
        name: Dotted name of the setting.
        kind: How ``values`` is read: the values of a grid or choice, or two inclusive bounds.
        values: Plain values, at least one; for bounds (low, high) with low < high.
        when: Setting -> value or list of values; the parameter counts only where all hold.
    """

    name: str
    kind: Kind
    values: tuple[Any, ...]
    when: tuple[tuple[str, Any], ...] = ()

    def sample(self, rng: random.Random) -> Any:
        """Draw a value of a kind other than ``grid``."""
        if self.kind == "choice":
            return rng.choice(self.values)
        low, high = self.values
        if self.kind == "randint":
            return rng.randint(low, high)
        if self.kind == "uniform":
            return rng.uniform(low, high)
        drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
        return min(max(drawn, low), high)

    def is_active(self, value_of: Mapping[str, Any]) -> bool:
        """Whether the parameter counts, given the values of other settings."""
        for name, expected in self.when:
            allowed = expected if isinstance(expected, list) else [expected]
            if value_of[name] not in allowed:
                return False
        return True


def read_parameter(name: str, entry: Mapping[str, Any], where: str) -> Parameter:
    """Check one entry of ``[space]``.

    Args:
        name: Dotted name of the setting.
        entry: For example ``{"grid": [0.5, 1.0], "when": {"kd.variant": "softened"}}``.
        where: Name of the file, for messages.

    Raises:
        ConfigError: With where, got, expected.
    """
    kinds = [key for key in entry if key != "when"]
    if len(kinds) != 1:
        raise ConfigError(
            f"{where}: space.{name}: got {sorted(entry)}, expected one of {', '.join(KINDS)}"
        )
    kind = kinds[0]
    if kind not in KINDS:
        raise ConfigError(f"{where}: space.{name}: unknown kind '{kind}'; {suggest(kind, KINDS)}")
    values = entry[kind]
    if not isinstance(values, list) or not values:
        raise ConfigError(
            f"{where}: space.{name}.{kind}: got {values!r}, expected a list of values"
        )
    if kind in ("grid", "choice"):
        if any(value in values[:i] for i, value in enumerate(values)):
            raise ConfigError(f"{where}: space.{name}.{kind}: a value is listed twice: {values}")
    else:
        _check_bounds(values, f"{where}: space.{name}.{kind}", kind)
    when = entry.get("when", {})
    if not isinstance(when, dict):
        raise ConfigError(f"{where}: space.{name}.when: got {when!r}, expected a table")
    return Parameter(name, kind, tuple(values), tuple(_flatten_when(when)))


def _check_bounds(values: list[Any], where: str, kind: str) -> None:
    types = (int,) if kind == "randint" else (int, float)
    numbers = [value for value in values if type(value) in types and math.isfinite(value)]
    if len(numbers) != len(values) or len(values) != 2 or values[0] >= values[1]:
        noun = "integers" if kind == "randint" else "numbers"
        raise ConfigError(f"{where}: got {values}, expected two {noun} [low, high] with low < high")
    if kind == "loguniform" and values[0] <= 0:
        raise ConfigError(f"{where}: got {values}, expected low > 0 for a logarithmic scale")


def _flatten_when(when: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Read bare and quoted dotted names alike."""
    for key, value in when.items():
        if isinstance(value, dict):
            yield from _flatten_when(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
