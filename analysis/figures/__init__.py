"""Figures: pure functions from results to frames, and thin drawing of frames.

A file a figure. ``<noun>_points`` or the like makes the frame, and serves in a notebook;
``draw_<noun>`` draws it and holds no arithmetic on results; ``<noun>_figure`` joins both to what a
report shows. ``make_figures`` makes all of a search.
"""

from analysis.answers import MAIN_PROBABILITY
from analysis.figures.accuracy import accuracy_points, draw_accuracy
from analysis.figures.configurations import configuration_points, draw_configurations
from analysis.figures.drawing import SUFFIXES, Drawn, figure_svg, write_figure
from analysis.figures.gallery import FIGURES, make_figures

main_probability_points = accuracy_points
draw_main_probability = draw_accuracy

__all__ = [
    "FIGURES",
    "MAIN_PROBABILITY",
    "SUFFIXES",
    "Drawn",
    "accuracy_points",
    "configuration_points",
    "draw_accuracy",
    "draw_configurations",
    "draw_main_probability",
    "figure_svg",
    "main_probability_points",
    "make_figures",
    "write_figure",
]
