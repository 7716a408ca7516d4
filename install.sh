#!/bin/sh
# Installs tccap for all users of this machine; run it with --help.
#
# Nobody but root may be able to change the code that runs as root. So install.sh makes
# a copy that belongs to root; everything outside that copy is a link into it.
set -eu

# apt, pip and Python obey many variables, and files that variables name. Of the caller's
# only those that lead to the network stay.
forget_environment() {
    for variable in $(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p'); do
        case $variable in
        PATH | *_proxy | *_PROXY) ;;
        *) unset "$variable" ;;
        esac
    done
    export HOME=/root LC_ALL=C.UTF-8
}

PATH=/usr/sbin:/usr/bin:/sbin:/bin
if [ "$(id -u)" -eq 0 ]; then forget_environment; fi
unset PYTHONPATH PYTHONHOME
export PATH
local_path=/usr/local/sbin:/usr/local/bin:$PATH # once nobody else can write there
# bcc is installed for the distribution's own Python, not for one earlier on PATH.
python=/usr/bin/python3
umask 022

top=/usr/local/lib/tccap
new=$top.new
old=$top.old
cache=/var/cache/tccap
slots=/run/tccap # the locks of running captures
places=places # in $top: the links and folders outside $top that belong to tccap
group=wireshark # its members may capture
rule=/etc/sudoers.d/tccap
here=$(dirname "$(readlink -f "$0")")
cd /

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
Usage: sudo ./install.sh [--no-wireshark]   install tccap, or update it
       sudo ./install.sh --uninstall        remove tccap; packages stay
       ./install.sh --check                 show what works and what is missing

Packages come from the distribution (apt, dnf, pacman or zypper), python-pcapng,
capstone, cryptography, numpy, unicorn and markdown-it-py from PyPI.
tshark is installed if it is missing, except with --no-wireshark.
END
}

do_check() {
    [ -x "$python" ] || fail "There is no $python: sudo ./install.sh installs it."
    script=$top/extcap/tccap.py
    [ -x "$script" ] || script=$here/extcap/tccap.py
    PATH=$local_path
    exec "$python" -IS "$script" check
}

do_install() {
    need_root
    [ -f "$here/pyproject.toml" ] || fail "$here is no complete copy of tccap: get it again."
    need_safe_place "$top/extcap"
    need_safe_place "$rule"
    need_safe_place "$cache"
    need_safe_place /usr/local/bin/tccap
    need_safe_place /usr/local/sbin/visudo
    PATH=$local_path
    need_free_place /usr/local/bin/tccap
    manager=$(package_manager)
    install_packages
    links=$(wanted_links)
    need_free_places
    trap 'rm -rf "$new"' EXIT
    make_copy
    make_environment
    make_pages
    swap_copies
    make_links
    remove_unsafe_cache
    # This compiles the programs, so the first capture starts fast.
    "$top/venv/bin/python3" -I "$top/extcap/tccap.py" check >/dev/null 2>&1 || true
    echo "tccap is installed in $top; 'sudo tccap check' shows what works here."
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
    rm -rf "$top" "$new" "$old" "$cache" "$slots"
    echo "tccap is removed. These packages stay: $(engine_packages) $(wireshark_package)."
}

fail() {
    echo "$1" >&2
    exit 1
}

# --- what root must not trust -----------------------------------------------

need_root() {
    [ "$(id -u)" -eq 0 ] || fail "install.sh needs root: sudo ./install.sh."
}

# Who can write a folder can replace what is in it, and all below that.
need_safe_place() { # path
    for path in "$1" "$(readlink -m "$1")"; do
        while [ "$path" != / ]; do
            path=$(dirname "$path")
            if [ -d "$path" ]; then need_safe_folder "$path"; fi
        done
    done
}

need_safe_folder() { # path
    [ "$(stat -L -c %u "$1")" -eq 0 ] ||
        fail "$1 belongs to $(stat -L -c %U "$1"), who could replace what root runs there: sudo chown root $1, then run install.sh again."
    case $(stat -L -c %a "$1") in
    *[2367])
        fail "All users can write $1 and so replace what root runs there: sudo chmod o-w $1, then run install.sh again."
        ;;
    *[2367]?) need_safe_group "$1" ;;
    esac
}

# Debian made /usr/local writable for its group staff until Debian 12. An empty group
# does no harm, but its first member will not know that tccap relies on it.
need_safe_group() { # path of a folder that its group can write
    id=$(stat -L -c %g "$1")
    members=$(members_of "$id" | sed 's/^root$//')
    remedy="sudo chmod g-w $1"
    # shellcheck disable=SC2012  # stat does not show the mark of such a list
    if [ "$(ls -Lld "$1" | cut -c 11)" = + ]; then
        fail "An access control list lets others write $1 and so replace what root runs there: sudo setfacl -b $1, then run install.sh again."
    elif [ -n "$members" ]; then
        fail "The group $(stat -L -c %G "$1") ($members) can write $1 and so replace what root runs there: $remedy, then run install.sh again."
    elif [ "$id" -ne 0 ] && ! is_reported "$1"; then
        echo "Members of the group $(stat -L -c %G "$1"), which has none now, could write $1 and so replace what root runs there: $remedy" >&2
    fi
}

reported=
is_reported() { # something; the first time it is not
    case $reported in
    *":$1:"*) return 0 ;;
    esac
    reported="$reported:$1:"
    return 1
}

members_of() { # of a group: its name or number
    number=$(getent group "$1" | cut -d: -f3)
    {
        getent group "$1" | cut -d: -f4 | tr , '\n'
        getent passwd | sed -n "s/^\([^:]*\):[^:]*:[^:]*:${number:-$1}:.*/\1/p"
    } | sed '/^$/d' | sort -u | paste -sd , | sed 's/,/, /g'
}

# The cache of a version that did not check the folders above it may hold anything.
remove_unsafe_cache() {
    [ -e "$cache" ] || return 0
    unsafe=$(find "$cache" \( ! -user root -o -perm /022 \) -print -quit)
    [ -z "$unsafe" ] || rm -rf "$cache"
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
    for part in extcap sbin src bpf man wireshark docs requirements \
        README.md ARCHITECTURE.md LICENSE pyproject.toml install.sh; do
        if [ -e "$here/$part" ] || [ -L "$here/$part" ]; then
            cp -RP "$here/$part" "$new/"
        fi
    done
    need_plain_files
    find "$new" -name __pycache__ -prune -exec rm -rf {} +
    chmod 755 "$new/extcap/tccap.py" "$new/sbin/tccap-engine" "$new/install.sh"
    "$python" -I -m compileall -q -s "$new" -p "$top" "$new/src"
}

# A link would stay a link in the copy, and root would run what its owner puts there.
# The copy is checked, not the checkout, which its owner can change meanwhile.
need_plain_files() {
    odd=$(find "$new" ! -type f ! -type d -print -quit)
    [ -z "$odd" ] ||
        fail "$here${odd#"$new"} is not an ordinary file, and root copies no links: put the file itself there, then run install.sh again."
}

# The packages of the old copy stay where their versions are right, so a second run
# needs no network.
make_environment() {
    "$python" -Ic 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "tccap needs Python 3.11 or later: $python is older."
    library=lib/$("$python" -Ic 'import sys; print("python%d.%d" % sys.version_info[:2])')
    if [ -d "$top/venv/$library" ]; then
        cp -Rp "$top/venv" "$new/venv"
    else
        "$python" -I -m venv --system-site-packages "$new/venv"
    fi
    install_python_packages capture ||
        fail "pip could not install python-pcapng: see the lines above."
    install_python_packages tls ||
        echo "pip could not install capstone, cryptography, numpy and unicorn: captures work, but without TLS secrets." >&2
    install_python_packages help ||
        echo "pip could not install markdown-it-py: the help in Wireshark's dialog is not shown as a web page." >&2
    # Nobody runs these scripts, and they name the folder where they were made.
    find "$new/venv/bin" -type f ! -name 'python*' -delete
}

# A wheel has a hash of its own and runs no code when it is installed. Of pip's settings
# only those in /etc/pip.conf count.
install_python_packages() { # name of a list in requirements/
    "$new/venv/bin/python3" -I -m pip install --isolated --quiet --no-cache-dir \
        --no-input --disable-pip-version-check --no-deps --only-binary :all: \
        --require-hashes --requirement "$new/requirements/$1.txt"
}

# For Wireshark's Help button: a browser shows Markdown as plain text.
make_pages() {
    "$new/venv/bin/python3" -Ic 'import markdown_it' 2>/dev/null || return 0
    find "$new" -path "$new/venv" -prune -o -name '*.md' -exec \
        "$new/venv/bin/python3" -I "$new/docs/make_html.py" {} +
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

# visudo checks the rule before sudo reads it: sudo ignores names with a dot.
make_rule() {
    if ! command -v visudo >/dev/null || [ ! -d "$(dirname "$rule")" ]; then
        echo "There is no sudo here: only root can capture. Once sudo is installed, run install.sh again."
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
    members=$(members_of "$group")
    [ -z "$members" ] ||
        echo "The group $group has these members, who can capture now: $members."
    echo "Members of the group $group can capture; to add one: sudo usermod -aG $group USER"
}

# The engine writes to Wireshark's FIFO and reads from the extcap directly, so there must
# be no terminal and no log between them.
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

wanted_links() { # a part of the copy and the path of its link, one link a line
    echo "extcap/tccap.py /usr/local/bin/tccap"
    echo "man/tccap.1 /usr/local/share/man/man1/tccap.1"
    for_folders '\(Global \)\{0,1\}Extcap path' extcap/tccap.py
    for_folders 'Global Lua Plugins' wireshark/tccap.lua
    for_folders 'Global configuration' wireshark/profiles/tccap profiles/
}

for_folders() { # Wireshark's name of the folder, part of the copy, a folder in it or none
    wireshark_folders "$1" | while read -r folder; do
        echo "$2 $folder/${3-}$(basename "$2")"
    done
}

need_free_places() {
    echo "$links" | while read -r _part place; do
        need_free_place "$place"
        need_safe_place "$place"
    done
}

need_free_place() { # path of a link
    case $(readlink "$1") in
    "$top"/*) return 0 ;;
    esac
    if [ -e "$1" ] || [ -L "$1" ]; then
        fail "$1 is there and is not tccap's: move it away, then run install.sh again."
    fi
}

make_links() {
    remove_links
    echo "$links" | while read -r part place; do
        make_folder "$(dirname "$place")"
        echo "$place" >>"$top/$places"
        ln -sfn "$top/$part" "$place"
    done
    [ "$wireshark" = no ] || [ -n "$(wireshark_programs)" ] ||
        echo "There is no Wireshark here: install it, then run install.sh again." >&2
}

make_folder() { # with its parents; noted, so that uninstalling removes them
    [ ! -d "$1" ] || return 0
    make_folder "$(dirname "$1")"
    echo "$1" >>"$top/$places"
    mkdir "$1"
}

remove_links() {
    [ -f "$top/$places" ] || return 0
    # From the end: a folder that was made for a link stands before that link.
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

# tshark, not wireshark: Wireshark 4.0 does not print its folders, and both use the same.
wireshark_programs() {
    (
        IFS=:
        for folder in $PATH; do
            if [ -x "$folder/tshark" ]; then readlink -f "$folder/tshark"; fi
        done
    ) | sort -u
}

main "$@"
