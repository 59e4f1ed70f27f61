"""Faults of searches on a real Ray: its workers, its own processes, the driver."""

import json
import os
import shutil
import signal
import subprocess

from tests.end_to_end.conftest import wait_until
from tests.faults.registry import fault, small_disk
from tests.faults.scene import Scene


def _at_work(scene: Scene, driver: subprocess.Popen[str]) -> None:
    """Wait until a distillation is under way."""
    assert wait_until(lambda: scene.has_state() or driver.poll() is not None, 150)
    assert driver.poll() is None, driver.communicate()[0]


def _said(driver: subprocess.Popen[str]) -> str:
    return driver.communicate(timeout=150)[0]


@fault("ray")
def ray_a_worker_is_killed(scene: Scene) -> None:
    """Its trial is run again, in the same run."""
    driver = scene.start_ray()
    _at_work(scene, driver)
    worker, *_ = scene.processes(driver.pid, "ray::ResourceTrainable")
    os.kill(worker, signal.SIGKILL)
    said = _said(driver)
    assert driver.returncode == 0, said


@fault("ray")
def ray_the_holder_of_a_lease_is_killed(scene: Scene) -> None:
    """Whoever holds the first lease that is seen."""
    driver = scene.start_ray()
    held: list[int] = []

    def seen() -> bool:
        for path in scene.out.glob("store/*/*/lease"):
            try:
                held.append(json.loads(path.read_bytes().partition(b"\n")[0])["pid"])
            except (OSError, ValueError):
                continue
        return bool(held) or driver.poll() is not None

    assert wait_until(seen, 150)
    os.kill(held[0], signal.SIGKILL)
    said = _said(driver)
    assert driver.returncode == 0, said


@fault("ray")
def ray_the_driver_is_killed(scene: Scene) -> None:
    """Nothing of it is left, and the search goes on without Ray."""
    driver = scene.start_ray()
    _at_work(scene, driver)
    driver.kill()
    driver.wait()
    scene.check_no_process()


@fault("ray")
def ray_the_whole_process_group_is_killed(scene: Scene) -> None:
    """As a login session's end does."""
    driver = scene.start_ray()
    _at_work(scene, driver)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    scene.check_no_process()


@fault("ray")
def ray_the_driver_is_terminated(scene: Scene) -> None:
    """Workers save their states; the search goes on under Ray with its folder deleted."""
    driver = scene.start_ray()
    _at_work(scene, driver)
    driver.terminate()
    said = _said(driver)
    assert driver.returncode == 1, said
    assert "interrupted: " in said
    scene.check_nothing_half_written()
    scene.check_no_process()
    shutil.rmtree(scene.out / "ray", ignore_errors=True)
    assert scene.run_ray().status == 0


@fault("ray")
def ray_memory_runs_out_in_a_worker(scene: Scene) -> None:
    """The trial is tried again alone, after the others, in the same run."""
    said = scene.run_ray(
        f"""
from harness.distill.dc import DC
step, once = DC.step, Path({str(scene.folder / "once")!r})
def failing(self):
    if self.iteration == 3 and not once.exists():
        once.touch()
        raise MemoryError
    return step(self)
DC.step = failing
"""
    )
    assert said.status == 0, said.out + said.err
    assert "1 ran out of memory: tried again alone" in said.out
    assert [line for line in said.out.splitlines() if " oom " in line] != []


def _ray_loses(scene: Scene, name: str) -> None:
    driver = scene.start_ray()
    _at_work(scene, driver)
    victims = scene.processes(driver.pid, name)
    assert victims
    for process in victims:
        os.kill(process, signal.SIGKILL)
    said = _said(driver)
    assert driver.returncode == 1, said
    assert "Traceback" not in said
    assert "has died" in said
    scene.check_no_process()


@fault("ray")
def ray_loses_its_raylet(scene: Scene) -> None:
    """The driver ends with a line, and does not wait for ever."""
    _ray_loses(scene, "raylet/raylet")


@fault("ray")
def ray_loses_its_control_store(scene: Scene) -> None:
    """The same."""
    _ray_loses(scene, "gcs/gcs_server")


@fault("ray")
def ray_loses_its_agent(scene: Scene) -> None:
    """The raylet goes with it."""
    _ray_loses(scene, "Agent")


@fault("ray")
def ray_the_disk_is_full(scene: Scene) -> None:
    """The driver says so and stops; nothing half-written stays."""
    disk = scene.folder / "disk"
    with small_disk(disk, 600) as resize:
        scene.out.symlink_to(disk / "out")
        (disk / "out").mkdir()
        (disk / "ballast").write_bytes(b"0" * 250 * 1024)
        said = scene.run_ray()
        assert said.status == 1, said.out
        assert "No space left on device" in said.out + said.err
        assert "Traceback" not in said.out + said.err
        assert list((disk / "out").rglob("*.tmp")) == []
        resize(20_000)
        assert scene.run().status == 0
        scene.out.unlink()
        shutil.copytree(disk / "out", scene.out)
