"""``harness run``: one trial, in a folder of its own."""

from contextlib import closing
from pathlib import Path
from typing import Any

import typer

from harness.config import TrialConfig
from harness.context import Context
from harness.errors import ConfigError
from harness.events import Decision, Event, Progress
from harness.numerics import choose_device
from harness.records import read_json
from harness.schema import (
    DISTILLED_FILE,
    ERROR_FILE,
    EVALUATIONS_FILE,
    EVENTS_PREFIX,
    FINISHED,
    IMAGES_FILE,
    STORE_FOLDER,
    TEST,
    TRIAL_FILE,
    VALIDATION,
)
from harness.search.interruption import Interruption
from harness.store import Store
from harness.tracking import Tracker
from harness.trial import preflight, run_trial, shared_data

_OWN = {DISTILLED_FILE, ERROR_FILE, EVALUATIONS_FILE, IMAGES_FILE, STORE_FOLDER}
"""What a killed trial leaves."""


def run_one(config: TrialConfig, out: Path | None, device: str, store: Path | None) -> bool:
    """Run a trial, or what is missing of it, and print its result.

    Args:
        config: The trial.
        out: Its folder; by default one below ``runs``, named after the trial.
        device: ``auto``, ``cpu`` or ``cuda``.
        store: Folder of the store; by default one in the trial's folder.

    Returns:
        Whether there is a result.

    Raises:
        ConfigError: The folder holds something else, or the device is not there.
        DataError: The images are missing, corrupt or do not fit.
    """
    digest = config.digest()
    folder = out or Path("runs") / digest[:8]
    record = _earlier_record(folder, digest)
    if record is not None:
        typer.echo(f"{folder} holds this trial's result already")
    else:
        where = choose_device(device)
        preflight([config])
        typer.echo(
            f"{digest[:8]}  {config.num_iterations()} iterations on {where.type}, into {folder}"
        )
        tracker = Tracker(folder, digest, typer.echo)

        def report(event: Event) -> Decision:
            _print_event(event)
            tracker.report(event)
            return Decision.CONTINUE

        with Interruption() as interruption, closing(tracker):
            context = Context(
                folder=folder,
                device=where,
                data=shared_data(config.dataset, config.protocol, where),
                trial_id=digest[:8],
                report=report,
                store=Store(store or folder / STORE_FOLDER),
                stopping=interruption,
            )
            record = run_trial(config, context)
            tracker.finish(record)
    _print_record(record)
    return record["status"] in ("ok", "diverged")


def _earlier_record(folder: Path, digest: str) -> dict[str, Any] | None:
    """The record of the same trial, finished, in a folder; None where the folder is free."""
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
    return all(
        entry.name in _OWN or entry.name.endswith(".tmp") or entry.name.startswith(EVENTS_PREFIX)
        for entry in folder.iterdir()
    )


def _print_event(event: Event) -> None:
    if isinstance(event, Progress):
        quick = "" if event.quick is None else f"  quick validation {event.quick:.3f}"
        typer.echo(
            f"iteration {event.iteration}/{event.iterations}  matching loss "
            f"{event.matching_loss:.3f}{quick}"
        )


def _print_record(record: dict[str, Any]) -> None:
    timings = record["timings"]
    for note in record["notes"]:
        typer.echo(f"note: {note}")
    typer.echo(
        f"{record['status']}  distilled in {timings['distill_s']:.1f} s, "
        f"evaluated in {timings['eval_s']:.1f} s"
    )
    if record["status"] == "interrupted":
        typer.echo("its state is saved: the same command again goes on")
    for name, value in sorted(record["metrics"].items()):
        if value is not None and name.startswith((VALIDATION, TEST)):
            typer.echo(f"{name:<24} {value:.4f}")
    for name, found in record["diagnostics"].items():
        if found["fired"]:
            typer.echo(f"diagnostic {name}: {found['value']:.3g} ({found['meaning']})")
