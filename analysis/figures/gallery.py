"""All figures of a search, by name."""

from collections.abc import Callable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

from analysis.figures.accuracy import accuracy_figure, searched_settings
from analysis.figures.configurations import configuration_figure
from analysis.figures.drawing import Drawn
from analysis.figures.effects import effect_figure
from analysis.figures.heat_map import heat_map_figure, main_pairs
from analysis.figures.images import image_figure
from analysis.figures.importance import importance_figure
from analysis.figures.learning import learning_figure
from analysis.figures.pairs import pair_figure
from analysis.figures.parallel import parallel_figure
from analysis.figures.pareto import pareto_figure
from analysis.load import SearchResults
from analysis.stopped import without_stopped
from harness.errors import ConfigError, ResultError, suggest

Settings = tuple[str, ...]
_COMPARED: WeakKeyDictionary[SearchResults, SearchResults] = WeakKeyDictionary()


def _once(results: SearchResults) -> list[Settings]:
    del results
    return [()]


class Kind(NamedTuple):
    """A kind of figure."""

    draw: Callable[[SearchResults, Sequence[str]], Drawn]
    """Draws it for some settings; ResultError says what is missing."""
    choices: Callable[[SearchResults], Sequence[Settings]] = _once
    """The settings that it is drawn for where none are named, the main ones first."""
    num_settings: int = 0
    """How many may be named."""
    every_trial: bool = False
    """Whether it shows what was stopped early; the others compare, and leave that out."""


FIGURES: dict[str, Kind] = {
    "accuracy": Kind(accuracy_figure, searched_settings, num_settings=1),
    "configurations": Kind(configuration_figure),
    "heat_map": Kind(heat_map_figure, main_pairs, num_settings=2),
    "effects": Kind(effect_figure),
    "interactions": Kind(pair_figure),
    "importance": Kind(importance_figure),
    "parallel": Kind(parallel_figure),
    "pareto": Kind(pareto_figure),
    "learning": Kind(learning_figure, every_trial=True),
    "images": Kind(image_figure),
}
"""Name -> how it is drawn, in the order of a report."""


def make_figures(results: SearchResults, names: Sequence[str] = ()) -> list[Drawn]:
    """Draw figures of a search.

    Args:
        results: A search, finished or not.
        names: Keys of ``FIGURES``, each all figures of its kind; or with the settings that one is
            about, as ``Drawn.name`` has it: ``accuracy:iterations``. By default all that this
            search has the data for, the main one first.

    Raises:
        ConfigError: Unknown name, or a setting that is not varied.
        ResultError: A figure that is named lacks its data.
    """
    compared = _without_stopped(results)
    found: list[Drawn] = []
    for name in names or FIGURES:
        kind, settings = _parse(name, results)
        source = results if kind.every_trial else compared
        drawn: list[Drawn] = []
        missing: ResultError | None = None
        for choice in [settings] if settings else kind.choices(source) or [()]:
            try:
                drawn.append(kind.draw(source, choice))
            except ResultError as error:
                missing = missing or error
        if names and missing and not drawn:
            raise missing
        found += drawn
    return found


def _without_stopped(results: SearchResults) -> SearchResults:
    """The same object each time, since what is measured is kept by search."""
    if not len(results.stopped):
        return results
    if results not in _COMPARED:
        _COMPARED[results] = without_stopped(results)
    return _COMPARED[results]


def _parse(name: str, results: SearchResults) -> tuple[Kind, Settings]:
    """Split ``heat_map:kd.alpha,kd.temperature``."""
    head, colon, tail = name.partition(":")
    if head not in FIGURES:
        raise ConfigError(f"--figure: got '{name}'; {suggest(head, FIGURES)}")
    kind = FIGURES[head]
    if not colon:
        return kind, ()
    settings = tuple(part.strip() for part in tail.split(","))
    if len(settings) != kind.num_settings or len(set(settings)) != len(settings):
        wanted = ",".join(["SETTING"] * kind.num_settings)
        expected = f"{head}:{wanted}" if wanted else head
        raise ConfigError(f"--figure: got '{name}', expected {expected}, or {head} alone")
    for setting in settings:
        if setting not in results.varied:
            raise ConfigError(
                f"--figure: got '{name}', but {results.name} does not vary '{setting}'; "
                f"{suggest(setting, results.varied)}"
            )
    return kind, settings
