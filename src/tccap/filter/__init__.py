"""Capture filters: libpcap's language and process words, as code for the kernel."""
