"""``harness report --figure``: one figure of a search, as a file."""

from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.common import say
from harness.errors import ConfigError, ResultError

if TYPE_CHECKING:
    from analysis.figures import Drawn
    from analysis.load import SearchResults

FIGURE_SUFFIXES = (".svg", ".png", ".pdf")
"""As ``analysis.figures.SUFFIXES``, without loading matplotlib for every command."""


def write_one_figure(folders: list[Path], name: str | None, to: Path | None) -> None:
    """Write a figure of a search, and print what it shows.

    Args:
        folders: Of one search.
        name: As ``analysis.figures.make_figures`` takes it; None: the main one.
        to: File that ends in one of ``FIGURE_SUFFIXES``; None: named after the figure, in the
            search's folder, as SVG.

    Raises:
        ConfigError: Several searches, an unknown name, or a file that cannot be.
        ResultError: The search lacks what the figure shows.
    """
    if len(folders) != 1:
        raise ConfigError(
            f"--figure: got {len(folders)} searches, expected one; choose the one that it shows"
        )
    if to is not None and to.suffix not in FIGURE_SUFFIXES:
        expected = ", ".join(FIGURE_SUFFIXES)
        raise ConfigError(f"--to: got '{to.name}', expected a figure: {expected}")
    if to is not None and not to.parent.is_dir():
        raise ConfigError(f"--to: no folder {to.parent}; make it, or choose another file")
    from analysis.figures import make_figures, write_figure
    from analysis.load import load_search

    results = load_search(folders[0])
    found = make_figures(results, [name]) if name else [_main(results)]
    first, *others = found
    path = to or folders[0] / f"{first.name.replace(':', '-').replace(',', '-')}.svg"
    write_figure(first, path)
    say(f"{first.title}. {first.caption}")
    if others:
        say(f"also: {', '.join(f'--figure {one.name}' for one in others)}")
    say(f"figure: {path}")


def _main(results: "SearchResults") -> "Drawn":
    from analysis.figures import FIGURES, make_figures

    for name in FIGURES:
        try:
            return make_figures(results, [name])[0]
        except ResultError:
            continue
    raise ResultError(f"{results.name}: no trial has finished, so there is no figure; wait for one")
