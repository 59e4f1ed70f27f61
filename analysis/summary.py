"""The answer to a search's question, in plain words."""

from typing import NamedTuple

import pandas as pd

from analysis.aggregate import by_setting, configuration_text
from analysis.answers import accuracy_words, best_values, searched_setting, value_words
from analysis.interaction import interaction_words, pool_and_kd
from analysis.load import SearchResults
from analysis.stopped import describe_stopped, without_stopped
from analysis.words import split_of
from harness.schema import FEATURE_TRACK, FINISHED, STATUSES, TEST


class Answer(NamedTuple):
    """What a search says, in lines of text."""

    lines: list[str]
    """The answer: the best value or configuration with its mean, interval and n, whether others may
    be as good, and its test accuracy."""
    details: list[str]
    """The best value beside each combination of the other settings, where there are several, and
    how pool and KD act together."""
    notes: list[str]
    """Whose students saw real images, what is missing, diverged or was stopped early."""


def find_answer(results: SearchResults) -> Answer:
    """Answer the search's question in plain words.

    Args:
        results: A search, finished or not.
    """
    compared = without_stopped(results)
    frame = by_setting(compared)
    done = frame[frame["n"] > 0]
    lines: list[str] = []
    details: list[str] = []
    if not len(done):
        ok = (compared.trials["status"] == "ok").any()
        none = "No unseen student has an accuracy yet: none was evaluated, or all diverged"
        lines = [none if ok else "Nothing finished yet"]
    elif searched_setting(compared) is not None:
        values = best_values(compared)
        words = [line for row in values.itertuples() for line in value_words(row)]
        if len(values) > 1:
            details = words
        else:
            lines = words
    lines = lines or _best_configuration(done, results.varied)
    details += interaction_words(pool_and_kd(compared))
    unfinished = _unfinished(results.trials["status"])
    notes = [*_tracks(compared.rows), *unfinished, *describe_stopped(results)]
    return Answer(lines, details, notes)


def summarise(results: SearchResults) -> str:
    """Return all lines of ``find_answer`` as one text."""
    answer = find_answer(results)
    return "\n".join([*answer.lines, *answer.details, *answer.notes])


def status_counts(statuses: pd.Series) -> list[tuple[str, int]]:
    """Return how many trials have each status that occurs."""
    return [(name, n) for name in STATUSES if (n := int((statuses == name).sum()))]


def _best_configuration(done: pd.DataFrame, varied: tuple[str, ...]) -> list[str]:
    ranked = done.sort_values("mean", ascending=False, kind="stable")
    best, rivals = ranked.iloc[0], ranked.iloc[1:]
    split = split_of(done)
    which = "Mean"
    if varied:
        which = f"Best configuration: {configuration_text(varied, best[list(varied)])}; mean"
    accuracy = accuracy_words(best["mean"], best["low"], best["high"], best["n"])
    lines = [f"{which} {split} accuracy of unseen students {accuracy}"]
    if best["n"] == 1:
        lines.append("One distilled set has no interval: more replicates are needed to be sure")
    # Written so that an unknown interval counts as one that overlaps.
    open_rivals = int((~(rivals["high"] < best["low"])).sum())
    if open_rivals:
        lines.append(
            f"Not settled: {open_rivals} of {len(rivals)} other configurations may be as good "
            "(their 95% interval overlaps that of the best, or one of the two is unknown)"
        )
    if split != TEST:
        test = (best["test_mean"], best["test_low"], best["test_high"], best["n"])
        lines.append(f"On test images: {accuracy_words(*test)}")
    return lines


def _tracks(rows: pd.DataFrame) -> list[str]:
    """Say where students saw more than a distilled set."""
    own = rows[rows["track"] == FEATURE_TRACK]
    if not len(own):
        return []
    trials, every = own["trial_id"].nunique(), rows["trial_id"].nunique()
    return [
        f"In {trials} of {every} trials students followed features learned from real images "
        f"(track {FEATURE_TRACK}): compare them with each other, not with those of a set alone"
    ]


def _unfinished(statuses: pd.Series) -> list[str]:
    lines = []
    if diverged := int((statuses == "diverged").sum()):
        lines.append(f"{diverged} of {len(statuses)} trials diverged and are in no mean")
    finished = int(statuses.isin(FINISHED).sum())
    if finished < len(statuses):
        rest = ", ".join(
            f"{count} {status.replace('_', ' ')}"
            for status, count in status_counts(statuses)
            if status not in FINISHED
        )
        lines.append(f"{finished} of {len(statuses)} planned trials finished ({rest})")
    return lines
