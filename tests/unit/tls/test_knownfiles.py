"""What is known of files: by mapping, by content, and which are examined again."""

import pytest

from tccap.tls import knownfiles
from tccap.tls.knownfiles import Content, KnownFiles, Outcome
from tccap.tls.mapped import Identity

MAPPED = Identity("08:01", "7", "/lib/libssl.so.3")
CONTENT = Content(2049, 7, 1, 1000)
PROBED = Outcome("/lib/libssl.so.3", "OpenSSL", 1, "")
REFUSED = Outcome("/lib/libssl.so.3", "", 0, "It is odd.")
WITHOUT_SLOTS = REFUSED._replace(lacks_slots=True)


@pytest.fixture
def known() -> KnownFiles:
    made = KnownFiles()
    made.set_content(MAPPED, CONTENT)
    return made


@pytest.mark.parametrize(
    ("outcome", "probes"), [(PROBED, 1), (REFUSED, 0), (WITHOUT_SLOTS, 0), (None, 0)]
)
def test_an_examined_file_has_so_many_probes(
    known: KnownFiles, outcome: Outcome | None, probes: int
) -> None:
    known.set_outcome(CONTENT, outcome)
    assert known.is_examined(CONTENT)
    assert known.probes_in(MAPPED) == probes


def test_a_file_is_to_be_examined_until_it_has_an_outcome(known: KnownFiles) -> None:
    assert known.probes_in(MAPPED) is None
    assert known.probes_in(MAPPED._replace(inode="8")) is None
    known.set_outcome(CONTENT, PROBED)
    known.forget(CONTENT)
    assert known.probes_in(MAPPED) is None


def test_another_content_with_the_same_mapping_is_to_be_examined(
    known: KnownFiles,
) -> None:
    known.set_outcome(CONTENT, PROBED)
    known.set_content(MAPPED, CONTENT._replace(changed_ns=2))
    assert known.probes_in(MAPPED) is None


def test_contents_are_those_that_are_known(known: KnownFiles) -> None:
    assert known.contents([MAPPED, MAPPED._replace(inode="8")]) == {CONTENT}


def test_only_files_that_lack_slots_are_examined_again(known: KnownFiles) -> None:
    other = CONTENT._replace(inode=8)
    known.set_outcome(CONTENT, WITHOUT_SLOTS)
    known.set_outcome(other, REFUSED)
    assert known.is_short_of_slots()
    known.forget_lacking_slots()
    assert not known.is_short_of_slots()
    assert not known.is_examined(CONTENT)
    assert known.is_examined(other)


def test_handles_belong_to_the_files_that_have_them(known: KnownFiles) -> None:
    """A library of one process says nothing about the keys of another one."""
    other = MAPPED._replace(inode="8")
    known.set_content(other, CONTENT._replace(inode=8))
    known.add_handle_at(CONTENT, 8)
    known.add_handle_at(CONTENT._replace(inode=8), 16)
    assert known.handles_at([MAPPED]) == {8}
    assert known.handles_at([other]) == {16}
    assert known.handles_at([MAPPED, other]) == {8, 16}
    assert known.listed_handles_at == set()
    known.add_listed(CONTENT)
    assert known.listed_handles_at == {8}


def test_many_files_that_are_no_longer_in_use_are_forgotten(
    known: KnownFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knownfiles, "KNOWN_MAX", 10)
    probed, listed = CONTENT._replace(inode=-1), CONTENT._replace(inode=-2)
    known.set_outcome(CONTENT, REFUSED)
    known.set_outcome(probed, PROBED)
    known.set_outcome(listed, REFUSED)
    known.add_listed(listed)
    for n in range(8, 19):
        assert known.is_examined(CONTENT)
        known.set_content(MAPPED._replace(inode=str(n)), CONTENT._replace(inode=n))
        known.set_outcome(CONTENT._replace(inode=n), REFUSED)
        known.add_handle_at(CONTENT._replace(inode=n), 8)
    known.prune({MAPPED})
    assert {*known._contents} == {MAPPED}
    assert {*known._outcomes} == {CONTENT, probed, listed}
    assert not known._handles_at


def test_few_files_are_kept(known: KnownFiles) -> None:
    known.set_outcome(CONTENT, REFUSED)
    known.prune(set())
    assert known.probes_in(MAPPED) == 0


def test_refusals_of_a_process_are_those_of_its_files(known: KnownFiles) -> None:
    known.set_outcome(CONTENT, REFUSED)
    assert known.refused([MAPPED]) == [REFUSED]
    known.set_outcome(CONTENT, PROBED)
    assert known.refused([MAPPED]) == []
