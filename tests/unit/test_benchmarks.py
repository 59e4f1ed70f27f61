"""The benchmarks' machinery: arms do the same work, rows are right. Nothing here judges a time."""

import json
import os
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from analysis.load import load_search
from benchmarks import loading, runner
from benchmarks.__main__ import main
from benchmarks.arms import ARMS, FLOOR, PLAIN, PLAIN_TUNED, arms_of, row_distance
from benchmarks.cases import BENCHMARKS, CASES, SETTINGS, Case, Setting, select
from benchmarks.floor import Floor
from benchmarks.inputs import (
    draw_batches,
    make_data,
    make_network,
    make_settings,
    make_synthetic,
)
from benchmarks.report import Machine, Row, file_name, format_table, make_rows
from benchmarks.runner import ArmError, Timing, clean_environment, run_case
from benchmarks.worker import Clock
from harness import seeding
from tests.reference import dc as reference_dc
from tests.reference import matching as reference_matching

CPU = torch.device("cpu")
MACHINE = Machine("a CPU", 2, 8.0, None, "2.13.0+cpu", "3.11.7", "0" * 40)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting whose real batches are whole classes, so that every arm draws the same."""
    monkeypatch.setitem(SETTINGS, "small", Setting("digits", (1, 28, 28), 4, 6, 6, 2))


def case(benchmark: str, **more: Any) -> Case:
    return Case(benchmark, "small", rounds=1, round_s=0.0, **more)


def results(given: Case) -> dict[str, Any]:
    """What each workload's first call returns, in this process: setups are left out."""
    return {
        variant: arm.make(given, CPU, 1)()
        for variant, arm in arms_of(given, "cpu").items()
        if variant not in (PLAIN_TUNED, FLOOR)
    }


def relative(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def timings(*seconds: float) -> list[Timing]:
    return [Timing(value, peak_gib=value) for value in seconds]


# --- The arms do the same work --------------------------------------------------------------


def test_matching_arms_agree() -> None:
    found = results(case("matching"))
    loss, gradient = found.pop(PLAIN)
    assert gradient.any()
    for variant, (other_loss, other_gradient) in found.items():
        # On a few images of noise the two gradients nearly cancel, and bfloat16 shows.
        bound = 0.2 if variant == "engine-bf16" else 1e-3
        assert relative(other_loss, loss) <= bound
        assert relative(other_gradient, gradient) <= bound


def test_comparing_all_rows_at_once_is_the_same_distance() -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 5, 3, 2, 2, dtype=torch.float64, generator=rng)
    expected = reference_matching.row_distance(a, b)
    torch.testing.assert_close(row_distance(a, b), expected, rtol=1e-12, atol=0)


def test_inner_arms_agree() -> None:
    given = case("inner", epochs=3)
    found = {
        variant: torch.cat([p.detach().flatten() for p in parameters])
        for variant, parameters in results(given).items()
    }
    start = make_network(given, CPU, make_settings(given, 1).network, "benchmark-network")
    moved = found[PLAIN] - torch.cat([p.detach().flatten() for p in start.parameters()])
    assert moved.any()
    for parameters in found.values():
        assert float((parameters - found[PLAIN]).norm() / moved.norm()) <= 1e-3


def test_iteration_arms_agree() -> None:
    given = case("iteration", outer_loop=2, epochs=2)
    found = results(given)
    expected = found.pop(PLAIN)
    for variant, images in found.items():
        assert images.shape == expected.shape
        assert relative(images, expected) <= (3e-2 if variant == "engine-bf16" else 1e-3)


def test_the_plain_iteration_is_the_reference() -> None:
    given = case("iteration", outer_loop=3, epochs=2)
    config, data = make_settings(given, 1), make_data(given, CPU)
    rng = seeding.generator(config.seed, "benchmark-batches")

    def network(_: int) -> nn.Module:
        return make_network(given, CPU, config.network, "network", 0)

    expected = reference_dc.distil(
        _first_images(given),
        classes=10,
        iterations=1,
        outer_loop=3,
        inner_loop=2,
        lr_img=config.lr_img,
        lr_net=config.lr_net,
        make_network=network,
        real_batches=lambda *_: draw_batches(data, config.batch_real, rng),
        batch_norm_images=lambda *_: torch.empty(0),
    )
    images = ARMS["iteration"][PLAIN].make(given, CPU, 1)()
    torch.testing.assert_close(images, expected, rtol=1e-5, atol=1e-6)


def _first_images(given: Case) -> Tensor:
    from harness.distill.dc import DC

    return DC(make_settings(given, 1), make_data(given, CPU), CPU).synthetic().images


@pytest.mark.parametrize("student", ["mlp", "lenet", "convnet-w4"])
def test_evaluation_arms_agree(student: str) -> None:
    given = case("evaluation", student=student, epochs=3, student_seeds=2, test_images=300)
    found = results(given)
    expected = found.pop(PLAIN)
    assert len(expected) == 2
    for accuracies in found.values():
        # Fp32 rounding may turn a few of the 300 images around.
        assert accuracies == pytest.approx(expected, abs=0.02)


def test_inputs_are_noise_and_always_the_same() -> None:
    given = case("matching", test_images=20)
    first, second = make_data(given, CPU), make_data(given, CPU)
    synthetic = make_synthetic(given, CPU)
    for images in (first.train.images, first.test.images, synthetic.images):
        assert float(images.std()) == pytest.approx(1.0, abs=0.05)
    assert torch.equal(first.train.images, second.train.images)
    assert not torch.equal(first.train.images[:20], first.test.images)
    assert [len(batch) for batch in draw_batches(first, 5, torch.Generator())] == [5] * 10


# --- What is timed --------------------------------------------------------------------------


def test_every_benchmark_has_cases_and_both_baselines() -> None:
    assert set(BENCHMARKS) == set(ARMS)
    for arms in ARMS.values():
        assert list(arms)[:2] == [PLAIN, PLAIN_TUNED]
        assert "engine" in arms
    for given in CASES:
        assert given.setting in SETTINGS
        make_settings(given, 1)


def test_labels_state_what_was_reduced_and_tell_cases_apart() -> None:
    labels = [(given.benchmark, given.label) for given in CASES]
    assert len(set(labels)) == len(labels)
    assert ("iteration", "cifar-ipc10 outer 2, inner 20") in labels
    assert ("evaluation", "digits-ipc1 5 x mlp, 60 epochs, 80 test images") in labels


def test_quick_takes_the_first_case_of_each_benchmark_or_all_of_a_setting() -> None:
    assert [given.benchmark for given in select(BENCHMARKS, quick=True)] == list(BENCHMARKS)
    assert len(select(["evaluation"], ["digits-ipc1"], quick=True)) == 3
    assert select(["inner"], ["digits-ipc1"]) == []


def test_a_round_is_repeated_until_it_is_full() -> None:
    calls: list[int] = []
    clock = Clock(lambda: calls.append(1), CPU)
    first = clock.round(round_s=0.0)
    assert first["seconds"] > 0
    assert first["first_s"] == first["seconds"]
    assert first["kernels"] is None
    assert len(calls) == 1
    assert clock.round(round_s=0.01)["first_s"] == first["first_s"]
    assert len(calls) > 2


def test_a_floor_counts_operations_and_bytes() -> None:
    a, b = torch.randn(2, 64, 64)
    bound = Floor(lambda: (a @ b).add(1.0).view(-1), CPU).measure()
    assert bound.flop == 2 * 64**3
    assert bound.bytes == (3 + 2) * 64 * 64 * 4  # a product, a sum; a view moves nothing
    assert bound.seconds == max(bound.flop / bound.flop_per_s, bound.bytes / bound.bytes_per_s)


def test_compiled_arms_and_floors_take_part_where_a_case_says_so() -> None:
    plain = [PLAIN, PLAIN_TUNED, "engine"]
    assert list(arms_of(case("inner"), "cpu")) == plain
    assert list(arms_of(case("inner", compiled=True), "cpu")) == [*plain, "compiled"]
    assert list(arms_of(case("inner", counted=True), "cpu")) == [*plain, FLOOR]
    assert list(arms_of(case("inner"), "cuda")) == [*plain, "engine-tf32", FLOOR]


# --- Processes ------------------------------------------------------------------------------


@pytest.mark.slow
def test_quick_gives_rows_with_every_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--quick", "--threads", "1", "--json", str(tmp_path / "made")]
    assert main([*BENCHMARKS, *arguments]) == 0
    (file,) = (tmp_path / "made").iterdir()
    assert re.fullmatch(r"[a-z0-9-]+-\d+core-torch[\d.]+\w*\.json", file.name)
    rows = json.loads(file.read_text())
    expected = {field.name for of in (Row, Machine) for field in fields(of)} - {"machine"}
    variants = [
        (given.benchmark, variant)
        for given in select(BENCHMARKS, quick=True)
        for variant in arms_of(given, "cpu")
    ]
    assert [(row["name"], row["variant"]) for row in rows] == variants
    for row in rows:
        assert set(row) == expected
        missing = {name for name in expected if row[name] is None}
        of_the_floor = {"bytes", "gbytes_per_s"}
        if row["variant"] == FLOOR:
            assert missing <= {"gpu", "git_hash", "kernels", "first_s"}
        else:
            counted = (
                {"flop", "gflop_per_s"} if row["name"] in ("iteration", "evaluation") else set()
            )
            assert missing <= {"gpu", "git_hash", "kernels"} | of_the_floor | counted
        assert (row["device"], row["threads"], row["n"]) == ("cpu", 1, 1)
        assert 0 < row["min_s"] <= row["median_s"] <= row["max_s"]
        assert row["peak_gib"] > 0
        assert row["ratio"] > 0
    table = capsys.readouterr().out
    for name, variant in variants:
        assert re.search(rf"^{name} .* {variant} ", table, re.MULTILINE)


def test_a_failed_arm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_command", lambda _: ["sh", "-c", "exit 3"])
    with pytest.raises(ArmError, match=r"matching, small: the process of 'plain' ended with .* 3"):
        run_case(case("matching"), device="cpu", threads=1)


def test_rounds_are_interleaved_after_a_warm_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    answer = '{"seconds": 1.0, "peak_gib": 2.0}'

    def command(spec: dict[str, Any]) -> list[str]:
        serve = f"while read line; do echo {spec['variant']} >> {log}; echo '{answer}'; done"
        return ["sh", "-c", f"echo '{{}}'; {serve}"]

    monkeypatch.setattr(runner, "_command", command)
    found = run_case(replace(case("inner"), rounds=2), device="cpu", threads=1)
    variants = list(arms_of(case("inner"), "cpu"))
    assert found == {variant: [Timing(1.0, 2.0)] * 2 for variant in variants}
    assert log.read_text().split() == variants * 3


def test_arms_do_not_inherit_a_tuned_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.mmap_max=0")
    monkeypatch.setenv("KEPT", "1")
    environment = clean_environment()
    assert environment["KEPT"] == "1"
    assert not {"MALLOC_TOP_PAD_", "GLIBC_TUNABLES"} & set(environment)


# --- Rows and table -------------------------------------------------------------------------


def rows_of(**rounds: list[Timing]) -> list[Row]:
    named = {variant.replace("_", "-"): timings for variant, timings in rounds.items()}
    return make_rows(case("matching"), named, device="cpu", threads=2, machine=MACHINE)


def test_ratios_are_medians_of_the_ratios_within_rounds() -> None:
    plain, tuned, engine = rows_of(
        plain=timings(4.0, 8.0, 40.0),
        plain_tuned=timings(2.0, 4.0, 10.0),
        engine=timings(1.0, 4.0, 2.0),
    )
    assert (plain.ratio, plain.ratio_tuned) == (1.0, 0.5)
    assert (tuned.ratio, tuned.ratio_tuned) == (2.0, 1.0)
    assert (engine.ratio, engine.ratio_tuned) == (4.0, 2.0)  # of 4, 2, 20 and of 2, 1, 5
    assert (engine.n, engine.min_s, engine.median_s, engine.max_s) == (3, 1.0, 2.0, 4.0)
    assert engine.peak_gib == 4.0


def test_achieved_operations_are_those_that_the_floor_counted() -> None:
    measured = Timing(1.0, 1.0, flop=4e9, bytes=8e9, flop_per_s=5e9, bytes_per_s=9e9)
    plain, floor = rows_of(plain=timings(2.0), floor=[measured])
    assert (plain.flop, plain.gflop_per_s, plain.bytes) == (4e9, 2.0, None)
    assert (floor.gflop_per_s, floor.bytes, floor.gbytes_per_s) == (5.0, 8e9, 9.0)


def test_a_row_without_a_baseline_has_no_ratio() -> None:
    (row,) = rows_of(engine=timings(1.0))
    assert (row.ratio, row.ratio_tuned) == (None, None)


def test_a_table_is_aligned_and_says_where_it_was_taken() -> None:
    rows = rows_of(plain=timings(1.0), plain_tuned=timings(0.5), engine=timings(0.25))
    other = [replace(row, setting="a longer setting") for row in rows]
    head, blank, *lines = format_table([*rows, *other]).splitlines()
    assert not blank
    column = head.index("variant")
    table = [line for line in lines[:7] if line]
    assert [line[column:].split()[0] for line in table] == [row.variant for row in rows] * 2
    assert len({len(line) for line in [head, *table]}) == 1
    assert "a CPU, 2 cores (2 threads), 8 GiB, torch 2.13.0+cpu, Python 3.11.7" in lines[-2]


def test_a_table_marks_rows_that_something_disturbed() -> None:
    table = format_table(rows_of(plain=timings(1.0, 1.4), engine=timings(0.1, 1.0)))
    plain, engine = (line for line in table.splitlines() if line.startswith("matching"))
    assert plain.endswith(" 2")
    assert engine.endswith(" !2")
    assert table.splitlines()[-1].startswith("!: ")
    assert "!" not in format_table(rows_of(plain=timings(1.0, 1.4)))


def test_a_result_file_is_named_after_the_kind_of_machine() -> None:
    assert file_name(MACHINE) == "a-cpu-2core-torch2.13.0.json"
    branded = replace(MACHINE, cpu="Intel(R) Xeon(R) Processor")
    assert file_name(branded) == "intel-xeon-processor-2core-torch2.13.0.json"
    assert file_name(replace(MACHINE, gpu="NVIDIA H200")) == "nvidia-h200-torch2.13.0.json"


# --- Wrong input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speed"], "BENCHMARK: got 'speed', expected matching, inner"),
        (["inner", "--setting", "digits-ipc1"], "inner has no case at digits-ipc1, expected one"),
        (["--setting", "cifar"], "invalid choice: 'cifar'"),
        (["--threads", "0"], "--threads: got 0, expected 1 to"),
        (["--rounds", "0"], "--rounds: got 0, expected 1 or more"),
    ],
)
def test_wrong_input_says_what_is_right(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here: it would be measured")
def test_the_gpu_script_says_what_it_lacks(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"

    def run(*arguments: str, python: str = sys.executable) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", str(script), *arguments],
            env={**os.environ, "PYTHON": python},
            capture_output=True,
            text=True,
            check=False,
        )

    usage = run()
    assert usage.returncode == 2
    assert "got no folder for the results" in usage.stderr
    no_gpu = run(str(tmp_path / "out"))
    assert no_gpu.returncode == 1
    assert no_gpu.stderr == (
        "benchmarks/gpu.sh: torch sees no CUDA device here; run it where there is one\n"
    )
    assert not (tmp_path / "out" / "engine.tar").exists()


def test_the_search_of_the_loading_benchmark(tmp_path: Path) -> None:
    loading.make_search(tmp_path, 2)
    results = load_search(tmp_path)
    assert set(results.trials["status"]) == {"ok"}
    assert len(results.rows) == 2 * len(loading.STUDENTS) * loading.SEEDS * 2
    assert results.trials["distill/gpu_s"].tolist() == [90.5, 90.5]
