"""DSA against its plain version, and what is shown to its networks."""

from typing import Any

import pytest
import torch
from torch import Tensor

from harness.augment import Draws, draw_by_group, draw_by_image
from harness.config import TrialConfig, make_config
from harness.datasets import ImageData
from harness.distill import dsa
from harness.distill.dsa import DSA
from harness.seeding import generator
from harness.settings.methods import OPERATIONS
from tests.reference import dsa as reference
from tests.unit.distill.recording import Recording, distance, in_double

CPU = torch.device("cpu")
OTHERS = [
    {"network": "convnet-w4-d2-batchnorm", "weight": 0.5},
    {"network": "convnet-w4-d2-sigmoid-layernorm-maxpooling", "weight": 0.5},
]


def configure(**more: Any) -> TrialConfig:
    base = {
        "method": "dsa",
        "iterations": 6,
        "batch_real": 5,
        "outer_loop": 3,
        "inner_loop": 2,
        "network": {"width": 4, "depth": 2},
        "pool": {"others": OTHERS, "main_probability": 0.4},
    }
    return make_config({**base, **more})


def start(data: ImageData, **more: Any) -> DSA:
    return DSA(configure(**more), data, CPU)


def run(distiller: DSA, iterations: int) -> list[Tensor]:
    return [distiller.step() for _ in range(iterations)]


def of_group(draws: Draws, g: int) -> reference.Draw:
    return [stage[g] for stage in draws.operations], draws.numbers[:, g].tolist()


def test_a_distillation_agrees_with_the_plain_version(
    tiny: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = in_double(tiny, monkeypatch)
    recording = Recording(monkeypatch)
    distiller = start(data, ipc=2)
    first = distiller.synthetic().images
    run(distiller, 6)
    assert {architecture.norm for architecture in distiller.draws} == {
        "instancenorm",
        "batchnorm",
        "layernorm",
    }
    stages = [configure().dsa.operations]
    used = set()

    def siamese_draw(it: int, ol: int, c: int) -> reference.Draw:
        draws = draw_by_group(stages, [generator(0, "augmentation", it, ol, c)])
        used.add(draws.operations[0][0])
        return of_group(draws, 0)

    def training_draws(it: int, ol: int, epoch: int) -> list[reference.Draw]:
        draws = draw_by_image(stages, generator(0, "inner-augmentation", it, ol, epoch), 6)
        return [of_group(draws, g) for g in range(6)]

    expected = reference.distil(
        first,
        classes=3,
        iterations=6,
        outer_loop=3,
        inner_loop=2,
        lr_img=0.1,
        lr_net=0.01,
        make_network=lambda it: recording.networks[it],
        real_batches=lambda it, ol: recording.batches(data, "real-batch", it, ol),
        batch_norm_images=lambda it, ol: torch.cat(recording.batches(data, "batch-norm", it, ol)),
        siamese_draw=siamese_draw,
        training_draws=training_draws,
    )
    assert used == set(OPERATIONS) - {"flip"}
    assert distance(distiller.synthetic().images, expected, first) <= 1e-10


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_stopped_and_continued_equals_never_stopped(tiny: ImageData, stop: int) -> None:
    whole = start(tiny, ipc=2)
    losses = run(whole, 4)
    stopped = start(tiny, ipc=2)
    run(stopped, stop)
    state = stopped.state_dict()
    run(stopped, 1)
    continued = start(tiny, ipc=2)
    continued.load_state_dict(state)
    rest = run(continued, 4 - stop)
    assert torch.equal(torch.stack(rest), torch.stack(losses[stop:])) or stop == 4
    assert torch.equal(continued.synthetic().images, whole.synthetic().images)
    assert continued.draws == whole.draws


def test_inner_epochs_in_mini_batches_hold_every_image_once(
    tiny: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.distill import dc, learner

    for module in (dc, dsa):
        monkeypatch.setattr(module, "BATCH_TRAIN", 4)
    seen: list[list[int]] = []
    train_on = learner.Learner.train_on

    def noted(self: learner.Learner, images: Tensor, labels: Tensor) -> None:
        seen.append(labels.tolist())
        train_on(self, images, labels)

    monkeypatch.setattr(learner.Learner, "train_on", noted)
    run(start(tiny, ipc=2, outer_loop=2), 1)
    assert [len(labels) for labels in seen] == [4, 2, 4, 2]
    assert sorted(seen[0] + seen[1]) == sorted(seen[2] + seen[3]) == [0, 0, 1, 1, 2, 2]


def test_the_published_choices_are_the_defaults() -> None:
    config = make_config({"method": "dsa"})
    assert config.init == "real"
    assert config.evaluation.augmentation == "dsa"
    assert config.dsa.operations == tuple(name for name in OPERATIONS if name != "flip")
    cifar = make_config({"method": "dsa", "dataset": {"name": "cifar10"}, "init": "noise"})
    assert cifar.dsa.operations == OPERATIONS
    assert cifar.init == "noise"
    one = make_config({"method": "dsa", "dsa": {"operations": ["crop"]}})
    assert one.dsa.operations == ("crop",)
    assert one.identity() != config.identity()
    assert make_config(config.model_dump(mode="json")) == config


def test_other_methods_ignore_its_table() -> None:
    assert make_config({"dsa": {"operations": ["crop"]}}).digest() == make_config({}).digest()
