"""Faults of files: they are truncated, flipped or gone, or the disk is full."""

import shutil
from pathlib import Path

from tests.faults.registry import fault, small_disk
from tests.faults.scene import EXPIRY_S, TRIALS, Scene, rows

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


@fault(times=2)
def the_disk_is_full(scene: Scene) -> None:
    """A real one, small enough to be full on the way; then it grows, and the search goes on."""
    disk = scene.folder / "disk"
    with small_disk(disk, scene.rng.randrange(120, 400)) as resize:
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
