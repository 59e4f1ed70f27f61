"""The registry of faults, and what their definitions share."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.faults.scene import Scene


class Fault(NamedTuple):
    """One fault: a name, what happens, and the seed of its draws."""

    name: str
    happen: Callable[[Scene], None]
    seed: int
    kind: str
    """``inline`` or ``ray``."""


FAULTS: list[Fault] = []


def fault(
    kind: str = "inline", times: int = 1
) -> Callable[[Callable[[Scene], None]], Callable[[Scene], None]]:
    """Put a fault into the matrix, several times with draws of their own."""

    def add(happen: Callable[[Scene], None]) -> Callable[[Scene], None]:
        for number in range(times):
            name = happen.__name__.replace("_", "-") + (f"-{number}" if times > 1 else "")
            FAULTS.append(Fault(name, happen, len(FAULTS), kind))
        return happen

    return add


@contextmanager
def small_disk(path: Path, kib: int) -> Iterator[Callable[[int], None]]:
    """A tmpfs of some KiB; yields a function that gives it another size."""

    def resize(size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}k", str(path)], check=True)

    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(path)], check=True)
    try:
        yield resize
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
