"""Tests of harness.pool."""

from collections import Counter
from itertools import pairwise, product
from math import sqrt

import pytest

from harness.architecture import Architecture
from harness.config import POOL_PRESETS, PoolSettings, WeightedNetwork, make_config
from harness.pool import ModelPool, describe_others, other_members, path_values

ITERATIONS = 20_000
MAIN = Architecture()
LIST = (
    WeightedNetwork(network="lenet", weight=0.125),
    WeightedNetwork(network="convnet-w32-d4-sigmoid", weight=0.625),
    WeightedNetwork(network="mlp", weight=0.25),
)
ACTIVATIONS = ("relu", "sigmoid", "leakyrelu", "swish")
NORMS = ("instancenorm", "batchnorm", "layernorm", "groupnorm")
POOLINGS = ("avgpooling", "maxpooling")


def settings(others: object = "similar", probability: float = 0.9, warmup: int = 0) -> PoolSettings:
    return PoolSettings.model_validate(
        {"others": others, "main_probability": probability, "warmup": warmup}
    )


def draws(pool: ModelPool, count: int = ITERATIONS) -> list[Architecture]:
    return [pool.draw(iteration) for iteration in range(count)]


def assert_frequencies(drawn: list[Architecture], expected: dict[Architecture, float]) -> None:
    """Within four standard errors of what is expected, and nothing else drawn."""
    counts = Counter(drawn)
    assert set(counts) <= set(expected)
    n = len(drawn)
    for architecture, p in expected.items():
        assert abs(counts[architecture] / n - p) <= 4 * sqrt(p * (1 - p) / n), architecture.label


# --- members --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "main", "depth"),
    [
        ("similar", Architecture(width=32, depth=4, norm="none"), 4),
        ("similar-depth1", Architecture(width=32, depth=4, norm="none"), 1),
        ("similar", MAIN, 3),
    ],
)
def test_similar_members(others: str, main: Architecture, depth: int) -> None:
    members = other_members(settings(others), main)
    found = [
        (m.architecture.activation, m.architecture.norm, m.architecture.pooling) for m in members
    ]
    assert sorted(found) == sorted(product(ACTIVATIONS, NORMS, POOLINGS))
    assert {(m.architecture.width, m.architecture.depth) for m in members} == {(main.width, depth)}
    assert [member.weight for member in members] == [1 / 32] * 32


def test_diverse_and_listed_members() -> None:
    diverse = other_members(settings("diverse"), MAIN)
    assert [m.architecture.label for m in diverse] == ["lenet", "alexnet", "vgg11"]
    assert sum(m.weight for m in diverse) == pytest.approx(1.0)
    listed = other_members(settings(LIST), MAIN)
    assert [(m.architecture.label, m.weight) for m in listed] == [
        (item.network, item.weight) for item in LIST
    ]


@pytest.mark.parametrize("preset", POOL_PRESETS)
def test_presets_have_as_many_members_as_the_settings_say(preset: str) -> None:
    members = other_members(settings(preset), MAIN)
    assert [member.weight for member in members] == [1 / POOL_PRESETS[preset]] * len(members)
    assert len(members) == POOL_PRESETS[preset]


def test_descriptions() -> None:
    assert describe_others(settings("similar-depth1")) == "similar-depth1"
    expected = "lenet:0.125,convnet-w32-d4-sigmoid:0.625,mlp:0.25"
    assert describe_others(settings(LIST)) == expected


@pytest.mark.parametrize(
    ("others", "probability", "warmup", "size", "has_main"),
    [
        ("similar", 1.0, 0, 1, True),
        ("similar", 0.9, 0, 32, True),
        ("similar", 0.0, 0, 32, True),
        ("similar-depth1", 0.9, 0, 33, True),
        ("similar-depth1", 0.0, 0, 32, False),
        ("diverse", 0.25, 0, 4, True),
        ("diverse", 0.0, 0, 3, False),
        ("diverse", 0.0, 500, 4, True),
        (LIST, 0.5, 0, 4, True),
    ],
)
def test_members_are_all_that_can_be_drawn(
    others: object, probability: float, warmup: int, size: int, has_main: bool
) -> None:
    pool = ModelPool(settings(others, probability, warmup), MAIN, seed=0)
    assert len(pool.members) == size
    assert (MAIN in pool.members) is has_main
    assert set(draws(pool, 2000)) == pool.members


# --- draws ----------------------------------------------------------------------------------


@pytest.mark.parametrize("probability", [0.0, 0.25, 0.9])
@pytest.mark.parametrize("others", ["similar", "similar-depth1", "diverse", LIST])
def test_frequencies(others: object, probability: float) -> None:
    chosen = settings(others, probability)
    expected = {MAIN: probability}
    for member in other_members(chosen, MAIN):
        share = (1 - probability) * member.weight
        expected[member.architecture] = expected.get(member.architecture, 0.0) + share
    assert sum(expected.values()) == pytest.approx(1.0)
    assert_frequencies(draws(ModelPool(chosen, MAIN, seed=11)), expected)


def test_probability_one_draws_the_main_model_only() -> None:
    main = Architecture(name="mlp")
    assert set(draws(ModelPool(settings("similar", 1.0), main, seed=0))) == {main}


def test_probability_zero_never_draws_the_main_model() -> None:
    assert MAIN not in draws(ModelPool(settings("diverse", 0.0), MAIN, seed=0))


def test_warmup_draws_the_main_model_and_shifts_nothing_after_it() -> None:
    warm = draws(ModelPool(settings("diverse", 0.0, warmup=100), MAIN, seed=3), 300)
    cold = draws(ModelPool(settings("diverse", 0.0), MAIN, seed=3), 300)
    assert set(warm[:100]) == {MAIN}
    assert MAIN not in warm[100:]
    assert warm[100:] == cold[100:]


def test_a_draw_depends_on_seed_and_iteration_alone() -> None:
    pool = ModelPool(settings(probability=0.5), MAIN, seed=5)
    forwards = [pool.draw(iteration) for iteration in range(200)]
    backwards = [pool.draw(iteration) for iteration in reversed(range(200))]
    assert forwards == backwards[::-1]
    assert forwards == draws(ModelPool(settings(probability=0.5), MAIN, seed=5), 200)
    assert forwards != draws(ModelPool(settings(probability=0.5), MAIN, seed=6), 200)


def test_main_probability_pairs_draws() -> None:
    """Where a pool with a higher probability leaves the main model, a lower one does too."""
    low = draws(ModelPool(settings("diverse", 0.5), MAIN, seed=2), 1000)
    high = draws(ModelPool(settings("diverse", 0.9), MAIN, seed=2), 1000)
    pairs = [(a, b) for a, b in zip(low, high, strict=True) if b != MAIN]
    assert pairs
    assert all(a == b for a, b in pairs)


# --- schedules ------------------------------------------------------------------------------


def scheduled(
    schedule: str, probability: float = 0.2, warmup: int = 0, iterations: int = 101
) -> ModelPool:
    chosen = settings("diverse", probability, warmup).model_copy(update={"schedule": schedule})
    return ModelPool(chosen, MAIN, seed=4, iterations=iterations)


@pytest.mark.parametrize(
    ("schedule", "quarter", "half"),
    [("constant", 0.2, 0.2), ("linear", 0.8, 0.6), ("cosine", 1 - 0.8 * 0.1464466, 0.6)],
)
@pytest.mark.parametrize("warmup", [0, 50])
def test_a_schedule_falls_from_one_after_the_warmup_to_its_probability(
    schedule: str, quarter: float, half: float, warmup: int
) -> None:
    pool = scheduled(schedule, warmup=warmup, iterations=101 + warmup)
    start = 0.2 if schedule == "constant" else 1.0
    ways = [pool.main_probability(warmup + done) for done in (0, 25, 50, 100)]
    assert ways == pytest.approx([start, quarter, half, 0.2])
    assert [pool.main_probability(i) for i in range(warmup)] == [1.0] * warmup
    falling = [pool.main_probability(i) for i in range(101 + warmup)]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_draws_follow_a_schedule(schedule: str) -> None:
    pool = scheduled(schedule, iterations=ITERATIONS)
    drawn = draws(pool)
    for start in range(0, ITERATIONS, 2000):
        window = range(start, start + 2000)
        expected = sum(pool.main_probability(i) for i in window) / 2000
        share = drawn[start : start + 2000].count(MAIN) / 2000
        assert abs(share - expected) <= 4 * sqrt(expected * (1 - expected) / 2000) + 1e-9


def test_a_schedule_leaves_the_main_model_only_where_its_end_would() -> None:
    constant, linear = (draws(scheduled(name), 101) for name in ("constant", "linear"))
    pairs = [(a, b) for a, b in zip(constant, linear, strict=True) if b != MAIN]
    assert pairs
    assert all(a == b for a, b in pairs)


@pytest.mark.parametrize(("iterations", "warmup"), [(1, 0), (5, 5), (5, 4), (5, 9)])
def test_a_schedule_without_room_draws_the_main_model(iterations: int, warmup: int) -> None:
    pool = scheduled("linear", 0.0, warmup, iterations)
    assert set(draws(pool, iterations)) == {MAIN}


def test_a_schedule_draws_the_main_model_even_to_zero() -> None:
    assert MAIN in scheduled("linear", 0.0).members


def test_scheduled_runs_of_different_lengths_share_no_states() -> None:
    def lineage(schedule: str, iterations: int) -> dict[str, object]:
        data = {"iterations": iterations, "pool": {"schedule": schedule}}
        return make_config(data).lineage()

    assert lineage("constant", 10) == lineage("constant", 20)
    assert lineage("linear", 10) != lineage("linear", 20)
    assert lineage("bandit", 10) == lineage("bandit", 20)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_a_path_says_where_the_probability_changes(schedule: str) -> None:
    pool = scheduled(schedule, warmup=3, iterations=20)
    path = pool.path(20)
    assert path_values(path, 20) == [pool.main_probability(i) for i in range(20)]
    assert all(a[1] != b[1] for a, b in pairwise(path))
    assert (len(path) == 2) is (schedule == "constant")
    assert pool.path(0) == path_values([], 0) == []
