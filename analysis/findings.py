"""The page of findings from the rows that are stored beside it.

``python -m analysis.findings docs/findings`` writes ``README.md`` from ``README.md.j2``, and the
figures that it shows; ``--collect OUT`` first stores the rows of the searches below OUT. No number
on the page is typed by hand: text asks, rows answer.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.aggregate import (
    applying,
    by_setting,
    list_configurations,
    metric_split,
)
from analysis.answers import MAIN_PROBABILITY, PLAIN, value_groups
from analysis.choices import carry_over
from analysis.comparisons import difference_table, differences, teacher_gains
from analysis.exports import read_export, whole_replicates, write_export
from analysis.figures import accuracy_points, draw_accuracy, figure_svg
from analysis.files import write_whole
from analysis.load import SearchResults, load_search
from analysis.published_sets import published_sets_table, published_words, read_published
from analysis.render import Table, markdown
from analysis.samples import sample_of, seed_accuracies, student_rows
from analysis.summary import summarise
from analysis.tables import table_caption, table_cells
from analysis.views import make_tables
from analysis.words import interval, points
from harness.errors import HarnessError, ResultError
from harness.schema import EVALUATIONS_FILE, SEARCH_FILE

PAGE, TEMPLATE, ROWS, FIGURES, PUBLISHED = (
    "README.md", "README.md.j2", "rows", "figures", "published",
)  # fmt: skip
_EVALUATION_FILE = "evaluation.json"
"""What ``harness evaluate --out`` writes beside its rows."""


class Study:
    """One search, as the page speaks of it."""

    def __init__(self, name: str, results: SearchResults, figures: Path) -> None:
        """Take a search; its figures go to a folder."""
        self.name = name
        self.results = results
        self._figures = figures

    @property
    def n(self) -> int:
        """Whole replicates."""
        return int(self.results.trials["replicate"].nunique())

    @property
    def title(self) -> str:
        """Title of its space."""
        return self.results.title

    @property
    def trials(self) -> int:
        """Trials of its whole replicates."""
        return len(self.results.trials)

    @property
    def command(self) -> str:
        """Command that started it."""
        return " ".join(map(str, self.results.provenance.get("command", ["(not recorded)"])))

    @property
    def versions(self) -> str:
        """Versions of what its results depend on."""
        known = self.results.provenance.get("versions", {})
        return ", ".join(f"{name} {version}" for name, version in sorted(known.items()))

    @property
    def code(self) -> str:
        """Commits that its rows are from."""
        return ", ".join(str(one)[:12] for one in self.results.rows["git_hash"].dropna().unique())

    @property
    def device(self) -> str:
        """What it ran on, and with how many threads a trial."""
        rows = self.results.rows
        threads = ", ".join(str(one) for one in rows["threads"].dropna().unique())
        return f"{', '.join(rows['device'].dropna().unique())}, {threads} thread(s) a trial"

    @property
    def hours(self) -> str:
        """Hours that its trials took, by the clock, if one ran after the other."""
        names = ("distill_s", "quick_s", "eval_s", "control_s")
        seconds = self.results.trials[list(names)].sum().sum()
        return f"{seconds / 3600:.1f}"

    def answer(self) -> list[str]:
        """Its answer in words, as ``harness report`` says it first."""
        return summarise(self.results).splitlines()

    def undecided(self) -> list[str]:
        """What it could not settle."""
        return [line for line in self.answer() if "undecided" in line or "Not settled" in line]

    def means(self) -> str:
        """Accuracy of each configuration, in Markdown."""
        frame = by_setting(self.results)
        return markdown(table_cells(frame), table_caption(frame))

    def table(self, name: str) -> str:
        """A table of ``analysis.views.TABLES``, in Markdown."""
        (table,) = make_tables(self.results, [name])
        return _markdown(table)

    def carry_over_words(self) -> list[str]:
        """What ``carry_over`` says: a line for each student that is left out."""
        lines = []
        for row in carry_over(self.results).to_dict("records"):
            start = f"{row['group']}: " if row["group"] else ""
            start += f"{row['student']} left out: "
            if row["value"] == row["reference"] and row["gain"] == 0.0:
                lines.append(f"{start}the others choose plain distillation itself, n = {row['n']}")
                continue
            ends = interval(row["gain_low"], row["gain_high"])
            verdict = "undecided"
            if row["settled"]:
                verdict = "it carries over" if row["gain"] > 0 else "it does harm"
            lines.append(
                f"{start}{points(row['gain'])} {ends} above plain distillation on test images, "
                f"n = {row['n']}: {verdict}"
            )
        return lines

    def teacher_words(self) -> str:
        """The largest gain by a teacher and its parts, in words."""
        frame = teacher_gains(self.results)
        best = frame[frame["part"] == "gain"].sort_values("mean", kind="stable").iloc[-1]
        keys = ["group", "alpha", "temperature"]
        same = frame[(frame[keys] == best[keys]).all(axis=1)].set_index("part")
        said = {
            name: f"{points(row['mean'])} {interval(row['low'], row['high'])}"
            for name, row in same.to_dict("index").items()
        }
        verdict = "settled" if best["settled"] else "undecided"
        return (
            f"The largest gain over plain training is {said['gain']}, at alpha {best['alpha']:g} "
            f"and temperature {best['temperature']:g}, n = {best['n']}: {verdict}; of it the "
            f"smaller step alone gives {said['step']}, transfer {said['transfer']}"
        )

    def beside(self, reference: Mapping[str, Any]) -> str:
        """Every configuration beside one, in Markdown."""
        return _markdown(difference_table(self.results, reference))

    def beside_plain(self) -> str:
        """Every configuration beside plain distillation, in Markdown."""
        return self.beside(self._plain)

    def bounds_words(self) -> str:
        """How far from plain distillation other main-model probabilities can be, in words."""
        frame = differences(self.results, self._plain)
        frame = frame[frame[MAIN_PROBABILITY].notna()]
        if frame[["low", "high"]].isna().any(axis=None):
            return "One replicate has no spread: how far pools are from plain distillation is open"
        above, below = (points(max(end, 0.0)) for end in (frame["high"].max(), -frame["low"].min()))
        return (
            f"Of {len(frame)} pools none is more than {above} above plain distillation, or {below} "
            f"below it, by the ends of its own 95% interval, n = {frame['n'].min()}"
        )

    @property
    def _plain(self) -> dict[str, Any]:
        """Settings of plain distillation."""
        found = (applying(one.settings) for one in list_configurations(self.results))
        return next(settings for settings in found if settings.items() >= PLAIN.items())

    def beside_best_constant(self) -> str:
        """Every schedule and constant beside the constant with the best mean, in Markdown."""
        accuracies = seed_accuracies(student_rows(self.results, metric_split(self.results)))
        constants = {
            sample_of(one.trials, accuracies).to_numpy().mean(): applying(one.settings)
            for one in list_configurations(self.results)
            if applying(one.settings).get("pool.schedule", "constant") == "constant"
        }
        return self.beside(constants[max(constants)])

    def figure(self) -> str:
        """Draw accuracy against the main-model probability; return how Markdown shows it."""
        path = self._figures / f"{self.name}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = [
            accuracy_points(part).assign(group=group) for group, part in _by_group(self.results)
        ]
        figure = draw_accuracy(
            pd.concat(parts, ignore_index=True), split=metric_split(self.results)
        )
        write_whole(path, figure_svg(figure))
        return f"![{self.title}: accuracy against the main-model probability](figures/{path.name})"


def build(folder: Path, to: Path | None = None) -> Path:
    """Write the page and its figures.

    Args:
        folder: Has ``README.md.j2`` and ``rows``.
        to: Where they go; by default the same folder.

    Returns:
        The page.

    Raises:
        ResultError: Rows cannot be read, or a file not be written.
    """
    to = folder if to is None else to
    figures = to / FIGURES
    studies = {name: Study(name, results, figures) for name, results in _stored(folder / ROWS)}
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=False,  # Markdown
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    published = read_published(folder / ROWS / PUBLISHED)
    try:
        if figures.exists():
            shutil.rmtree(figures)
        page = environment.get_template(TEMPLATE).render(
            studies=studies,
            published=_markdown(published_sets_table(published)) if len(published) else "",
            published_words=published_words(published),
        )
    except OSError as error:
        raise ResultError(f"{to}: cannot be written ({error})") from error
    write_whole(to / PAGE, page)
    return to / PAGE


def collect(searches: Path, rows: Path) -> list[str]:
    """Store the rows of all searches and evaluations below a folder.

    Args:
        searches: Its folders are searches, which may still run, or were written by ``harness
            evaluate --out`` (below a folder ``published``).
        rows: Where they are stored, a folder for each that has a whole replicate.

    Returns:
        What was stored, a line for each.
    """
    said = []
    for folder in sorted(searches.iterdir()):
        if not (folder / SEARCH_FILE).exists():
            continue
        if not len(whole_replicates(load_search(folder)).trials):
            said.append(f"{folder.name}: no whole replicate yet")
            continue
        found = write_export(folder, rows / folder.name)
        said.append(f"{folder.name}: {found.replicates} whole replicates, {found.left_out} to come")
    for folder in sorted((searches / PUBLISHED).glob("*")):
        if not (folder / EVALUATIONS_FILE).exists():
            continue
        to = rows / PUBLISHED / folder.name
        to.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / EVALUATIONS_FILE, to / EVALUATIONS_FILE)
        record = json.loads((folder / _EVALUATION_FILE).read_text(encoding="utf-8"))
        for one in record["sets"]:
            one["provenance"].pop("host", None)
        text = json.dumps(record, indent=1, sort_keys=True)
        (to / _EVALUATION_FILE).write_text(f"{text}\n", encoding="utf-8")
        said.append(f"{PUBLISHED}/{folder.name}")
    return said


def _stored(rows: Path) -> Iterator[tuple[str, SearchResults]]:
    for folder in sorted(rows.glob("*")):
        if folder.is_dir() and folder.name != PUBLISHED:
            yield folder.name, read_export(folder)


def _by_group(results: SearchResults) -> Iterator[tuple[str, SearchResults]]:
    """The search in parts that vary the main-model probability alone."""
    for group, members in value_groups(list_configurations(results), MAIN_PROBABILITY):
        trials = pd.concat([one.trials for one in members])
        rows = results.rows[results.rows["trial_id"].isin(trials["trial_id"])]
        yield group, replace(results, varied=(MAIN_PROBABILITY,), trials=trials, rows=rows)


def _markdown(table: Table) -> str:
    return markdown(table.cells, table.caption)


def main(arguments: list[str] | None = None) -> int:
    """Write the page; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m analysis.findings", description=build.__doc__)
    parser.add_argument("folder", type=Path, help="has README.md.j2 and rows")
    parser.add_argument("--collect", type=Path, metavar="OUT", help="store the rows of OUT first")
    given = parser.parse_args(arguments)
    try:
        if given.collect is not None:
            for line in collect(given.collect, given.folder / ROWS):
                sys.stdout.write(f"{line}\n")
        sys.stdout.write(f"{build(given.folder)}\n")
    except HarnessError as error:
        sys.stderr.write(f"analysis.findings: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
