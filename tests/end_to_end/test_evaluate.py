"""``harness evaluate`` and ``harness export``: sets of anybody, scored and turned into others."""

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch

from tests.end_to_end.conftest import Call
from tests.end_to_end.test_bad_input import one_line

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "published"
JPEG_CIFAR10 = Path(__file__).parents[3] / "shared" / "data" / "cifar10-jpeg.tar.xz"
LABELS = torch.arange(10)
IMAGES = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(0))
QUICK = [
    part
    for setting in (
        "network.width=4",
        "network.depth=1",
        'evaluation.students=["main", "mlp"]',
        "evaluation.student_seeds=2",
        "evaluation.epochs=3",
    )
    for part in ("--set", setting)
]
DIGITS = ["--set", "dataset.name=digits"]


def write(path: Path, images: Any = IMAGES, labels: Any = LABELS) -> Path:
    torch.save({"data": [[images, labels]], "accs_all_exps": {}}, path)
    return path


@pytest.fixture
def trial(call: Call, tmp_path: Path) -> Path:
    """A trial of two iterations."""
    flags = ["--set", "iterations=2", "--set", "batch_real=4", *QUICK]
    assert call("run", "--out", tmp_path / "trial", *flags).status == 0
    return tmp_path / "trial"


def test_a_foreign_set_is_scored_beside_random_images(call: Call, tmp_path: Path) -> None:
    path = write(tmp_path / "res.pt")
    out = tmp_path / "out"
    said = call(
        "evaluate",
        path,
        "--pixels",
        "normalised",
        *DIGITS,
        *QUICK,
        "--real-epochs",
        2,
        "--out",
        out,
    )
    assert said.status == 0, said.err
    assert "entry 0: format dc, 10 images (ipc 1) of digits, normalised, hard labels" in said.out
    assert re.search(
        r"^mlp +0\.\d{4} ±0\.\d{4} \(n=2\) +0\.\d{4} ±0\.\d{4} \(n=2\) +[+-]", said.out, re.M
    )
    assert re.search(r"^LRS +0\.\d{4} ", said.out, re.M)
    assert re.search(r"^ARS +0\.\d{4} ", said.out, re.M)
    (made,) = json.loads((out / "evaluation.json").read_text())["sets"]
    assert made["config"]["protocol"] == "paper"
    assert made["config"]["ipc"] == 1
    assert made["ranking"]["n"] == 2
    assert 0 < made["ranking"]["real"] <= 1
    rows = pyarrow.parquet.read_table(out / "evaluations.parquet").to_pylist()
    assert len(rows) == 2 * 2 * 2  # set and random, two students, two seeds
    assert {row["method"] for row in rows} == {"foreign", "random-real"}
    assert {(row["split"], row["iterations"], row["pool"]) for row in rows} == {
        ("test", None, None)
    }
    for result in made["results"]:
        own = [
            row["accuracy"]
            for row in rows
            if (row["method"], row["student"]) == ("foreign", result["student"])
        ]
        assert result["accuracy"] == pytest.approx(np.mean(own))


def test_random_images_may_be_left_out(call: Call, tmp_path: Path) -> None:
    flags = [write(tmp_path / "res.pt"), "--pixels", "normalised", *DIGITS, *QUICK]
    beside = call("evaluate", *flags, "--no-ranking").out
    said = call("evaluate", *flags, "--no-random", "--real-epochs", 2, "--out", tmp_path / "out")
    assert said.status == 0, said.err
    (alone,) = re.findall(r"^(mlp .*) - *$", said.out, re.M)
    assert beside.splitlines()[-1].startswith(alone.rstrip())  # the same students
    assert "LRS" not in said.out
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "evaluations.parquet").to_pylist()
    assert {row["method"] for row in rows} == {"foreign"}


def test_the_same_command_gives_the_same_numbers(call: Call, tmp_path: Path) -> None:
    path = write(tmp_path / "res.pt")
    flags = ["--pixels", "normalised", *DIGITS, *QUICK, "--no-ranking"]
    first, again = call("evaluate", path, *flags), call("evaluate", path, *flags)
    assert first.status == 0
    assert first.out == again.out


def test_a_trial_s_own_set_gives_its_own_numbers(call: Call, trial: Path) -> None:
    """The set knows its settings; scored as in the trial, each student is the same network."""
    out = trial.parent / "out"
    flags = [*QUICK[4:], "--out", out]
    said = call("evaluate", trial, *flags)
    assert said.status == 0, said.err
    assert "format harness" in said.out
    before, after = (
        pyarrow.parquet.read_table(folder / "evaluations.parquet").to_pylist()
        for folder in (trial, out)
    )
    keys = ("student", "student_seed", "split", "accuracy", "loss", "method", "iterations", "ipc")
    own = [row for row in after if row["method"] == "dc"]
    assert [[row[key] for key in keys] for row in own] == [
        [row[key] for key in keys] for row in before
    ]


@pytest.mark.parametrize("format_", ["dc", "mtt", "idc", "dd-ranking", "kip", "folder", "harness"])
def test_a_trial_s_set_goes_out_and_comes_back(call: Call, trial: Path, format_: str) -> None:
    names = {"dc": "a.pt", "idc": "a.pt", "kip": "a.npz", "harness": "a.safetensors"}
    to = trial.parent / "exported" / names.get(format_, "a")
    to.parent.mkdir()
    said = call("export", trial, "--to", to, "--format", format_)
    assert said.status == 0, said.err
    back = to.parent / "back.safetensors"
    flags = ["--factor", 1] if format_ == "idc" else []
    if format_ in ("dc", "mtt", "dd-ranking", "kip"):
        flags = ["--pixels", "normalised"]
    if format_ != "harness":
        flags += DIGITS
    assert call("export", to, "--to", back, *flags).status == 0
    from harness.synthetic import load_synthetic

    one, two = load_synthetic(trial / "distilled.safetensors"), load_synthetic(back)
    assert torch.equal(one.labels, two.labels)
    if format_ == "folder":
        mean, std = (torch.tensor(one.provenance[name]) for name in ("mean", "std"))
        expected = ((one.images * std + mean).clamp(0, 1) - mean) / std
        torch.testing.assert_close(two.images, expected, atol=0.6 / 255 / float(std), rtol=0)
    else:
        torch.testing.assert_close(two.images, one.images, atol=1e-5, rtol=0)


def test_a_picture(call: Call, trial: Path) -> None:
    assert call("export", trial, "--to", trial.parent / "a.png").status == 0
    assert (trial.parent / "a.png").read_bytes() == (trial / "images.png").read_bytes()


def test_a_zca_trial_s_set_is_turned_back(call: Call, tmp_path: Path) -> None:
    flags = [
        "--set",
        "iterations=1",
        "--set",
        "batch_real=4",
        "--set",
        "dataset.pixels=zca",
        *QUICK,
    ]
    assert call("run", "--out", tmp_path / "trial", *flags).status == 0
    said = call("export", tmp_path / "trial", "--to", tmp_path / "a.png")
    assert said.status == 0, said.err
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "trial" / "images.png").read_bytes()
    said = call("export", tmp_path / "trial", "--to", tmp_path / "a.pt", "--format", "dc")
    assert "images in zca space" in said.out
    said = call("evaluate", tmp_path / "trial", "--no-ranking", *QUICK)
    assert said.status == 0, said.err
    assert "of digits, zca, hard labels" in said.out


def test_several_sets_and_entries_at_once(call: Call, tmp_path: Path) -> None:
    torch.save({"data": [[IMAGES, LABELS], [IMAGES + 1, LABELS]]}, tmp_path / "two.pt")
    flags = ["--pixels", "normalised", *DIGITS, *QUICK, "--no-ranking"]
    out = ["--out", tmp_path / "out"]
    said = call("evaluate", tmp_path / "two.pt", write(tmp_path / "one.pt"), *flags, *out)
    assert said.status == 0
    trials = {
        row["trial_id"]
        for row in pyarrow.parquet.read_table(tmp_path / "out" / "evaluations.parquet").to_pylist()
    }
    assert trials == {"two#0", "two#1", "one#0"}
    assert re.findall(r"(\w+)\.pt entry (\d)", said.out) == [
        ("two", "0"),
        ("two", "1"),
        ("one", "0"),
    ]
    said = call("export", tmp_path / "two.pt", "--to", tmp_path / "a.npz", *flags[:4])
    assert said.status == 2
    assert "--entry: " in one_line(said.err)


def test_soft_labels_and_a_learned_rate(call: Call, tmp_path: Path) -> None:
    torch.save(IMAGES, tmp_path / "images.pt")
    torch.save((torch.eye(10) * 5).softmax(1), tmp_path / "labels.pt")
    torch.save(torch.tensor(0.05), tmp_path / "lr.pt")
    flags = ["--pixels", "normalised", *DIGITS, *QUICK]
    said = call("evaluate", tmp_path, *flags)
    assert said.status == 0, said.err
    assert "soft labels; protocol paper, rate 0.05" in said.out
    assert "note: the rate 0.05 comes with the set" in said.out
    assert "note: random real images have hard labels" in said.out
    said = call("evaluate", tmp_path, *flags, "--set", "evaluation.lr=0.02", "--no-ranking")
    assert "rate 0.02" in said.out


def test_kd_and_augmentation_are_settings(call: Call, tmp_path: Path) -> None:
    flags = ["--pixels", "normalised", *DIGITS, *QUICK]
    flags += ["--set", "kd.variant=softened", "--set", "evaluation.augmentation=crop-scale-rotate"]
    said = call("evaluate", write(tmp_path / "a.pt"), *flags)
    assert said.status == 0, said.err
    assert "kd softened" in said.out


def test_a_zca_set(call: Call, tmp_path: Path) -> None:
    from harness.config import DatasetSettings
    from harness.datasets import load_dataset

    data = load_dataset(DatasetSettings(pixels="zca"), protocol="paper")
    first = [int((data.train.labels == k).nonzero()[0]) for k in range(10)]
    path = write(tmp_path / "a.pt", data.train.images[torch.tensor(first)])
    said = call("evaluate", path, "--pixels", "zca", *DIGITS, *QUICK, "--no-ranking")
    assert said.status == 0, said.err
    assert "of digits, zca, hard labels" in said.out
    said = call("evaluate", path, "--pixels", "normalised", *DIGITS, *QUICK)
    assert said.status == 2
    assert "implausible in 'normalised' space" in one_line(said.err)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    ("images", "labels", "flags", "words"),
    [
        (IMAGES * float("nan"), LABELS, [], "the images hold NaN"),
        (IMAGES, LABELS.clamp(max=8), [], "unbalanced classes: class 9 has 0 images"),
        (IMAGES, LABELS + 5, [], "labels go from 5 to 14"),
        (torch.randn(10, 3, 32, 32), LABELS, [], "got images 3x32x32, but those of 'digits'"),
        (IMAGES, LABELS, ["--pixels", "unit"], "implausible in 'unit' space"),
        (IMAGES, LABELS, ["--entry", "1"], "--entry: got 1"),
        (IMAGES, LABELS, ["--set", "evaluation.student=1"], "did you mean"),
        (IMAGES, LABELS, ["--real-accuracy", "0.5", "--real-epochs", "1"], "give one"),
        (IMAGES, LABELS, ["--factor", "2"], "has no mosaics"),
    ],
)
def test_bad_sets_are_one_line(
    call: Call, tmp_path: Path, images: Any, labels: Any, flags: list[str], words: str
) -> None:
    path, out = write(tmp_path / "a.pt", images, labels), tmp_path / "out"
    pixels = [] if "--pixels" in flags else ["--pixels", "normalised"]
    said = call("evaluate", path, *DIGITS, *QUICK, *pixels, *flags, "--out", out)
    assert said.status == 2
    assert words in one_line(said.err)
    assert not out.exists()


def test_nothing_is_run_from_a_set(call: Call, tmp_path: Path) -> None:
    torch.save({"data": [[IMAGES, LABELS]], "extra": Bomb(tmp_path / "ran")}, tmp_path / "a.pt")
    for command in (["evaluate"], ["export", "--to", tmp_path / "b.npz"]):
        said = call(*command, tmp_path / "a.pt", "--pixels", "normalised", *DIGITS)
        assert said.status == 2
        assert "unpickled" in one_line(said.err)
    assert not (tmp_path / "ran").exists()


def test_what_has_to_be_told(call: Call, tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt")
    for flags, words in (
        (DIGITS, "give --pixels normalised"),
        (["--pixels", "normalised"], "--set dataset.name=cifar10"),
    ):
        said = call("evaluate", path, *flags)
        assert said.status == 2
        assert words in one_line(said.err)


def test_an_out_folder_that_is_not_empty(call: Call, tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt")
    said = call("evaluate", path, "--pixels", "normalised", *DIGITS, "--out", tmp_path)
    assert said.status == 2
    assert "is there and not empty" in one_line(said.err)
    said = call("export", path, "--pixels", "normalised", *DIGITS, "--to", path, "--format", "dc")
    assert said.status == 2
    assert "is there already" in one_line(said.err)


def test_unreadable_real_images_are_skipped_when_asked(call: Call, tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in "ab":
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for i in range(4):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    bad = tmp_path / "images" / "test" / "b" / "2.png"
    bad.write_bytes(b"\x89PNG")
    flags = ["--set", "dataset.name=imagefolder", "--set", f"dataset.root={tmp_path / 'images'}"]
    path = write(tmp_path / "a.pt", torch.randn(2, 3, 32, 32), torch.arange(2))
    flags += ["--pixels", "normalised", "--no-ranking", *QUICK]
    said = call("evaluate", path, *flags)
    assert said.status == 2
    assert str(bad) in one_line(said.err)
    said = call("evaluate", path, *flags, "--skip-bad")
    assert said.status == 0, said.err
    assert "note: imagefolder: 1 of 16 images cannot be read and are left out" in said.out


# arXiv 2402.13007: its log (plain CE), and Table 5, setting 3.
TARGETS = {
    "res_DC_CIFAR10_ConvNet_1ipc_3000.pt": {"mlp": 0.2587, "lenet": 0.2052},
    "modelpool_res_DC_CIFAR10_ConvNet_1ipc_3000.pt": {"mlp": 0.2724, "lenet": 0.2022},
}

MEMORY = """
import re, sys
sys.path.insert(0, {checkout!r})
from harness.config import DatasetSettings
from harness.datasets import load_dataset
def resident():
    status = open("/proc/self/status").read()
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", status)[1]) * 1024
before = resident()
settings = DatasetSettings(name="imagefolder", root={root!r}, normalise_as="cifar10")
data = load_dataset(settings, protocol="held-out")
for split in (data.train, data.validation, data.test):
    for start in range(0, len(split.labels), 256):
        split.images[start : start + 256]
print(resident() - before)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not PUBLISHED.exists(), reason="no shared/data/published")
@pytest.mark.skipif(not JPEG_CIFAR10.exists(), reason="no shared/data/cifar10-jpeg.tar.xz")
def test_published_sets_give_published_numbers(call: Call, tmp_path: Path) -> None:
    """Two networks of two students; docs/data.md has the command of the whole check.

    And on the way: 60,000 images, mapped and walked through, take less than 1.5 times their bytes.
    """
    root = tmp_path / "cifar10"
    with tarfile.open(JPEG_CIFAR10) as archive:
        archive.extractall(root, filter="data")
    for name, targets in TARGETS.items():
        out = tmp_path / name
        flags = [
            *("--entry", 0, "--pixels", "normalised", "--no-ranking", "--out", out),
            *("--set", "dataset.name=imagefolder", "--set", f"dataset.root={root}"),
            *("--set", "dataset.normalise_as=cifar10", "--set", "evaluation.student_seeds=2"),
            *("--set", 'evaluation.students=["mlp", "lenet"]'),
        ]
        said = call("evaluate", PUBLISHED / name, *flags)
        assert said.status == 0, said.err
        (made,) = json.loads((out / "evaluation.json").read_text())["sets"]
        found = {result["student"]: result["accuracy"] for result in made["results"]}
        assert found == pytest.approx(targets, abs=0.03)  # five networks are within 0.02
        for result in made["results"]:
            assert result["accuracy"] > result["random_accuracy"] + 0.02
    code = MEMORY.format(checkout=str(Path(__file__).parents[2]), root=str(root))
    said_memory = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert int(said_memory.stdout) < 1.5 * 60_000 * 3 * 32 * 32
