import errno
import os

import pytest

from tccap.host import libc


def test_a_result_is_returned() -> None:
    assert libc.call("getpid") == os.getpid()


def test_a_failure_becomes_an_os_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        libc.call("close", -1)
    assert caught.value.errno == errno.EBADF
