"""Results in pandas: frames, statistics, tables, figures and the report.

Reads the files of search folders only; needs neither torch nor Ray. In a notebook::

    from analysis import best_values, configurations, load

    (results,) = load(["runs/demo"])
    results.trials, results.rows, results.settings, results.diagnostics
    configurations(results)
    best_values(results)

Each function says what its columns mean. Accuracies are fractions; a missing setting (temperature,
where KD is off) is a value like any other, and no row is lost by grouping.
"""

from analysis.aggregate import by_setting, configurations
from analysis.answers import best_values
from analysis.choices import carry_over, chosen
from analysis.comparisons import differences, teacher_gains
from analysis.cost import cost
from analysis.exports import read_export, whole_replicates, write_export
from analysis.interaction import Change, interactions, pool_and_kd
from analysis.load import SearchResults, load, load_search, read_record
from analysis.matrix import architecture_matrix
from analysis.published import beside_published
from analysis.scores import scores
from analysis.similarity import pool_similarity, similarity_correlations
from analysis.stopped import without_stopped
from analysis.summary import summarise
from analysis.tables import leaderboard
from analysis.troubles import fired_diagnostics, unfinished
from analysis.views import make_tables, write_tables

__all__ = [
    "Change",
    "SearchResults",
    "architecture_matrix",
    "beside_published",
    "best_values",
    "by_setting",
    "carry_over",
    "chosen",
    "configurations",
    "cost",
    "differences",
    "fired_diagnostics",
    "interactions",
    "leaderboard",
    "load",
    "load_search",
    "make_tables",
    "pool_and_kd",
    "pool_similarity",
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
    "write_tables",
]
