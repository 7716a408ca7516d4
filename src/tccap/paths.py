"""Where the parts of tccap are, both in a checkout and installed."""

import os.path

_HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(_HERE))
BPF_DIR = os.path.join(TOP, "bpf")
SCRIPT = os.path.join(TOP, "extcap", "tccap.py")
ENGINE = os.path.join(TOP, "sbin", "tccap-engine")
INSTALL = os.path.join(TOP, "install.sh")
README = os.path.join(TOP, "README.md")
# Made of it by install.sh; a checkout has none.
HELP = os.path.join(TOP, "README.html")


def engine_python() -> str:
    """Return the Python that sees bcc and python-pcapng.

    That is the virtual environment beside the program, if there is one
    (install.sh and the tests make it, with --system-site-packages); otherwise
    the distribution's own, since a python3 earlier on PATH does not see bcc.
    """
    places = (os.path.join(TOP, "venv"), os.path.join(TOP, ".venv"), "/usr")
    pythons = (os.path.join(place, "bin", "python3") for place in places)
    return next(filter(os.path.exists, pythons), "/usr/bin/python3")
