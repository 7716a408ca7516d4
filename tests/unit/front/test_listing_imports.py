"""The short calls import only what they need: Wireshark makes one for every device."""

import subprocess
from pathlib import Path

import pytest

from tccap.paths import SCRIPT

# Wireshark calls these once for every device, so each module counts.
SLOW = {
    *("bcc", "pyroute2", "asyncio", "importlib.metadata", "pcapng", "logging"),
    *("dataclasses", "inspect"),
}
LISTINGS = (
    ("--extcap-interfaces", "--extcap-version=4.6"),
    ("--extcap-config", "--extcap-interface", "tccap-lo"),
    ("--extcap-dlts", "--extcap-interface", "tccap-lo"),
    ("--extcap-config", "--extcap-interface=tccap-lo", "--extcap-reload-option=pid"),
)


@pytest.mark.parametrize("arguments", LISTINGS, ids=" ".join)
def test_listings_import_nothing_slow(arguments: tuple[str, ...]) -> None:
    interpreter = Path(SCRIPT).read_text().splitlines()[0].removeprefix("#!").split()
    done = subprocess.run(
        [*interpreter, "-X", "importtime", SCRIPT, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert {"tccap.front.front", "argparse"} <= imported
    assert not imported & SLOW
