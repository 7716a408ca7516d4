"""What is known of files: by mapping, by content, and which are examined again."""

import pytest

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


def test_handles_are_read_where_all_libraries_have_them(known: KnownFiles) -> None:
    assert known.handle_at is None
    for offset, found in ((8, 8), (8, 8), (16, None)):
        known.add_handle_at(offset)
        assert known.handle_at == found
