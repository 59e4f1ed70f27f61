"""Results in pandas: frames, statistics, tables, figures and the report.

Reads the files of search folders only; needs neither torch nor Ray. In a notebook::

    from analysis import best_values, configurations, load

    (results,) = load(["runs/demo"])
    results.trials, results.rows, results.settings, results.diagnostics
    configurations(results)
    best_values(results)

Each function says what its columns mean. Accuracies are fractions; a missing setting (temperature,
where KD is off) is a value like any other, and no row is lost by grouping.

Where a scheduler stopped trials early, give comparisons ``without_stopped(results)``, as the report
does: the replicates of a configuration that happened to go on are not a fair sample of it.

The frames behind the figures are here too (``main_effects``, ``pareto_points``), and
``make_figures`` draws them; matplotlib is loaded when one of these names is first used.
"""

from typing import TYPE_CHECKING, Any

from analysis.aggregate import by_setting, configurations
from analysis.answers import best_values
from analysis.choices import carry_over, chosen
from analysis.comparisons import differences, teacher_gains
from analysis.cost import cost
from analysis.exports import read_export, whole_replicates, write_export
from analysis.interaction import Change, interactions, pool_and_kd
from analysis.load import SearchResults, load, load_search, read_record
from analysis.matrix import architecture_matrix
from analysis.protocol import protocol_choices
from analysis.published import beside_published
from analysis.scores import scores
from analysis.searches import leaders, protocol_differences
from analysis.similarity import pool_similarity, similarity_correlations
from analysis.stopped import without_stopped
from analysis.summary import summarise
from analysis.tables import leaderboard
from analysis.troubles import fired_diagnostics, unfinished
from analysis.views import make_tables, write_tables

if TYPE_CHECKING:
    from analysis.figures import (
        accuracy_points,
        configuration_points,
        distilled_images,
        heat_map_cells,
        importances,
        learning_curves,
        main_effects,
        make_figures,
        pair_effects,
        parallel_lines,
        pareto_points,
        write_figure,
    )

__all__ = [
    "Change",
    "SearchResults",
    "accuracy_points",
    "architecture_matrix",
    "beside_published",
    "best_values",
    "by_setting",
    "carry_over",
    "chosen",
    "configuration_points",
    "configurations",
    "cost",
    "differences",
    "distilled_images",
    "fired_diagnostics",
    "heat_map_cells",
    "importances",
    "interactions",
    "leaderboard",
    "leaders",
    "learning_curves",
    "load",
    "load_search",
    "main_effects",
    "make_figures",
    "make_tables",
    "pair_effects",
    "parallel_lines",
    "pareto_points",
    "pool_and_kd",
    "pool_similarity",
    "protocol_choices",
    "protocol_differences",
    "read_export",
    "read_record",
    "scores",
    "similarity_correlations",
    "summarise",
    "teacher_gains",
    "unfinished",
    "whole_replicates",
    "without_stopped",
    "write_export",
    "write_figure",
    "write_tables",
]


def __getattr__(name: str) -> Any:
    """Load a name that is not here yet from ``analysis.figures``."""
    if name in __all__:
        from analysis import figures

        return getattr(figures, name)
    raise AttributeError(f"module 'analysis' has no attribute '{name}'")
