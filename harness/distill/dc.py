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
from harness.distill.learner import BATCH_NORM_IMAGES, BATCH_TRAIN, Learned, Learner
from harness.networks import build_network
from harness.synthetic import SyntheticSet, init_from_noise, init_from_real, labels_by_class


class DC:
    """Gradient matching of one network after another; see ``harness.distill.Distiller``."""

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
        self._learners: dict[Architecture, Learner] = {}

    @property
    def pool_path(self) -> list[tuple[int, float]]:
        """The main-model probability of the iterations done, where it changes."""
        return self._pool.path(self.iteration)

    def step(self) -> Tensor:
        """Draw a network and learn from it; return the matching loss a class and outer step."""
        architecture = self._pool.draw(self.iteration, self.synthetic)
        learner = self._learner(architecture)
        learner.refill(seeding.generator(self._config.seed, "network", self.iteration))
        total = torch.zeros((), device=self._device)
        for outer in range(self._config.outer_loop):
            if outer > 0:
                learner.train(self._orders(outer))
            total += self._match(learner, outer)
        self.draws.append(architecture)
        self.iteration += 1
        return total / (self._data.num_classes * self._config.outer_loop)

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
            network = build_network(
                architecture,
                in_shape=self._data.in_shape,
                classes=self._data.num_classes,
                generator=seeding.generator(0, "layout"),  # overwritten before use
            )
            self._learners[architecture] = Learner(
                network,
                self._learned,
                self._data.train.images,
                self._config,
                sizes=[min(count, self._config.batch_real) for count in self._counts],
                batch_norm_images=sum(min(count, BATCH_NORM_IMAGES) for count in self._counts),
                label=architecture.label,
            )
        return self._learners[architecture]

    def _match(self, learner: Learner, outer: int) -> Tensor:
        """One image step on the loss summed over classes; return that loss."""
        statistics = None
        if learner.has_batch_norm:
            statistics = self._real_rows("batch-norm", outer, BATCH_NORM_IMAGES)
        rows = self._real_rows("real-batch", outer, self._config.batch_real)
        return learner.match(rows, statistics)

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
