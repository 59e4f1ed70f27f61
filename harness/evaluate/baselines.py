"""Baselines of a distilled set: random real images, and all of them.

Shape letters: S images of a set, K classes, C channels, H height, W width.
"""

import torch
from torch.nn.functional import cross_entropy

from harness import seeding
from harness.config import TrialConfig
from harness.datasets import ImageData
from harness.evaluate.training import Score, score
from harness.networks import build_network
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

    SGD with rate 0.01, momentum 0.9, weight decay 5e-4, batch 512; a tenth of the rate from half of
    the epochs on; no augmentation; the last epoch counts (DD-Ranking's recipe for CIFAR10 and a
    ConvNet has 200 epochs). Images are read batch by batch.

    Args:
        config: Main model and seed.
        data: Real images.
        epochs: Passes over the training images, >= 1.
        k: Which network, from 0.
    """
    device = data.train.labels.device
    network = build_network(
        config.network,
        in_shape=data.in_shape,
        classes=data.num_classes,
        generator=seeding.generator(config.seed, "all-real-network", k),
    ).to(device)
    network.train()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=_LR, momentum=_MOMENTUM, weight_decay=_WEIGHT_DECAY
    )
    for epoch in range(epochs):
        if epoch == (epochs + 1) // 2:
            optimizer.param_groups[0]["lr"] = _LR * 0.1
        rng = seeding.generator(config.seed, "all-real-order", k, epoch)
        order = torch.randperm(len(data.train.labels), generator=rng).to(device)
        for rows in torch.split(order, _BATCH):
            loss = cross_entropy(network(data.train.images[rows]), data.train.labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return score(network, data.test)
