"""``python -m benchmarks``: time the engine against the plain versions, print a table."""

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.cases import BENCHMARKS, CASES, SETTINGS, Case, select
from benchmarks.report import (
    Machine,
    Row,
    describe_machine,
    file_name,
    format_table,
    make_rows,
    write_json,
)
from benchmarks.runner import ArmError, run_case
from harness import numerics
from harness.errors import ConfigError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks asked for; return the exit status."""
    options = _parse(arguments)
    machine = describe_machine(options.device)
    path = _result_path(options.json, machine)
    rows: list[Row] = []
    try:
        for i, case in enumerate(options.cases, start=1):
            progress = f"[{i}/{len(options.cases)}] {case.benchmark}: {case.label}"
            print(progress, file=sys.stderr, flush=True)
            rounds = run_case(case, device=options.device, threads=options.threads)
            rows += make_rows(
                case, rounds, device=options.device, threads=options.threads, machine=machine
            )
            if path:  # after each case: a long run that is stopped leaves what it has
                write_json(path, rows)
    except ArmError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    print(format_table(rows))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "benchmarks", nargs="*", metavar="BENCHMARK", help=f"{', '.join(BENCHMARKS)}; default: all"
    )
    parser.add_argument("--setting", action="append", choices=SETTINGS, help="may be repeated")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, help="CPU threads; default: all available cores")
    parser.add_argument("--rounds", type=int, help="in place of each case's own number")
    parser.add_argument("--quick", action="store_true", help="try the machinery, not the speed")
    parser.add_argument(
        "--json", type=Path, help="file to write, or folder of a file named after the machine"
    )
    options = parser.parse_args(arguments)
    try:
        _check(options)
    except ConfigError as error:
        parser.error(str(error))
    return options


def _check(options: argparse.Namespace) -> None:
    """Check what argparse cannot, and fill in defaults and the chosen cases."""
    for name in options.benchmarks:
        if name not in BENCHMARKS:
            raise ConfigError(f"BENCHMARK: got '{name}', expected {', '.join(BENCHMARKS)}")
    numerics.choose_device(options.device)
    cores = numerics.available_cpus()
    if options.threads is None:
        options.threads = cores
    if not 1 <= options.threads <= cores:
        raise ConfigError(f"--threads: got {options.threads}, expected 1 to {cores}")
    if options.rounds is not None and options.rounds < 1:
        raise ConfigError(f"--rounds: got {options.rounds}, expected 1 or more")
    options.cases = _choose_cases(options)


def _choose_cases(options: argparse.Namespace) -> list[Case]:
    names = options.benchmarks or BENCHMARKS
    cases = select(names, options.setting or (), quick=options.quick)
    if not cases:
        there = dict.fromkeys(case.setting for case in CASES if case.benchmark in names)
        raise ConfigError(
            f"--setting: {', '.join(names)} has no case at {', '.join(options.setting)}, "
            f"expected one of {', '.join(there)}"
        )
    return cases if options.rounds is None else [replace(c, rounds=options.rounds) for c in cases]


def _result_path(asked: Path | None, machine: Machine) -> Path | None:
    if asked is None:
        return None
    path: Path = asked if asked.suffix == ".json" else asked / file_name(machine)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds: no arm is left behind
    sys.exit(main())
