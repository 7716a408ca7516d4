"""The short calls import only what they need: Wireshark makes one for every device."""

import subprocess
from pathlib import Path

import pytest

from tccap.errors import TccapError
from tccap.front import listing
from tccap.paths import SCRIPT

# Wireshark calls these once for every device, so each module counts.
SLOW = {
    *("bcc", "pyroute2", "asyncio", "importlib.metadata", "pcapng", "logging"),
    *("dataclasses", "inspect", "argparse", "typing", "re", "enum", "socket"),
}
LISTINGS = (
    ("--extcap-interfaces", "--extcap-version=4.6"),
    ("--extcap-config", "--extcap-interface", "tccap-lo"),
    ("--extcap-dlts", "--extcap-interface", "tccap-lo"),
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
    assert "tccap.front.listing" in imported
    assert not imported & SLOW


def test_device_of() -> None:
    assert listing.device_of("tccap-eth0") == "eth0"
    assert listing.device_of("tccap-tccap-x") == "tccap-x"
    for other in (None, "", "eth0"):
        with pytest.raises(TccapError):
            listing.device_of(other)


@pytest.mark.parametrize(("device", "can"), [("eth0.7", True), ("a{b", False)])
def test_is_listable(device: str, can: bool) -> None:
    assert listing.is_listable(device) == can


def test_a_device_that_is_no_utf8_is_not_listed() -> None:
    text = listing.interfaces(["d\udcff", "dé"])
    assert "tccap-dé" in text
    assert "\udcff" not in text
