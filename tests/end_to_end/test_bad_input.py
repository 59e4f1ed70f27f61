"""Each mistake of a user: exit status 2, one line, nothing written or changed."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.end_to_end.conftest import TINY, Call, shell


def one_line(err: str) -> str:
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


SETTINGS = [
    ("ipcc=1", "unknown setting 'ipcc'; did you mean 'ipc'?"),
    ("pool.main_prob=1", "did you mean 'pool.main_probability'?"),
    ("main_probability=1.0", "did you mean 'pool.main_probability'?"),
    ("dataset.name=digit", "did you mean 'digits'?"),
    ("method=dcc", "did you mean 'dc'?"),
    ("network.name=conv", "did you mean 'convnet'?"),
    ('evaluation.students=["vgg"]', "did you mean 'vgg11'?"),
    ("pool.others=similiar", "did you mean 'similar'?"),
    ('pool.others=[{network="mlp", weight=0.4}]', "weights sum to 0.4, expected 1"),
    ("pool.main_probability=1.5", "got 1.5, expected less than or equal to 1"),
    ("pool.main_probability=-0.1", "got -0.1, expected greater than or equal to 0"),
    ("ipc=500", "no default for ipc = 500"),
    ("kd.temperature=2.0", "kd.variant is 'off'"),
    ("threads=4096", "threads: got 4096"),
    ("ipc", "expected key=value"),
    ("ipc=[1", "broken TOML value"),
]


@pytest.mark.parametrize(("setting", "words"), SETTINGS)
def test_a_wrong_setting_is_one_line(call: Call, tmp_path: Path, setting: str, words: str) -> None:
    out = tmp_path / "out"
    said = call("run", "--out", out, "--set", setting)
    assert said.status == 2
    assert words in one_line(said.err)
    assert not out.exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["kd.variant=softened", "kd.temperature=0"], "kd.temperature: got 0, expected greater"),
        (["kd.variant=softened", "kd.alpha=1.5"], "kd.alpha: got 1.5"),
        (["ipc=130", "outer_loop=1", "inner_loop=1"], "ipc: got 130, but class"),
        (["dataset.name=cifar10", "dataset.root=/nowhere"], "cifar10"),
        (["dataset.name=imagefolder"], "dataset.root"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(
    call: Call, tmp_path: Path, settings: list[str], words: str
) -> None:
    out = tmp_path / "out"
    flags = [part for setting in settings for part in ("--set", setting)]
    said = call("run", "--out", out, *flags)
    assert said.status == 2
    assert words in one_line(said.err)
    assert not out.exists()


def test_a_missing_dataset_says_what_to_do(call: Call, tmp_path: Path) -> None:
    said = call("run", "--set", "dataset.name=mnist", "--set", f"dataset.root={tmp_path}")
    assert said.status == 2
    assert f"run harness datasets fetch mnist --root {tmp_path}," in one_line(said.err)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fetch", "cifar"], "did you mean 'cifar10'?"),
        (["fetch", "digits"], "'digits' needs no files"),
        (["fetch", "cifar10", "--from", "ftp://x/y"], "expected http://, https:// or a file"),
        (["fetch", "cifar10", "--from", "wrong.tgz"], "wrong or broken file, MD5"),
        (["fetch", "tinyimagenet", "--from", "wrong.tgz"], "File is not a zip file"),
        (["verify", "cifar10"], "run harness datasets fetch cifar10 --root"),
        (["verify", "imagefolder"], "expected"),
    ],
)
def test_datasets_that_cannot_be_had(
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.tgz").write_bytes(b"no archive")
    said = call("datasets", *arguments, "--root", tmp_path / "data")
    assert said.status == 2
    assert words in one_line(said.err)
    assert [entry.name for entry in tmp_path.iterdir()] == ["wrong.tgz"]


def test_a_device_that_is_not_there(call: Call, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("a CUDA device is there")
    said = call("run", "--out", tmp_path / "out", "--device", "cuda")
    assert said.status == 2
    assert "--device cpu" in one_line(said.err)
    assert not (tmp_path / "out").exists()


def test_an_unknown_device(call: Call, tmp_path: Path) -> None:
    said = call("run", "--out", tmp_path / "out", "--device", "gpu")
    assert said.status == 2
    assert "expected auto, cpu or cuda" in one_line(said.err)


def test_a_corrupt_image_is_named(call: Call, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("a", "b"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(4):
                Image.new("L", (28, 28), 40 * i).save(folder / f"{i}.png")
    broken = tmp_path / "images" / "train" / "b" / "2.png"
    broken.write_bytes(broken.read_bytes()[:40])
    said = call(
        "run",
        "--set",
        "dataset.name=imagefolder",
        "--set",
        f"dataset.root={tmp_path / 'images'}",
        "--out",
        tmp_path / "out",
    )
    assert said.status == 2
    assert str(broken) in one_line(said.err)
    assert not (tmp_path / "out").exists()


def test_a_config_file_that_is_not_there(call: Call, tmp_path: Path) -> None:
    said = call("run", "--config", tmp_path / "none.toml")
    assert said.status == 2
    assert "none.toml" in one_line(said.err)


def test_a_config_file_that_is_not_toml(call: Call, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("ipc = = 1")
    said = call("run", "--config", tmp_path / "c.toml")
    assert said.status == 2
    assert "broken TOML" in one_line(said.err)


def test_a_folder_that_holds_something_else_is_left_alone(call: Call, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    said = call("run", "--out", tmp_path)
    assert said.status == 2
    assert "not empty" in one_line(said.err)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


SPACES = [
    (TINY.replace("[space]", "[space"), "broken TOML"),
    (TINY.replace("pool.main_probability = { grid = [0.0, 0.5, 1.0] }", ""), "space is empty"),
    (TINY.replace("pool.main_probability", "pool.main_probabilty"), "pool.main_probability'?"),
    (TINY.replace("[0.0, 0.5, 1.0]", "[0.0, 1.5]"), "pool.main_probability: got 1.5"),
    (TINY.replace("[0.0, 0.5, 1.0]", "[]"), "expected a list of values"),
    (TINY.replace("grid =", "gird ="), "did you mean 'grid'?"),
    (TINY.replace("replicates = 2", "replicate = 2"), "did you mean 'replicates'?"),
    (TINY + 'metric = "test/unseen_mean"\n', "never optimised"),
    (TINY + 'algorithm = "annealing"\n', "search.algorithm"),
    (TINY.replace('name = "digits"', 'name = "digitz"'), "did you mean 'digits'?"),
    (TINY.replace("title =", "titel ="), "did you mean 'title'?"),
]


@pytest.mark.parametrize(("text", "words"), SPACES)
def test_a_wrong_space_is_one_line(call: Call, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "space.toml").write_text(text)
    out = tmp_path / "out"
    said = call("search", tmp_path / "space.toml", "--out", out)
    assert said.status == 2
    line = one_line(said.err)
    assert words in line
    assert not out.exists()
    assert call("spaces", "check", tmp_path / "space.toml").status == 2


def test_an_unknown_space_suggests_one(call: Call, tmp_path: Path) -> None:
    said = call("search", "dema", "--out", tmp_path / "out")
    assert said.status == 2
    assert "did you mean 'demo'?" in one_line(said.err)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--address", "somewhere"], "--address: got 'somewhere'"),
        (["--cpus-per-trial", "0"], "--cpus-per-trial: got 0"),
        (["--cpus-per-trial", "4096"], "a trial asks for 4096 CPUs"),
        (["--trials-per-gpu", "2", "--device", "cpu"], "no GPU to share (cpu); leave it out"),
        (["--trials-per-gpu", "auto", "--device", "cpu"], "no GPU to share (cpu); leave it out"),
        (["--trials-per-gpu", "2", "--gpus-per-trial", "0.5"], "leave one of them out"),
        (["--trials-per-gpu", "2", "--address", "inline"], "inline runs one trial at a time"),
        (["--gpus-per-trial", "64"], "64 GPUs"),
        (["--resume"], "holds no search"),
        (["--samples", "3"], "search.samples"),
        (["--set", "search.replicats=3"], "did you mean 'replicates'?"),
        (["--set", "dataset.name=svhn"], "svhn"),
    ],
)
def test_a_wrong_option_of_search_is_one_line(
    call: Call, tiny: Path, tmp_path: Path, flags: list[str], words: str
) -> None:
    out = tmp_path / "out"
    said = call("search", tiny, "--out", out, "--device", "cpu", *flags)
    assert said.status == 2
    assert words in one_line(said.err)
    assert not out.exists()


def test_another_search_in_the_folder_shows_the_difference(
    call: Call, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert call("search", tiny, "--out", out, "--address", "inline", "--limit", 1).status == 0
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    said = call("search", tiny, "--out", out, "--set", "iterations=3")
    assert said.status == 2
    assert "base.iterations is 2 there and 3 now" in one_line(said.err)
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


def test_a_report_of_nothing(call: Call, tmp_path: Path) -> None:
    said = call("report", tmp_path / "none")
    assert said.status == 2
    assert "none" in one_line(said.err)


STORED = Path(__file__).parents[1] / "unit" / "analysis" / "stored" / "v1"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--figure", "paretto"], "did you mean 'pareto'?"),
        (["--figure", "heat_map:kd.variant,ipc"], "v1 does not vary 'ipc'"),
        (["--figure", "images"], "v1: no finished trial has images.png"),
        (["--figure", "pareto", "--to", "a.gif"], "expected a figure: .svg, .png, .pdf"),
        (["--figure", "pareto", "--to", "none/a.svg"], "no folder none"),
        (["--figure", "pareto", "--table", "cost"], "got a figure as well"),
        ([str(STORED), "--figure", "pareto"], "got 2 searches"),
    ],
)
def test_a_figure_that_cannot_be_is_one_line(call: Call, flags: list[str], words: str) -> None:
    said = call("report", STORED, *flags)
    assert said.status == 2
    assert words in one_line(said.err)


def test_a_figure_is_one_file(call: Call, tmp_path: Path) -> None:
    said = call("report", STORED, "--to", tmp_path / "a.png")  # the main one
    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines()[-1] == f"figure: {tmp_path / 'a.png'}"
    assert said.out.startswith("Configurations. Mean accuracy of unseen students on validation")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    out = tmp_path / "search"
    shutil.copytree(STORED, out)
    assert call("report", out, "--figure", "pareto").status == 0
    assert (out / "pareto.svg").read_text().startswith("<?xml")
    assert not (out / "report.html").exists()


def test_no_ray_at_an_address(tiny: Path, tmp_path: Path) -> None:
    said = shell("search", tiny, "--out", tmp_path / "out", "--address", "127.0.0.1:1")
    assert said.status == 2
    assert "no Ray answers at '127.0.0.1:1'" in said.err
    assert "Traceback" not in said.err
