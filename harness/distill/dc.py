"""DC: dataset condensation by gradient matching (arXiv 2006.05929), with a model pool.

Each iteration draws an architecture, initialises it, and alternates image steps with training the
network on the synthetic set. The reference runs one iteration more than it is asked for; here
``iterations`` is the number of iterations.
"""

from typing import Any

import torch
from torch import Tensor

from harness import seeding
from harness.architecture import Architecture
from harness.config import Distillation
from harness.datasets import ImageData
from harness.distill.bandit import make_pool
from harness.distill.early import EarlyNetworks
from harness.distill.learner import BATCH_NORM_IMAGES, BATCH_TRAIN, Learned, Learner
from harness.distill.matching import matched_rows
from harness.networks import Network, build_network
from harness.store import Store
from harness.synthetic import SyntheticSet, init_from_noise, init_from_real, labels_by_class


class DC:
    """Gradient matching of one network after another; see ``harness.distill.Distiller``.

    Methods that differ in what they match, or in what they train the network on, are its children.
    """

    def __init__(self, config: Distillation, data: ImageData, device: torch.device) -> None:
        """Start from noise or from real images.

        Args:
            config: Settings.
            data: Real images; only ``data.train`` is read.
            device: Where the images and networks live.
        """
        self.iteration = 0
        self.draws: list[Architecture] = []
        self._config = config
        self._data = data
        self._device = device
        self._pool = make_pool(config, data, device)
        self._members = [
            torch.nonzero(data.train.labels == k).flatten().cpu() for k in range(data.num_classes)
        ]
        self._counts = [len(self._pool.usable(rows)) for rows in self._members]
        images = self._initial_images().to(device)
        labels = labels_by_class(data.num_classes, config.ipc).to(device)
        self._learned = Learned(images, labels, torch.zeros_like(images))
        self._sizes = [min(count, config.batch_real) for count in self._counts]
        self._learners: dict[Architecture, Learner] = {}
        self._early = EarlyNetworks(config, data, device) if config.acc.networks else None

    @property
    def pool_path(self) -> list[tuple[int, float]]:
        """The main-model probability of the iterations done, where it changes."""
        return self._pool.path(self.iteration)

    def step(self) -> Tensor:
        """Draw a network and learn from it; return the matching loss a class and outer step."""
        architecture = self._pool.draw(self.iteration, self.synthetic)
        learner = self._learner(architecture)
        if self._early is None:
            learner.refill(seeding.generator(self._config.seed, "network", self.iteration))
        else:
            learner.load(self._early.draw(self.draws, architecture))
        total = torch.zeros((), device=self._device)
        for outer in range(self._config.outer_loop):
            if outer > 0:
                self._train(learner, outer)
            total += self._match(learner, outer)
        self.draws.append(architecture)
        self.iteration += 1
        return total / (self._data.num_classes * self._config.outer_loop)

    def use_store(self, store: Store) -> None:
        """Take early-stage networks from a store, and leave them there."""
        if self._early is not None:
            self._early.store = store

    def take_borrowed_s(self) -> float:
        """Seconds that early-stage networks from the store had cost, since last asked."""
        return 0.0 if self._early is None else self._early.take_borrowed_s()

    def synthetic(self) -> SyntheticSet:
        """The set as it stands."""
        made = {**self._config.identity(), "iterations": self.iteration}
        provenance = {**self._data.provenance(), "distillation": made}
        return SyntheticSet(self._learned.images.clone(), self._learned.labels, provenance)

    def state_dict(self) -> dict[str, Any]:
        """Images, momentum, iteration, the draws so far, and the pool's own."""
        return {
            "images": self._learned.images.clone(),
            "momentum": self._learned.momentum.clone(),
            "iteration": self.iteration,
            "draws": [architecture.label for architecture in self.draws],
            **self._pool.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self._learned.images.copy_(state["images"])
        self._learned.momentum.copy_(state["momentum"])
        self.iteration = state["iteration"]
        self.draws = [Architecture.parse(label) for label in state["draws"]]
        self._pool.load_state_dict(state)

    def _initial_images(self) -> Tensor:
        rng = seeding.generator(self._config.seed, "init-images")
        if self._config.init == "real":
            train = self._data.train
            return init_from_real(
                train.images,
                train.labels,
                ipc=self._config.ipc,
                rng=rng,
                usable=self._pool.usable,
            )
        return init_from_noise(
            classes=self._data.num_classes,
            ipc=self._config.ipc,
            shape=self._data.in_shape,
            rng=rng,
        )

    def _learner(self, architecture: Architecture) -> Learner:
        """The learner of an architecture, made when it is first drawn."""
        if architecture not in self._learners:
            network = self._layout(architecture)
            self._learners[architecture] = Learner(
                network,
                self._learned,
                self._data.train.images,
                self._config,
                sizes=self._sizes,
                batch_norm_images=sum(min(count, BATCH_NORM_IMAGES) for count in self._counts),
                label=architecture.label,
                weight=self._weight(network),
                **self._learner_options(),
            )
        return self._learners[architecture]

    def _layout(self, architecture: Architecture) -> Network:
        """A network of which the weights are overwritten before use."""
        return build_network(
            architecture,
            in_shape=self._data.in_shape,
            classes=self._data.num_classes,
            generator=seeding.generator(0, "layout"),
        )

    def _weight(self, network: Network) -> float:
        """What the loss of a network counts."""
        if not self._config.pool.balanced:
            return 1.0
        return matched_rows(self._layout(self._config.network)) / matched_rows(network)

    def _learner_options(self) -> dict[str, Any]:
        """What learners are given besides."""
        return {}

    def _match(self, learner: Learner, outer: int) -> Tensor:
        """One image step on the loss summed over classes; return that loss."""
        rows = self._real_rows("real-batch", outer, self._config.batch_real)
        return learner.match(rows, self._batch_norm_rows(learner, outer))

    def _train(self, learner: Learner, outer: int) -> None:
        """Train the network on the synthetic set, before an image step other than the first."""
        learner.train(self._orders(outer))

    def _batch_norm_rows(self, learner: Learner, outer: int) -> Tensor | None:
        """Training images that refresh the statistics of batch norms, where there are any."""
        if not learner.has_batch_norm:
            return None
        return self._real_rows("batch-norm", outer, BATCH_NORM_IMAGES)

    def _real_rows(self, role: str, outer: int, size: int) -> Tensor:
        """Training images of each class, without replacement; a smaller class is taken whole."""
        chosen = []
        for k, members in enumerate(self._members):
            rng = seeding.generator(self._config.seed, role, self.iteration, outer, k)
            shuffled = members[torch.randperm(len(members), generator=rng)]
            chosen.append(self._pool.usable(shuffled)[:size])
        return torch.cat(chosen)

    def _orders(self, outer: int) -> Tensor | None:
        """Order of the synthetic images in each epoch of the inner loop, if it is in batches."""
        count = len(self._learned.labels)
        if count <= BATCH_TRAIN:
            return None
        address = (self._config.seed, "inner-order", self.iteration, outer)
        epochs = range(self._config.inner_loop)
        return torch.stack(
            [torch.randperm(count, generator=seeding.generator(*address, e)) for e in epochs]
        )
