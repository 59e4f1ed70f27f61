"""Settings of the evaluation, which change nothing in a distilled set."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from harness.settings.base import Settings, as_tuple, check_label

KEEP_RATES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.8, 0.8)
"""Published for 4000 epochs: a tenth less every 500 down to one half, the last 1000 at 0.8."""

MAIN = "main"
"""In ``evaluation.students`` and ``kd.teacher``: the main model, whatever ``network`` says."""


QUICK_STUDENTS = ("mlp", "lenet")
"""Networks of the quick scores that a trial reports on its way."""


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
            check_label(self.teacher, "kd.teacher")
        return self


class EvaluationSettings(Settings):
    """Training of students on the distilled set (methods: VICO-UoE/DatasetCondensation)."""

    students: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = (
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
    """Of the recipe: a distilled set is passed over once more, as published, all real images so
    often; unset: 300 without augmentation, 1000 with; ``full-data``: 200."""
    optimizer: Literal["sgd", "lion"] = "sgd"
    """SGD with momentum 0.9 and weight decay 5e-4, or Lion with 5e-3 (needs ``harness[lion]``)."""
    lr: float = Field(default=0.01, gt=0.0)
    """Learning rate; times 0.1 from half of the epochs on; default 5e-5 with ``lion``."""
    batch: int = Field(default=256, ge=1)
    """Images a step; default 512 where the method is ``full-data``, and 100 with ``lion``."""
    keep_rates: Annotated[
        tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...], BeforeValidator(as_tuple)
    ] = KEEP_RATES
    """Of students with DropPath (``resnet18-droppath``): the chance that an image takes a block, in
    each of as many equal parts of the epochs."""
    augmentation: Literal[
        "auto", "none", "crop-scale-rotate", "crop-noise", "dsa", "dsa-noflip"
    ] = "auto"
    """``auto``: as published for DC, none but for MNIST and for ConvNets with batch norm. ``dsa``:
    one operation a batch, parameters for each image; the default of methods published with it, and
    ``dsa-noflip`` for images of characters."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, value: object) -> object:
        if isinstance(value, Mapping) and value.get("optimizer") == "lion":
            return {"lr": 5e-5, "batch": 100, **value}
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.keep_rates:
            raise ValueError("evaluation.keep_rates: got an empty list, expected at least one rate")
        if not self.students:
            raise ValueError(
                "evaluation.students: got an empty list, expected at least one network"
            )
        for name in self.students:
            if name != MAIN:
                check_label(name, "evaluation.students")
        return self


class RunSettings(Settings):
    """How a trial reports on its way; changes nothing in its results."""

    report_every: int = Field(default=500, ge=1)
    """Iterations between progress reports with a quick validation score."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Iterations between saved states, from which a killed trial goes on."""
    similarity_draws: int = Field(default=0, ge=0)
    """Draws in which each other network of the pool is compared with the main model, on the first
    and on the last images (``pool/similarity``); 0: it is not measured."""
