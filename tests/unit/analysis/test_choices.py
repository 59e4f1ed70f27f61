"""Tests of analysis.choices, by arithmetic that can be done by hand."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from analysis.choices import carry_over, carry_over_table, chosen, chosen_table
from analysis.load import SearchResults, load_search
from harness.errors import ConfigError

MakeSearch = Callable[..., Path]
P = "pool.main_probability"
Arms = Mapping[float, Mapping[str, Sequence[float]]]


def search(make_search: MakeSearch, arms: Arms) -> SearchResults:
    """Accuracies by probability and student, one a replicate; test ones are 0.02 lower."""
    trials = [
        {
            "point": {P: value},
            "replicate": replicate,
            "students": {
                "convnet": [0.9],
                **{name: [accuracies[replicate]] for name, accuracies in students.items()},
            },
        }
        for value, students in arms.items()
        for replicate in range(len(next(iter(students.values()))))
    ]
    return load_search(make_search(trials, varied=[P]))


def test_a_student_is_judged_at_what_the_others_choose(make_search: MakeSearch) -> None:
    results = search(
        make_search,
        {
            0.5: {"mlp": [0.60, 0.62, 0.61], "lenet": [0.40, 0.42, 0.41]},
            1.0: {"mlp": [0.50, 0.52, 0.54], "lenet": [0.50, 0.50, 0.50]},
        },
    )
    frame = carry_over(results).set_index("student")
    # LeNet alone chooses 1.0, where the MLP is at plain distillation: no gain; its own choice of
    # 0.5 would have gained (0.10 + 0.10 + 0.07) / 3.
    assert tuple(frame.loc["mlp", ["value", "own_value", "n"]]) == (1.0, 0.5, 3)
    assert frame.loc["mlp", "gain"] == 0.0
    assert frame.loc["mlp", "missed"] == pytest.approx(0.09)
    # The MLP alone chooses 0.5, where LeNet loses (0.10 + 0.08 + 0.09) / 3.
    assert tuple(frame.loc["lenet", ["value", "own_value", "reference"]]) == (0.5, 1.0, 1.0)
    assert frame.loc["lenet", "gain"] == pytest.approx(-0.09)
    assert frame.loc["lenet", "gain_low"] < -0.09 < frame.loc["lenet", "gain_high"] < 0
    assert frame.loc["lenet", "missed"] == pytest.approx(0.09)
    assert carry_over_table(results).cells.rows[1][:4] == ("lenet", "0.5", "1", "-9.0")


def test_a_replicate_has_no_say_in_the_choice_it_is_judged_by(make_search: MakeSearch) -> None:
    # Without replicate 0, LeNet chooses 1.0; without 1 or 2, replicate 0 decides for 0.5.
    results = search(
        make_search,
        {
            0.5: {"mlp": [0.80, 0.70, 0.60], "lenet": [0.90, 0.48, 0.48]},
            1.0: {"mlp": [0.50, 0.50, 0.50], "lenet": [0.50, 0.50, 0.50]},
        },
    )
    row = carry_over(results).set_index("student").loc["mlp"]
    assert row["value"] == 0.5
    # Replicate 0 is judged at 1.0 (gain 0), 1 and 2 at 0.5 (gains 0.20 and 0.10), where all three
    # would gain 0.20 if each had a say in its own judgement.
    assert row["gain"] == pytest.approx((0.0 + 0.20 + 0.10) / 3)


def test_only_shared_replicates_count(make_search: MakeSearch) -> None:
    arms = {
        0.5: {"mlp": [0.60, 0.62, 0.61], "lenet": [0.60, 0.62, 0.61]},
        1.0: {"mlp": [0.50, 0.52], "lenet": [0.50, 0.52]},
    }
    frame = carry_over(search(make_search, arms))
    assert list(frame["n"]) == [2, 2]
    assert not frame["settled"].any()
    assert list(frame["more_replicates"]) == [1.0, 1.0]


@pytest.mark.parametrize(
    "arms",
    [
        {0.5: {"mlp": [0.6, 0.6]}, 1.0: {"mlp": [0.5, 0.5]}},
        {0.5: {"mlp": [0.6], "lenet": [0.6]}, 1.0: {"mlp": [0.5], "lenet": [0.5]}},
    ],
    ids=["one unseen student", "one replicate"],
)
def test_nobody_to_choose_is_an_empty_frame(make_search: MakeSearch, arms: Arms) -> None:
    results = search(make_search, arms)
    assert carry_over(results).empty
    assert carry_over_table(results).cells.rows == ()


def test_a_search_without_plain_distillation_has_no_gain(make_search: MakeSearch) -> None:
    arms = {
        0.5: {"mlp": [0.60, 0.62], "lenet": [0.60, 0.62]},
        0.9: {"mlp": [0.50, 0.52], "lenet": [0.70, 0.72]},
    }
    row = carry_over(search(make_search, arms)).set_index("student").loc["mlp"]
    assert row[["reference", "gain"]].isna().all()
    assert row["missed"] == pytest.approx(0.10)


def test_the_chosen_value_on_test_images(make_search: MakeSearch) -> None:
    results = search(
        make_search,
        {
            0.5: {"mlp": [0.60, 0.62, 0.61], "lenet": [0.60, 0.62, 0.61]},
            1.0: {"mlp": [0.50, 0.54, 0.52], "lenet": [0.50, 0.54, 0.52]},
        },
    )
    (row,) = chosen(results).to_dict("records")
    assert (row["value"], row["reference"], row["n"], row["n_paired"]) == (0.5, 1.0, 3, 3)
    assert row["mean"] == pytest.approx(0.59)
    assert row["difference"] == pytest.approx(0.09)
    assert row["low"] < 0.59 < row["high"]
    assert chosen_table(results).cells.rows[0][:2] == ("0.5", "59.0")


def test_another_setting_than_a_number_is_refused(make_search: MakeSearch) -> None:
    results = search(make_search, {0.5: {"mlp": [0.6]}, 1.0: {"mlp": [0.5]}})
    for function in (chosen, carry_over):
        with pytest.raises(ConfigError, match="method"):
            function(results, "method")


def test_protocol_paper_has_no_images_to_choose_by(make_search: MakeSearch) -> None:
    trials = [
        {"point": {P: p}, "replicate": r, "students": {"mlp": [p / 2], "lenet": [p / 2]}}
        for p in (0.5, 1.0)
        for r in range(3)
    ]
    results = load_search(make_search(trials, varied=[P], protocol="paper"))
    assert chosen(results).empty
    assert carry_over(results).empty


def test_a_search_of_no_number_has_empty_tables(make_search: MakeSearch) -> None:
    trials = [{"point": {"method": m}, "students": {"mlp": [0.5]}} for m in ("dc", "dsa")]
    results = load_search(make_search(trials, varied=["method"]))
    assert chosen_table(results).cells.rows == carry_over_table(results).cells.rows == ()
