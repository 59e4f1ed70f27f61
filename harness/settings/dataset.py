"""Settings of the real images."""

from typing import Literal, Self

from pydantic import Field, model_validator

from harness.errors import suggest
from harness.settings.base import Settings

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
