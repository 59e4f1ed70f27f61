"""Figures: pure functions from results to frames, and thin drawing of frames.

A file a figure. ``<noun>_points`` or the like makes the frame, and serves in a notebook;
``draw_<noun>`` draws it and holds no arithmetic on results; ``<noun>_figure`` joins both to what a
report shows. ``make_figures`` makes all of a search.
"""

from analysis.figures.accuracy import accuracy_points, draw_accuracy
from analysis.figures.configurations import configuration_points, draw_configurations
from analysis.figures.drawing import SUFFIXES, Drawn, figure_svg, write_figure
from analysis.figures.effects import draw_main_effects, main_effects
from analysis.figures.gallery import FIGURES, make_figures
from analysis.figures.heat_map import draw_heat_map, heat_map_cells
from analysis.figures.images import distilled_images, draw_images
from analysis.figures.importance import draw_importances, importances
from analysis.figures.learning import draw_learning, learning_curves
from analysis.figures.pairs import draw_pair_effects, pair_effects
from analysis.figures.parallel import draw_parallel, parallel_lines
from analysis.figures.pareto import draw_pareto, pareto_points

__all__ = [
    "FIGURES",
    "SUFFIXES",
    "Drawn",
    "accuracy_points",
    "configuration_points",
    "distilled_images",
    "draw_accuracy",
    "draw_configurations",
    "draw_heat_map",
    "draw_images",
    "draw_importances",
    "draw_learning",
    "draw_main_effects",
    "draw_pair_effects",
    "draw_parallel",
    "draw_pareto",
    "figure_svg",
    "heat_map_cells",
    "importances",
    "learning_curves",
    "main_effects",
    "make_figures",
    "pair_effects",
    "parallel_lines",
    "pareto_points",
    "write_figure",
]
