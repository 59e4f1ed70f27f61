"""One search as the page of findings speaks of it: what it is, and what it says in words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.aggregate import (
    applying,
    by_setting,
    configuration_text,
    list_configurations,
    metric_split,
)
from analysis.answers import (
    MAIN_PROBABILITY,
    PLAIN,
    best_values,
    more_words,
    value_groups,
    value_words,
)
from analysis.choices import carry_over
from analysis.comparisons import difference_table, differences, teacher_gains
from analysis.figures import accuracy_points, draw_accuracy, figure_svg
from analysis.files import write_whole
from analysis.interaction import interaction_words, pool_and_kd
from analysis.load import SearchResults
from analysis.published import reproduction_words
from analysis.records import CPU_CAPABILITY
from analysis.render import markdown
from analysis.samples import sample_of, seed_accuracies, student_rows
from analysis.scores import RANDOM
from analysis.similarity import correlation_words, similarity_correlations
from analysis.summary import summarise
from analysis.tables import table_caption, table_cells
from analysis.troubles import fired_diagnostics
from analysis.views import make_tables
from analysis.words import difference_words, points
from harness.schema import TEST_UNSEEN_MEAN

_SIZES = {
    "network.width": "width {}",
    "batch_real": "{} real images a class and step",
    "iterations": "{} iterations",
}
"""Settings that make a study small, and how they are said."""
OTHERS, SIMILAR = "pool.others", "similar"
PAPER = {MAIN_PROBABILITY: 0.9, OTHERS: SIMILAR}
"""What arXiv 2402.13007 chose."""
SCHEDULE, CONSTANT = "pool.schedule", "constant"
_LOST = "n_diverged_students"


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
        """What it ran on, with which instructions, and with how many threads a trial."""
        rows, capabilities = self.results.rows, self.results.trials[CPU_CAPABILITY]
        device = ", ".join(rows["device"].dropna().unique())
        used = " and ".join(sorted(one for one in capabilities.unique() if one))
        threads = ", ".join(str(one) for one in rows["threads"].dropna().unique())
        return f"{device}{f' ({used})' if used else ''}, {threads} thread(s) a trial"

    @property
    def size(self) -> str:
        """The settings that make it small, as its trials have them."""
        distilled = self.results.settings
        if "method" in distilled:
            distilled = distilled[distilled["method"] != RANDOM]
        said = []
        for name, words in _SIZES.items():
            values = sorted(distilled[name].dropna().unique()) if name in distilled else []
            if values:
                said.append(words.format(" or ".join(f"{value:g}" for value in values)))
        return ", ".join(said)

    @property
    def hours(self) -> str:
        """Hours that its trials took, by the clock, if one ran after the other."""
        names = ("distill_s", "quick_s", "eval_s", "control_s")
        seconds = self.results.trials[list(names)].sum().sum()
        return f"{seconds / 3600:.1f}"

    def answer(self) -> list[str]:
        """Its answer in words, as ``harness report`` says it first."""
        return summarise(self.results).splitlines()

    def best_words(self) -> list[str]:
        """The best main-model probability, a line for each kind of pool, and the bounds."""
        best = [value_words(row)[0] for row in best_values(self.results).itertuples()]
        return [*best, self.bounds_words()]

    def undecided(self) -> list[str]:
        """What it could not settle."""
        return [line for line in self.answer() if "undecided" in line or "Not settled" in line]

    @property
    def shows_failure(self) -> bool:
        """Whether any diagnostic of its trials fired."""
        return not fired_diagnostics(self.results).empty

    def means(self) -> str:
        """Accuracy of each configuration, in Markdown."""
        frame = by_setting(self.results)
        return markdown(table_cells(frame), table_caption(frame))

    def table(self, name: str) -> str:
        """A table of ``analysis.views.TABLES``, in Markdown."""
        (table,) = make_tables(self.results, [name])
        return markdown(table.cells, table.caption)

    def carry_over_words(self) -> list[str]:
        """What ``carry_over`` says: a line for each student that is left out."""
        lines = []
        for row in carry_over(self.results).to_dict("records"):
            start = f"{row['group']}: " if row["group"] else ""
            start += f"{row['student']} left out: "
            if row["value"] == row["reference"] and row["gain"] == 0.0:
                lines.append(f"{start}the others choose plain distillation itself, n = {row['n']}")
                continue
            gain = difference_words(row["gain"], row["gain_low"], row["gain_high"])
            verdict = "undecided"
            if row["settled"]:
                verdict = "it carries over" if row["gain"] > 0 else "it does harm"
            lines.append(
                f"{start}{gain} above plain distillation on test images, n = {row['n']}: {verdict}"
            )
        return lines

    def teacher_words(self) -> list[str]:
        """The largest gain by a teacher and its parts; and at how many of its settings it gains."""
        frame = teacher_gains(self.results)
        gains = frame[frame["part"] == "gain"].sort_values("mean", kind="stable")
        best = gains.iloc[-1]
        keys = ["group", "alpha", "temperature"]
        same = frame[(frame[keys] == best[keys]).all(axis=1)].set_index("part")
        said = {name: _difference(row) for name, row in same.to_dict("index").items()}
        verdict = "settled" if best["settled"] else "undecided"
        words = [
            f"The largest gain over plain training is {said['gain']}, at alpha {best['alpha']:g} "
            f"and temperature {best['temperature']:g}, n = {best['n']}: {verdict}; of it the "
            f"smaller step alone gives {said['step']}, transfer {said['transfer']}"
        ]
        settled = gains[gains["settled"]]
        better, worse = settled[settled["mean"] > 0], settled[settled["mean"] < 0]
        counts = (
            f"Of {len(gains)} pairs of alpha and temperature, {len(better)} gain and {len(worse)} "
            f"lose by more than chance, n = {gains['n'].min()}"
        )
        for what, found in (("gain", better[::-1]), ("lose", worse)):
            if len(found):
                pairs = [f"{row.alpha:g} and {row.temperature:g}" for row in found.itertuples()]
                counts += f"; {what}: {', '.join(pairs)}"
        return [*words, counts]

    def beside_words(self, reference: Mapping[str, Any]) -> list[str]:
        """How each configuration compares with one from which a single setting parts it."""
        lines = []
        for row in self._compared(reference):
            own = applying({name: row[name] for name in self.results.varied})
            changed = [name for name in self.results.varied if own.get(name) != reference.get(name)]
            if len(changed) == 1:
                lines.append(_beside(row, changed, reference))
        return lines

    def _compared(self, reference: Mapping[str, Any]) -> list[dict[Any, Any]]:
        """Rows of ``differences``, with how many networks of unseen students diverged."""
        varied = list(self.results.varied)
        lost = by_setting(self.results)[[*varied, _LOST]]
        found = differences(self.results, reference).merge(lost, on=varied, validate="1:1")
        return found.to_dict("records")

    def convergence_words(self) -> list[str]:
        """How similarity goes with convergence and gain, a line for each."""
        return correlation_words(similarity_correlations(self.results))

    def interaction_words(self) -> list[str]:
        """Whether pool and KD help each other, a line for each arm without KD."""
        return interaction_words(pool_and_kd(self.results))

    def reproduction_words(self) -> list[str]:
        """How far it is from the paper's Tables 4 and 5, a line for each cell."""
        return reproduction_words(self.results)

    def beside(self, reference: Mapping[str, Any]) -> str:
        """Every configuration beside one, in Markdown."""
        table = difference_table(self.results, reference)
        return markdown(table.cells, table.caption)

    def beside_plain(self) -> str:
        """Every configuration beside plain distillation, in Markdown."""
        return self.beside(self._settings_with(PLAIN))

    def beside_paper(self) -> str:
        """Every configuration beside the paper's main-model probability, in Markdown."""
        return self.beside(self._settings_with(PAPER))

    def paper_words(self) -> str:
        """How the value chosen in the paper's pool compares with the paper's, on test images."""
        means, frame = (
            found[found[MAIN_PROBABILITY].notna() & (found[OTHERS].fillna(SIMILAR) == SIMILAR)]
            for found in (
                by_setting(self.results),
                differences(self.results, self._settings_with(PAPER), TEST_UNSEEN_MEAN),
            )
        )
        means = means.dropna(subset="mean").sort_values("mean", kind="stable")
        chosen = means[MAIN_PROBABILITY].iloc[-1]
        if chosen == PAPER[MAIN_PROBABILITY]:
            return f"The paper's {chosen:g} itself has the highest mean in its pool"
        (row,) = frame[frame[MAIN_PROBABILITY] == chosen].to_dict("records")
        return (
            f"On test images the chosen {chosen:g} is {_difference(row)} above the paper's "
            f"{PAPER[MAIN_PROBABILITY]:g} in its pool, {_verdict(row)}"
        )

    def _settings_with(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of the first configuration that has these among them."""
        found = (applying(one.settings) for one in list_configurations(self.results))
        return next(settings for settings in found if settings.items() >= part.items())

    def bounds_words(self) -> str:
        """How far from plain distillation other main-model probabilities can be, in words."""
        frame = differences(self.results, self._settings_with(PLAIN))
        frame = frame[frame[MAIN_PROBABILITY].notna()]
        if frame[["low", "high"]].isna().any(axis=None):
            return "One replicate has no spread: how far pools are from plain distillation is open"
        above, below = (points(max(end, 0.0)) for end in (frame["high"].max(), -frame["low"].min()))
        return (
            f"Of {len(frame)} pools none is more than {above} above plain distillation, or {below} "
            f"below it, by the ends of its own 95% interval, n = {frame['n'].min()}"
        )

    def beside_best_constant(self) -> str:
        """Every schedule and constant beside the best constant, in Markdown."""
        return self.beside(self._best_constant)

    def schedule_words(self) -> list[str]:
        """How each schedule compares with the best constant, a line for each."""
        reference = self._best_constant
        return [
            _beside(row, self.results.varied, reference)
            for row in self._compared(reference)
            if applying(row).get(SCHEDULE, CONSTANT) != CONSTANT
        ]

    @property
    def _best_constant(self) -> dict[str, Any]:
        """Settings of the constant main-model probability with the highest mean."""
        accuracies = seed_accuracies(student_rows(self.results, metric_split(self.results)))
        constants = {
            sample_of(one.trials, accuracies).to_numpy().mean(): applying(one.settings)
            for one in list_configurations(self.results)
            if applying(one.settings).get(SCHEDULE, CONSTANT) == CONSTANT
        }
        return constants[max(constants)]

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


def _by_group(results: SearchResults) -> Iterator[tuple[str, SearchResults]]:
    """The search in parts that vary the main-model probability alone."""
    for group, members in value_groups(list_configurations(results), MAIN_PROBABILITY):
        trials = pd.concat([one.trials for one in members])
        rows = results.rows[results.rows["trial_id"].isin(trials["trial_id"])]
        yield group, replace(results, varied=(MAIN_PROBABILITY,), trials=trials, rows=rows)


def _beside(row: dict[Any, Any], names: Sequence[str], reference: Mapping[str, Any]) -> str:
    """Say how a row of ``_compared`` compares with the reference, in terms of some settings."""
    own = configuration_text(names, map(row.get, names))
    if row["n"] == 0 and row[_LOST]:
        return f"{own}: no mean, since {row[_LOST]} networks of unseen students diverged"
    base = configuration_text(names, map(reference.get, names))
    return f"{own}: {_difference(row)} against {base}, {_verdict(row)}"


def _difference(row: dict[Any, Any]) -> str:
    return difference_words(row["mean"], row["low"], row["high"])


def _verdict(row: dict[Any, Any]) -> str:
    more = f"undecided, {more_words(row['more_replicates'], row['n'])}"
    return f"n = {row['n']}: {'settled' if row['settled'] else more}"
