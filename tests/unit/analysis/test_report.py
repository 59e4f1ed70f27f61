"""Tests of analysis.report."""

import base64
import hashlib
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.load import load, load_search
from analysis.report import write_report
from analysis.searches import leaders, protocol_differences, search_labels
from analysis.summary import find_answer, summarise
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
    # The answer stands before the table, the table before the figures.
    tags = [tag for tag, _ in page.elements]
    assert tags.index("h1") < tags.index("table") < tags.index("svg")
    for words in (
        "Main-model probability Which probability generalises best? Best main-model probability: "
        "undecided",
        "Accuracy on validation images against main-model probability: means over "
        "distillation seeds with 95% intervals (n = 2 to 3 distilled sets)",
        "61.0 * [51.8, 70.2] 1.4 2 59.0 [49.8, 68.2] 1",
        "5 of 6 planned trials finished: 5 ok, 1 not run.",
        "dataset digits method dc images per class 1 iterations 1000 main model convnet students "
        "convnet, mlp, lenet epochs 300 augmentation none knowledge distillation off protocol "
        "held-out track distilled images judged by 100 validation, 100 test",
        "git hash abc123 version of torch 2.11.0",
        "00005-abcd not run pool.main_probability = 1 2",
        "demo/trials/<trial>/error.txt",
    ):
        assert words in page.text
    assert page.tags("title") == [{}]
    assert page.tags("meta")[1]["name"] == "viewport"


def only_its_own_script_may_run(page: Page, source: str) -> None:
    """The policy names the script by its content, and allows nothing else."""
    policy = next(tag for tag in page.tags("meta") if "http-equiv" in tag)["content"]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    (script,) = re.findall("<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert not [tag for tag, own in page.elements if any(name[:2] == "on" for name in own)]


def test_report_is_one_file(probability_search: Path, tmp_path: Path) -> None:
    path = tmp_path / "out" / "report.html"
    path.parent.mkdir()
    page = report([probability_search], path)
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {
        tag for tag, _ in page.elements
    }
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            if name.split(":")[-1] in ("href", "src", "srcset", "data", "action"):
                assert value is not None
                assert value.startswith(("#", "data:image/png;base64,")), (tag, name)
    source = path.read_text(encoding="utf-8")
    ids = {own["id"] for _, own in page.elements if "id" in own}
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', source)) <= ids  # also inside figures
    for namespace in ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"):
        source = source.replace(f'"{namespace}"', "")
    assert "http://" not in source
    assert "https://" not in source
    assert "@import" not in source
    assert "url(http" not in source
    only_its_own_script_may_run(page, source)


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
    assert page.tags("script") == [{}]  # its own
    assert page.text.count(HOSTILE) >= 8
    # Also by the name of a folder, where searches are compared.
    other = make_search(trials, name=HOSTILE.replace("/", "-"), varied=[P, "note"])
    page = report([folder, other], tmp_path / "report.html")
    assert page.tags("script") == [{}]
    assert HOSTILE.replace("/", "-") in page.text


def test_report_of_an_unfinished_search(make_search: MakeSearch, tmp_path: Path) -> None:
    trials = [{"point": {P: n / 20}, "status": "not_run"} for n in range(20)]
    page = report([make_search(trials, varied=[P], question="")], tmp_path / "report.html")
    assert "Nothing finished yet 0 of 20 planned trials finished (20 not run)" in page.text
    assert "Known when the first trial has finished" in page.text
    assert page.tags("svg") == []
    # Long tables are folded up.
    assert "Without a result 20 rows" in page.text
    assert {"class": "table"} in page.tags("details")
    assert not [tag for tag in page.tags("details") if "open" in tag]


def test_report_of_an_empty_plan_and_of_lost_trials(
    make_search: MakeSearch, tmp_path: Path
) -> None:
    lost = make_search([{"status": "oom"}], name="lost", provenance={})
    page = report([make_search([]), lost], tmp_path / "report.html")
    assert "Report of 2 searches" in page.text
    assert "0 of 0 planned trials finished." in page.text
    assert "00000-abcd oom (no setting varied) 0" in page.text
    assert "git hash not a checkout" in page.text
    assert "demo - - - - 0 - - 0 of 0" in page.text  # nothing to lead with


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
    assert "The best 12 of 45 configurations" in page.text
    assert "Leaderboard 45 rows" in page.text


def test_a_report_that_cannot_be_written(probability_search: Path, tmp_path: Path) -> None:
    searches = load([probability_search])
    with pytest.raises(ResultError, match=r"report\.html: cannot be written .*choose another"):
        write_report(searches, tmp_path / "nowhere" / "report.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ResultError, match="folder: cannot be written"):
        write_report(searches, tmp_path / "folder")
    assert not list(tmp_path.glob(".*"))


def test_many_groups_are_answered_at_once(make_search: MakeSearch, tmp_path: Path) -> None:
    trials = [
        {"point": {P: p, "pool.others": others}, "students": {"mlp": [base + p / 10]}}
        for base, others in ((0.3, "diverse"), (0.5, "similar"), (0.4, "lenet"))
        for p in (0.0, 1.0)
    ]
    folder = make_search(trials, varied=[P, "pool.others"])
    answer = find_answer(load_search(folder))
    assert answer.lines[0].startswith(f"Best configuration: {P} = 1, pool.others = similar; mean")
    assert len([line for line in answer.details if ": best main-model probability" in line]) == 3
    page = report([folder], tmp_path / "report.html")
    assert f"{answer.lines[-1]} In detail 9 lines pool.others = diverse: best" in page.text


def with_images(folder: Path, trial: str, size: tuple[int, int], mode: str = "L") -> None:
    """Write noise as a trial's picture."""
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "trials" / trial / "images.png")


def pictures(page: Page) -> list[Image.Image]:
    """The pictures that stand inside a page."""
    found = [str(tag["src"]).removeprefix("data:image/png;base64,") for tag in page.tags("img")]
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in found]


def test_distilled_images_stand_in_the_page(make_search: MakeSearch, tmp_path: Path) -> None:
    trials = [
        {"point": {"ipc": ipc}, "students": {"mlp": [0.1 * place]}}
        for place, ipc in enumerate((1, 2, 50), start=1)
    ]
    folder = make_search(trials, varied=["ipc"])
    with_images(folder, "00000-abcd", (10, 40))  # four classes of 8x8 pixels, framed
    with_images(folder, "00001-abcd", (20, 40))
    (folder / "trials" / "00002-abcd" / "images.png").write_bytes(b"no picture")
    page = report([folder], tmp_path / "report.html")
    # A column a class; the best first; what cannot be read is left out.
    assert [picture.size for picture in pictures(page)] == [(40, 20), (40, 10)]
    assert "ipc = 2, replicate 0: 20.0%, n = 1 ipc = 1, replicate 0: 10.0%, n = 1" in page.text
    with Image.open(folder / "trials/00001-abcd/images.png") as own:
        [shown, _] = pictures(page)
        first, second = own.crop((10, 0, 20, 10)), own.crop((0, 30, 10, 40))
    assert shown.crop((0, 10, 10, 20)).tobytes() == first.tobytes()
    assert shown.crop((30, 0, 40, 10)).tobytes() == second.tobytes()


def test_large_pictures_are_cut_to_the_room(make_search: MakeSearch, tmp_path: Path) -> None:
    trials = [
        {"point": {P: place / 8}, "students": {"mlp": [place / 10]}, "columns": {"ipc": 2}}
        for place in range(8)
    ]
    folder = make_search(trials, varied=[P])
    for place in range(8):
        with_images(folder, f"{place:05d}-abcd", (2 * 130, 10 * 130), "RGB")
    path = tmp_path / "report.html"
    page = report([folder], path)
    shown = pictures(page)
    # Ten classes, shrunk; one image of each.
    assert [picture.size for picture in shown] == [(660, 66)] * 6
    assert "The 4 best and the 2 worst of 8" in page.text
    assert path.stat().st_size < 2_500_000


def test_searches_side_by_side(make_search: MakeSearch, tmp_path: Path) -> None:
    first = make_search(
        [{"point": {P: 0.5}, "students": {"mlp": [0.5]}, "config": {"ipc": 1, "seed": 0}}],
        varied=[P],
        name="first",
    )
    second = make_search(
        [
            {
                "point": {P: 0.9},
                "students": {"mlp": [0.6], "lenet": [0.8]},
                "columns": {"epochs": 10},
                "config": {"ipc": 10, "seed": 5},
            },
            {"point": {P: 1.0}, "status": "not_run"},
        ],
        varied=[P],
        name="second",
        provenance={"git_hash": "def456", "versions": {"torch": "2.12.0"}},
    )
    searches = load([first, second])
    frame = leaders(searches).set_index("search")
    assert frame["mean"].to_dict() == pytest.approx({"first": 0.5, "second": 0.7})
    assert frame["configuration"].tolist() == [f"{P} = 0.5", f"{P} = 0.9"]
    assert frame[["finished", "planned"]].to_numpy().tolist() == [[1, 1], [1, 2]]
    table = protocol_differences(searches).set_index("choice")
    assert table.loc["ipc"].tolist() == ["1", "10"]
    assert table.loc["students"].tolist() == ["mlp", "mlp, lenet"]
    assert table.loc["epochs of students"].tolist() == ["300", "10"]
    assert table.loc["version of torch"].tolist() == ["2.11.0", "2.12.0"]
    assert not {"seed", "device"} & set(table.index)  # seeds are no choice, devices are equal
    page = report([first, second], tmp_path / "report.html")
    assert page.text.index("Side by side") < page.text.index("What differs between the searches")
    assert f"second {P} = 0.9 validation 70.0 - 1 68.0 - 1 of 2" in page.text
    assert len(page.tags("section")) == 2


def test_equal_searches_differ_in_nothing(probability_search: Path, tmp_path: Path) -> None:
    searches = load([probability_search, probability_search])
    assert search_labels(searches) == [str(probability_search), f"{probability_search} (2)"]
    assert len(protocol_differences(searches)) == 0
    page = report([probability_search] * 2, tmp_path / "report.html")
    assert "No choice of protocol, settings, code or machine differs" in page.text
