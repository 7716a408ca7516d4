"""s2n is probed where it is proven, and where the kernel sets probes; nowhere else."""

import subprocess
from pathlib import Path

import pytest

from tccap.tls.finder.inspect import inspect
from tccap.tls.sites import LABELS, Inspection, Numbered

SOURCE = Path(__file__).with_name("s2n.c")
LABELS_BY_KIND = ((0, LABELS[1]), *enumerate(LABELS[2:6], 1), (5, "EXPORTER_SECRET"))
CS = ".byte 0x2e, 0x2e\n"


def inspected(tmp_path: Path, *options: str) -> tuple[Inspection, dict[str, int]]:
    """Build s2n's model; return the finder's answer, and the addresses of functions."""
    program = tmp_path / "program"
    subprocess.run(["gcc", "-O2", "-o", program, SOURCE, *options], check=True)
    listing = subprocess.run(
        ["nm", program], check=True, capture_output=True, text=True
    ).stdout
    names = [line.split() for line in listing.splitlines()]
    addresses = {name[2]: int(name[0], 16) for name in names if len(name) == 3}
    return inspect(program.read_bytes()), addresses


@pytest.mark.parametrize("options", [(), ("-no-pie",), ("-O1",)])
def test_both_functions_are_proven(tmp_path: Path, options: tuple[str, ...]) -> None:
    answer, addresses = inspected(tmp_path, *options)
    of_1_3, of_1_2 = answer.sites
    assert answer.library == "s2n"
    assert isinstance(of_1_3.label, Numbered)
    assert of_1_3.label.labels == LABELS_BY_KIND
    assert of_1_3.address == addresses["s2n_key_log_tls13_secret"]
    assert (of_1_2.label, of_1_2.secret_len) == ("CLIENT_RANDOM", 48)
    assert of_1_2.address == addresses["s2n_key_log_tls12_secret"]


@pytest.mark.parametrize(
    "options",
    [
        ("-DLABEL_MISSING",),
        ("-DOTHER_LABEL",),
        ("-DFIXED_LENGTH",),
        ("-DCALLERS_TEST",),
        ("-DNOT_CALLED",),
        ("-s",),
    ],
)
def test_what_is_not_proven_is_not_probed(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    answer, _ = inspected(tmp_path, *options)
    assert answer.sites == ()
    assert answer.refusal


def test_a_place_that_the_kernel_does_not_probe_is_passed_by(tmp_path: Path) -> None:
    begin = f"{CS}push %r14\npop %r14"
    answer, addresses = inspected(tmp_path, f"-DBEGIN={_string(begin)}")
    [_, of_1_2] = answer.sites
    assert of_1_2.address == addresses["s2n_key_log_tls12_secret"] + len(b"..AV")


@pytest.mark.parametrize(
    "begin",
    [
        f"{CS}mov %rsi, %rdi",  # changes an argument
        f"{CS}mov %rsi, (%rsp)",  # or memory
        f"{CS}nop\njmp 1f\n1:",  # nothing is wrong, the next one can be probed
        f"{CS}jmp of_1_2",
        f"{CS}push %r14\n1: pop %r14\npush %r14\ntest %rdi, %rdi\njz 1b\npop %r14",
    ],
)
def test_another_place_is_as_proven_as_the_first(tmp_path: Path, begin: str) -> None:
    """No argument has changed before it, and nothing else leads there."""
    answer, _ = inspected(tmp_path, f"-DBEGIN={_string(begin)}")
    assert bool(answer.sites) == ("1f" in begin)


def _string(text: str) -> str:
    escaped = text.replace("\n", "\\n")
    return f'"{escaped}"'
