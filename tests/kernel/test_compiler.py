"""A program that was compiled once is loaded again without a compiler."""

from pathlib import Path

import pytest

import progrun
from tccap.bpf import compiler
from tccap.bpf.collection import Collection
from tccap.bpf.uapi import ProgType
from tccap.engine import parts, programs
from tccap.errors import TccapError
from tccap.front import options, request
from tccap.host import access, cpus, rootcache

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

    compiler.compiled(TEXT, DEFINES)
    monkeypatch.setattr(compiler, "_started", missing)


@pytest.mark.usefixtures("no_compiler")
def test_a_compiled_program_runs() -> None:
    loaded = Collection([compiler.compiled(TEXT, DEFINES)])
    program_fd = loaded.program("classify", ProgType.SCHED_CLS)
    numbers, shares = loaded.table("numbers"), loaded.table("shares")
    numbers[numbers.Key(2)] = numbers.Leaf(42)
    assert progrun.verdict(program_fd, bytes(64)) == 42
    assert [*shares[shares.Key(0)]] == [0] * cpus.possible_cpus()
    with pytest.raises(KeyError):
        numbers[numbers.Key(4)]


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize(
    ("text", "defines"), [(TEXT + "\n", DEFINES), (TEXT, {"NUMBER": 1})]
)
def test_another_text_is_compiled(text: str, defines: dict[str, int | str]) -> None:
    with pytest.raises(AssertionError, match="asked for"):
        compiler.compiled(text, defines)


def test_a_damaged_entry_is_replaced(cache: Path) -> None:
    made = compiler.compiled(TEXT, DEFINES)
    [kept] = cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    assert compiler.compiled(TEXT, DEFINES) == made
    assert kept.read_bytes() == made.to_bytes()


@pytest.mark.same_everywhere
def test_another_filter_is_compiled_alone(cache: Path) -> None:
    compiled = []
    for text in ("", "tcp port 1", "tcp port 2", "uid 0 or tcp port 2"):
        the_plan = request.plan("tccap-lo", text, options.Options())
        programs.prepare(the_plan, parts.choose(the_plan, access.caller()))
        compiled.append(len([*cache.iterdir()]))
    # Words about processes change the classifier, too.
    assert compiled == [2, 3, 4, 6]


def test_the_verifiers_log_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    wild = 'u64 x; asm volatile("%0 = *(u64 *)(%1 + 0)" : "=r"(x) : "r"(7ULL))'
    text = f"int classify(struct __sk_buff *skb) {{ {wild}; return x; }}"
    loaded = Collection([compiler.compiled(text, {})])
    with pytest.raises(TccapError, match="could not load classify"):
        loaded.program("classify", ProgType.SCHED_CLS)
    assert "invalid mem access" in capfd.readouterr().err
