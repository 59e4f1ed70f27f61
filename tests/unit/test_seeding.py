"""Tests of harness.seeding."""

from itertools import product

import pytest
import torch

from harness.seeding import derive, generator, python_random

# Results of every earlier version depend on these: they never change.
GOLDEN = {
    (0, "pool", 0): 2661700465828250853,
    (7, "real-batch", 3, 0, 9): 3319455858453971725,
    (0, "student-network", "convnet-w32", 2): 2028690853830374652,
}


@pytest.mark.parametrize(("address", "seed"), GOLDEN.items())
def test_seeds_stay_what_they_were(address: tuple[int, str], seed: int) -> None:
    assert derive(*address) == seed


def test_different_addresses_have_different_seeds() -> None:
    addresses: list[tuple[int, str, *tuple[int | str, ...]]] = [
        *product(range(20), ("pool", "network"), range(20)),
        *product(range(5), ("pool", "network"), range(5), range(5)),
        *product(range(5), ("pool", "network")),
        (0, "a", "b"),
        (0, "ab"),
        (0, "a", "", "b"),
        (0, "a", 1, 11),
        (0, "a", 11, 1),
        (0, "a", 111),
        (0, "a1", 11),
    ]
    seeds = [derive(*address) for address in addresses]
    assert len(set(seeds)) == len(addresses)
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("address", [(0, "x", "1/2"), (0, "x/1", 2), (0, "pool/0")])
def test_a_slash_is_refused_since_two_addresses_could_meet(address: tuple[int, str]) -> None:
    with pytest.raises(AssertionError, match="two addresses could meet"):
        derive(*address)


def test_an_index_counts_by_its_text() -> None:
    assert derive(0, "x", 1) == derive(0, "x", "1")


def test_equal_addresses_give_equal_draws() -> None:
    first, second = (torch.randn(8, generator=generator(3, "noise", 5)) for _ in range(2))
    assert torch.equal(first, second)
    assert python_random(3, "noise", 5).random() == python_random(3, "noise", 5).random()


def test_different_addresses_give_different_draws() -> None:
    draws = {
        float(torch.randn((), generator=generator(seed, role, index)))
        for seed, role, index in product((0, 1), ("a", "b"), (0, 1))
    }
    assert len(draws) == 8


def test_global_generators_are_neither_read_nor_moved() -> None:
    before = torch.get_rng_state()
    rng = generator(0, "x")
    torch.randn(4, generator=rng)
    assert torch.equal(torch.get_rng_state(), before)
    assert rng.device.type == "cpu"
    assert rng.initial_seed() == derive(0, "x")
