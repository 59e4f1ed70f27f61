"""The report, as ``harness report`` writes it, in a real browser: at a desk and on a phone."""

import subprocess
import sys
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.browser.conftest import PHONE, ROOT, Browser
from tests.stored import write_search

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
TRIALS = 510
_COLUMN = """
const [table, place] = arguments;
return [...table.tBodies[0].rows].map((row) => row.cells[place].textContent);
"""


def write_report(*searches: Path) -> Path:
    command = [sys.executable, "-m", "harness", "report", *map(str, searches)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return searches[0] / "report.html"


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored search of 510 trials."""
    folder = tmp_path_factory.mktemp("report") / "stored"
    write_search(folder, TRIALS, events=False)
    return folder


@pytest.fixture(scope="module")
def report(search: Path) -> Path:
    """Its report."""
    return write_report(search)


def texts(browser: Browser, table: WebElement, place: int) -> list[str]:
    """A column of a table, in the order of the rows."""
    found: list[str] = browser.driver.execute_script(_COLUMN, table, place)
    return found


def header(table: WebElement, name: str) -> tuple[int, WebElement]:
    """Place and button of a column."""
    for place, cell in enumerate(table.find_elements("css selector", "thead th")):
        if cell.get_property("textContent") == name:
            return place, cell.find_element("css selector", "button")
    raise AssertionError(f"no column {name}")


def numbers(column: list[str]) -> list[float]:
    return [float(text.removesuffix(" *")) for text in column]


def is_drawn(browser: Browser, image: WebElement) -> bool:
    drawn = "return arguments[0].complete && arguments[0].naturalWidth > 0"
    return bool(browser.driver.execute_script(drawn, image))


def page_width(browser: Browser) -> int:
    return int(browser.driver.execute_script("return document.documentElement.scrollWidth"))


def test_a_report_opens_from_disk(report: Path, browser: Browser) -> None:
    assert report.stat().st_size < 5_000_000
    browser.open(report)
    figures, images = browser.find("figure svg"), browser.find("figure img")
    assert len(figures) >= 5
    assert len(images) == 6
    assert all(figure.size["width"] > 100 and figure.size["height"] > 50 for figure in figures)
    assert all(is_drawn(browser, image) and image.size["width"] > 100 for image in images)
    answer = browser.find(".answer")[0]
    assert answer.text.startswith("Best configuration: pool.main_probability = 0.5")
    assert answer.location["y"] < 300  # first of all
    browser.shoot_whole("report")
    assert browser.errors() == []
    assert browser.outside(report.as_uri()) == []


def test_tables_sort_by_a_click(report: Path, browser: Browser) -> None:
    browser.open(report)
    table = browser.find("table")[0]
    place, button = header(table, "accuracy %")
    as_it_was = texts(browser, table, place)
    best = numbers(as_it_was)
    assert best == sorted(best, reverse=True)
    assert best[0] > best[-1]
    cell = button.find_element("xpath", "..")
    button.click()
    assert numbers(texts(browser, table, place)) == sorted(best)
    assert cell.get_attribute("aria-sort") == "ascending"
    button.click()
    assert numbers(texts(browser, table, place)) == sorted(best, reverse=True)
    assert cell.get_attribute("aria-sort") == "descending"
    browser.shoot("report-sorted")
    button.click()
    assert texts(browser, table, place) == as_it_was
    assert cell.get_attribute("aria-sort") == "none"


def test_texts_and_what_is_missing_sort_by_the_keyboard(report: Path, browser: Browser) -> None:
    browser.open(report)
    table = browser.find("table")[0]
    place, button = header(table, "pool.others")
    button.send_keys(Keys.ENTER)
    found = texts(browser, table, place)
    assert found == sorted(found)
    assert len(set(found)) > 1
    place, button = header(table, "kd.temperature")
    for last in (["1", "4"], ["4", "1"]):  # what is missing is last both ways
        button.send_keys(Keys.SPACE)
        found = texts(browser, table, place)
        assert list(dict.fromkeys(found)) == [*last, "-"]
    assert browser.errors() == []


def test_a_long_table_unfolds_and_sorts(report: Path, browser: Browser) -> None:
    browser.open(report)
    folded = next(one for one in browser.find("details.table") if "Leaderboard" in one.text)
    table = folded.find_element("css selector", "table")
    assert not table.is_displayed()
    folded.find_element("css selector", "summary").click()
    assert table.is_displayed()
    place, button = header(table, "accuracy %")
    button.click()
    found = numbers(texts(browser, table, place))
    assert len(found) == 30
    assert found == sorted(found)


def test_a_report_is_read_on_a_phone(report: Path, browser: Browser) -> None:
    browser.be_phone()
    browser.open(report)
    assert page_width(browser) == PHONE
    browser.driver.execute_script(
        "document.querySelectorAll('details').forEach(d => d.open = true)"
    )
    assert page_width(browser) == PHONE  # wide tables scroll by themselves
    figures = browser.find("figure svg")
    assert all(250 < figure.size["width"] <= PHONE for figure in figures)
    size = "return parseFloat(getComputedStyle(arguments[0]).fontSize)"
    assert browser.driver.execute_script(size, browser.find(".answer p")[0]) >= 16
    browser.open(report)
    browser.shoot_whole("report-phone")
    assert browser.errors() == []


def test_a_report_needs_no_script(report: Path, browser: Browser) -> None:
    browser.run_scripts(allowed=False)
    browser.driver.get(report.as_uri())
    assert browser.driver.find_elements("css selector", "th button") == []
    assert len(browser.driver.find_elements("css selector", "table tbody tr")) > 30
    assert browser.driver.find_element("css selector", "details.table summary").is_displayed()
    browser.shoot("report-without-script")


def test_two_searches_are_compared(
    search: Path, tmp_path_factory: pytest.TempPathFactory, browser: Browser
) -> None:
    other = tmp_path_factory.mktemp("compared") / "other"
    write_search(other, 30, events=False)
    path = write_report(other, search)
    browser.open(path)
    assert browser.find("h1")[0].text == "Report of 2 searches"
    best, *_ = browser.find("header table")
    assert texts(browser, best, 0) == ["other", "stored"]
    links = [link.get_attribute("href") for link in browser.find(".answer a")]
    assert [str(link).split("#")[1] for link in links] == ["search-1", "search-2"]
    browser.shoot("report-compared")
    browser.be_phone()
    browser.open(path)
    assert page_width(browser) == PHONE
    assert browser.errors() == []
    assert browser.outside(path.as_uri()) == []
