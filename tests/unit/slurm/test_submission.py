"""The sbatch text of each shape, compared with files; the size of launches."""

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.config import make_config
from harness.errors import ConfigError
from harness.search.folder import open_search
from harness.search.space import load_space
from slurm.folder import Launch, LaunchFolder
from slurm.launch import check_shape, make_launch
from slurm.profile import Profile
from slurm.submission import roles, sbatch_text, submit
from tests.unit.slurm.conftest import Fake

TEXTS = Path(__file__).parent / "sbatch"


def launch(**profile: Any) -> Launch:
    return make_launch(Profile(**profile), [make_config({"threads": 2})], device="auto")


def text(tmp_path: Path, made: Launch) -> str:
    """What sbatch would get for each role, without what differs from machine to machine."""
    place = LaunchFolder(tmp_path / "runs" / "demo")
    parts = [sbatch_text(made, place, role, number) for role, number in roles(made).items()]
    return "\n".join(parts).replace(str(tmp_path), "/home/me").replace(sys.executable, "python3")


SITES: dict[str, dict[str, Any]] = {
    "cluster": {"shape": "cluster", "nodes": 4, "gpus_per_node": 2, "partition": "gpu"},
    "elastic": {
        "shape": "elastic",
        "nodes": 3,
        "cpus_per_node": 4,
        "mem_gb": 1.5,
        "partition": "preemptible",
        "head_partition": "cpu",
        "time_min": 30,
        "signal_s": 60,
    },
    "array": {
        "shape": "array",
        "nodes": 2,
        "gpus_per_node": 4,
        "cpus_per_node": 16,
        "mem_gb": 64.0,
        "account": "a b",
        "qos": "normal",
        "constraint": "a100|h100",
        "exclude": "node7",
        "extra": {"nice": 100},
        "setup": ["module load cuda"],
        "environment": {"HARNESS_CACHE": "/scratch/my cache"},
        "container": "apptainer exec --nv /images/h.sif",
    },
}


@pytest.mark.parametrize("shape", SITES)
def test_the_sbatch_text_is_as_in_the_file(shape: str, tmp_path: Path, fake: Fake) -> None:
    assert text(tmp_path, launch(**SITES[shape])) == (TEXTS / f"{shape}.txt").read_text()


def test_an_array_is_split_below_what_the_site_allows(tmp_path: Path, fake: Fake) -> None:
    fake("scontrol", "echo 'MaxArraySize            = 3'")
    calls = fake("sbatch", 'echo "Submitted batch job $(wc -l < "$0.calls")"; grep array "$1" >&2')
    made = launch(shape="array", nodes=7)
    place = LaunchFolder(tmp_path)
    place.create(made)
    jobs = submit(made, place, "task", 7)
    assert len(calls.read_text().splitlines()) == 3
    assert jobs == ["1_0", "1_1", "1_2", "2_0", "2_1", "2_2", "3"]
    assert place.submitted() == dict.fromkeys(jobs, "task")


def test_what_sbatch_refuses_is_said_in_its_words(
    tmp_path: Path, fake: Fake, capfd: pytest.CaptureFixture[str]
) -> None:
    fake("sbatch", "echo 'sbatch: error: invalid partition specified: x' >&2; exit 1")
    made = launch()
    place = LaunchFolder(tmp_path)
    place.create(made)
    with pytest.raises(ConfigError, match="sbatch refuses the job: invalid partition specified: x"):
        submit(made, place, "node", 1)
    assert place.submitted() == {}
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("site", "cpus", "slots"),
    [
        ({}, 2, 1),
        ({"cpus_per_node": 9}, 9, 4),
        ({"gpus_per_node": 4}, 8, 4),
        ({"gpus_per_node": 4, "cpus_per_node": 6}, 6, 3),
        ({"gpus_per_node": 2, "trials_per_gpu": 3}, 12, 6),
        ({"gpus_per_node": 2, "trials_per_gpu": "auto"}, 4, 2),
    ],
)
def test_a_node_runs_as_many_trials_as_fit(site: dict[str, Any], cpus: int, slots: int) -> None:
    made = launch(**site)
    assert (made.cpus_per_node, made.slots_per_node) == (cpus, slots)
    assert made.device == ("cuda" if site.get("gpus_per_node") else "cpu")


def test_packing_needs_a_gpu() -> None:
    with pytest.raises(ConfigError, match="trials_per_gpu: got 2, but no GPU is asked for"):
        launch(trials_per_gpu=2)


@pytest.mark.parametrize(
    ("search", "site", "said"),
    [
        (
            'algorithm = "random"\nsamples = 2\nscheduler = "median"',
            {},
            "'array' has tasks that know nothing .* 'median' stops",
        ),
        ('algorithm = "tpe"\nsamples = 4', {}, "'tpe' chooses trials by results"),
        (
            'algorithm = "random"\nsamples = 2',
            {"gpus_per_node": 1, "trials_per_gpu": 2},
            "trials_per_gpu: got 2, but each task",
        ),
    ],
)
def test_an_array_refuses_what_its_tasks_cannot_decide(
    search: str, site: dict[str, Any], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "space.toml"
    file.write_text(f"[space]\nlr_img = {{ uniform = [0.1, 1.0] }}\n[search]\n{search}\n")
    folder = open_search(tmp_path / "out", load_space(str(file)))
    check_shape(folder, launch(shape="cluster", **site))
    with pytest.raises(ConfigError, match=said):
        check_shape(folder, launch(shape="array", **site))


def test_a_node_that_no_trial_fits_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a trial asks for 2 CPUs .* has 1 CPUs"):
        launch(cpus_per_node=1)


def test_a_launch_keeps_its_token_to_its_user(tmp_path: Path) -> None:
    place = LaunchFolder(tmp_path)
    place.create(launch())
    first = place.token.read_text()
    assert place.path.stat().st_mode & 0o777 == 0o700
    assert place.token.stat().st_mode & 0o777 == 0o600
    place.create(launch())
    assert place.token.read_text() != first
