"""Tests of the page of findings: the committed one, and one from small searches."""

import re
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.exports import read_export
from analysis.findings import build, main
from analysis.published_sets import (
    published_sets,
    published_sets_table,
    published_words,
    read_published,
)
from harness.formats import read_distilled
from harness.records import write_json, write_rows
from harness.schema import (
    COLUMNS,
    DISTILLED_FILE,
    EVALUATIONS_FILE,
    SCHEMA_VERSION,
    TRIALS_FOLDER,
)

MakeSearch = Callable[..., Path]
FOLDER = Path(__file__).parents[3] / "docs" / "findings"
P, OTHERS, KD, ALPHA, T = (
    "pool.main_probability", "pool.others", "kd.variant", "kd.alpha", "kd.temperature",
)  # fmt: skip
NOISE = (0.0, 0.01, -0.02)
DC_SET = "res_DC_CIFAR10_ConvNet_1ipc_3000#0"
POOL_SET = "modelpool_res_DC_CIFAR10_ConvNet_1ipc_3000#2"


def test_the_committed_page_is_made_from_the_committed_rows(tmp_path: Path) -> None:
    page = build(FOLDER, tmp_path)
    assert page.read_text() == (FOLDER / "README.md").read_text(), "run make findings"
    drawn = {path.name for path in (tmp_path / "figures").glob("*")}
    assert drawn == {path.name for path in (FOLDER / "figures").glob("*")}


def test_the_readme_says_what_the_page_says() -> None:
    readme = (FOLDER.parents[1] / "README.md").read_text()
    page = (FOLDER / "README.md").read_text()
    quotes = re.findall(r"(?:^> .*\n)+", readme, re.MULTILINE)
    assert quotes
    for quote in quotes:
        assert f"- {' '.join(line[2:] for line in quote.splitlines())}\n" in page
    assert "docs/findings/figures/probability-cifar10.svg" in readme


def test_what_is_committed_is_small_and_says_no_host() -> None:
    for path in FOLDER.rglob("*"):
        if path.is_file():
            assert path.stat().st_size < 1_000_000, path
            if path.suffix in (".toml", ".json"):
                assert "host =" not in path.read_text()
                assert '"host"' not in path.read_text()


def test_the_stored_sets_are_those_of_the_stored_rows() -> None:
    for rows in (FOLDER / "rows").glob("*-paper"):
        folder = FOLDER / "sets" / rows.name
        trials = read_export(rows).trials
        assert {path.stem for path in folder.iterdir()} == set(trials["trial_id"])
        for path in folder.iterdir():
            (found,) = read_distilled(path)
            assert found.images.shape == (10, 3, 32, 32)


@pytest.fixture
def searches(make_search: MakeSearch, tmp_path: Path) -> Path:
    """Three replicates of each kind of study, of which a fourth has begun."""
    others = [{P: p, OTHERS: o} for p, o in product((0.5, 0.9), ("similar", "similar-depth1"))]
    probability = [{"method": "random-real"}, *({"method": "dc", **one} for one in others)]
    probability.append({"method": "dc", P: 1.0})
    kd = [{KD: "off"}, {KD: "control", ALPHA: 0.5}]
    kd += [{KD: "softened", ALPHA: 0.5, T: t} for t in (1.0, 4.0)]
    square = [{P: p, KD: k} for p, k in product((1.0, 0.9), ("off", "control", "softened"))]
    schedules = [{P: p, "pool.schedule": "constant"} for p in (0.5,)] + [{P: 1.0}]
    schedules += [{P: 0.5, "pool.schedule": "bandit"}]
    studies: dict[str, list[dict[str, Any]]] = {
        "probability-digits": probability,
        "kd-digits": kd,
        "kd-cifar10": kd[::-1],
        "pool-and-kd-digits": square,
        "schedule-digits": schedules,
        "depth-digits": [{"network.depth": depth} for depth in (3, 5)],
        "ipc10-digits": [{"method": "random-real"}, *({"method": "dc", P: p} for p in (0.5, 1.0))],
        "diverse-digits": [{P: p} for p in (0.25, 0.9, 1.0)],
        "balanced-digits": [{P: p} for p in (0.5, 0.9, 1.0)],
        "variants-digits": [
            {OTHERS: "similar", "pool.warmup": warmup, KD: kd}
            for warmup, kd in product((0, 150), ("off", "legacy"))
        ],
    }
    size = {"method": "dc", "batch_real": 64, "iterations": 300}
    flat = {"fired": True, "value": 0.01, "threshold": 0.05, "meaning": "it is flat"}
    for name, points in studies.items():
        trials = [
            {
                "point": point,
                "replicate": replicate,
                "status": "not_run" if replicate == 3 and number else "ok",
                "config": {**size, "network": {"width": 16 if number else 32}},
                "record": {
                    "numerics": {"cpu_capability": "AVX2"},
                    "diagnostics": {"matching_loss_flat": flat} if name == "depth-digits" else {},
                },
                "students": {
                    "convnet": [0.9],
                    "mlp": [0.5 + 0.05 * number + NOISE[replicate % 3]],
                    "lenet": [
                        None
                        if point.get(KD) == "legacy"
                        else 0.6 + 0.04 * number - NOISE[replicate % 3]
                    ],
                },
            }
            for replicate in range(4)
            for number, point in enumerate(points)
        ]
        varied = dict.fromkeys(setting for point in points for setting in point)
        make_search(trials, varied=varied, name=name, provenance={"host": "secret"})
    make_search([{"point": {}, "status": "not_run"}], name="similarity-digits")
    _evaluate(tmp_path / "published" / "one")
    return tmp_path


def _evaluate(folder: Path, own: Sequence[dict[str, Any]] = ()) -> None:
    """Rows as ``harness evaluate`` writes them, with values of one's own; without such, of two
    students of a set, one that diverged, and one of random images."""
    common = {
        **dict.fromkeys(column.name for column in COLUMNS),
        "trial_id": "set#0", "status": "ok", "kd_variant": "control", "kd_alpha": 0.5,
        "student": "mlp",
        "student_in_pool": False, "epochs": 300, "split": "test", "schema_version": SCHEMA_VERSION,
        "dataset": "imagefolder", "protocol": "paper", "replicate": 0, "ipc": 1, "loss": 1.0,
        "method": "foreign", "n_images": 100, "student_seed": 0, "seed": 0,
    }  # fmt: skip
    lost = {"status": "diverged", "accuracy": None, "loss": None, "student_seed": 2}
    rows = [
        {**common, "accuracy": 0.25},
        {**common, "accuracy": 0.27, "student_seed": 1},
        {**common, **lost},
        {**common, "accuracy": 0.15, "method": "random-real"},
    ]
    folder.mkdir(parents=True)
    write_rows(folder / EVALUATIONS_FILE, [common | row for row in own] or rows)
    write_json(folder / "evaluation.json", {"sets": [{"provenance": {"host": "secret"}}]})


def test_rows_become_a_page(searches: Path, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "findings"
    folder.mkdir()
    (folder / "README.md.j2").write_text((FOLDER / "README.md.j2").read_text())
    assert main([str(folder), "--collect", str(searches)]) == 0
    assert "probability-digits: 3 whole replicates, 1 to come" in capsys.readouterr().out
    assert not (folder / "rows" / "similarity-digits").exists()
    for path in (folder / "rows").rglob("*.*"):
        assert b"secret" not in path.read_bytes()

    text = (folder / "README.md").read_text()
    # Plain distillation has the highest mean by construction.
    assert "- pool.others = similar: best main-model probability: 1 [1, 1]; better than" in text
    assert re.search(
        r"- Of \d pools none is more than 0.0 points above plain distillation, or \d", text
    )
    assert (folder / "figures" / "probability-digits.svg").read_text().startswith("<svg")
    assert "mlp left out: the others choose plain distillation itself, n = 3" in text
    paper = (
        "the chosen 1 is 9.0 points [9.0, 9.0] above the paper's 0.9 in its pool, n = 3: settled"
    )
    assert text.count(f"On test images {paper}\n") == 2  # in short, and where it is answered
    assert (
        "minus that at method = dc, pool.main_probability = 0.9, pool.others = similar, in" in text
    )
    # A teacher's parts add up.
    assert "| 0.5 | 1 | transfer | 4.5 |" in text
    assert "| 0.5 | 1 | step | 4.5 |" in text
    assert "| 0.5 | 1 | gain | 9.0 |" in text
    assert (
        "gain over plain training is 13.5 points [13.5, 13.5], at alpha 0.5 and temperature 4"
        in text
    )
    pairs = "- Of 2 pairs of alpha and temperature, "
    won = "2 gain and 0 lose by more than chance, n = 3; gain: 0.5 and 4, 0.5 and 1"
    lost = "0 gain and 2 lose by more than chance, n = 3; lose: 0.5 and 4, 0.5 and 1"
    assert text.count(f"\n{pairs}{won}\n") == text.count(f"\n{pairs}{lost}\n") == 2
    # Beside the best constant, which is 1; and beside depth 3.
    assert "minus that at pool.main_probability = 0.5, pool.schedule = " not in text
    bandit = "pool.main_probability = 0.5, pool.schedule = bandit: 4.5 points [4.5, 4.5] against"
    assert f"\n- {bandit} pool.main_probability = 1, n = 3: settled\n" in text
    digits = "scikit-learn's handwritten digits"
    assert f"\n**A schedule beside the best constant, {digits}**\n\n- {bandit}" in text
    assert "pool.schedule = constant: " not in text
    assert "| 5 | 4.5 |" in text
    assert "- network.depth = 5: 4.5 points [4.5, 4.5] against network.depth = 3, n = 3" in text
    assert text.count("Distillations with a sign of failure") == 1  # depth
    assert "| network.depth = 5 | matching_loss_flat: it is flat | 0.01 | 0.05 |" in text
    # What its trials had, of those that distil.
    size = "of width 16 or 32, 64 real images a class and step, 300 iterations"
    assert (
        f"*3 whole replicates, 6 trials {size}; 0.0 hours, trial after trial, on cpu (AVX2),"
        in text
    )
    # Published: the mean of two, with the interval of t at one degree of freedom.
    assert "| set#0 | mlp | 26.0 [13.3, 38.7], n = 2, 1 diverged | - | - | 15.0 |" in text
    best = f"{digits}**\n\n- Best main-model probability: 1 [1, 1]; better than"
    assert f"\n**The same at IPC 10, {best} 0.5 by 4.5 points" in text
    pool = "The same with LeNet, AlexNet and VGG11 in the pool"
    assert f"\n**{pool}, {best} 0.9 by 4.5 points" in text
    # One change at a time; where all networks of a student diverged there is no mean.
    late = "pool.warmup = 150: 9.0 points [9.0, 9.0] against pool.warmup = 0, n = 3: settled"
    lost = "kd.variant = legacy: no mean, since 3 networks of unseen students diverged"
    assert text.count(f"\n- {late}\n") == text.count(f"\n- {lost}\n") == 2
    assert "\n- pool.warmup = 150, kd.variant = legacy" not in text
    # Question 1 on CIFAR-10; at IPC 10 with other pools; question 3.
    assert text.count("Not answered yet") == 3


def test_sets_at_the_papers_size_are_stored_beside_their_rows(
    make_search: MakeSearch, tmp_path: Path
) -> None:
    values = {"convnet": 0.30, "mlp": 0.28, "lenet": 0.22, "alexnet": 0.2, "vgg11": 0.26}
    values["resnet18"] = 0.2
    trials = [
        {
            "point": {P: p},
            "replicate": replicate,
            "status": "not_run" if replicate and p < 1.0 else "ok",
            "students": {name: [value + p / 100] for name, value in values.items()},
            "columns": {"dataset": "cifar10", "ipc": 1},
        }
        for replicate in range(2)
        for p in (1.0, 0.9)
    ]
    search = make_search(trials, varied=[P], protocol="paper", name="table4-paper")
    folders = sorted((search / TRIALS_FOLDER).iterdir())
    for place in folders:
        (place / DISTILLED_FILE).write_text(place.name)
    folder = tmp_path / "findings"
    folder.mkdir()
    (folder / "README.md.j2").write_text((FOLDER / "README.md.j2").read_text())
    assert main([str(folder), "--collect", str(tmp_path)]) == 0

    stored = {path.stem: path.read_text() for path in (folder / "sets" / search.name).iterdir()}
    assert stored == {place.name: place.name for place in folders[:2]}  # of the whole replicate
    text = (folder / "README.md").read_text()
    third = "S3 (pool.main_probability = 0.9): 22.1% (no interval), n = 1, 0.6 points above"
    line = f"- Table 5, IPC 1, 1000 iterations, {third} the published 21.5%: within 1.5 points"
    assert text.count(f"\n{line}\n") == 2  # in short, and where it is answered
    assert "*1 whole replicate, 2 trials" in text
    assert "| 1 | 1000 | baseline | pool.main_probability = 1 |" in text
    assert "| 1 | 1000 | plain | pool.main_probability = 1 |" in text


def test_rows_that_cannot_be_read_are_one_line(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "rows" / "kd-digits").mkdir(parents=True)
    assert main([str(tmp_path)]) == 2
    assert "no export of a search" in capsys.readouterr().err


def test_published_sets_stand_beside_published_numbers(tmp_path: Path) -> None:
    students = ("convnet", "mlp", "lenet", "alexnet", "vgg11", "resnet18")
    for place, (name, kd) in enumerate(((DC_SET, "off"), (DC_SET, "control"), (POOL_SET, "off"))):
        rows = [
            {"trial_id": name, "kd_variant": kd, "student": student, "student_seed": seed}
            | {"method": method, "accuracy": 0.1902 + 0.01 * number + 0.001 * seed + 0.1 * place}
            for number, student in enumerate(students)
            for method in ("foreign", "random-real")
            for seed in range(3)
        ]
        rows[-4] |= {"status": "diverged", "accuracy": None}  # the last ResNet18 on the set
        _evaluate(tmp_path / str(place), rows)
    frame = published_sets(read_published(tmp_path)).set_index(["set", "loss", "student"])
    # Over the seeds at which no network diverged; each seed's value is the mean of five.
    unseen = frame.loc[(DC_SET, "whole", "unseen")]
    assert (unseen["mean"], unseen["n"], unseen["diverged"]) == pytest.approx((0.2207, 2, 1))
    assert (unseen["plain"], unseen["table4"]) == pytest.approx((0.21626, 0.22044))
    half = frame.loc[(DC_SET, "half", "unseen")]
    assert (half["mean"], half["random"]) == pytest.approx((0.3207, 0.3212))
    # Random images are pooled, whichever set they were scored beside.
    assert unseen["random"] == pytest.approx(0.3212)
    assert frame.loc[(DC_SET, "half", "resnet18"), "table4"] == pytest.approx(0.1430)
    cells = published_sets_table(read_published(tmp_path)).cells
    within = {row[:2]: row[cells.header.index("Table 4 is within")] for row in cells.rows}
    assert [within[(DC_SET, name)] for name in ("mlp", "lenet")] == ["neither", "whole"]
    assert within[(POOL_SET, "mlp")] == "-"  # no half loss
    said = published_words(read_published(tmp_path))
    start = f"{DC_SET}, mean over the five unseen students, "
    assert said[1:] == [
        f"{start}half loss: 32.1% [31.4, 32.7], n = 2, 10.0 points above the 22.0% in Table 4",
        f"{start}whole loss: 22.1% [21.4, 22.7], n = 2, 0.4 points above the 21.6% logged",
        "Table 4's value is within the 95% interval of the half loss for 0 of 6 pairs of "
        "set and student, and of the whole loss for 1",
    ]
    pool = frame.loc[(POOL_SET, "whole", "alexnet")]
    assert (pool["plain"], pool["table4"], pool["n"]) == pytest.approx((0.1947, 0.2162, 3))


def test_nothing_published_is_an_empty_frame() -> None:
    assert published_sets(pd.DataFrame()).empty
    assert published_words(pd.DataFrame()) == []
