"""Augmentation: each operation's range, its borders, and where its random numbers come from."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from harness.architecture import Architecture
from harness.augment import draw_by_image
from harness.evaluate import augmentation
from harness.evaluate.augmentation import augment, resolve
from harness.settings.methods import OPERATIONS
from tests.reference import augment as reference

NAMES = ("crop-scale-rotate", "crop-noise")
MEANS = torch.tensor([0.25, -1.0])


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 9) -> Tensor:
    return torch.randn(*shape, generator=rng(seed))


@pytest.mark.parametrize(
    ("setting", "dataset", "student", "expected"),
    [
        ("auto", "digits", "convnet", "none"),
        ("auto", "cifar10", "resnet18-bn", "none"),
        ("auto", "fashionmnist", "mlp", "none"),
        ("auto", "mnist", "convnet", "crop-scale-rotate"),
        ("auto", "mnist", "mlp", "crop-scale-rotate"),
        ("auto", "cifar10", "convnet-batchnorm", "crop-noise"),
        ("auto", "mnist", "convnet-w4-batchnorm", "crop-noise"),
        ("none", "mnist", "convnet-batchnorm", "none"),
        ("crop-noise", "digits", "mlp", "crop-noise"),
        ("dsa", "cifar10", "mlp", "dsa"),
        ("dsa", "fashionmnist", "convnet-batchnorm", "dsa"),
        ("dsa", "digits", "mlp", "dsa-noflip"),
        ("dsa", "svhn", "mlp", "dsa-noflip"),
        ("dsa-noflip", "cifar10", "mlp", "dsa-noflip"),
    ],
)
def test_auto_is_the_published_choice(
    setting: str, dataset: str, student: str, expected: str
) -> None:
    assert resolve(setting, dataset, Architecture.parse(student)) == expected


def test_none_returns_the_images_themselves() -> None:
    images = draw(2, 1, 28, 28)
    generator = rng()
    before = generator.get_state()
    assert augment(images, "none", generator) is images
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(5, 1, 28, 28), (4, 3, 32, 32), (1, 1, 28, 28)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_dtype_stay_and_the_images_are_left_alone(
    name: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    images = draw(*shape).to(dtype)
    kept = images.clone()
    augmented = augment(images, name, rng())
    assert augmented.shape == images.shape
    assert augmented.dtype == dtype
    assert bool(augmented.isfinite().all())
    assert torch.equal(images, kept)
    assert not torch.equal(augmented, images)


@pytest.mark.parametrize("name", NAMES)
def test_random_numbers_come_from_the_generator_alone(name: str) -> None:
    images = draw(8, 1, 28, 28)
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first = augment(images, name, rng())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    torch.manual_seed(2)
    np.random.seed(2)
    assert torch.equal(augment(images, name, rng()), first)
    assert not torch.equal(augment(images, name, rng(1)), first)


@pytest.mark.parametrize("name", ["dsa", "dsa-noflip"])
def test_dsa_has_one_operation_a_batch_and_parameters_for_each_image(name: str) -> None:
    images = draw(6, 3, 32, 32)
    kept = images.clone()
    seen = set()
    for seed in range(40):
        draws = draw_by_image([augmentation._DSA[name]], rng(seed), 6)
        found = augment(images, name, rng(seed))
        for k in range(6):
            operations = [stage[k] for stage in draws.operations]
            plain = reference.augment(images[k], operations, draws.numbers[:, k].tolist())
            torch.testing.assert_close(found[k], plain, rtol=1e-4, atol=1e-4)
        seen.add(draws.operations[0][0])
    assert seen == set(OPERATIONS) - ({"flip"} if name == "dsa-noflip" else set())
    assert torch.equal(images, kept)


@pytest.mark.parametrize("name", NAMES)
def test_each_image_gets_one_operation_and_each_operation_its_share(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operations = augmentation._OPERATIONS[name]
    calls: list[tuple[int, Tensor]] = []

    def spying(k: int) -> Callable[..., Tensor]:
        def operation(image: Tensor, means: Tensor, generator: torch.Generator) -> Tensor:
            calls.append((k, means))
            return image

        return operation

    spies = tuple(spying(k) for k in range(len(operations)))
    monkeypatch.setitem(augmentation._OPERATIONS, name, spies)
    images = draw(300, 2, 28, 28)
    assert torch.equal(augment(images, name, rng()), images)
    chosen = [k for k, _ in calls]
    assert len(chosen) == 300
    for k in range(len(operations)):
        assert chosen.count(k) == pytest.approx(300 / len(operations), abs=40)
    torch.testing.assert_close(calls[0][1], images.transpose(0, 1).flatten(1).mean(1))


def test_crop_shifts_by_up_to_four_pixels_and_fills_with_the_means() -> None:
    image = torch.arange(2 * 28 * 28, dtype=torch.float64).reshape(2, 28, 28) / 7 + 5
    padded = MEANS.double().reshape(2, 1, 1).expand(2, 36, 36).clone()
    padded[:, 4:32, 4:32] = image
    windows = {
        (top, left): padded[:, top : top + 28, left : left + 28]
        for top in range(9)
        for left in range(9)
    }
    seen = set()
    generator = rng()
    for _ in range(400):
        cropped = augmentation._crop(image, MEANS.double(), generator)
        (place,) = [at for at, window in windows.items() if torch.allclose(cropped, window)]
        seen.add(place)
    assert {top for top, _ in seen} == set(range(8))
    assert {left for _, left in seen} == set(range(8))
    assert len(seen) > 50


def test_scale_keeps_the_centre_and_fills_with_zero() -> None:
    image = torch.ones(2, 28, 28)
    generator = rng()
    sides: set[tuple[int, int]] = set()
    for _ in range(200):
        scaled = augmentation._scale(image, MEANS, generator)
        assert scaled.shape == image.shape
        assert set(scaled.unique().tolist()) <= {0.0, 1.0}
        inside = scaled[0].bool()
        rows, columns = inside.any(1), inside.any(0)
        height, width = int(rows.sum()), int(columns.sum())
        assert torch.equal(inside, rows[:, None] & columns[None])
        top, left = int(rows.int().argmax()), int(columns.int().argmax())
        assert (top, left) == ((28 - height) // 2, (28 - width) // 2)
        sides.add((height, width))
    for side in (0, 1):
        lengths = {pair[side] for pair in sides}
        assert min(lengths) == 22  # int(0.8 * 28) to int(1.2 * 28), cut at 28
        assert max(lengths) == 28
    assert any(height != width for height, width in sides)


def test_a_larger_image_is_cut_around_its_centre() -> None:
    image = torch.zeros(1, 28, 28)
    image[:, 13:15, 13:15] = 1.0
    generator = rng()
    for _ in range(50):
        scaled = augmentation._scale(image, MEANS, generator)[0]
        rows = torch.nonzero(scaled.any(1)).flatten().double()
        assert float(rows.mean()) == pytest.approx(13.5, abs=1.0)


def test_rotate_turns_by_whole_degrees(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[float, dict[str, Any]]] = []

    def rotate(image: np.ndarray, angle: float, **options: Any) -> np.ndarray:
        calls.append((angle, options))
        return original(image, angle, **options)

    original = ndimage.rotate
    monkeypatch.setattr(ndimage, "rotate", rotate)
    generator = rng()
    image = draw(2, 28, 28)
    for _ in range(300):
        rotated = augmentation._rotate(image, MEANS, generator)
        assert rotated.shape == image.shape
    angles = [angle for angle, _ in calls]
    assert all(isinstance(angle, int) for angle in angles)
    assert min(angles) == -45
    assert max(angles) == 44
    options = calls[-1][1]
    assert options["order"] == 3
    assert options["axes"] == (-2, -1)
    assert options["cval"] == pytest.approx(-0.375)  # the mean of the channels' means
    turned = original(image.numpy(), angles[-1], (-2, -1), order=3, cval=-0.375)
    top, left = ((side - 28) // 2 for side in turned.shape[1:])
    expected = torch.from_numpy(turned[:, top : top + 28, left : left + 28].copy())
    torch.testing.assert_close(rotated, expected)


def test_an_even_image_stays_what_it_is_when_turned() -> None:
    image = torch.full((2, 28, 28), -0.375)
    torch.testing.assert_close(augmentation._rotate(image, MEANS, rng()), image)


def test_noise_is_normal_and_a_thousandth() -> None:
    image = draw(3, 64, 64)
    noise = augmentation._noise(image, MEANS, rng()) - image
    assert float(noise.std()) == pytest.approx(0.001, rel=0.03)
    assert float(noise.mean()) == pytest.approx(0.0, abs=1e-4)
