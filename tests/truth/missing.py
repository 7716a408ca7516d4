"""Cases that have packets without a label of both ends, and why.

No case may have a wrong label. docs/limitations.md says the same for users.
"""

_FIRST = (
    "the first packet of a connection is translated behind the classifier of the "
    "device by which it arrives, and nobody knows yet to what"
)
_FORWARDED = (
    "a packet that arrives and is forwarded without being translated leaves no trace "
    "by which its receiver could be known"
)
_UNTRACKED = (
    "a chain that is not of type nat changes addresses, and nothing tracks that"
)
_BRIDGED = "on a bridge, the receiver of a connection's first packet can still change"
_INNER = "nothing is known of containers inside a container"
_MESH = "nothing is known of addresses that a container itself translates"
_ZONE = "a packet that arrives does not show its zone of connection tracking"
_APPEARED = (
    "a device that has just appeared is captured before its other namespace is known"
)
_SHARED_PORT = (
    "behind a container's veth pair a datagram no longer carries its socket, and two "
    "sockets have its port"
)
_DEVICE_THERE = (
    "a lookup in a container's namespace does not know the device by which the packet "
    "comes in there"
)
_LOWER = (
    "a device below another one sees a packet before the kernel says which device it "
    "is for, and sockets can be bound to a device"
)
_VRF = "lookups do not find the sockets of a VRF"
_PROGRAM = "the program that chooses a socket is not run by the lookup of a classifier"
_GROUP = "a lookup finds one of the sockets on the port, which may be no member"
_TIME_WAIT = "a SYN to a pair in TIME_WAIT may be for another socket than the pair's"
_GONE_THERE = "connections in a container are not remembered when their socket is gone"
_BEHIND_LO = (
    "lo carries what this host sends to itself by another device, which lookups there "
    "do not know"
)
_LITE = "sockets of UDP-Lite cannot be looked up"
_CLOSED = "the owner has closed its descriptor, and nobody has used the socket since"
_COPY = "the copy of what this host sends that its own sockets get is not captured"
_ORDER = "a later fragment is found by the first one, if that comes before it"
_LARGE = "a shorter prefix than 24 bits may have exceptions that are not followed"

MAY_MISS = {
    "fragment-before-the-first-one": _ORDER,
    "inherited-beside-users-of-bpf": "kprobes are skipped while a process is within "
    "bpf(2), and the owner is in doubt until its next call",
    "chosen-process-beside-translation": _FIRST,
    "chosen-process-in-a-container": "rules of other cases change destinations "
    "meanwhile",
    "masqueraded": _FIRST,
    "masqueraded-as-a-closed-connection": _FIRST,
    "masqueraded-from-a-listeners-port": _FIRST,
    "simultaneous-open-behind-masquerading": "a raw socket does not receive by ports",
    "published-port": _FIRST,
    "published-udp-port": _FIRST,
    "published-port-of-a-dead-proxy": _FIRST,
    "published-to-another-host": _FIRST,
    "port-rewritten-at-a-device": "a chain of the device changes what arrives by it "
    "behind the lookup",
    "port-rewritten-without-tracking": _UNTRACKED,
    "transparent-proxy": _UNTRACKED,
    "error-about-a-masqueraded-datagram": _FIRST,
    "routed-pods": _FORWARDED,
    "routed-pod-asks-outside": _FIRST,
    "routed-pod-is-asked-from-outside": _FORWARDED,
    "proxy-in-a-pod": _MESH,
    "proxy-of-datagrams-in-a-pod": _MESH,
    "box-in-a-box": _INNER,
    "box-in-a-box-serves": _INNER,
    "masqueraded-since-before-the-capture": "a connection from before the capture is "
    "known from the first of its packets that leaves",
    "masqueraded-datagrams": _FIRST,
    "masqueraded-fragments": _FIRST,
    "masqueraded-over-ipv6": _FIRST,
    "masqueraded-ping": "behind a container's veth pair an echo request has nothing by "
    "which to find its socket",
    "one-source-port-of-two-boxes": _FIRST,
    "two-boxes-behind-two-ports": _FIRST,
    "published-datagrams": _FIRST,
    "published-datagrams-under-load": _FIRST,
    "published-and-masqueraded": _FIRST,
    "published-and-reset": _FIRST,
    "published-and-refused": _FIRST,
    "published-over-ipv6": _FIRST,
    "published-in-a-zone": _ZONE,
    "published-port-that-gets-back-to-us": _FIRST,
    "published-port-that-gets-to-another-box": _FIRST,
    "error-about-a-published-datagram": _FIRST,
    "hairpin-to-itself": _FIRST,
    "hairpin-to-the-neighbour": "a bridge sends a packet whose destination was "
    "translated on to a port of its own before its source is translated",
    "redirected-to-another-port-here": _FIRST,
    "service-address": _FIRST,
    "service-address-on-a-bridge": _FIRST,
    "forwarded-and-untracked": _FORWARDED,
    "translated-by-iptables": _FIRST,
    "hairpin-where-netfilter-sees-bridged-packets": _FIRST,
    "network-mapped-to-another-one": _FIRST,
    "published-at-localhost": _FIRST,
    "published-and-offloaded": _FIRST,
    "published-while-entries-are-forgotten": "the first packet after that makes a new "
    "entry, as the first one of a connection does",
    "masqueraded-at-random": _FIRST,
    "prefix-of-ipv6-without-tracking": _UNTRACKED,
    "datagrams-of-a-transparent-proxy": _UNTRACKED,
    "sources-translated-on-their-way-in": "the source that a packet will have is not "
    "known when it arrives",
    "container-with-our-address": _BRIDGED,
    "datagram-of-a-packet-socket-in-a-container": "AF_PACKET sockets have no label",
    "bound-senders-in-a-container": _DEVICE_THERE,
    "link-local-senders-in-a-container": _DEVICE_THERE,
    "link-local-listeners-of-two-devices": _DEVICE_THERE,
    "link-local-address-of-another-device": _DEVICE_THERE,
    "sender-whose-port-is-steered": "behind a veth pair a datagram no longer "
    "carries its socket, and a program chooses who gets what comes to its port",
    "bridged-boxes": _BRIDGED,
    "bridged-box-asks": _BRIDGED,
    "bridged-box-serves": _BRIDGED,
    "moved-container-on-a-bridge": _APPEARED,
    "moved-container-asks": _APPEARED,
    "moved-container-serves": _APPEARED,
    "container-with-the-address-of-one-before": _APPEARED,
    "container-udp-on-a-shared-port": _SHARED_PORT,
    "container-udp-connected-and-not": _SHARED_PORT,
    "container-bound-and-unbound-datagrams": _DEVICE_THERE,
    "container-bound-and-unbound-listeners": _DEVICE_THERE,
    "container-bound-to-a-device-with-the-number-of-ours": _DEVICE_THERE,
    "container-bound-to-its-device": _DEVICE_THERE,
    "container-by-link-local-ipv6": _DEVICE_THERE,
    "container-listeners-that-no-longer-share": _DEVICE_THERE,
    "datagrams-to-ourselves-by-another-device": _BEHIND_LO,
    "datagram-of-another-host-to-the-other-address": _BEHIND_LO,
    "datagram-for-one-of-two-connected-sockets": "of sockets that are connected to the "
    "sender the kernel may take another one than the best",
    "connection-to-ourselves-by-another-device": _BEHIND_LO,
    "listener-on-an-address-of-another-host": _FORWARDED,
    "datagrams-for-an-address-of-another-host": _FORWARDED,
    "datagram-with-another-hop-to-go": "the ports of a packet whose routing header is "
    "not done are not read",
    "broadcast-that-comes-back": _COPY,
    "multicast-that-comes-back": _COPY,
    "container-with-a-macvlan-device": "a device in a container of which there is no "
    "other end here leads nowhere, and below such a device the receiver is not known",
    "container-with-the-address-of-a-machine": "a machine on the bridge may have the "
    "address as well",
    "two-that-ask-the-same": _SHARED_PORT,
    "udp-lite-beside-udp": _LITE,
    "udp-lite-beside-udp-in-a-container": _LITE,
    "udp-lite-to-nobody": _LITE,
    "socket-of-a-bridge": _LOWER,
    "socket-of-a-port-of-a-bridge": _LOWER,
    "socket-of-a-vlan": _LOWER,
    "socket-of-a-vrf": _LOWER,
    "same-tuple-in-two-vrfs": _VRF,
    "reuseport-program-of-listeners": _PROGRAM,
    "reuseport-program-of-datagrams": _PROGRAM,
    "reuseport-program-and-members-that-no-longer-share": _PROGRAM,
    "multicast-with-a-bystander": _GROUP,
    "multicast-with-a-member-of-another-group": _GROUP,
    "time-wait-of-a-restarted-server": _TIME_WAIT,
    "time-wait-of-a-worker": _TIME_WAIT,
    "time-wait-in-a-container": _TIME_WAIT,
    "killed-worker-in-a-container": _GONE_THERE,
    "closed-by-a-worker-that-exits": _GONE_THERE,
    "frame-of-a-packet-socket": "AF_PACKET sockets have no label",
    "segment-of-a-packet-socket": "AF_PACKET sockets have no label",
    "descriptor-passed-and-only-received-by": "the new owner has not used the socket",
    "connection-passed-on-and-reset": "the new owner has not used the socket",
    "connection-inherited-and-closed": _CLOSED,
    "connection-of-a-dead-parent": _CLOSED,
    "file-sent-by-a-child": _CLOSED,
    "path-made-by-another-process": "the kernel refuses the path, of which no socket "
    "is left",
    "connection-of-a-closed-listener": "a connection may get to another listener until "
    "it is accepted",
    "tcp-splice": _CLOSED,
    "program-for-a-connection": _CLOSED,
    "tcp-fast-open": "a SYN-ACK leaves before the connection is known to be used",
    "datagram-socket-inherited-and-closed": _CLOSED,
    "datagram-socket-passed-on-before-another-message": _CLOSED,
    "datagram-socket-passed-on-with-other-files": _CLOSED,
    "datagram-socket-passed-on-into-a-gap": _CLOSED,
    "listener-on-a-large-local-network": _LARGE,
    "address-of-a-container-in-a-local-network": _FORWARDED,
    "more-sockets-than-the-table-holds": "what does not fit into a table is counted",
}

_NOT_USED_YET = "a socket that is bound and was not used yet is found by polling"
_BEFORE_USE = "a connection was not used yet, and several processes have its listener"
_LEAVES_FIRST = (
    "on devices other than lo, a socket's first datagram leaves before the kernel "
    "reports it, and more than one process or thread may have sent it"
)
_HAD_CHILD = "a child has the connection, too, and one of the two may have closed it"
_PATHS = "the user of a connection of Multipath TCP is not the last one that has sent"
_OLD = "a connection from before the capture is found by polling"
WITHOUT_KPROBES = {
    "first-datagram-by-a-socket-of-two": _LEAVES_FIRST,
    "datagram-that-waits-for-a-neighbour": _LEAVES_FIRST,
    "datagram-of-a-raw-socket-in-a-container": _LEAVES_FIRST,
    "segment-that-waits-for-a-neighbour": "the kernel does not say who holds the lock "
    "of a socket, nor whether a segment has waited",
    "datagrams-of-a-netfilter-queue": "a datagram that was queued leaves in the system "
    "call of another process",
    "segment-let-go-by-a-child": _HAD_CHILD,
    "connection-shut-down-by-a-child": _HAD_CHILD,
    "segment-in-a-frame-for-all": _NOT_USED_YET,
    "link-local-address-of-another-device": _LEAVES_FIRST,
    "fragments-with-the-identifier-of-other-ones": _NOT_USED_YET,
    "datagram-socket-that-changes-its-peer": _NOT_USED_YET,
    "descriptor-taken": _NOT_USED_YET,
    "corked-by-two-processes": _NOT_USED_YET,
    "listener-passed-on": _BEFORE_USE,
    "aliases-of-localhost": _BEFORE_USE,
    "multipath-prefork": _BEFORE_USE,
    "multipath-received-by-a-child": _PATHS,
    "multipath-spliced-by-a-child": _PATHS,
    "path-made-by-another-process": "a path is the kernel's own before it belongs to "
    "the connection",
    "keepalive-of-a-stopped-process": _BEFORE_USE,
    "orphan-beside-an-heir-of-its-port": _BEFORE_USE,
    "window-probes-of-a-stopped-process": _BEFORE_USE,
    "redirected-to-a-proxy-here": _BEFORE_USE,
    "container-udp": _NOT_USED_YET,
    "udp-multicast": _NOT_USED_YET,
    "segment-of-a-raw-socket": "a raw socket's first packet leaves before the kernel "
    "reports it",
    "fragments": _NOT_USED_YET,
    "datagram-of-another-host-to-the-other-address": _LEAVES_FIRST,
    "datagram-for-one-of-two-connected-sockets": _LEAVES_FIRST,
    "chosen-process-in-a-container": "the kernel answers before it was used",
    "container-serves": "the kernel answers before the connection was used",
    "tcp-killed": "the kernel answers before the connection was used",
    "old-listener-shared": _BEFORE_USE,
    "tcp-prefork": _BEFORE_USE,
    "tcp-listener-taken-over": "the process that listened has exited",
    "renamed": _NOT_USED_YET,
    "other-user": _NOT_USED_YET,
    "changes-beside-users-of-bpf": _NOT_USED_YET,
    "thread-with-its-own-user": _NOT_USED_YET,
    "exec-in-a-thread": _NOT_USED_YET,
    "first-thread-ends": _NOT_USED_YET,
    "udp-unconnected": _NOT_USED_YET,
    "udp-connected": _NOT_USED_YET,
    "udp-ipv6": _NOT_USED_YET,
    "udp-ipv4-mapped": _NOT_USED_YET,
    "udp-silent-server": _NOT_USED_YET,
    "old-udp": _NOT_USED_YET,
    "old-listener": "a listener from before the capture is found by polling",
    "old-connection-idle": _OLD,
    "old-connection-closing": _OLD,
}
