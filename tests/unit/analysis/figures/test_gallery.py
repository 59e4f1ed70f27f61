"""Tests of analysis.figures.gallery and drawing: all figures of a search, by name, as files."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.figures import FIGURES, SUFFIXES, Drawn, figure_svg, make_figures, write_figure
from analysis.load import SearchResults, load_search
from harness.commands.figure import FIGURE_SUFFIXES
from harness.errors import ConfigError, ResultError

MakeSearch = Callable[..., Path]
Texts = Callable[[str], list[str]]
STORED = Path(__file__).parents[1] / "stored"
P = "pool.main_probability"


@pytest.fixture(scope="module")
def drawn(kd: SearchResults) -> list[Drawn]:
    return make_figures(kd)


def test_all_that_a_search_has_the_data_for(drawn: list[Drawn]) -> None:
    assert [one.name for one in drawn] == [
        f"accuracy:{P}", "accuracy:kd.alpha", "accuracy:kd.temperature", "configurations",
        "heat_map:kd.temperature,kd.alpha", f"heat_map:{P},kd.variant", f"heat_map:{P},kd.alpha",
        "effects", "interactions", "importance", "parallel", "pareto", "learning",
    ]  # fmt: skip
    kinds = {one.name.partition(":")[0] for one in drawn}
    assert set(FIGURES) - kinds == {"images"}  # which the folder lacks
    for one in drawn:
        assert one.title
        assert one.caption.endswith(".")
        assert len(one.frame)


@pytest.fixture(scope="module")
def svgs(drawn: list[Drawn]) -> dict[str, str]:
    """Of the first figure of each kind."""
    kinds = {one.name.partition(":")[0]: one for one in reversed(drawn)}
    return {one.name: figure_svg(one.figure) for one in kinds.values()}


def test_each_figure_can_be_read(drawn: list[Drawn], svgs: dict[str, str], texts: Texts) -> None:
    assert {one.figure.get_figwidth() for one in drawn} == {5.2}  # inches, for a phone
    assert len(svgs) == len(FIGURES) - 1
    for name, svg in svgs.items():
        assert svg.startswith("<svg")
        assert "<metadata" not in svg
        assert "nan" not in svg.lower()
        assert any("%" in text for text in texts(svg)), name


def test_the_same_figure_is_the_same_svg(drawn: list[Drawn], svgs: dict[str, str]) -> None:
    for one in drawn[:1] + drawn[-2:]:
        assert figure_svg(one.figure) == svgs[one.name], one.name


@pytest.mark.parametrize(
    "name", ["configurations", "heat_map:kd.temperature,kd.alpha", "effects", "parallel", "pareto"]
)
def test_the_same_search_is_the_same_svg(kd_folder: Path, svgs: dict[str, str], name: str) -> None:
    (again,) = make_figures(load_search(kd_folder), [name])
    assert figure_svg(again.figure) == svgs[name]


def test_named_figures(kd: SearchResults) -> None:
    assert [one.name for one in make_figures(kd, ["pareto", "heat_map:kd.variant,kd.alpha"])] == [
        "pareto",
        "heat_map:kd.variant,kd.alpha",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("paretto", "--figure: got 'paretto'; did you mean 'pareto'"),
        ("heat_map:ipc,kd.alpha", "kd does not vary 'ipc'; known: kd.alpha, kd.temperature"),
        ("heat_map:kd.alpha", "expected heat_map:SETTING,SETTING, or heat_map alone"),
        ("heat_map:kd.alpha,kd.alpha", "expected heat_map:SETTING,SETTING"),
        ("pareto:ipc", "got 'pareto:ipc', expected pareto"),
        ("accuracy:kd.variant", "expected numbers of kd.variant"),
        ("images", "kd: no finished trial has images.png"),
    ],
)
def test_a_name_that_cannot_be_drawn(kd: SearchResults, name: str, message: str) -> None:
    with pytest.raises((ConfigError, ResultError)) as raised:
        make_figures(kd, [name])
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_search_without_results_has_no_figures(make_search: MakeSearch) -> None:
    trials = [{"point": {P: n / 2, "ipc": 1}, "status": "not_run"} for n in range(3)]
    results = load_search(make_search(trials, varied=[P, "ipc"]))
    assert make_figures(results) == []
    for name in FIGURES:
        with pytest.raises(ResultError, match="demo"):
            make_figures(results, [name])
    assert make_figures(load_search(make_search([], name="empty"))) == []


def test_a_stored_search_is_drawn() -> None:
    drawn = make_figures(load_search(STORED / "v1"))
    assert [one.name for one in drawn] == [
        "configurations", "effects", "parallel", "pareto", "learning",
    ]  # fmt: skip


def test_stopped_configurations_are_compared_nowhere(make_search: MakeSearch) -> None:
    trials = [
        {"point": {P: p}, "replicate": n, "students": {"mlp": [0.5 + p / 10]}}
        for p in (0.0, 0.5)
        for n in range(2)
    ]
    trials += [
        {"point": {P: 1.0}, "students": {"mlp": [0.9]}},
        {"point": {P: 1.0}, "replicate": 1, "status": "stopped_early"},
    ]
    results = load_search(make_search(trials, varied=[P]))
    found = {one.name: one.frame for one in make_figures(results)}
    assert set(found[f"accuracy:{P}"]["value"]) == {0.0, 0.5}
    assert f"{P} = 1" in set(found["learning"]["distillation"])


def test_what_is_measured_is_kept_no_longer_than_the_search(probability_search: Path) -> None:
    results = load_search(probability_search)
    make_figures(results, ["configurations"])
    gone = weakref.ref(results)
    del results
    gc.collect()
    assert gone() is None


def test_dollars_are_no_mathematics(make_search: MakeSearch, texts: Texts) -> None:
    trials = [
        {
            "point": {"lr_img": n / 10, "note": rf"$\frac{{{n % 2}$"},
            "students": {"mlp": [0.3 + n / 100]},
            "record": {
                "timings": {"distill_cost_s": 5.0 + n},
                "validation/quick": [[1, 0.1], [2, 0.2 + n / 100]],
            },
        }
        for n in range(6)
    ]
    for one in make_figures(load_search(make_search(trials, varied=["note", "lr_img"]))):
        said = texts(figure_svg(one.figure))
        assert any("$" in text for text in said), one.name
        assert not any("\\$" in text for text in said), one.name


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_files_are_the_same_each_time(drawn: list[Drawn], tmp_path: Path, suffix: str) -> None:
    pareto = next(one for one in drawn if one.name == "pareto")
    paths = [tmp_path / f"{name}{suffix}" for name in ("first", "second")]
    for path in paths:
        write_figure(pareto, path)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    start = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}[suffix]
    assert first.startswith(start)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(p.name for p in paths)


def test_files_that_cannot_be_written(drawn: list[Drawn], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--to: got 'a\.gif', expected a name in \.svg, \.png"):
        write_figure(drawn[-1], tmp_path / "a.gif")
    with pytest.raises(ResultError, match=r"a\.svg: cannot be written"):
        write_figure(drawn[-1], tmp_path / "nowhere" / "a.svg")


def test_the_command_knows_the_same_files() -> None:
    assert FIGURE_SUFFIXES == SUFFIXES
