"""What a user names and is not there is told before a capture starts."""

import os
import subprocess
from pathlib import Path

import pytest

from tccap.errors import TccapError
from tccap.front import named, request
from tccap.front.options import Options
from tccap.ipc.plan import Plan


def _plan(*, tls_libraries: str = "", pid: str = "") -> Plan:
    options = Options(tls_libraries=tls_libraries, pid=pid)
    return request.plan("tccap-lo", "", options)


def test_programs_libraries_and_running_processes_are_fine() -> None:
    named.need(_plan(tls_libraries="/proc/self/exe", pid=str(os.getpid())))


def test_a_process_that_has_ended() -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    with pytest.raises(TccapError, match=rf"^There is no process {gone.pid}: choose"):
        named.need(_plan(pid=str(gone.pid)))


@pytest.mark.parametrize("name", ["gone", "script/file"])
def test_a_library_that_is_not_there(name: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    with pytest.raises(TccapError) as caught:
        named.need(_plan(tls_libraries=f"/proc/self/exe,{tmp_path}/{name}"))
    assert str(caught.value) == (
        f"There is no file '{tmp_path}/{name}': correct --tls-libraries."
    )


def test_a_script_a_folder_and_a_fifo_have_no_library(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "script", tmp_path / "fifo"):
        with pytest.raises(TccapError, match="is neither a program nor a library"):
            named.need(_plan(tls_libraries=str(path)))
