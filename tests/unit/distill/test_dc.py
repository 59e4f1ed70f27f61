"""DC against its plain version, its repeatability, and what its draws depend on."""

import io
import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.architecture import Architecture
from harness.config import TrialConfig, make_config
from harness.datasets import ImageData, Split
from harness.distill import build_distiller, dc, learner
from harness.distill.dc import DC
from harness.errors import DataError
from harness.synthetic import SyntheticSet
from tests.reference import dc as reference

CPU = torch.device("cpu")
OTHERS = [
    {"network": "convnet-w4-batchnorm", "weight": 0.5},
    {"network": "convnet-w4-d2-sigmoid-layernorm-maxpooling", "weight": 0.5},
]
POOL = {"others": OTHERS, "main_probability": 0.4}


def configure(**more: Any) -> TrialConfig:
    base = {
        "ipc": 1,
        "iterations": 6,
        "batch_real": 5,
        "outer_loop": 3,
        "inner_loop": 2,
        "network": {"width": 4},
        "pool": POOL,
    }
    return make_config({**base, **more})


def start(data: ImageData, **more: Any) -> DC:
    return DC(configure(**more), data, CPU)


def run(distiller: DC, iterations: int) -> list[Tensor]:
    return [distiller.step() for _ in range(iterations)]


class Spy:
    """Keeps what DC draws: fresh networks, real batches, batch-norm batches, orders of images."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.networks: list[nn.Module] = []
        self.batches: list[list[Tensor]] = []
        self.batch_norm_batches: list[Tensor] = []
        self.events: list[tuple[str, list[int]]] = []
        self.losses: list[Tensor] = []
        match, freeze = learner.match_gradients, learner.freeze_batch_norms
        train, refill = learner.training_gradients, learner.Learner.refill

        def keep_network(drawn: learner.Learner, generator: torch.Generator) -> None:
            refill(drawn, generator)
            self.networks.append(deepcopy(drawn._network).train())

        def match_gradients(
            network: nn.Module, images: Tensor, labels: Tensor, real: list[Tensor], **more: Any
        ) -> Any:
            self.batches.append(list(real))
            self.events.append(("match", []))
            result = match(network, images, labels, real, **more)
            self.losses.append(result.loss)
            return result

        def freeze_batch_norms(network: nn.Module, images: Tensor) -> None:
            self.batch_norm_batches.append(images)
            freeze(network, images)

        def training_gradients(
            network: nn.Module, images: Tensor, labels: Tensor
        ) -> tuple[Tensor, ...]:
            self.events.append(("train", labels.tolist()))
            return train(network, images, labels)

        monkeypatch.setattr(learner.Learner, "refill", keep_network)
        monkeypatch.setattr(learner, "match_gradients", match_gradients)
        monkeypatch.setattr(learner, "freeze_batch_norms", freeze_batch_norms)
        monkeypatch.setattr(learner, "training_gradients", training_gradients)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch)


def in_double(data: ImageData, monkeypatch: pytest.MonkeyPatch) -> ImageData:
    """The same data in float64, and a DC that builds and starts in float64."""
    build, noise = dc.build_network, dc.init_from_noise
    monkeypatch.setattr(dc, "build_network", lambda *args, **more: build(*args, **more).double())
    monkeypatch.setattr(dc, "init_from_noise", lambda **more: noise(**more).double())
    return replace(data, train=Split(data.train.images.double(), data.train.labels))


def rows_of(batch: Tensor, data: ImageData) -> list[int]:
    """Where each image of a batch stands among the training images."""
    equal = (batch[:, None] == data.train.images[None]).flatten(2).all(2)
    assert equal.sum(1).tolist() == [1] * len(batch)
    return equal.int().argmax(1).tolist()


# --- Against the plain version --------------------------------------------------------------


@pytest.mark.parametrize("init", ["noise", "real"])
@pytest.mark.parametrize(("ipc", "balanced"), [(1, False), (2, False), (1, True)])
def test_a_distillation_agrees_with_the_plain_version(
    tiny: ImageData, monkeypatch: pytest.MonkeyPatch, ipc: int, init: str, balanced: bool
) -> None:
    data = in_double(tiny, monkeypatch)
    spy = Spy(monkeypatch)
    distiller = start(data, ipc=ipc, init=init, pool={**POOL, "balanced": balanced})
    first = distiller.synthetic().images
    assert first.dtype == torch.float64
    run(distiller, 6)
    assert {architecture.norm for architecture in distiller.draws} == {
        "instancenorm",
        "batchnorm",
        "layernorm",
    }
    batches, statistics = iter(spy.batches), iter(spy.batch_norm_batches)
    expected = reference.distil(
        first,
        classes=3,
        iterations=6,
        outer_loop=3,
        inner_loop=2,
        lr_img=0.1,
        lr_net=0.01,
        make_network=lambda iteration: spy.networks[iteration],
        real_batches=lambda *_: next(batches),
        batch_norm_images=lambda *_: next(statistics),
        main=spy.networks[distiller.draws.index(configure().network)] if balanced else None,
    )
    assert next(batches, None) is None
    assert next(statistics, None) is None
    images = distiller.synthetic().images
    assert float((images - expected).norm() / expected.norm()) <= 1e-10
    moved = (expected - first).norm()
    assert float((images - expected).norm() / moved) <= 1e-10


def test_the_loss_is_a_mean_over_classes_and_outer_steps(tiny: ImageData, spy: Spy) -> None:
    (loss,) = run(start(tiny), 1)
    assert not loss.requires_grad
    assert loss.shape == ()
    torch.testing.assert_close(loss, torch.stack(spy.losses).sum() / (3 * 3))


def test_the_network_is_trained_between_image_steps_and_not_after_the_last(
    tiny: ImageData, spy: Spy
) -> None:
    run(start(tiny), 1)
    names = [name for name, _ in spy.events]
    assert names == ["match", "train", "train", "match", "train", "train", "match"]


def test_one_outer_step_never_trains_the_network(tiny: ImageData, spy: Spy) -> None:
    run(start(tiny, outer_loop=1, inner_loop=50), 2)
    assert [name for name, _ in spy.events] == ["match", "match"]


def test_mini_batches_of_an_inner_epoch_hold_every_image_once(
    tiny: ImageData, spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (dc, learner):
        monkeypatch.setattr(module, "BATCH_TRAIN", 4)
    run(start(tiny, ipc=2, outer_loop=2), 1)
    labels = [labels for name, labels in spy.events if name == "train"]
    assert [len(batch) for batch in labels] == [4, 2, 4, 2]
    epochs = [labels[0] + labels[1], labels[2] + labels[3]]
    assert [sorted(epoch) for epoch in epochs] == [[0, 0, 1, 1, 2, 2]] * 2
    assert epochs[0] != epochs[1]


# --- Same bits ------------------------------------------------------------------------------


def test_two_runs_are_equal_bit_for_bit(tiny: ImageData) -> None:
    first, second = start(tiny), start(tiny)
    losses = run(first, 4), run(second, 4)
    assert torch.equal(torch.stack(losses[0]), torch.stack(losses[1]))
    assert torch.equal(first.synthetic().images, second.synthetic().images)
    assert first.draws == second.draws


def test_global_generators_are_neither_read_nor_moved(tiny: ImageData) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = start(tiny)
    run(first, 2)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    second = start(tiny)
    run(second, 2)
    assert torch.equal(first.synthetic().images, second.synthetic().images)


def test_another_seed_gives_other_images(tiny: ImageData) -> None:
    assert not torch.equal(start(tiny).synthetic().images, start(tiny, seed=1).synthetic().images)


def copied(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize("transport", [lambda state: state, copied], ids=["direct", "file"])
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_stopped_and_continued_equals_never_stopped(
    tiny: ImageData, stop: int, transport: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    whole = start(tiny, init="real", ipc=2)
    losses = run(whole, 5)
    stopped = start(tiny, init="real", ipc=2)
    run(stopped, stop)
    state = transport(stopped.state_dict())
    run(stopped, 1)  # what happens after the state was taken must not reach it
    continued = start(tiny, init="real", ipc=2)
    continued.load_state_dict(state)
    assert continued.iteration == stop
    rest = run(continued, 5 - stop)
    assert torch.equal(torch.stack(rest), torch.stack(losses[stop:]))
    assert torch.equal(continued.synthetic().images, whole.synthetic().images)
    assert continued.draws == whole.draws
    assert continued.synthetic().provenance == whole.synthetic().provenance


@pytest.mark.parametrize("stop", [0, 2])
def test_a_state_replaces_all_that_a_used_distiller_holds(tiny: ImageData, stop: int) -> None:
    whole = start(tiny)
    run(whole, 3)
    stopped = start(tiny)
    run(stopped, stop)
    used = start(tiny)
    run(used, 4)
    used.load_state_dict(stopped.state_dict())
    run(used, 3 - stop)
    assert torch.equal(used.synthetic().images, whole.synthetic().images)
    assert used.draws == whole.draws


# --- Draws ----------------------------------------------------------------------------------


def test_real_batches_are_of_their_class_and_without_repeats(tiny: ImageData, spy: Spy) -> None:
    run(start(tiny), 3)
    assert len(spy.batches) == 3 * 3
    seen = set()
    for batches in spy.batches:
        for label, batch in enumerate(batches):
            rows = rows_of(batch, tiny)
            assert len(rows) == len(set(rows)) == 5
            assert tiny.train.labels[rows].tolist() == [label] * 5
            seen.add(tuple(rows))
    assert len(seen) == 3 * 3 * 3  # a fresh draw each time


@pytest.mark.parametrize("batch_real", [12, 256])
def test_a_class_smaller_than_the_batch_is_taken_whole(
    tiny: ImageData, spy: Spy, batch_real: int
) -> None:
    run(start(tiny, batch_real=batch_real), 1)
    for batches in spy.batches:
        for label, batch in enumerate(batches):
            members = torch.nonzero(tiny.train.labels == label).flatten().tolist()
            assert sorted(rows_of(batch, tiny)) == members


def test_batch_norms_see_sixteen_real_images_of_each_class_before_every_image_step(
    tiny: ImageData, spy: Spy
) -> None:
    twice = Split(
        torch.cat([tiny.train.images, tiny.train.images + 1]), tiny.train.labels.repeat(2)
    )
    data = replace(tiny, train=twice)
    pool = {"others": [OTHERS[0] | {"weight": 1.0}], "main_probability": 0.0}
    run(start(data, pool=pool), 1)
    assert [len(images) for images in spy.batch_norm_batches] == [3 * 16] * 3
    for images in spy.batch_norm_batches:
        rows = rows_of(images, data)
        assert len(set(rows)) == 3 * 16
        assert data.train.labels[rows].tolist() == [0] * 16 + [1] * 16 + [2] * 16


def test_only_networks_with_batch_norm_draw_images_for_it(tiny: ImageData, spy: Spy) -> None:
    run(start(tiny, pool={"others": OTHERS, "main_probability": 1.0}), 2)
    assert spy.batch_norm_batches == []


def test_another_pool_shifts_no_other_draw(
    tiny: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    spies, distillers = [], []
    for probability in (1.0, 0.4, 0.0):
        with monkeypatch.context() as patched:
            spies.append(Spy(patched))
            distillers.append(start(tiny, pool={"others": OTHERS, "main_probability": probability}))
            first = distillers[-1].synthetic().images
            assert torch.equal(first, start(tiny).synthetic().images)
            run(distillers[-1], 3)
    for spy in spies[1:]:
        for batches, others in zip(spies[0].batches, spy.batches, strict=True):
            assert all(map(torch.equal, batches, others))
    assert distillers[0].draws != distillers[2].draws
    # Where two pools draw the same architecture in an iteration, it starts from the same weights.
    shared = [
        (spies[0].networks[i], spies[1].networks[i])
        for i in range(3)
        if distillers[0].draws[i] == distillers[1].draws[i]
    ]
    assert shared
    for one, other in shared:
        assert all(map(torch.equal, one.parameters(), other.parameters()))


def test_each_iteration_starts_from_a_new_network(tiny: ImageData, spy: Spy) -> None:
    distiller = start(tiny, pool={"others": OTHERS, "main_probability": 1.0})
    run(distiller, 2)
    assert distiller.iteration == 2
    assert distiller.draws == [Architecture(width=4)] * 2
    one, other = (next(network.parameters()) for network in spy.networks)
    assert not torch.equal(one, other)


def test_images_start_from_noise_or_from_different_real_images(tiny: ImageData) -> None:
    noise = start(tiny, ipc=4).synthetic()
    assert noise.images.shape == (12, 1, 28, 28)
    assert float(noise.images.mean()) == pytest.approx(0.0, abs=0.05)
    assert float(noise.images.std()) == pytest.approx(1.0, abs=0.05)
    real = start(tiny, ipc=4, init="real").synthetic()
    rows = rows_of(real.images, tiny)
    assert len(set(rows)) == 12
    assert torch.equal(tiny.train.labels[rows], real.labels)
    assert real.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_real_images_must_suffice(tiny: ImageData) -> None:
    with pytest.raises(DataError, match=r"class 0: got 12 training images.*lower ipc"):
        start(tiny, ipc=13, init="real")


# --- The set --------------------------------------------------------------------------------


def test_the_set_is_detached_from_later_steps(tiny: ImageData) -> None:
    distiller = start(tiny)
    run(distiller, 1)
    taken = distiller.synthetic()
    kept = taken.images.clone()
    run(distiller, 1)
    assert not taken.images.requires_grad
    assert torch.equal(taken.images, kept)
    assert not torch.equal(distiller.synthetic().images, kept)
    taken.images.zero_()
    assert bool(distiller.synthetic().images.any())


def test_provenance_says_how_the_set_was_made_and_nothing_of_the_run(
    tiny: ImageData, tmp_path: Path
) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    sets: list[SyntheticSet] = []
    for path in paths:
        distiller = start(tiny, evaluation={"student_seeds": 1 + len(sets)})
        run(distiller, 2)
        sets.append(distiller.synthetic())
        sets[-1].save(path)
    provenance = sets[0].provenance
    assert set(provenance) == {
        "pixels",
        "mean",
        "std",
        "classes",
        "dataset_checksum",
        "distillation",
    }
    assert provenance["pixels"] == "normalised"
    assert provenance["mean"] == [0.5]
    assert provenance["std"] == [0.25]
    assert provenance["dataset_checksum"] == tiny.checksum
    assert provenance["distillation"] == {**configure().identity(), "iterations": 2}
    assert not {"kd", "evaluation", "run"} & set(provenance["distillation"])
    assert json.loads(json.dumps(provenance)) == provenance
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_method_is_found_by_name(tiny: ImageData) -> None:
    assert isinstance(build_distiller(configure(), tiny, CPU), DC)
