"""Baselines of a distilled set: random real images, and all of them.

Shape letters: S images of a set, K classes, C channels, H height, W width.
"""

import torch
from torch.nn.functional import cross_entropy

from harness import seeding
from harness.architecture import Architecture
from harness.config import TrialConfig
from harness.datasets import ImageData
from harness.evaluate.augmentation import augment
from harness.evaluate.training import Recipe, Score, score
from harness.networks import Network, build_network
from harness.synthetic import SyntheticSet, init_from_real, labels_by_class

_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4
_LR = 0.01
_BATCH = 512


def random_real(data: ImageData, ipc: int, *, seed: int, draw: int) -> SyntheticSet:
    """Pick ``ipc`` random training images of each class, a set like a distilled one.

    Args:
        data: Real images.
        ipc: Images per class.
        seed: Root of the draw.
        draw: Which one: each is another subset.

    Returns:
        Images float32 [S, C, H, W] on the device of the data, with hard labels.

    Raises:
        DataError: A class has fewer training images.
    """
    rng = seeding.generator(seed, "random-real", draw)
    images = init_from_real(data.train.images, data.train.labels, ipc=ipc, rng=rng)
    labels = labels_by_class(data.num_classes, ipc).to(images.device)
    return SyntheticSet(images, labels, {"pixels": data.pixels, "method": "random-real"})


def train_on_all(config: TrialConfig, data: ImageData, *, epochs: int, k: int) -> Score:
    """Train the main model on all training images and score it on the test images.

    Args:
        config: Main model and seed.
        data: Real images.
        epochs: Passes over the training images, >= 1.
        k: Which network, from 0.
    """
    recipe = Recipe(epochs, _LR, _BATCH, "none")
    network = real_network(config.network, data, recipe, seed=config.seed, address=("all-real", k))
    return score(network, data.test)


def real_network(
    architecture: Architecture,
    data: ImageData,
    recipe: Recipe,
    *,
    seed: int,
    address: tuple[str | int, ...],
    decays: bool = True,
) -> Network:
    """Train a network on all training images.

    SGD with momentum 0.9 and weight decay 5e-4; a tenth of the rate from half of the epochs on, if
    it ``decays``; the last epoch counts. DD-Ranking's recipe for CIFAR10 and a ConvNet (arXiv
    2505.13300) has 200 epochs, rate 0.01, batch 512 and no augmentation. Images are read batch by
    batch.

    Args:
        architecture: What to train.
        data: Real images; the network is on their device.
        recipe: Epochs, rate, batch and augmentation; exactly so many epochs are run.
        seed: The trial's.
        address: Role and index of the draws of weights, order and augmentation.
        decays: Whether the rate falls.
    """
    device = data.train.labels.device
    role, *index = address
    network = build_network(
        architecture,
        in_shape=data.in_shape,
        classes=data.num_classes,
        generator=seeding.generator(seed, f"{role}-network", *index),
    ).to(device)
    network.train()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=recipe.lr, momentum=_MOMENTUM, weight_decay=_WEIGHT_DECAY
    )
    for epoch in range(recipe.epochs):
        if decays and epoch == (recipe.epochs + 1) // 2:
            optimizer.param_groups[0]["lr"] = recipe.lr * 0.1
        rng = seeding.generator(seed, f"{role}-order", *index, epoch)
        order = torch.randperm(len(data.train.labels), generator=rng).to(device)
        shown = seeding.generator(seed, f"{role}-augment", *index, epoch)
        for rows in torch.split(order, recipe.batch):
            images = augment(data.train.images[rows], recipe.augmentation, shown)
            loss = cross_entropy(network(images), data.train.labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network
