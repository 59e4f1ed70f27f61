"""A second Unix user on the node: kept out of a running Ray, and free to run a search beside it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.slurm.conftest import ITERATIONS, PATIENCE_S, ROOT, SPACE, Said, Search

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="making a user needs root"),
]

NAME = "harness-test"
PRIVATE = ("unshare", "--mount", "--propagation", "private")
# Where Python lives in root's home, the other user sees that part of it, and nothing else there.
AS_USER = """
set -e
python=$1; user=$2; shift 2
case $python in
/root/*)
    part=/root/$(echo "${python#/root/}" | cut -d/ -f1)
    aside=$(mktemp -d)
    mount --bind "$part" "$aside"
    mount -t tmpfs -o mode=0755 none /root
    mkdir "$part"
    mount --move "$aside" "$part"
    ;;
esac
exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
"""
CONNECT = """
import ray, sys
ray.init(address=sys.argv[1], log_to_driver=False)
print("connected", ray.cluster_resources())
"""

AsUser = Callable[..., Said]


def with_token(token: str) -> dict[str, str]:
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}


def as_owner(*command: object, **environment: str) -> Said:
    """Run a command as the one who launched."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        cwd="/tmp",
        env={**kept, **environment},
        timeout=PATIENCE_S,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def as_user(tmp_path: Path) -> Iterator[AsUser]:
    """Run a command as another user of this machine, who is removed after the test."""
    subprocess.run(["useradd", "--system", "--user-group", NAME], check=True)
    home = Path("/tmp") / NAME
    home.mkdir(mode=0o700)
    subprocess.run(["chown", f"{NAME}:", home], check=True)
    python = str(Path(sys.executable).resolve())

    def run(*command: object, **environment: str) -> Said:
        kept = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [*PRIVATE, "bash", "-c", AS_USER, "as-user", python, NAME, *map(str, command)],
            capture_output=True,
            text=True,
            cwd=home,
            env={**kept, **environment},
            timeout=PATIENCE_S,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    yield run
    subprocess.run(["userdel", NAME], check=True)
    subprocess.run(["rm", "-rf", home], check=True)


def test_another_user_is_kept_out_and_works_beside(search: Search, as_user: AsUser) -> None:
    # Trials that outlast all that the other user tries; cancelled at the end.
    search.space.write_text(SPACE.format(iterations=ITERATIONS * 10))
    search.started("--shape", "cluster", "--nodes", 2).wait(
        lambda: bool(search.place.head()), "head"
    )
    head = search.place.head()
    assert head is not None
    assert as_user(sys.executable, "-c", "print('works')").out == "works\n"

    read = as_user("cat", search.place.token)
    assert read.status != 0
    assert "Permission denied" in read.err
    for folder in Path("/tmp").glob("hr-*"):
        if folder.stat().st_uid == 0:
            assert as_user("ls", folder).status != 0

    right = search.place.token.read_text()
    wrong = "ab" * 32
    # With a wrong token Ray may go on trying.
    connect = ("timeout", "40", sys.executable, "-c", CONNECT, head.address)
    with ThreadPoolExecutor() as pool:
        tries = [
            pool.submit(as_user, *connect),
            pool.submit(as_user, *connect, **with_token(wrong)),
            pool.submit(as_owner, *connect, **with_token(wrong)),
        ]
        control = pool.submit(as_owner, *connect, **with_token(right)).result()
    assert control.out.startswith("connected"), control
    for tried in [one.result() for one in tries]:
        assert tried.status != 0
        assert "connected" not in tried.out
    as_user(sys.executable, "-m", "ray.scripts.scripts", "stop", "--force")

    space = Path("/tmp") / NAME / "space.toml"
    space.write_text(SPACE.format(iterations=2))
    beside = as_user(
        *(sys.executable, "-m", "harness", "search", space),
        *("--out", space.with_name("out"), "--set", "pool.main_probability=1.0"),
    )
    assert beside.status == 0, beside
    done = len(search.results())
    assert done < 6
    search.wait_for_results(done + 1)
    assert search.place.head() == head  # the same Ray, all the while
