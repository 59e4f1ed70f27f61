"""Rows of a result, the machine that they were taken on, a table, and a file."""

import json
import os
import re
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.arms import PLAIN, PLAIN_TUNED
from benchmarks.cases import Case
from benchmarks.runner import Timing
from harness import numerics, provenance
from harness.records import write_text

_DISTURBED = 1.5
"""Slowest over fastest round, above which the times tell more of the machine than of the arm."""


@dataclass(frozen=True)
class Machine:
    """What the numbers depend on besides the code; part of every row."""

    cpu: str
    """Model, as the system calls it."""
    cores: int
    """That this process may use."""
    memory_gib: float
    gpu: str | None
    """Model; None where nothing ran on one."""
    torch: str
    python: str
    git_hash: str | None
    """Of the code, ``-dirty`` where it was changed."""


@dataclass(frozen=True)
class Row:
    """One arm of one case."""

    name: str
    """Benchmark."""
    setting: str
    """Setting, and what was reduced."""
    variant: str
    """Arm."""
    device: str
    """``cpu`` or ``cuda``."""
    threads: int
    """CPU threads."""
    median_s: float
    """Over the rounds."""
    ratio: float | None
    """Times faster than ``plain``: median of the ratios within each round."""
    ratio_tuned: float | None
    """Times faster than ``plain-tuned``, likewise."""
    n: int
    """Rounds."""
    min_s: float
    max_s: float
    peak_gib: float
    """Peak memory of the arm's process: resident on the CPU, allocated on a GPU."""
    first_s: float | None
    """First call of the process: compiling and recording are in it."""
    kernels: int | None
    """Launched by a call on a GPU."""
    flop: float | None
    """Operations of a call, counted on the plain version; None where they were not counted."""
    gflop_per_s: float | None
    """Achieved, or for the floor that of a matrix product."""
    bytes: float | None
    """Read and written by a call of the plain version, unfused; of the floor alone."""
    gbytes_per_s: float | None
    """Of a copy; of the floor alone."""
    machine: Machine

    def flat(self) -> dict[str, object]:
        """The row as plain data of one level, its machine's fields included."""
        fields = asdict(self)
        machine = fields.pop("machine")
        return {**fields, **machine}


def describe_machine(device: str) -> Machine:
    """Describe this machine, naming no host."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Machine(
        cpu=_cpu_model(),
        cores=numerics.available_cpus(),
        memory_gib=round(memory, 1),
        gpu=numerics.device_name(torch.device(device)) if device == "cuda" else None,
        torch=torch.__version__,
        python=provenance.versions()["python"],
        git_hash=provenance.git_hash(),
    )


def file_name(machine: Machine) -> str:
    """Name of a machine's result file, the same on every machine of its kind."""
    kind = machine.gpu or f"{re.sub(r'[(](R|TM)[)]', '', machine.cpu)} {machine.cores}core"
    release = machine.torch.partition("+")[0]
    return re.sub(r"[^a-z0-9.-]+", "-", f"{kind}-torch{release}.json".lower())


def make_rows(
    case: Case,
    rounds: Mapping[str, Sequence[Timing]],
    *,
    device: str,
    threads: int,
    machine: Machine,
) -> list[Row]:
    """Summarise the rounds of a case, a row for each variant."""
    rows = []
    flop = next((t[0].flop for t in rounds.values() if t[0].flop is not None), None)
    for variant, timings in rounds.items():
        last = timings[-1]
        seconds = [timing.seconds for timing in timings]
        row = Row(
            name=case.benchmark,
            setting=case.label,
            variant=variant,
            device=device,
            threads=threads,
            median_s=statistics.median(seconds),
            ratio=_ratio(rounds.get(PLAIN), timings),
            ratio_tuned=_ratio(rounds.get(PLAIN_TUNED), timings),
            n=len(timings),
            min_s=min(seconds),
            max_s=max(seconds),
            peak_gib=max(timing.peak_gib for timing in timings),
            first_s=last.first_s,
            kernels=last.kernels,
            flop=flop,
            gflop_per_s=_giga(last.flop_per_s or (flop and flop / statistics.median(seconds))),
            bytes=last.bytes,
            gbytes_per_s=_giga(last.bytes_per_s),
            machine=machine,
        )
        rows.append(row)
    return rows


def format_table(rows: Sequence[Row]) -> str:
    """Write rows as plain text, in columns; a blank line parts the cases."""
    head = ("benchmark", "setting", "variant", "median s", "min", "max", "ratio", "tuned", "GiB")
    cells = [(*head, "first s", "kernels", "GFLOP/s", "n"), *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines: list[str] = []
    for i, line in enumerate(cells):
        if i == 0 or line[:2] != cells[i - 1][:2]:
            lines.append("")
        words = [
            word.ljust(width) if column < 3 else word.rjust(width)
            for column, (word, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(words).rstrip())
    return "\n".join([*lines[1:], "", *_legend(rows)])


def write_json(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as a list of flat objects, whole."""
    write_text(path, json.dumps([row.flat() for row in rows], indent=1, allow_nan=False) + "\n")


def _giga(value: float | None) -> float | None:
    return None if value is None else value / 1e9


def _ratio(base: Sequence[Timing] | None, timings: Sequence[Timing]) -> float | None:
    if base is None:
        return None
    pairs = zip(base, timings, strict=True)
    return statistics.median(one.seconds / other.seconds for one, other in pairs)


def _cells(row: Row) -> tuple[str, ...]:
    times = (f"{value:.4g}" for value in (row.median_s, row.min_s, row.max_s))
    ratios = ("-" if value is None else f"{value:.2f}" for value in (row.ratio, row.ratio_tuned))
    mark = "!" if _is_disturbed(row) else ""
    extra = (
        "-" if row.first_s is None else f"{row.first_s:.1f}",
        "-" if row.kernels is None else str(row.kernels),
        "-" if row.gflop_per_s is None else f"{row.gflop_per_s:.0f}",
    )
    numbers = (f"{row.peak_gib:.2f}", *extra, f"{mark}{row.n}")
    return (row.name, row.setting, row.variant, *times, *ratios, *numbers)


def _is_disturbed(row: Row) -> bool:
    return row.max_s > _DISTURBED * row.min_s


def _legend(rows: Sequence[Row]) -> list[str]:
    machines = {
        f"{m.gpu or m.cpu}, {m.cores} cores ({row.threads} threads), {m.memory_gib:g} GiB, "
        f"torch {m.torch}, Python {m.python}, code {m.git_hash}"
        for row in rows
        for m in [row.machine]
    }
    legend = [
        *sorted(machines),
        "ratio: plain as it comes / this; tuned: plain with the allocator tuned / this; medians of "
        "the ratios within n rounds",
    ]
    if any(map(_is_disturbed, rows)):
        legend.append(
            f"!: the slowest round took over {_DISTURBED} times the fastest; time the case again "
            "while nothing else runs"
        )
    return legend


def _cpu_model() -> str:
    with suppress(OSError):
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        if found:
            return found[1].strip()
    return "unknown"
