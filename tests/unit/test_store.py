"""The store: made once, whole or not at all, and never used when corrupt."""

import json
import multiprocessing
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import store as module
from harness.errors import ConfigError
from harness.events import Decision, DeferredError, Waiting
from harness.store import Entry, Key, Store
from harness.store_files import StoreFiles

KEY = Key("thing", {"name": "a", "numbers": [1, 2.5]})


def entry(value: float = 1.0, **data: Any) -> Entry:
    return Entry({"x": torch.full((3,), value)}, {"value": value, **data}, cost_s=value)


def folder(store: Store, key: Key = KEY) -> Path:
    return store.path / key.kind / key.digest


def names(path: Path) -> list[str]:
    return sorted(item.name for item in path.iterdir())


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, warnings: list[str]) -> Store:
    return Store(tmp_path / "store", expiry_s=1.0, warn=warnings.append)


def no_make() -> Entry:
    raise AssertionError("it is there already")


# --- Making and finding ---------------------------------------------------------------------


def test_what_is_made_is_found_by_equal_identities(store: Store) -> None:
    made = store.get_or_make(KEY, lambda: entry(2.0))
    again = Key("thing", {"numbers": [1, 2.5], "name": "a"})
    for found in (made, store.get_or_make(again, no_make), Store(store.path).get(KEY)):
        assert found is not None
        assert torch.equal(found.tensors["x"], torch.full((3,), 2.0))
        assert found.data == {"value": 2.0}
        assert found.cost_s == 2.0
    assert names(folder(store)) == ["key.json", "whole"]
    assert json.loads((folder(store) / "key.json").read_text()) == {
        "name": "a",
        "numbers": [1, 2.5],
    }


@pytest.mark.parametrize(
    "other", [Key("other", KEY.identity), Key("thing", {"name": "b"}), KEY.at(3), KEY.at("end")]
)
def test_another_address_is_another_entry(store: Store, other: Key) -> None:
    store.put(KEY, entry())
    assert store.get(other) is None


def test_every_kind_of_tensor_comes_back_bit_for_bit(store: Store) -> None:
    tensors = {
        "float": torch.tensor([float("nan"), -0.0, 1e-45, float("inf")]),
        "double": torch.tensor([0.1], dtype=torch.float64),
        "half": torch.tensor([1.5], dtype=torch.bfloat16),
        "long": torch.tensor(2**62),
        "flag": torch.tensor([True]),
        "none": torch.empty(0, 3),
        "strided": torch.arange(6.0).reshape(2, 3).T,
    }
    store.put(KEY, Entry(tensors))
    found = store.get(KEY)
    assert found is not None
    assert set(found.tensors) == set(tensors)
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        same = tensor.contiguous().flatten().view(torch.uint8)
        assert torch.equal(found.tensors[name].contiguous().flatten().view(torch.uint8), same)


def test_the_content_of_equal_entries_is_equal_whatever_they_cost(store: Store) -> None:
    store.put(KEY, entry(1.0))
    store.put(KEY.at("b"), Entry(entry(1.0).tensors, {"value": 1.0}, cost_s=9.0))
    contents = [
        (folder(store) / part / "content.safetensors").read_bytes() for part in ("whole", "b")
    ]
    assert contents[0] == contents[1]


def test_numbers_that_are_not_finite_are_refused_as_plain_data(store: Store) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        store.put(KEY, Entry({}, {"x": float("nan")}))
    assert names(folder(store)) == []


# --- First writer ---------------------------------------------------------------------------


def test_the_first_writer_wins(store: Store) -> None:
    assert store.put(KEY, entry(1.0)).data["value"] == 1.0
    assert store.put(KEY, entry(2.0)).data["value"] == 1.0
    found = store.get(KEY)
    assert found is not None
    assert found.data["value"] == 1.0
    assert names(folder(store)) == ["whole"]


def _write_one(path: Path, number: int, start: Any) -> None:
    start.wait()
    Store(path).put(KEY, Entry({"x": torch.full((200_000,), float(number))}, {"by": number}))


def test_eight_writers_at_once_leave_one_whole_entry(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(8)
    writers = [context.Process(target=_write_one, args=(store.path, n, start)) for n in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    found = store.get(KEY)
    assert found is not None
    assert bool((found.tensors["x"] == found.data["by"]).all())
    assert names(folder(store)) == ["whole"]


def test_of_many_askers_one_makes(store: Store) -> None:
    made, found = [], []
    begun, go = threading.Event(), threading.Event()

    def make() -> Entry:
        made.append(1)
        begun.set()
        assert go.wait(20)
        return entry(3.0)

    def ask() -> None:
        found.append(Store(store.path).get_or_make(KEY, make).data["value"])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(20)
    go.set()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert found == [3.0] * 4
    assert names(folder(store)) == ["key.json", "whole"]


def test_who_may_not_wait_is_sent_away(store: Store) -> None:
    lease = store.take_lease(KEY)
    assert lease is not None
    steps = Store(store.path).steps(KEY, lambda: pytest.fail("somebody else makes it"))
    assert next(steps) == Waiting("thing")
    with pytest.raises(DeferredError):
        steps.send(Decision.STOP)
    lease.release()


def test_a_failed_make_leaves_nothing_and_the_next_may_try(store: Store) -> None:
    def fail() -> Entry:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        store.get_or_make(KEY, fail)
    assert names(folder(store)) == ["key.json"]
    assert store.get_or_make(KEY, lambda: entry(4.0)).data["value"] == 4.0


def test_a_part_that_a_longer_work_has_passed_is_made_beside_it(store: Store) -> None:
    store.put(KEY.at(10), entry())
    lease = store.take_lease(KEY.at(20))
    assert lease is not None
    assert store.take_lease(KEY.at(20)) is None
    beside = store.take_lease(KEY.at(5))
    assert beside is not None
    assert store.take_lease(KEY.at(5)) is None
    beside.release()
    lease.release()


# --- Checkpoints ----------------------------------------------------------------------------


def test_checkpoints_go_and_what_is_needed_stays(store: Store) -> None:
    for iteration in (1, 2, 3, 9):
        store.put(KEY.at(iteration), entry(), keep=iteration == 2)
    store.drop_checkpoints(KEY.at(3))
    assert store.parts(KEY) == ["00000002", "00000003", "00000009"]
    store.put(KEY.at(3), entry(), keep=True)
    store.drop_checkpoints(KEY.at(9))
    assert store.parts(KEY) == ["00000002", "00000003", "00000009"]


def test_a_part_is_wanted_until_it_is_there(store: Store) -> None:
    lease = store.take_lease(KEY)
    assert lease is not None
    steps = Store(store.path).steps(KEY.at(7), lambda: pytest.fail("it is being made"))
    next(steps)
    steps.close()
    assert store.wanted(KEY) == {"00000007"}
    store.put(KEY.at(7), entry())
    assert store.wanted(KEY) == set()
    lease.release()


# --- Corrupt entries ------------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    content = path / "content.safetensors"
    whole = content.read_bytes()
    if how == "truncated":
        content.write_bytes(whole[: len(whole) // 2])
    elif how == "empty":
        content.write_bytes(b"")
    elif how == "flipped":
        content.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif how == "missing":
        content.unlink()
    elif how == "no description":
        (path / "entry.json").unlink()
    elif how == "torn description":
        (path / "entry.json").write_text('{"sha256"')
    elif how == "foreign description":
        (path / "entry.json").write_text("[1]")
    else:
        raise AssertionError(how)


DAMAGES = [
    "truncated",
    "empty",
    "flipped",
    "missing",
    "no description",
    "torn description",
    "foreign description",
]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_corrupt_entry_is_set_aside_named_and_made_again(
    store: Store, warnings: list[str], how: str
) -> None:
    store.put(KEY, entry(1.0))
    path = folder(store) / "whole"
    damage(path, how)
    assert store.get_or_make(KEY, lambda: entry(2.0)).data["value"] == 2.0
    (warning,) = warnings
    assert warning.startswith(f"store: {path}: corrupt (")
    assert "\n" not in warning
    aside = [name for name in names(folder(store)) if ".corrupt-" in name]
    assert len(aside) == 1
    assert store.parts(KEY) == ["whole"]
    assert store.get_or_make(KEY, no_make).data["value"] == 2.0


def test_content_that_is_no_tensor_file_is_corrupt(store: Store, warnings: list[str]) -> None:
    import hashlib

    store.put(KEY, entry())
    path = folder(store) / "whole"
    (path / "content.safetensors").write_bytes(b"hello")
    about = {"bytes": 5, "crc32": zlib.crc32(b"hello"), "cost_s": 0.0}
    about["sha256"] = hashlib.sha256(b"hello").hexdigest()
    (path / "entry.json").write_text(json.dumps(about))
    assert store.get(KEY) is None
    assert "cannot be read" in warnings[0]


def test_verifying_is_more_thorough_than_reading(store: Store) -> None:
    store.put(KEY, entry())
    path = folder(store) / "whole" / "entry.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": "0" * 64}))
    assert store.get(KEY) is not None
    assert StoreFiles(store.path).verify()[1] == [(path.parent, "its hash differs")]


def test_writing_over_a_corrupt_entry_replaces_it(store: Store, warnings: list[str]) -> None:
    store.put(KEY, entry(1.0))
    damage(folder(store) / "whole", "flipped")
    assert store.put(KEY, entry(2.0)).data["value"] == 2.0
    assert len(warnings) == 1


@pytest.mark.parametrize("name", ["write_json", "sync_folder"])
def test_a_full_disk_leaves_nothing_half_written(
    store: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, name, full)
    with pytest.raises(OSError, match="No space left"):
        store.put(KEY, entry())
    monkeypatch.undo()
    assert names(folder(store)) == []
    assert store.get(KEY) is None


# --- For people -----------------------------------------------------------------------------


def test_the_files_of_a_store_are_listed_verified_and_pruned(store: Store) -> None:
    for iteration in (1, 2, 3):
        store.put(KEY.at(iteration), entry(float(iteration)), keep=iteration == 2)
    store.get_or_make(Key("teacher", {"architecture": "mlp", "seed": 3}), entry)
    files = StoreFiles(store.path.parent)
    thing, teacher = sorted(files.works(), key=lambda work: work.kind, reverse=True)
    assert thing.parts() == "1*, 2, 3*"
    assert thing.cost_s() == 3.0
    assert teacher.describe() == "architecture mlp seed 3"
    assert thing.held_by == ""
    assert files.verify() == (4, [])

    damage(folder(store) / "00000002", "flipped")
    number, corrupt = files.verify()
    assert number == 4
    assert [(path.name, reason) for path, reason in corrupt] == [
        ("00000002", "its checksum differs")
    ]
    assert files.verify() == (3, [])

    count, size = files.prune()
    assert count == 2  # the corrupt entry and the checkpoint at 1
    assert size > 0
    assert store.parts(KEY) == ["00000003"]
    assert names(folder(store)) == ["00000003"]
    assert files.prune() == (0, 0)


def test_what_is_being_made_is_not_pruned(store: Store) -> None:
    for iteration in (1, 2):
        store.put(KEY.at(iteration), entry(), keep=False)
    lease = store.take_lease(KEY)
    assert lease is not None
    files = StoreFiles(store.path)
    (work,) = files.works()
    assert work.held_by.endswith(f":{multiprocessing.current_process().pid}")
    assert files.prune() == (0, 0)
    lease.release()
    assert files.prune()[0] == 1


def test_only_old_left_overs_are_pruned(store: Store) -> None:
    import os

    store.put(KEY, entry())
    for name, age in ((".new.tmp", 0), (".old.tmp", 7200)):
        path = folder(store) / name
        path.mkdir()
        (path / "content.safetensors").write_bytes(b"half")
        moment = path.stat().st_mtime - age
        os.utime(path, (moment, moment))
    assert StoreFiles(store.path).prune()[0] == 1
    assert names(folder(store)) == [".new.tmp", "whole"]


@pytest.mark.parametrize("kind", ["missing", "file", "something else"])
def test_a_folder_that_is_no_store_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "file":
        path.write_text("")
    elif kind == "something else":
        (path / "photos" / "2024").mkdir(parents=True)
    with pytest.raises(ConfigError, match="give a store's or a search's folder"):
        StoreFiles(path)
