"""The algorithms of a search: what each can search, and what it needs installed."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from packaging.specifiers import SpecifierSet

from harness.errors import ConfigError, suggest
from harness.search.parameters import Parameter


class Package(NamedTuple):
    """What an algorithm of Ray's needs besides Ray."""

    name: str
    module: str
    versions: str
    """That work with Ray's integration."""
    tried: str
    """The one to install."""


OPTUNA = ("tpe", "gp", "nsga2")
RAY: Mapping[str, Package] = {
    "hyperopt": Package("hyperopt", "hyperopt", ">=0.3", "0.3.0"),
    "nevergrad": Package("nevergrad", "nevergrad", ">=1.0.12", "1.0.12"),
    "bayesopt": Package("bayesian-optimization", "bayes_opt", ">=1.4,<2", "1.4.0"),
}
"""Algorithms by Ray's searchers -> what they need."""
ADAPTIVE = (*OPTUNA, *RAY)
"""Algorithms that choose by what they have seen."""
ALGORITHMS = ("grid", "random", *ADAPTIVE)

_USE = "use 'tpe'"
REFUSED: Mapping[str, str] = {
    "ax": f"Ray's AxSearch fails with ax-platform 1.3.1 ('Objective' has no 'objectives'); {_USE}",
    "bohb": "Ray's TuneBOHB (hpbandster 0.7.4) learns from what HyperBandForBOHB pauses, and "
    f"nothing from trials that end, so without that scheduler it draws at random; {_USE}",
    "hebo": f"HEBO 0.3.6 needs numpy < 1.25 and pandas 2, so ray.tune does not start; {_USE}",
    "zoopt": f"Ray's ZOOptSearch (zoopt 0.4.2) has no loguniform; {_USE}",
    "optuna": "Optuna has several algorithms; use 'tpe', 'gp' or 'nsga2'",
}
"""Other searchers that Ray names -> why they are not taken, with the release that was tried."""

_CONTINUOUS = ("uniform", "loguniform")


def check_name(algorithm: str) -> None:
    """Check that there is such an algorithm.

    Raises:
        ValueError: There is none, or it is one of Ray's that is not taken.
    """
    if algorithm in REFUSED:
        raise ValueError(f"search.algorithm: got '{algorithm}': {REFUSED[algorithm]}")
    if algorithm not in ALGORITHMS:
        raise ValueError(f"search.algorithm: got '{algorithm}'; {suggest(algorithm, ALGORITHMS)}")


def check_parameters(algorithm: str, parameters: Sequence[Parameter], label: str) -> None:
    """Check that an algorithm can search all of a space's parameters.

    Args:
        algorithm: One of ``ALGORITHMS``.
        parameters: Of the space.
        label: Of the space, for messages.

    Raises:
        ConfigError: It cannot, with the reason and what to use.
    """
    for parameter in parameters:
        where = f"{label}: space.{parameter.name}"
        if (parameter.kind == "grid") != (algorithm == "grid"):
            fix = "use grid" if algorithm == "grid" else "use choice"
            if algorithm in ADAPTIVE:
                fix += f" (a grid asks for every combination, {algorithm} chooses)"
            raise ConfigError(
                f"{where}: got '{parameter.kind}', but search.algorithm is '{algorithm}'; {fix}, "
                "or change the algorithm"
            )
        if algorithm in RAY and parameter.when:
            raise ConfigError(
                f"{where}.when: got a condition, but search.algorithm is '{algorithm}', which "
                "chooses all settings every time; remove it, or use 'tpe'"
            )
        if algorithm == "bayesopt" and parameter.kind not in _CONTINUOUS:
            raise ConfigError(
                f"{where}: got '{parameter.kind}', but search.algorithm is 'bayesopt', which has "
                "numbers between bounds alone; use uniform or loguniform, or 'gp'"
            )


def check_installed(algorithm: str) -> None:
    """Check that what an adaptive algorithm needs is there, in a version that works.

    Raises:
        ConfigError: It is not.
    """
    if algorithm in OPTUNA:
        _check_optuna(algorithm)
        return
    package = RAY[algorithm]
    wanted = f"{package.name}=={package.tried}"
    fix = f"run pip install '{wanted}', or use 'tpe'"
    try:
        found = version(package.name)
        if not SpecifierSet(package.versions).contains(found, prereleases=True):
            raise ConfigError(
                f"search.algorithm: '{algorithm}' needs {package.name}{package.versions}, got "
                f"{found}, which Ray's searcher does not work with; {fix}"
            )
        import_module(package.module)
    except (PackageNotFoundError, ImportError):
        raise ConfigError(
            f"search.algorithm: '{algorithm}' needs {package.name}, which is not installed or "
            f"cannot be imported; {fix}"
        ) from None


def _check_optuna(algorithm: str) -> None:
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            f"search.algorithm: '{algorithm}' needs Optuna, which is not installed; run "
            "pip install 'harness[optuna]', or use 'random'"
        ) from None
    if algorithm == "gp" and not hasattr(optuna.samplers, "GPSampler"):
        raise ConfigError(
            f"search.algorithm: got 'gp', but Optuna {optuna.__version__} has no GPSampler; use "
            "Optuna 5.0, or 'tpe'"
        )
