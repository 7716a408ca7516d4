"""What the engine and the carrier tell each other."""

import pytest

from tccap.errors import TccapError
from tccap.ipc import channel
from tccap.ipc.channel import (
    ClosedError,
    Confined,
    Describe,
    Described,
    GotNoSecrets,
    HandlesAt,
    MayTrace,
    Message,
    Search,
    Searched,
    Seen,
    Silenced,
    Stop,
    Stopping,
    Trouble,
    Verdict,
)

MESSAGES: tuple[Message, ...] = (
    Confined(),
    Stopping(),
    Described(),
    Seen(1 << 63, 7, 1000, 3, 9, b"name"),
    MayTrace(7),
    GotNoSecrets(7, 300),
    Search(),
    Stop(),
    Trouble("Schluß.".encode()),
    Silenced(),
    Describe(bytes(range(256))),
    Verdict(7, may_give=True, program=1 << 63),
    HandlesAt(7, b""),
    Searched(0.25),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda each: type(each).__name__)
def test_a_message_arrives(message: Message) -> None:
    ours, theirs = channel.pair()
    ours.send(message)
    assert [*theirs.take()] == [message]
    for end in (ours, theirs):
        end.close()


@pytest.mark.parametrize(
    "data", [b"", b"\0x", b"\xff", b"\4ab", b"\4abcde", b"\3short", bytes(1000)]
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(TccapError, match="do not understand each other"):
        channel.decoded(data)


def test_nobody_waits_for_the_other() -> None:
    ours, theirs = channel.pair()
    sent = 5000  # more than the socket takes
    for pid in range(sent):
        ours.send(MayTrace(pid))
    assert ours.is_waiting
    came: list[Message] = []
    while len(came) < sent:
        came += theirs.take()
        ours.flush()
    assert came == [MayTrace(pid) for pid in range(sent)]
    assert not ours.is_waiting
    for end in (ours, theirs):
        end.close()


def test_who_sends_without_end_keeps_nobody() -> None:
    ours, theirs = channel.pair()
    for pid in range(channel.TAKEN_MAX + 1):
        ours.send(MayTrace(pid))
    assert len([*theirs.take()]) == channel.TAKEN_MAX
    assert [*theirs.take()] == [MayTrace(channel.TAKEN_MAX)]
    for end in (ours, theirs):
        end.close()


def test_what_is_left_out_is_about_a_process_and_logged(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(channel, "WAITING_MAX", 3)
    ours, theirs = channel.pair()
    sent = 0
    while len(ours._waiting) < channel.WAITING_MAX:
        ours.send(MayTrace(sent))
        sent += 1
    assert not capfd.readouterr().err
    for message in (MayTrace(0), Search(), MayTrace(1), Stopping()):
        ours.send(message)
    assert capfd.readouterr().err.count("The engine is busy") == 1
    came: list[Message] = []
    while len(came) < sent + 2:
        came += theirs.take()
        ours.flush()
    assert came[sent:] == [Search(), Stopping()]
    for end in (ours, theirs):
        end.close()


@pytest.mark.parametrize("unread", [0, 1])
def test_the_end_of_the_other_is_seen(unread: int) -> None:
    ours, theirs = channel.pair()
    for _ in range(unread):
        ours.send(Search())
    theirs.close()
    with pytest.raises(ClosedError):
        list(ours.take())
    with pytest.raises(ClosedError):
        ours.send(Search())
    ours.close()
