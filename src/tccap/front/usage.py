"""`tccap --help` and `tccap --version`, for people; Wireshark asks for neither."""

from tccap import __version__

VERSION = f"tccap {__version__}\n"
HELP = """\
tccap captures packets on Linux for Wireshark and tshark. Each packet is labelled
with the process that sent or received it, and TLS connections are decrypted.

To capture, choose a tccap interface in Wireshark, or run:
  sudo tshark -i tccap-any          all network devices
  sudo tshark -i tccap-eth0         one device
  sudo tshark -i tccap-any -f "comm curl and tcp port 443"
Options are in Wireshark's dialog (the gear beside the interface), and for tshark:
  sudo tshark -i tccap-any -o extcap.tccap_any.label:full

Commands:
  tccap check                       what works on this machine, and what is missing
  tccap tls inspect FILE            whether TLS secrets can be read from a file
  tccap sweep                       remove what a killed capture left in the kernel
  tccap --help | --version
"""
