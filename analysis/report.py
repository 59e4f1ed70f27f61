"""The report: the answer in words, and one HTML file that needs nothing beside it."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.aggregate import by_setting, configuration_text, setting_text
from analysis.figures import (
    MAIN_PROBABILITY,
    configuration_points,
    draw_configurations,
    draw_main_probability,
    figure_svg,
    main_probability_points,
)
from analysis.load import SearchResults
from analysis.stopped import (
    CAPTION,
    HEADER,
    describe_stopped,
    stopped_cells,
    without_stopped,
)
from analysis.tables import interval, percent, split_of, table_caption, table_cells
from harness.errors import ResultError
from harness.schema import ERROR_FILE, FINISHED, STATUSES, TEST, TRIALS_FOLDER

_MAX_PANELS = 6
_MAX_LINES = 40
_TEMPLATE = "report.html.j2"


class _Figure(NamedTuple):
    svg: Markup
    caption: str


def summarise(results: SearchResults) -> str:
    """Answer the search's question in plain words.

    Args:
        results: A search, finished or not.

    Returns:
        Lines of text: the best configuration with its mean, interval and n; whether others may
        be as good; its test accuracy; what is missing.
    """
    frame = by_setting(without_stopped(results))
    done = frame[frame["n"] > 0]
    if len(done):
        lines = _answer(done, results.varied)
    elif (results.trials["status"] == "ok").any():
        lines = ["No unseen student has an accuracy yet: none was evaluated, or all diverged"]
    else:
        lines = ["Nothing finished yet"]
    return "\n".join([*lines, *_missing(results.trials["status"]), *describe_stopped(results)])


def write_report(
    searches: Sequence[SearchResults], path: Path | str, *, include_stopped: bool = False
) -> None:
    """Write one HTML file about some searches, whole or not at all.

    The file holds its styles and figures, no scripts, and asks for nothing from elsewhere.

    Args:
        searches: As ``analysis.load.load`` returns them.
        path: File to write; its folder must exist.
        include_stopped: Whether to list what was stopped early.

    Raises:
        ResultError: The file cannot be written.
    """
    path = Path(path)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [
        {**_section(one), "stopped": stopped_cells(one) if include_stopped else []}
        for one in searches
    ]
    page = environment.get_template(_TEMPLATE).render(
        sections=sections, stopped_header=HEADER, stopped_caption=CAPTION
    )
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_text(page, encoding="utf-8", newline="\n")
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise ResultError(f"{path}: cannot be written ({error}); choose another file") from error


def _answer(done: pd.DataFrame, varied: tuple[str, ...]) -> list[str]:
    ranked = done.sort_values("mean", ascending=False, kind="stable")
    best, rivals = ranked.iloc[0], ranked.iloc[1:]
    split = split_of(done)
    if varied == (MAIN_PROBABILITY,):
        which = f"Best main-model probability: {setting_text(best[MAIN_PROBABILITY])}, mean"
    elif varied:
        which = f"Best configuration: {configuration_text(varied, best[list(varied)])}; mean"
    else:
        which = "Mean"
    lines = [f"{which} {split} accuracy of unseen students {_said(best, '')}"]
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
        lines.append(f"On test images: {_said(best, 'test_')}")
    return lines


def _said(best: pd.Series, prefix: str) -> str:
    mean, low, high = (float(best[prefix + name]) for name in ("mean", "low", "high"))
    ends = interval(low, high)
    return f"{percent(mean)}% {'(no interval)' if ends == '-' else ends}, n = {best['n']}"


def _missing(statuses: pd.Series) -> list[str]:
    lines = []
    if diverged := int((statuses == "diverged").sum()):
        lines.append(f"{diverged} of {len(statuses)} trials diverged and are in no mean")
    finished = int(statuses.isin(FINISHED).sum())
    if finished < len(statuses):
        rest = ", ".join(
            f"{count} {status.replace('_', ' ')}"
            for status, count in _counts(statuses)
            if status not in FINISHED
        )
        lines.append(f"{finished} of {len(statuses)} planned trials finished ({rest})")
    return lines


def _counts(statuses: pd.Series) -> list[tuple[str, int]]:
    return [(name, n) for name in STATUSES if (n := int((statuses == name).sum()))]


def _section(results: SearchResults) -> dict[str, Any]:
    """Everything that the template shows of one search."""
    compared = without_stopped(results)
    frame = by_setting(compared)
    trials = results.trials
    unfinished = trials[~trials["status"].isin(FINISHED)]
    settings = [trials.loc[unfinished.index, name] for name in results.varied]
    texts = (
        [configuration_text(results.varied, row) for row in zip(*settings, strict=True)]
        if settings
        else [configuration_text((), ())] * len(unfinished)
    )
    return {
        "name": results.name,
        "title": results.title,
        "question": results.question,
        "answer": summarise(results).splitlines(),
        "figure": _figure(compared, frame),
        "cells": table_cells(frame),
        "caption": table_caption(frame),
        "counts": _counts(trials["status"]),
        "planned": len(trials),
        "protocol": _protocol(results.rows),
        "provenance": _provenance(results),
        "unfinished": [
            (trial_id, status, f"{text}, replicate {replicate}")
            for trial_id, status, replicate, text in zip(
                unfinished["trial_id"],
                unfinished["status"],
                unfinished["replicate"],
                texts,
                strict=True,
            )
        ],
        "error_file": f"{results.name}/{TRIALS_FOLDER}/<trial>/{ERROR_FILE}",
    }


def _figure(results: SearchResults, frame: pd.DataFrame) -> _Figure | None:
    """Draw the search: against the main-model probability if that is readable, else in lines."""
    done = frame[frame["n"] > 0]
    if not len(done):
        return None
    split = split_of(frame)
    sizes = f"{done['n'].min()} to {done['n'].max()}"
    n = sizes if done["n"].nunique() > 1 else str(done["n"].iloc[0])
    means = f"means over distillation seeds with 95% t intervals (n = {n} distilled sets)"
    if MAIN_PROBABILITY in results.varied and frame[MAIN_PROBABILITY].notna().all():
        points = main_probability_points(results)
        if points["group"].nunique() <= _MAX_PANELS:
            svg = figure_svg(draw_main_probability(points, split))
            caption = (
                f"Accuracy on {split} images against the main-model probability: {means}. Thick: "
                "mean over the unseen students; thin: each student, shifted a little sideways "
                "so that the intervals can be told apart."
            )
            return _Figure(Markup(svg), caption)
    points = configuration_points(results)
    caption = f"Mean accuracy of unseen students on {split} images by configuration: {means}."
    if len(points) > _MAX_LINES:
        caption += f" The best {_MAX_LINES} of {len(points)}; the table has all."
    svg = figure_svg(draw_configurations(points.head(_MAX_LINES), split))
    return _Figure(Markup(svg), caption)


def _protocol(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """How the finished trials were made and measured, as they recorded it."""
    names = {
        "dataset": "dataset",
        "images per class": "ipc",
        "iterations": "iterations",
        "students": "student",
        "epochs": "epochs",
        "protocol": "protocol",
    }
    return [(title, _values(rows[column])) for title, column in names.items() if len(rows)]


def _provenance(results: SearchResults) -> list[tuple[str, str]]:
    recorded = results.provenance
    lines = [("git hash", str(recorded.get("git_hash") or "not a checkout"))]
    hashes = _values(results.rows["git_hash"])
    if hashes not in ("-", lines[0][1]):
        # Resumed with other code: the rows then do not all come from one version.
        lines.append(("git hash of the trials", hashes))
    versions = recorded.get("versions")
    if isinstance(versions, dict):
        pairs = sorted(versions.items())
        lines.append(("versions", ", ".join(f"{name} {version}" for name, version in pairs)))
    if isinstance(command := recorded.get("command"), list):
        lines.append(("command", " ".join(map(str, command))))
    lines.append(("device", _values(results.rows["device"])))
    return lines


def _values(column: pd.Series) -> str:
    return ", ".join(setting_text(value) for value in column.dropna().unique()) or "-"
