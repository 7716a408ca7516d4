#!/bin/sh
# Installs the packages for virtual machines, if they are missing.
set -eu
cd "$(dirname "$0")/../.."

# The project's own packages; if that script is missing, the lines below suffice.
if [ -x tests/deps.sh ]; then
    tests/deps.sh
fi

packages="qemu-system-x86 busybox-static kmod file debian-archive-keyring
    iproute2 nftables python3-bpfcc python3-venv sudo"
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' ||
        missing="${missing:-} $package"
done
# The lists also name the mirror for the kernels.
if [ -n "${missing:-}" ] || [ -z "$(apt-get indextargets)" ]; then
    apt-get update
fi
if [ -n "${missing:-}" ]; then
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
fi

if [ ! -x .venv/bin/pytest ]; then
    /usr/bin/python3 -m venv --system-site-packages .venv
    .venv/bin/pip install -e '.[dev]'
fi
if [ ! -x .venv/bin/virtme-run ]; then
    .venv/bin/pip install 'virtme-ng>=1.42'
fi
