"""What the log says of a process whose connection got no secrets, and when nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from tccap.tls import explainer
from tccap.tls.explainer import Explainer
from tccap.tls.knownfiles import Content, KnownFiles, Outcome
from tccap.tls.mapped import Identity, Mapped
from tccap.tls.processscan import Look, ProcessScan
from tccap.tls.spending import Spending
from tccap.tls.verdicts import Verdicts

LIBSSL = Identity("08:01", "7", "/lib/libssl.so.3")
JAVA = Identity("08:01", "8", "/lib/libjvm.so")
CONTENT = Content(8, 7, 0, 1)
PROBED_AT = 100.0


@pytest.fixture
def known() -> KnownFiles:
    made = KnownFiles()
    made.set_content(LIBSSL, CONTENT)
    made.set_outcome(
        CONTENT, Outcome(LIBSSL.path, "OpenSSL", 1, "", probed_at=PROBED_AT)
    )
    made.set_content(JAVA, java := Content(8, 8, 0, 1))
    made.set_outcome(java, None)
    return made


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    made: list[tuple[str, str]] = []
    monkeypatch.setattr(explainer, "log", lambda *line: made.append(line))
    return made


NOT_TRACED = 99  # a pid


@pytest.fixture
def explaining(known: KnownFiles) -> Explainer:
    scan = ProcessScan(lambda _pid: True, known, Verdicts(), Spending())
    return Explainer(known, scan, lambda: True, lambda pid: pid != NOT_TRACED)


def look(*identities: Identity, user: Any = 0, pid: int = 7) -> Look:
    return Look(pid, tuple(Mapped(each, pid, "0-1") for each in identities), user)


def test_what_else_may_have_made_the_connection(
    explaining: Explainer, logged: list[tuple[str, str]]
) -> None:
    explaining.explain_silence(look(LIBSSL, JAVA), PROBED_AT + 2)
    explaining.explain_silence(look(LIBSSL, JAVA), PROBED_AT + 3)
    [(level, message)] = logged
    assert level == "warning"
    assert message.startswith(
        "TLS: no secrets for a connection of /lib/libssl.so.3 (pid 7), although "
        "OpenSSL in it is read; perhaps it runs Java, whose own TLS cannot be read: "
    )


@pytest.mark.parametrize("library", ["rustls", "another library"])
def test_a_second_library_in_a_file_that_is_read(
    explaining: Explainer,
    known: KnownFiles,
    logged: list[tuple[str, str]],
    library: str,
) -> None:
    outcome = known.outcomes([LIBSSL])[0]
    assert outcome
    known.set_outcome(CONTENT, outcome._replace(unread=library))
    explaining.explain_silence(look(LIBSSL), PROBED_AT + 2)
    [(level, message)] = logged
    assert level == "warning"
    assert message.endswith(
        f"although OpenSSL in it is read; perhaps {library} in /lib/libssl.so.3 made "
        "it, which was not understood: if the program can write a key log, name that "
        "in the option keylog-file."
    )


def test_a_process_that_may_forward(
    explaining: Explainer, logged: list[tuple[str, str]]
) -> None:
    explaining.explain_silence(look(LIBSSL), PROBED_AT + 2)
    [(level, message)] = logged
    assert level == "info"
    assert message.endswith(
        "perhaps it forwards for others, or has a second TLS library, which is not "
        "known."
    )


def test_a_library_that_is_read_is_not_the_one(
    explaining: Explainer, known: KnownFiles, logged: list[tuple[str, str]]
) -> None:
    s2n = LIBSSL._replace(path="/lib/libs2n.so")
    known.set_content(s2n, CONTENT)
    explaining.explain_silence(look(s2n), PROBED_AT + 2)
    [(_, message)] = logged
    assert "s2n, which cannot be read" not in message


def test_a_library_that_is_probed_too_late_explains_itself(
    explaining: Explainer, logged: list[tuple[str, str]]
) -> None:
    explaining.explain_silence(look(LIBSSL, JAVA), PROBED_AT - 0.1)
    explaining.explain_silence(look(LIBSSL, JAVA), PROBED_AT + 0.5)
    assert logged == []


def test_nothing_is_said_of_a_process_that_may_not_be_traced(
    explaining: Explainer, logged: list[tuple[str, str]]
) -> None:
    """A process filter leaves it out: that is why there are no secrets."""
    explaining.explain_silence(look(LIBSSL, JAVA, pid=NOT_TRACED), PROBED_AT + 2)
    assert logged == []


def test_nothing_is_said_while_a_file_is_examined(
    explaining: Explainer, known: KnownFiles, logged: list[tuple[str, str]]
) -> None:
    """It may be the library: it will be read."""
    python = Identity("08:01", "10", "/usr/bin/python3.11")
    known.set_content(OWN, OWN_CONTENT)
    known.set_content(python, python_content := Content(8, 10, 0, 1))
    known.set_outcome(python_content, None)
    explaining.explain_silence(look(python, OWN, LIBSSL), PROBED_AT + 2)
    assert logged == []
    known.set_outcome(OWN_CONTENT, None)
    explaining.explain_silence(look(python, OWN, LIBSSL), PROBED_AT + 2)
    assert len(logged) == 1


def test_a_program_that_is_run_again_and_again_leaves_room_for_others(
    explaining: Explainer, known: KnownFiles, logged: list[tuple[str, str]]
) -> None:
    for pid in range(2 * explainer.WARNINGS_MAX):
        explaining.explain(look(JAVA, pid=pid))
    assert len(logged) == explainer.WARNINGS_OF_PROGRAM
    of_last = "Further processes of this program are not named."
    assert [of_last in message for _, message in logged] == [*9 * [False], True]
    other = JAVA._replace(path="/other/libjvm.so")
    known.set_content(other, OWN_CONTENT)
    known.set_outcome(OWN_CONTENT, None)
    explaining.explain(look(other))
    assert logged[-1][1].startswith("TLS: no secrets from /other/libjvm.so (pid 7)")


def test_the_last_warning_says_so(
    explaining: Explainer, known: KnownFiles, logged: list[tuple[str, str]]
) -> None:
    known.set_outcome(OWN_CONTENT, None)
    for number in range(2 * explainer.WARNINGS_MAX):
        program = JAVA._replace(path=f"/{number}/libjvm.so")
        known.set_content(program, OWN_CONTENT)
        explaining.explain(look(program))
    assert len(logged) == explainer.WARNINGS_MAX
    of_last = "Further processes and files are not named."
    assert [of_last in message for _, message in logged] == [*99 * [False], True]


def test_nothing_is_said_of_a_process_that_has_ended(
    explaining: Explainer, logged: list[tuple[str, str]]
) -> None:
    explaining.explain_silence(look(user=None), PROBED_AT + 2)
    explaining.explain(look(user=None))
    assert logged == []


OWN, OWN_CONTENT = Identity("08:01", "9", "/bin/program"), Content(8, 9, 0, 1)
NOT_UNDERSTOOD = "It holds key-log labels in a form that is not understood: do this."
OF_RUSTLS = "It uses rustls, but not so that it is understood: try something else."


@pytest.fixture
def refused(known: KnownFiles) -> Callable[[str], None]:
    def refuse(refusal: str) -> None:
        known.set_content(OWN, OWN_CONTENT)
        known.set_outcome(OWN_CONTENT, Outcome(OWN.path, "", 0, refusal))

    return refuse


def test_a_refusal_is_a_warning(
    explaining: Explainer,
    refused: Callable[[str], None],
    logged: list[tuple[str, str]],
) -> None:
    refused(NOT_UNDERSTOOD)
    explaining.explain(look(OWN))
    [(level, message)] = logged
    assert level == "warning"
    assert message == f"TLS: no secrets from /bin/program: {NOT_UNDERSTOOD}"


def test_labels_in_a_program_whose_library_is_read_are_no_warning(
    explaining: Explainer,
    refused: Callable[[str], None],
    logged: list[tuple[str, str]],
) -> None:
    """haproxy has them in its messages. If a connection gets no secrets, it is told."""
    refused(NOT_UNDERSTOOD)
    explaining.explain(look(OWN, LIBSSL))
    assert logged == []
    explaining.explain_silence(look(OWN, LIBSSL), PROBED_AT + 2)
    [(level, message)] = logged
    assert level == "warning"
    assert message.endswith(f"perhaps /bin/program made it: {NOT_UNDERSTOOD}")


def test_a_second_library_that_is_known_is_a_warning(
    explaining: Explainer,
    refused: Callable[[str], None],
    logged: list[tuple[str, str]],
) -> None:
    refused(OF_RUSTLS)
    explaining.explain(look(OWN, LIBSSL))
    assert logged == [("warning", f"TLS: no secrets from /bin/program: {OF_RUSTLS}")]
