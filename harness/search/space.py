"""Search spaces: a TOML file, checked, as configurations to try."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness import seeding
from harness.config import BASELINES, TrialConfig, make_config
from harness.dotted import get_dotted, is_setting, set_dotted, setting_names
from harness.errors import ConfigError, suggest
from harness.search.algorithms import check_parameters
from harness.search.parameters import KINDS, Parameter, Point, read_parameter
from harness.search.settings import SearchSettings as SearchSettings

_EXAMPLES = 64
_TABLES = ("title", "question", "base", "space", "search")


@dataclass(frozen=True)
class Space:
    """A checked search space.

    Attributes:
        name: Of the file, without its ending.
        title: One line.
        question: What the search answers.
        base: Dotted setting -> value, for every trial.
        parameters: The varied settings, in the file's order.
        search: How they are searched.
    """

    name: str
    title: str
    question: str
    base: dict[str, Any]
    parameters: tuple[Parameter, ...]
    search: SearchSettings = field(default_factory=SearchSettings)

    def points(self) -> Iterator[Point]:
        """Yield every configuration that can be planned before the first result, in order.

        The same each time; a random configuration depends on (``base`` seed, its number) alone. An
        adaptive search has none.
        """
        if self.search.algorithm == "grid":
            yield from self._grid({}, list(self.parameters))
        elif not self.search.adaptive:
            yield from self._samples(self.search.samples or 0)

    def examples(self) -> Iterator[Point]:
        """Yield configurations to check before anything starts: all, or random ones."""
        if self.search.adaptive:
            yield from self._samples(_EXAMPLES)
        else:
            yield from self.points()

    def sample(self, number: int) -> Point:
        """Draw a configuration; it depends on (``base`` seed, its number) alone."""
        rng = seeding.python_random(self.base.get("seed", 0), "sample", number)
        point: Point = {}
        waiting = list(self.parameters)
        while waiting:
            parameter = self._ready(waiting)
            waiting.remove(parameter)
            # Drawn even where it does not count, so that a condition shifts no other draw.
            value = parameter.sample(rng)
            if parameter.is_active(self._values(point)):
                point[parameter.name] = value
        return point

    def choose(self, pick: Callable[[Parameter], Any]) -> Point:
        """Make a point by picking a value for each parameter whose conditions hold, in order."""
        point: Point = {}
        waiting = list(self.parameters)
        while waiting:
            parameter = self._ready(waiting)
            waiting.remove(parameter)
            if parameter.is_active(self._values(point)):
                point[parameter.name] = pick(parameter)
        return point

    def config(self, point: Point, *, replicate: int = 0) -> TrialConfig:
        """The trial of a point.

        Raises:
            ConfigError: The point and the base do not make a legal trial.
        """
        data: dict[str, Any] = {}
        for name, value in {**self.base, **point}.items():
            set_dotted(data, name, value)
        shown = ", ".join(f"{name} = {value}" for name, value in point.items())
        config = make_config(data, f"{self.name} ({shown})" if shown else self.name)
        return config.model_copy(update={"seed": config.seed + replicate})

    def resolved(self) -> dict[str, Any]:
        """The space as plain data for ``search.toml``; equal spaces have equal data."""
        parameters = {}
        for parameter in self.parameters:
            entry: dict[str, Any] = {parameter.kind: list(parameter.values)}
            if parameter.when:
                entry["when"] = dict(parameter.when)
            parameters[parameter.name] = entry
        search = self.search.model_dump(mode="json", exclude_none=True)
        if search["allocate"] == "all":
            del search["allocate"]  # as it was before there was another
        if not self.search.stops_early:
            del search["scheduler"]
        return {
            "title": self.title,
            "question": self.question,
            "base": self.base,
            "space": parameters,
            "search": search,
        }

    def taken(self, name: str) -> tuple[Any, ...]:
        """Values, or bounds, that a setting takes in its trials."""
        parameter = next((item for item in self.parameters if item.name == name), None)
        if parameter is not None and not parameter.when:
            return parameter.values
        fixed = self.base.get(name, get_dotted(make_config({}), name))
        return (fixed,) if parameter is None else (fixed, *parameter.values)

    def most_iterations(self) -> int:
        """Iterations of its longest trials; 0 where no method has any."""
        distils = any(method not in BASELINES for method in self.taken("method"))
        return int(max(self.taken("iterations"))) if distils else 0

    def first_report(self) -> int:
        """Iteration of the first report of any trial."""
        return int(min(self.taken("run.report_every")))

    def _values(self, point: Point) -> Mapping[str, Any]:
        """Values that conditions are judged by: the point, else the base, else the default."""
        return _Fallback(self.base, point)

    def _ready(self, waiting: list[Parameter]) -> Parameter:
        """The first parameter whose conditions name none that is still waiting."""
        names = {parameter.name for parameter in waiting}
        for parameter in waiting:
            if not names & {name for name, _ in parameter.when}:
                return parameter
        raise AssertionError("conditions go in a circle, which read_space refuses")

    def _grid(self, point: Point, waiting: list[Parameter]) -> Iterator[Point]:
        if not waiting:
            yield point
            return
        parameter = self._ready(waiting)
        rest = [other for other in waiting if other is not parameter]
        if not parameter.is_active(self._values(point)):
            yield from self._grid(point, rest)
            return
        for value in parameter.values:
            yield from self._grid({**point, parameter.name: value}, rest)

    def _samples(self, count: int) -> Iterator[Point]:
        return (self.sample(number) for number in range(count))


class _Fallback(dict[str, Any]):
    """Setting -> value, with the default config's value for what is not set."""

    def __init__(self, base: Mapping[str, Any], point: Mapping[str, Any]) -> None:
        super().__init__({**base, **point})

    def __missing__(self, name: str) -> Any:
        return get_dotted(make_config({}), name)


def bundled_spaces() -> list[str]:
    """Names of the spaces that come with the project."""
    folder = resources.files("search_spaces")
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def space_text(name: str) -> str:
    """The TOML text of a bundled space or of a file.

    Raises:
        ConfigError: There is no such space and no such file.
    """
    if name in bundled_spaces():
        return (resources.files("search_spaces") / f"{name}.toml").read_text(encoding="utf-8")
    path = Path(name)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: not a text file ({error.reason}); expected TOML") from None
    except OSError as error:
        raise ConfigError(
            f"space '{name}': neither a bundled space nor a readable file ({error.strerror}); "
            f"{suggest(name, bundled_spaces())}"
        ) from None


def load_space(name: str, overrides: Mapping[str, Any] | None = None) -> Space:
    """Load a bundled space by name, or a file.

    Args:
        name: Bundled name or path.
        overrides: Dotted setting -> value, from ``--set``. A setting that the space varies is
            pinned to the value; ``search.<key>`` changes how it is searched.

    Raises:
        ConfigError: The file is not there, is not TOML, or something in it is wrong.
    """
    label = name if name in bundled_spaces() else Path(name).name
    try:
        data = tomllib.loads(space_text(name))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{label}: broken TOML: {error}") from None
    return read_space(data, label, overrides or {})


def read_space(data: Mapping[str, Any], label: str, overrides: Mapping[str, Any]) -> Space:
    """Check a space given as plain data; see ``load_space``."""
    for key in data:
        if key not in _TABLES:
            raise ConfigError(f"{label}: unknown table '{key}'; {suggest(key, _TABLES)}")
    base = _settings(data, "base", label)
    search = dict(_table(data, "search", label))
    entries = _settings(data, "space", label)
    for name, value in overrides.items():
        if name.startswith("search."):
            search[name.removeprefix("search.")] = value
        else:
            entries.pop(name, None)
            base[name] = value
    _check_names([*base, *entries], label)
    parameters = tuple(
        read_parameter(name, _entry(name, entry, label), label) for name, entry in entries.items()
    )
    if not parameters and not overrides:
        raise ConfigError(
            f"{label}: the space is empty; vary a setting in [space], for example "
            "'pool.main_probability = { grid = [0.5, 1.0] }', or use 'harness run'"
        )
    space = Space(
        name=Path(label).stem,
        title=_text(data, "title", label),
        question=_text(data, "question", label),
        base=base,
        parameters=parameters,
        search=_search_settings(search, label),
    )
    _check_space(space, label)
    return space


def with_samples(space: Space, samples: int) -> Space:
    """The space with another number of samples (``--samples``)."""
    search = {**space.search.model_dump(exclude_none=True), "samples": samples}
    return replace(space, search=_search_settings(search, space.name))


def _table(data: Mapping[str, Any], key: str, label: str) -> Mapping[str, Any]:
    table = data.get(key, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{label}: {key}: got {table!r}, expected a table [{key}]")
    return table


def _settings(data: Mapping[str, Any], key: str, label: str) -> dict[str, Any]:
    """Dotted setting -> value or entry, of ``[base]`` or ``[space]``."""
    found: dict[str, Any] = {}
    for name, value in _flatten(_table(data, key, label)):
        if name in found:
            raise ConfigError(f"{label}: '{name}' is in [{key}] twice; keep one")
        found[name] = value
    return found


def _text(data: Mapping[str, Any], key: str, label: str) -> str:
    text = data.get(key, "")
    if not isinstance(text, str):
        raise ConfigError(f"{label}: {key}: got {text!r}, expected a string")
    return text


def _entry(name: str, entry: Any, label: str) -> Mapping[str, Any]:
    if not isinstance(entry, dict):
        raise ConfigError(
            f"{label}: space.{name}: got {entry!r}, expected a table such as {{ grid = [...] }}; "
            "a fixed value belongs in [base]"
        )
    return entry


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values; quoted and bare names, and nested tables, are the same.

    A table under a setting's own name is its value; so is one that holds a kind of values.
    """
    known = set(setting_names())
    for key, value in table.items():
        name = prefix + key
        is_section = isinstance(value, dict) and name not in known and not {*KINDS} & {*value}
        if not is_section:
            yield name, value
        else:
            yield from _flatten(value, f"{name}.")


def _check_names(names: list[str], label: str) -> None:
    for name in names:
        try:
            set_dotted({}, name, None)
        except ConfigError as error:
            raise ConfigError(f"{label}: {error}") from None
        if names.count(name) > 1:
            raise ConfigError(f"{label}: '{name}' is in [base] and in [space]; keep one")


def _search_settings(search: Mapping[str, Any], label: str) -> SearchSettings:
    try:
        return SearchSettings.model_validate(search)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(["search", *map(str, first["loc"])])
        if first["type"] == "value_error":
            raise ConfigError(f"{label}: {first['ctx']['error']}") from None
        if first["type"] == "extra_forbidden":
            known = SearchSettings.model_fields
            key = str(first["loc"][0])
            raise ConfigError(f"{label}: unknown key '{where}'; {suggest(key, known)}") from None
        expected = first["msg"].removeprefix("Input should be ")
        raise ConfigError(
            f"{label}: {where}: got {first['input']!r}, expected {expected}"
        ) from None


def _check_space(space: Space, label: str) -> None:
    """Check what no single entry shows: kinds, conditions, and every grid configuration."""
    names = setting_names()
    varied = {parameter.name: parameter for parameter in space.parameters}
    check_parameters(space.search.algorithm, space.parameters, label)
    for parameter in space.parameters:
        for name, expected in parameter.when:
            if not is_setting(name):
                raise ConfigError(
                    f"{label}: space.{parameter.name}.when: unknown setting '{name}'; "
                    f"{suggest(name, names)}"
                )
            _check_reachable(parameter, expected, varied.get(name), label)
        _check_circle(parameter, varied, label)
    if "seed" in varied and space.search.replicates > 1:
        raise ConfigError(f"{label}: 'seed' is varied and search.replicates > 1; keep one of them")
    choosing = {
        "algorithm": space.search.adaptive,
        "allocate": space.search.allocate == "racing",
        "scheduler": space.search.stops_early,
    }
    for key, chooses in choosing.items():
        if chooses and "paper" in _protocols(space, varied):
            raise ConfigError(
                f"{label}: search.{key}: got '{getattr(space.search, key)}', but protocol 'paper' "
                "has test images only, which are never optimised; use 'grid' or 'random', 'all' "
                "and 'none', or protocol = 'held-out'"
            )
    _check_examples(space)
    _check_scheduler(space, label)


def _check_scheduler(space: Space, label: str) -> None:
    """Refuse early stopping that never could stop anything."""
    search = space.search
    if not search.stops_early:
        return
    most, first = space.most_iterations(), space.first_report()
    if not most:
        raise ConfigError(
            f"{label}: search.scheduler: got '{search.scheduler}', but no method of the space has "
            "iterations; use 'none'"
        )
    if first >= most:
        raise ConfigError(
            f"{label}: run.report_every: got {first}, but the longest trial has {most} iterations "
            f"and so nothing for search.scheduler = '{search.scheduler}' to judge; lower it, for "
            f"example to {max(1, most // 10)}"
        )
    if search.grace_iterations is not None and search.grace_iterations >= most:
        raise ConfigError(
            f"{label}: search.grace_iterations: got {search.grace_iterations}, but the longest "
            f"trial has {most} iterations; lower it, for example to {max(1, most // 10)}"
        )


def _protocols(space: Space, varied: Mapping[str, Parameter]) -> tuple[Any, ...]:
    if "protocol" in varied:
        return varied["protocol"].values
    return (space.base.get("protocol"),)


def _check_reachable(
    parameter: Parameter, expected: Any, other: Parameter | None, label: str
) -> None:
    """Refuse a value that another parameter never takes: a typing error would drop this one."""
    if other is None or other.when or other.kind not in ("grid", "choice"):
        return
    for value in expected if isinstance(expected, list) else [expected]:
        if value not in other.values:
            raise ConfigError(
                f"{label}: space.{parameter.name}.when: '{other.name}' is never {value!r}, "
                f"expected one of {list(other.values)}"
            )


def _check_circle(parameter: Parameter, varied: Mapping[str, Parameter], label: str) -> None:
    seen: set[str] = set()
    waiting = [parameter.name]
    while waiting:
        for name, _ in varied[waiting.pop()].when:
            if name == parameter.name:
                raise ConfigError(
                    f"{label}: space.{parameter.name}.when: depends on itself; remove the circle"
                )
            if name in varied and name not in seen:
                seen.add(name)
                waiting.append(name)


def _check_examples(space: Space) -> None:
    """Make every configuration that is planned, or examples of an adaptive search: all legal."""
    for point in space.examples():
        space.config(point)
