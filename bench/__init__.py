"""Figures, never verdicts: what a capture costs beside tcpdump and dumpcap."""
