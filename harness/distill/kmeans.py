"""K-means: the real images nearest to the centres of each class, in features of the main model.

The main model is trained on all training images; the input of its last linear layer is an image's
features. Each class is clustered into ``ipc`` clusters (k-means++ start, Lloyd's iterations), and
the image nearest to each centre is taken (DC-BENCH, arXiv 2207.09639: "k-means embedding").

Shape letters: n images of a class, F features, P clusters.
"""

import torch
from torch import Generator, Tensor, cdist

from harness import seeding
from harness.distill.selection import Selection
from harness.errors import DataError, DivergedError
from harness.evaluate.baselines import real_network
from harness.evaluate.training import Recipe
from harness.networks import Network

_LR = 0.01
_BATCH = 512
_READ = 256
_MAX_ROUNDS = 100


class KMeans(Selection):
    """Selection by k-means on features; see the module."""

    def choose(self) -> Tensor:
        """Train, cluster and choose.

        Raises:
            DataError: A class has fewer images than ``ipc``.
            DivergedError: The features are not finite.
        """
        config, data = self._config, self._data
        recipe = Recipe(config.kmeans.epochs, _LR, _BATCH, "none")
        address = ("kmeans-features",)
        network = real_network(config.network, data, recipe, seed=config.seed, address=address)
        labels = data.train.labels.cpu()
        chosen = []
        for k in range(data.num_classes):
            members = torch.nonzero(labels == k).flatten()
            if len(members) < config.ipc:
                raise DataError(
                    f"class {k}: got {len(members)} training images, expected at least ipc = "
                    f"{config.ipc}; lower ipc"
                )
            features = self._features(network, members)
            if not bool(features.isfinite().all()):
                raise DivergedError("features not finite")
            rng = seeding.generator(config.seed, "kmeans-centres", k)
            chosen.append(members[nearest(features, cluster(features, config.ipc, rng))])
        return torch.cat(chosen)

    def _features(self, network: Network, rows: Tensor) -> Tensor:
        """Features of training images, float64 [n, F] on the CPU."""
        images, device = self._data.train.images, self._data.train.labels.device
        network.eval()
        with torch.no_grad():
            parts = [
                network.features(images[part.to(device)]).cpu() for part in torch.split(rows, _READ)
            ]
        return torch.cat(parts).double()


def cluster(features: Tensor, clusters: int, rng: Generator) -> Tensor:
    """Centres of k-means.

    Args:
        features: Float64 [n, F], n >= clusters.
        clusters: P, >= 1.
        rng: CPU generator of the start (k-means++).

    Returns:
        Float64 [P, F]; Lloyd's iterations end where no image changes its cluster, or after 100. A
        cluster that loses all of its images keeps its centre.
    """
    centres = _start(features, clusters, rng)
    before: Tensor | None = None
    for _ in range(_MAX_ROUNDS):
        own = _distances(features, centres).argmin(1)
        if before is not None and torch.equal(own, before):
            break
        before = own
        for p in set(own.tolist()):
            centres[p] = features[own == p].mean(0)
    return centres


def nearest(features: Tensor, centres: Tensor) -> Tensor:
    """The row nearest to each centre in turn, of those not yet taken: int64 [P], all different."""
    distances = _distances(features, centres)
    taken = []
    for p in range(len(centres)):
        row = int(distances[:, p].argmin())
        taken.append(row)
        distances[row] = torch.inf
    return torch.tensor(taken, dtype=torch.int64)


def _start(features: Tensor, clusters: int, rng: Generator) -> Tensor:
    """K-means++: each centre a row, drawn by its squared distance to those before."""
    rows = [int(torch.randint(len(features), (1,), generator=rng))]
    while len(rows) < clusters:
        weights = _distances(features, features[rows]).min(1).values.square()
        weights[rows] = 0.0
        if not bool(weights.any()):  # the rest repeats what is there
            weights = torch.ones(len(features), dtype=features.dtype)
            weights[rows] = 0.0
        rows.append(int(torch.multinomial(weights, 1, generator=rng)))
    return features[rows].clone()


def _distances(features: Tensor, centres: Tensor) -> Tensor:
    return cdist(features, centres, compute_mode="donot_use_mm_for_euclid_dist")
