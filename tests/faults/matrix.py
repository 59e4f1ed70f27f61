"""The faults: each breaks a search, and says what must hold before it is resumed."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.end_to_end.conftest import wait_until
from tests.faults.child import Hook
from tests.faults.scene import EXPIRY_S, TRIALS, Scene, rows

SIGKILL_STATUS = -signal.SIGKILL


class Fault(NamedTuple):
    """One fault: a name, what happens, and the seed of its draws."""

    name: str
    happen: Callable[[Scene], None]
    seed: int
    kind: str
    """``inline`` or ``ray``."""


FAULTS: list[Fault] = []


def fault(
    kind: str = "inline", times: int = 1
) -> Callable[[Callable[[Scene], None]], Callable[[Scene], None]]:
    """Put a fault into the matrix, several times with draws of their own."""

    def add(happen: Callable[[Scene], None]) -> Callable[[Scene], None]:
        for number in range(times):
            name = happen.__name__.replace("_", "-") + (f"-{number}" if times > 1 else "")
            FAULTS.append(Fault(name, happen, len(FAULTS), kind))
        return happen

    return add


# --- A process that dies --------------------------------------------------------------------


@fault(times=4)
def killed_in_a_step(scene: Scene) -> None:
    """The last checkpoint is all that is left."""
    assert scene.run(hook=scene.hook("step", "kill")).status == SIGKILL_STATUS


@fault(times=4)
def killed_while_a_file_is_synced(scene: Scene) -> None:
    """State, result or plan: half of it is written."""
    assert scene.run(hook=scene.hook("fsync", "kill")).status == SIGKILL_STATUS


@fault(times=2)
def killed_before_a_folder_gets_its_name(scene: Scene) -> None:
    """An entry of the store, or a lease that is given back."""
    assert scene.run(hook=scene.hook("rename", "kill")).status == SIGKILL_STATUS


@fault(times=2)
def killed_after_a_folder_got_its_name(scene: Scene) -> None:
    """The same, a moment later."""
    assert scene.run(hook=scene.hook("rename", "kill", after=True)).status == SIGKILL_STATUS


@fault(times=2)
def killed_around_a_file_s_name(scene: Scene) -> None:
    """A result or a key."""
    hook = scene.hook("replace", "kill", after=scene.rng.random() < 0.5)
    assert scene.run(hook=hook).status == SIGKILL_STATUS


@fault()
def killed_with_a_lease_just_taken(scene: Scene) -> None:
    """Nobody will give it back."""
    assert scene.run(hook=scene.hook("link", "kill", after=True)).status == SIGKILL_STATUS


@fault()
def killed_while_leaving_files_away(scene: Scene) -> None:
    """Old files of a trial, or of a lease."""
    assert scene.run(hook=scene.hook("unlink", "kill")).status == SIGKILL_STATUS


@fault()
def killed_while_a_student_learns(scene: Scene) -> None:
    """The set is in the store, the result is not there."""
    assert scene.run(hook=scene.hook("student", "kill")).status == SIGKILL_STATUS


@fault()
def killed_again_and_again(scene: Scene) -> None:
    """Four times, at whatever step comes."""
    for number in (2, 3, 2, 4):
        assert scene.run(hook=Hook("step", number, "kill")).status == SIGKILL_STATUS


@fault(times=2)
def terminated_in_a_step(scene: Scene) -> None:
    """SIGTERM: the state is saved, and no iteration is lost."""
    said = scene.run(hook=scene.hook("step", "term"))
    assert said.status == 1, said.out
    assert "interrupted: " in said.out
    scene.check_nothing_half_written()


@fault()
def terminated_while_a_student_learns(scene: Scene) -> None:
    """SIGTERM outside of the distillation."""
    said = scene.run(hook=scene.hook("student", "term"))
    assert said.status == 1, said.out
    assert "interrupted: " in said.out


@fault()
def interrupted_from_the_keyboard(scene: Scene) -> None:
    """SIGINT."""
    said = scene.run(hook=scene.hook("step", "int"))
    assert said.status == 1, said.out
    assert "Traceback" not in said.out


@fault()
def a_bug_in_one_trial(scene: Scene) -> None:
    """The others go on, and it is run again."""
    said = scene.run(hook=scene.hook("step", "bug"))
    assert said.status == 1, said.out
    assert f"1 error, {TRIALS - 1} ok" in said.out


@fault()
def memory_runs_out_once(scene: Scene) -> None:
    """The trial is tried again alone, in the same run."""
    said = scene.run(hook=scene.hook("step", "oom"))
    assert said.status == 0, said.out
    assert "tried again alone" in said.out


# --- Files that are damaged -----------------------------------------------------------------


def _some(scene: Scene, pattern: str) -> Path:
    return scene.rng.choice(sorted(scene.out.glob(pattern)))


def _truncate(scene: Scene, path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: scene.rng.randrange(len(whole))])


@fault(times=2)
def a_state_is_truncated(scene: Scene) -> None:
    """It is set aside, named, and made again."""
    assert scene.run("--limit", TRIALS // 2).status == 0
    content = _some(scene, "store/distillation/*/*/content.safetensors")
    _truncate(scene, content)
    said = scene.run()
    # An entry that no trial needs any more is not read.
    warned = [line for line in said.out.splitlines() if line.startswith("warning: ")]
    assert all(str(content.parent) in line for line in warned)


@fault()
def every_state_is_damaged(scene: Scene) -> None:
    """All are made again."""
    assert scene.run("--limit", TRIALS // 2).status == 0
    contents = sorted(scene.out.glob("store/*/*/*/content.safetensors"))
    for content in contents:
        content.write_bytes(content.read_bytes()[:-1] + b"?")
    shutil.rmtree(_some(scene, "trials/*"))
    assert "warning: store: " in scene.run().out


@fault()
def a_state_s_description_is_truncated(scene: Scene) -> None:
    """As good as no state."""
    assert scene.run("--limit", TRIALS // 2).status == 0
    _truncate(scene, _some(scene, "store/distillation/*/*/entry.json"))


@fault()
def a_teacher_is_truncated(scene: Scene) -> None:
    """It is trained again."""
    assert scene.run().status == 0
    _truncate(scene, _some(scene, "store/teacher/*/*/content.safetensors"))
    for folder in scene.out.glob("trials/*"):
        shutil.rmtree(folder)


@fault(times=2)
def a_record_is_truncated(scene: Scene) -> None:
    """The trial is run again."""
    assert scene.run().status == 0
    _truncate(scene, _some(scene, "trials/*/trial.json"))
    assert f"{TRIALS - 1} done, 1 to run" in scene.run("--dry-run", "--resume").out + (
        scene.run().out
    )


@fault()
def rows_are_truncated(scene: Scene) -> None:
    """The trial is run again."""
    assert scene.run().status == 0
    _truncate(scene, _some(scene, "trials/*/evaluations.parquet"))


@fault()
def a_distilled_set_is_gone(scene: Scene) -> None:
    """The trial is run again."""
    assert scene.run().status == 0
    _some(scene, "trials/*/distilled.safetensors").unlink()


@fault(times=2)
def the_plan_is_truncated(scene: Scene) -> None:
    """A torn line and lines that are missing are planned again, under their old names."""
    assert scene.run("--limit", TRIALS // 2).status == 0
    _truncate(scene, scene.out / "plan.jsonl")


@fault()
def a_lease_is_rubbish(scene: Scene) -> None:
    """Nobody beats in it, so it expires."""
    assert scene.run("--limit", 1).status == 0
    for folder in scene.out.glob("store/*/*"):
        (folder / "lease").write_bytes(b"\x00rubbish")
    assert scene.run(expiry_s=EXPIRY_S).status == 0


@fault()
def the_store_is_deleted(scene: Scene) -> None:
    """It only saves work."""
    assert scene.run("--limit", TRIALS // 2).status == 0
    shutil.rmtree(scene.out / "store")


# --- A disk that is full --------------------------------------------------------------------


@fault(times=2)
def the_disk_is_full_at_some_write(scene: Scene) -> None:
    """Nothing half-written stays, the trial stays not_run, and the driver says why."""
    hook = scene.hook("file-fsync", "full")
    said = scene.run(hook=hook)
    assert said.status == 1, said.out
    assert "No space left on device" in said.out
    scene.check_nothing_half_written()


@contextmanager
def _small_disk(path: Path, kib: int) -> Iterator[Callable[[int], None]]:
    """A tmpfs of some KiB; yields a function that gives it another size."""

    def resize(size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}k", str(path)], check=True)

    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(path)], check=True)
    try:
        yield resize
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@fault(times=2)
def the_disk_is_full(scene: Scene) -> None:
    """A real one, small enough to be full on the way; then it grows, and the search goes on."""
    disk = scene.folder / "disk"
    with _small_disk(disk, scene.rng.randrange(120, 400)) as resize:
        out = disk / "out"
        said = scene.run(out=out)
        assert said.status == 1, said.out
        assert "No space left on device" in said.out
        assert "not_run" in said.out or not (out / "plan.jsonl").exists()
        assert list(out.rglob("*.tmp")) == []
        resize(20_000)
        assert scene.run(out=out).status == 0
        assert rows(out) == scene.reference
        shutil.copytree(out, scene.out)


# --- Several at once ------------------------------------------------------------------------


@fault()
def two_searches_over_one_store(scene: Scene) -> None:
    """Each has all rows."""
    both = [scene.start("--store", scene.store, out=scene.out.with_name(n)) for n in ("a", "b")]
    for running in both:
        assert running.wait().status == 0
    assert rows(scene.out.with_name("a")) == rows(scene.out.with_name("b")) == scene.reference


@fault(times=2)
def one_of_two_searches_over_one_store_is_killed(scene: Scene) -> None:
    """The other takes over what it held."""
    first = scene.start("--store", scene.store, hook=scene.hook("step", "kill"))
    other = scene.out.with_name("other")
    second = scene.start("--store", scene.store, out=other)
    assert second.wait().status == 0
    assert first.wait().status in (0, SIGKILL_STATUS)  # done if the other did all its steps
    assert rows(other) == scene.reference


@fault()
def eight_searches_at_once(scene: Scene) -> None:
    """Eight writers over one store: one of them makes each set, all have all rows."""
    outs = [scene.out.with_name(f"out-{n}") for n in range(8)]
    running = [scene.start("--store", scene.store, out=out) for out in outs]
    for each in running:
        assert each.wait(200).status == 0
    assert all(rows(out) == scene.reference for out in outs)


@fault()
def two_drivers_in_one_folder(scene: Scene) -> None:
    """The second is refused, the first is not disturbed."""
    first = scene.start(hook=Hook("step", 2, "stop"))
    first.wait_until_stopped()
    said = scene.run()
    assert said.status == 2, said.out
    assert "is being run by process" in said.out
    first.signal(signal.SIGCONT)
    assert first.wait().status == 0


@fault(times=2)
def a_holder_s_clock_stands_still(scene: Scene) -> None:
    """It is stopped and loses its lease; when it wakes up, its work counts for nothing twice."""
    stopped = scene.start(
        "--store", scene.store, hook=scene.hook("step", "stop"), expiry_s=EXPIRY_S, alien=True
    )
    stopped.wait_until_stopped()
    other = scene.out.with_name("other")
    said = scene.run("--store", scene.store, out=other, expiry_s=EXPIRY_S)
    assert said.status == 0, said.out
    assert rows(other) == scene.reference
    stopped.signal(signal.SIGCONT)
    assert stopped.wait().status == 0
    assert rows(scene.out) == scene.reference


@fault()
def a_heart_that_never_beats(scene: Scene) -> None:
    """Both work, both are right."""
    first = scene.start("--store", scene.store, expiry_s=EXPIRY_S, alien=True, dumb=True)
    other = scene.out.with_name("other")
    second = scene.start(
        "--store", scene.store, out=other, expiry_s=EXPIRY_S, alien=True, dumb=True
    )
    assert first.wait().status == 0
    assert second.wait().status == 0
    assert rows(other) == rows(scene.out) == scene.reference


@fault()
def a_holder_on_another_machine_dies(scene: Scene) -> None:
    """Its process id means nothing here: its lease must expire."""
    said = scene.run(hook=scene.hook("step", "kill"), expiry_s=EXPIRY_S, alien=True)
    assert said.status == SIGKILL_STATUS
    start = time.monotonic()
    assert scene.run(expiry_s=EXPIRY_S).status == 0
    assert time.monotonic() - start > EXPIRY_S


@fault()
def files_from_the_future(scene: Scene) -> None:
    """Times of files are of no account."""
    assert scene.run("--limit", TRIALS // 2).status == 0
    for path in scene.out.rglob("*"):
        moment = scene.rng.choice([0.0, 4e9])
        os.utime(path, (moment, moment))


# --- Real Ray -------------------------------------------------------------------------------


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
    import json

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
    with _small_disk(disk, 600) as resize:
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
