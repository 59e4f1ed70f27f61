"""Runs a plan on Ray Tune: a private, quiet, authenticated Ray, and warm workers.

Ray reads its environment when it is imported. So nothing here imports it before the environment
is set, and it is set in one place.
"""

import logging
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.schema import RAY_FOLDER
from harness.search.console import SearchConsole
from harness.search.folder import SearchFolder
from harness.search.interruption import Interruption, StopFile
from harness.search.plan import PlannedTrial
from harness.search.proposals import Chooser
from harness.search.stopping import EarlyStopping
from harness.tune.health import RayWatch
from harness.tune.resources import Cluster, Resources
from harness.tune.watchdog import __file__ as watchdog_file

RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Tune's own state is never read again: write it as rarely as can be.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
}
"""What Ray and Tune read when they are imported, in the driver and on nodes that join it."""
CLUSTER_ENVIRONMENT = {
    # Ray would end trials for the memory that strangers take on a shared node.
    "RAY_memory_monitor_refresh_ms": "0",
}
"""What Ray reads besides on each node of a cluster."""
_OBJECT_STORE_BYTES = 100 * 2**20
_CONNECT_S = 5


def run_on_ray(
    folder: SearchFolder,
    trials: Sequence[PlannedTrial],
    *,
    device: str,
    address: str,
    resources: Resources,
    console: SearchConsole,
    store: Path,
    proposals: Chooser | None = None,
    cluster: Cluster | None = None,
    stopping: Callable[[], EarlyStopping] | None = None,
) -> str | None:
    """Run trials on Ray Tune; their results are in their folders.

    Args:
        folder: The search.
        trials: What to run.
        device: ``cpu`` or ``cuda``.
        address: ``local`` for a private Ray on this machine, or HOST:PORT of a running one, whose
            token is found as Ray does (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH).
        resources: What may be used.
        console: Told of every event.
        store: Folder of the store.
        proposals: What chooses more trials.
        cluster: Machines that join the private Ray.
        stopping: Makes what stops trials early, once Ray is there; None: nothing does.

    Returns:
        Why the run was stopped before its end; None where it was not.

    Raises:
        ConfigError: No trial fits the resources, or Ray cannot be started or reached.
    """
    resources.slots()
    os.environ.update(RAY_ENVIRONMENT)
    os.environ.pop("RAY_ADDRESS", None)
    session = _private_ray(resources, cluster) if address == "local" else _running_ray(address)
    stop_file = StopFile(folder.path / RAY_FOLDER / "stop")
    interruption = Interruption(stop_file.ask)
    try:
        # ``ray.init`` puts its own SIGTERM handler in place, so ours comes after it.
        with RayWatch(interruption) as watch, session, interruption, watch.watching():
            from harness.tune.controller import control

            stop_file.create()
            control(
                folder,
                trials,
                device=device,
                resources=resources,
                console=console,
                store=store,
                stop_file=stop_file.path,
                interruption=interruption,
                proposals=proposals,
                stopping=None if stopping is None else stopping(),
            )
    except (KeyboardInterrupt, SystemExit):
        return interruption.reason or "interrupted"
    return interruption.reason


@contextmanager
def _private_ray(resources: Resources, cluster: Cluster | None) -> Iterator[None]:
    """A Ray of this process alone, in a short folder of mode 0700 that goes away with it.

    A token in a file of mode 0600 keeps the machine's other users out. Machines of a cluster that
    have the same token may join.
    """
    with _private_folder() as temporary:
        token = temporary / "token" if cluster is None else cluster.token
        if cluster is None:
            token.touch(mode=0o600)
            token.write_text(secrets.token_hex(32))
        else:
            os.environ.update(CLUSTER_ENVIRONMENT)
        if cluster is not None and cluster.port:
            _check_free(cluster.port)
            os.environ["RAY_GCS_SERVER_PORT"] = str(cluster.port)
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
        # Ray opens its own folder to everybody (0777), so it gets one inside the private one.
        with _connection(
            "Ray does not start here ({}); --address inline works without",
            address="local",
            num_cpus=resources.cpus if cluster is None else cluster.head_cpus,
            num_gpus=resources.gpus if cluster is None else cluster.head_gpus,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=str(temporary / "ray"),
        ):
            if cluster is not None:
                cluster.announce(_address())
            yield


def _address() -> str:
    """HOST:PORT of the connected Ray."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


def _check_free(port: int) -> None:
    with socket.socket() as trial:
        try:
            trial.bind(("", port))
        except OSError as error:
            raise ConfigError(
                f"port: {port} cannot be used on {socket.gethostname()} ({error.strerror}); set "
                "another one, or 0 for one that is free"
            ) from None


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A new folder of mode 0700; a watchdog removes it, and its processes, whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
    # In a session of its own, so that a signal to this one's process group does not reach it.
    watchdog = subprocess.Popen(
        [sys.executable, "-I", watchdog_file, str(folder), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield folder
    finally:
        watchdog.communicate()


@contextmanager
def _running_ray(address: str) -> Iterator[None]:
    """A connection to a Ray that somebody else keeps."""
    message = (
        f"--address: no Ray answers at '{address}' ({{}}); start one there, or use --address local"
    )
    host, _, port = address.rpartition(":")
    try:
        # Ray itself would wait for minutes.
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except OSError as error:
        raise ConfigError(message.format(error)) from None
    with _connection(message, address=address):
        yield


@contextmanager
def _connection(message: str, **options: Any) -> Iterator[None]:
    """Ray, quiet, until the end of the block; a failed start is ``message``."""
    try:
        _connect(message, options)
        yield
    finally:
        _shut_down()


def _connect(message: str, options: dict[str, Any]) -> None:
    import ray

    try:
        ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except (RuntimeError, OSError, ValueError, TimeoutError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(message.format(reason)) from error
    # ``ray.init`` sets the levels of its loggers, so this comes after it.
    for name in ("ray", "ray.tune", "ray.air", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _shut_down() -> None:
    """Leave Ray, and end a private one.

    Where a signal interrupts that, once more: what is left of it, Ray would do when this process
    exits, and make its folder anew for that, which everybody may read.
    """
    import ray

    try:
        ray.shutdown()
    except BaseException:
        ray.shutdown()
        raise
