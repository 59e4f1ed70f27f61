"""DM against its plain version, with and without batch norm."""

from typing import Any

import pytest
import torch
from torch import Tensor

from harness.architecture import Architecture
from harness.augment import draw_by_group
from harness.config import TrialConfig, make_config
from harness.datasets import ImageData
from harness.distill import features
from harness.distill.dm import DM
from harness.distill.features import match_features
from harness.errors import ConfigError
from harness.networks import build_network
from harness.seeding import generator
from tests.reference import dm as reference
from tests.unit.distill.recording import Recording, distance, in_double

CPU = torch.device("cpu")
OTHERS = [
    {"network": "convnet-w4-d2-batchnorm", "weight": 0.4},
    {"network": "convnet-w4-d2-sigmoid-layernorm-maxpooling", "weight": 0.3},
    {"network": "lenet", "weight": 0.3},
]


def configure(**more: Any) -> TrialConfig:
    base = {
        "method": "dm",
        "iterations": 8,
        "batch_real": 5,
        "network": {"width": 4, "depth": 2},
        "pool": {"others": OTHERS, "main_probability": 0.3},
    }
    return make_config({**base, **more})


def start(data: ImageData, **more: Any) -> DM:
    return DM(configure(**more), data, CPU)


def run(distiller: DM, iterations: int) -> list[Tensor]:
    return [distiller.step() for _ in range(iterations)]


def test_a_distillation_agrees_with_the_plain_version(
    tiny: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = in_double(tiny, monkeypatch)
    recording = Recording(monkeypatch)
    distiller = start(data, ipc=2)
    first = distiller.synthetic().images
    run(distiller, 8)
    assert {a.norm for a in distiller.draws} == {"instancenorm", "batchnorm", "layernorm"}

    def siamese_draw(it: int, c: int) -> tuple[list[str], list[list[float]]]:
        draws = draw_by_group(
            [configure().dsa.operations], [generator(0, "augmentation", it, 0, c)]
        )
        return [draws.operations[0][0]], draws.numbers[:, 0].tolist()

    expected = reference.distil(
        first,
        classes=3,
        iterations=8,
        lr_img=1.0,
        make_network=lambda it: recording.networks[it],
        real_batches=lambda it: recording.batches(data, "real-batch", it, 0),
        siamese_draw=siamese_draw,
    )
    assert distance(distiller.synthetic().images, expected, first) <= 1e-10
    assert not any(role == "batch-norm" for role, _, _ in recording.rows)


@pytest.mark.parametrize("limit", [1, 4, 100])
def test_bounded_memory_changes_nothing_but_rounding(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    def rng(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    network = build_network(
        Architecture(width=4, depth=2), in_shape=(1, 28, 28), classes=3, generator=rng(0)
    ).double()
    images = torch.randn(6, 1, 28, 28, dtype=torch.float64, generator=rng(1))
    real = [torch.randn(3 + c, 1, 28, 28, dtype=torch.float64, generator=rng(2)) for c in range(3)]
    labels = torch.arange(3).repeat_interleave(2)
    expected = match_features(network, images, labels, real)
    monkeypatch.setattr(features, "images_together", lambda *_: limit)
    found = match_features(network, images, labels, real)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_stopped_and_continued_equals_never_stopped(tiny: ImageData, stop: int) -> None:
    whole = start(tiny)
    losses = run(whole, 5)
    stopped = start(tiny)
    run(stopped, stop)
    continued = start(tiny)
    continued.load_state_dict(stopped.state_dict())
    run(stopped, 1)
    assert torch.equal(torch.stack(run(continued, 5 - stop)), torch.stack(losses[stop:]))
    assert torch.equal(continued.synthetic().images, whole.synthetic().images)
    assert continued.draws == whole.draws


def test_half_precision_of_real_features_stays_close(tiny: ImageData) -> None:
    one, other = start(tiny), start(tiny, precision="bf16-real")
    (exact,), (half,) = run(one, 1), run(other, 1)
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(exact), rel=0.05)
    assert not torch.equal(half, exact)


def test_the_published_choices_are_the_defaults() -> None:
    config = make_config({"method": "dm", "ipc": 7})
    assert (config.iterations, config.lr_img, config.init) == (20_000, 1.0, "real")
    assert (config.outer_loop, config.inner_loop) == (1, 1)
    assert config.evaluation.augmentation == "dsa"
    assert make_config({"method": "dm", "ipc": 200}).lr_img == 10.0
    mlp = {"method": "dm", "network": {"name": "mlp"}, "pool": {"main_probability": 1.0}}
    assert make_config(mlp).lr_img == 1.0


@pytest.mark.parametrize(
    ("more", "got"),
    [({"outer_loop": 10}, "10"), ({"inner_loop": 50}, "50"), ({"lr_net": 0.1}, "0.1")],
)
def test_what_it_does_not_have_is_refused(more: dict[str, Any], got: str) -> None:
    (name,) = more
    with pytest.raises(ConfigError, match=f"^{name}: got {got}, but method 'dm' has no such"):
        make_config({"method": "dm", **more})
