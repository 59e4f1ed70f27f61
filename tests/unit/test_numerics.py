"""Tests of harness.numerics."""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import numerics
from harness.errors import ConfigError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def same_process_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test sets for the whole process is put back."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    flags = (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = fill
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags


def test_configure() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    numerics.configure(threads=1)
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_tf32_is_a_setting_of_both_libraries_and_can_be_taken_back() -> None:
    for tf32 in (True, False):
        numerics.configure(threads=1, tf32=tf32)
        assert torch.backends.cudnn.allow_tf32 is tf32
        assert torch.backends.cuda.matmul.allow_tf32 is tf32


def test_a_workspace_that_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    numerics.configure(threads=1)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    numerics.configure(threads=1)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "available_cpus", lambda: 4)
    before = torch.get_num_threads()
    with pytest.raises(ConfigError) as caught:
        numerics.configure(threads=5)
    assert str(caught.value) == "threads: got 5, but this process may use 4 cores; lower threads"
    assert torch.get_num_threads() == before


def test_another_c_library_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics.ctypes, "CDLL", lambda name: object())
    numerics.configure(threads=1)


def test_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= numerics.available_cpus() <= (os.cpu_count() or 1)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert numerics.available_cpus() == (os.cpu_count() or 1)


# --- devices --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "there", "device"),
    [
        ("auto", False, CPU),
        ("auto", True, CUDA),
        ("cpu", True, CPU),
        ("cpu", False, CPU),
        ("cuda", True, CUDA),
    ],
)
def test_devices(
    monkeypatch: pytest.MonkeyPatch, name: str, there: bool, device: torch.device
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert numerics.choose_device(name) == device


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as caught:
        numerics.choose_device("cuda")
    assert str(caught.value) == (
        "--device: got 'cuda', but torch sees no CUDA device here; use --device cpu, or check "
        "CUDA_VISIBLE_DEVICES and the driver"
    )


@pytest.mark.parametrize("name", ["gpu", "cuda:0", "CPU", ""])
def test_an_unknown_device(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        numerics.choose_device(name)
    assert str(caught.value) == f"--device: got '{name}', expected auto, cpu or cuda"


def test_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert numerics.visible_gpus() == 3


# --- the record -----------------------------------------------------------------------------


def test_the_record_on_a_cpu() -> None:
    numerics.configure(threads=1)
    record = numerics.describe(CPU)
    assert record == {
        "engine_revision": numerics.ENGINE_REVISION,
        "torch": torch.__version__,
        "device": "cpu",
        "threads": 1,
        "deterministic": True,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def test_the_record_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GPU X")
    record = numerics.describe(CUDA)
    assert set(record) == {
        *("engine_revision", "torch", "device", "threads", "deterministic"),
        *("tf32", "cudnn", "cuda"),
    }
    assert record["device"] == "GPU X"


# --- memory and time ------------------------------------------------------------------------


def test_peak_memory_remembers_until_it_is_reset() -> None:
    size = 64 << 20
    with mmap.mmap(-1, size) as held:
        held.write(b"1" * size)
        during = numerics.peak_gib(CPU)
    assert during >= size / 2**30
    assert numerics.peak_gib(CPU) == pytest.approx(during, abs=0.01)
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("this system does not let a process reset its peak")
    numerics.reset_peak_memory(CPU)
    assert 0 < numerics.peak_gib(CPU) <= during - size / 2**31


def test_peak_memory_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: Any) -> Any:
        raise FileNotFoundError(self)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", refuse)
        patch.setattr(Path, "write_text", refuse)
        numerics.reset_peak_memory(CPU)
        peak = numerics.peak_gib(CPU)
    assert 0.01 < peak < 1000


def test_the_gpu_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: asked.append("synchronize"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: asked.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**29)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30, 4 * 2**30))
    assert (numerics.used_gib(CUDA), numerics.total_gib(CUDA)) == (3.0, 4.0)
    assert (numerics.used_gib(CPU), numerics.total_gib(CPU)) == (None, None)
    numerics.synchronise(CUDA)
    numerics.reset_peak_memory(CUDA)
    assert numerics.peak_gib(CUDA) == 1.5
    assert asked == ["synchronize", "reset"]
    numerics.synchronise(CPU)
    assert asked == ["synchronize", "reset"]
