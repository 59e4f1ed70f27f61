"""Tests of harness.search.space."""

import json
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from harness.architecture import Architecture
from harness.config import BanditSettings
from harness.errors import ConfigError
from harness.search.space import Space, bundled_spaces, load_space, read_space, with_samples

GRID = """
title = "A title"
question = "A question?"
[base]
ipc = 10
pool.others = "diverse"
[space]
pool.main_probability = { grid = [0.5, 1.0] }
seed = { grid = [0, 1, 2] }
"""
CONDITIONAL = """
[space]
kd.temperature = { grid = [1.5, 4.0], when = { "kd.variant" = ["softened", "legacy"] } }
kd.alpha = { grid = [0.25, 0.5, 0.75], when = { kd.variant = "softened", kd.temperature = 4.0 } }
kd.variant = { grid = ["off", "control", "softened", "legacy"] }
"""
RANDOM = """
[base]
seed = 3
[space]
kd.variant = { choice = ["off", "softened"] }
kd.temperature = { loguniform = [0.5, 20], when = { kd.variant = "softened" } }
lr_img = { uniform = [0.01, 1] }
pool.warmup = { randint = [0, 3] }
[search]
algorithm = "random"
samples = 8
"""
LISTS = """
[base]
evaluation.students = ["main", "mlp"]
[space]
pool.others = { grid = ["similar", [{ network = "mlp", weight = 0.5 }, { network = "lenet", weight = 0.5 }]] }
"""  # noqa: E501


def space_of(text: str, overrides: dict[str, Any] | None = None) -> Space:
    return read_space(tomllib.loads(text), "a.toml", overrides or {})


def error_of(text: str, overrides: dict[str, Any] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        space_of(text, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what is wrong --------------------------------------------------------------------------

IPC = "[space]\nipc = { grid = [1, 10] }\n"
SEARCH = IPC + "[search]\n"
SAMPLES = "[search]\nalgorithm = 'random'\nsamples = 2\n"
KEEP = "keep one"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[spce]",
            "unknown table 'spce'; did you mean 'space'? known: base, question, search, space, "
            "title",
        ),
        (
            "titlee = 'x'",
            "unknown table 'titlee'; did you mean 'title'? known: base, question, search, space, "
            "title",
        ),
        ("base = 3", "base: got 3, expected a table [base]"),
        ("space = [1]", "space: got [1], expected a table [space]"),
        ("search = 'grid'", "search: got 'grid', expected a table [search]"),
        (f"title = 3\n{IPC}", "title: got 3, expected a string"),
        (f"question = ['a']\n{IPC}", "question: got ['a'], expected a string"),
        (
            "[base]\nipc = 1",
            "the space is empty; vary a setting in [space], for example "
            "'pool.main_probability = { grid = [0.5, 1.0] }', or use 'harness run'",
        ),
        (
            "[space]\nipc = 3",
            "space.ipc: got 3, expected a table such as { grid = [...] }; a fixed value belongs "
            "in [base]",
        ),
        (
            "[space]\nipc = {}",
            "space.ipc: got [], expected one of grid, choice, uniform, loguniform, randint",
        ),
        (
            "[space]\nipc = { gridd = [1] }",
            "space.ipc: unknown kind 'gridd'; did you mean 'grid'? known: choice, grid, "
            "loguniform, randint, uniform",
        ),
        (
            "[space]\nwarmup = { grid = [1] }",
            "unknown setting 'warmup'; did you mean 'pool.warmup'?",
        ),
        (
            "[space]\nkd.tempratur = { grid = [1.0] }",
            "unknown setting 'kd.tempratur'; did you mean 'kd.temperature'? "
            "known: kd.alpha, kd.teacher, kd.temperature, kd.variant",
        ),
        (
            f"[base]\nkd.alphaa = 0.5\n{IPC}",
            "unknown setting 'kd.alphaa'; did you mean 'kd.alpha'? "
            "known: kd.alpha, kd.teacher, kd.temperature, kd.variant",
        ),
        (f"[base]\nipc = 1\n{IPC}", f"'ipc' is in [base] and in [space]; {KEEP}"),
        (
            f"[base]\n'pool.warmup' = 1\npool.warmup = 2\n{IPC}",
            f"'pool.warmup' is in [base] twice; {KEEP}",
        ),
        (
            "[space]\n'pool.warmup' = { grid = [1] }\npool.warmup = { grid = [2] }",
            f"'pool.warmup' is in [space] twice; {KEEP}",
        ),
        (
            f"[space]\nipc = {{ grid = [1, 10] }}\n{SAMPLES}",
            "space.ipc: got 'grid', but search.algorithm is 'random'; use choice, or change the "
            "algorithm",
        ),
        *(
            (
                f"[space]\niterations = {{ {kind} = [1, 10] }}",
                f"space.iterations: got '{kind}', but search.algorithm is 'grid'; use grid, or "
                "change the algorithm",
            )
            for kind in ("choice", "uniform", "loguniform", "randint")
        ),
        (
            f"[space]\niterations = {{ randint = [10, 1] }}\n{SAMPLES}",
            "space.iterations.randint: got [10, 1], expected two integers [low, high] with low < "
            "high",
        ),
        (
            f"[space]\nlr_img = {{ loguniform = [0, 1] }}\n{SAMPLES}",
            "space.lr_img.loguniform: got [0, 1], expected low > 0 for a logarithmic scale",
        ),
        (
            f"{SEARCH}metric = 'test/unseen_mean'",
            "search.metric: got 'test/unseen_mean', but test accuracy is recorded, never "
            "optimised; "
            "use 'validation/unseen_mean'",
        ),
        (
            f"{SEARCH}metric = 'validation/unsen_mean'",
            "search.metric: got 'validation/unsen_mean'; did you mean 'validation/unseen_mean'? "
            "known: validation/main, validation/unseen_mean",
        ),
        (
            f"{SEARCH}algorithm = 'random'",
            "search.samples: missing, expected a number for algorithm 'random'",
        ),
        (
            f"{SEARCH}samples = 3",
            "search.samples: got 3, but a grid tries every combination; remove it or use "
            "search.algorithm = 'random'",
        ),
        (
            f"{SEARCH}algorithm = 'gridd'",
            "search.algorithm: got 'gridd'; did you mean 'grid'? known: bayesopt, gp, grid, "
            "hyperopt, nevergrad, nsga2, random, tpe",
        ),
        (
            f"{SEARCH}replicates = 0",
            "search.replicates: got 0, expected greater than or equal to 1",
        ),
        (f"{SEARCH}replicates = true", "search.replicates: got True, expected a valid integer"),
        (
            f"{SEARCH}replicas = 2",
            "unknown key 'search.replicas'; did you mean 'replicates'? "
            "known: algorithm, allocate, budget, grace_iterations, metric, mode, "
            "reduction_factor, replicates, samples, scheduler",
        ),
        (
            "[space]\nseed = { grid = [0, 1] }\n[search]\nreplicates = 2",
            "'seed' is varied and search.replicates > 1; keep one of them",
        ),
    ],
)
def test_wrong_spaces(text: str, message: str) -> None:
    assert error_of(text) == f"a.toml: {message}"


@pytest.mark.parametrize(
    ("entries", "name"),
    [
        ("lr_img = { grid = [0.1], when = { lr_img = 0.1 } }", "lr_img"),
        (
            "lr_img = { grid = [0.1], when = { lr_net = 0.1 } }\n"
            "lr_net = { grid = [0.1], when = { lr_img = 0.1 } }",
            "lr_img",
        ),
        (
            "ipc = { grid = [1], when = { lr_img = 0.1 } }\n"
            "lr_img = { grid = [0.1], when = { lr_net = 0.1, seed = 0 } }\n"
            "lr_net = { grid = [0.1], when = { lr_img = 0.1 } }\n"
            "seed = { grid = [0] }",
            "lr_img",
        ),
    ],
)
def test_conditions_in_a_circle(entries: str, name: str) -> None:
    message = f"a.toml: space.{name}.when: depends on itself; remove the circle"
    assert error_of(f"[space]\n{entries}") == message


def test_a_condition_on_an_unknown_setting() -> None:
    message = error_of("[space]\nlr_img = { grid = [0.1], when = { ipcc = 1 } }")
    assert message.startswith(
        "a.toml: space.lr_img.when: unknown setting 'ipcc'; did you mean 'ipc'? known: acc.direct"
    )


@pytest.mark.parametrize("expected", ["'softned'", "['softened', 'softned']"])
def test_a_condition_that_a_varied_setting_never_meets(expected: str) -> None:
    text = (
        f"[space]\nkd.temperature = {{ grid = [2.0], when = {{ kd.variant = {expected} }} }}\n"
        "kd.variant = { grid = ['off', 'softened'] }"
    )
    assert error_of(text) == (
        "a.toml: space.kd.temperature.when: 'kd.variant' is never 'softned', expected one of "
        "['off', 'softened']"
    )
    assert [*space_of(text, {"kd.variant": "off"}).points()] == [{}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[space]\nipc = { grid = [1, 5] }",
            "a (ipc = 5): outer_loop: no default for ipc = 5 (there is one for 1, 10, 20, 30, 40, "
            "50); set outer_loop",
        ),
        (
            "[space]\npool.main_probability = { grid = [0.5, 1.5] }\nseed = { grid = [4] }",
            "a (pool.main_probability = 1.5, seed = 4): pool.main_probability: got 1.5, expected "
            "less than or equal to 1",
        ),
        (
            "[space]\nkd.variant = { grid = ['softened', 'off'] }\nkd.alpha = { grid = [0.5] }",
            "a (kd.variant = off, kd.alpha = 0.5): kd.alpha: got 0.5, but kd.variant is 'off'; "
            "remove it or set kd.variant = 'softened'",
        ),
        (
            f"[space]\npool.main_probability = {{ uniform = [2, 3] }}\n{SAMPLES}",
            "pool.main_probability: got 2.",
        ),
        (f"[base]\nseed = 'x'\n{IPC}", "a (ipc = 1): seed: got 'x', expected integer"),
        (
            f"[base]\nseed = 'x/y'\n[space]\nlr_img = {{ uniform = [1, 2] }}\n{SAMPLES}",
            "seed: got 'x/y', expected integer",
        ),
        (
            "[base]\nipc.a = 1\n[space]\nseed = { grid = [1] }",
            "ipc: got {'a': 1}, expected integer",
        ),
    ],
)
def test_an_illegal_configuration_is_named(text: str, message: str) -> None:
    assert message in error_of(text)


# --- files ----------------------------------------------------------------------------------


def test_broken_toml(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[space\n")
    with pytest.raises(ConfigError, match=r"^mine\.toml: broken TOML: .*\(at line 1, column 7\)$"):
        load_space(str(path))


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"mine\.toml: not a text file \(.*\); expected TOML"):
        load_space(str(path))


def test_neither_a_bundled_space_nor_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_space("dmo")
    assert str(caught.value) == (
        "space 'dmo': neither a bundled space nor a readable file (No such file or directory); "
        f"did you mean 'demo'? known: {', '.join(bundled_spaces())}"
    )
    with pytest.raises(ConfigError, match=r"nor a readable file \(Is a directory\)"):
        load_space(str(tmp_path))


def test_a_file_is_named_without_its_ending(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GRID)
    space = load_space(str(path), {"ipc": 1})
    assert (space.name, space.title, space.question) == ("mine", "A title", "A question?")
    assert space.base == {"ipc": 1, "pool.others": "diverse"}


@pytest.mark.parametrize("name", bundled_spaces())
def test_bundled_spaces_are_legal_and_say_what_they_ask(name: str) -> None:
    space = load_space(name)
    assert space.name == name
    assert space.title
    assert space.question.endswith("?")
    assert next(space.examples())


# --- points ---------------------------------------------------------------------------------


def test_a_grid_is_every_combination_the_last_parameter_fastest() -> None:
    space = space_of(GRID)
    assert [tuple(point.values()) for point in space.points()] == [
        *((0.5, 0), (0.5, 1), (0.5, 2)),
        *((1.0, 0), (1.0, 1), (1.0, 2)),
    ]
    assert {tuple(point) for point in space.points()} == {("pool.main_probability", "seed")}
    config = space.config({"pool.main_probability": 0.5, "seed": 2}, replicate=4)
    assert (config.ipc, config.pool.others, config.pool.main_probability) == (10, "diverse", 0.5)
    assert config.seed == 6


def test_a_conditional_parameter_counts_only_where_its_conditions_hold() -> None:
    points = [*space_of(CONDITIONAL).points()]
    by_variant = Counter(point["kd.variant"] for point in points)
    assert by_variant == {"off": 1, "control": 1, "softened": 1 + 3, "legacy": 2}
    with_alpha = [point for point in points if "kd.alpha" in point]
    assert {(p["kd.variant"], p["kd.temperature"]) for p in with_alpha} == {("softened", 4.0)}
    assert len({str(sorted(point.items())) for point in points}) == len(points)


@pytest.mark.parametrize(
    ("base", "count"), [("", 1), ("[base]\nkd.variant = 'softened'\n", 2), ("[base]\nipc = 1\n", 1)]
)
def test_a_condition_falls_back_to_the_base_and_to_the_default(base: str, count: int) -> None:
    text = "[space]\nkd.temperature = { grid = [1.5, 4.0], when = { kd.variant = 'softened' } }"
    assert len([*space_of(base + text).points()]) == count


def test_samples_are_stable_and_a_prefix_of_more_samples() -> None:
    space = space_of(RANDOM)
    points = [*space.points()]
    assert points == [*space.points()]
    assert len(points) == 8
    assert len({str(point) for point in points}) == 8
    more = [*with_samples(space, 20).points()]
    assert len(more) == 20
    assert more[:8] == points
    assert [*space_of(RANDOM.replace("seed = 3", "seed = 4")).points()] != points


def test_a_condition_shifts_no_other_draw() -> None:
    always_on = RANDOM.replace('"off", "softened"', '"legacy", "softened"')
    always_on = always_on.replace(', when = { kd.variant = "softened" }', "")
    conditional = [*space_of(RANDOM).points()]
    assert {point["kd.variant"] for point in conditional} == {"off", "softened"}
    for point, other in zip(conditional, space_of(always_on).points(), strict=True):
        assert ("kd.temperature" in point) == (point["kd.variant"] == "softened")
        shared = set(point) - {"kd.variant"}
        assert {name: point[name] for name in shared} == {name: other[name] for name in shared}


def test_samples_are_legal_plain_values() -> None:
    space = space_of(RANDOM)
    for point in space.points():
        config = space.config(point)
        assert 0.01 <= config.lr_img <= 1
        assert 0 <= config.pool.warmup <= 3
        assert type(point["pool.warmup"]) is int


def test_samples_given_for_a_grid_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^a: search\.samples: got 5, but a grid tries every"):
        with_samples(space_of(GRID), 5)
    with pytest.raises(ConfigError, match=r"^a: search\.samples: got 0, expected greater than"):
        with_samples(space_of(RANDOM), 0)


# --- overrides ------------------------------------------------------------------------------


def test_an_override_pins_a_varied_setting() -> None:
    space = space_of(GRID, {"seed": 7, "ipc": 1})
    assert [point["pool.main_probability"] for point in space.points()] == [0.5, 1.0]
    assert space.base == {"ipc": 1, "pool.others": "diverse", "seed": 7}
    assert space.config({}).seed == 7


def test_overrides_may_pin_all_and_change_the_search() -> None:
    space = space_of(IPC, {"ipc": 1, "search.replicates": 3})
    assert [*space.points()] == [{}]
    assert space.search.replicates == 3
    assert space.config({}).ipc == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"warmup": 1}, "a.toml: unknown setting 'warmup'; did you mean 'pool.warmup'?"),
        ({"search.replicats": 1}, "a.toml: unknown key 'search.replicats'; did you mean"),
        ({"search.metric": "test/main"}, "a.toml: search.metric: got 'test/main', but test"),
        ({"ipc": "x"}, "a: ipc: got 'x', expected integer"),
    ],
)
def test_wrong_overrides(overrides: dict[str, Any], message: str) -> None:
    assert error_of(IPC, overrides).startswith(message)


# --- resolved -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [GRID, CONDITIONAL, RANDOM, LISTS])
def test_a_resolved_space_reads_back_from_toml(text: str) -> None:
    space = space_of(text)
    data = tomllib.loads(tomli_w.dumps(space.resolved()))
    assert data == space.resolved()
    again = read_space(data, "a.toml", {})
    assert again == space
    assert [*again.points()] == [*space.points()]


def test_quoted_and_bare_names_are_the_same_space() -> None:
    bare = "[base]\npool.warmup = 1\n[space]\nkd.variant = { grid = ['off'] }"
    quoted = "[base]\n'pool.warmup' = 1\n[space]\n'kd.variant' = { grid = ['off'] }"
    tables = "[base.pool]\nwarmup = 1\n[space.kd.variant]\ngrid = ['off']"
    assert space_of(bare) == space_of(quoted) == space_of(tables)
    assert space_of(bare).resolved() == {
        "title": "",
        "question": "",
        "base": {"pool.warmup": 1},
        "space": {"kd.variant": {"grid": ["off"]}},
        "search": {
            "algorithm": "grid",
            "metric": "validation/unseen_mean",
            "mode": "max",
            "replicates": 1,
        },
    }


# --- What shipped spaces must hold --------------------------------------------------------------


def cells(name: str) -> list[tuple[dict[str, Any], dict[int, Any]]]:
    """Every configuration of a bundled space, with the config of each of its replicates."""
    space = load_space(name)
    replicates = range(space.search.replicates)
    return [(p, {r: space.config(p, replicate=r) for r in replicates}) for p in space.points()]


def test_pool_and_kd_is_two_by_two_in_every_replicate() -> None:
    """So that (both - pool) - (KD - neither) can be taken within each replicate."""
    found: dict[tuple[bool, str], dict[int, Any]] = {}
    for _, configs in cells("pool_and_kd"):
        config = configs[0]
        found[config.pool.main_probability < 1.0, config.kd.variant] = configs
    assert set(found) == {(p, kd) for p in (False, True) for kd in ("off", "control", "softened")}
    for replicate in range(5):
        own = {key: configs[replicate] for key, configs in found.items()}
        assert {config.seed for config in own.values()} == {replicate}
        assert len({config.evaluation.model_dump_json() for config in own.values()}) == 1
        # KD changes nothing in a set: each pool has one for its three arms.
        lineages = {key: json.dumps(config.lineage()) for key, config in own.items()}
        assert len({lineages[True, kd] for kd in ("off", "control", "softened")}) == 1
        assert len(set(lineages.values())) == 2


@pytest.mark.parametrize(
    "name", ["main_model_probability", "pool_schedule", "pool_similarity", "ipc_iterations"]
)
def test_a_baseline_is_no_more_trials_than_it_has_sets(name: str) -> None:
    """Pool settings, which it ignores, do not multiply it; its seeds are those of the others."""
    own = [configs for point, configs in cells(name) if point["method"] == "random-real"]
    sets = {json.dumps(config.lineage()) for configs in own for config in configs.values()}
    assert len(sets) == sum(map(len, own))
    others = [configs for point, configs in cells(name) if point["method"] == "dc"]
    for replicate in own[0]:
        assert {configs[replicate].seed for configs in (*own, *others)} == {replicate}


def test_one_bandit_stands_beside_every_constant() -> None:
    configs = [configs[0] for point, configs in cells("pool_schedule") if point["method"] == "dc"]
    by_schedule: dict[str, list[float]] = {}
    for config in configs:
        by_schedule.setdefault(config.pool.schedule, []).append(config.pool.main_probability)
    assert by_schedule == {
        "constant": [0.0, 0.25, 0.5, 0.75, 0.9, 1.0],
        "linear": [0.5],
        "cosine": [0.5],
        "bandit": [0.5],
    }


def test_probes_are_no_student_of_a_shipped_space() -> None:
    """So that ``--set pool.schedule=bandit`` goes with each of them."""
    probes = {Architecture.parse(name) for name in BanditSettings().probes}
    for name in bundled_spaces():
        space = load_space(name)
        for point in space.examples():
            assert not probes & {*space.config(point).students()}
