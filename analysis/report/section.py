"""What the report shows of one search."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from markupsafe import Markup

from analysis.figures import FIGURES, Drawn, figure_svg, make_figures
from analysis.load import SearchResults
from analysis.protocol import protocol_choices, protocol_summary, provenance
from analysis.render import Cells, Table
from analysis.report.pictures import Gallery, make_gallery
from analysis.scores import SCORES
from analysis.stopped import stopped_table
from analysis.summary import Answer, find_answer, status_counts
from analysis.tables import leaderboard
from analysis.views import EVERY_TRIAL, make_tables
from harness.errors import ResultError
from harness.schema import ERROR_FILE, FINISHED, TRIALS_FOLDER

MOST_ROWS = 12
"""Longer tables are folded."""
# Matplotlib numbers its groups in each figure anew: a page has an id once, and nothing refers to
# these.
_NUMBERED = re.compile(r' id="[A-Za-z]+[A-Za-z.]*_\d+"')


class Figure(NamedTuple):
    """A figure as it is shown."""

    title: str
    caption: str
    svg: Markup


class Block(NamedTuple):
    """A table as it is shown."""

    name: str
    title: str
    cells: Cells
    caption: str
    folded: bool


class Section(NamedTuple):
    """All about one search; texts are plain."""

    label: str
    title: str
    question: str
    answer: Answer
    figures: list[Figure]
    top: Block | None
    """The best configurations, where there are too many to show them all at once."""
    tables: list[Block]
    gallery: Gallery
    planned: int
    finished: int
    counts: list[tuple[str, int]]
    troubles: list[Block]
    error_file: str
    """Where the traceback of a trial that failed is."""
    protocol: Mapping[str, str]
    """The main choices; empty before the first trial has finished."""
    choices: Mapping[str, str]
    """All choices."""
    provenance: Mapping[str, str]


def make_section(
    results: SearchResults, label: str, *, share: float = 1.0, include_stopped: bool = False
) -> Section:
    """Return what the report shows of a search.

    Args:
        results: A search, finished or not.
        label: Its name on the page.
        share: Part of the page's room for pictures, 0..1.
        include_stopped: Whether to list what was stopped early.
    """
    tables = [table for table in make_tables(results) if not _is_blank(table)]
    shown = [show_table(table, results.title) for table in tables if table.name not in EVERY_TRIAL]
    troubles = [show_table(table, results.title) for table in tables if table.name in EVERY_TRIAL]
    if include_stopped and len(results.stopped):
        troubles.insert(0, show_table(stopped_table(results), results.title))
    statuses = results.trials["status"]
    return Section(
        label=label,
        title=results.title,
        question=results.question,
        answer=find_answer(results),
        figures=_figures(results),
        top=_top(shown),
        tables=shown,
        gallery=make_gallery(results, share),
        planned=len(statuses),
        finished=int(statuses.isin(FINISHED).sum()),
        counts=status_counts(statuses),
        troubles=troubles,
        error_file=f"{results.name}/{TRIALS_FOLDER}/<trial>/{ERROR_FILE}",
        protocol=protocol_summary(results),
        choices=protocol_choices(results),
        provenance=provenance(results) | _command(results),
    )


def _command(results: SearchResults) -> dict[str, str]:
    """The command line of the search: where it wrote is no choice, but is told."""
    command = results.provenance.get("command")
    return {"command": " ".join(map(str, command))} if isinstance(command, list) else {}


def show_table(table: Table, title: str = "") -> Block:
    """Return a table as it is shown; the search's title, which stands above, is left out."""
    own = table.title.removesuffix(f": {title}")
    folded = len(table.cells.rows) > MOST_ROWS
    return Block(table.name, own, table.cells, table.caption, folded)


def _is_blank(table: Table) -> bool:
    """Whether it only says what to run for it."""
    return table.name == "scores" and bool(table.frame[list(SCORES)].isna().all(axis=None))


def _top(blocks: list[Block]) -> Block | None:
    board = next((block for block in blocks if block.name == leaderboard.__name__), None)
    if board is None or not board.folded:
        return None
    cells = board.cells
    best = cells._replace(rows=cells.rows[:MOST_ROWS], best=cells.best[:MOST_ROWS])
    title = f"The best {MOST_ROWS} of {len(cells.rows)} configurations"
    return board._replace(title=title, cells=best, folded=False)


def _figures(results: SearchResults) -> list[Figure]:
    found = []
    for name in FIGURES:
        if name != "images":  # which stand in the gallery, pixel by pixel
            with suppress(ResultError):
                found += [_show_figure(drawn) for drawn in make_figures(results, [name])]
    return found


def _show_figure(drawn: Drawn) -> Figure:
    return Figure(drawn.title, drawn.caption, Markup(_NUMBERED.sub("", figure_svg(drawn.figure))))
