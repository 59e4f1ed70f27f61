"""Settings of ELF: students that also follow features of a network trained on real images."""

from typing import Literal

from pydantic import Field

from harness.settings.base import Settings

REAR_STARTS: dict[str, str | None] = {
    "convnet": None,
    "resnet18": "block8",
    "resnet18-bn": "block8",
    "vgg11": "conv6",
    "vgg11-bn": "conv6",
}
"""Networks that ELF splits -> the first layer of the rear; None: the classifier alone."""

Distance = Literal["l2", "ce", "l1", "cosine"]


class ELFSettings(Settings):
    """Features that students follow (ELF, arXiv 2312.05598)."""

    loss: Literal["off", "front_rear_task", "task", "front_task", "rear_task", "front_rear"] = "off"
    """The terms of a student's loss: ``front``, the distance of its maps at the split to the
    features; ``rear``, cross-entropy of its rear on the features; ``task``, its own
    cross-entropy. ``task`` alone is a student without ELF. All others see real images through the
    features, and are a track of their own."""
    distance: Distance = "l2"
    """Of maps and features: means of squared (``l2``) or absolute (``l1``) differences,
    cross-entropy over channels with the features as they are for weights (``ce``, the published
    default), or one minus the cosine over a batch (``cosine``)."""
    front_weight: float = Field(default=1.0, gt=0.0)
    """Weight of the term ``front``."""
    rear_weight: float = Field(default=1.0, gt=0.0)
    """Weight of the term ``rear``."""
    epochs: int = Field(default=100, ge=1)
    """Passes over the real images that the feature network is trained for."""

    @property
    def terms(self) -> frozenset[str]:
        """Names of the terms; empty where ELF is off."""
        return frozenset() if self.loss == "off" else frozenset(self.loss.split("_"))

    @property
    def needs_features(self) -> bool:
        """Whether students see anything of real images."""
        return bool(self.terms & {"front", "rear"})
