"""The arms: ways of doing the same work, each with its process's settings and its workload.

A workload is made once, with all inputs on the device, and then called again and again. Inputs are
random, never constant: zeros are faster than images. What a call returns is what the tests compare.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.cases import SETTINGS, Case
from benchmarks.floor import Floor
from benchmarks.inputs import (
    SEED,
    draw_batches,
    make_data,
    make_matching_inputs,
    make_network,
    make_settings,
    make_synthetic,
)
from harness import numerics, seeding
from harness.architecture import NETWORK_NAMES
from harness.config import Precision
from harness.distill.dc import DC
from harness.distill.matching import match_gradients
from harness.distill.programs import Compiled, Eager
from harness.evaluate import evaluate, training
from harness.graphs import StaticStep
from harness.networks.layers import AveragePool
from tests.reference import evaluation as reference_evaluation
from tests.reference import matching as reference_matching

_MOMENTUM_IMG = 0.5
_BATCH_TRAIN = 256
_BATCH_TEST = 256

Work = Callable[[], Any] | Floor


class Arm(NamedTuple):
    """One way of doing a benchmark's work."""

    setup: Callable[[int], None]
    """Sets its process, for a number of threads, before the first tensor."""
    make: Callable[[Case, torch.device, int], Work]
    """Makes the workload of a case on a device, for a number of threads."""
    when: Callable[[Case, str], bool] = lambda case, device: True
    """Whether it takes part, by case and device type."""


# --- Settings of a process ------------------------------------------------------------------


def as_it_comes(threads: int) -> None:
    """Leave all but the threads at torch's and the C library's defaults, layers included."""
    torch.set_num_threads(threads)
    AveragePool.forward = nn.AvgPool2d.forward  # type: ignore[method-assign]


def tuned(threads: int) -> None:
    """Take the engine's thresholds of the allocator, and nothing else of its settings."""
    numerics._tune_allocator()
    as_it_comes(threads)


def tuned_vectorised(threads: int) -> None:
    """As ``tuned``; also compare all rows of a parameter at once, as the published code does."""
    tuned(threads)
    reference_matching.row_distance = row_distance


def engine(threads: int, *, tf32: bool = False) -> None:
    """Set the process as a trial does."""
    numerics.configure(threads=threads, tf32=tf32)


def one_by_one(threads: int) -> None:
    """As the engine, but with every student trained alone."""
    engine(threads)
    training._VMAPPED_BELOW_IPC.clear()


def vmapped(threads: int) -> None:
    """As the engine, but with all students of an architecture trained together."""
    engine(threads)
    every = {(name, device): sys.maxsize for name in NETWORK_NAMES for device in ("cpu", "cuda")}
    training._VMAPPED_BELOW_IPC.update(every)


def row_distance(a: Tensor, b: Tensor) -> Tensor:
    """``tests.reference.matching.row_distance`` without its loop over rows."""
    a, b = a.flatten(1), b.flatten(1)
    norms: Tensor = a.norm(dim=1) * b.norm(dim=1)
    return (1 - (a * b).sum(1) / (norms + 1e-6)).sum()


# --- One matching step: loss and gradient to the images -------------------------------------


def plain_matching(case: Case, device: torch.device, threads: int) -> Work:
    """A loop over classes and parameters; one backward through everything."""
    network, synthetic, real = make_matching_inputs(case, device, threads)
    ipc = SETTINGS[case.setting].ipc
    return lambda: reference_matching.match(network, synthetic.images, ipc, real)


def engine_matching(
    case: Case,
    device: torch.device,
    threads: int,
    *,
    precision: Precision = "fp32",
    compiled: bool = False,
) -> Work:
    """The engine's step; on a GPU replayed as a graph."""
    network, synthetic, real = make_matching_inputs(case, device, threads)
    programs = (Compiled if compiled else Eager)(network)
    gradient = torch.zeros_like(synthetic.images)

    def work() -> Tensor:
        loss, found = match_gradients(
            network,
            synthetic.images,
            synthetic.labels,
            real,
            precision=precision,
            programs=programs,
        )
        gradient.copy_(found)
        return loss

    step = StaticStep("matching", work, written=[gradient], device=device)
    return lambda: (step(), gradient)


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


def engine_inner(case: Case, device: torch.device, threads: int, *, compiled: bool = False) -> Work:
    """The engine's inner loop; each call trains the same network further."""
    config = make_settings(case, threads).model_copy(update={"compile": compiled})
    # Private, because nobody but DC trains this way: its public step matches as well.
    learner = DC(config, make_data(case, device), device)._learner(config.network)
    learner.refill(seeding.generator(SEED, "benchmark-network"))

    def work() -> list[Tensor]:
        learner.train(None)
        return list(learner._network.parameters())

    return work


# --- A whole iteration ----------------------------------------------------------------------


def plain_iteration(case: Case, device: torch.device, threads: int) -> Work:
    """An iteration of ``tests.reference.dc``, written again to run on any device."""
    config = make_settings(case, threads)
    data = make_data(case, device)
    synthetic = DC(config, data, device).synthetic()
    images = synthetic.images.requires_grad_()
    optimizer_img = torch.optim.SGD([images], lr=config.lr_img, momentum=_MOMENTUM_IMG)
    rng = seeding.generator(SEED, "benchmark-batches")

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


def engine_iteration(
    case: Case, device: torch.device, threads: int, *, precision: Precision = "fp32"
) -> Work:
    """A step of DC."""
    config = make_settings(case, threads).model_copy(update={"precision": precision})
    distiller = DC(config, make_data(case, device), device)

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

FLOOR = "floor"
"""Not an arm but a bound: operations over rate, or bytes over bandwidth, whichever is longer."""


def floor(plain: Callable[[Case, torch.device, int], Work]) -> Arm:
    """The bound of a workload, counted on its plain version."""

    def make(case: Case, device: torch.device, threads: int) -> Floor:
        return Floor(plain(case, device, threads), device)

    return Arm(tuned_vectorised, make, lambda case, device: device == "cuda" or case.counted)


def _compiled(case: Case, device: str) -> bool:
    return case.compiled


def _on_cuda(case: Case, device: str) -> bool:
    return device == "cuda"


def _in_question(case: Case, device: str) -> bool:
    """Large students only lose by being batched on a CPU."""
    return device == "cuda" or case.student in ("mlp", "lenet", "convnet-w32")


_TF32 = partial(engine, tf32=True)
_BF16 = partial(engine_matching, precision="bf16-real")

ARMS: dict[str, dict[str, Arm]] = {
    "matching": {
        PLAIN: Arm(as_it_comes, plain_matching),
        PLAIN_TUNED: Arm(tuned, plain_matching),
        # Tells the gain of the engine from that over the plain version's loop over rows.
        "vectorised-tuned": Arm(tuned_vectorised, plain_matching),
        "engine": Arm(engine, engine_matching),
        "engine-tf32": Arm(_TF32, engine_matching, _on_cuda),
        "engine-bf16": Arm(engine, _BF16),
        "compiled": Arm(engine, partial(engine_matching, compiled=True), _compiled),
        "compiled-bf16": Arm(engine, partial(_BF16, compiled=True), _compiled),
        FLOOR: floor(plain_matching),
    },
    "inner": {
        PLAIN: Arm(as_it_comes, plain_inner),
        PLAIN_TUNED: Arm(tuned, plain_inner),
        "engine": Arm(engine, engine_inner),
        "engine-tf32": Arm(_TF32, engine_inner, _on_cuda),
        "compiled": Arm(engine, partial(engine_inner, compiled=True), _compiled),
        FLOOR: floor(plain_inner),
    },
    "iteration": {
        PLAIN: Arm(as_it_comes, plain_iteration),
        PLAIN_TUNED: Arm(tuned, plain_iteration),
        "vectorised-tuned": Arm(tuned_vectorised, plain_iteration),
        "engine": Arm(engine, engine_iteration),
        "engine-tf32": Arm(_TF32, engine_iteration, _on_cuda),
        "engine-bf16": Arm(engine, partial(engine_iteration, precision="bf16-real")),
        FLOOR: floor(plain_iteration),
    },
    "evaluation": {
        PLAIN: Arm(as_it_comes, plain_evaluation),
        PLAIN_TUNED: Arm(tuned, plain_evaluation),
        "engine": Arm(engine, engine_evaluation),
        # What the table of training.py is made of.
        "one-by-one": Arm(one_by_one, engine_evaluation, _in_question),
        "vmapped": Arm(vmapped, engine_evaluation, _in_question),
        "engine-tf32": Arm(_TF32, engine_evaluation, _on_cuda),
        FLOOR: floor(plain_evaluation),
    },
}
"""Benchmark -> variant -> arm, in the order of a round."""


def arms_of(case: Case, device: str) -> dict[str, Arm]:
    """The arms that take part in a case on a device type."""
    return {name: arm for name, arm in ARMS[case.benchmark].items() if arm.when(case, device)}
