"""Tests of what a teacher gains on published sets."""

from collections.abc import Mapping, Sequence

import pandas as pd
import pytest

from analysis.published_sets import published_sets
from analysis.published_teacher import (
    published_gains,
    published_teacher_table,
    published_teacher_words,
)

UNSEEN_FIVE = ("mlp", "lenet", "alexnet", "vgg11", "resnet18")
POOL_SET = "modelpool_res_DC_CIFAR10_ConvNet_1ipc_3000#0"
OFF, CONTROL, SOFTENED = ("off", None, None), ("control", 0.5, 1.5), ("softened", 0.5, 1.5)
SEEDS = {OFF: (0.20, 0.22, 0.24), CONTROL: (0.19, 0.23, 0.21), SOFTENED: (0.23, 0.26, 0.29)}


def _rows(
    arms: Mapping[tuple[object, ...], Sequence[float | None]] = SEEDS,
    students: Sequence[str] = UNSEEN_FIVE,
    name: str = POOL_SET,
) -> pd.DataFrame:
    """Networks that all students have the same accuracy of; None diverged."""
    return pd.DataFrame(
        [
            {"trial_id": name, "ipc": 1, "split": "test", "method": "foreign", "student": student}
            | {"kd_variant": kd, "kd_alpha": alpha, "kd_temperature": temperature}
            | {"student_seed": seed, "accuracy": value}
            | {"status": "diverged" if value is None else "ok"}
            for (kd, alpha, temperature), values in arms.items()
            for student in students
            for seed, value in enumerate(values)
        ]
    )


def test_a_gain_is_its_step_and_its_transfer_seed_by_seed() -> None:
    random = _rows({SOFTENED: (0.1, 0.1, 0.1)}).assign(method="random-real")
    frame = published_gains(pd.concat([_rows(), random], ignore_index=True))
    frame = frame.set_index(["student", "part"])
    # By hand: gains of 3, 4 and 5 points, steps of -1, 1 and -3, transfer of 4, 3 and 8.
    gain = frame.loc[("unseen", "gain")]
    assert gain[["mean", "low", "high"]].tolist() == pytest.approx(
        [0.04, 0.04 - 4.3027 * 0.01 / 3**0.5, 0.04 + 4.3027 * 0.01 / 3**0.5], abs=1e-5
    )
    assert frame.loc[("vgg11", "step"), "mean"] == pytest.approx(-0.01)
    assert frame.loc[("vgg11", "transfer"), "mean"] == pytest.approx(0.05)
    assert (frame["n"] == 3).all()
    # Table 4, 1000 iterations: 22.03% with a teacher, 15.17% without.
    table4 = frame.loc["resnet18", "table4"]
    assert table4["accuracy"] == pytest.approx(0.2203)
    assert table4["gain"] == pytest.approx(0.2203 - 0.1517)
    assert table4[["step", "transfer"]].isna().all()


def test_networks_that_diverged_in_an_arm_are_in_no_difference() -> None:
    rows = _rows({**SEEDS, CONTROL: (0.19, None, 0.21)}, ("mlp",))
    frame = published_gains(rows).set_index("part")
    assert frame["n"].to_dict() == {"accuracy": 3, "gain": 3, "step": 2, "transfer": 2}
    assert frame["diverged"].to_dict() == {"accuracy": 0, "gain": 0, "step": 1, "transfer": 1}
    assert frame.loc["transfer", "mean"] == pytest.approx(0.06)
    # Of a set's five students one network diverged: that seed has no mean over all five.
    lost = _rows({SOFTENED: (None, 0.2, 0.3)}, ("alexnet",))
    others = _rows(SEEDS, ("mlp", "lenet", "vgg11", "resnet18"))
    frame = published_gains(pd.concat([lost, others], ignore_index=True))
    (mean,) = frame[frame["student"] == "unseen"].to_dict("records")
    assert (mean["part"], mean["n"], mean["diverged"]) == ("accuracy", 2, 1)


def test_arms_that_were_not_trained_have_no_part() -> None:
    alone = {SOFTENED: SEEDS[SOFTENED], ("control", 0.9, 1.5): (0.1, 0.1, 0.1)}
    frame = published_gains(_rows(alone, ("mlp",), name="another#0"))
    assert frame["part"].tolist() == ["accuracy"]
    assert frame["table4"].isna().all()
    cells = published_teacher_table(_rows(alone, ("mlp",), name="another#0")).cells
    (line,) = cells.rows
    accuracy = "26.0 [18.5, 33.5], n = 3"
    assert line[:6] == ("another#0", "softened", "0.5", "1.5", "mlp", accuracy)
    assert set(line[6:]) == {"-"}
    assert published_teacher_words(_rows(alone, ("mlp",), name="another#0")) == [
        "another#0, mlp, softened KD at alpha 0.5 and temperature 1.5: 26.0% [18.5, 33.5], n = 3"
    ]


def test_each_alpha_and_temperature_is_a_line_of_its_own() -> None:
    hotter = ("softened", 0.5, 4.0)
    frame = published_gains(_rows({**SEEDS, hotter: (0.3, 0.3, 0.3)}, ("mlp",)))
    means = frame[frame["part"] == "accuracy"].set_index("temperature")["mean"]
    assert means.to_dict() == pytest.approx({1.5: 0.26, 4.0: 0.3})


def test_the_mean_over_all_five_is_said_in_words() -> None:
    legacy = ("legacy", 0.5, 1.5)
    one = _rows({legacy: (0.21, 0.22, 0.23)}, ("resnet18",))
    said = published_teacher_words(pd.concat([_rows(), one], ignore_index=True))
    setting = "at alpha 0.5 and temperature 1.5"
    assert said == [
        f"{POOL_SET}, resnet18, legacy KD {setting}: 22.0% [19.5, 24.5], n = 3; a gain of "
        "0.0 points [-2.5, 2.5], n = 3, over the whole loss, of it the smaller step alone "
        "-1.0 points [-6.0, 4.0], n = 3, transfer 1.0 points [-3.3, 5.3], n = 3; Table 4 has "
        "22.0%, a gain of 6.9 points over its row without a teacher",
        f"{POOL_SET}, mean over the five unseen students, softened KD {setting}: 26.0% "
        "[18.5, 33.5], n = 3; a gain of 4.0 points [1.5, 6.5], n = 3, over the whole loss, of it "
        "the smaller step alone -1.0 points [-6.0, 4.0], n = 3, transfer 5.0 points [-1.6, 11.6], "
        "n = 3; Table 4 has 24.2%, a gain of 1.8 points over its row without a teacher",
        f"{POOL_SET}, softened KD {setting}, gain by student: "
        + "; ".join(f"{student} 4.0 points [1.5, 6.5], n = 3" for student in UNSEEN_FIVE),
    ]


def test_students_of_which_all_diverged_have_no_mean() -> None:
    others = _rows(SEEDS, ("mlp", "alexnet", "vgg11", "resnet18"))
    lost = _rows({**SEEDS, SOFTENED: (None, None, None)}, ("lenet",))
    rows = pd.concat([others, lost], ignore_index=True)
    setting = "softened KD at alpha 0.5 and temperature 1.5"
    known = "4.0 points [1.5, 6.5], n = 3"
    assert published_teacher_words(rows) == [
        f"{POOL_SET}, mean over the five unseen students, {setting}: no mean, since a network "
        "diverged at each of 3 seeds; Table 4 has 24.2%, a gain of 1.8 points over its row without "
        "a teacher",
        f"{POOL_SET}, {setting}, gain by student: mlp {known}; lenet unknown, 3 diverged; "
        f"alexnet {known}; vgg11 {known}; resnet18 {known}",
    ]
    cells = published_teacher_table(rows).cells
    (line,) = [line for line in cells.rows if line[4] == "lenet"]
    assert line[5:9] == (
        "-, 3 diverged", "-, 3 diverged", "-1.0 [-6.0, 4.0], n = 3", "-, 3 diverged",
    )  # fmt: skip


def test_students_with_a_teacher_are_no_part_of_those_without() -> None:
    frame = published_sets(_rows())
    assert set(frame["loss"]) == {"whole", "half"}
    other = published_sets(_rows({("control", 0.9, 1.5): (0.1, 0.1, 0.1)}))
    assert other.empty


def test_nothing_scored_is_an_empty_frame() -> None:
    assert published_gains(pd.DataFrame()).empty
    assert published_gains(_rows({OFF: SEEDS[OFF]})).empty
    assert published_teacher_words(pd.DataFrame()) == []
    assert published_teacher_table(pd.DataFrame()).cells.rows == ()
