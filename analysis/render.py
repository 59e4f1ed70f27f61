"""Tables as text: for a terminal, Markdown, CSV and LaTeX."""

from typing import NamedTuple

import pandas as pd
from rich import box
from rich.table import Table as RichTable
from rich.text import Text

_MAX_MIN_WIDTH = 16


class Cells(NamedTuple):
    """A table as text."""

    header: tuple[str, ...]
    """Name of each column."""
    rows: tuple[tuple[str, ...], ...]
    """Text of each cell."""
    best: tuple[bool, ...]
    """Whether the row is marked; in words or by ``*`` as well."""
    num_settings: int
    """Number of columns on the left that are texts; the others are numbers."""


class Table(NamedTuple):
    """A table: its numbers, and how it is shown."""

    name: str
    """One word, for ``harness report --table``."""
    title: str
    frame: pd.DataFrame
    """Fractions, seconds and counts, as the function that makes the table says; goes to CSV."""
    cells: Cells
    """Percent, rounded; goes everywhere else."""
    caption: str
    """What is shown, of whom, over what."""


def make_cells(columns: dict[str, list[str]], num_settings: int, best: list[bool]) -> Cells:
    """Return cells from columns of text; ``best`` may be empty: none is marked."""
    rows = tuple(zip(*columns.values(), strict=True))
    return Cells(tuple(columns), rows, tuple(best) or (False,) * len(rows), num_settings)


def terminal(cells: Cells, title: str, caption: str) -> RichTable:
    """Return a table for a terminal; texts fold where it is narrow, numbers are never cut."""
    # Text, not str: a title or a setting may hold what rich reads as markup.
    table = RichTable(
        title=Text(title),
        caption=Text(caption),
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for place, name in enumerate(cells.header):
        # Names break at dots and spaces, since 80 columns are narrow.
        if place < cells.num_settings:
            widest = max((len(row[place]) for row in cells.rows), default=1)
            least = min(widest, _MAX_MIN_WIDTH)
            table.add_column(Text(name.replace(".", ".\n")), overflow="fold", min_width=least)
        else:
            table.add_column(Text(name.replace(" ", "\n")), justify="right", no_wrap=True)
    for row, best in zip(cells.rows, cells.best, strict=True):
        table.add_row(*map(Text, row), style="bold" if best else None)
    return table


def markdown(cells: Cells, caption: str) -> str:
    """Return a table in Markdown, its caption below."""
    rule = ["---" if i < cells.num_settings else "---:" for i in range(len(cells.header))]
    lines = [_line(cells.header), _line(rule), *map(_line, cells.rows)]
    return "\n".join([*lines, "", caption.replace("*", "\\*"), ""])


def latex(cells: Cells, caption: str, label: str = "") -> str:
    r"""Return a ``table`` environment with booktabs rules; wants ``\usepackage{booktabs}``.

    Args:
        cells: The table.
        caption: Below it, escaped.
        label: For ``\ref``; empty: none.
    """
    frame = pd.DataFrame(list(cells.rows), columns=list(cells.header), dtype="object")
    styler = frame.style.hide(axis="index").format(escape="latex")
    styler = styler.format_index(escape="latex", axis=1)
    if any(cells.best):
        bold = pd.DataFrame("", index=frame.index, columns=frame.columns)
        bold.loc[list(cells.best)] = "textbf:--rwrap;"
        styler = styler.apply(lambda _: bold, axis=None)
    numbers = len(cells.header) - cells.num_settings
    text: str = styler.to_latex(
        hrules=True,
        position="t",
        position_float="centering",
        column_format="l" * cells.num_settings + "r" * numbers,
    )
    end = f"\\caption{{{_escape_latex(caption)}}}\n" + (f"\\label{{{label}}}\n" if label else "")
    return text.replace("\\end{table}", end + "\\end{table}")


def csv(frame: pd.DataFrame) -> str:
    """Return a frame as CSV with all digits; missing values are empty."""
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text


def _line(cells: tuple[str, ...] | list[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("*", "\\*").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _escape_latex(text: str) -> str:
    special = {c: f"\\{c}" for c in "&%$#_{}"}
    special |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, c) for c in text)
