"""All tables of a search, by name, and writing them as Markdown, LaTeX or CSV."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from analysis.choices import carry_over_table, chosen_table
from analysis.comparisons import teacher_table
from analysis.cost import cost_table
from analysis.files import write_whole
from analysis.interaction import interaction_table
from analysis.load import SearchResults
from analysis.matrix import matrix_table
from analysis.published import published_table
from analysis.render import Table, csv, latex, markdown
from analysis.scores import scores_table
from analysis.searches import compare
from analysis.similarity import similarity_table
from analysis.stopped import without_stopped
from analysis.tables import leaderboard_table
from analysis.troubles import diagnostics_table, unfinished_table
from harness.errors import ConfigError, suggest

TABLES: dict[str, Callable[[SearchResults], Table]] = {
    "leaderboard": leaderboard_table,
    "matrix": matrix_table,
    "table4": lambda results: published_table(results, 4),
    "table5": lambda results: published_table(results, 5),
    "chosen": chosen_table,
    "carry_over": carry_over_table,
    "teacher": teacher_table,
    "scores": scores_table,
    "interaction": interaction_table,
    "pool_similarity": similarity_table,
    "cost": cost_table,
    "diagnostics": diagnostics_table,
    "unfinished": unfinished_table,
}
"""Name -> function that makes it."""
EVERY_TRIAL = frozenset({"diagnostics", "unfinished"})
"""Tables of single trials; the others compare, and leave out what was stopped early."""
TEXT_SUFFIXES = (".md", ".tex", ".csv")


def make_tables(results: SearchResults, names: Sequence[str] = ()) -> list[Table]:
    """Return tables of a search.

    Args:
        results: A search, finished or not.
        names: Keys of ``TABLES``; by default all that have a row.

    Raises:
        ConfigError: Unknown name.
    """
    for name in names:
        if name not in TABLES:
            raise ConfigError(f"--table: got '{name}'; {suggest(name, TABLES)}")
    compared = without_stopped(results)
    found = [TABLES[name](results if name in EVERY_TRIAL else compared) for name in names or TABLES]
    return found if names else [table for table in found if len(table.frame)]


def write_tables(
    searches: Sequence[SearchResults], path: Path | str, names: Sequence[str] = ()
) -> None:
    """Write tables to a file, whose suffix says how: ``.md``, ``.tex`` (booktabs) or ``.csv``.

    A CSV file holds the numbers of one table, of all searches, under a first column ``search``.
    The others begin with what compares several searches, unless tables are named.

    Args:
        searches: As ``analysis.load.load`` returns them.
        path: File to write.
        names: As in ``make_tables``; for CSV exactly one, by default the leaderboard.

    Raises:
        ConfigError: Another suffix, an unknown name, or several names for CSV.
        ResultError: The file cannot be written.
    """
    path = Path(path)
    if path.suffix not in TEXT_SUFFIXES:
        raise ConfigError(f"--to: got '{path.name}', expected {', '.join(TEXT_SUFFIXES)} or .html")
    if path.suffix == ".csv":
        text = _one_csv(searches, names or ["leaderboard"])
    else:
        parts = [] if names else compare(searches)
        parts += [table for results in searches for table in make_tables(results, names)]
        if path.suffix == ".md":
            text = "\n".join(f"## {t.title}\n\n{markdown(t.cells, t.caption)}" for t in parts)
        else:
            labels = len(searches) == 1
            text = "\n".join(
                latex(t.cells, f"{t.title}. {t.caption}", f"tab:{t.name}" if labels else "")
                for t in parts
            )
    write_whole(path, text)


def _one_csv(searches: Sequence[SearchResults], names: Sequence[str]) -> str:
    if len(names) != 1:
        raise ConfigError(
            f"--table: got {', '.join(names)}, but a CSV file holds one table; choose one"
        )
    found = [(results.name, make_tables(results, names)[0].frame) for results in searches]
    named = [frame.assign(search=name) for name, frame in found]
    frame = pd.concat([part for part in named if len(part)] or named[:1], ignore_index=True)
    return csv(frame[["search", *(name for name in frame.columns if name != "search")]])
