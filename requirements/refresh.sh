#!/bin/sh
# Pins the newest versions of the Python packages that tccap needs, with the hashes of
# their files; run it with: make requirements
#
# install.sh accepts only files with these hashes. capture.txt has what every capture
# needs, tls.txt the packages for TLS secrets, too: machines without wheels for those
# capture without TLS secrets. help.txt has what makes HTML pages, which nothing else
# needs.
set -eu

uv=uv==0.13.9
here=$(dirname "$(readlink -f "$0")")
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
cd "$here/.."

compile() { # name of the list, what it covers
    list=requirements/$1
    shift
    # --universal: for each Python from 3.11 on, and for each processor.
    "$tools/bin/uv" pip compile --quiet --upgrade --universal --python-version 3.11 \
        --generate-hashes --no-build --custom-compile-command "make requirements" \
        --output-file "$list" "$@" pyproject.toml
}

/usr/bin/python3 -m venv "$tools"
"$tools/bin/python3" -m pip install --quiet --disable-pip-version-check "$uv"
compile capture.txt
compile tls.txt --extra tls
compile help.txt --extra help
