"""Settings of a trial: every name, range and default lives here, once.

``Distillation`` holds all that determines a distilled set; ``TrialConfig`` adds how it is
evaluated and how the run is reported, which change nothing in the set. Both are frozen, and an
unknown key is an error. The dotted names (``pool.main_probability``) are the same in TOML files,
in ``--set`` and as keys of a search space (``harness.dotted``). Nothing here imports torch.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from harness.architecture import WITH_PATHS, Architecture
from harness.errors import ConfigError, suggest
from harness.plugins import PLUGIN, Plugin, is_plugin, load_plugin
from harness.settings.base import Settings as Settings
from harness.settings.checks import FULL_DATA as FULL_DATA
from harness.settings.checks import (
    check_balanced,
    check_elf,
    check_full_data,
    check_idc,
    check_paths,
    check_probes,
)
from harness.settings.dataset import DATASETS as DATASETS
from harness.settings.dataset import OF_FILES as OF_FILES
from harness.settings.dataset import OWN_CONSTANTS as OWN_CONSTANTS
from harness.settings.dataset import DatasetSettings as DatasetSettings
from harness.settings.elf import ELFSettings as ELFSettings
from harness.settings.evaluation import MAIN as MAIN
from harness.settings.evaluation import QUICK_STUDENTS as QUICK_STUDENTS
from harness.settings.evaluation import EvaluationSettings as EvaluationSettings
from harness.settings.evaluation import KDSettings as KDSettings
from harness.settings.evaluation import RunSettings as RunSettings
from harness.settings.messages import describe
from harness.settings.methods import (
    FIXED,
    PUBLISHED_AUGMENTATION,
    TABLES,
    AccSettings,
    DSASettings,
    IDCSettings,
    KMeansSettings,
    defaults,
    merge,
)
from harness.settings.methods import LOOPS as LOOPS
from harness.settings.pool import POOL_PRESETS as POOL_PRESETS
from harness.settings.pool import BanditSettings as BanditSettings
from harness.settings.pool import PoolSettings as PoolSettings
from harness.settings.pool import WeightedNetwork as WeightedNetwork

METHODS: dict[str, str] = {
    "dc": "harness.distill.dc:DC",
    "dsa": "harness.distill.dsa:DSA",
    "dm": "harness.distill.dm:DM",
    "idc": "harness.distill.idc:IDC",
    "random-real": "harness.distill.random_real:RandomReal",
    "kmeans": "harness.distill.kmeans:KMeans",
    "full-data": "harness.distill.full_data:FullData",
}
"""Distillation methods: name -> ``module:Class``, as text, so that reading it needs no torch."""

SCHEDULED_METHODS: frozenset[str] = frozenset()
"""Methods whose iterations depend on how many there are to be: their runs share no states."""

UNSCHEDULED = frozenset({"constant", "bandit"})
"""Schedules of the pool that do not depend on how many iterations there are to be."""

BASELINES: dict[str, tuple[str, ...]] = {
    "random-real": ("ipc", "seed"),
    "kmeans": ("ipc", "seed", "network", "kmeans", "precision", "threads"),
    FULL_DATA: (),
}
"""Methods that take real images as they are and learn nothing from a pool: they ignore
``iterations``. Name -> the settings that their set depends on, besides the training images."""

Precision = Literal["fp32", "tf32", "bf16-real"]


class Distillation(Settings):
    """All that determines a distilled set, bit for bit, on one kind of device and versions."""

    dataset: DatasetSettings = DatasetSettings()
    """Real images."""
    method: str = "dc"
    """Distillation method: a name of ``METHODS``, or ``package.module:Class`` for one of another
    package, whose module is imported (``harness.plugins``)."""
    method_code: str | None = None
    """Hash of the code of a method of another package, filled in: where it is given, as in a plan,
    the code must still be that."""
    ipc: int = Field(default=1, ge=1)
    """Images per class."""
    iterations: int = Field(default=1000, ge=1)
    """Draws of a network from the pool; by default ``dm`` has 20000, ``idc`` 2000."""
    seed: int = Field(default=0, ge=0)
    """Root of every random draw of the trial."""
    protocol: Literal["held-out", "paper"] = "held-out"
    """``paper`` trains on all training images and reports test accuracy only."""
    init: Literal["noise", "real", "mix"] = "noise"
    """Start of the synthetic images: standard normal noise, or random real images; default
    ``real`` where the method is ``dsa`` or ``dm``. ``mix``, the default of ``idc``: mosaics of
    real images."""
    lr_img: float = Field(default=0.1, gt=0.0)
    """Learning rate of the synthetic images; default 0.01 where the main model is an MLP, and with
    ``dm`` 1, or 10 from 100 images a class on."""
    lr_net: float = Field(default=0.01, gt=0.0)
    """Learning rate of the drawn network in the inner loop."""
    batch_real: int = Field(default=256, ge=1)
    """Real images of each class in a matching step (``idc``: 64 by default); a smaller class is
    taken whole."""
    outer_loop: int = Field(default=1, ge=1)
    """Matching steps for each drawn network; default by ipc (1, 10, 20, 30, 40, 50), and with
    ``idc`` 100."""
    inner_loop: int = Field(default=1, ge=1)
    """Epochs of the drawn network on the synthetic set between them; default by ipc."""
    network: Architecture = Architecture()
    """The main model."""
    pool: PoolSettings = PoolSettings()
    """The model pool."""
    kmeans: KMeansSettings = KMeansSettings()
    """Of the method ``kmeans`` alone."""
    dsa: DSASettings = DSASettings()
    """Of the methods ``dsa`` and ``dm``."""
    idc: IDCSettings = IDCSettings()
    """Of the method ``idc`` alone."""
    acc: AccSettings = AccSettings()
    """Model augmentation, of all methods that draw networks."""
    plugin: Mapping[str, Any] = {}
    """Settings of a method of another package (``plugin.NAME``), checked by its class."""
    precision: Precision = "fp32"
    """``tf32``: GPUs multiply in TF32; ``bf16-real``: gradients on real images in bfloat16."""
    compile: bool = False
    """Compile the matching and inner steps: rounds differently, and takes a minute to start."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of the trial; other numbers of threads give other last bits."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, value: object) -> object:
        """Fill in defaults that depend on other settings, so that equal trials are equal."""
        if not isinstance(value, Mapping):
            return value
        filled: dict[str, Any] = {}
        own = defaults(value)
        ipc = value.get("ipc", 1)
        if isinstance(ipc, int) and ipc in LOOPS:
            filled["outer_loop"], filled["inner_loop"] = LOOPS[ipc]
        elif isinstance(ipc, int) and ipc >= 1:
            for name in ("outer_loop", "inner_loop"):
                if name not in {**own, **value} and value.get("method") not in BASELINES:
                    raise ValueError(
                        f"{name}: no default for ipc = {ipc} (there is one for "
                        f"{', '.join(map(str, LOOPS))}); set {name}"
                    )
        network = value.get("network")
        main = network.get("name") if isinstance(network, Mapping) else network
        if main in ("mlp", Architecture(name="mlp")):
            filled["lr_img"] = 0.01
        merged = merge({**filled, **own}, value)
        return _with_plugin(merged) if is_plugin(merged.get("method")) else merged

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.method not in METHODS and not is_plugin(self.method):
            raise ValueError(
                f"method: got '{self.method}'; {suggest(self.method, METHODS)}, or "
                "package.module:Class"
            )
        if not is_plugin(self.method) and (self.plugin or self.method_code):
            name = f"{PLUGIN}.{next(iter(self.plugin))}" if self.plugin else "method_code"
            raise ValueError(
                f"{name}: method '{self.method}' has no such setting, only one that is named as "
                "package.module:Class; remove it"
            )
        for name, only in FIXED.get(self.method, {}).items():
            if (got := getattr(self, name)) != only:
                raise ValueError(
                    f"{name}: got {got}, but method '{self.method}' has no such setting; remove it"
                )
        if self.acc.active and not has_table(self.method, "acc"):
            raise ValueError(
                f"acc.networks: got {self.acc.networks}, but method '{self.method}' draws no "
                f"networks; remove it, or use {', '.join(TABLES['acc'])}"
            )
        if self.acc.active and self.pool.schedule == "bandit":
            raise ValueError(
                f"acc.networks: got {self.acc.networks}, but pool.schedule 'bandit' keeps images "
                "apart that early-stage networks are trained on; remove it, or use another schedule"
            )
        check_paths(self)
        check_idc(self)
        check_balanced(self)
        similar = self.pool.others in ("similar", "similar-depth1")
        draws = self.method not in BASELINES
        if (
            draws
            and similar
            and self.pool.main_probability < 1.0
            and self.network.name != "convnet"
        ):
            raise ValueError(
                f"pool.others: '{self.pool.others}' varies a ConvNet, but network.name is "
                f"'{self.network.name}'; set pool.main_probability = 1.0, or pool.others to "
                "'diverse' or a list"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """The settings that a distilled set depends on, as plain data.

        ``dataset.root`` is left out: where files lie is not what they hold.
        """
        return self._relevant(self.model_dump(mode="json", include=set(Distillation.model_fields)))

    def plugin_settings(self) -> Any:
        """An object of the class ``Settings`` of a method of another package."""
        return load_plugin(self.method).read(self.plugin)

    def num_iterations(self) -> int:
        """Iterations to do: ``iterations``, or none where the method ignores it."""
        return 0 if self.method in BASELINES else self.iterations

    def lineage(self) -> dict[str, Any]:
        """The settings that the states on the way to a distilled set depend on.

        Distillations of one lineage share their states: those to fewer iterations are on the way
        of those to more.
        """
        data = self.identity()
        if self.method in BASELINES:
            names = ("method", "dataset", "protocol", *BASELINES[self.method])
            return {name: data[name] for name in names}
        if not _is_scheduled(self.method) and self.pool.schedule in UNSCHEDULED:
            del data["iterations"]
        return data

    def _relevant(self, data: dict[str, Any]) -> dict[str, Any]:
        """Plain settings without the folder of the images, and without tables that do not count.

        ``TABLES`` says which methods have a table, and ``pool.bandit`` is that schedule's: where
        they do not count they are not there, so that a new one changes no hash of other trials.
        """
        del data["dataset"]["root"]
        for table in TABLES:
            if not has_table(self.method, table) or not getattr(self, table).active:
                del data[table]
        if not is_plugin(self.method):
            del data["plugin"], data["method_code"]
        if self.pool.schedule != "bandit":
            del data["pool"]["bandit"]
        if not self.pool.balanced:
            del data["pool"]["balanced"]
        return data


def has_table(method: str, table: str) -> bool:
    """Whether a method has one of the ``TABLES``."""
    if is_plugin(method):
        return table in load_plugin(method).tables
    return method in TABLES[table]


def _is_scheduled(method: str) -> bool:
    if is_plugin(method):
        return load_plugin(method).scheduled
    return method in SCHEDULED_METHODS


def _with_plugin(data: dict[str, Any]) -> dict[str, Any]:
    """Check and fill in what only a method of another package has."""
    builtin = {path: name for name, path in METHODS.items()}
    if (method := data["method"]) in builtin:
        raise ValueError(f"method: got '{method}', which is built in; use '{builtin[method]}'")
    plugin: Plugin = load_plugin(method)
    known = data.get("method_code")
    if known is not None and known != plugin.code:
        raise ValueError(
            f"method: the code of '{method}' is not what it was ({str(known)[:8]}, now "
            f"{plugin.code[:8]}); restore it, or begin anew in another folder"
        )
    return {**data, PLUGIN: plugin.check(data.get(PLUGIN, {})), "method_code": plugin.code}


def _has_elf(table: object) -> bool:
    """Whether a table that is not yet checked asks for ELF."""
    if isinstance(table, ELFSettings):
        return bool(table.terms)
    return isinstance(table, Mapping) and table.get("loss", "off") != "off"


class TrialConfig(Distillation):
    """A trial: a distillation, and how its set is evaluated."""

    kd: KDSettings = KDSettings()
    """Knowledge distillation of the students."""
    elf: ELFSettings = ELFSettings()
    """Features of a network trained on real images that students follow."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """Students and how they are trained."""
    run: RunSettings = RunSettings()
    """Reports on the way."""

    @model_validator(mode="before")
    @classmethod
    def _fill_recipe(cls, value: object) -> object:
        """Students are trained as published for the method (all real images: DD-Ranking)."""
        if not isinstance(value, Mapping):
            return value
        method, given = value.get("method", "dc"), value.get("evaluation", {})
        if not isinstance(given, Mapping) or not isinstance(method, str):
            return value
        elf = value.get("elf")
        if method in PUBLISHED_AUGMENTATION or (_has_elf(elf) and method != FULL_DATA):
            own = {"augmentation": PUBLISHED_AUGMENTATION.get(method, "dsa"), **given}
            return {**value, "evaluation": own}
        if method == FULL_DATA:
            known = {name: item for name, item in given.items() if item is not None}
            return {**value, "evaluation": {"epochs": 200, "batch": 512, **known}}
        return value

    @model_validator(mode="after")
    def _check_evaluation(self) -> Self:
        check_full_data(self)
        check_elf(self)
        if self.method not in BASELINES:
            check_probes(self)
        return self

    def students(self) -> tuple[Architecture, ...]:
        """Architectures of ``evaluation.students``, in order, ``main`` resolved, each once."""
        return tuple(dict.fromkeys(self._resolve(name) for name in self.evaluation.students))

    def unseen(self) -> tuple[Architecture, ...]:
        """Students other than the main model."""
        return tuple(student for student in self.students() if student != self.network)

    def teacher(self) -> Architecture:
        """Architecture of the KD teacher."""
        return self._resolve(self.kd.teacher)

    def digest(self) -> str:
        """Hash of all that the trial's rows depend on: 64 hex digits."""
        data = self._relevant(self.model_dump(mode="json", exclude={"run"}))
        if not self.elf.terms:
            del data["elf"]
        # What was there before there was a choice has the digest that it had.
        if self.evaluation.optimizer == "sgd":
            del data["evaluation"]["optimizer"]
        if not any(student.name in WITH_PATHS for student in self.students()):
            del data["evaluation"]["keep_rates"]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()

    def _resolve(self, name: str) -> Architecture:
        return self.network if name == MAIN else Architecture.parse(name)


def make_config(data: Mapping[str, Any], where: str = "") -> TrialConfig:
    """Check nested settings and return them as a config.

    Args:
        data: Nested settings as read from TOML; what is missing takes its default.
        where: Put before a message, for example a file's name.

    Raises:
        ConfigError: With one line about the first thing that is wrong.
    """
    try:
        return TrialConfig.model_validate(data)
    except ValidationError as error:
        prefix = f"{where}: " if where else ""
        raise ConfigError(prefix + describe(error, TrialConfig)) from None
