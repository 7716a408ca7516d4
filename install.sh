#!/bin/sh
# Installs tccap for all users of this machine; run it with --help.
#
# The code that runs with root's rights must not be writable by anybody else,
# so a root-owned copy is made, and everything outside it is a link into it.
set -eu

top=/usr/local/lib/tccap
new=$top.new
old=$top.old
cache=/var/cache/tccap
places=places # in $top: what lies outside it and belongs to tccap
group=wireshark # whose members may capture
rule=/etc/sudoers.d/tccap
here=$(dirname "$(readlink -f "$0")")

# bcc comes for the distribution's own Python, not for one earlier on PATH.
python=/usr/bin/python3
# Nothing of the caller's own is run with root's rights.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
unset PYTHONPATH PYTHONHOME
umask 022

main() {
    action=install wireshark=yes
    for argument; do
        case $argument in
        --check) action=check ;;
        --uninstall) action=uninstall ;;
        --no-wireshark) wireshark=no ;;
        --help | -h) action=help ;;
        *) fail "install.sh does not know $argument: see ./install.sh --help." ;;
        esac
    done
    "do_$action"
}

do_help() {
    cat <<END
Usage: sudo ./install.sh [--no-wireshark]   install tccap, or bring it up to date
       sudo ./install.sh --uninstall        remove it; packages stay
       ./install.sh --check                 tell what works and what is missing

Packages come from the distribution (apt, dnf, pacman or zypper), pyroute2,
python-pcapng, capstone, numpy and unicorn from PyPI. tshark is installed where it is missing;
--no-wireshark leaves that out.
END
}

do_check() {
    [ -x "$python" ] || fail "There is no $python: sudo ./install.sh installs it."
    script=$top/extcap/tccap.py
    [ -x "$script" ] || script=$here/extcap/tccap.py
    exec "$python" -IS "$script" check
}

do_install() {
    need_root
    [ -f "$here/pyproject.toml" ] || fail "$here is no complete copy of tccap: get it again."
    manager=$(package_manager)
    install_packages
    trap 'rm -rf "$new"' EXIT
    make_copy
    make_environment
    swap_copies
    make_links
    # It compiles the programs, so that the first capture need not.
    "$top/venv/bin/python3" -I "$top/extcap/tccap.py" check >/dev/null 2>&1 || true
    echo "tccap is installed in $top; 'sudo tccap check' tells what works here."
    make_rule
}

do_uninstall() {
    need_root
    if [ -x "$top/venv/bin/python3" ]; then
        "$top/venv/bin/python3" -I "$top/extcap/tccap.py" sweep ||
            echo "Classifiers of a killed capture may be left: 'tc filter show' lists them." >&2
    fi
    rm -f "$rule" "$rule.new"
    remove_links
    rm -rf "$top" "$new" "$old" "$cache"
    echo "tccap is removed. These packages stay: $(engine_packages) $(wireshark_package)."
}

fail() {
    echo "$1" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" -eq 0 ] || fail "install.sh needs root: sudo ./install.sh."
}

# --- packages ---------------------------------------------------------------

package_manager() {
    for name in apt-get dnf pacman zypper; do
        if command -v "$name" >/dev/null; then
            echo "$name"
            return
        fi
    done
    fail "None of apt, dnf, pacman and zypper is here: install bcc for Python and Wireshark by hand."
}

engine_packages() {
    case $(package_manager) in
    apt-get) echo python3-bpfcc python3-venv ;;
    dnf) echo python3-bcc python3-pip ;;
    pacman) echo python-bcc ;;
    zypper) echo python3-bcc python3-pip ;;
    esac
}

wireshark_package() {
    case $(package_manager) in
    apt-get) echo tshark ;;
    dnf | pacman) echo wireshark-cli ;;
    zypper) echo wireshark ;;
    esac
}

install_packages() {
    missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    echo "Installing $missing ..."
    # shellcheck disable=SC2086  # package names are words
    fetch_packages $missing </dev/null ||
        fail "$manager could not install $missing: see the lines above."
}

missing_packages() {
    wanted=$(engine_packages)
    if [ "$wireshark" = yes ] && [ -z "$(wireshark_programs)" ]; then
        wanted="$wanted $(wireshark_package)"
    fi
    list=
    for package in $wanted; do
        has_package "$package" || list="$list $package"
    done
    echo "${list# }"
}

has_package() {
    case $manager in
    apt-get) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
    pacman) pacman -Q "$1" >/dev/null 2>&1 ;;
    *) rpm -q "$1" >/dev/null 2>&1 ;;
    esac
}

fetch_packages() {
    case $manager in
    apt-get) # without questions: wireshark-common has one
        apt-get update -qq || true # one broken source need not matter
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
            -o DPkg::Lock::Timeout=300 "$@" >/dev/null
        ;;
    dnf) dnf install --quiet -y "$@" ;;
    pacman) pacman -S --noconfirm --needed "$@" ;;
    zypper) zypper --quiet --non-interactive install "$@" ;;
    esac
}

# --- the copy ---------------------------------------------------------------

make_copy() {
    rm -rf "$new" "$old"
    mkdir -p "$new"
    for part in extcap sbin src bpf wireshark docs README.md LICENSE pyproject.toml install.sh; do
        if [ -e "$here/$part" ]; then
            cp -R "$here/$part" "$new/"
        fi
    done
    find "$new" -name __pycache__ -prune -exec rm -rf {} +
    chmod 755 "$new/extcap/tccap.py" "$new/sbin/tccap-engine" "$new/install.sh"
    "$python" -I -m compileall -q -s "$new" -p "$top" "$new/src"
}

# What the old copy has is kept, so that a second run needs no network.
make_environment() {
    "$python" -Ic 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "tccap needs Python 3.11 or later: $python is older."
    library=lib/$("$python" -Ic 'import sys; print("python%d.%d" % sys.version_info[:2])')
    if [ -d "$top/venv/$library" ]; then
        cp -Rp "$top/venv" "$new/venv"
    else
        "$python" -I -m venv --system-site-packages "$new/venv"
    fi
    install_python_packages 'project["dependencies"]' ||
        fail "pip could not install pyroute2 and python-pcapng: see the lines above."
    install_python_packages 'project["optional-dependencies"]["tls"]' ||
        echo "pip could not install capstone, numpy and unicorn: captures work, but without TLS secrets." >&2
    # They name the folder where they were made, and nobody runs them.
    find "$new/venv/bin" -type f ! -name 'python*' -delete
}

install_python_packages() { # which part of pyproject.toml, in Python
    "$python" -I - "$new/pyproject.toml" >"$new/requirements" <<END
import sys, tomllib
with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]
print(*$1, sep="\n")
END
    "$new/venv/bin/python3" -I -m pip install --quiet --no-cache-dir --no-input \
        --disable-pip-version-check --requirement "$new/requirements"
    installed=$?
    rm "$new/requirements"
    return $installed
}

swap_copies() {
    if [ -f "$top/$places" ]; then
        cp "$top/$places" "$new/$places"
    fi
    chown -R 0:0 "$new"
    chmod -R u=rwX,go=rX "$new"
    if [ -d "$top" ]; then
        mv "$top" "$old"
    fi
    mv "$new" "$top"
    rm -rf "$old"
}

# --- ordinary users ---------------------------------------------------------

# visudo sees the rule before sudo does, which passes over names with a dot.
make_rule() {
    if ! command -v visudo >/dev/null || [ ! -d "$(dirname "$rule")" ]; then
        echo "There is no sudo here: only root can capture."
        return
    fi
    getent group "$group" >/dev/null || groupadd --system "$group" ||
        fail "The group $group could not be made: see the lines above."
    (umask 337 && print_rule >"$rule.new")
    visudo -cqf "$rule.new" || {
        rm -f "$rule.new"
        fail "sudo does not take the rule for the group $group: see the lines above."
    }
    mv "$rule.new" "$rule"
    echo "Who is in the group $group can capture: sudo usermod -aG $group USER"
}

# The engine writes to Wireshark's FIFO and reads from the extcap itself: no
# terminal and no log stands between them.
print_rule() {
    cat <<END
# Made by tccap's install.sh, which also removes it.
Cmnd_Alias TCCAP_ENGINE = $top/sbin/tccap-engine ""
Defaults!TCCAP_ENGINE env_reset, !env_keep, !use_pty, !requiretty
Defaults!TCCAP_ENGINE !log_input, !log_output, umask=0077, umask_override
%$group ALL = (root) NOPASSWD: EXEC: NOSETENV: TCCAP_ENGINE
END
}

# --- links ------------------------------------------------------------------

make_links() {
    remove_links
    link extcap/tccap.py /usr/local/bin/tccap
    link_into_folders extcap/tccap.py '\(Global \)\{0,1\}Extcap path'
    link_into_folders wireshark/tccap.lua 'Global Lua Plugins'
    [ -n "$(wireshark_programs)" ] ||
        echo "There is no Wireshark here: install it, then run install.sh again." >&2
}

link_into_folders() { # part of the copy, Wireshark's name of the folder
    [ -e "$top/$1" ] || return 0
    wireshark_folders "$2" | while read -r folder; do
        link "$1" "$folder/$(basename "$1")"
    done
}

link() { # part of the copy, path of the link
    if [ -e "$2" ] && [ ! -L "$2" ]; then
        fail "$2 is there and is not tccap's: move it away, then run install.sh again."
    fi
    make_folder "$(dirname "$2")"
    echo "$2" >>"$top/$places"
    ln -sfn "$top/$1" "$2"
}

make_folder() { # with those above it; noted, so that they go with the link
    [ ! -d "$1" ] || return 0
    make_folder "$(dirname "$1")"
    echo "$1" >>"$top/$places"
    mkdir "$1"
}

remove_links() {
    [ -f "$top/$places" ] || return 0
    # The other way round: a folder that was made for a link comes after it.
    sed -n '1!G;h;$p' "$top/$places" | while read -r place; do
        case $(readlink "$place") in
        "$top"/*) rm "$place" ;;
        *) if [ -d "$place" ]; then rmdir "$place" 2>/dev/null || true; fi ;;
        esac
    done
    rm "$top/$places"
}

wireshark_folders() { # name of the folder, as a sed pattern
    wireshark_programs | while read -r program; do
        "$program" -G folders 2>/dev/null </dev/null | sed -n "s/^$1:[[:space:]]*//p"
    done | sort -u
}

# Not wireshark itself: 4.0 does not tell its folders, which are tshark's, too.
wireshark_programs() {
    (
        IFS=:
        for folder in $PATH; do
            if [ -x "$folder/tshark" ]; then readlink -f "$folder/tshark"; fi
        done
    ) | sort -u
}

main "$@"
