"""The whole stdout of every call that Wireshark makes, as files.

The devices are those of a network namespace. After a wanted change:
``TCCAP_WRITE_GOLDEN=1 pytest tests/golden``, and look at the difference.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import netns
from tccap.paths import SCRIPT, TOP

HERE = Path(__file__).parent
# Of the machine's processes only the choice of all of them is always there.
PROCESS = re.compile(r"^value \{arg=\d+\}\{value=\d+\}\{display=\d+ .*\n", re.MULTILINE)
CALLS = {
    "interfaces": "--extcap-interfaces",
    "interfaces-with-version": "--extcap-interfaces --extcap-version=4.6",
    "config-any": "--extcap-config --extcap-interface tccap-any",
    "config-veth0": "--extcap-config --extcap-interface tccap-veth0",
    "config-reload": "--extcap-config --extcap-interface tccap-veth0 "
    "--extcap-reload-option direction",
    "dlts-any": "--extcap-dlts --extcap-interface tccap-any",
    "dlts-lo": "--extcap-dlts --extcap-interface tccap-lo",
    "dlts-veth0": "--extcap-dlts --extcap-interface tccap-veth0",
    "dlts-tun0": "--extcap-dlts --extcap-interface tccap-tun0",
    "dlts-absent": "--extcap-dlts --extcap-interface tccap-absent",
    "dlts-of-another": "--extcap-dlts --extcap-interface eth0",
    "cleanup": "--extcap-cleanup-postkill",
    "no-call": "",
    "help": "--help",
    "version": "--version",
    "capture-without-fifo": "--capture --extcap-interface tccap-veth0",
}


@pytest.fixture(scope="module")
def near() -> Iterator[netns.Namespace]:
    with netns.namespace() as space:
        # What modules that are built in bring along differs between kernels.
        for line in space.ip("-o", "link").splitlines():
            name = line.split(":")[1].strip().split("@")[0]
            if name != "lo":
                space.ip("link", "del", name)
        space.ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
        space.ip("tuntap", "add", "tun0", "mode", "tun")
        yield space


@pytest.mark.parametrize("name", CALLS)
def test_call(near: netns.Namespace, name: str) -> None:
    done = subprocess.run(
        near.command(SCRIPT, *CALLS[name].split()),
        check=False,
        capture_output=True,
        text=True,
    )
    found = (
        f"$ tccap.py {CALLS[name]}\n{done.stdout}"
        f"--- stderr\n{done.stderr}--- status {done.returncode}\n"
    ).replace(TOP, "@TOP@")
    found = PROCESS.sub("", found)
    golden = HERE / f"{name}.txt"
    if os.environ.get("TCCAP_WRITE_GOLDEN") == "1":
        golden.write_text(found)
    assert found == golden.read_text()


def test_no_file_is_left_over() -> None:
    assert {path.stem for path in HERE.glob("*.txt")} == {*CALLS}
