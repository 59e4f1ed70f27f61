"""The page of findings from the rows that are stored beside it.

``python -m analysis.findings docs/findings`` writes ``README.md`` from ``README.md.j2``, and the
figures that it shows; ``--collect OUT`` first stores the rows of the searches below OUT, and the
sets of those at the paper's size, each of which takes hours to make. No number on the page is typed
by hand: text asks, rows answer.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.exports import read_export, whole_replicates, write_export
from analysis.files import write_whole
from analysis.load import SearchResults, load_search
from analysis.published_sets import published_sets_table, published_words, read_published
from analysis.published_teacher import published_teacher_table, published_teacher_words
from analysis.render import markdown
from analysis.study import Study
from harness.errors import HarnessError, ResultError
from harness.schema import DISTILLED_FILE, EVALUATIONS_FILE, SEARCH_FILE, TRIALS_FOLDER

PAGE, TEMPLATE, ROWS, FIGURES, PUBLISHED, SETS = (
    "README.md", "README.md.j2", "rows", "figures", "published", "sets",
)  # fmt: skip
_AT_PAPER_SIZE = "-paper"
"""How the names of searches end of which the sets are stored too."""
_EVALUATION_FILE = "evaluation.json"
"""What ``harness evaluate --out`` writes beside its rows."""


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
    tables = [published_sets_table(published), published_teacher_table(published)]
    shown = [markdown(one.cells, one.caption) if len(one.frame) else "" for one in tables]
    try:
        if figures.exists():
            shutil.rmtree(figures)
        page = environment.get_template(TEMPLATE).render(
            studies=studies,
            published=shown[0],
            published_words=published_words(published),
            published_teacher=shown[1],
            published_teacher_words=published_teacher_words(published),
        )
    except OSError as error:
        raise ResultError(f"{to}: cannot be written ({error})") from error
    write_whole(to / PAGE, page)
    return to / PAGE


def collect(searches: Path, folder: Path) -> list[str]:
    """Store the rows of all searches and evaluations below a folder.

    Args:
        searches: Its folders are searches, which may still run, or were written by ``harness
            evaluate --out`` (below a folder ``published``).
        folder: Where they are stored: below ``rows`` a folder for each that has a whole replicate,
            below ``sets`` one for each at the paper's size.

    Returns:
        What was stored, a line for each.
    """
    said, rows = [], folder / ROWS
    for search in sorted(searches.iterdir()):
        if not (search / SEARCH_FILE).exists():
            continue
        whole = whole_replicates(load_search(search)).trials
        if not len(whole):
            said.append(f"{search.name}: no whole replicate yet")
            continue
        found = write_export(search, rows / search.name)
        said.append(f"{search.name}: {found.replicates} whole replicates, {found.left_out} to come")
        if search.name.endswith(_AT_PAPER_SIZE):
            _store_sets(search, whole["trial_id"], folder / SETS / search.name)
    for evaluation in sorted((searches / PUBLISHED).glob("*")):
        if not (evaluation / EVALUATIONS_FILE).exists():
            continue
        to = rows / PUBLISHED / evaluation.name
        to.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(evaluation / EVALUATIONS_FILE, to / EVALUATIONS_FILE)
        record = json.loads((evaluation / _EVALUATION_FILE).read_text(encoding="utf-8"))
        for one in record["sets"]:
            one["provenance"].pop("host", None)
        text = json.dumps(record, indent=1, sort_keys=True)
        (to / _EVALUATION_FILE).write_text(f"{text}\n", encoding="utf-8")
        said.append(f"{PUBLISHED}/{evaluation.name}")
    return said


def _store_sets(search: Path, trial_ids: Iterable[str], to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for name in trial_ids:
        made = search / TRIALS_FOLDER / name / DISTILLED_FILE
        if made.exists():  # a trial that diverged has none
            shutil.copyfile(made, to / f"{name}{made.suffix}")


def _stored(rows: Path) -> Iterator[tuple[str, SearchResults]]:
    for folder in sorted(rows.glob("*")):
        if folder.is_dir() and folder.name != PUBLISHED:
            yield folder.name, read_export(folder)


def main(arguments: list[str] | None = None) -> int:
    """Write the page; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m analysis.findings", description=build.__doc__)
    parser.add_argument("folder", type=Path, help="has README.md.j2 and rows")
    parser.add_argument("--collect", type=Path, metavar="OUT", help="store the rows of OUT first")
    given = parser.parse_args(arguments)
    try:
        if given.collect is not None:
            for line in collect(given.collect, given.folder):
                sys.stdout.write(f"{line}\n")
        sys.stdout.write(f"{build(given.folder)}\n")
    except HarnessError as error:
        sys.stderr.write(f"analysis.findings: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
