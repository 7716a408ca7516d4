"""Benchmarks, without pass or fail: captures beside tcpdump and dumpcap."""
