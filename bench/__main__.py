"""Prints all tables: ``sudo make bench``, or with SHORT=1 in a few minutes."""

import os
import sys

from bench import latency, throughput


def main() -> None:
    """Measure and print."""
    if os.geteuid() != 0:
        sys.exit("The benchmarks capture: run them as root.")
    short = os.environ.get("SHORT") == "1"
    print(f"Linux {os.uname().release}, {os.cpu_count()} CPUs; load before:", end=" ")
    print(", ".join(f"{load:.2f}" for load in os.getloadavg()))
    latency.main(rounds=7 if short else 21)
    throughput.main(short=short)


if __name__ == "__main__":
    main()
