"""Live validation of the capture-filter box.

Wireshark asks while a person types: nothing on stdout means valid, and the
first line of anything else is shown.
"""

from tccap.filter import cbpf, language, libpcap
from tccap.filter.cbpf import FilterError


def validate(text: str, linktype: int, netmask: int | None = None) -> str | None:
    """Return what is wrong with a filter for a device, in one line, or None.

    ``netmask`` is the device's, see `libpcap.compile_filter`. An error of libpcap is
    in libpcap's words.
    """
    try:
        for packet in language.packets(language.parse(text)):
            cbpf.check(libpcap.compile_filter(packet.text, linktype, netmask))
    except FilterError as error:
        return " ".join(str(error).split())
    return None
