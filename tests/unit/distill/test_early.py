"""Early-stage networks against their plain version, in each method, and through the store."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.architecture import Architecture
from harness.augment import draw_by_image
from harness.config import TrialConfig, make_config
from harness.context import Context
from harness.datasets import ImageData
from harness.distill import build_distiller, early, learner
from harness.distill.early import perturb, pretrain
from harness.distill.real_training import STAGES, draw_mix
from harness.errors import ConfigError
from harness.networks import build_network
from harness.seeding import generator, python_random
from harness.store import Store
from harness.trial import run_trial
from tests.reference import early as reference
from tests.reference.idc_distillation import NetBatch
from tests.unit.distill.recording import in_double

CPU = torch.device("cpu")
SMALL = Architecture(width=4, depth=1)
METHODS = ["dc", "dsa", "dm", "idc"]


def configure(method: str = "dc", **more: Any) -> TrialConfig:
    base: dict[str, Any] = {
        "method": method,
        "iterations": 4,
        "batch_real": 5,
        "network": {"width": 4, "depth": 1},
        "pool": {
            "others": [{"network": "convnet-w4-d1-batchnorm", "weight": 1.0}],
            "main_probability": 0.5,
        },
        "acc": {"networks": 2, "epochs": 1},
        "evaluation": {"students": ["main"], "student_seeds": 1, "epochs": 2},
    }
    if method == "idc":
        base |= {"outer_loop": 2, "idc": {"net_images": 10}}
    return make_config({**base, **more})


@pytest.mark.parametrize("epochs", [2, 6])
def test_training_on_real_images_agrees_with_the_plain_version(
    tiny: ImageData, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    data = in_double(tiny, monkeypatch)
    monkeypatch.setattr("harness.distill.real_training.BATCH", 12)
    build = early.build_network
    monkeypatch.setattr(early, "build_network", lambda *a, **more: build(*a, **more).double())
    found = pretrain(SMALL, data, CPU, epochs=epochs, seed=3, which=1)
    network = build_network(
        SMALL,
        in_shape=(1, 28, 28),
        classes=3,
        generator=generator(3, "early-weights", SMALL.label, 1),
    ).double()
    before = deepcopy(network.state_dict())
    given = []
    for epoch in range(epochs):
        order, shown, mixes = (
            generator(3, f"early-{part}", SMALL.label, 1, epoch)
            for part in ("order", "augment", "mix")
        )
        batches = []
        for rows in torch.split(torch.randperm(36, generator=order), 12):
            draws = draw_by_image(STAGES, shown, 12)
            mix = draw_mix(mixes, 12, 28, 28)
            batches.append(
                NetBatch(
                    data.train.images[rows],
                    data.train.labels[rows],
                    [
                        ([stage[k] for stage in draws.operations], draws.numbers[:, k].tolist())
                        for k in range(12)
                    ],
                    None if mix is None else (mix.order.tolist(), *mix[1:]),
                )
            )
        given.append(batches)
    reference.pretrain(network, given)
    for name, weight in network.state_dict().items():
        torch.testing.assert_close(found[name], weight, rtol=1e-9, atol=1e-11)
        assert not torch.equal(weight, before[name])


@pytest.mark.parametrize("directions", [0, 1, 2])
def test_a_perturbation_agrees_with_the_plain_version(directions: int) -> None:
    network = build_network(
        Architecture(width=4, depth=2, norm="layernorm"),
        in_shape=(1, 28, 28),
        classes=3,
        generator=generator(0, "w"),
    )
    weights = {name: tensor.double() for name, tensor in network.state_dict().items()}
    kept = deepcopy(weights)
    found = perturb(weights, generator(5, "p"), directions=directions, magnitudes=(0.01, 0.09))
    rng = generator(5, "p")
    moves: dict[str, list[tuple[float, Tensor]]] = {name: [] for name in weights}
    for _ in range(directions):
        share, sign = torch.rand(2, generator=rng, dtype=torch.float64).tolist()
        a = (0.01 + 0.08 * share) * (1 if sign < 0.5 else -1)
        for name, weight in weights.items():
            if weight.dim() >= 2:
                noise = torch.randn(weight.shape, generator=rng, dtype=torch.float64)
                moves[name].append((a, noise))
    for name, weight in kept.items():
        expected = reference.perturb(weight, moves[name])
        torch.testing.assert_close(found[name], expected, rtol=1e-12, atol=1e-12)
        assert torch.equal(weights[name], weight)
        stays = directions == 0 or weight.dim() < 2 or not bool(weight.any())
        assert torch.equal(found[name], weight) is stays


@pytest.mark.parametrize("method", METHODS)
def test_each_method_starts_its_iterations_from_perturbed_early_networks(
    tiny: ImageData, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    loaded: list[dict[str, Tensor]] = []
    load = learner.Learner.load

    def noted(self: learner.Learner, weights: Any) -> None:
        load(self, weights)
        state = self._network.state_dict()
        loaded.append({name: tensor.clone() for name, tensor in state.items()})

    monkeypatch.setattr(learner.Learner, "load", noted)
    monkeypatch.setattr(learner, "fill", lambda *_: pytest.fail("a fresh network is drawn"))
    config = configure(method)
    distiller = build_distiller(config, tiny, CPU)
    for _ in range(4):
        distiller.step()
    assert len(set(distiller.draws)) == 2
    for i, (architecture, weights) in enumerate(zip(distiller.draws, loaded, strict=True)):
        which = python_random(0, "early-network", i).randrange(2)
        plain = pretrain(architecture, tiny, CPU, epochs=1, seed=0, which=which)
        rng = generator(0, "perturbation", i)
        expected = perturb(plain, rng, directions=2, magnitudes=(0.01, 0.09))
        for name, tensor in weights.items():
            assert torch.equal(tensor, expected[name])


@pytest.mark.parametrize("method", METHODS)
def test_stopped_and_continued_equals_never_stopped(
    tiny: ImageData, tmp_path: Path, method: str
) -> None:
    config = configure(method)
    whole = build_distiller(config, tiny, CPU)
    losses = [whole.step() for _ in range(4)]
    store = Store(tmp_path / "store")
    stopped = build_distiller(config, tiny, CPU, store)
    stopped.step()
    continued = build_distiller(config, tiny, CPU, store)
    continued.load_state_dict(stopped.state_dict())
    rest = [continued.step() for _ in range(3)]
    assert torch.equal(torch.stack(rest), torch.stack(losses[1:]))
    found, expected = continued.synthetic(), whole.synthetic()
    assert found is not None
    assert expected is not None
    assert torch.equal(found.images, expected.images)


def test_networks_are_trained_once_for_all_methods_and_count_as_cost_for_each(
    tiny: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []
    train = early.pretrain

    def counted(architecture: Architecture, *args: Any, **more: Any) -> Any:
        trained.append((architecture.label, more["which"], more["epochs"]))
        return train(architecture, *args, **more)

    monkeypatch.setattr(early, "pretrain", counted)
    monkeypatch.setattr("harness.distilling.quick_score", lambda *_: 0.5)
    store = Store(tmp_path / "store")

    def run(name: str, config: TrialConfig) -> dict[str, Any]:
        context = Context(folder=tmp_path / name, device=CPU, data=tiny, trial_id=name, store=store)
        return run_trial(config, context)["timings"]

    one = run("dc", configure("dc"))
    done = list(trained)
    assert len(set(done)) == len(done) > 1
    # As if they had taken long to train: whoever takes them from the store pays the same.
    for path in store.path.glob("early-network/*/whole/entry.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "cost_s": 1000.0}))
    other = run("dm", configure("dm"))
    perturbed = run("dm2", configure("dm", acc={"networks": 2, "epochs": 1, "directions": 1}))
    assert trained == done
    assert one["distill_cost_s"] < 1000
    for timings in (other, perturbed):
        assert timings["distill_s"] < 1000
        assert timings["distill_cost_s"] == pytest.approx(1000 * len(done), abs=900)
    run("longer", configure("dm", acc={"networks": 2, "epochs": 2}))
    assert len(trained) == 2 * len(done)


def test_what_is_off_changes_no_digest_and_what_is_on_does() -> None:
    plain = make_config({})
    off = make_config({"acc": {"epochs": 7}})
    assert off.digest() == plain.digest()
    assert off.lineage() == plain.lineage()
    on = make_config({"acc": {"networks": 5}})
    assert on.lineage() != plain.lineage()
    assert on.lineage() != make_config({"acc": {"networks": 5, "epochs": 7}}).lineage()


def test_idc_has_another_rate_with_early_networks_on_cifar() -> None:
    base = {"method": "idc", "ipc": 10, "dataset": {"name": "cifar10"}}
    assert make_config({**base, "acc": {"networks": 5}}).lr_img == pytest.approx(1e-2)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"method": "kmeans"}, "acc.networks: got 5, but method 'kmeans' draws no networks; .* dc"),
        ({"acc": {"networks": 5, "magnitude_min": 0.2}}, "acc.magnitude_min: got 0.2, expected"),
        ({"pool": {"schedule": "bandit"}}, "acc.networks: got 5, but pool.schedule 'bandit' keeps"),
        ({"acc": {"networks": 5, "directions": 3}}, "acc.directions: got 3, expected less than"),
    ],
)
def test_what_does_not_go_together_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config({"acc": {"networks": 5}, **more})
