"""Which processes may give secrets; their files are tested in tests/kernel."""

import os
import subprocess

from tccap.tls.tracing import Tracing
from tccap.tls.uprobes import Uprobes


def _no_probes() -> Uprobes:
    raise AssertionError


def test_no_secrets_come_from_a_process_that_is_not_traced() -> None:
    tracing = Tracing(_no_probes, lambda _pid: False, ())
    assert not tracing.may_trace(os.getpid())


def test_secrets_of_a_process_that_has_ended_may_be_on_their_way() -> None:
    tracing = Tracing(_no_probes, lambda _pid: False, ())
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert tracing.may_trace(process.pid)
    assert tracing.may_trace(process.pid)
