#!/bin/sh
# Entry to the virtual machines: tests/vm/run.sh test [KERNEL...] | shell KERNEL [CMD]
set -eu
cd "$(dirname "$0")/../.."
if [ "$(id -u)" != 0 ]; then
    echo "Virtual machines share the whole file system: run this as root." >&2
    exit 1
fi
tests/vm/deps.sh
PYTHONPATH=tests exec .venv/bin/python -m vm "$@"
