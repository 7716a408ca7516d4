"""A program that was compiled once is loaded again without a compiler."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

import progrun
from support import running
from tccap.bpf import compiler
from tccap.bpf.bcclib import CompileError
from tccap.bpf.code import Code
from tccap.bpf.collection import Collection
from tccap.bpf.uapi import ProgType
from tccap.engine import parts, programs
from tccap.errors import TccapError
from tccap.front import options, request
from tccap.host import access, cpus, rootcache
from tccap.paths import BPF_DIR, SCRIPT, engine_python

TEXT = """
BPF_ARRAY(numbers, u64, 4);
BPF_PERCPU_ARRAY(shares, u64, 1);
int classify(struct __sk_buff *skb)
{
    u32 key = NUMBER;
    u64 *number = numbers.lookup(&key);

    return number ? *number : 0;
}
"""
DEFINES: dict[str, int | str] = {"NUMBER": 2}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rootcache, "TOP", tmp_path)
    return tmp_path / "bpf"


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise AssertionError("the compiler was asked for")

    compiler.compiled([TEXT], DEFINES)
    monkeypatch.setattr(compiler, "_started", missing)


def test_socket_storage_compiles_without_cap_sys_admin() -> None:
    """The kernel takes such a map with its type information only."""
    texts = [f"BPF_SK_STORAGE(kept, u64);{TEXT}"]
    [made] = compiler.compiled(texts, DEFINES)
    assert made.btf
    Collection([made]).table("kept")


def test_a_lock_compiles_without_cap_sys_admin() -> None:
    """The kernel takes such a map with its type information only."""
    lock = "struct lock { struct bpf_spin_lock lock; };"
    [made] = compiler.compiled(
        [f"{lock}BPF_ARRAY(kept, struct lock, 1);{TEXT}"], DEFINES
    )
    assert made.btf
    Collection([made]).table("kept")


@pytest.mark.same_everywhere
def test_a_compiler_whose_engine_has_ended_is_silent() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    done = subprocess.run(
        [engine_python(), "-I", SCRIPT, "compiler"],
        input=json.dumps([TEXT, ["-DNUMBER=2"]]).encode(),
        stdout=write_fd,
        stderr=subprocess.PIPE,
        check=False,
        timeout=running.DEADLINE_S,
    )
    os.close(write_fd)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


@pytest.mark.usefixtures("no_compiler")
def test_a_compiled_program_runs() -> None:
    loaded = Collection(compiler.compiled([TEXT], DEFINES))
    program_fd = loaded.program("classify", ProgType.SCHED_CLS)
    numbers, shares = loaded.table("numbers"), loaded.table("shares")
    numbers[numbers.Key(2)] = numbers.Leaf(42)
    assert progrun.verdict(program_fd, bytes(64)) == 42
    assert [*shares[shares.Key(0)]] == [0] * cpus.possible_cpus()
    with pytest.raises(KeyError):
        numbers[numbers.Key(4)]


@pytest.mark.full_matrix
@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize(
    ("text", "defines"), [(TEXT + "\n", DEFINES), (TEXT, {"NUMBER": 1})]
)
def test_another_text_is_compiled(text: str, defines: dict[str, int | str]) -> None:
    with pytest.raises(AssertionError, match="asked for"):
        compiler.compiled([text], defines)


@pytest.mark.full_matrix
def test_a_damaged_entry_is_replaced(cache: Path) -> None:
    [made] = compiler.compiled([TEXT], DEFINES)
    [kept] = cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    assert compiler.compiled([TEXT], DEFINES) == [made]
    assert kept.read_bytes() == made.to_bytes()


# A value of each option that is not its default, except `label: full`.
OPTIONS: dict[str, Any] = {
    "direction": "in",
    "link_type": "ethernet",
    "snaplen": 96,
    "ring_size": 8,
    "label": "off",
    "pid": "1",
    "uid": "1",
    "comm": "init",
    "container": "web",
    "unit": "a.service",
    "children": True,
    "sockets": 1000,
    "processes": 1000,
    "tls": "off",
}


def codes(text: str, **chosen: Any) -> list[Code]:
    the_plan = request.plan("tccap-lo", text, options.Options()._replace(**chosen))
    return programs.codes_of(the_plan, parts.choose(the_plan, access.caller()))


@pytest.mark.same_everywhere
def test_another_filter_or_option_compiles_nothing(cache: Path) -> None:
    made = []
    for text in ("", "tcp port 1", "uid 0 or tcp port 2", "inbound and pid 1"):
        programs.compiled(codes(text))
        made.append({each.name for each in cache.iterdir()})
    for name, value in OPTIONS.items():
        programs.compiled(codes("", **{name: value}))
        made.append({each.name for each in cache.iterdir()})
    assert len(made[0]) == 2
    assert all(each == made[0] for each in made)
    programs.compiled(codes("", label="full"))
    assert len([*cache.iterdir()]) == 4


@pytest.mark.same_everywhere
@pytest.mark.parametrize("chosen", [{}, {"label": "off", "tls": "off"}])
def test_maps_that_are_sized_later_get_a_size(chosen: dict[str, str]) -> None:
    texts = (each.read_text("ascii") for each in Path(BPF_DIR).rglob("*.[ch]"))
    text = "".join(texts)
    later = re.findall(r"BPF_\w+\((?:\".*, )?(\w+),.*SIZED_LATER(?:, \w+)?\);", text)
    assert {"ring_chunks", "messages"} <= {*later}
    sizes = programs.sizes(codes("", **chosen))
    assert all(sizes[name].max_entries for name in later)


def test_the_verifiers_log_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    wild = 'u64 x; asm volatile("%0 = *(u64 *)(%1 + 0)" : "=r"(x) : "r"(7ULL))'
    text = f"int classify(struct __sk_buff *skb) {{ {wild}; return x; }}"
    loaded = Collection(compiler.compiled([text], {}))
    with pytest.raises(TccapError, match="could not load classify"):
        loaded.program("classify", ProgType.SCHED_CLS)
    assert "invalid mem access" in capfd.readouterr().err


FAILURES = {
    "a crash": "#pragma clang __debug crash",
    "a failure of LLVM": "#pragma clang __debug llvm_fatal_error",
    # clang keeps a pointer for each element.
    "too much memory": "char large[] = {[0 ... 1 << 28] = 1};",
}


@pytest.mark.same_everywhere
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_of_the_compiler_is_an_error(failure: str, cache: Path) -> None:
    with pytest.raises(CompileError, match="the compiler"):
        compiler.compiled([FAILURES[failure]], {})
    assert not cache.exists()


@pytest.mark.same_everywhere
def test_a_text_that_is_not_c_is_an_error() -> None:
    with pytest.raises(CompileError, match="Failed to compile"):
        compiler.compiled(["int f("], {})


def rights(code: str) -> "subprocess.CompletedProcess[str]":
    """Run some Python in the compiler's sandbox."""
    return subprocess.run(
        running.python(
            "import ctypes, os, socket",
            "from tccap.bpf import compilation",
            "status = open('/proc/self/status')",
            "libc = ctypes.CDLL(None)",
            f"compilation._confine()\n{code}",
        ),
        env={"PYTHONPATH": str(Path(compiler.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.same_everywhere
def test_the_compiler_is_nobody_and_may_only_make_maps() -> None:
    shown = dict(
        re.findall(
            r"^(\w+):\t(.*)$", rights("print(status.read())").stdout, re.MULTILINE
        )
    )
    assert int(shown["Uid"].split()[0]) > 2_000_000_000
    assert int(shown["CapEff"], 16) & ~(1 << 39 | 1 << 21) == 0
    assert (shown["NoNewPrivs"], shown["Seccomp"]) == ("1", "2")


@pytest.mark.same_everywhere
@pytest.mark.parametrize(
    "attack",
    [
        "socket.socket()",
        "os.execv('/bin/true', ['true'])",
        "libc.ptrace(16, os.getppid(), 0, 0)",
        "libc.setns(0, 0)",
        "libc.mount(b'none', b'/mnt', b'tmpfs', 0, None)",
        "open('/tmp/made-by-the-compiler', 'w')",
    ],
)
def test_an_attack_ends_the_compiler(attack: str) -> None:
    assert rights(attack).returncode == -signal.SIGSYS


@pytest.mark.same_everywhere
@pytest.mark.parametrize(
    "attempt", ["open('/etc/shadow')", "os.fork()", "os.kill(os.getppid(), 0)"]
)
def test_the_compiler_is_refused(attempt: str) -> None:
    assert "PermissionError" in rights(attempt).stderr
