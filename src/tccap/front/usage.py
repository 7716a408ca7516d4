"""`tccap --help` and `tccap --version`, for people; Wireshark asks for neither."""

from tccap import __version__
from tccap.front.options import OPTIONS, Option

VERSION = f"tccap {__version__}\n"
_HELP = """\
tccap captures packets on Linux for Wireshark and tshark, or into a file. Each packet is
labelled with the process that sent or received it, and TLS connections are decrypted.

Into a file, without Wireshark:
  sudo tccap -i any -w FILE         all network devices; Ctrl-C ends it
  sudo tccap -i eth0 -w FILE comm curl and tcp port 443
  ssh root@HOST tccap -i any -w - not port 22 | wireshark -k -i -

  -i DEVICE                         a network device, or any
  -D                                list the devices
  -w FILE                           where to write pcapng; - is stdout
  -c PACKETS                        stop after so many packets
  -a duration:SECONDS               stop after so many seconds of capturing
  -s BYTES                          the same as --snaplen; 0 keeps all
{options}
Options are described in README.md and tccap(1).

In Wireshark, choose a tccap interface (options: the gear beside it), or run:
  sudo tshark -i tccap-any -f "comm curl and tcp port 443"
  sudo tshark -i tccap-any -o extcap.tccap_any.label:full

Commands:
  tccap check                       what works on this machine, and what is missing
  tccap tls inspect FILE            whether TLS secrets can be read from a file
  sudo tccap tls list               which running processes can be decrypted
  sudo tccap tls scan [DIR...]      learn programs, to decrypt their first connections
  tccap sweep                       remove what a killed capture left in the kernel
  tccap --help | --version
"""


def help_text() -> str:
    """Return the answer to --help; its options are those of the dialog."""
    return _HELP.format(options="".join(map(_line, OPTIONS)))


def value_of(option: Option) -> str:
    """Return what stands behind an option: its choices or the kind of value."""
    entry = option.entry
    if entry.kind == "boolflag":
        return ""
    if entry.choices and not entry.reload:
        return "|".join(value for value, _ in entry.choices)
    if entry.kind == "selector":
        return "PID" if option.name == "process" else option.name.upper()
    return {"unsigned": "NUMBER", "fileselect": "FILE"}.get(entry.kind, "TEXT")


def _line(option: Option) -> str:
    call = f"--{option.name} {value_of(option)}".rstrip()
    return f"  {call:<33} {option.entry.display}\n"
