#!/bin/sh
# Runs in the virtual machine, as its first program after virtme-ng's init:
# makes the guest's files fast and writable, then runs the job.
# $1: the folder shared with the host (guest.sh, job; status is written there)
# $2: the unpacked kernel's folder on the host
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
share=$1 kernel=$2
release=$(uname -r)

# The root that virtme-ng mounts asks the host about every file, every time. A
# caching mount of the same files is three to five times faster; the host's files do
# not change while a test runs.
mkdir -p /run/root/lower /run/root/upper /run/root/new
mount -t tmpfs upper /run/root/upper
mkdir /run/root/upper/files /run/root/upper/work

# Libraries are mapped, and Linux 5.10 reads mapped files page by page. So the
# compiler's libraries, 240 MB, are copied into memory first.
mount -t 9p -o ro,trans=virtio,version=9p2000.L,access=any,msize=512000,cache=none \
    tccap.root /run/root/lower
for library in $(ldd /usr/lib/*/libbcc.so.0 | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p'); do
    file=$(readlink -f "$library")
    mkdir -p "/run/root/upper/files${file%/*}"
    cp "/run/root/lower$file" "/run/root/upper/files$file"
done
umount /run/root/lower
mount -t 9p -o ro,trans=virtio,version=9p2000.L,access=any,msize=512000,cache=loose \
    tccap.root /run/root/lower
modprobe -d "/run/root/lower$kernel" -q overlay
mount -t overlay -o lowerdir=/run/root/lower,upperdir=/run/root/upper/files,workdir=/run/root/upper/work \
    root /run/root/new

# pivot_root, not chroot: a process in a chroot may not create user namespaces,
# which a test may need.
cd /run/root/new
mkdir -p .old
pivot_root . .old
for folder in dev proc sys run; do
    mount --move "/.old/$folder" "/$folder"
done
cd /

mkdir -p /lib/modules
ln -sfn "$kernel/lib/modules/$release" "/lib/modules/$release"
echo /sbin/modprobe >/proc/sys/kernel/modprobe

mount_unless_mounted() { # type, folder
    grep -q " $2 $1 " /proc/mounts || mount -t "$1" "$1" "$2"
}
mount_unless_mounted debugfs /sys/kernel/debug
mount_unless_mounted tracefs /sys/kernel/tracing
mount_unless_mounted cgroup2 /sys/fs/cgroup
mount_unless_mounted bpf /sys/fs/bpf

# The kernel loads link types (wireguard, vxlan, ...) on demand, but not these: they
# have a device file, or a name that it does not look up.
for module in veth cls_bpf sch_ingress tun ppp_generic; do
    modprobe -q "$module" || true
done
ip link set lo up

echo "tccap-vm: Linux $release is up after $(cut -d' ' -f1 /proc/uptime) s"
set +e
sh "$share/job"
echo $? >"$share/status"
