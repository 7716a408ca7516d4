#!/bin/sh
# Installs what the native tests need on Debian 12; `make test` runs it first.
# Arguments are further packages, which some tests need.
# If everything is installed, it does nothing and needs no network.
set -eu

top=$(dirname "$(dirname "$(readlink -f "$0")")")
stamp=$top/.venv/tests-are-ready # as new as what pyproject.toml asks for

packages="
    clang-format
    curl
    debootstrap
    ethtool
    gcc
    gnutls-bin
    golang-go
    iproute2
    libbearssl-dev
    libc6-dev
    libmbedtls-dev
    libnss3-tools
    libwolfssl-dev
    nftables
    nginx-light
    man-db
    openssh-client
    openssh-server
    openjdk-17-jre-headless
    openssl
    procps
    python3-bpfcc
    python3-pip
    python3-venv
    shellcheck
    strace
    tcpdump
    tshark
    wget
"

main() {
    # shellcheck disable=SC2086  # package names are words
    set -- $packages "$@"
    have_packages "$@" || install_packages "$@"
    have_environment || make_environment
}

have_packages() {
    states=$(dpkg-query -W -f '${db:Status-Status}\n' "$@" 2>/dev/null) || return 1
    ! echo "$states" | grep -qvx installed && have_lists
}

have_lists() { # debootstrap gets its mirror from them
    [ -n "$(apt-get indextargets)" ]
}

install_packages() {
    if [ "$(id -u)" -ne 0 ]; then
        echo "The tests need packages of Debian: run sudo make test." >&2
        exit 1
    fi
    apt-get update -qq || true # one broken source need not matter
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "$@" </dev/null >/dev/null
}

have_environment() {
    [ -x "$top/.venv/bin/python3" ] && [ -f "$stamp" ] &&
        [ -z "$(find "$top/pyproject.toml" "$top/requirements" -newer "$stamp")" ]
}

make_environment() {
    # bcc comes for the distribution's own Python.
    /usr/bin/python3 -m venv --system-site-packages "$top/.venv"
    # Of what install.sh installs, the same versions.
    "$top/.venv/bin/python3" -m pip install --quiet --disable-pip-version-check \
        --no-deps --requirement "$top/requirements/tls.txt" \
        --requirement "$top/requirements/help.txt"
    "$top/.venv/bin/python3" -m pip install --quiet --disable-pip-version-check \
        --editable "${top}[dev,help,tls]"
    touch "$stamp"
}

main "$@"
