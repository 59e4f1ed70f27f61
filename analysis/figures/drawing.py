"""A drawn figure, and writing it down."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from analysis.files import write_whole
from harness.errors import ConfigError

SUFFIXES = (".svg", ".png", ".pdf")
"""Of the files that figures are written to."""
_SETTINGS: Any = {"svg.hashsalt": "harness", "svg.fonttype": "none", "pdf.fonttype": 42}
_DPI = 200
# Nothing that differs from one time or version of the program to another.
_METADATA: dict[str, dict[str, Any]] = {
    ".svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    ".png": {"Software": None},
    ".pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
}


class Drawn(NamedTuple):
    """A figure of a search: its numbers, and how they are shown."""

    name: str
    """What ``harness report --figure`` calls it, unique within a search: ``pareto``, or with the
    settings that it is about, ``accuracy:iterations``."""
    title: str
    """What is shown, in a few words."""
    caption: str
    """What is shown, of whom, over what, and what was left out."""
    figure: Figure
    frame: pd.DataFrame
    """All of its numbers, also of what was left out, as the function that makes them says."""


def figure_svg(figure: Figure) -> str:
    """Return a figure as an ``<svg>`` element: the same figure is the same text, at any time.

    Text stays text, so that it can be searched and read aloud; there is no date and no reference
    to other documents.
    """
    # Without the XML declaration and the document type, which do not belong inside HTML.
    text = _encode(figure, ".svg").decode("utf-8")
    return text[text.index("<svg") :]


def write_figure(drawn: Drawn, path: Path | str) -> None:
    """Write a figure to a file, whole or not at all: the same figure is the same file.

    Args:
        drawn: The figure.
        path: Ends in ``.svg``, ``.png`` (200 dots an inch) or ``.pdf``.

    Raises:
        ConfigError: Another suffix.
        ResultError: The file cannot be written.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"--to: got '{path.name}', expected a name in {', '.join(SUFFIXES)}")
    write_whole(path, _encode(drawn.figure, path.suffix))


def _encode(figure: Figure, suffix: str) -> bytes:
    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        # Once: it starts from where it ended, so that a figure would not be the same twice.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    buffer = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        figure.savefig(buffer, format=suffix[1:], dpi=_DPI, metadata=_METADATA[suffix])
    return buffer.getvalue()
