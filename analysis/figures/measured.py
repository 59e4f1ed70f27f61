"""What all figures start from: the configurations of a search with their samples and intervals."""

from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.aggregate import Configuration, list_configurations, metric_split
from analysis.bootstrap import Interval, bootstrap_interval
from analysis.load import SearchResults
from analysis.samples import UNSEEN, sample_of, seed_accuracies, student_rows
from harness.schema import UNSEEN_MEAN


class Measured(NamedTuple):
    """A configuration and its accuracy."""

    configuration: Configuration
    sample: pd.DataFrame
    """As ``analysis.samples.sample_of`` returns it."""
    interval: Interval
    """Of its mean."""


_KNOWN: WeakKeyDictionary[SearchResults, dict[tuple[str, str], list[Measured]]] = (
    WeakKeyDictionary()
)


def measure(
    results: SearchResults, metric: str = UNSEEN_MEAN, students: str = UNSEEN
) -> list[Measured]:
    """Return the accuracy of each configuration; kept as long as the search is.

    Args:
        results: A search, finished or not.
        metric: As in ``analysis.aggregate.by_setting``.
        students: As in ``analysis.samples.seed_accuracies``.

    Returns:
        In the order of ``list_configurations``; the configurations are the same objects in each
        call.
    """
    known = _KNOWN.setdefault(results, {})
    if (metric, students) not in known:
        others = next(iter(known.values()), None)
        found = [one.configuration for one in others] if others else list_configurations(results)
        accuracies = seed_accuracies(student_rows(results, metric_split(results, metric)), students)
        samples = [sample_of(one.trials, accuracies) for one in found]
        known[metric, students] = [
            Measured(one, sample, bootstrap_interval(sample))
            for one, sample in zip(found, samples, strict=True)
        ]
    return known[metric, students]


def configurations_of(results: SearchResults) -> list[Configuration]:
    """Return ``list_configurations``, once for all figures."""
    return [one.configuration for one in measure(results)]


class Joined:
    """Means over several configurations, by replicate and student seed.

    What a configuration lacks is filled with its own mean, so that a mean over configurations stays
    that of their means. Shape letters: C configurations, S replicates, K student seeds.
    """

    def __init__(self, measured: Sequence[Measured]) -> None:
        """Fill what is missing of the samples of C configurations."""
        samples = [one.sample for one in measured]
        rows = sorted({row for sample in samples for row in sample.index})
        columns = sorted({column for sample in samples for column in sample.columns})
        places = ({row: i for i, row in enumerate(rows)}, {c: i for i, c in enumerate(columns)})
        shape = (len(samples), len(rows), len(columns))
        self._filled = np.full(shape, np.nan)
        self._has_row = np.zeros(shape[:2], dtype="bool")
        self._has_column = np.zeros((shape[0], shape[2]), dtype="bool")
        for number, sample in enumerate(samples):
            if not len(sample):
                continue
            own_rows = [places[0][row] for row in sample.index]
            own_columns = [places[1][column] for column in sample.columns]
            values = sample.to_numpy(dtype="float64")
            means = np.full(len(rows), values.mean())
            means[own_rows] = values.mean(axis=1)
            self._filled[number] = means[:, None]
            self._filled[number][np.ix_(own_rows, own_columns)] = values
            self._has_row[number, own_rows] = True
            self._has_column[number, own_columns] = True
        self.has_results = self._has_row.any(axis=1)
        """[C], whether it has a set with an accuracy."""
        self.means: NDArray[np.float64] = np.array([one.interval.mean for one in measured])
        """[C], fractions; NaN without results."""

    def mean(self, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the mean over chosen configurations that have results, [S, K].

        Rows and columns are those that one of them has.
        """
        rows, columns = self._has_row[chosen].any(axis=0), self._has_column[chosen].any(axis=0)
        found: NDArray[np.float64] = self._filled[chosen][:, rows][:, :, columns].mean(axis=0)
        return found
