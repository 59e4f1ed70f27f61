"""TensorBoard, as ``harness board`` starts it, on a search of 300 trials, in a real browser."""

import json
import re
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from harness.tracking import IMAGE_STEPS
from tests.browser.conftest import ROOT, Browser
from tests.stored import write_search

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
TRIALS = 300
RUN = "variant=softened main_probability=0.8 others=similar temperature=4 seed=0"
COLUMNS = ("kd.variant", "pool.main_probability", "pool.others", "kd.temperature", "seed")
METRICS = ("validation/unseen_mean", "test/unseen_mean", "cost/distill_cost_s")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a board, which ends by Ctrl-C without a word of complaint."""
    folder = tmp_path_factory.mktemp("searches") / "stored"
    write_search(folder, TRIALS)
    command = [sys.executable, "-m", "harness", "board", str(folder)]
    # A job in a shell's background ignores Ctrl-C, and would hand that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    board = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert board.stdout is not None
    first = board.stdout.readline()
    found = re.fullmatch(rf"{TRIALS} trials at (http://127\.0\.0\.1:\d+/)\n", first)
    assert found is not None, first
    yield found[1]
    board.send_signal(signal.SIGINT)
    _, err = board.communicate(timeout=60)
    assert board.returncode == 0
    assert "Traceback" not in err


def ask(address: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the plugins' own HTTP interface, which the pages use."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{address}data/plugin/{path}", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def sessions(address: str) -> list[dict[str, Any]]:
    asked = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_UNKNOWN"],
        "colParams": [{"hparam": name} for name in COLUMNS],
        "startIndex": 0,
        "sliceSize": 10_000,
    }
    found: list[dict[str, Any]] = ask(address, "hparams/session_groups", asked)["sessionGroups"]
    return found


def test_all_trials_are_sessions_with_typed_values(address: str, browser: Browser) -> None:
    # TensorBoard reads behind its first page.
    browser.wait(lambda: len(sessions(address)) == TRIALS, "300 sessions", seconds=180)
    browser.wait(
        lambda: all(group["sessions"][0].get("endTimeSecs") for group in sessions(address)),
        "all sessions ended",
    )
    found = sessions(address)
    states = [group["sessions"][0]["status"] for group in found]
    assert states.count("STATUS_FAILURE") == TRIALS // 25
    assert states.count("STATUS_SUCCESS") == TRIALS - TRIALS // 25
    for group in found:
        own = group["hparams"]
        assert ("kd.temperature" in own) == (own["kd.variant"] == "softened")
        assert own["pool.others"] in ("similar", "lenet:0.5+mlp:0.5")
    infos = ask(address, "hparams/experiment", {"experimentName": ""})["hparamInfos"]
    kinds = {info["name"]: info["type"].removeprefix("DATA_TYPE_") for info in infos}
    assert [kinds[name] for name in COLUMNS] == [
        "STRING",
        "FLOAT64",
        "STRING",
        "FLOAT64",
        "FLOAT64",
    ]


def test_the_table_shows_every_column(address: str, browser: Browser) -> None:
    browser.wait(lambda: len(sessions(address)) == TRIALS, "300 sessions", seconds=180)
    browser.open(f"{address}#hparams")
    wanted = {*COLUMNS, *METRICS, "lenet:0.5+mlp:0.5", "off"}

    def missing() -> set[str]:
        return wanted - set(browser.text().splitlines())

    browser.wait(lambda: not missing(), "every column of the HParams table", seconds=240)
    browser.shoot("tensorboard-hparams")
    assert browser.outside(address) == []


def test_curves_and_images_are_shown(address: str, browser: Browser) -> None:
    tags = f"images/tags?{urllib.parse.urlencode({'experiment': ''})}"
    browser.wait(lambda: RUN in ask(address, tags), "the trial's images", seconds=180)
    query = urllib.parse.urlencode({"run": RUN, "tag": "distilled", "sample": 0})
    steps = [image["step"] for image in ask(address, f"images/images?{query}")]
    assert len(steps) == IMAGE_STEPS
    assert steps[-1] == 60
    only = urllib.parse.urlencode({"runFilter": f"^{RUN}$", "tagFilter": "matching_loss|distilled"})
    browser.open(f"{address}?{only}#timeseries")
    browser.wait(lambda: curves(browser) and shown_images(browser), "a curve and an image", 240)
    assert "matching_loss" in browser.text()
    browser.shoot("tensorboard-timeseries")
    assert browser.outside(address) == []


def shown_images(browser: Browser) -> list[Any]:
    """Pictures of distilled sets that have been drawn."""
    drawn = "return arguments[0].complete && arguments[0].naturalWidth > 0"
    images = browser.find("image-card img")
    return [image for image in images if browser.driver.execute_script(drawn, image)]


def curves(browser: Browser) -> bool:
    """Whether a curve's table names the trial."""
    return bool(browser.find("scalar-card canvas, scalar-card svg")) and RUN in browser.text()
