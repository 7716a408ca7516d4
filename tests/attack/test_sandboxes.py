"""From inside each sandbox nothing can be reached: attempts, each in a process."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from attack import attempts
from support import running
from tccap.host import sandbox

SRC = str(Path(sandbox.__file__).parents[2])
ENTER = {
    "libpcap": (
        "from tccap.filter import libpcap; from tccap.host import sandbox\n"
        "sandbox.enter(sandbox.User(4711, 4711), libpcap._limits(9), sandbox.RESOLVING)"
    ),
    "the compiler": "from tccap.bpf import compilation; compilation._confine()",
    "the carrier": (
        "from tccap.engine import carrierprocess\ncarrierprocess.confine(os.getppid())"
    ),
    "the finder": "from tccap.tls.finder.confine import confine; confine(0)",
}
KEPT = Path("/tmp/kept-from-an-attack")
MADE = (Path("/tmp/made-by-an-attack"), Path("/dev/shm/made-by-an-attack"))


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    KEPT.touch()
    yield
    KEPT.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def target() -> Iterator[int]:
    with running.started(["sleep", "infinity"]) as process:
        yield process.pid


def attempt(enter: str, name: str, target: int) -> "subprocess.CompletedProcess[str]":
    code = (
        f"{attempts.PREPARE}\nTARGET = {target}\n{enter}\n"
        "print('entered', flush=True)\n"
        f"{attempts.IN_A_SANDBOX[name]}\nprint('succeeded', flush=True)"
    )
    return subprocess.run(
        running.python(code),
        env={"PYTHONPATH": SRC},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", attempts.IN_A_SANDBOX)
@pytest.mark.parametrize("where", ENTER)
def test_it_fails(where: str, name: str, target: int, counted: Counter[str]) -> None:
    done = attempt(ENTER[where], name, target)
    assert done.stdout == "entered\n", done.stderr
    assert not any(path.exists() for path in MADE)
    assert KEPT.exists()
    counted[f"inside the sandbox of {where}"] += 1


@pytest.mark.parametrize("name", attempts.WORK_FOR_ROOT)
def test_it_works_without_a_cage(name: str, target: int) -> None:
    done = attempt("", name, target)
    works = done.returncode == 0 and "entered" in done.stdout
    for path in MADE:
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
    assert works, done.stderr
