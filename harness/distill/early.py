"""Model augmentation: early-stage networks and perturbed weights (acc-DD, arXiv 2212.06152).

In place of a fresh random network, an iteration takes one of a few that were trained on real images
for some epochs, and perturbs its weights. Networks are trained when they are first drawn, once for
each dataset, architecture, seed and number of epochs, and kept in the store where there is one.

Sources: ncsu-dk-lab/Acc-DD, pretrain.py and weight_perturbation.py.
"""

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from harness import numerics, seeding
from harness.architecture import Architecture
from harness.config import Distillation
from harness.datasets import ImageData
from harness.distill.learner import training_gradients
from harness.distill.real_training import RealTraining, real_batches
from harness.networks import build_network
from harness.store import Entry, Key, Store

KIND = "early-network"
_LR = 0.01
_DECAY = 0.2
_EPSILON = 1e-10

Weights = Mapping[str, Tensor]
"""Parameters and buffers of a network by name, on the CPU."""


class EarlyNetworks:
    """The early-stage networks of a distillation."""

    def __init__(self, config: Distillation, data: ImageData, device: torch.device) -> None:
        """Prepare; nothing is trained.

        Args:
            config: Its ``acc`` and its seed.
            data: Real images to train on.
            device: Where to train.
        """
        self.store: Store | None = None
        self._config = config
        self._data = data
        self._device = device
        self._known: dict[tuple[Architecture, int], Weights] = {}
        self._borrowed_s = 0.0

    def draw(self, draws: Sequence[Architecture], architecture: Architecture) -> Weights:
        """The perturbed weights of an iteration.

        Args:
            draws: Architectures of the iterations before; their number is the iteration.
            architecture: Of this one.
        """
        iteration, settings = len(draws), self._config.acc
        which = self._which(iteration)
        if (architecture, which) not in self._known:
            counted = any(
                other == architecture and self._which(i) == which for i, other in enumerate(draws)
            )
            self._known[architecture, which] = self._get(architecture, which, counted=counted)
        return perturb(
            self._known[architecture, which],
            seeding.generator(self._config.seed, "perturbation", iteration),
            directions=settings.directions,
            magnitudes=(settings.magnitude_min, settings.magnitude_max),
        )

    def take_borrowed_s(self) -> float:
        """Seconds that networks from the store had cost elsewhere, since this was last asked."""
        seconds, self._borrowed_s = self._borrowed_s, 0.0
        return seconds

    def _which(self, iteration: int) -> int:
        random = seeding.python_random(self._config.seed, "early-network", iteration)
        return random.randrange(self._config.acc.networks)

    def _get(self, architecture: Architecture, which: int, *, counted: bool) -> Weights:
        """Train a network, or take it from the store.

        Args:
            architecture: Of the network.
            which: Its number.
            counted: Whether what it costs is known already, since it was drawn before.
        """
        made = False

        def make() -> Entry:
            nonlocal made
            made = True
            began = time.perf_counter()
            weights = self._train(architecture, which)
            return Entry(weights, cost_s=time.perf_counter() - began)

        if self.store is None:
            return make().tensors
        began = time.perf_counter()
        entry = self.store.get_or_make(self._key(architecture, which), make)
        if not made:
            waited = time.perf_counter() - began
            self._borrowed_s += (0.0 if counted else entry.cost_s) - waited
        return entry.tensors

    def _key(self, architecture: Architecture, which: int) -> Key:
        identity = {
            "architecture": architecture.label,
            "dataset_checksum": self._data.checksum,
            "epochs": self._config.acc.epochs,
            "network": which,
            "numerics": numerics.describe(self._device),
            "seed": self._config.seed,
        }
        return Key(KIND, identity)

    def _train(self, architecture: Architecture, which: int) -> Weights:
        return pretrain(
            architecture,
            self._data,
            self._device,
            epochs=self._config.acc.epochs,
            seed=self._config.seed,
            which=which,
        )


def pretrain(
    architecture: Architecture,
    data: ImageData,
    device: torch.device,
    *,
    epochs: int,
    seed: int,
    which: int,
) -> dict[str, Tensor]:
    """Train a network on all real images, as IDC updates its networks.

    The rate falls to a fifth at two thirds and at five sixths of the epochs; the last epoch counts.

    Args:
        architecture: Of the network.
        data: Real images.
        device: Where they are.
        epochs: Passes.
        seed: The trial's.
        which: Number of the network.

    Returns:
        Weights, on the CPU.
    """
    address = (architecture.label, which)
    network = build_network(
        architecture,
        in_shape=data.in_shape,
        classes=data.num_classes,
        generator=seeding.generator(seed, "early-weights", *address),
    ).to(device)
    network.train()
    training = RealTraining(
        architecture.label, network, lambda *batch: training_gradients(network, *batch)
    )
    milestones = (2 * epochs // 3, 5 * epochs // 6)
    rows = torch.arange(len(data.train.labels))
    for epoch in range(epochs):
        lr = _LR * _DECAY ** sum(epoch >= milestone for milestone in milestones)
        for batch in real_batches(data, rows, len(rows), seed, "early", *address, epoch):
            training.step(*batch, lr)
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def perturb(
    weights: Weights, rng: Generator, *, directions: int, magnitudes: tuple[float, float]
) -> dict[str, Tensor]:
    """Move weights along random directions that are scaled filter by filter.

    Along each direction, a filter of length r moves by a * r, where |a| is uniform between the
    magnitudes, its sign is random, and both are the same for all filters. Tensors of rank 1 stay:
    biases, scales of norms, statistics.

    Args:
        weights: On the CPU; left alone.
        rng: CPU generator: for each direction a magnitude, a sign, then normal numbers for each
            tensor in order.
        directions: How many.
        magnitudes: Bounds of |a|.
    """
    moved = dict(weights)
    low, high = magnitudes
    for _ in range(directions):
        share, sign = torch.rand(2, generator=rng, dtype=torch.float64).tolist()
        magnitude = (low + (high - low) * share) * (1 if sign < 0.5 else -1)
        for name, weight in weights.items():
            if weight.ndim >= 2:
                noise = torch.randn(weight.shape, generator=rng, dtype=weight.dtype)
                scale = _lengths(weight) / (_lengths(noise) + _EPSILON)
                moved[name] = moved[name] + magnitude * noise * scale
    return moved


def _lengths(tensor: Tensor) -> Tensor:
    """Length of each filter [O, ...] of a tensor, to be broadcast."""
    lengths: Tensor = torch.linalg.vector_norm(tensor.flatten(1), dim=1)
    return lengths.reshape(-1, *[1] * (tensor.ndim - 1))
