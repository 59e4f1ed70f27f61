"""Stands in for a supervisor's child: does what a file says, and notes what it heard.

python -m tests.unit.slurm.stand_in OUT
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

out = Path(sys.argv[1])
heard: list[int] = []


def hear(number: int, frame: object) -> None:
    heard.append(number)


for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
    signal.signal(number, hear)
with (out / "starts").open("a") as file:
    file.write("start\n")
orders = (out / "orders").read_text().split()
if orders[0] == "exit":
    sys.exit(int(orders[1]))
# An own session, as Ray's processes and trials have.
grandchild = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True
)
(out / "grandchild").write_text(str(grandchild.pid))
while not heard:
    time.sleep(0.05)
(out / "heard").write_text(" ".join(map(str, heard)))
if orders[0] == "save":
    time.sleep(0.3)
    sys.exit(75)
time.sleep(60)
