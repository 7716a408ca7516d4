import select

from tccap.host.timer import Timer


def is_readable(timer: Timer, timeout_ms: int) -> bool:
    poll = select.poll()
    poll.register(timer.fileno(), select.POLLIN)
    return bool(poll.poll(timeout_ms))


def test_it_is_readable_once_when_its_time_has_come() -> None:
    timer = Timer()
    timer.clear()
    assert not is_readable(timer, 0)
    timer.arm(0.001)
    assert is_readable(timer, 60_000)
    timer.clear()
    assert not is_readable(timer, 0)
