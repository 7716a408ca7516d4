"""Rows of the table of probes, read back as bpf/tls/secret.c reads them."""

import re
import struct
from pathlib import Path as File

from hypothesis import given
from hypothesis import strategies as st

from tccap.paths import BPF_DIR
from tccap.tls import probetable
from tccap.tls.sites import KINDS, LABELS, OFFSET_LIMIT, REGISTERS, Number, Path, Site

SOURCE = File(BPF_DIR, "tls/secret.c").read_text("ascii")
X86 = [
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
]
SITE_LEN = 264  # sizeof(struct tls_site)
OFFSETS = st.integers(1 - OFFSET_LIMIT, OFFSET_LIMIT - 1)
VALUES = st.builds(Path, st.sampled_from(sorted(REGISTERS)), st.just(()))
PATHS = st.builds(
    Path,
    st.sampled_from(sorted(REGISTERS)),
    st.lists(OFFSETS, min_size=1, max_size=4).map(tuple),
)
NUMBERS = st.builds(Number, VALUES | PATHS, st.sampled_from([4, 8]))
SITES = st.builds(
    Site,
    address=st.just(0),
    file_offset=st.just(0),
    kind=st.sampled_from(KINDS),
    label=PATHS,
    label_len=NUMBERS | st.none(),
    client_random=PATHS,
    secret=PATHS,
    secret_len=NUMBERS | st.sampled_from([32, 48]),
)
LABELLED = st.builds(
    lambda site, label: Site(
        **(vars(site) | {"label": label, "label_len": None}),
    ),
    SITES,
    st.sampled_from(LABELS),
)


def _number_of(register: str) -> int:
    if register in X86:
        return X86.index(register)
    return 31 if register == "sp" else int(register[1:])


def _path_at(row: bytes, at: int) -> Path | None:
    """Read a struct tls_path: None for the empty one."""
    register, count, *offsets = struct.unpack_from("=II4q", row, at)
    if not any(row[at : at + 40]):
        return None
    names = [name for name in REGISTERS if _number_of(name) == register]
    return Path(min(names), (*offsets[:count], offsets[3]))


def _same(found: Path | None, meant: Path) -> bool:
    expected = meant.offsets or (0,)
    if found is None:
        return _number_of(meant.register) == 0 and expected == (0,)
    same_register = _number_of(found.register) == _number_of(meant.register)
    return same_register and found.offsets == expected


def _same_number(row: bytes, at: int, meant: Number | int) -> bool:
    width, constant = struct.unpack_from("=II", row, at + 40)
    if isinstance(meant, int):
        return (width, constant) == (0, meant)
    is_value = not meant.path.offsets
    same = (width, constant) == (meant.width, is_value)
    return same and _same(_path_at(row, at), meant.path)


@given(SITES | LABELLED)
def test_a_row_is_the_site(site: Site) -> None:
    row = probetable.row(site)
    assert len(row) == SITE_LEN
    assert _same(_path_at(row, 0), site.client_random)
    assert _same(_path_at(row, 40), site.secret)
    assert _same_number(row, 120, site.secret_len)
    assert _same_number(row, 168, site.label_len or 0)
    kind, of_site, constant = struct.unpack_from("=II40s", row, 216)
    assert KINDS[of_site] == site.kind
    if isinstance(site.label, str):
        assert (kind, constant.rstrip(b"\0")) == (0, site.label.encode())
    else:
        assert _same(_path_at(row, 80), site.label)
        assert kind == (2 if site.label_len else 1)
        assert not any(constant)


def test_there_is_a_row_for_each_program() -> None:
    rows = re.search(r"BPF_ARRAY\(tls_sites, struct tls_site, (\d+)\)", SOURCE)
    assert rows
    assert int(rows[1]) == probetable.SLOTS
    text = probetable.slot_programs()
    for slot in range(probetable.SLOTS):
        assert f"int {probetable.slot_program(slot)}(" in text
        assert f"hit_slot(ctx, {slot});" in text
