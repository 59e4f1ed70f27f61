"""Settings of a trial: every name, range and default lives here, once.

``Distillation`` holds all that determines a distilled set; ``TrialConfig`` adds how it is
evaluated and how the run is reported, which change nothing in the set. Both are frozen, and an
unknown key is an error. The dotted names (``pool.main_probability``) are the same in TOML files,
in ``--set`` and as keys of a search space. Nothing here imports torch.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from harness.architecture import Architecture
from harness.errors import ConfigError, suggest

METHODS: dict[str, str] = {
    "dc": "harness.distill.dc:DC",
}
"""Distillation methods: name -> ``module:Class``, as text, so that reading it needs no torch."""

SCHEDULED_METHODS: frozenset[str] = frozenset()
"""Methods whose iterations depend on how many there are to be: their runs share no states."""

DATASETS: tuple[str, ...] = (
    "digits",
    "mnist",
    "fashionmnist",
    "svhn",
    "cifar10",
    "cifar100",
    "tinyimagenet",
    "imagenette",
    "imagewoof",
    "imagemeow",
    "imagesquawk",
    "imagefruit",
    "imageyellow",
    "imagefolder",
)
"""Datasets that ``harness.datasets`` can load."""

OWN_CONSTANTS = ("digits", "mnist", "fashionmnist", "svhn", "cifar10", "cifar100")
"""Datasets whose mean and std others may be normalised by."""

OF_FILES = (
    "tinyimagenet",
    "imagenette",
    "imagewoof",
    "imagemeow",
    "imagesquawk",
    "imagefruit",
    "imageyellow",
    "imagefolder",
)
"""Datasets of one file an image, which can be resized."""

LOOPS: dict[int, tuple[int, int]] = {
    1: (1, 1),
    10: (10, 50),
    20: (20, 25),
    30: (30, 20),
    40: (40, 15),
    50: (50, 10),
}
"""ipc -> (outer_loop, inner_loop) of gradient matching (VICO-UoE/DatasetCondensation, utils.py)."""

Precision = Literal["fp32", "tf32", "bf16-real"]

POOL_PRESETS = ("similar", "similar-depth1", "diverse")
MAIN = "main"
"""In ``evaluation.students`` and ``kd.teacher``: the main model, whatever ``network`` says."""


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _as_others(value: object) -> object:
    if not isinstance(value, str | list | tuple):
        raise ValueError(f"got {value!r}, expected a preset or a list of {{network, weight}}")
    return _as_tuple(value)


def _check_label(label: str, where: str) -> None:
    try:
        Architecture.parse(label)
    except ConfigError as error:
        raise ValueError(f"{where}: {error}") from None


class Settings(BaseModel):
    """Base of all settings: read-only, no unknown keys, no silent conversions."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class DatasetSettings(Settings):
    """Real images."""

    name: str = "digits"
    """Dataset; ``harness datasets`` lists them."""
    root: str | None = None
    """Folder that holds the dataset's files; unset: $HARNESS_DATA, else ./data."""
    normalise_as: str | None = None
    """Dataset whose mean and std normalise the images; unset: its own."""
    validation_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of each class's training images held out for validation (fixed for ``digits``)."""
    resize: int | None = Field(default=None, ge=8, le=1024)
    """Side in pixels of image files: shorter side scaled to it, middle cut out; unset: as stored
    (ImageNet's subsets: 128)."""
    skip_bad: bool = False
    """Leave out image files that cannot be read, and say how many; else they are an error."""
    pixels: Literal["normalised", "zca"] = "normalised"
    """Pixel space: mean 0 and std 1 for each channel, or ZCA-whitened (MTT; up to 3x32x32)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name not in DATASETS:
            raise ValueError(f"dataset.name: got '{self.name}'; {suggest(self.name, DATASETS)}")
        if self.normalise_as is not None and self.normalise_as not in OWN_CONSTANTS:
            raise ValueError(
                f"dataset.normalise_as: got '{self.normalise_as}'; "
                f"{suggest(self.normalise_as, OWN_CONSTANTS)}"
            )
        if self.normalise_as is not None and self.pixels == "zca":
            raise ValueError(
                f"dataset.normalise_as: got '{self.normalise_as}', but dataset.pixels 'zca' uses no"
                " mean and std; remove one of the two"
            )
        for name in ("resize", "skip_bad"):
            if getattr(self, name) and self.name not in OF_FILES:
                raise ValueError(
                    f"dataset.{name}: got {getattr(self, name)!r}, but '{self.name}' has images of "
                    "one size in files of many; remove the setting"
                )
        if self.name == "digits" and self.validation_fraction != 0.1:
            raise ValueError(
                f"dataset.validation_fraction: got {self.validation_fraction}, but 'digits' has a "
                "fixed split of 1200 / 197 / 400; remove the setting"
            )
        return self


class WeightedNetwork(Settings):
    """One member of a list given to ``pool.others``."""

    network: str
    """Label of an architecture, for example ``lenet`` or ``convnet-w32-sigmoid``."""
    weight: float = Field(gt=0.0, le=1.0)
    """Probability among the others; the weights of a list sum to 1."""


class PoolSettings(Settings):
    """Which architecture each iteration draws (arXiv 2402.13007)."""

    others: Annotated[str | tuple[WeightedNetwork, ...], BeforeValidator(_as_others)] = "similar"
    """Distribution of the rest: a preset, or a list of {network, weight}."""
    main_probability: float = Field(default=0.9, ge=0.0, le=1.0)
    """Chance that an iteration draws the main model; 1.0 is plain gradient matching."""
    warmup: int = Field(default=0, ge=0)
    """Iterations at the start that draw the main model only (the reference code draws 501)."""
    schedule: Literal["constant"] = "constant"
    """How the main-model probability moves over the iterations."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.others, str):
            if self.others not in POOL_PRESETS:
                raise ValueError(
                    f"pool.others: got '{self.others}'; {suggest(self.others, POOL_PRESETS)}, "
                    "or a list of {network, weight}"
                )
            return self
        if not self.others:
            raise ValueError("pool.others: got an empty list, expected a preset or networks")
        total = sum(member.weight for member in self.others)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(
                f"pool.others: the weights sum to {total:g}, expected 1; scale them to sum to 1"
            )
        for member in self.others:
            _check_label(member.network, "pool.others")
        return self


class KDSettings(Settings):
    """Knowledge distillation of the students (arXiv 2402.13007, formula 1)."""

    variant: Literal["off", "softened", "control", "legacy"] = "off"
    """``control`` is (1 - alpha) * CE alone; ``legacy`` is the reference code's unsoftened loss."""
    temperature: float | None = Field(default=None, gt=0.0)
    """Softening of teacher and student, > 0; default 1.5 where KD is on."""
    alpha: float | None = Field(default=None, ge=0.0, le=1.0)
    """Weight of the teacher's term, the label's term has 1 - alpha; default 0.5 where KD is on."""
    teacher: str = MAIN
    """Architecture of the teacher, trained on the same distilled set."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, value: object) -> object:
        if isinstance(value, Mapping) and value.get("variant", "off") != "off":
            given = {key: item for key, item in value.items() if item is not None}
            return {"temperature": 1.5, "alpha": 0.5, **given}
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.variant == "off":
            for name in ("temperature", "alpha"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"kd.{name}: got {getattr(self, name)}, but kd.variant is 'off'; "
                        f"remove it or set kd.variant = 'softened'"
                    )
        if self.teacher != MAIN:
            _check_label(self.teacher, "kd.teacher")
        return self


class EvaluationSettings(Settings):
    """Training of students on the distilled set (methods: VICO-UoE/DatasetCondensation)."""

    students: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = (
        MAIN,
        "mlp",
        "lenet",
        "alexnet",
        "vgg11",
        "resnet18",
    )
    """Architectures of the students; ``main`` is the main model."""
    student_seeds: int = Field(default=5, ge=1)
    """Networks trained of each architecture."""
    epochs: int | None = Field(default=None, ge=1)
    """Passes over the distilled set; unset: 300 without augmentation, 1000 with."""
    lr: float = Field(default=0.01, gt=0.0)
    """Learning rate; times 0.1 from half of the epochs on."""
    batch: int = Field(default=256, ge=1)
    """Images a step."""
    augmentation: Literal["auto", "none", "crop-scale-rotate", "crop-noise"] = "auto"
    """``auto``: as published for DC, none but for MNIST and for ConvNets with batch norm."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.students:
            raise ValueError(
                "evaluation.students: got an empty list, expected at least one network"
            )
        for name in self.students:
            if name != MAIN:
                _check_label(name, "evaluation.students")
        return self


class RunSettings(Settings):
    """How a trial reports on its way; changes nothing in its results."""

    report_every: int = Field(default=500, ge=1)
    """Iterations between progress reports with a quick validation score."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Iterations between saved states, from which a killed trial goes on."""


class Distillation(Settings):
    """All that determines a distilled set, bit for bit, on one kind of device and versions."""

    dataset: DatasetSettings = DatasetSettings()
    """Real images."""
    method: str = "dc"
    """Distillation method."""
    ipc: int = Field(default=1, ge=1)
    """Images per class."""
    iterations: int = Field(default=1000, ge=1)
    """Draws of a network from the pool."""
    seed: int = Field(default=0, ge=0)
    """Root of every random draw of the trial."""
    protocol: Literal["held-out", "paper"] = "held-out"
    """``paper`` trains on all training images and reports test accuracy only."""
    init: Literal["noise", "real"] = "noise"
    """Start of the synthetic images: standard normal noise, or random real images."""
    lr_img: float = Field(default=0.1, gt=0.0)
    """Learning rate of the synthetic images; default 0.01 where the main model is an MLP."""
    lr_net: float = Field(default=0.01, gt=0.0)
    """Learning rate of the drawn network in the inner loop."""
    batch_real: int = Field(default=256, ge=1)
    """Real images of each class in a matching step; a smaller class is taken whole."""
    outer_loop: int = Field(default=1, ge=1)
    """Matching steps for each drawn network; default by ipc (1, 10, 20, 30, 40, 50)."""
    inner_loop: int = Field(default=1, ge=1)
    """Epochs of the drawn network on the synthetic set between them; default by ipc."""
    network: Architecture = Architecture()
    """The main model."""
    pool: PoolSettings = PoolSettings()
    """The model pool."""
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
        ipc = value.get("ipc", 1)
        if isinstance(ipc, int) and ipc in LOOPS:
            filled["outer_loop"], filled["inner_loop"] = LOOPS[ipc]
        elif isinstance(ipc, int) and ipc >= 1:
            for name in ("outer_loop", "inner_loop"):
                if name not in value:
                    raise ValueError(
                        f"{name}: no default for ipc = {ipc} (there is one for "
                        f"{', '.join(map(str, LOOPS))}); set {name}"
                    )
        network = value.get("network")
        main = network.get("name") if isinstance(network, Mapping) else network
        if main in ("mlp", Architecture(name="mlp")):
            filled["lr_img"] = 0.01
        return {**filled, **value}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.method not in METHODS:
            raise ValueError(f"method: got '{self.method}'; {suggest(self.method, METHODS)}")
        similar = self.pool.others in ("similar", "similar-depth1")
        if similar and self.pool.main_probability < 1.0 and self.network.name != "convnet":
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
        data = self.model_dump(mode="json", include=set(Distillation.model_fields))
        del data["dataset"]["root"]
        return data

    def lineage(self) -> dict[str, Any]:
        """The settings that the states on the way to a distilled set depend on.

        Distillations of one lineage share their states: those to fewer iterations are on the way
        of those to more.
        """
        data = self.identity()
        if self.method not in SCHEDULED_METHODS:
            del data["iterations"]
        return data


class TrialConfig(Distillation):
    """A trial: a distillation, and how its set is evaluated."""

    kd: KDSettings = KDSettings()
    """Knowledge distillation of the students."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """Students and how they are trained."""
    run: RunSettings = RunSettings()
    """Reports on the way."""

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
        data = self.model_dump(mode="json", exclude={"run"})
        del data["dataset"]["root"]
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
        raise ConfigError(prefix + _describe(error)) from None


def setting_names(model: type[BaseModel] = TrialConfig, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every setting."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from setting_names(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def set_dotted(data: dict[str, Any], name: str, value: object) -> None:
    """Set a nested key of plain settings by its dotted name, in place.

    Raises:
        ConfigError: The name is not a setting.
    """
    known = _known_settings()
    if name not in known:
        raise ConfigError(f"unknown setting '{name}'; {_near(name, list(known))}")
    *parents, leaf = name.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{name}: '{parent}' holds {data!r}, expected a table of settings")
    data[leaf] = value


def get_dotted(config: TrialConfig, name: str) -> Any:
    """Return a setting of a config by its dotted name, as plain data."""
    value: Any = config.model_dump(mode="json")
    for part in name.split("."):
        value = value[part]
    return value


@cache
def _known_settings() -> tuple[str, ...]:
    return tuple(setting_names())


def _near(name: str, known: list[str]) -> str:
    """Suggest the nearest setting: by last word, else among its own section's (``pool.*``)."""
    section, _, leaf = name.rpartition(".")
    same_leaf = [other for other in known if other.rsplit(".", 1)[-1] == leaf]
    if same_leaf:
        return f"did you mean '{same_leaf[0]}'?"
    prefix = f"{section}." if section else ""
    rests = [other.removeprefix(prefix) for other in known if other.startswith(prefix)]
    siblings = {prefix + (f"{rest.split('.')[0]}.*" if "." in rest else rest) for rest in rests}
    return suggest(name, siblings or known)


def _depth(item: Any) -> tuple[int, bool]:
    """Order pydantic's findings: deepest first, an unknown key before what it leaves missing."""
    return len(item["loc"]), item["type"] == "extra_forbidden"


def _describe(error: ValidationError) -> str:
    """Turn pydantic's report into one line: where, got, expected."""
    # A union reports each of its branches; the deepest one is the branch that nearly fitted.
    first = max(error.errors(include_url=False), key=_depth)
    where = ".".join(
        str(part)
        for part in first["loc"]
        if part != "str" and not str(part).startswith(("function-", "tuple["))
    )
    if first["type"] == "value_error":
        message = str(first["ctx"]["error"])
        return message if not where or message.startswith(where) else f"{where}: {message}"
    if first["type"] == "extra_forbidden":
        if ".".join(map(str, first["loc"])) != where:
            return f"{where}: unknown key; remove it"
        return f"unknown setting '{where}'; {_near(where, list(setting_names()))}"
    if first["type"] == "missing":
        return f"{where}: missing, expected a value"
    expected = first["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        names = [name.strip("'") for name in expected.replace(" or ", ", ").split(", ")]
        return f"{where}: got '{first['input']}'; {suggest(first['input'], names)}"
    expected = {"tuple_type": "a list", "model_type": "a table of settings"}.get(
        first["type"], expected
    )
    prefix = f"{where}: " if where else ""
    return f"{prefix}got {first['input']!r}, expected {expected}"
