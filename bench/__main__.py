"""Prints all tables: ``sudo make bench``, or with SHORT=1 in a few minutes.

Names behind it select tables: latency, new-filters, throughput, filter, devices,
attribution, tls. throughput, new-filters and devices also measure the checkout in the
folder BEFORE, if it is given.
"""

import os
import sys
from collections.abc import Callable

from bench import attribution, devices, latency, rejection, throughput, tls

TABLES: dict[str, Callable[[bool], None]] = {
    "latency": lambda short: latency.main(rounds=7 if short else 21),
    "new-filters": lambda short: latency.filters(rounds=3 if short else 7),
    "throughput": lambda short: throughput.main(short=short),
    "filter": lambda _short: rejection.main(),
    "devices": lambda short: devices.main(short=short),
    "attribution": lambda short: attribution.main(short=short),
    "tls": lambda short: tls.main(short=short),
}


def main(chosen: list[str]) -> None:
    """Measure and print."""
    if os.geteuid() != 0:
        sys.exit("The benchmarks capture: run them as root.")
    unknown = set(chosen) - set(TABLES)
    if unknown:
        sys.exit(f"There is no table {unknown.pop()}; there are {', '.join(TABLES)}.")
    print(f"Linux {os.uname().release}, {os.cpu_count()} CPUs; load before:", end=" ")
    print(", ".join(f"{load:.2f}" for load in os.getloadavg()))
    for name in chosen or TABLES:
        TABLES[name](os.environ.get("SHORT") == "1")


if __name__ == "__main__":
    main(sys.argv[1:])
