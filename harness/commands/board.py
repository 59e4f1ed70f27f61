"""``harness board``: searches in TensorBoard, on this machine alone."""

import contextlib
import getpass
import io
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from harness.commands.common import say
from harness.errors import ConfigError, HarnessError

if TYPE_CHECKING:
    from harness.board import Board

_HOST = "127.0.0.1"
_REFRESH_S = 5


def board(
    out: Annotated[list[Path], typer.Argument(metavar="OUT...", help="Folders of searches.")],
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, metavar="N", help="Port on this machine [a free one]."),
    ] = None,
) -> None:
    """Show searches in TensorBoard, also while they run: curves, images, and a table of settings.

    Trials are named by their settings, those of several searches side by side. TensorBoard listens
    on this machine alone (127.0.0.1) and asks for no password: others who are logged in to the
    same machine, such as a cluster's login node, can open it too. Ctrl-C ends it.
    """
    from harness.board import Board

    with _ended_by_signals(), tempfile.TemporaryDirectory(prefix="harness-board-") as view:
        shown = Board(Path(view), out, say)
        address = _start(view, port)
        number = shown.refresh()
        say(f"{number} trials at {address}")
        say(f"from another machine: ssh -N -L {_tunnel(address)}, and the same address there")
        say("Ctrl-C ends it")
        try:
            _keep_fresh(shown)
        except KeyboardInterrupt:
            say("")


def _keep_fresh(shown: "Board") -> NoReturn:
    """Show what comes, for ever; a file system that fails for a while is no reason to end."""
    said = ""
    while True:
        time.sleep(_REFRESH_S)
        try:
            shown.refresh()
        except (OSError, HarnessError) as error:
            if str(error) != said:
                said = str(error)
                say(f"not up to date: {said}")


def _start(view: str, port: int | None) -> str:
    """Start TensorBoard on a folder, in threads of this process; return its address.

    Raises:
        ConfigError: The port is taken.
    """
    from tensorboard.program import TensorBoard, TensorBoardServerException

    from harness.tracking import CURVE_POINTS, IMAGE_STEPS

    samples = f"scalars={CURVE_POINTS},images={IMAGE_STEPS}"
    program = TensorBoard()
    program.configure(
        argv=[
            "",
            f"--logdir={view}",
            f"--host={_HOST}",
            f"--port={_free_port() if port is None else port}",
            f"--samples_per_plugin={samples}",
            f"--reload_interval={_REFRESH_S}",
            "--reload_multifile=true",
        ]
    )
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # advice on its options
            address: str = program.launch()
    except TensorBoardServerException as error:
        raise ConfigError(
            f"--port: got {port}, which cannot be used ({error.msg}); choose another, or leave it "
            "out for a free one"
        ) from None
    return address


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _tunnel(address: str) -> str:
    port = address.rstrip("/").rsplit(":", 1)[-1]
    return f"{port}:{_HOST}:{port} {getpass.getuser()}@{socket.gethostname()}"


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end a command as Ctrl-C does, so that it cleans up."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    heard = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        heard.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
