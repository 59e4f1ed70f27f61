"""The command line: ``harness run | search | evaluate | export | report | spaces | datasets``.

Each command is a thin function over one call of the package, and imports what it needs inside
itself, so that ``--help`` is quick. Exit status: 0 done, 1 a trial failed for good or the search is
not complete, 2 wrong input, which is answered by one line.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from harness.commands.datasets import app as datasets_app
from harness.commands.evaluate import evaluate
from harness.commands.export import export
from harness.errors import ConfigError, HarnessError

if TYPE_CHECKING:
    from harness.search.folder import SearchFolder
    from harness.search.plan import PlannedTrial
    from harness.search.space import Space

DONE, INCOMPLETE, WRONG_INPUT = 0, 1, 2

app = typer.Typer(
    name="harness",
    help="Answer questions about dataset distillation by search.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
spaces_app = typer.Typer(help="List, show or check search spaces.", invoke_without_command=True)
app.add_typer(spaces_app, name="spaces")
app.add_typer(datasets_app, name="datasets")
app.command()(evaluate)
app.command()(export)

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


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
    device: Device = "auto",
) -> None:
    """Run one trial: distil a set, train students on it, print and store their accuracies."""
    from harness.config import make_config, set_dotted
    from harness.overrides import parse_assignments, read_settings

    data = read_settings(config) if config else {}
    for name, value in parse_assignments(set_ or []).items():
        set_dotted(data, name, value)
    settings = make_config(data, str(config) if config else "")
    digest = settings.digest()
    folder = out or Path("runs") / digest[:8]
    record = _earlier_record(folder, digest)
    if record is None:
        from harness.numerics import choose_device
        from harness.trial import Context, preflight, run_trial, shared_data

        where = choose_device(device)
        preflight([settings])
        context = Context(
            folder=folder,
            device=where,
            data=shared_data(settings.dataset, settings.protocol, where),
            trial_id=digest[:8],
            report=_print_progress,
        )
        _say(f"{digest[:8]}  {settings.iterations} iterations on {where.type}, into {folder}")
        record = run_trial(settings, context)
    else:
        _say(f"{folder} holds this trial's result already")
    _print_record(record)
    _exit(DONE if record["status"] in ("ok", "diverged") else INCOMPLETE)


@app.command()
def search(
    space: Annotated[str, typer.Argument(help="Name of a bundled space, or a TOML file.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the search.")],
    set_: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Only continue a search that is there.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the size of the plan and stop.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Run at most N trials, then stop.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Configurations of a random search.")
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
    device: Device = "auto",
) -> None:
    """Run a search, or what is missing of it: the same command again continues."""
    from harness.overrides import parse_assignments
    from harness.search.estimate import estimate
    from harness.search.folder import open_search
    from harness.search.space import load_space, with_samples

    checked = load_space(space, parse_assignments(set_ or []))
    if samples is not None:
        checked = with_samples(checked, samples)
    _check_address(address)
    _check_positive("--cpus-per-trial", cpus_per_trial)
    folder = open_search(out, checked, must_exist=resume)
    _say(f"{checked.title or checked.name}: {estimate(folder.plan).text()}")
    if dry_run:
        return
    trials = folder.missing()
    _say(f"{folder.path}: {len(folder.plan) - len(trials)} done, {len(trials)} to run")
    interrupted = False
    if trials:
        interrupted = _run_search(
            folder, trials[:limit], address, cpus_per_trial, gpus_per_trial, device
        )
    _exit(_conclude(folder, checked, limited=limit is not None, interrupted=interrupted))


@app.command()
def report(
    out: Annotated[list[Path], typer.Argument(metavar="OUT...", help="Folders of searches.")],
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="HTML file [OUT/report.html].")
    ] = None,
) -> None:
    """Print a search's table and write it, with a figure, as one HTML file."""
    from rich.console import Console

    from analysis.aggregate import by_setting
    from analysis.load import load
    from analysis.report import summarise, write_report
    from analysis.tables import terminal_table

    console = Console(highlight=False)
    searches = load(out)
    for results in searches:
        console.print(terminal_table(by_setting(results), results.title or results.name))
        _say(summarise(results))
    path = to or out[0] / "report.html"
    if not path.parent.is_dir():
        raise ConfigError(f"--to: no folder {path.parent}; make it, or choose another file")
    write_report(searches, path)
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
    from harness.search.estimate import estimate
    from harness.search.plan import make_plan
    from harness.search.space import load_space

    _say(f"{file}: legal; {estimate(make_plan(load_space(file))).text()}")


def _run_search(
    folder: "SearchFolder",
    trials: "list[PlannedTrial]",
    address: str,
    cpus_per_trial: float | None,
    gpus_per_trial: float | None,
    device: str,
) -> bool:
    """Run trials by the executor that ``address`` names; return whether it was interrupted."""
    from harness.numerics import choose_device
    from harness.search.console import SearchConsole
    from harness.trial import preflight

    where = choose_device(device)
    if address == "inline":
        from harness.search.inline import run_inline

        preflight(trial.config for trial in trials)
        folder.prepare()
        with SearchConsole(folder, len(trials)) as console:
            return run_inline(folder, trials, where, console)
    from harness.numerics import available_cpus, visible_gpus
    from harness.tune.resources import Resources
    from harness.tune.run import run_on_ray

    threads = max(trial.config.threads for trial in trials)
    default_gpus = 1.0 if where.type == "cuda" else 0.0
    resources = Resources(
        cpus=available_cpus(),
        gpus=visible_gpus() if where.type == "cuda" else 0,
        cpus_per_trial=threads if cpus_per_trial is None else cpus_per_trial,
        gpus_per_trial=default_gpus if gpus_per_trial is None else gpus_per_trial,
    )
    resources.slots()
    preflight(trial.config for trial in trials)
    folder.prepare()
    with SearchConsole(folder, len(trials)) as console:
        return run_on_ray(
            folder,
            trials,
            device=where.type,
            address=address,
            resources=resources,
            console=console,
        )


def _conclude(folder: "SearchFolder", space: "Space", *, limited: bool, interrupted: bool) -> int:
    """Print how a search stands and return the exit status."""
    from harness.search.console import describe_best, describe_counts

    counts = folder.counts()
    _say(f"{'interrupted: ' if interrupted else ''}{describe_counts(counts)}")
    if best := describe_best(folder):
        _say(best)
    if interrupted or counts["error"] or counts["oom"] or counts["interrupted"]:
        return INCOMPLETE
    if counts["not_run"] and not limited:
        _say("not complete: the same command again runs what is missing")
        return INCOMPLETE
    _say(f"results: harness report {folder.path}")
    return DONE


def _earlier_record(folder: Path, digest: str) -> dict[str, Any] | None:
    """The record of the same trial, finished, in a folder; None where the folder is free."""
    from harness.records import read_json
    from harness.schema import FINISHED, TRIAL_FILE

    if not folder.exists():
        return None
    if not folder.is_dir():
        raise ConfigError(f"--out: {folder} is a file, expected a folder; choose another --out")
    path = folder / TRIAL_FILE
    if not path.exists():
        if any(folder.iterdir()) and not _is_unfinished(folder):
            raise ConfigError(
                f"--out: {folder} is not empty and holds no trial; choose another --out"
            )
        return None
    record = read_json(path)
    if record.get("digest") != digest:
        raise ConfigError(f"--out: {folder} holds another trial; choose another --out")
    return record if record.get("status") in FINISHED else None


def _is_unfinished(folder: Path) -> bool:
    """Whether a folder holds nothing but what a killed trial leaves."""
    from harness.schema import DISTILLED_FILE, ERROR_FILE, EVALUATIONS_FILE, IMAGES_FILE

    own = {DISTILLED_FILE, ERROR_FILE, EVALUATIONS_FILE, IMAGES_FILE}
    return all(entry.name in own or entry.name.endswith(".tmp") for entry in folder.iterdir())


def _check_address(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if address in ("local", "inline") or (host and colon and port.isdigit()):
        return
    raise ConfigError(f"--address: got '{address}', expected local, inline or HOST:PORT")


def _check_positive(option: str, value: float | None) -> None:
    if value is not None and value <= 0:
        raise ConfigError(f"{option}: got {value:g}, expected a number > 0")


def _print_progress(progress: Any) -> Any:
    from harness.trial import Decision

    quick = "" if progress.quick is None else f"  quick validation {progress.quick:.3f}"
    _say(
        f"iteration {progress.iteration}/{progress.iterations}  matching loss "
        f"{progress.matching_loss:.3f}{quick}"
    )
    return Decision.CONTINUE


def _print_record(record: dict[str, Any]) -> None:
    timings = record["timings"]
    for note in record["notes"]:
        _say(f"note: {note}")
    _say(
        f"{record['status']}  distilled in {timings['distill_s']:.1f} s, "
        f"evaluated in {timings['eval_s']:.1f} s"
    )
    for name, value in sorted(record["metrics"].items()):
        if value is not None:
            _say(f"{name:<24} {value:.4f}")
    for name, found in record["diagnostics"].items():
        if found["fired"]:
            _say(f"diagnostic {name}: {found['value']:.3g} ({found['meaning']})")


def _say(text: str) -> None:
    typer.echo(text)


def _exit(status: int) -> None:
    sys.stdout.flush()
    raise typer.Exit(status)
