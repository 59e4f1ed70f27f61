"""Stands in for a program of ``slurm.child``: does what a file says, and notes what it heard."""

import signal
import subprocess
import sys
import time
from pathlib import Path


def run(out: Path) -> int:
    heard: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda number, frame: heard.append(number))
    with (out / "starts").open("a") as file:
        file.write("start\n")
    order, _, status = (out / "orders").read_text().partition(" ")
    if order == "exit":
        return int(status)
    # A session of its own, as Ray's processes and trials have.
    grandchild = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True
    )
    (out / "grandchild").write_text(str(grandchild.pid))
    while not heard:
        time.sleep(0.05)
    (out / "heard").write_text(" ".join(map(str, heard)))
    time.sleep(0.3 if order == "save" else 60)
    return 75
