"""The report: the answer in words, and one HTML file that needs nothing beside it."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.aggregate import by_setting, configuration_texts, setting_text
from analysis.figures import (
    MAIN_PROBABILITY,
    configuration_points,
    draw_configurations,
    draw_main_probability,
    figure_svg,
    main_probability_points,
)
from analysis.load import SearchResults
from analysis.stopped import CAPTION, HEADER, stopped_cells, without_stopped
from analysis.summary import status_counts, summarise
from analysis.tables import table_caption, table_cells
from analysis.words import split_of
from harness.errors import ResultError
from harness.schema import ERROR_FILE, FINISHED, TRIALS_FOLDER

_MAX_PANELS = 6
_MAX_LINES = 40
_TEMPLATE = "report.html.j2"


class _Figure(NamedTuple):
    svg: Markup
    caption: str


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


def _section(results: SearchResults) -> dict[str, Any]:
    """Everything that the template shows of one search."""
    compared = without_stopped(results)
    frame = by_setting(compared)
    trials = results.trials
    unfinished = trials[~trials["status"].isin(FINISHED)]
    return {
        "name": results.name,
        "title": results.title,
        "question": results.question,
        "answer": summarise(results).splitlines(),
        "figure": _figure(compared, frame),
        "cells": table_cells(frame),
        "caption": table_caption(frame),
        "counts": status_counts(trials["status"]),
        "planned": len(trials),
        "protocol": _protocol(results.rows),
        "provenance": _provenance(results),
        "unfinished": [
            (trial_id, status, f"{text}, replicate {replicate}")
            for trial_id, status, replicate, text in zip(
                unfinished["trial_id"],
                unfinished["status"],
                unfinished["replicate"],
                configuration_texts(unfinished, results.varied),
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
    means = f"means over distillation seeds with 95% intervals (n = {n} distilled sets)"
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
        "track": "track",
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
