"""Signals of a search, and the file that tells workers to stop."""

import os
import signal
import time
from pathlib import Path

import pytest

from harness.search import interruption as module
from harness.search.interruption import Interruption, StopFile


def test_the_first_signal_asks_and_the_second_stops() -> None:
    before = signal.getsignal(signal.SIGTERM)
    asked: list[int] = []
    with Interruption(lambda: asked.append(1)) as interruption:
        assert not interruption()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption()
        assert interruption.reason == "interrupted"
        assert asked == [1]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before
    assert asked == [1]


def test_who_does_not_stop_when_asked_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.1)
    with Interruption() as interruption:
        interruption.request("the disk is full")
        with pytest.raises(KeyboardInterrupt):
            time.sleep(20)
        assert interruption.reason == "the disk is full"


def test_who_stops_when_asked_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.1)
    with Interruption() as interruption:
        interruption.request("enough")
    time.sleep(0.2)


def test_a_search_can_be_stopped_at_once() -> None:
    with Interruption() as interruption:
        with pytest.raises(KeyboardInterrupt):
            interruption.force("Ray has died")
        assert interruption.reason == "Ray has died"


def test_workers_see_the_file_that_tells_them_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.0)
    driver = StopFile(tmp_path / "ray" / "stop")
    worker = StopFile(tmp_path / "ray" / "stop")
    assert not worker()
    driver.create()
    assert not worker()
    driver.ask()
    assert worker()
    driver.path.unlink()
    assert worker()


def test_a_worker_looks_at_most_once_a_second(tmp_path: Path) -> None:
    file = StopFile(tmp_path / "stop")
    file.create()
    assert not file()
    file.ask()
    assert not file()
    file._next_look = 0.0
    assert file()
