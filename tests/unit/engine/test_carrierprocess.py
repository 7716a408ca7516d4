"""How the carrier ends, as the engine sees it; its rights are in tests/kernel."""

import subprocess

import pytest

from support import running

CARRIER = """
import os, signal, time
from tccap.engine import carrierprocess
from tccap.ipc.channel import ClosedError

carrierprocess.END_S = 0.1

def run(channel):
    {does}

carrier = carrierprocess.CarrierProcess(run, ())
try:
    while True:
        list(carrier.channel.take())
        time.sleep(0.001)
except ClosedError:
    os._exit(carrier.wait())
"""


@pytest.mark.parametrize(
    ("does", "status", "name"),
    [
        ("return 0", 0, None),
        ("return 3", 3, None),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 1, "SIGSEGV"),
        ("channel.close(); time.sleep(3600)", 1, "SIGKILL"),
    ],
)
def test_the_engine_does_not_wait_for_ever(
    does: str, status: int, name: str | None
) -> None:
    done = subprocess.run(
        running.python(CARRIER.format(does=does)),
        check=False,
        timeout=running.DEADLINE_S,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert (f"was ended by {name}." in done.stderr) == bool(name)
