"""tccap: live packets from eBPF tc classifiers, each with its process."""

__version__ = "0.1.0"
