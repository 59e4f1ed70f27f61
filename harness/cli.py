"""The command line of ``harness``: its commands, their options, its exit status.

Each command is a thin function over one call of the package, and imports what it needs inside
itself, so that ``--help`` is quick. Exit status: 0 done, 1 a trial failed for good or the search is
not complete, 2 wrong input, which is answered by one line.
"""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from harness.commands.board import board
from harness.commands.datasets import app as datasets_app
from harness.commands.evaluate import evaluate
from harness.commands.export import export
from harness.commands.figure import FIGURE_SUFFIXES, write_one_figure
from harness.commands.launch import cancel, launch, logs, status
from harness.commands.store import store_app
from harness.errors import ConfigError, HarnessError

DONE, INCOMPLETE, WRONG_INPUT = 0, 1, 2

app = typer.Typer(
    name="harness",
    help="Answer questions about dataset distillation by search.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(store_app, name="store")
spaces_app = typer.Typer(help="List, show or check search spaces.", invoke_without_command=True)
app.add_typer(spaces_app, name="spaces")
app.add_typer(datasets_app, name="datasets")
app.command()(evaluate)
app.command()(export)
app.command()(launch)
app.command()(status)
app.command()(logs)
app.command()(cancel)
app.command()(board)

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
StoreFolder = Annotated[
    Path | None,
    typer.Option(
        "--store", metavar="DIR", help="States and teachers, shared by searches [OUT/store]."
    ),
]


def main() -> NoReturn:
    """Run the command line and exit; a user's mistake is one line, never a traceback."""
    try:
        app(standalone_mode=True)
    except HarnessError as error:
        print(f"harness: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(WRONG_INPUT)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"harness: {error.strerror or error}{where}", file=sys.stderr)  # noqa: T201
        sys.exit(INCOMPLETE)
    except KeyboardInterrupt:
        print("harness: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(INCOMPLETE)
    raise AssertionError("typer exits")


@app.command()
def run(
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file of settings.")
    ] = None,
    set_: Settings = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the trial [runs/<hash>].")
    ] = None,
    store: StoreFolder = None,
    device: Device = "auto",
) -> None:
    """Run one trial: distil a set, train students on it, print and store their accuracies."""
    from harness.config import make_config
    from harness.dotted import set_dotted
    from harness.overrides import parse_assignments, read_settings

    data = read_settings(config) if config else {}
    for name, value in parse_assignments(set_ or []).items():
        set_dotted(data, name, value)
    settings = make_config(data, str(config) if config else "")
    from harness.commands.run import run_one

    _exit(DONE if run_one(settings, out, device, store) else INCOMPLETE)


@app.command()
def search(
    space: Annotated[str, typer.Argument(help="Name of a bundled space, or a TOML file.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the search.")],
    set_: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Only continue a search that is there.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the size of the plan, hours and disk.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Run at most N trials, then stop.")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Configurations of a search that draws or chooses them."
        ),
    ] = None,
    add_samples: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Extend such a search that is there.")
    ] = None,
    promote: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Run the N best distillations that were stopped early to their end, with all "
            "trials that share them.",
        ),
    ] = None,
    address: Annotated[
        str, typer.Option(help="local (a private Ray), inline (no Ray), or HOST:PORT.")
    ] = "local",
    cpus_per_trial: Annotated[
        float | None, typer.Option(metavar="X", help="CPU cores a trial [its threads].")
    ] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(metavar="X", help="GPUs a trial [1 on cuda, else 0].")
    ] = None,
    trials_per_gpu: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Trials that share a GPU, without a wall between their memories; auto: by what "
            "the first one takes.",
        ),
    ] = None,
    store: StoreFolder = None,
    device: Device = "auto",
) -> None:
    """Run a search, or what is missing of it: the same command again continues."""
    from harness.overrides import parse_assignments
    from harness.search.estimate import describe_size
    from harness.search.folder import open_search
    from harness.search.space import load_space, with_samples

    checked = load_space(space, parse_assignments(set_ or []))
    if samples is not None:
        checked = with_samples(checked, samples)
    _check_address(address)
    _check_positive("--cpus-per-trial", cpus_per_trial)
    folder = open_search(out, checked, must_exist=resume, add_samples=add_samples)
    size = describe_size(checked, folder.plan, folder.to_propose())
    _say(f"{checked.title or checked.name}: {size}")
    from harness.commands.search import Asked, describe_plan, run_search

    asked = Asked(address, cpus_per_trial, gpus_per_trial, device, store, trials_per_gpu)
    if dry_run:
        _say(describe_plan(folder, asked, limit))
        return
    _exit(DONE if run_search(folder, asked, limit, promote) else INCOMPLETE)


@app.command()
def report(
    out: Annotated[list[Path], typer.Argument(metavar="OUT...", help="Folders of searches.")],
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="HTML file [OUT/report.html]; .md, .tex or .csv: its tables; .svg, .png or .pdf: "
            "one figure.",
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Print this table alone, or write it: leaderboard, matrix, table4, table5, "
            "chosen, carry_over, teacher, scores, interaction, pool_similarity, cost, diagnostics "
            "or unfinished.",
        ),
    ] = None,
    figure: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Write this figure alone [OUT/NAME.svg]: accuracy, configurations, heat_map, "
            "effects, interactions, importance, parallel, pareto, learning or images; "
            "accuracy:SETTING and heat_map:SETTING,SETTING choose what it is about.",
        ),
    ] = None,
    include_stopped: Annotated[
        bool, typer.Option("--include-stopped", help="List what was stopped early, too.")
    ] = False,
) -> None:
    """Print a search's table and answer, and write all about it as one HTML file.

    The file needs nothing beside it: the answer, tables that sort by a click, figures, distilled
    images, what did not finish, protocol and provenance. Several searches are compared, and what
    was chosen differently in them is listed.
    """
    if figure is not None or (to is not None and to.suffix in FIGURE_SUFFIXES):
        if table is not None:
            raise ConfigError("--table: got a figure as well; ask for one of them")
        write_one_figure(out, figure, to)
        return
    from rich.console import Console

    from analysis.aggregate import by_setting
    from analysis.load import load
    from analysis.render import terminal
    from analysis.report import write_report
    from analysis.searches import compare
    from analysis.stopped import stopped_table, without_stopped
    from analysis.summary import summarise
    from analysis.tables import terminal_table
    from analysis.views import make_tables, write_tables

    console = Console(highlight=False)
    searches = load(out)
    for results in searches:
        if table is None:
            frame = by_setting(without_stopped(results))
            console.print(terminal_table(frame, results.title or results.name))
            if include_stopped and len(results.stopped):
                shown = stopped_table(results)
                console.print(terminal(shown.cells, shown.title, shown.caption))
            _say(summarise(results))
        elif to is None:
            for shown in make_tables(results, [table]):
                console.print(terminal(shown.cells, shown.title, shown.caption))
    if table is None:
        for shown in compare(searches):
            console.print(terminal(shown.cells, shown.title, shown.caption))
    elif to is None:
        return
    path = to or out[0] / "report.html"
    if not path.parent.is_dir():
        raise ConfigError(f"--to: no folder {path.parent}; make it, or choose another file")
    if table is not None or path.suffix in (".md", ".tex", ".csv"):
        write_tables(searches, path, [] if table is None else [table])
    else:
        write_report(searches, path, include_stopped=include_stopped)
    _say(f"report: {path}")


@spaces_app.callback()
def spaces(context: typer.Context) -> None:
    """List the bundled search spaces."""
    if context.invoked_subcommand is not None:
        return
    from harness.search.space import bundled_spaces, load_space

    for name in bundled_spaces():
        space = load_space(name)
        _say(f"{name:<24} {space.title}")
        _say(f"{'':<24} {space.question}")


@spaces_app.command("show")
def show_space(name: Annotated[str, typer.Argument(help="Bundled space or file.")]) -> None:
    """Print a search space."""
    from harness.search.space import space_text

    _say(space_text(name).rstrip())


@spaces_app.command("check")
def check_space(file: Annotated[str, typer.Argument(help="Bundled space or file.")]) -> None:
    """Check a search space and print the size of its plan; needs neither Ray nor a GPU."""
    from harness.search.estimate import describe_size
    from harness.search.plan import make_plan
    from harness.search.space import load_space

    space = load_space(file)
    _say(f"{file}: legal; {describe_size(space, make_plan(space), space.search.samples or 0)}")


def _check_address(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if address in ("local", "inline") or (host and colon and port.isdigit()):
        return
    raise ConfigError(f"--address: got '{address}', expected local, inline or HOST:PORT")


def _check_positive(option: str, value: float | None) -> None:
    if value is not None and value <= 0:
        raise ConfigError(f"{option}: got {value:g}, expected a number > 0")


def _say(text: str) -> None:
    typer.echo(text)


def _exit(status: int) -> None:
    sys.stdout.flush()
    raise typer.Exit(status)
