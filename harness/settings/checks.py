"""Checks of settings against one another: what a method, a network or a recipe cannot honour.

Each raises a ValueError that says where, what was got, what was expected and how to fix it.
"""

from typing import TYPE_CHECKING

from harness.architecture import WITH_PATHS, Architecture
from harness.settings.elf import REAR_STARTS
from harness.settings.evaluation import QUICK_STUDENTS

if TYPE_CHECKING:
    from harness.config import Distillation, TrialConfig

FULL_DATA = "full-data"
"""The method whose set is all training images."""


def check_paths(config: "Distillation") -> None:
    """Networks with DropPath have layers that only a student's training uses."""
    named = () if isinstance(config.pool.others, str) else config.pool.others
    for where, name in (
        ("network.name", config.network.name),
        *(("pool.others", member.network) for member in named),
        *(("pool.bandit.probes", probe) for probe in config.pool.bandit.probes),
    ):
        if name in WITH_PATHS:
            raise ValueError(
                f"{where}: got '{name}', which is for students; use '{name.split('-')[0]}', "
                "and name it in evaluation.students"
            )


def check_idc(config: "Distillation") -> None:
    """Check what mosaics can have, and what only they have."""
    if config.method != "idc":
        if config.init == "mix":
            raise ValueError(
                f"init: got 'mix', but method '{config.method}' has no mosaics; use noise or real"
            )
        return
    if config.dataset.pixels != "normalised":
        raise ValueError(
            f"dataset.pixels: got '{config.dataset.pixels}', but method 'idc' learns pixels from "
            "0 to 1; remove the setting"
        )
    named = () if isinstance(config.pool.others, str) else config.pool.others
    drawn = {member.network for member in named if config.pool.main_probability < 1.0}
    if "mlp" in {config.network.name, *drawn}:
        raise ValueError(
            "network 'mlp': method 'idc' matches the gradients of convolutions, and it has "
            "none; use another in network.name and in pool.others"
        )


def check_balanced(config: "Distillation") -> None:
    """Losses are balanced by rows where they are sums over rows; baselines have no loss."""
    if config.pool.balanced and config.method in ("dm", "idc"):
        raise ValueError(
            f"pool.balanced: got true, but the loss of method '{config.method}' is no sum over "
            "rows; remove it, or use dc or dsa"
        )


def check_full_data(config: "TrialConfig") -> None:
    """Students of all real images have a recipe of their own."""
    if config.method != FULL_DATA:
        return
    if config.kd.variant != "off":
        raise ValueError(
            f"kd.variant: got '{config.kd.variant}', but method 'full-data' has no distilled set "
            "to train a teacher on; set kd.variant = 'off'"
        )
    if config.evaluation.augmentation not in ("auto", "none"):
        raise ValueError(
            f"evaluation.augmentation: got '{config.evaluation.augmentation}', but method "
            "'full-data' trains without; remove the setting"
        )
    if config.evaluation.optimizer != "sgd":
        raise ValueError(
            f"evaluation.optimizer: got '{config.evaluation.optimizer}', but method 'full-data' "
            "trains by DD-Ranking's recipe; remove the setting"
        )
    for student in config.students():
        if student.name in WITH_PATHS:
            raise ValueError(
                f"evaluation.students: got '{student.label}', whose DropPath is for distilled "
                "sets, but method 'full-data' has none; name another"
            )


def check_elf(config: "TrialConfig") -> None:
    """What ELF can split, and what it goes with."""
    if not config.elf.terms:
        return
    got = f"elf.loss: got '{config.elf.loss}', but"
    if config.kd.variant != "off":
        raise ValueError(
            f"{got} kd.variant is '{config.kd.variant}', and a student follows one thing; set "
            "one of the two to 'off'"
        )
    if config.method == FULL_DATA:
        raise ValueError(
            f"{got} method 'full-data' has no distilled set to take features of; set "
            "elf.loss = 'off'"
        )
    works = ", ".join(REAR_STARTS)
    for student in config.students():
        if student.name not in REAR_STARTS:
            raise ValueError(
                f"{got} student '{student.label}' has no split point; use {works} in "
                "evaluation.students"
            )
    if config.elf.needs_features and config.network.name != "convnet":
        raise ValueError(
            f"{got} its features are those of a ConvNet, and network.name is "
            f"'{config.network.name}'; set network.name = 'convnet'"
        )
    signed = config.network.activation not in ("relu", "sigmoid")
    if "front" in config.elf.terms and config.elf.distance == "ce" and signed:
        raise ValueError(
            f"elf.distance: got 'ce', whose weights are features, but those of activation "
            f"'{config.network.activation}' may be negative; use 'l2', 'l1' or 'cosine'"
        )


def check_probes(config: "TrialConfig") -> None:
    """What a bandit is rewarded by is never what the trial, or a report on its way, scores."""
    if config.pool.schedule != "bandit":
        return
    quick = {Architecture(name=name) for name in QUICK_STUDENTS}
    for name in config.pool.bandit.probes:
        probe = Architecture.parse(name)
        where = "evaluation.students" if probe in config.students() else "the quick scores"
        if probe in {*config.students(), *quick}:
            raise ValueError(
                f"pool.bandit.probes: got '{name}', which is also a network of {where}, "
                "expected one that the trial is not judged on; name another"
            )
