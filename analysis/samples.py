"""Accuracies of configurations as samples: a row a distilled set, a column a student seed."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.load import SearchResults

UNSEEN, MAIN = "unseen", "main"
"""Groups of students: all but the main model, and the main model; a label is a group as well."""


def student_rows(results: SearchResults, split: str) -> pd.DataFrame:
    """Return the rows that means are made of: students of trials with status ok.

    Args:
        results: A search.
        split: ``validation`` or ``test``.

    Returns:
        The rows of ``results.rows`` on that split, and two columns more:

        - ``unseen``: bool, whether the student is another architecture than the main model
        - ``counted``: bool, whether it enters means; False for a student that diverged, which
          has no accuracy (it is not one of 10%)
    """
    rows = results.rows
    ok = results.trials.loc[results.trials["status"] == "ok", "trial_id"]
    chosen = rows[rows["trial_id"].isin(ok) & (rows["split"] == split) & rows["student"].notna()]
    return chosen.assign(
        unseen=chosen["student"] != chosen["main_model"],
        counted=(chosen["status"] == "ok") & chosen["accuracy"].notna(),
    )


def seed_accuracies(rows: pd.DataFrame, students: str = UNSEEN) -> pd.DataFrame:
    """Return the accuracy of each trial and student seed, over a group of students.

    It is the mean over architectures; each weighs the same. Student seeds of one number belong
    together: they share a teacher. A network that diverged is replaced by the mean of its
    architecture's others in that trial, so that the mean over student seeds is the trial's own. A
    trial has no row where all networks of an architecture diverged, since a mean over the others
    would not be comparable.

    Args:
        rows: As ``student_rows`` returns them.
        students: ``unseen``, ``main``, or the label of a student.

    Returns:
        Fractions, 0..1; index ``trial_id``, a column for each student seed. NaN where a trial
        has fewer student seeds than others.
    """
    if students == UNSEEN:
        rows = rows[rows["unseen"]]
    elif students == MAIN:
        rows = rows[~rows["unseen"]]
    else:
        rows = rows[rows["student"] == students]
    accuracy = rows["accuracy"].where(rows["counted"]).astype("float64")
    means = accuracy.groupby([rows["trial_id"], rows["student"]]).transform("mean")
    filled = accuracy.fillna(means)
    lost = rows.loc[filled.isna(), "trial_id"].unique()
    kept = ~rows["trial_id"].isin(lost)
    keys = [rows.loc[kept, name] for name in ("trial_id", "student_seed")]
    return filled[kept].groupby(keys).mean().unstack()


def sample_of(trials: pd.DataFrame, accuracies: pd.DataFrame) -> pd.DataFrame:
    """Return the sample of one configuration.

    Args:
        trials: Its rows of ``SearchResults.trials``.
        accuracies: As ``seed_accuracies`` returns them.

    Returns:
        Fractions without NaN; index ``replicate``, sorted, each once (a random search may draw a
        configuration twice, and equal seeds give equal sets); a column for each student seed.
    """
    # Arrays, since a report asks for thousands of samples, and each step of a frame takes long.
    rows = accuracies.index.get_indexer(pd.Index(trials["trial_id"]))
    there = rows >= 0
    replicates, first = np.unique(trials["replicate"].to_numpy()[there], return_index=True)
    values = accuracies.to_numpy(dtype="float64")[rows[there][first]]
    known = ~np.isnan(values)
    seeds = known.any(axis=0)
    values, known = values[:, seeds], known[:, seeds]
    if not known.all():
        values = np.where(known, values, np.nanmean(values, axis=1, keepdims=True))
    index = pd.Index(replicates, name="replicate")
    return pd.DataFrame(values, index=index, columns=accuracies.columns[seeds])


def shared_sample(samples: Sequence[pd.DataFrame]) -> NDArray[np.float64]:
    """Return the part of several samples that all have: the same replicates and student seeds.

    Args:
        samples: For each of C configurations, as ``sample_of`` returns it.

    Returns:
        [C, S, K], rows in the order of the replicates; S = 0 where none is shared.
    """
    rows, columns = samples[0].index, samples[0].columns
    for sample in samples[1:]:
        rows, columns = rows.intersection(sample.index), columns.intersection(sample.columns)
    return np.stack([sample.loc[rows, columns].to_numpy(dtype="float64") for sample in samples])


def within_std(sample: pd.DataFrame) -> float:
    """Standard deviation between student seeds within sets, pooled; NaN with one seed a set."""
    if sample.shape[0] == 0 or sample.shape[1] < 2:
        return math.nan
    return float(np.sqrt(sample.var(axis=1, ddof=1).mean()))
