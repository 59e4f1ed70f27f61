"""How busy a GPU is, by ``nvidia-smi``, which comes with the driver.

It counts the time in which any kernel ran, so it errs upwards: towards fewer trials a GPU.
"""

import subprocess
import threading
from collections.abc import Iterable
from statistics import fmean
from typing import Self

_EVERY_S = 1


class Utilisation:
    """Samples a GPU beside the trial that has it; says nothing where that cannot be done.

    Use as a context manager around the work, or ``start`` and ``stop`` it.
    """

    def __init__(self, gpu: str, tool: str = "nvidia-smi") -> None:
        """Prepare.

        Args:
            gpu: Index or UUID (``GPU-...``) as the tool takes it.
            tool: Program to ask.
        """
        self._command = [
            tool,
            f"--id={gpu}",
            "--query-gpu=utilization.gpu",
            "--format=csv,noheader,nounits",
            f"--loop={_EVERY_S}",
        ]
        self._samples: list[float] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Sample from now on, once a second, in a process of the tool's own."""
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
            )
        except OSError:
            return
        assert self._process.stdout is not None
        lines = self._process.stdout
        threading.Thread(target=self._read, args=(lines,), name="utilisation", daemon=True).start()

    def stop(self) -> None:
        """End the sampling."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait()

    def __call__(self) -> float | None:
        """Mean of the samples so far, 0..1; None where there is none."""
        samples = list(self._samples)
        return fmean(samples) if samples else None

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            sample = read_sample(line)
            if sample is not None:
                self._samples.append(sample)


def read_sample(line: str) -> float | None:
    """A share of time, 0..1, of a line of the tool's (``"37"``); None where it holds none."""
    text = line.strip().removesuffix("%").strip()
    if not (text.isascii() and text.isdigit()) or int(text) > 100:
        return None
    return int(text) / 100
