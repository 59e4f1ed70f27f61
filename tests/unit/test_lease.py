"""Leases: one holder at a time, dead ones lose, and no two machines' clocks are compared."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import lease as module
from harness.lease import Holder, Lease, Leases

FAST_S = 0.6
"""Expiry of the leases here: a beat each 0.05 s."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lease"


@pytest.fixture
def held(path: Path) -> Iterator[Lease]:
    lease = Leases(FAST_S).take(path)
    assert lease is not None
    yield lease
    lease.release()


def elsewhere(path: Path) -> bytes:
    """Make a lease look as if a process of another machine held it."""
    head, _, count = path.read_bytes().partition(b"\n")
    content = json.dumps({**json.loads(head), "machine": "another", "pid": 1}).encode()
    content += b"\n" + count
    path.write_bytes(content)
    return content


def take_within(path: Path, seconds: float, leases: Leases) -> Lease | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (lease := leases.take(path)) is not None:
            return lease
        time.sleep(0.02)
    return None


def test_only_one_holds_it_and_then_the_next(path: Path) -> None:
    with Leases().take(path) as first:  # type: ignore[union-attr]
        assert Leases().take(path) is None
        holder = Leases().holder(path)
        assert holder is not None
        assert holder.owner == first.owner
        assert holder.pid == os.getpid()
    assert Leases().holder(path) is None
    second = Leases().take(path)
    assert second is not None
    second.release()
    second.release()
    assert list(path.parent.iterdir()) == []


def test_of_many_takers_at_once_one_wins(path: Path) -> None:
    start, won = threading.Barrier(12), []

    def take() -> None:
        leases = Leases()
        start.wait()
        if (lease := leases.take(path)) is not None:
            won.append(lease)

    threads = [threading.Thread(target=take) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].release()
    assert list(path.parent.iterdir()) == []


def test_a_holder_that_beats_keeps_it(path: Path, held: Lease) -> None:
    assert take_within(path, 3 * FAST_S, Leases(FAST_S)) is None
    assert not held.lost


def test_a_dead_process_of_this_machine_loses_it_at_once(path: Path) -> None:
    code = "from harness.lease import Leases; import os, pathlib\n"
    code += f"Leases().take(pathlib.Path({str(path)!r})); os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    assert path.exists()
    assert Leases().holder(path) is None
    with Leases().take(path) as lease:  # type: ignore[union-attr]
        assert Leases().holder(path).owner == lease.owner  # type: ignore[union-attr]


def test_a_process_id_that_was_given_again_does_not_count(path: Path, held: Lease) -> None:
    head, _, count = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps({**json.loads(head), "started": "1"}).encode() + b"\n" + count)
    assert Leases().holder(path) is None


def test_a_holder_elsewhere_that_stops_beating_loses_it_after_the_expiry(
    path: Path, held: Lease
) -> None:
    held._released.set()  # its clock stands still
    held._beating.join()
    elsewhere(path)
    leases = Leases(FAST_S)
    start = time.monotonic()
    taken = take_within(path, 5 * FAST_S, leases)
    assert taken is not None
    assert time.monotonic() - start >= FAST_S
    taken.release()
    os.close(held._handle)


def test_times_of_the_file_do_not_count(path: Path, held: Lease) -> None:
    """A holder whose machine lives in the year 2001 beats like any other."""
    leases = Leases(FAST_S)
    deadline = time.monotonic() + 2.5 * FAST_S
    while time.monotonic() < deadline:
        os.utime(path, (1e9, 1e9))
        assert leases.take(path) is None
        time.sleep(0.02)


def test_a_holder_that_was_taken_from_knows_it_and_does_not_disturb_the_new_one(
    path: Path, held: Lease
) -> None:
    path.unlink()
    new = Leases(FAST_S).take(path)
    assert new is not None
    deadline = time.monotonic() + 5
    while not held.lost and time.monotonic() < deadline:
        time.sleep(0.02)
    assert held.lost
    held.release()
    assert Leases(FAST_S).holder(path).owner == new.owner  # type: ignore[union-attr]
    assert not new.lost
    new.release()
    assert not path.exists()


def test_a_taker_that_was_too_slow_gives_it_back(path: Path, held: Lease) -> None:
    stale = b"what it saw, before a quicker one took it"
    assert not module._remove(path, lambda content: content == stale)
    assert Leases().holder(path).owner == held.owner  # type: ignore[union-attr]
    assert [entry.name for entry in path.parent.iterdir()] == ["lease"]


def test_a_lease_that_cannot_be_read_expires(path: Path) -> None:
    path.write_bytes(b"\x00\xff")
    leases = Leases(FAST_S)
    assert leases.take(path) is None
    taken = take_within(path, 5 * FAST_S, leases)
    assert taken is not None
    taken.release()


def test_the_living_holder_is_named(path: Path, held: Lease) -> None:
    found = Leases(FAST_S).take_from_dead(path)
    assert isinstance(found, Holder)
    assert found.pid == os.getpid()


def test_a_holder_elsewhere_is_named_once_it_beats(path: Path, held: Lease) -> None:
    first = elsewhere(path)

    def beat() -> None:
        time.sleep(FAST_S / 3)
        path.write_bytes(first.replace(b"00000000\n", b"00000001\n"))

    thread = threading.Thread(target=beat)
    held._released.set()
    held._beating.join()
    path.write_bytes(first)
    thread.start()
    found = Leases(FAST_S).take_from_dead(path)
    thread.join()
    assert isinstance(found, Holder)
    os.close(held._handle)


def test_a_dead_holder_elsewhere_is_waited_for(path: Path) -> None:
    path.write_bytes(b'{"host": "n1"}\n0\n')
    found = Leases(FAST_S).take_from_dead(path)
    assert isinstance(found, Lease)
    found.release()


def test_a_full_disk_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        Leases().take(path)
    assert list(path.parent.iterdir()) == []
