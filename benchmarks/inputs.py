"""What the arms work on: the settings of a case, and noise in place of images.

Inputs are random, never constant: zeros are faster than images.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.cases import CLASSES, SETTINGS, Case
from harness import seeding
from harness.architecture import Architecture
from harness.config import TrialConfig, make_config
from harness.datasets import ImageData, Split
from harness.networks import build_network
from harness.synthetic import SyntheticSet, init_from_noise, labels_by_class

SEED = 0


def make_settings(case: Case, threads: int) -> TrialConfig:
    """The trial that a case is a part of: the main model alone, no augmentation."""
    setting = SETTINGS[case.setting]
    return make_config(
        {
            "dataset": {"name": setting.dataset},
            "ipc": setting.ipc,
            "seed": SEED,
            "batch_real": setting.batch_real,
            "outer_loop": case.outer_loop,
            "inner_loop": case.epochs,
            "threads": threads,
            "network": {"width": setting.width},
            "pool": {"main_probability": 1.0},
            "evaluation": {
                "students": [case.student or "main"],
                "student_seeds": case.student_seeds,
                "epochs": case.epochs,
                "augmentation": "none",
            },
        }
    )


def make_data(case: Case, device: torch.device) -> ImageData:
    """Noise in place of real images, classes in turn."""
    setting = SETTINGS[case.setting]

    def draw(role: str, size: int) -> Split:
        rng = seeding.generator(SEED, f"benchmark-{role}")
        return Split(
            torch.randn((size, *setting.in_shape), generator=rng), torch.arange(size) % CLASSES
        )

    channels = setting.in_shape[0]
    return ImageData(
        name=setting.dataset,
        train=draw("train", CLASSES * setting.train_per_class),
        validation=None,
        test=draw("test", case.test_images),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        classes=tuple(map(str, range(CLASSES))),
        checksum="0" * 64,
    ).to(device)


def make_synthetic(case: Case, device: torch.device) -> SyntheticSet:
    """A set of noise, grouped by class."""
    setting = SETTINGS[case.setting]
    rng = seeding.generator(SEED, "benchmark-images")
    images = init_from_noise(classes=CLASSES, ipc=setting.ipc, shape=setting.in_shape, rng=rng)
    return SyntheticSet(images.to(device), labels_by_class(CLASSES, setting.ipc).to(device), {})


def make_network(
    case: Case, device: torch.device, architecture: Architecture, *address: str | int
) -> nn.Module:
    """A fresh network; equal addresses give equal weights."""
    role, *index = address
    network = build_network(
        architecture,
        in_shape=SETTINGS[case.setting].in_shape,
        classes=CLASSES,
        generator=seeding.generator(SEED, str(role), *index),
    )
    return network.to(device)


def draw_batches(data: ImageData, size: int, rng: torch.Generator) -> list[Tensor]:
    """Real images of each class, without replacement."""
    batches = []
    for k in range(CLASSES):
        members = torch.nonzero(data.train.labels == k).flatten()
        chosen = torch.randperm(len(members), generator=rng)[:size]
        batches.append(data.train.images[members[chosen.to(members.device)]])
    return batches


class MatchingInputs(NamedTuple):
    """What a matching step is given."""

    network: nn.Module
    synthetic: SyntheticSet
    real: list[Tensor]


def make_matching_inputs(case: Case, device: torch.device, threads: int) -> MatchingInputs:
    """The main model, a set of noise, and a batch of noise for each class."""
    config = make_settings(case, threads)
    real = draw_batches(
        make_data(case, device), config.batch_real, seeding.generator(SEED, "benchmark-batches")
    )
    network = make_network(case, device, config.network, "benchmark-network")
    return MatchingInputs(network, make_synthetic(case, device), real)
