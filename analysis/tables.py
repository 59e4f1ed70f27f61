"""The table of a search: one row a configuration, for a terminal, for Markdown, for HTML."""

import math
from typing import NamedTuple

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from analysis.aggregate import METRIC_COLUMNS, setting_text
from harness.schema import TEST, VALIDATION

_MAX_MIN_WIDTH = 16
_COUNTS = {
    "n_diverged": "diverged",
    "n_not_run": "not run",
    "n_diverged_students": "diverged students",
}


class Cells(NamedTuple):
    """A table as text."""

    header: tuple[str, ...]
    """Name of each column."""
    rows: tuple[tuple[str, ...], ...]
    """Text of each cell."""
    best: tuple[bool, ...]
    """Whether the row has the best mean; it is marked with ``*`` as well."""
    num_settings: int
    """Number of columns on the left that are settings; the others are numbers."""


def percent(value: float) -> str:
    """Return a fraction in percent with one decimal, ``-`` for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def interval(low: float, high: float) -> str:
    """Return ``[low, high]`` in percent with one decimal, ``-`` for NaN."""
    return "-" if math.isnan(low) or math.isnan(high) else f"[{percent(low)}, {percent(high)}]"


def split_of(frame: pd.DataFrame) -> str:
    """Return the split that the means of a ``by_setting`` frame are on."""
    return str(frame["split"].iloc[0]) if len(frame) else VALIDATION


def table_cells(frame: pd.DataFrame, *, test: bool = True) -> Cells:
    """Return the text of a table.

    Columns of counts (diverged, not run, diverged students) are shown where one is not 0.

    Args:
        frame: As ``analysis.aggregate.by_setting`` returns it.
        test: Whether to show the test columns too, where the main ones are on validation images.
    """
    settings = [name for name in frame.columns if name not in METRIC_COLUMNS]
    best = tuple(bool(mark) for mark in frame["mean"] == frame["mean"].max())
    columns: dict[str, list[str]] = {
        name: [setting_text(value) for value in frame[name]] for name in settings
    }
    columns["accuracy %"] = [
        percent(mean) + (" *" if mark else "")
        for mean, mark in zip(frame["mean"], best, strict=True)
    ]
    columns["95% interval"] = list(map(interval, frame["low"], frame["high"]))
    columns["std"] = [percent(value) for value in frame["std"]]
    columns["n"] = [str(value) for value in frame["n"]]
    if test and split_of(frame) != TEST:
        columns["test %"] = [percent(value) for value in frame["test_mean"]]
        columns["test interval"] = list(map(interval, frame["test_low"], frame["test_high"]))
    for name, title in _COUNTS.items():
        if frame[name].any():
            columns[title] = [str(value) for value in frame[name]]
    rows = tuple(zip(*columns.values(), strict=True))
    return Cells(tuple(columns), rows, best, len(settings))


def table_caption(frame: pd.DataFrame) -> str:
    """Say what a table shows: accuracy of whom, on which images, over what.

    Args:
        frame: As ``analysis.aggregate.by_setting`` returns it.
    """
    split = split_of(frame)
    caption = (
        f"Mean accuracy of unseen students on {split} images, over n distilled sets "
        "(distillation seeds), with 95% t intervals. * best mean."
    )
    if split == TEST:
        caption += (
            ' Protocol "paper" trains on all training images and has no validation images:'
            " these are test accuracies, to compare with published ones, not to choose by."
        )
    return caption


def terminal_table(frame: pd.DataFrame, title: str) -> Table:
    """Return a table for a terminal, accuracies in percent with one decimal.

    Test columns are left to the report: the table fits 80 columns, and chooses by validation.

    Args:
        frame: As ``analysis.aggregate.by_setting`` returns it.
        title: Line above the table.
    """
    cells = table_cells(frame, test=False)
    # Text, not str: a title or a setting may hold what rich reads as markup.
    table = Table(
        title=Text(title),
        caption=Text(table_caption(frame)),
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for place, name in enumerate(cells.header):
        # Names break at dots and spaces, since 80 columns are narrow; numbers are never cut.
        if place < cells.num_settings:
            widest = max((len(row[place]) for row in cells.rows), default=1)
            least = min(widest, _MAX_MIN_WIDTH)
            table.add_column(Text(name.replace(".", ".\n")), overflow="fold", min_width=least)
        else:
            table.add_column(Text(name.replace(" ", "\n")), justify="right", no_wrap=True)
    for row, best in zip(cells.rows, cells.best, strict=True):
        table.add_row(*map(Text, row), style="bold" if best else None)
    return table


def markdown_table(frame: pd.DataFrame) -> str:
    """Return the same table in Markdown, its caption below.

    Args:
        frame: As ``analysis.aggregate.by_setting`` returns it.
    """
    cells = table_cells(frame)
    rule = ["---" if i < cells.num_settings else "---:" for i in range(len(cells.header))]
    lines = [_line(cells.header), _line(rule), *map(_line, cells.rows)]
    return "\n".join([*lines, "", table_caption(frame).replace("*", "\\*"), ""])


def _line(cells: tuple[str, ...] | list[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("*", "\\*").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(escaped)} |"
