"""The arms: ways of doing the same work, each with its process's settings and its workload.

A workload is made once, with all inputs on the device, and then called again and again. Inputs are
random, never constant: zeros are faster than images. What a call returns is what the tests compare.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.cases import CLASSES, SETTINGS, Case
from harness import numerics, seeding
from harness.architecture import Architecture
from harness.config import TrialConfig, make_config
from harness.datasets import ImageData, Split
from harness.distill.dc import DC
from harness.distill.matching import match_gradients
from harness.evaluate import evaluate
from harness.networks import build_network
from harness.synthetic import SyntheticSet, init_from_noise, labels_by_class
from tests.reference import evaluation as reference_evaluation
from tests.reference import matching as reference_matching

_SEED = 0
_MOMENTUM_IMG = 0.5
_BATCH_TRAIN = 256
_BATCH_TEST = 256

Work = Callable[[], Any]


class Arm(NamedTuple):
    """One way of doing a benchmark's work."""

    setup: Callable[[int], None]
    """Sets its process, for a number of threads, before the first tensor."""
    make: Callable[[Case, torch.device, int], Work]
    """Makes the workload of a case on a device, for a number of threads."""


# --- Settings of a process ------------------------------------------------------------------


def as_it_comes(threads: int) -> None:
    """Leave all but the threads at torch's and the C library's defaults."""
    torch.set_num_threads(threads)


def tuned(threads: int) -> None:
    """Take the engine's thresholds of the allocator, and nothing else of its settings."""
    numerics._tune_allocator()
    torch.set_num_threads(threads)


def tuned_vectorised(threads: int) -> None:
    """As ``tuned``; also compare all rows of a parameter at once, as the published code does."""
    tuned(threads)
    reference_matching.row_distance = row_distance


def engine(threads: int) -> None:
    """Set the process as a trial does."""
    numerics.configure(threads=threads)


def row_distance(a: Tensor, b: Tensor) -> Tensor:
    """``tests.reference.matching.row_distance`` without its loop over rows."""
    a, b = a.flatten(1), b.flatten(1)
    norms: Tensor = a.norm(dim=1) * b.norm(dim=1)
    return (1 - (a * b).sum(1) / (norms + 1e-6)).sum()


# --- Inputs ---------------------------------------------------------------------------------


def make_settings(case: Case, threads: int) -> TrialConfig:
    """The trial that a case is a part of: the main model alone, no augmentation."""
    setting = SETTINGS[case.setting]
    return make_config(
        {
            "dataset": {"name": setting.dataset},
            "ipc": setting.ipc,
            "seed": _SEED,
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
        rng = seeding.generator(_SEED, f"benchmark-{role}")
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
    rng = seeding.generator(_SEED, "benchmark-images")
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
        generator=seeding.generator(_SEED, str(role), *index),
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
        make_data(case, device), config.batch_real, seeding.generator(_SEED, "benchmark-batches")
    )
    network = make_network(case, device, config.network, "benchmark-network")
    return MatchingInputs(network, make_synthetic(case, device), real)


# --- One matching step: loss and gradient to the images -------------------------------------


def plain_matching(case: Case, device: torch.device, threads: int) -> Work:
    """A loop over classes and parameters; one backward through everything."""
    network, synthetic, real = make_matching_inputs(case, device, threads)
    ipc = SETTINGS[case.setting].ipc
    return lambda: reference_matching.match(network, synthetic.images, ipc, real)


def engine_matching(case: Case, device: torch.device, threads: int) -> Work:
    """The engine's step."""
    network, synthetic, real = make_matching_inputs(case, device, threads)
    return lambda: match_gradients(network, synthetic.images, synthetic.labels, real)


# --- The inner loop: training the network on the synthetic set ------------------------------


def train_plainly(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    epochs: int,
) -> None:
    """The inner loop of ``tests.reference.dc``."""
    loader = DataLoader(TensorDataset(images, labels), batch_size=_BATCH_TRAIN, shuffle=False)
    network.train()
    for _ in range(epochs):
        for batch, target in loader:
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(batch), target)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def plain_inner(case: Case, device: torch.device, threads: int) -> Work:
    """A DataLoader and torch's SGD; each call trains the same network further."""
    config = make_settings(case, threads)
    synthetic = DC(config, make_data(case, device), device).synthetic()
    network = make_network(case, device, config.network, "benchmark-network")
    optimizer = torch.optim.SGD(network.parameters(), lr=config.lr_net)

    def work() -> list[Tensor]:
        train_plainly(network, optimizer, synthetic.images, synthetic.labels, case.epochs)
        return list(network.parameters())

    return work


def engine_inner(case: Case, device: torch.device, threads: int) -> Work:
    """The engine's inner loop; each call trains the same network further."""
    config = make_settings(case, threads)
    distiller = DC(config, make_data(case, device), device)
    network = make_network(case, device, config.network, "benchmark-network")

    def work() -> list[Tensor]:
        # Private, because nobody but DC trains this way: its public step matches as well.
        distiller._train(network, 1)
        return list(network.parameters())

    return work


# --- A whole iteration ----------------------------------------------------------------------


def plain_iteration(case: Case, device: torch.device, threads: int) -> Work:
    """An iteration of ``tests.reference.dc``, written again to run on any device."""
    config = make_settings(case, threads)
    data = make_data(case, device)
    synthetic = DC(config, data, device).synthetic()
    images = synthetic.images.requires_grad_()
    optimizer_img = torch.optim.SGD([images], lr=config.lr_img, momentum=_MOMENTUM_IMG)
    rng = seeding.generator(_SEED, "benchmark-batches")

    def work() -> Tensor:
        network = make_network(case, device, config.network, "network", 0)  # as DC's first
        optimizer_net = torch.optim.SGD(network.parameters(), lr=config.lr_net)
        for outer in range(config.outer_loop):
            if outer > 0:
                learned = images.detach().clone()
                train_plainly(network, optimizer_net, learned, synthetic.labels, config.inner_loop)
            network.train()
            real = draw_batches(data, config.batch_real, rng)
            loss = reference_matching.matching_loss(network, images, config.ipc, real)
            optimizer_img.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer_img.step()
        return images.detach()

    return work


def engine_iteration(case: Case, device: torch.device, threads: int) -> Work:
    """A step of DC."""
    distiller = DC(make_settings(case, threads), make_data(case, device), device)

    def work() -> Tensor:
        distiller.step()
        return distiller.synthetic().images

    return work


# --- Evaluation: training the students of one architecture, and scoring them ----------------


def score_plainly(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Accuracy in batches: the reference's one image at a time would be no fair opponent."""
    network.eval()
    right = 0
    with torch.no_grad():
        for x, y in DataLoader(TensorDataset(images, labels), batch_size=_BATCH_TEST):
            right += int((network(x).argmax(1) == y).sum())
    return right / len(labels)


def plain_evaluation(case: Case, device: torch.device, threads: int) -> Work:
    """One student after another, with a DataLoader and torch's SGD."""
    config = make_settings(case, threads)
    data, synthetic = make_data(case, device), make_synthetic(case, device)
    (student,) = config.students()
    recipe = config.evaluation

    def work() -> list[float]:
        accuracies = []
        for k in range(recipe.student_seeds):
            network = make_network(case, device, student, "student-network", student.label, k)
            reference_evaluation.train(
                network,
                synthetic.images,
                synthetic.labels,
                epochs=case.epochs,
                lr=recipe.lr,
                batch=recipe.batch,
            )
            accuracies.append(score_plainly(network, *data.test))
        return accuracies

    return work


def engine_evaluation(case: Case, device: torch.device, threads: int) -> Work:
    """The engine's evaluation, whichever way it trains several students."""
    config = make_settings(case, threads)
    data, synthetic = make_data(case, device), make_synthetic(case, device)
    return lambda: [item.score.accuracy for item in evaluate(synthetic, config, data, ["test"])]


# --- The table ------------------------------------------------------------------------------

PLAIN, PLAIN_TUNED = "plain", "plain-tuned"
"""The two variants that ratios are against; every benchmark has them."""

ARMS: dict[str, dict[str, Arm]] = {
    "matching": {
        PLAIN: Arm(as_it_comes, plain_matching),
        PLAIN_TUNED: Arm(tuned, plain_matching),
        # Tells the gain of the engine from that over the plain version's loop over rows.
        "vectorised-tuned": Arm(tuned_vectorised, plain_matching),
        "engine": Arm(engine, engine_matching),
    },
    "inner": {
        PLAIN: Arm(as_it_comes, plain_inner),
        PLAIN_TUNED: Arm(tuned, plain_inner),
        "engine": Arm(engine, engine_inner),
    },
    "iteration": {
        PLAIN: Arm(as_it_comes, plain_iteration),
        PLAIN_TUNED: Arm(tuned, plain_iteration),
        "engine": Arm(engine, engine_iteration),
    },
    "evaluation": {
        PLAIN: Arm(as_it_comes, plain_evaluation),
        PLAIN_TUNED: Arm(tuned, plain_evaluation),
        "engine": Arm(engine, engine_evaluation),
    },
}
"""Benchmark -> variant -> arm, in the order of a round."""
