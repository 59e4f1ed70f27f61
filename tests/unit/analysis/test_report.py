"""Tests of analysis.report."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.load import load, load_search
from analysis.report import write_report
from analysis.summary import summarise
from harness.errors import ResultError

MakeSearch = Callable[..., Path]
P = "pool.main_probability"


class Page(HTMLParser):
    """Collects the elements and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def tags(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def report(folders: list[Path], path: Path) -> Page:
    write_report(load(folders), path)
    return Page(path.read_text(encoding="utf-8"))


def test_answer_for_the_main_probability(probability_search: Path) -> None:
    assert summarise(load_search(probability_search)).splitlines() == [
        "Best main-model probability: undecided at n = 2; 1 [1, 1] has the highest mean, "
        "10.0 points [10.0, 10.0] above 0.5; about 1 more replicate would settle it",
        "Mean validation accuracy of unseen students at 1: 61.0% [51.8, 70.2], n = 2",
        "On test images: 59.0% [49.8, 68.2], n = 2",
        "5 of 6 planned trials finished (1 not run)",
    ]


def test_answer_that_is_settled(make_search: MakeSearch) -> None:
    trials = [
        {
            "point": {"pool.others": others, "kd.alpha": None},
            "students": {"mlp": [mean]},
            "replicate": place,
        }
        for others, means in {"diverse": (0.3, 0.31), "similar": (0.8, 0.81)}.items()
        for place, mean in enumerate(means)
    ]
    results = load_search(make_search(trials, varied=["pool.others", "kd.alpha"]))
    assert summarise(results).splitlines() == [
        "Best configuration: pool.others = similar; mean validation accuracy of unseen students "
        "80.5% [75.9, 85.1], n = 2",
        "On test images: 78.5% [73.9, 83.1], n = 2",
    ]


def test_answer_for_one_set_of_one_configuration(make_search: MakeSearch) -> None:
    trials = [{"students": {"mlp": [0.5]}}, {"status": "diverged", "replicate": 1}]
    assert summarise(load_search(make_search(trials))).splitlines() == [
        "Mean validation accuracy of unseen students 50.0% (no interval), n = 1",
        "One distilled set has no interval: more replicates are needed to be sure",
        "On test images: 48.0% (no interval), n = 1",
        "1 of 2 trials diverged and are in no mean",
    ]


def test_answer_of_the_paper_protocol(make_search: MakeSearch) -> None:
    trials = [{"students": {"mlp": [0.5]}, "replicate": n} for n in range(2)]
    text = summarise(load_search(make_search(trials, protocol="paper")))
    assert text == "Mean test accuracy of unseen students 48.0% [48.0, 48.0], n = 2"


def test_no_answer_yet(make_search: MakeSearch) -> None:
    trials = [{"status": "not_run"}, {"status": "oom"}]
    assert summarise(load_search(make_search(trials))).splitlines() == [
        "Nothing finished yet",
        "0 of 2 planned trials finished (1 oom, 1 not run)",
    ]
    only_main = make_search([{"students": {"convnet": [0.5]}}], name="main")
    assert summarise(load_search(only_main)).startswith("No unseen student has an accuracy yet")


def test_report_says_everything(probability_search: Path, tmp_path: Path) -> None:
    page = report([probability_search], tmp_path / "report.html")
    # The answer stands before the figure, the figure before the table.
    tags = [tag for tag, _ in page.elements]
    assert tags.index("h1") < tags.index("svg") < tags.index("table")
    for words in (
        "Main-model probability Which probability generalises best? Best main-model probability: "
        "undecided",
        "Accuracy on validation images against the main-model probability: means over "
        "distillation seeds with 95% intervals (n = 2 to 3 distilled sets)",
        "61.0 * [51.8, 70.2] 1.4 2 59.0 [49.8, 68.2] 1",
        "planned 6 ok 5 not_run 1",
        "dataset digits images per class 1 iterations 1000 students convnet, mlp, lenet "
        "epochs 300 protocol held-out",
        "search demo git hash abc123 versions torch 2.11.0 device cpu",
        "00005-abcd not_run pool.main_probability = 1, replicate 2",
        "demo/trials/<trial>/error.txt",
    ):
        assert words in page.text
    assert page.tags("title") == [{}]
    assert page.tags("meta")[1]["name"] == "viewport"


def test_report_is_one_file(probability_search: Path, tmp_path: Path) -> None:
    path = tmp_path / "out" / "report.html"
    path.parent.mkdir()
    page = report([probability_search], path)
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & {
        tag for tag, _ in page.elements
    }
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            if name.split(":")[-1] in ("href", "src", "srcset", "data", "action"):
                assert value is not None
                assert value.startswith("#"), (tag, name)
    source = path.read_text(encoding="utf-8")
    for namespace in ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"):
        source = source.replace(f'"{namespace}"', "")
    assert "http://" not in source
    assert "https://" not in source
    assert "@import" not in source
    assert "url(http" not in source


def test_report_is_the_same_each_time(probability_search: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.html", tmp_path / "second.html"
    report([probability_search], first)
    report([probability_search], second)
    assert first.read_bytes() == second.read_bytes()


HOSTILE = "<script>alert(1)</script>"


def test_texts_are_escaped(make_search: MakeSearch, tmp_path: Path) -> None:
    trials = [
        {"point": {P: 0.5, "note": HOSTILE}, "students": {"convnet": [0.9], HOSTILE: [0.5]}},
        {"point": {P: 1.0, "note": HOSTILE}, "status": "error"},
    ]
    provenance = {"git_hash": HOSTILE, "versions": {HOSTILE: "1"}, "command": [HOSTILE]}
    folder = make_search(
        trials, varied=[P, "note"], title=HOSTILE, question=HOSTILE, provenance=provenance
    )
    page = report([folder], tmp_path / "report.html")
    assert page.tags("script") == []
    assert page.text.count(HOSTILE) >= 8


def test_report_of_an_unfinished_search(make_search: MakeSearch, tmp_path: Path) -> None:
    trials = [{"point": {P: n / 20}, "status": "not_run"} for n in range(20)]
    page = report([make_search(trials, varied=[P], question="")], tmp_path / "report.html")
    assert "Nothing finished yet 0 of 20 planned trials finished (20 not run)" in page.text
    assert "Known when the first trial has finished" in page.text
    assert page.tags("svg") == []
    assert page.tags("details") == [{}]  # a long list is folded up


def test_report_of_an_empty_plan_and_of_lost_trials(
    make_search: MakeSearch, tmp_path: Path
) -> None:
    lost = make_search([{"status": "oom"}], name="lost", provenance={})
    page = report([make_search([]), lost], tmp_path / "report.html")
    assert "Report of 2 searches" in page.text
    assert "planned 0" in page.text
    assert "00000-abcd oom (no setting varied), replicate 0" in page.text
    assert "git hash not a checkout" in page.text
    assert page.tags("details") == [{"open": None}]


def test_code_that_changed_on_the_way_is_said(make_search: MakeSearch, tmp_path: Path) -> None:
    trials = [
        {"students": {"mlp": [0.5]}, "git_hash": git_hash, "replicate": place}
        for place, git_hash in enumerate(("abc123", "def456"))
    ]
    page = report([make_search(trials)], tmp_path / "report.html")
    assert "git hash abc123 git hash of the trials abc123, def456" in page.text


def test_many_configurations(make_search: MakeSearch, tmp_path: Path) -> None:
    trials = [
        {"point": {P: 0.5, "lr_img": n / 100}, "students": {"mlp": [n / 100]}} for n in range(1, 46)
    ]
    page = report([make_search(trials, varied=[P, "lr_img"])], tmp_path / "report.html")
    assert "by configuration: means over distillation seeds" in page.text
    assert "(n = 1 distilled sets)" in page.text
    assert "The best 40 of 45; the table has all." in page.text


def test_a_report_that_cannot_be_written(probability_search: Path, tmp_path: Path) -> None:
    searches = load([probability_search])
    with pytest.raises(ResultError, match=r"report\.html: cannot be written .*choose another"):
        write_report(searches, tmp_path / "nowhere" / "report.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ResultError, match="folder: cannot be written"):
        write_report(searches, tmp_path / "folder")
    assert not list(tmp_path.glob(".*"))
