"""IDC against its plain version, its mosaics, and the set that students train on."""

from typing import Any

import pytest
import torch
from torch import Tensor

from harness.augment import draw_by_group, draw_by_image
from harness.config import TrialConfig, make_config
from harness.datasets import ImageData
from harness.distill import idc
from harness.distill.idc import IDC, STAGES
from harness.distill.real_training import STAGES as NET_STAGES
from harness.distill.real_training import draw_mix
from harness.errors import ConfigError
from harness.seeding import generator
from tests.reference import idc as decoding
from tests.reference import idc_distillation as reference
from tests.unit.distill.recording import Recording, distance, in_double

CPU = torch.device("cpu")
OTHERS = [{"network": "convnet-w4-d2-batchnorm", "weight": 1.0}]


def configure(**more: Any) -> TrialConfig:
    base = {
        "method": "idc",
        "iterations": 3,
        "batch_real": 5,
        "outer_loop": 3,
        "lr_img": 0.05,
        "network": {"width": 4, "depth": 2},
        "pool": {"others": OTHERS, "main_probability": 0.5},
        "idc": {"net_images": 20},
    }
    return make_config({**base, **more})


def start(data: ImageData, **more: Any) -> IDC:
    return IDC(configure(**more), data, CPU)


def run(distiller: IDC, iterations: int) -> list[Tensor]:
    return [distiller.step() for _ in range(iterations)]


def of_group(draws: Any, g: int) -> tuple[list[str], list[list[float]]]:
    return [stage[g] for stage in draws.operations], draws.numbers[:, g].tolist()


@pytest.mark.parametrize(("factor", "kind", "most"), [(2, "mse", 128), (3, "l1", 7)])
def test_a_distillation_agrees_with_the_plain_version(
    tiny: ImageData, monkeypatch: pytest.MonkeyPatch, factor: int, kind: str, most: int
) -> None:
    """At most 7 of 18 decoded images are shown in the second case."""
    data = in_double(tiny, monkeypatch)
    monkeypatch.setattr(idc, "MOST_SHOWN", most)
    monkeypatch.setattr("harness.distill.real_training.BATCH", 8)
    recording = Recording(monkeypatch)
    own = {"factor": factor, "distance": kind, "net_images": 20}
    distiller = start(data, ipc=2, idc=own)
    first = distiller.state_dict()["images"]
    assert first.dtype == torch.float64
    run(distiller, 3)
    assert len(set(distiller.draws)) == 2
    mixed = set()

    def shown(it: int, ol: int, c: int) -> list[int]:
        total = 2 * factor**2
        if total <= most:
            return list(range(total))
        order = torch.randperm(total, generator=generator(0, "decoded", it, ol, c))
        rows: list[int] = order[:most].tolist()
        return rows

    def net_batches(it: int, ol: int) -> list[reference.NetBatch]:
        order, augmented, mixes = (
            generator(0, f"net-update-{part}", it, ol) for part in ("order", "augment", "mix")
        )
        rows = torch.randperm(36, generator=order)[:24]
        found = []
        for batch in torch.split(rows, 8):
            draws = draw_by_image(NET_STAGES, augmented, 8)
            mix = draw_mix(mixes, 8, 28, 28)
            mixed.add(mix is None)
            given = None if mix is None else (mix.order.tolist(), *mix[1:])
            found.append(
                reference.NetBatch(
                    data.train.images[batch],
                    data.train.labels[batch],
                    [of_group(draws, g) for g in range(8)],
                    given,
                )
            )
        return found

    expected = reference.distil(
        first,
        classes=3,
        iterations=3,
        outer_loop=3,
        lr_img=0.05,
        lr_net=0.01,
        factor=factor,
        distance=kind,
        mean=[0.5],
        std=[0.25],
        make_network=lambda it: recording.networks[it],
        real_batches=lambda it, ol: recording.batches(data, "real-batch", it, ol),
        batch_norm_images=lambda it, ol: torch.cat(recording.batches(data, "batch-norm", it, ol)),
        siamese_draw=lambda it, ol, c: of_group(
            draw_by_group(STAGES, [generator(0, "augmentation", it, ol, c)]), 0
        ),
        shown=shown,
        net_batches=net_batches,
    )
    assert mixed == {True, False}
    assert distance(distiller.state_dict()["images"], expected, first) <= 1e-9


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_students_get_the_decoded_parts_of_each_class_normalised(
    tiny: ImageData, factor: int
) -> None:
    distiller = start(tiny, ipc=2, idc={"factor": factor})
    stored, found = distiller.state_dict()["images"], distiller.synthetic()
    assert found.labels.tolist() == [k for k in range(3) for _ in range(2 * factor**2)]
    for k in range(3):
        plain = (decoding.decode(stored[2 * k : 2 * k + 2], factor) - 0.5) / 0.25
        torch.testing.assert_close(found.images[found.labels == k], plain)
    assert found.provenance["distillation"]["idc"]["factor"] == factor


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_mosaics_start_from_shrunk_real_images_of_their_class(tiny: ImageData, factor: int) -> None:
    distiller = start(tiny, idc={"factor": factor})
    images = distiller.state_dict()["images"]
    order = generator(0, "init-images")
    for k in range(3):
        members = torch.nonzero(tiny.train.labels == k).flatten()
        rows = members[torch.randperm(12, generator=order)][: factor**2]
        real = [tiny.train.images[row] * 0.25 + 0.5 for row in rows.tolist()]
        torch.testing.assert_close(images[k], reference.mosaic(real, factor))


def test_a_class_with_too_few_images_for_a_mosaic_repeats_itself(tiny: ImageData) -> None:
    images = start(tiny, ipc=4, idc={"factor": 2}).synthetic().images
    assert images.shape[0] == 3 * 16


def test_noise_starts_between_black_and_white(tiny: ImageData) -> None:
    images = start(tiny, ipc=2, init="noise").state_dict()["images"]
    assert float(images.min()) >= 0.0
    assert float(images.max()) <= 1.0
    assert float(images.std()) == pytest.approx(0.24, abs=0.03)


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_stopped_and_continued_equals_never_stopped(tiny: ImageData, stop: int) -> None:
    whole = start(tiny)
    losses = run(whole, 3)
    stopped = start(tiny)
    run(stopped, stop)
    continued = start(tiny)
    continued.load_state_dict(stopped.state_dict())
    run(stopped, 1)
    assert torch.equal(torch.stack(run(continued, 3 - stop)), torch.stack(losses[stop:]))
    assert torch.equal(continued.synthetic().images, whole.synthetic().images)
    assert continued.draws == whole.draws


def test_the_published_choices_are_the_defaults() -> None:
    cifar = make_config({"method": "idc", "ipc": 10, "dataset": {"name": "cifar10"}})
    assert (cifar.lr_img, cifar.batch_real, cifar.outer_loop) == (5e-3, 64, 100)
    assert (cifar.iterations, cifar.init, cifar.lr_net) == (2000, "mix", 0.01)
    assert cifar.idc.model_dump() == {"factor": 2, "distance": "mse", "net_images": 2000}
    one = make_config({"method": "idc", "idc": {"factor": 1}, "dataset": {"name": "mnist"}})
    assert (one.init, one.idc.distance) == ("real", "l1")
    assert one.lr_img == pytest.approx(1e-5)
    assert make_config({"method": "idc"}).lr_img == pytest.approx(1e-4)  # digits, our own choice
    subset = {"name": "imagenette", "resize": 224}
    image_net = make_config({"method": "idc", "ipc": 20, "dataset": subset})
    assert (image_net.idc.factor, image_net.iterations) == (3, 500)
    assert image_net.lr_img == pytest.approx(6e-3)
    assert make_config(image_net.model_dump(mode="json")) == image_net


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"inner_loop": 50}, "inner_loop: got 50, but method 'idc' has no such setting"),
        ({"network": {"name": "mlp"}, "pool": {"main_probability": 1.0}}, "network 'mlp': method"),
        ({"pool": {"others": [{"network": "mlp", "weight": 1.0}]}}, "network 'mlp': method 'idc'"),
        ({"dataset": {"pixels": "zca"}}, "dataset.pixels: got 'zca', but method 'idc' learns"),
        ({"method": "dc", "init": "mix"}, "init: got 'mix', but method 'dc' has no mosaics"),
    ],
)
def test_what_it_cannot_honour_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config({"method": "idc", **more})
