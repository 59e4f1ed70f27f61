"""Tests of analysis.tables."""

import io
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from analysis.aggregate import by_setting
from analysis.load import load_search
from analysis.render import markdown
from analysis.tables import table_caption, table_cells, terminal_table

MakeSearch = Callable[..., Path]


def exported(table: Table, width: int = 120) -> list[list[str]]:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(table)
    return [line.split() for line in console.export_text().splitlines() if line.strip()]


def test_terminal_table(probability_search: Path) -> None:
    table = terminal_table(by_setting(load_search(probability_search)), "Probabilities [red]x")
    lines = exported(table)
    assert lines[0] == ["Probabilities", "[red]x"]
    assert ["0.5", "52.0", "[46.6,", "57.4]", "2.0", "3", "0"] in lines
    assert [
        "1", "61.0", "*", "[51.8,", "70.2]", "1.4", "2", "1",
    ] in lines  # fmt: skip
    words = " ".join(word for line in lines for word in line)
    assert "over n distilled sets (distillation seeds), with 95% intervals (bootstrap" in words
    assert "diverged students" not in words
    assert "paper" not in words


def test_many_columns_fit_a_terminal_of_80_columns(make_search: MakeSearch) -> None:
    trials = [
        {
            "point": {"kd.variant": "softened", "kd.temperature": 1.5, "kd.alpha": 0.5},
            "students": {"mlp": [0.5 + place / 100]},
            "replicate": place,
        }
        for place in range(2)
    ]
    trials.append({**trials[0], "status": "diverged"})
    varied = ["kd.variant", "kd.temperature", "kd.alpha"]
    frame = by_setting(load_search(make_search(trials, varied=varied)))
    lines = exported(terminal_table(frame, "t"), width=80)
    cells = ["softened", "1.5", "0.5", "50.5", "*", "[45.9,", "55.1]", "0.7", "2", "1"]
    assert cells in lines


def test_missing_numbers_are_dashes(make_search: MakeSearch) -> None:
    trials = [
        {"point": {"ipc": 1}, "students": {"mlp": [0.5, None]}},
        {"point": {"ipc": 10}, "status": "diverged"},
    ]
    cells = table_cells(by_setting(load_search(make_search(trials, varied=["ipc"]))))
    assert cells.header == (
        "ipc", "accuracy %", "95% interval", "std", "std within", "n", "test %", "test interval",
        "diverged", "diverged students",
    )  # fmt: skip
    assert cells.rows == (
        ("1", "50.0 *", "-", "-", "0.0", "1", "48.0", "-", "0", "1"),
        ("10", "-", "-", "-", "-", "0", "-", "-", "1", "0"),
    )
    assert cells.best == (True, False)
    assert cells.num_settings == 1


def test_paper_protocol_is_said(make_search: MakeSearch) -> None:
    results = load_search(make_search([{"students": {"mlp": [0.5]}}], protocol="paper"))
    frame = by_setting(results)
    assert "test %" not in table_cells(frame).header
    words = " ".join(word for line in exported(terminal_table(frame, "t")) for word in line)
    assert 'Protocol "paper" trains on all training images' in words


def test_markdown_table(make_search: MakeSearch) -> None:
    trials = [
        {"point": {"note": "a|b"}, "students": {"mlp": [0.5]}, "replicate": n} for n in (0, 1)
    ]
    frame = by_setting(load_search(make_search(trials, varied=["note"])))
    text = markdown(table_cells(frame), table_caption(frame))
    lines = text.splitlines()
    assert lines[0] == "| note | accuracy % | 95% interval | std | n | test % | test interval |"
    assert lines[1] == "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    assert lines[2] == r"| a\|b | 50.0 \* | [50.0, 50.0] | 0.0 | 2 | 48.0 | [48.0, 48.0] |"
    assert lines[4].endswith(r"\* best mean.")


def test_an_empty_table(make_search: MakeSearch) -> None:
    frame = by_setting(load_search(make_search([], varied=["ipc"])))
    assert table_cells(frame).rows == ()
    assert exported(terminal_table(frame, "nothing yet"))[0] == ["nothing", "yet"]
