"""What the documents show is run: every ``$ harness`` line of the README, every space of theirs."""

import re
import shlex
from pathlib import Path

import pytest

from harness.architecture import Architecture
from harness.config import METHODS
from harness.dotted import setting_names
from harness.search.estimate import describe_size
from harness.search.folder import open_search
from harness.search.plan import make_plan
from harness.search.space import bundled_spaces, load_space, read_space
from tests.end_to_end.conftest import Call

ROOT = Path(__file__).parents[2]
COMMANDS = re.findall(r"^\$ harness (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
WRONG = "run --set pool.main_prob=0.8"


def test_the_readme_s_commands_do_what_it_says(
    call: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(COMMANDS) >= 8
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        if command.startswith("board "):  # does not end; tests/browser has it
            continue
        if command == "report runs/demo":  # stands for the demo's own results, which take minutes
            assert call("search", tiny, "--out", "runs/demo", "--address", "inline").status == 0
        said = call(*shlex.split(command))
        assert said.status == (2 if command == WRONG else 0), command + said.err
    assert (tmp_path / "runs" / "first" / "trial.json").exists()
    assert (tmp_path / "runs" / "demo" / "report.html").exists()


def test_the_readme_s_wrong_setting_is_answered_as_shown(call: Call) -> None:
    shown = re.search(rf"^\$ harness {WRONG}\nharness: (.+?) \.\.\.$", readme(), re.MULTILINE)
    assert shown is not None
    assert shown[1] in call(*shlex.split(WRONG)).err


def readme() -> str:
    return (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", ["README.md", "CONTRIBUTING.md", "search_spaces/README.md"])
def test_files_that_documents_name_are_there(path: str) -> None:
    text = (ROOT / path).read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    named = re.findall(r"`((?:harness|analysis|tests|search_spaces)/[\w/.]+)`", text)
    missing = [name for name in {*links, *named} if not (ROOT / name).exists()]
    assert missing == []


def test_the_space_in_the_readme_of_spaces_is_legal() -> None:
    import tomllib

    text = (ROOT / "search_spaces" / "README.md").read_text()
    shown, _ = re.findall(r"```toml\n(.+?)```", text, re.DOTALL)
    space = read_space(tomllib.loads(shown), "readme.toml", {})
    points = list(space.points())
    assert [point.get("kd.temperature") for point in points] == [None, 1.0, 2.0, 4.0]


@pytest.mark.parametrize("name", bundled_spaces())
def test_every_bundled_space_is_legal_and_asks_something(name: str) -> None:
    space = load_space(name)
    assert space.title
    assert space.question.endswith("?")
    size = describe_size(space, make_plan(space), space.search.samples or 0)
    text = (ROOT / "search_spaces" / f"{name}.toml").read_text()
    assert f"# Cost: {size}\n" in text


@pytest.mark.parametrize("name", bundled_spaces())
def test_spaces_check_takes_every_bundled_space(call: Call, name: str) -> None:
    said = call("spaces", "check", name)
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith(f"{name}: legal; ")


@pytest.mark.parametrize("name", bundled_spaces())
def test_every_bundled_space_survives_its_search_folder(name: str, tmp_path: Path) -> None:
    space = load_space(name)
    open_search(tmp_path, space).prepare()
    assert open_search(tmp_path, space, must_exist=True).plan == tuple(make_plan(space))


def test_the_readme_of_spaces_lists_them_all() -> None:
    text = (ROOT / "search_spaces" / "README.md").read_text().partition("```toml")[0]
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == bundled_spaces()


def test_the_subsets_of_the_pool_are_all_there_once() -> None:
    space = load_space("pool_composition")
    (others,) = [p.values for p in space.parameters if p.name == "pool.others"]
    kinds = []
    for networks in others:
        labels = [Architecture.parse(item["network"]) for item in networks]
        main = Architecture()
        names = ("activation", "norm", "pooling", "depth")
        varied = [[n for n in names if getattr(a, n) != getattr(main, n)] for a in labels]
        assert all(len(one) == 1 for one in varied)
        kinds.append(frozenset(one[0] for one in varied))
    assert len(set(kinds)) == len(kinds) == 15


def test_the_commands_and_their_options_are_frozen() -> None:
    import typer

    from analysis.figures import FIGURES
    from analysis.views import TABLES
    from harness.cli import app

    root = typer.main.get_command(app)
    found = {}
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        options = [text for parameter in command.params for text in parameter.opts]
        found[name] = sorted(text for text in options if text.startswith("--"))
    groups = root.commands["datasets"].commands  # type: ignore[attr-defined]
    for name, command in groups.items():
        options = [text for parameter in command.params for text in parameter.opts]
        found[f"datasets {name}"] = sorted(text for text in options if text.startswith("--"))
    assert found == {
        "run": ["--config", "--device", "--out", "--set", "--store"],
        "search": [
            "--add-samples",
            "--address",
            "--cpus-per-trial",
            "--device",
            "--dry-run",
            "--gpus-per-trial",
            "--limit",
            "--out",
            "--promote",
            "--resume",
            "--samples",
            "--set",
            "--store",
            "--trials-per-gpu",
        ],
        "evaluate": [
            "--device",
            "--entry",
            "--factor",
            "--labels",
            "--no-random",
            "--no-ranking",
            "--out",
            "--pixels",
            "--real-accuracy",
            "--real-epochs",
            "--set",
            "--skip-bad",
        ],
        "export": ["--entry", "--factor", "--format", "--labels", "--pixels", "--set", "--to"],
        "launch": [
            "--dry-run",
            "--gpus-per-node",
            "--nodes",
            "--out",
            "--partition",
            "--profile",
            "--set",
            "--shape",
            "--store",
            "--time-min",
        ],
        "status": [],
        "logs": [],
        "cancel": [],
        "report": ["--figure", "--include-stopped", "--table", "--to"],
        "board": ["--port"],
        "spaces": [],
        "datasets": [],
        "store": [],
        "datasets fetch": ["--from", "--root"],
        "datasets verify": ["--root", "--set", "--skip-bad"],
    }
    helps = {one.name: one.help for one in root.commands["report"].params if hasattr(one, "help")}
    assert all(name in helps["table"] for name in TABLES)
    assert all(name in helps["figure"] for name in FIGURES)
    assert all(f"`{name}`" in readme() for name in FIGURES)


def test_settings_and_methods_have_the_fixed_names() -> None:
    names = set(setting_names())
    fixed = """dataset.name dataset.root dataset.normalise_as dataset.validation_fraction method ipc
        iterations seed protocol init lr_img lr_net batch_real outer_loop inner_loop network.name
        network.width network.depth network.activation network.norm network.pooling pool.others
        pool.main_probability pool.warmup pool.balanced pool.schedule precision compile threads
        kd.variant kd.temperature kd.alpha kd.teacher evaluation.students evaluation.student_seeds
        evaluation.epochs evaluation.lr evaluation.batch evaluation.augmentation run.report_every
        run.checkpoint_every dataset.resize dataset.skip_bad dataset.pixels kmeans.epochs
        dsa.operations idc.factor idc.distance idc.net_images acc.networks acc.epochs
        acc.directions acc.magnitude_min acc.magnitude_max
        pool.bandit.arms pool.bandit.every pool.bandit.exploration pool.bandit.probe_images
        pool.bandit.probe_steps pool.bandit.probes run.similarity_draws elf.loss elf.distance
        elf.front_weight elf.rear_weight elf.epochs evaluation.optimizer
        evaluation.keep_rates"""
    assert names == set(fixed.split())
    assert set(METHODS) == {"dc", "dm", "dsa", "idc", "random-real", "kmeans", "full-data"}
