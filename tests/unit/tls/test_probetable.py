"""Rows of the table of probes, read back as bpf/tls/site.h describes them."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from support import clayout
from tccap.tls import probetable
from tccap.tls.sites import (
    KINDS,
    LABELS,
    OFFSET_LIMIT,
    REGISTERS,
    Number,
    Numbered,
    Path,
    Site,
)

LAYOUT = clayout.layout("abi.h", "tls/site.h")
PATH_LEN = LAYOUT.sizes["tls_path"]
X86 = [
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
]
KIND_OF_LABEL = {
    value: name.removeprefix("LABEL_")
    for name, value in LAYOUT.constants.items()
    if name.startswith(("LABEL_IS", "LABEL_ENDS"))
}
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
    st.sampled_from(LABELS)
    | st.builds(Numbered, NUMBERS, st.just(((0, "CLIENT_RANDOM"), (7, LABELS[1])))),
)


def test_labels_by_their_numbers() -> None:
    label = Numbered(Number(Path("rdx", ()), 4), ((0, LABELS[1]), (3, LABELS[4])))
    site = Site(
        *(0x1000, 0, "line", label, None),
        *(Path("rdi", (0,)), Path("rsi", (0, 0)), 48),
    )
    rows = probetable.label_rows(7, site, [(0x900, "CLIENT_RANDOM")])
    assert rows == {
        probetable.LABEL_PLACE.pack(7, number): probetable.LABEL.pack(
            len(text), text.encode()
        )
        for number, text in label.labels
    }


def test_labels_by_their_distance_from_the_probe() -> None:
    strings = ((0x900, "CLIENT_RANDOM"), (0x2000, "EXPORTER_SECRET"))
    site = Site(
        *(0x1000, 0, "line", Path("rsi", (0,)), None),
        *(Path("rdi", (0,)), Path("rdx", (0,)), 48),
    )
    rows = probetable.label_rows(7, site, strings)
    distances = {}
    for place, label in rows.items():
        assert len(place) == LAYOUT.sizes["tls_label_place"]
        assert len(label) == LAYOUT.sizes["tls_label"]
        assert struct.unpack_from("=Q", place, LAYOUT.at("tls_label_place", "slot"))[0]
        at = LAYOUT.at("tls_label_place", "distance")
        [distance] = struct.unpack_from("=q", place, at)
        length = _u32(label, 0, "tls_label", "len")
        text = LAYOUT.at("tls_label", "text")
        distances[distance] = label[text : text + length].decode()
        assert not any(label[text + length :])
    assert distances == {-0x700: "CLIENT_RANDOM", 0x1000: "EXPORTER_SECRET"}


def _u32(row: bytes, at: int, of: str, member: str) -> int:
    """Return a member of a structure that begins there."""
    return int(struct.unpack_from("=I", row, at + LAYOUT.at(of, member))[0])


def _s64s(row: bytes, at: int, member: str) -> list[int]:
    """Return a member of a struct tls_path that begins there."""
    [size] = [m.size for m in LAYOUT.members["tls_path"] if m.name == member]
    at += LAYOUT.at("tls_path", member)
    return [*struct.unpack_from(f"={size // 8}q", row, at)]


def _number_of(register: str) -> int:
    if register in X86:
        return X86.index(register)
    return 31 if register == "sp" else int(register[1:])


def _path_at(row: bytes, at: int) -> Path | None:
    """Read a struct tls_path: None for the empty one."""
    register = _u32(row, at, "tls_path", "reg")
    count = _u32(row, at, "tls_path", "dereferences")
    offsets = _s64s(row, at, "offsets")
    [last] = _s64s(row, at, "last")
    if not any(row[at : at + PATH_LEN]):
        return None
    names = [name for name in REGISTERS if _number_of(name) == register]
    return Path(min(names), (*offsets[:count], last))


def _same(found: Path | None, meant: Path) -> bool:
    expected = meant.offsets or (0,)
    if found is None:
        return _number_of(meant.register) == 0 and expected == (0,)
    same_register = _number_of(found.register) == _number_of(meant.register)
    return same_register and found.offsets == expected


def _same_number(row: bytes, at: int, meant: Number | int) -> bool:
    width = _u32(row, at, "tls_number", "width")
    constant = _u32(row, at, "tls_number", "constant")
    at += LAYOUT.at("tls_number", "path")
    if isinstance(meant, int):
        return (width, constant) == (0, meant)
    is_value = not meant.path.offsets
    same = (width, constant) == (meant.width, is_value)
    return same and _same(_path_at(row, at), meant.path)


@given(SITES | LABELLED)
def test_a_row_is_the_site(site: Site) -> None:
    row = probetable.row(site)
    at = {member.name: member.offset for member in LAYOUT.members["tls_site"]}
    assert len(row) == LAYOUT.sizes["tls_site"]
    assert _same(_path_at(row, at["client_random"]), site.client_random)
    assert _same(_path_at(row, at["secret"]), site.secret)
    assert _same_number(row, at["secret_len"], site.secret_len)
    kind = KIND_OF_LABEL[_u32(row, 0, "tls_site", "label_kind")]
    assert KINDS[_u32(row, 0, "tls_site", "kind")] == site.kind
    constant = row[at["constant_label"] :]
    by_number = site.label.number if isinstance(site.label, Numbered) else None
    assert _same_number(row, at["label_len"], by_number or site.label_len or 0)
    if isinstance(site.label, str):
        assert (kind, constant.rstrip(b"\0")) == ("IS_CONSTANT", site.label.encode())
    elif isinstance(site.label, Numbered):
        assert (kind, any(constant)) == ("IS_NUMBERED", False)
    else:
        assert _same(_path_at(row, at["label"]), site.label)
        assert kind == ("IS_COUNTED" if site.label_len else "ENDS_WITH_NUL")
        assert not any(constant)


def test_labels_and_paths_are_as_long() -> None:
    assert LAYOUT.constants["DEREFERENCES_MAX"] == probetable.DEREFERENCES_MAX
    assert LAYOUT.constants["TLS_LABEL_MAX"] == probetable._LABEL_MAX


def test_there_is_a_row_for_each_program() -> None:
    assert LAYOUT.constants["TLS_SLOTS"] == probetable.SLOTS
