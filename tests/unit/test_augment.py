"""Differentiable augmentation against its plain version, and where its random numbers come from."""

import pytest
import torch
from torch import Tensor

from harness.augment import Draws, augment, draw_by_group, draw_by_image
from harness.settings.methods import OPERATIONS
from tests.reference import augment as reference

SHAPES = [(1, 28, 28), (3, 32, 32), (3, 9, 9)]
DSA = [OPERATIONS]
IDC = [("color",), ("crop",), ("cutout",)]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 9) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=rng(seed))


def plainly(images: Tensor, draws: Draws, owners: list[int]) -> Tensor:
    return torch.stack(
        [
            reference.augment(
                image, [stage[g] for stage in draws.operations], draws.numbers[:, g].tolist()
            )
            for image, g in zip(images, owners, strict=True)
        ]
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_and_its_gradient_agree_with_the_plain_version(
    name: str, shape: tuple[int, int, int]
) -> None:
    images = noise(6, *shape).requires_grad_()
    draws = draw_by_image([(name,)], rng(), 6)
    weights = noise(6, *shape, seed=3)
    found, expected = augment(images, draws), plainly(images, draws, list(range(6)))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad((out * weights).sum(), images)[0] for out in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)
    assert not torch.equal(found, images)


@pytest.mark.parametrize("stages", [DSA, IDC], ids=["dsa", "idc"])
def test_groups_share_their_draw_and_keep_their_places(stages: list[tuple[str, ...]]) -> None:
    sizes = [2, 1, 3, 1, 2, 1, 1, 2]
    images = noise(sum(sizes), 3, 8, 8).requires_grad_()
    draws = draw_by_group(stages, [rng(k) for k in range(len(sizes))])
    if stages is DSA:
        assert len(set(draws.operations[0])) > 3
    owners = [g for g, size in enumerate(sizes) for _ in range(size)]
    found, expected = augment(images, draws, sizes), plainly(images, draws, owners)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(out.square().sum(), images)[0] for out in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_a_group_s_draw_depends_on_its_generator_alone() -> None:
    whole = draw_by_group(DSA, [rng(k) for k in range(5)])
    alone = draw_by_group(DSA, [rng(3)])
    assert whole.operations[0][3] == alone.operations[0][0]
    assert torch.equal(whole.numbers[:, 3:4], alone.numbers)


def test_a_batch_has_one_operation_and_each_image_its_own_parameters() -> None:
    draws = draw_by_image(DSA, rng(), 50)
    assert len(set(draws.operations[0])) == 1
    assert len(draws.numbers.flatten().unique()) == 150


def test_operations_are_drawn_equally_often_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    draws = draw_by_group(DSA, [rng(k) for k in range(600)])
    assert torch.equal(torch.get_rng_state(), before)
    for name in OPERATIONS:
        assert draws.operations[0].count(name) == pytest.approx(100, abs=35)
    assert float(draws.numbers.min()) >= 0.0
    assert float(draws.numbers.max()) < 1.0


def test_crop_reaches_an_eighth_of_the_side_each_way() -> None:
    image = torch.zeros(200, 1, 32, 32)
    image[:, :, 16, 16] = 1.0
    draws = draw_by_image([("crop",)], rng(), 200)
    places = torch.nonzero(augment(image, draws)[:, 0])[:, 1:]
    assert len(places) == 200
    assert (int(places.min()), int(places.max())) == (12, 20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_stays(dtype: torch.dtype) -> None:
    images = noise(12, 3, 16, 16).to(dtype)
    draws = draw_by_group(DSA, [rng(k) for k in range(12)])
    assert augment(images, draws).dtype == dtype
