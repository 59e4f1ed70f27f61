"""Tests of analysis.figures.images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from analysis.figures.images import distilled_images, draw_images, image_figure
from analysis.load import load_search
from analysis.report.pictures import make_gallery
from harness.errors import ResultError
from harness.schema import IMAGES_FILE, TRIALS_FOLDER

MakeSearch = Callable[..., Path]
P = "pool.main_probability"
SIDE = 6  # four pixels and a border


def grid(shade: int, per_class: int = 2, classes: int = 3) -> np.ndarray[Any, Any]:
    """A picture whose shade rises by one a row of images, and by 100 to the next image."""
    rows = np.repeat(np.arange(classes), SIDE)[:, None]
    columns = np.repeat(np.arange(per_class), SIDE)[None]
    return (shade + rows + 100 * columns).astype("uint8")


def write(folder: Path, number: int, pixels: np.ndarray[Any, Any]) -> None:
    place = folder / TRIALS_FOLDER / f"{number:05d}-abcd" / IMAGES_FILE
    Image.fromarray(pixels).save(place)


@pytest.fixture
def folder(make_search: MakeSearch) -> Path:
    """Three probabilities, the second with KD off and on."""
    points = [(0.0, "off", 0.4), (0.5, "off", 0.6), (0.5, "softened", 0.7), (1.0, "off", 0.5)]
    trials = [
        {"point": {P: p, "kd.variant": kd, "ipc": 2}, "students": {"mlp": [mean]}}
        for p, kd, mean in points
    ]
    made = make_search(trials, varied=[P, "kd.variant", "ipc"])
    for number in range(4):
        write(made, number, grid(10 * number))
    return made


def test_one_set_a_distillation_best_first(folder: Path) -> None:
    sets = distilled_images(load_search(folder))
    assert sets["distillation"].tolist() == [f"{P} = {p}, ipc = 2" for p in ("0.5", "1", "0")]
    assert sets["mean"].tolist() == pytest.approx([0.7, 0.5, 0.4])
    assert sets["trial_id"].tolist() == ["00002-abcd", "00003-abcd", "00000-abcd"]
    assert sets["place"].tolist() == [1, 2, 0]
    assert sets["per_class"].tolist() == [2, 2, 2]
    assert sets["classes"].tolist() == [3, 3, 3]


def test_columns_are_configurations_in_their_order(folder: Path) -> None:
    drawn = image_figure(load_search(folder))
    shown = [panel.images[0].get_array() for panel in drawn.figure.axes]
    assert [int(pixels[0, 0]) for pixels in shown] == [0, 20, 30]
    # Rows are classes, in the same order; two images of each are shown.
    assert [int(value) for value in shown[1][::SIDE, 0]] == [20, 21, 22]
    assert shown[1].shape == (3 * SIDE, 2 * SIDE)


def test_the_best_and_the_worst_of_many(make_search: MakeSearch) -> None:
    trials = [{"point": {P: n / 10}, "students": {"mlp": [n / 10]}} for n in range(1, 9)]
    made = make_search(trials, varied=[P])
    for number in range(8):
        write(made, number, grid(10 * number, per_class=1, classes=12))
    drawn = image_figure(load_search(made))
    assert len(drawn.frame) == 8
    shown = [panel.images[0].get_array() for panel in drawn.figure.axes]
    assert [int(pixels[0, 0]) for pixels in shown] == [70, 60, 50, 10, 0]
    assert {pixels.shape for pixels in shown} == {(10 * SIDE, SIDE)}
    assert "The 3 best and the 2 worst of 8. The first 10 classes." in drawn.caption


def test_images_of_idc_are_more_than_its_ipc(make_search: MakeSearch) -> None:
    trial = {
        "point": {"method": "idc"},
        "students": {"mlp": [0.5]},
        "config": {"method": "idc", "idc": {"factor": 2}},
    }
    made = make_search([trial], varied=["method"])
    write(made, 0, grid(0, per_class=4, classes=3) // 2)
    (row,) = distilled_images(load_search(made)).to_dict("records")
    assert (row["per_class"], row["classes"]) == (4, 3)
    # The report turns the same grid: a column a class.
    (picture,) = make_gallery(load_search(made)).pictures
    assert (picture.width, picture.height) == (3 * SIDE, 4 * SIDE)


def test_pictures_that_are_none(folder: Path) -> None:
    for number, data in enumerate((b"", b"no picture")):
        (folder / TRIALS_FOLDER / f"{number:05d}-abcd" / IMAGES_FILE).write_bytes(data)
    write(folder, 2, np.zeros((7, 12), dtype="uint8"))  # no grid of squares
    sets = distilled_images(load_search(folder))
    assert sets["trial_id"].tolist() == ["00003-abcd"]
    cut = Path(sets["path"].iloc[0])
    cut.write_bytes(cut.read_bytes()[:-30])
    with pytest.raises(ResultError, match=r"images\.png: cannot be read"):
        draw_images(sets)
    cut.unlink()
    with pytest.raises(ResultError, match=r"demo: no finished trial has images\.png"):
        image_figure(load_search(folder))
