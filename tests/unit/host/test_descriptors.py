"""Closing what a child has from its parent."""

import os

import pytest

from tccap.host import descriptors


@pytest.mark.parametrize("beside", [(), (0,), (0, 1, 2)])
def test_only_the_named_ones_stay_open(beside: tuple[int, ...]) -> None:
    reader, writer = os.pipe()
    other = os.dup(reader)
    child = os.fork()
    if child == 0:
        descriptors.close_all_but({writer, *beside})
        left = [fd for fd in range(256) if _is_open(fd)]
        os.write(writer, repr(left == sorted({writer, *beside})).encode())
        os._exit(0)
    for fd in (writer, other):
        os.close(fd)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == b"True"
    os.close(reader)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
