"""rtnetlink(7): with the real kernel, and with answers that it never gives."""

import errno
import select
import socket
import struct
from unittest import mock

import pytest

from tccap.host import netlink

RTM_GETLINK, RTM_GETADDR = 18, 22
IFINFOMSG_LEN, IFADDRMSG_LEN = 16, 8
IFLA_IFNAME, IFA_ADDRESS = 3, 1


def test_a_dump_has_many_answers() -> None:
    with netlink.connect() as connection:
        body = bytes(IFINFOMSG_LEN)
        answers = [*netlink.ask(connection, RTM_GETLINK, body, dump=True)]
    found = [netlink.attributes(answer[IFINFOMSG_LEN:]) for answer in answers]
    names = {each[IFLA_IFNAME].rstrip(b"\0").decode() for each in found}
    assert names == {name for _, name in socket.if_nameindex()}


def test_one_answer_is_waited_for() -> None:
    body = struct.pack("=B3xi8x", 0, 1)  # the loopback device
    with netlink.connect() as connection:
        [answer] = netlink.ask(connection, RTM_GETLINK, body)
    name = netlink.attributes(answer[IFINFOMSG_LEN:])[IFLA_IFNAME]
    assert name.rstrip(b"\0") == b"lo"


def test_a_refusal_is_an_os_error() -> None:
    with (
        netlink.connect() as connection,
        pytest.raises(OSError, match="No such device") as caught,
    ):
        next(netlink.ask(connection, RTM_GETLINK, struct.pack("=B3xi8x", 0, 0x7FFFFFF)))
    assert caught.value.errno == errno.ENODEV


@pytest.mark.parametrize(
    "answer", [b"short", struct.pack("=IHHII", 15, 0, 0, 0, 0), b"\xff" * 20]
)
def test_a_malformed_answer_is_an_os_error(answer: bytes) -> None:
    fake = mock.Mock(spec=socket.socket)
    fake.recv.return_value = answer
    with pytest.raises(OSError, match="Bad message"):
        next(netlink.ask(fake, RTM_GETADDR, bytes(IFADDRMSG_LEN), dump=True))


def test_attributes_are_padded() -> None:
    name = struct.pack("=HH", 7, IFLA_IFNAME) + b"lo\0" + b"\0"
    data = name + netlink.attribute(4, 65536)
    expected = {IFLA_IFNAME: b"lo\0", 4: struct.pack("=i", 65536)}
    assert netlink.attributes(data) == expected


@pytest.mark.parametrize("length", [0, 3, 9])
def test_malformed_attributes_are_an_os_error(length: int) -> None:
    with pytest.raises(OSError, match="Bad message"):
        netlink.attributes(struct.pack("=HHI", length, 1, 0))


def test_a_subscription_is_quiet_while_nothing_changes() -> None:
    with netlink.Subscription(0) as quiet:
        quiet.clear()
        assert select.select([quiet], [], [], 0)[0] == []


def test_only_lost_notifications_are_passed_over() -> None:
    refusals = [OSError(errno.ENOBUFS, ""), OSError(errno.ENOMEM, "")]
    with (
        netlink.Subscription(0) as subscription,
        mock.patch.object(subscription, "_socket") as fake,
    ):
        fake.recvmsg.side_effect = refusals
        with pytest.raises(OSError) as caught:  # noqa: PT011  # its number is checked
            subscription.clear()
        assert caught.value.errno == errno.ENOMEM
        fake.recvmsg.side_effect = [refusals[0], BlockingIOError]
        subscription.clear()


def test_a_change_is_waited_for() -> None:
    answer = struct.pack("=IHHIIi", 20, 2, 0, 0, 0, 0)
    fake = mock.Mock(spec=socket.socket)
    fake.recv.return_value = answer
    netlink.tell(fake, 36, b"body", netlink.NEW)
    [sent], _ = fake.send.call_args
    assert struct.unpack_from("=IHH", sent) == (20, 36, 0x1 | 0x4 | 0x600)
    fake.recv.return_value = answer[:16] + struct.pack("=i", -errno.EEXIST)
    with pytest.raises(FileExistsError):
        netlink.tell(fake, 36, b"body", netlink.NEW)


@pytest.mark.parametrize(
    "answer",
    [
        struct.pack("=IHHIIi", 20, 3, 0, 0, 0, 0),
        struct.pack("=IHHIIi", 20, 2, 0, 0, 0, 1),
    ],
)
def test_a_malformed_confirmation_is_an_os_error(answer: bytes) -> None:
    fake = mock.Mock(spec=socket.socket)
    fake.recv.return_value = answer
    with pytest.raises(OSError, match="Bad message"):
        netlink.tell(fake, 36, b"body")


def test_texts_end_at_a_zero_byte_and_need_be_no_text() -> None:
    assert netlink.text(b"eth0\0\0") == "eth0"
    assert netlink.text(b"") == ""
    assert netlink.text(b"a\xff\0").encode("utf-8", "surrogateescape") == b"a\xff"
