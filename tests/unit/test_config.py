"""Tests of harness.config."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.architecture import NETWORK_NAMES, Architecture
from harness.config import DATASETS, LOOPS, TrialConfig, make_config
from harness.dotted import get_dotted, set_dotted, setting_names
from harness.errors import ConfigError
from harness.settings.methods import TABLES

NETWORKS = ", ".join(sorted(NETWORK_NAMES))
TOP_LEVEL = (
    "known: acc.*, batch_real, compile, dataset.*, dsa.*, elf.*, evaluation.*, idc.*, init, "
    "inner_loop, ipc, iterations, kd.*, kmeans.*, lr_img, lr_net, method, network.*, outer_loop, "
    "pool.*, precision, protocol, run.*, seed, threads"
)


def nested(settings: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, value in settings.items():
        set_dotted(data, name, value)
    return data


def config_of(**settings: Any) -> TrialConfig:
    return make_config(nested({name.replace("__", "."): v for name, v in settings.items()}))


def error_of(data: Any, where: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        make_config(data, where)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- wrong settings: the whole message ------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"iter": 3}, f"unknown setting 'iter'; did you mean 'iterations'? {TOP_LEVEL}"),
        ({"stride": 3}, f"unknown setting 'stride'; {TOP_LEVEL}"),
        (
            {"evaluatio": {}},
            f"unknown setting 'evaluatio'; did you mean 'evaluation.*'? {TOP_LEVEL}",
        ),
        ({"temperature": 2.0}, "unknown setting 'temperature'; did you mean 'kd.temperature'?"),
        (
            {"kd": {"tempratur": 1.0}},
            "unknown setting 'kd.tempratur'; did you mean 'kd.temperature'? "
            "known: kd.alpha, kd.teacher, kd.temperature, kd.variant",
        ),
        (
            {"pool": {"main_prob": 0.2}},
            "unknown setting 'pool.main_prob'; did you mean 'pool.main_probability'? "
            "known: pool.balanced, pool.bandit.*, pool.main_probability, pool.others, "
            "pool.schedule, pool.warmup",
        ),
    ],
)
def test_unknown_keys(data: dict[str, Any], message: str) -> None:
    assert error_of(data) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"dataset.name": "cifar"},
            "dataset.name: got 'cifar'; did you mean 'cifar10'? "
            f"known: {', '.join(sorted(DATASETS))}",
        ),
        (
            {"dataset.name": "mnist", "dataset.normalise_as": "imagefolder"},
            "dataset.normalise_as: got 'imagefolder'; known: cifar10, cifar100, digits, "
            "fashionmnist, mnist, svhn",
        ),
        (
            {"method": "dcc"},
            "method: got 'dcc'; did you mean 'dc'? known: dc, dm, dsa, full-data, "
            "idc, kmeans, random-real, or package.module:Class",
        ),
        (
            {"network.name": "convnett"},
            f"network.name: got 'convnett'; did you mean 'convnet'? known: {NETWORKS}",
        ),
        (
            {"pool.others": "similarr"},
            "pool.others: got 'similarr'; did you mean 'similar'? known: diverse, similar, "
            "similar-depth1, or a list of {network, weight}",
        ),
        (
            {"kd.variant": "soft"},
            "kd.variant: got 'soft'; did you mean 'softened'? "
            "known: control, legacy, off, softened",
        ),
        (
            {"kd.variant": "legacy", "kd.teacher": "lenett"},
            f"kd.teacher: network 'lenett': did you mean 'lenet'? known: {NETWORKS}",
        ),
        (
            {"evaluation.students": ["main", "mlpp"]},
            f"evaluation.students: network 'mlpp': did you mean 'mlp'? known: {NETWORKS}",
        ),
        (
            {"pool.others": [{"network": "lenett", "weight": 1.0}]},
            f"pool.others: network 'lenett': did you mean 'lenet'? known: {NETWORKS}",
        ),
        (
            {"evaluation.augmentation": "nonee"},
            "evaluation.augmentation: got 'nonee'; did you mean 'none'? "
            "known: auto, crop-noise, crop-scale-rotate, dsa, dsa-noflip, none",
        ),
        (
            {"protocol": "Paper"},
            "protocol: got 'Paper'; did you mean 'paper'? known: held-out, paper",
        ),
    ],
)
def test_unknown_names(settings: dict[str, Any], message: str) -> None:
    assert error_of(nested(settings)) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"pool.main_probability": 1.2},
            "pool.main_probability: got 1.2, expected less than or equal to 1",
        ),
        (
            {"pool.main_probability": -0.1},
            "pool.main_probability: got -0.1, expected greater than or equal to 0",
        ),
        (
            {"pool.main_probability": math.nan},
            "pool.main_probability: got nan, expected a finite number",
        ),
        ({"pool.main_probability": True}, "pool.main_probability: got True, expected number"),
        ({"pool.main_probability": "0.9"}, "pool.main_probability: got '0.9', expected number"),
        (
            {"pool.others": 3},
            "pool.others: got 3, expected a preset or a list of {network, weight}",
        ),
        ({"pool.others": []}, "pool.others: got an empty list, expected a preset or networks"),
        (
            {
                "pool.others": [
                    {"network": "lenet", "weight": 0.4},
                    {"network": "mlp", "weight": 0.5},
                ]
            },
            "pool.others: the weights sum to 0.9, expected 1; scale them to sum to 1",
        ),
        (
            {"method": "idc", "pool.balanced": True},
            "pool.balanced: got true, but the loss of method 'idc' is no sum over rows; remove it, "
            "or use dc or dsa",
        ),
        ({"pool.others": ["lenet"]}, "pool.others.0: got 'lenet', expected a table of settings"),
        (
            {"pool.others": [{"network": "lenet"}]},
            "pool.others.0.weight: missing, expected a value",
        ),
        (
            {"pool.others": [{"network": "lenet", "weight": 1.0, "depth": 3}]},
            "pool.others.0.depth: unknown key; remove it",
        ),
        (
            {"pool.others": [{"network": "lenet", "weight": 0.0}]},
            "pool.others.0.weight: got 0.0, expected greater than 0",
        ),
        (
            {"pool.others": [{"network": "lenet", "weight": math.nan}]},
            "pool.others.0.weight: got nan, expected a finite number",
        ),
        (
            {"kd.variant": "softened", "kd.temperature": 0.0},
            "kd.temperature: got 0.0, expected greater than 0",
        ),
        (
            {"kd.variant": "softened", "kd.temperature": math.inf},
            "kd.temperature: got inf, expected a finite number",
        ),
        (
            {"kd.variant": "control", "kd.alpha": 1.5},
            "kd.alpha: got 1.5, expected less than or equal to 1",
        ),
        (
            {"kd.variant": "control", "kd.alpha": -0.5},
            "kd.alpha: got -0.5, expected greater than or equal to 0",
        ),
        (
            {"kd.temperature": 2.0},
            "kd.temperature: got 2.0, but kd.variant is 'off'; remove it or set "
            "kd.variant = 'softened'",
        ),
        (
            {"kd.variant": "off", "kd.alpha": 0.5},
            "kd.alpha: got 0.5, but kd.variant is 'off'; remove it or set kd.variant = 'softened'",
        ),
        (
            {"ipc": 5},
            "outer_loop: no default for ipc = 5 (there is one for 1, 10, 20, 30, 40, 50); set "
            "outer_loop",
        ),
        (
            {"ipc": 5, "outer_loop": 5},
            "inner_loop: no default for ipc = 5 (there is one for 1, 10, 20, 30, 40, 50); set "
            "inner_loop",
        ),
        ({"ipc": True}, "ipc: got True, expected integer"),
        ({"ipc": "10"}, "ipc: got '10', expected integer"),
        ({"ipc": 0}, "ipc: got 0, expected greater than or equal to 1"),
        ({"seed": -1}, "seed: got -1, expected greater than or equal to 0"),
        ({"seed": 1.0}, "seed: got 1.0, expected integer"),
        ({"lr_img": 0}, "lr_img: got 0, expected greater than 0"),
        ({"network.width": 0}, "network.width: got 0, expected greater than or equal to 1"),
        ({"network.depth": True}, "network.depth: got True, expected integer"),
        (
            {"network.name": "lenet", "network.width": 64, "pool.main_probability": 1.0},
            "network.width: got 64, but only 'convnet' has a width; remove it or use "
            "network.name = 'convnet'",
        ),
        (
            {"network.name": "mlp"},
            "pool.others: 'similar' varies a ConvNet, but network.name is 'mlp'; set "
            "pool.main_probability = 1.0, or pool.others to 'diverse' or a list",
        ),
        (
            {"evaluation.students": []},
            "evaluation.students: got an empty list, expected at least one network",
        ),
        ({"evaluation.students": "mlp"}, "evaluation.students: got 'mlp', expected a list"),
        ({"evaluation.students": [3]}, "evaluation.students.0: got 3, expected string"),
        (
            {"evaluation.students": ["convnet-w0"]},
            "evaluation.students: network 'convnet-w0': width must be 1 to 4096 and depth 1 to 64",
        ),
        (
            {"dataset.validation_fraction": 0.2},
            "dataset.validation_fraction: got 0.2, but 'digits' has a fixed split of "
            "1200 / 197 / 400; remove the setting",
        ),
        (
            {"dataset.name": "mnist", "dataset.validation_fraction": 1.0},
            "dataset.validation_fraction: got 1.0, expected less than 1",
        ),
    ],
)
def test_wrong_values(settings: dict[str, Any], message: str) -> None:
    assert error_of(nested(settings)) == message


@pytest.mark.parametrize("section", ["dataset", "network", "pool", "kd", "evaluation", "run"])
def test_a_value_in_place_of_a_table(section: str) -> None:
    assert error_of({section: 3}) == f"{section}: got 3, expected a table of settings"


def test_settings_that_are_no_table_at_all() -> None:
    assert error_of([1], "plan.jsonl:3") == "plan.jsonl:3: got [1], expected a table of settings"


@pytest.mark.parametrize(
    "data", [{"iter": 3}, {"ipc": 5}, {"evaluation": {"students": ["mlpp"]}}, {"seed": "0"}]
)
def test_messages_start_with_the_file(data: dict[str, Any]) -> None:
    assert error_of(data, "run.toml") == f"run.toml: {error_of(data)}"


# --- defaults -------------------------------------------------------------------------------


def test_defaults_are_those_of_the_paper() -> None:
    config = make_config({})
    assert config.network.label == "convnet"
    assert (config.pool.others, config.pool.main_probability) == ("similar", 0.9)
    assert (config.lr_img, config.lr_net, config.batch_real) == (0.1, 0.01, 256)
    assert (config.kd.variant, config.kd.temperature, config.kd.alpha) == ("off", None, None)
    assert config.protocol == "held-out"


@pytest.mark.parametrize("ipc", LOOPS)
def test_loops_follow_ipc(ipc: int) -> None:
    config = config_of(ipc=ipc)
    assert (config.outer_loop, config.inner_loop) == LOOPS[ipc]


def test_given_loops_win() -> None:
    assert config_of(ipc=10, inner_loop=7).inner_loop == 7
    assert config_of(ipc=10, inner_loop=7).outer_loop == 10
    assert config_of(ipc=3, outer_loop=4, inner_loop=5).outer_loop == 4


def test_an_mlp_is_matched_with_a_smaller_rate() -> None:
    data = {"network": {"name": "mlp"}, "pool": {"main_probability": 1.0}}
    config = make_config(data)
    assert config.lr_img == 0.01
    assert make_config({**data, "lr_img": 0.3}).lr_img == 0.3
    assert TrialConfig(network=config.network, pool=config.pool) == config


@pytest.mark.parametrize("variant", ["softened", "control", "legacy"])
def test_kd_has_defaults_where_it_is_on(variant: str) -> None:
    config = config_of(kd__variant=variant)
    assert (config.kd.temperature, config.kd.alpha) == (1.5, 0.5)
    config = config_of(kd__variant=variant, kd__temperature=4, kd__alpha=0)
    assert (config.kd.temperature, config.kd.alpha) == (4.0, 0.0)


@pytest.mark.parametrize("probability", [0, 0.0, 1, 1.0])
def test_bounds_are_legal_and_whole_numbers_are_numbers(probability: float) -> None:
    value = config_of(pool__main_probability=probability).pool.main_probability
    assert value == probability
    assert type(value) is float


def test_configs_are_read_only() -> None:
    config = make_config({})
    with pytest.raises(ValidationError, match="frozen"):
        config.ipc = 10
    with pytest.raises(ValidationError, match="frozen"):
        config.pool.warmup = 10


def test_students() -> None:
    config = config_of(
        network__width=32,
        evaluation__students=["main", "mlp", "convnet-w32", "mlp", "convnet-w32-d4"],
        kd__variant="softened",
    )
    assert [student.label for student in config.students()] == [
        "convnet-w32",
        "mlp",
        "convnet-w32-d4",
    ]
    assert [student.label for student in config.unseen()] == ["mlp", "convnet-w32-d4"]
    assert config.teacher() == config.network
    assert config_of(kd__variant="legacy", kd__teacher="mlp").teacher() == Architecture(name="mlp")


# --- identity -------------------------------------------------------------------------------

# A base in which every other value is legal, and for each setting a value that differs.
BASE: dict[str, Any] = {"dataset.name": "cifar10", "kd.variant": "softened"}
OTHER: dict[str, Any] = {
    "dataset.name": "svhn",
    "dataset.root": "/elsewhere",
    "dataset.normalise_as": "svhn",
    "dataset.validation_fraction": 0.2,
    "dataset.resize": 64,
    "dataset.skip_bad": True,
    "dataset.pixels": "zca",
    "ipc": 10,
    "iterations": 7,
    "seed": 1,
    "protocol": "paper",
    "init": "real",
    "lr_img": 0.2,
    "lr_net": 0.2,
    "batch_real": 8,
    "outer_loop": 2,
    "inner_loop": 2,
    "network.name": "lenet",
    "network.width": 64,
    "network.depth": 4,
    "network.activation": "swish",
    "network.norm": "none",
    "network.pooling": "maxpooling",
    "pool.others": "diverse",
    "pool.main_probability": 1.0,
    "pool.warmup": 5,
    "pool.balanced": True,
    "pool.schedule": "linear",
    "pool.bandit.every": 3,
    "pool.bandit.arms": "members",
    "pool.bandit.exploration": 0.05,
    "pool.bandit.probes": ["convnet-w8"],
    "pool.bandit.probe_images": 3,
    "pool.bandit.probe_steps": 3,
    "threads": 2,
    "kd.variant": "legacy",
    "kd.temperature": 3.0,
    "kd.alpha": 0.25,
    "kd.teacher": "mlp",
    "elf.loss": "front_rear_task",
    "elf.distance": "l1",
    "elf.front_weight": 2.0,
    "elf.rear_weight": 0.5,
    "elf.epochs": 3,
    "evaluation.students": ["mlp"],
    "evaluation.student_seeds": 2,
    "evaluation.epochs": 11,
    "evaluation.lr": 0.5,
    "evaluation.batch": 16,
    "evaluation.augmentation": "none",
    "evaluation.optimizer": "lion",
    "evaluation.keep_rates": [1.0, 0.5],
    "run.report_every": 3,
    "precision": "tf32",
    "compile": True,
    "run.checkpoint_every": 3,
    "run.similarity_draws": 3,
    "method": "random-real",
    "kmeans.epochs": 3,
    "dsa.operations": ["crop"],
    "acc.networks": 5,
    "acc.epochs": 3,
    "acc.directions": 1,
    "acc.magnitude_min": 0.05,
    "acc.magnitude_max": 0.2,
    "idc.factor": 3,
    "idc.distance": "l1",
    "idc.net_images": 64,
}
OF_FILES = {"dataset.resize": "imagefolder", "dataset.skip_bad": "imagefolder"}
"""Settings that only datasets of one file an image have."""
WITH_ELF = {"kd.variant": "off", "elf.loss": "front_rear", "evaluation.students": ["main"]}


def changed(name: str) -> tuple[TrialConfig, TrialConfig]:
    base = {**BASE, "pool.others": "diverse"} if name == "network.name" else BASE
    base = {**base, "dataset.name": OF_FILES.get(name, base["dataset.name"])}
    table = name.split(".")[0]
    base = {**base, "method": TABLES[table][0]} if table in TABLES else base
    base = {**base, "acc.networks": 2} if table == "acc" else base
    base = {**base, **WITH_ELF} if table == "elf" else base
    if name == "evaluation.keep_rates":
        base = {**base, "evaluation.students": ["resnet18-droppath"]}
    base = {**base, "pool.schedule": "bandit"} if name.startswith("pool.bandit.") else base
    return make_config(nested(base)), make_config(nested({**base, name: OTHER[name]}))


def test_every_setting_is_tried_below() -> None:
    assert set(OTHER) == set(setting_names())


@pytest.mark.parametrize("name", OTHER)
def test_digest_changes_with_all_that_rows_depend_on(name: str) -> None:
    before, after = changed(name)
    assert before != after
    ignored = name.startswith("run.") or name == "dataset.root"
    assert (before.digest() == after.digest()) is ignored


@pytest.mark.parametrize("name", OTHER)
def test_identity_changes_with_all_that_a_set_depends_on(name: str) -> None:
    before, after = changed(name)
    ignored = name.startswith(("run.", "kd.", "elf.", "evaluation.")) or name == "dataset.root"
    assert (before.identity() == after.identity()) is ignored


def test_a_digest_is_64_hex_digits() -> None:
    digest = make_config({}).digest()
    assert len(digest) == 64
    assert int(digest, 16) >= 0


ROUND_TRIPS: list[dict[str, Any]] = [
    {},
    *(
        {name: value, **BASE, "dataset.name": OF_FILES.get(name, BASE["dataset.name"])}
        for name, value in OTHER.items()
        if name not in {*BASE, "network.name", "elf.loss"}  # the last goes without KD
    ),
    {"network.name": "mlp", "pool.main_probability": 1},
    {"network.name": "mlp", "pool.others": "diverse", "lr_img": 0.3},
    {"ipc": 3, "outer_loop": 3, "inner_loop": 4},
    {"pool.others": [{"network": "lenet", "weight": 0.25}, {"network": "vgg11", "weight": 0.75}]},
    {"kd.variant": "control", "kd.temperature": 1e-3},
]


@pytest.mark.parametrize("settings", ROUND_TRIPS)
def test_configs_survive_json(settings: dict[str, Any]) -> None:
    config = make_config(nested(settings))
    text = json.dumps(config.model_dump(mode="json"), allow_nan=False)
    again = make_config(json.loads(text))
    assert again == config
    assert again.digest() == config.digest()
    assert again.identity() == config.identity()


def test_spelling_out_defaults_changes_nothing() -> None:
    short = config_of(ipc=10, kd__variant="softened")
    long = config_of(
        ipc=10,
        outer_loop=10,
        inner_loop=50,
        kd__variant="softened",
        kd__temperature=1.5,
        kd__alpha=0.5,
        pool__main_probability=0.9,
        network__name="convnet",
    )
    assert short == long
    assert short.digest() == long.digest()


def test_configs_of_a_grid_have_different_digests() -> None:
    grid = itertools.product((1, 10), (0.0, 0.5, 1.0), range(5))
    configs = [config_of(ipc=i, pool__main_probability=p, seed=s) for i, p, s in grid]
    assert len({config.digest() for config in configs}) == len(configs)


# --- dotted names ---------------------------------------------------------------------------


def test_names_are_read_back() -> None:
    config = make_config(nested({**BASE, "pool.warmup": 7}))
    assert get_dotted(config, "pool.warmup") == 7
    assert get_dotted(config, "evaluation.students")[0] == "main"
    assert all(name in OTHER for name in setting_names())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pool", f"unknown setting 'pool'; did you mean 'pool.*'? {TOP_LEVEL}"),
        ("warmup", "unknown setting 'warmup'; did you mean 'pool.warmup'?"),
        ("pol.warmup", "unknown setting 'pol.warmup'; did you mean 'pool.warmup'?"),
        (
            "kd.alphaa",
            "unknown setting 'kd.alphaa'; did you mean 'kd.alpha'? "
            "known: kd.alpha, kd.teacher, kd.temperature, kd.variant",
        ),
    ],
)
def test_only_settings_can_be_set(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        set_dotted({}, name, 1)
    assert str(caught.value) == message


def test_a_setting_below_a_value() -> None:
    with pytest.raises(ConfigError, match=r"pool\.warmup: 'pool' holds 3, expected a table of"):
        set_dotted({"pool": 3}, "pool.warmup", 1)


@pytest.mark.parametrize("module", ["config", "search.space", "search.plan", "search.folder"])
def test_checking_needs_no_heavy_package(module: str) -> None:
    code = (
        f"import sys, harness.{module} as m; "
        "print([n for n in ('torch', 'ray', 'pandas', 'pyarrow') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "[]"
