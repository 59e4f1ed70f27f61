"""Gradient matching against its plain version, in float64."""

from itertools import product

import pytest
import torch

from harness.architecture import ACTIVATIONS, NORMS, POOLINGS, Architecture
from harness.config import DatasetSettings, Precision
from harness.datasets import load_dataset
from harness.distill import matching
from harness.distill.matching import (
    freeze_batch_norms,
    has_batch_norm,
    images_together,
    layer_distance,
    match_gradients,
    matched_parameters,
)
from harness.networks import build_network
from tests.reference import matching as reference

CLASSES = 3
CONVNETS = [
    Architecture(width=4, depth=3, activation=activation, norm=norm, pooling=pooling)
    for activation, norm, pooling in product(ACTIVATIONS, NORMS, POOLINGS)
]
SIX = [
    Architecture(name=name) for name in ("convnet", "mlp", "lenet", "alexnet", "vgg11", "resnet18")
]


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """All classes' real images in one pass, and all their synthetic gradients in another."""
    monkeypatch.setattr(matching, "in_one_pass", lambda _: True)
    monkeypatch.setattr(matching, "classes_together", lambda *_, at_most: min(10, at_most))


def compare(architecture: Architecture, ipc: int, batch: int, shape: tuple[int, int, int]) -> None:
    network = build_network(
        architecture, in_shape=shape, classes=CLASSES, generator=rng(0)
    ).double()
    images = torch.randn(CLASSES * ipc, *shape, dtype=torch.float64, generator=rng(1))
    labels = torch.arange(CLASSES).repeat_interleave(ipc)
    real = [
        torch.randn(batch + c, *shape, dtype=torch.float64, generator=rng(2 + c))
        for c in range(CLASSES)
    ]
    if has_batch_norm(network):
        freeze_batch_norms(network, torch.cat(real))
    loss, gradient = match_gradients(network, images, labels, real)
    expected_loss, expected_gradient = reference.match(network, images, ipc, real)
    assert float((loss - expected_loss).abs() / expected_loss.abs()) <= 1e-10
    error = (gradient - expected_gradient).norm() / expected_gradient.norm()
    assert float(error) <= 1e-10


@pytest.mark.parametrize("architecture", CONVNETS, ids=lambda a: a.label)
def test_every_convnet_agrees_with_the_plain_version(architecture: Architecture) -> None:
    compare(architecture, ipc=2, batch=3, shape=(1, 28, 28))


@pytest.mark.parametrize("architecture", SIX, ids=lambda a: a.label)
def test_each_network_agrees_with_the_plain_version(architecture: Architecture) -> None:
    compare(architecture, ipc=1, batch=2, shape=(3, 32, 32))


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("architecture", CONVNETS, ids=lambda a: a.label)
def test_every_convnet_agrees_in_one_pass_over_classes(architecture: Architecture) -> None:
    compare(architecture, ipc=2, batch=3, shape=(1, 28, 28))


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("architecture", SIX, ids=lambda a: a.label)
def test_each_network_agrees_in_one_pass_over_classes(architecture: Architecture) -> None:
    compare(architecture, ipc=1, batch=2, shape=(3, 32, 32))


@pytest.mark.parametrize("limit", [1, 2, 4, 9])
@pytest.mark.parametrize("one_pass", [False, True])
def test_bounded_memory_changes_nothing_but_rounding(
    monkeypatch: pytest.MonkeyPatch, limit: int, one_pass: bool
) -> None:
    """Classes of 3 to 5 images: parts of a class, one class, two classes, all in a pass."""
    passes = []
    monkeypatch.setattr(matching, "images_together", lambda *_: limit)
    monkeypatch.setattr(matching, "in_one_pass", lambda _: one_pass)
    monkeypatch.setattr(
        matching, "classes_together", lambda *_, at_most: passes.append(at_most) or at_most
    )
    compare(CONVNETS[0], ipc=2, batch=3, shape=(1, 28, 28))
    assert passes == [max(1, limit // 5)]


def test_images_together_follow_their_size() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert images_together((32, 32), cpu) == 512
    assert images_together((64, 64), cuda) == images_together((32, 32), cuda) / 4
    assert images_together((4096, 4096), cpu) == 1


def test_equal_gradients_have_distance_zero_and_opposite_ones_two_a_row() -> None:
    gradient = torch.randn(4, 3, 2, 2, dtype=torch.float64, generator=rng(0))
    assert float(layer_distance(gradient, gradient)) == pytest.approx(0.0, abs=1e-5)
    assert float(layer_distance(gradient, -gradient)) == pytest.approx(8.0, abs=1e-5)


def test_rank_one_parameters_do_not_count() -> None:
    network = build_network(
        Architecture(width=4), in_shape=(1, 28, 28), classes=CLASSES, generator=rng(0)
    )
    assert all(parameter.ndim >= 2 for parameter in matched_parameters(network))
    assert len(matched_parameters(network)) == 4  # three convolutions and the classifier


def test_layernorm_counts_its_affine_parameters() -> None:
    network = build_network(
        Architecture(width=4, norm="layernorm"),
        in_shape=(1, 28, 28),
        classes=CLASSES,
        generator=rng(0),
    )
    assert len(matched_parameters(network)) == 4 + 3 * 2


def test_frozen_batch_norms_have_seen_the_images_once() -> None:
    network = build_network(
        Architecture(width=4, depth=1, norm="batchnorm"),
        in_shape=(1, 28, 28),
        classes=CLASSES,
        generator=rng(0),
    )
    images = torch.randn(6, 1, 28, 28, generator=rng(1))
    freeze_batch_norms(network, images)
    norm = next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert int(norm.num_batches_tracked or 0) == 1
    assert not norm.training
    before = norm.running_mean.clone()
    network(images)
    assert torch.equal(before, norm.running_mean)


@pytest.mark.parametrize("ipc", [1, 10])
@pytest.mark.parametrize("precision", ["fp32", "bf16-real"])
@pytest.mark.parametrize("one_pass", [False, True])
def test_precision_is_within_its_bounds_on_real_images(
    monkeypatch: pytest.MonkeyPatch, ipc: int, precision: Precision, one_pass: bool
) -> None:
    """At IPC 10 the classes go in pairs, at IPC 1 all together."""
    monkeypatch.setattr(matching, "in_one_pass", lambda _: one_pass)
    train = load_dataset(DatasetSettings(), protocol="held-out").train
    images = train.images[: 10 * ipc]
    labels = torch.arange(10).repeat_interleave(ipc)
    real = [train.images[train.labels == k][-64:] for k in range(10)]
    network = build_network(
        Architecture(width=32), in_shape=(1, 28, 28), classes=10, generator=rng(0)
    )
    expected_loss, expected = reference.match(network, images, ipc, real)
    loss, gradient = match_gradients(network, images, labels, real, precision=precision)
    error = float((gradient - expected).norm() / expected.norm())
    cosine = float(torch.cosine_similarity(gradient.flatten(), expected.flatten(), dim=0))
    assert gradient.dtype == torch.float32
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-2)
    assert cosine >= (0.9999 if precision == "fp32" else 0.999)
    if precision == "fp32":
        assert error <= 1e-3
    else:
        assert error > 1e-4  # bfloat16 it is
