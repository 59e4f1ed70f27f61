"""Runs a plan on Ray Tune: a private, quiet, authenticated Ray, and warm workers.

Ray reads its environment when it is imported. So nothing here imports it before the environment
is set, and it is set in one place.
"""

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.errors import ConfigError
from harness.search.console import SearchConsole
from harness.search.folder import SearchFolder
from harness.search.plan import PlannedTrial
from harness.tune.resources import Resources

_ENVIRONMENT = {
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
_OBJECT_STORE_BYTES = 100 * 2**20


def run_on_ray(
    folder: SearchFolder,
    trials: Sequence[PlannedTrial],
    *,
    device: str,
    address: str,
    resources: Resources,
    console: SearchConsole,
) -> bool:
    """Run trials on Ray Tune; their results are in their folders.

    Args:
        folder: The search.
        trials: What to run.
        device: ``cpu`` or ``cuda``.
        address: ``local`` for a private Ray on this machine, or HOST:PORT of a running one, whose
            token is found as Ray does (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH).
        resources: What may be used.
        console: Told of every event.

    Returns:
        Whether the run was interrupted by a signal.

    Raises:
        ConfigError: No trial fits the resources, or Ray cannot be started or reached.
    """
    os.environ.update(_ENVIRONMENT, TUNE_MAX_PENDING_TRIALS_PG=str(resources.slots()))
    os.environ.pop("RAY_ADDRESS", None)
    session = _private_ray(resources) if address == "local" else _running_ray(address)
    with session:
        from harness.tune.controller import control

        return control(folder, trials, device=device, resources=resources, console=console)


@contextmanager
def _private_ray(resources: Resources) -> Iterator[None]:
    """A Ray of this process alone, in a short folder of mode 0700 that goes away with it.

    A token in a file of mode 0600 keeps the machine's other users out.
    """
    temporary = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
    token = temporary / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
    import ray

    try:
        try:
            ray.init(
                address="local",
                num_cpus=resources.cpus,
                num_gpus=resources.gpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(temporary),
            )
        except (RuntimeError, OSError, TimeoutError) as error:
            raise ConfigError(
                f"Ray does not start here ({_first_line(error)}); --address inline works without"
            ) from error
        _silence()
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _running_ray(address: str) -> Iterator[None]:
    """A connection to a Ray that somebody else keeps."""
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (RuntimeError, OSError, ValueError, TimeoutError) as error:
        raise ConfigError(
            f"--address: no Ray answers at '{address}' ({_first_line(error)}); start one there, or "
            "use --address local"
        ) from error
    _silence()
    try:
        yield
    finally:
        ray.shutdown()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _silence() -> None:
    """Quiet Ray's loggers; ``ray.init`` sets their levels, so this comes after it."""
    for name in ("ray", "ray.tune", "ray.air", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
