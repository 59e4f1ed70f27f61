"""Diagnostics: when each fires, when it does not, and values worked out by hand."""

import json
import math
from collections.abc import Sequence

import pytest
import torch
from scipy.stats import theilslopes
from torch import Tensor

from harness.diagnostics import (
    MIN_CLASS_SPREAD,
    MIN_LOSS_DROP,
    Diagnostic,
    classes_collapsed,
    kd_below_control,
    matching_loss_flat,
    matching_loss_slope,
)

# --- Slope of the matching loss ---------------------------------------------------------------


@pytest.mark.parametrize("n", [20, 50])
def test_a_slope_is_that_of_theil_and_sen(n: int) -> None:
    """Up to 50 draws are points of their own, as scipy has them."""
    noise = torch.randn(2 * n, generator=torch.Generator().manual_seed(n)).tolist()
    losses = [math.exp(3 - 0.01 * i + 0.3 * noise[i]) for i in range(2 * n)]
    draws = ["main" if i % 2 == 0 else "other" for i in range(2 * n)]
    expected = theilslopes([math.log(loss) for loss in losses[::2]], range(0, 2 * n, 2)).slope
    assert matching_loss_slope(losses, draws, "main") == pytest.approx(expected, rel=1e-9)


def test_a_long_slope_is_not_moved_by_outliers_nor_by_other_networks() -> None:
    losses = [100 * math.exp(-0.002 * i) for i in range(3000)]
    draws = ["other" if i % 10 == 0 else "main" for i in range(3000)]
    for i in range(0, 3000, 10):
        losses[i] = 1e9
    for i in range(5, 3000, 50):
        losses[i] = 1e6 if i % 100 == 5 else math.nan
    assert matching_loss_slope(losses, draws, "main") == pytest.approx(-0.002, rel=0.02)


def test_few_draws_of_the_main_model_have_no_slope() -> None:
    assert matching_loss_slope([1.0] * 40, ["main"] * 19 + ["other"] * 21, "main") is None
    assert matching_loss_slope([1.0] * 40, ["main"] * 20 + ["other"] * 20, "main") == 0.0
    assert matching_loss_slope([], [], "main") is None


def falling(first: float, last: float, n: int = 20) -> list[float]:
    """The first tenth at one value, the last at another, and something high between."""
    tenth = n // 10
    return [first] * tenth + [99.0] * (n - 2 * tenth) + [last] * tenth


def pixels(*values: Sequence[float]) -> Tensor:
    """One image of 1x1x1 for each value, one sequence a class."""
    return torch.tensor([value for group in values for value in group]).reshape(-1, 1, 1, 1)


def assert_silent(found: Diagnostic) -> None:
    assert found["value"] is None
    assert not found["fired"]


# --- Matching loss --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "drop", "fired"),
    [
        (10.0, 5.0, 0.5, False),
        (10.0, 9.4, 0.06, False),
        (10.0, 9.6, 0.04, True),
        (10.0, 10.0, 0.0, True),
        (10.0, 12.0, -0.2, True),
        (0.0, 0.0, 0.0, True),
    ],
)
@pytest.mark.parametrize("n", [20, 57])
def test_the_loss_is_flat_where_it_hardly_drops(
    first: float, last: float, drop: float, fired: bool, n: int
) -> None:
    found = matching_loss_flat(falling(first, last, n), ["convnet"] * n)
    assert found["value"] == pytest.approx(drop)
    assert found["fired"] is fired
    assert found["threshold"] == MIN_LOSS_DROP


def test_the_ends_are_medians() -> None:
    losses = falling(10.0, 5.0, 30)
    losses[0], losses[-1] = 1000.0, 0.0
    assert matching_loss_flat(losses, ["convnet"] * 30)["value"] == pytest.approx(0.5)


def test_only_the_most_frequent_architecture_counts() -> None:
    losses, draws = [], []
    for loss in falling(10.0, 5.0):
        losses += [loss, 1.0]
        draws += ["convnet", "lenet"]
    losses.append(10.0)
    draws.append("convnet")
    losses[-1] = 5.0
    assert matching_loss_flat(losses, draws)["value"] == pytest.approx(0.5)


def test_equally_frequent_architectures_are_taken_in_the_order_of_their_labels() -> None:
    losses = [value for loss in falling(10.0, 5.0) for value in (1.0, loss)]
    found = matching_loss_flat(losses, ["vgg11", "convnet"] * 20)
    assert found["value"] == pytest.approx(0.5)


@pytest.mark.parametrize("n", [0, 1, 19])
def test_too_few_iterations_say_nothing(n: int) -> None:
    assert_silent(matching_loss_flat([1.0] * n, ["convnet"] * n))


def test_many_iterations_of_many_architectures_say_nothing() -> None:
    draws = ["convnet", "lenet", "mlp"] * 10
    assert_silent(matching_loss_flat([1.0] * 30, draws))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_losses_that_are_not_finite_are_left_out(value: float) -> None:
    losses = [*falling(10.0, 5.0), value, value, value, value]
    found = matching_loss_flat(losses, ["convnet"] * 24)
    assert found["value"] == pytest.approx(0.5)
    assert_silent(matching_loss_flat([value] * 40, ["convnet"] * 40))


def test_losses_and_draws_belong_together() -> None:
    with pytest.raises(ValueError, match="zip"):
        matching_loss_flat([1.0] * 30, ["convnet"] * 29)


# --- Classes --------------------------------------------------------------------------------


def test_the_spread_of_the_worst_class_counts() -> None:
    # Within: 1 and 2. Between: (10 + 12 + 9 + 11) / 4 = 10.5.
    found = classes_collapsed(pixels([0, 1], [10, 12]), 2)
    assert found["value"] == pytest.approx(1 / 10.5)
    assert not found["fired"]
    assert found["threshold"] == MIN_CLASS_SPREAD


def test_a_class_of_equal_images_has_collapsed() -> None:
    found = classes_collapsed(pixels([0, 1], [10, 10.01]), 2)
    assert found["value"] == pytest.approx(0.01 / 9.505, rel=1e-3)
    assert found["fired"]


def test_three_images_a_class() -> None:
    # Within: 4/3 each. Between: 81 + 9 distances of pixels that are 10 apart on average.
    found = classes_collapsed(pixels([0, 1, 2], [10, 11, 12]), 3)
    assert found["value"] == pytest.approx((4 / 3) / 10)


def test_the_spread_has_no_unit() -> None:
    images = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    one, other = classes_collapsed(images, 2), classes_collapsed(100 * images + 7, 2)
    assert one["value"] == pytest.approx(other["value"], rel=1e-4)
    assert one["value"] == pytest.approx(1.0, abs=0.2)


def test_one_image_a_class_cannot_collapse() -> None:
    assert_silent(classes_collapsed(pixels([0], [1]), 1))


def test_images_that_are_all_equal_have_collapsed() -> None:
    found = classes_collapsed(pixels([1, 1], [1, 1]), 2)
    assert found["value"] == 0.0
    assert found["fired"]


@pytest.mark.parametrize(
    "images",
    [pixels([0, 1]), pixels([0, math.nan], [1, 2])],
    ids=["one class", "not finite"],
)
def test_a_ratio_that_is_no_number_says_nothing(images: Tensor) -> None:
    assert_silent(classes_collapsed(images, 2))


# --- Knowledge distillation -----------------------------------------------------------------


@pytest.mark.parametrize(("gain", "fired"), [(0.1, False), (0.0, False), (-0.01, True)])
def test_kd_is_below_its_control_where_it_loses(gain: float, fired: bool) -> None:
    found = kd_below_control(gain)
    assert found["value"] == gain
    assert found["fired"] is fired


def test_without_kd_there_is_nothing_to_compare() -> None:
    assert_silent(kd_below_control(None))


def test_diagnostics_are_plain_data() -> None:
    for found in (
        matching_loss_flat(falling(10.0, 5.0), ["convnet"] * 20),
        classes_collapsed(pixels([0, 1], [10, 12]), 2),
        kd_below_control(-0.5),
    ):
        assert set(found) == {"fired", "value", "threshold", "meaning"}
        assert json.loads(json.dumps(found, allow_nan=False)) == found
