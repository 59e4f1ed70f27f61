"""ELF: students whose inner maps follow features of a network trained on real images.

Source: ELF (arXiv 2312.05598; Lirui-Zhao/ELF). The feature network is the main model, as wide as
the student's maps; its features of the synthetic images, not augmented, are computed once. Since
it was trained on real images, its students are a track of their own.

Shape letters: B images of a batch, S of the set, C channels, H height, W width, K classes.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, l1_loss, mse_loss

from harness.architecture import Architecture
from harness.config import TrialConfig
from harness.datasets import ImageData
from harness.errors import DataError
from harness.evaluate.augmentation import resolve
from harness.evaluate.baselines import real_network
from harness.evaluate.cohort import Loss
from harness.evaluate.training import Recipe
from harness.networks import Network, build_network
from harness.networks.network import Shape
from harness.networks.split import map_shape, split
from harness.seeding import generator
from harness.settings.elf import Distance, ELFSettings

_LR, _BATCH = 0.01, 256
_PART = 256


def feature_network(config: TrialConfig, student: Architecture, in_shape: Shape) -> Architecture:
    """The architecture whose features a student follows: the main model, as wide as its maps.

    Raises:
        DataError: Its last maps and the student's at the split are not of one size.
    """
    channels, *sides = map_shape(student, in_shape)
    wide = config.network.model_copy(update={"width": channels})
    own = map_shape(wide, in_shape)
    if list(own[1:]) != sides:
        side, height = sides[0], own[1]
        raise DataError(
            f"elf.loss: got '{config.elf.loss}', but student '{student.label}' has maps of "
            f"{side}x{side} pixels where it is split, and the main model '{config.network.label}' "
            f"ends with {height}x{height}; change network.depth or evaluation.students"
        )
    return wide


def feature_identity(
    config: TrialConfig, architecture: Architecture, data: ImageData
) -> dict[str, Any]:
    """All that determines a feature network besides the arithmetic, as plain data."""
    return {
        "architecture": architecture.label,
        "augmentation": _augmentation(config, architecture),
        "dataset_checksum": data.checksum,
        "epochs": config.elf.epochs,
        "seed": config.seed,
    }


def train_features(
    config: TrialConfig, architecture: Architecture, data: ImageData
) -> Mapping[str, Tensor]:
    """Train a feature network on all real images; its weights.

    SGD at 0.01 with momentum 0.9 and weight decay 5e-4, batches of 256, images augmented as for
    DSA. The published checkpoint of epoch 100 comes before its rate falls, so it never does here.
    """
    recipe = Recipe(config.elf.epochs, _LR, _BATCH, _augmentation(config, architecture))
    address = ("elf-features", architecture.label)
    network = real_network(
        architecture, data, recipe, seed=config.seed, address=address, decays=False
    )
    return network.state_dict()


def features_of(
    weights: Mapping[str, Tensor], architecture: Architecture, data: ImageData, images: Tensor
) -> Tensor:
    """Features of images: float32 [S, C, H, W], by a trained network in eval mode.

    Args:
        weights: Of the network.
        architecture: Of the network, a ConvNet.
        data: Real images, for shape and classes.
        images: [S, channels, side, side], on the device to compute on.
    """
    network = build_network(
        architecture,
        in_shape=data.in_shape,
        classes=data.num_classes,
        generator=generator(0, "layout"),  # overwritten below
    )
    network.load_state_dict(weights)
    front = split(network.to(images.device).eval(), architecture.name).front
    with torch.no_grad():
        return torch.cat([front(part) for part in torch.split(images, _PART)])


def make_loss(settings: ELFSettings, network: Network, name: str) -> Loss:
    """The loss of one student.

    Args:
        settings: Terms, distance and weights.
        network: The student.
        name: Of its architecture.

    Returns:
        Called with the network, a batch's images, its labels and the features of its images as
        they are without augmentation, [B, C, H, W] (None where no term needs them); the sum of the
        terms. The passes are front, rear on the features, rear on the front's maps, which is the
        order in which batch norms see them.
    """
    front, rear = split(network, name)
    terms = settings.terms

    def loss(_: nn.Module, images: Tensor, labels: Tensor, features: Tensor | None) -> Tensor:
        maps: Tensor = front(images)
        found: list[Tensor] = []
        if "front" in terms:
            assert features is not None
            found.append(settings.front_weight * distance(settings.distance, maps, features))
        if "rear" in terms:
            assert features is not None
            found.append(settings.rear_weight * cross_entropy(rear(features), labels))
        if "task" in terms:
            found.append(cross_entropy(rear(maps), labels))
        return torch.stack(found).sum() if len(found) > 1 else found[0]

    return loss


def distance(name: Distance, maps: Tensor, features: Tensor) -> Tensor:
    """Distance of a student's maps to the features, both [B, C, H, W]; a scalar."""
    if name == "ce":  # a mean over images and pixels
        return cross_entropy(maps, features)
    if name == "cosine":
        return 1 - cosine_similarity(maps.flatten(), features.flatten(), dim=0)
    return mse_loss(maps, features) if name == "l2" else l1_loss(maps, features)


def _augmentation(config: TrialConfig, architecture: Architecture) -> str:
    return resolve("dsa", config.dataset.name, architecture)
