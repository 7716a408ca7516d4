"""Files whose packets have labels, and a tshark that reads them as an installed one."""

import re
import struct
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from support.wireshark import COVER
from tccap.paths import TOP


def _block(number: int, body: bytes) -> bytes:
    length = struct.pack("=I", len(body) + 12)
    return struct.pack("=I", number) + length + body + length


def _packet(*comments: bytes) -> bytes:
    frame = bytes(12) + b"\x88\xb5" + bytes(46)  # Ethernet, a private protocol
    options = b"".join(
        struct.pack("=HH", 1, len(text)) + text + bytes(-len(text) % 4)
        for text in comments
    )
    head = struct.pack("=IIIII", 0, 0, 0, len(frame), len(frame))
    return _block(6, head + frame + options + bytes(4))


class Tshark:
    """A tshark with our Lua plugin and our profile, and no others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._plugins = folder / "plugins"
        self._plugins.mkdir()
        (self._plugins / "tccap.lua").symlink_to(f"{TOP}/wireshark/tccap.lua")
        profiles = folder / ".config/wireshark/profiles"
        profiles.mkdir(parents=True)
        (profiles / "tccap").symlink_to(f"{TOP}/wireshark/profiles/tccap")

    def read(self, packets: Sequence[tuple[bytes, ...]], *options: str) -> str:
        """Return what tshark prints for packets with these comments."""
        file = self._folder / "file.pcapng"
        header = _block(0x0A0D0D0A, struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1))
        interface = _block(1, struct.pack("=HHI", 1, 0, 0))
        file.write_bytes(header + interface + b"".join(_packet(*c) for c in packets))
        cover = ("sh", "-c", COVER, str(self._plugins), _global_lua_folder())
        done = subprocess.run(
            ["unshare", "--mount", *cover, "tshark", "-r", str(file), *options],
            capture_output=True,
            check=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self._folder)}
            | {"LC_ALL": "C.UTF-8"},
        )
        for line in done.stderr.decode().splitlines():
            assert line.startswith("Running as user "), line
        return done.stdout.decode()

    def fields(
        self, packets: Sequence[tuple[bytes, ...]], *names: str, where: str = ""
    ) -> list[list[str]]:
        """Return the values of our fields, a list a packet."""
        wanted = [word for name in names for word in ("-e", f"tccap.{name}")]
        chosen = ["-Y", where] if where else []
        output = self.read(packets, "-T", "fields", *wanted, *chosen)
        return [line.split("\t") for line in output.splitlines()]


@cache
def _global_lua_folder() -> str:
    done = subprocess.run(
        ["tshark", "-G", "folders"], check=True, capture_output=True, text=True
    )
    found = re.search(r"^Global Lua Plugins:\s+(\S+)", done.stdout, re.MULTILINE)
    assert found, done.stdout
    return found[1]
