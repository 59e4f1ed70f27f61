"""Every configuration of a search beside one of them; and a teacher's gain taken apart."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.aggregate import (
    Configuration,
    applying,
    configuration_text,
    is_missing,
    list_configurations,
    metric_split,
    setting_text,
)
from analysis.answers import is_settled, more_needed, subtract
from analysis.load import SearchResults
from analysis.render import Table, make_cells
from analysis.samples import sample_of, seed_accuracies, student_rows
from analysis.statistics import holm, paired_difference
from analysis.words import interval, percent
from harness.errors import ConfigError
from harness.schema import UNSEEN_MEAN

KD_VARIANT, KD_ALPHA, KD_TEMPERATURE = "kd.variant", "kd.alpha", "kd.temperature"

DIFFERENCE_COLUMNS = ("mean", "low", "high", "p", "n", "settled", "more_replicates")
"""Columns of ``differences`` that are not settings."""
_READING = (
    "settled: p below 0.05, and 0 outside the interval, which also counts the spread of students; "
    "more: replicates that would settle it."
)
PARTS = {
    "gain": ("softened", "off"),
    "step": ("control", "off"),
    "transfer": ("softened", "control"),
}
"""Parts of a teacher's gain: name -> the variants whose difference it is."""


def differences(
    results: SearchResults, reference: Mapping[str, Any], metric: str = UNSEEN_MEAN
) -> pd.DataFrame:
    """Return each configuration's accuracy minus that of a reference, replicate by replicate.

    Args:
        results: A search.
        reference: Settings that say which: all that apply to it, ``{"network.depth": 3}``.
        metric: As in ``analysis.aggregate.by_setting``.

    Returns:
        A row for each other configuration, smallest first.

        - one column for each name in ``results.varied``
        - ``mean``, ``low``, ``high``: difference of fractions and its 95% interval
        - ``p``: of the paired t test, Holm's over the rows; ``n``: shared replicates
        - ``settled``, ``more_replicates``: as in ``analysis.answers.best_values``

    Raises:
        ConfigError: No configuration is the reference.
    """
    accuracies = seed_accuracies(student_rows(results, metric_split(results, metric)))
    found = list_configurations(results)
    own = [one for one in found if applying(one.settings) == dict(reference)]
    if not own:
        text = configuration_text(list(reference), reference.values())
        raise ConfigError(f"reference: {results.name} has no configuration '{text}'; choose one")
    base = sample_of(own[0].trials, accuracies)
    others = [one for one in found if one is not own[0]]
    pairs = [subtract(sample_of(one.trials, accuracies), base) for one in others]
    tested = _tested(pairs)
    frame = pd.DataFrame([one.settings for one in others], columns=list(results.varied))
    return pd.concat([frame, tested], axis=1)


def difference_table(
    results: SearchResults, reference: Mapping[str, Any], metric: str = UNSEEN_MEAN
) -> Table:
    """Return ``differences`` as a table."""
    frame = differences(results, reference, metric)
    columns = {name: [setting_text(value) for value in frame[name]] for name in results.varied}
    columns |= _difference_cells(frame)
    against = configuration_text(list(reference), reference.values())
    caption = (
        f"Accuracy of unseen students on {metric_split(results, metric)} images minus that at "
        f"{against}, in points, on n shared replicates, with 95% intervals; p by the paired t "
        f"test over sets, after Holm; {_READING}"
    )
    cells = make_cells(columns, len(results.varied), [])
    return Table("differences", f"Beside {against}: {results.title}", frame, cells, caption)


def teacher_gains(results: SearchResults, metric: str = UNSEEN_MEAN) -> pd.DataFrame:
    """Return what a teacher gains, for each alpha and temperature, and which part of it is what.

    With alpha the label's term has the weight 1 - alpha, which alone makes the step smaller; the
    control arm has that and no teacher. ``gain`` = ``step`` + ``transfer`` on shared replicates.

    Args:
        results: A search that varies ``kd.variant``, with ``off``, ``control`` and ``softened``.
        metric: As in ``analysis.aggregate.by_setting``.

    Returns:
        Three rows for each combination of the settings of a softened configuration, whose arms are
        all there (a setting that does not apply to an arm fits any value).

        - ``group``: settings other than KD's, in words; ``alpha``, ``temperature``
        - ``part``: ``gain`` (softened - off), ``step`` (control - off) or ``transfer`` (softened -
          control)
        - ``mean`` ... ``more_replicates``: as in ``differences``; p after Holm, over the rows of
          one part
    """
    accuracies = seed_accuracies(student_rows(results, metric_split(results, metric)))
    found = list_configurations(results)
    keys, pairs = [], []
    for one in found:
        settings = applying(one.settings)
        if settings.get(KD_VARIANT) != "softened":
            continue
        arms = {name: _arm(found, {**settings, KD_VARIANT: name}) for name in ("off", "control")}
        if None in arms.values():
            continue
        samples = {
            name: sample_of(arm.trials, accuracies)
            for name, arm in {**arms, "softened": one}.items()
            if arm is not None
        }
        rest = {k: v for k, v in settings.items() if not k.startswith("kd.")}
        group = configuration_text(list(rest), rest.values()) if rest else ""
        own = tuple(settings.get(name, math.nan) for name in (KD_ALPHA, KD_TEMPERATURE))
        for part, (first, second) in PARTS.items():
            keys.append((group, *own, part))
            pairs.append(subtract(samples[first], samples[second]))
    frame = pd.DataFrame(keys, columns=["group", "alpha", "temperature", "part"])
    tested = [
        _tested([pairs[place] for place in rows]).set_index(pd.Index(rows))
        for part in PARTS
        if (rows := list(frame.index[frame["part"] == part]))
    ]
    return frame.join(pd.concat(tested) if tested else _tested([]))


def teacher_table(results: SearchResults, metric: str = UNSEEN_MEAN) -> Table:
    """Return ``teacher_gains`` as a table."""
    frame = teacher_gains(results, metric)
    columns = {"group": list(frame["group"])} if frame["group"].any() else {}
    columns |= {name: [setting_text(v) for v in frame[name]] for name in ("alpha", "temperature")}
    columns["part"] = list(frame["part"])
    settings = len(columns)
    columns |= _difference_cells(frame)
    caption = (
        f"What a teacher changes for unseen students on {metric_split(results, metric)} images, in "
        "points, on n shared replicates, with 95% intervals. gain: KD minus plain training. step: "
        "the smaller step alone (the control arm) minus plain training. transfer: KD minus the "
        f"control arm. p by the paired t test over sets, after Holm for each part; {_READING}"
    )
    cells = make_cells(columns, settings, list(frame["part"] == "transfer"))
    return Table("teacher", f"A teacher's gain: {results.title}", frame, cells, caption)


def _arm(found: list[Configuration], wanted: dict[str, Any]) -> Configuration | None:
    """The configuration that fits a wish best: what applies to it is as wished."""
    fitting = [one for one in found if applying(one.settings).items() <= wanted.items()]
    return max(fitting, key=lambda one: len(applying(one.settings)), default=None)


def _tested(pairs: list[pd.DataFrame]) -> pd.DataFrame:
    tests = [paired_difference(pair) for pair in pairs]
    corrected = holm(test.p for test in tests)
    records = []
    for test, p in zip(tests, corrected, strict=True):
        settled = is_settled(test, p)
        more = math.nan if settled else more_needed(test, len(tests))
        records.append((test.mean, test.low, test.high, p, test.n, settled, more))
    return pd.DataFrame(records, columns=list(DIFFERENCE_COLUMNS))


def _difference_cells(frame: pd.DataFrame) -> dict[str, list[str]]:
    return {
        "points": [percent(value) for value in frame["mean"]],
        "95% interval": list(map(interval, frame["low"], frame["high"])),
        "p": ["-" if math.isnan(p) else f"{p:.3f}" for p in frame["p"]],
        "n": [str(n) for n in frame["n"]],
        "settled": ["yes" if settled else "no" for settled in frame["settled"]],
        "more": ["-" if is_missing(more) else str(int(more)) for more in frame["more_replicates"]],
    }
