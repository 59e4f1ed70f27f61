"""Faults of processes: they die, are told to stop, or are several at once."""

import os
import signal
import time

from tests.faults.child import Hook
from tests.faults.registry import fault
from tests.faults.scene import EXPIRY_S, TRIALS, Scene, rows

SIGKILL_STATUS = -signal.SIGKILL


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
