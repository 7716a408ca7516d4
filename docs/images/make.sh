#!/bin/sh
# Takes the README's pictures again, of the installed Wireshark: sudo make screenshots
#
# It captures real traffic, in a network of its own, with this checkout as the
# only extcap. Debian: apt install wireshark xvfb xdotool imagemagick
# matchbox-window-manager curl
set -eu

here=$(dirname "$(readlink -f "$0")")
top=$(readlink -f "$here/../..")

for program in wireshark tshark Xvfb xdotool import matchbox-window-manager curl; do
    command -v "$program" >/dev/null || {
        echo "$program is missing: see the head of $0." >&2
        exit 1
    }
done
if [ "${1:-}" != inside ]; then
    exec unshare --mount --net "$0" inside
fi

work=$(mktemp -d)
started=
keep() { # the process that was started last, until the end
    started="$started $!"
}
end() {
    set +e # some have ended before
    # shellcheck disable=SC2086  # pids are words
    kill $started 2>/dev/null
    wait
    rm -rf "$work"
}
trap end EXIT
export HOME="$work" XDG_RUNTIME_DIR="$work" DISPLAY=:97 LC_ALL=C.UTF-8

# The folder whose name Wireshark gives holds one link, into this checkout.
cover() { # Wireshark's name of the folder, what the link is to
    folder=$(tshark -G folders 2>/dev/null | sed -n "s/^$1:[[:space:]]*//p")
    mkdir "$work/$(basename "$folder")"
    ln -s "$top/$2" "$work/$(basename "$folder")/"
    mount --bind "$work/$(basename "$folder")" "$folder"
}

# eth0 leads to another host, 192.0.2.2; both hosts have a web server.
make_network() {
    mkdir -p /run/netns
    mount -t tmpfs tmpfs /run/netns # so it goes with our mount namespace
    ip netns add far
    ip link set lo up
    ip link add eth0 type veth peer name eth1 netns far
    ip addr add 192.0.2.1/24 dev eth0
    ip link set eth0 up
    ip -n far addr add 192.0.2.2/24 dev eth1
    ip -n far link set eth1 up
    mkdir "$work/www"
    echo hello >"$work/www/index.html"
    (cd "$work/www" && exec ip netns exec far python3 -m http.server --protocol HTTP/1.1 80) >/dev/null 2>&1 &
    keep
    (cd "$work/www" && exec python3 -m http.server --protocol HTTP/1.1 8000) >/dev/null 2>&1 &
    keep
}

start_screen() {
    Xvfb "$DISPLAY" -screen 0 1100x620x24 >/dev/null 2>&1 &
    keep
    until xdotool getdisplaygeometry >/dev/null 2>&1; do sleep 0.1; done
    matchbox-window-manager -use_titlebar no >/dev/null 2>&1 &
    keep
}

start_wireshark() { # its arguments
    rm -rf "$work/.config/wireshark"
    mkdir -p "$work/.config/wireshark/profiles"
    cp -R "$top/wireshark/profiles/tccap" "$work/.config/wireshark/profiles/"
    echo "gui.byte_view_show: FALSE" >>"$work/.config/wireshark/profiles/tccap/recent"
    wireshark -C tccap "$@" >/dev/null 2>&1 &
    keep
    wireshark=$!
    xdotool search --sync --onlyvisible --class wireshark >/dev/null
}

take() { # the picture's name
    import -window root miff:- | convert - +dither -colors 96 "png8:$here/$1.png"
}

# Slow enough that a kernel without kprobes finds the processes, too.
traffic() {
    curl -s --rate 5/s 'http://127.0.0.1:8000/?[1-15]' >/dev/null &
    curl -s --rate 5/s 'http://192.0.2.2/?[1-15]' >/dev/null
}

end_wireshark() {
    kill "$wireshark"
    wait "$wireshark" || true
}

cover '\(Global \)\{0,1\}Extcap path' extcap/tccap.py
cover 'Global Lua Plugins' wireshark/tccap.lua
make_network
start_screen

# Wireshark does not report when it has drawn everything, so there are pauses.
start_wireshark
sleep 8
take interfaces
end_wireshark

mkfifo "$work/log"
start_wireshark -k -i tccap-any \
    -o "extcap.tccap_any.logfile:$work/log" -o extcap.tccap_any.loglevel:debug
sed '/ready/q' "$work/log" >/dev/null
exec 3<"$work/log"
sleep 2
traffic
sleep 2
# One of the last packets, and in its details the last item, unfolded.
xdotool mousemove 300 290 click 1 sleep 1 mousemove 150 441 click 1 key Right \
    mousemove 600 560 sleep 1
take capture
end_wireshark
