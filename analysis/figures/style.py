"""What all figures share: colours, markers and lines, sizes, texts.

Okabe and Ito's colours for the colour-blind, without the yellow that is faint on white. Marker and
line style change along with the colour, so that series are told apart in grey.
"""

import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

BLACK = "#000000"
GREY = "#9a9a9a"
"""Of what is there for comparison only: still seen on white."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SHADES = "cividis"
"""Colour map: brightness rises evenly, also for the colour-blind and in grey."""
SIGNED_SHADES = "PuOr"
"""Colour map of differences, white at 0; signs are written into the cells, as grey loses them."""
WIDTH = 5.2
"""Inches: narrow, so that the text is still readable when a phone scales the figure down."""
SMALL = 8.5
"""Font size of legends and of text in panels, points."""

_MARKERS = ("s", "^", "D", "v", "P", "X", "*")
_LINES: tuple[Any, ...] = ("--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)))


class Style(NamedTuple):
    """How a series is drawn."""

    colour: str
    marker: str
    line: Any
    """matplotlib's line style."""


def series_style(place: int) -> Style:
    """Return the style of a series by its place, 0 or more.

    Marker and line together repeat after 35 places only.
    """
    return Style(
        COLOURS[place % len(COLOURS)],
        _MARKERS[place % len(_MARKERS)],
        _LINES[place % len(_LINES)],
    )


def plain(text: str) -> str:
    """Escape what matplotlib would read as mathematics."""
    return text.replace("$", r"\$")


def wrap(text: str, width: int = 70, lines: int = 4) -> str:
    """Escape a text and break it into lines of so many characters, at most so many lines."""
    found = textwrap.wrap(text, width, max_lines=lines, placeholder=" …")
    return "\n".join(map(plain, found))


def shorten(text: str, width: int) -> str:
    """Escape a text, and cut it where it is longer."""
    return plain(text if len(text) <= width else text[: width - 2].rstrip() + " …")


def tell_apart(texts: Sequence[str], cut: Callable[[str], str]) -> list[str]:
    """Cut texts, and number those that then read the same."""
    short = [cut(text) for text in texts]
    return [
        f"{text} ({number})" if short.count(text) > 1 else text
        for number, text in enumerate(short, start=1)
    ]


def finish(panel: Axes) -> None:
    """Put a faint grid behind the data, and leave out the lines above and to the right."""
    panel.grid(color="#d8d8d8", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def reach(points: pd.DataFrame) -> NDArray[np.float64]:
    """Length of the error bars in percent, [2, points]; NaN, so no bar at all, where n < 2."""
    mean = points["mean"]
    return 100 * np.array([mean - points["low"], points["high"] - mean], dtype=np.float64)


def limit(set_limits: Callable[[float, float], object], points: pd.DataFrame) -> None:
    """Show all intervals, but nothing below 0% or above 100%."""
    low = 100 * float(points[["mean", "low"]].min().min())
    high = 100 * float(points[["mean", "high"]].max().max())
    margin = max(0.06 * (high - low), 1.0)
    set_limits(max(low - margin, 0.0), min(high + margin, 100.0))


def is_logarithmic(values: Sequence[float]) -> bool:
    """Whether numbers are shown on a logarithmic axis: positive, and spread over 50-fold."""
    return len(values) > 1 and min(values) > 0 and max(values) / min(values) >= 50


def ink(shade: Any) -> str:
    """Return the colour of text that is read on a shade, RGBA of 0..1."""
    red, green, blue = shade[:3]
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "#ffffff"


def sets_words(points: pd.DataFrame) -> str:
    """Say what means with a column ``n`` are over, for a caption."""
    return f"means over distillation seeds {spread_words(points, 'distilled set')}"


def spread_words(points: pd.DataFrame, of: str) -> str:
    """Say over how many of what intervals are, for a caption.

    Args:
        points: With a column ``n``, a row at least.
        of: What n counts, in the singular.
    """
    low, high = points["n"].min(), points["n"].max()
    if high < 2:
        return f"without intervals (n = 1 {of})"
    return f"with 95% intervals (n = {low if low == high else f'{low} to {high}'} {of}s)"
