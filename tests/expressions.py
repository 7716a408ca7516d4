"""Filter expressions: the primitives of pcap-filter(7), alone and combined."""

from itertools import product

# "ip protochain" only for the header that would be skipped: behind an authentication
# header libpcap computes a wrong offset, and its interpreter then loops for ever.
# (tccap's program ends after LOOP_TURNS.)

PRIMITIVES = """
ip
ip6
arp
rarp
tcp
udp
sctp
icmp
icmp6
igmp
pim
ah
esp
vrrp
carp
igrp
atalk
aarp
decnet
iso
stp
ipx
netbeui
lat
moprc
mopdl
llc
llc i
llc s
llc u
llc rr
llc rnr
llc rej
llc ui
llc ua
llc disc
llc test
llc xid
llc frmr
clnp
esis
isis
l1
l2
iih
lsp
snp
csnp
psnp
pppoed
pppoes
pppoes 7
vlan
vlan 5
mpls
mpls 100
geneve
geneve 11
host 10.0.0.5
src host 10.0.0.5
dst host 10.0.0.5
ip host 10.0.0.1
arp host 10.0.0.2
rarp host 10.0.0.2
host 2001:db8::5
src host 2001:db8::1
dst host 2001:db8::1
net 10
net 10.0
net 10.0.0
net 10.0.0.0/29
src net 10.0.0.4/30
dst net 10.0.0.0 mask 255.255.255.252
net 2001:db8::/32
src net 2001:db8::/127
dst net 2001:db8::4/126
port 53
src port 53
dst port 53
port 443
portrange 50-60
src portrange 440-450
dst portrange 1-65535
tcp port 443
tcp src port 443
tcp dst port 80
tcp portrange 80-443
udp port 53
udp src port 53
udp dst portrange 50-100
sctp port 9
sctp dst port 53
port domain
port http
less 60
greater 100
len = 64
len > 1000
ip proto 6
ip proto 17
ip proto \\icmp
ip proto ospf
ip6 proto 58
ip6 proto \\tcp
proto 17
proto 132
ether proto 0x0800
ether proto \\arp
ether proto 0x88cc
ether proto 0x42
ether proto \\stp
ip protochain 51
ip6 protochain 6
ip6 protochain 17
ip6 protochain 44
ether broadcast
ether multicast
broadcast
multicast
ip multicast
ip6 multicast
ether host 02:00:00:00:00:01
ether src 02:00:00:00:00:01
ether dst 02:00:00:00:00:02
ether dst ff:ff:ff:ff:ff:ff
ether[0] & 1 != 0
ether[0:4] = 0x02000000
ether[1:4] != 0
ether[3:2] > 1
ether[9:4] != 0
ether[10:4] = 0x00010800
ether[11:2] = 0x0108
ether[12:2] = 0x8100
ether[13] = 0
ether[14:4] = 0x4500003c
ether[15:4] > 0x1000000
ether[17:2] = 0
ether[100] = 0
ether[95:2] > 5
ether[94:4] > 5
ether[200:4] & 0xff = 7
ether[1400:2] >= 0x100
ether[len - 1] = 0
ether[len - 4:4] > 77
ether[len] = 0
ether[ether[14] & 15] > 3
ether[ether[20]:2] < 0x8000
ip[0] & 0xf != 5
ip[0] & 0xf = 5
ip[2:2] > 576
ip[2:2] = len - 14
ip[6:2] & 0x1fff = 0
ip[6] & 0x20 != 0
ip[8] < 5
ip[9] = 6
ip[12:4] = 0x0a000005
ip[16:4] & 0xff000000 = 0x0a000000
ip6[6] = 6
ip6[7] = 255
ip6[4:2] > 100
ip6[8:4] = 0x20010db8
arp[6:2] = 1
arp[7] = 2
tcp[0:2] = 443
tcp[13] & 2 != 0
tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn
tcp[tcpflags] & (tcp-rst|tcp-fin) != 0
tcp[tcpflags] = tcp-ack
tcp[12] >> 4 > 5
tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420
tcp[4:4] > 0x7fffffff
(ip[2:2] - ((ip[0] & 0xf) << 2)) - ((tcp[12] & 0xf0) >> 2) != 0
udp[4:2] > 100
udp[4:2] = ip[2:2] - 20
udp[8] = 0x80
icmp[icmptype] = icmp-echo
icmp[icmptype] != icmp-echo and icmp[icmptype] != icmp-echoreply
icmp[icmpcode] = 1
icmp6[icmp6type] = icmp6-echo
icmp6[icmp6type] = icmp6-neighborsolicit
icmp6[0] = 135
igmp[0] = 0x16
sctp[12] = 1
len & 1 = 1
len / 3 = 20
len % 7 = 0
len * 2 > 200
len + 10 < 100
len - 100 > 100
len ^ 0x3f = 1
len | 1 = 61
len << 2 = 240
len >> 5 = 2
-len > 0xffffff00
1000 / ip[8] > 20
1000 % ip[8] = 8
len << ip[8] = 0
len >> tcp[13] > 3
ip[0] << 28 >> 28 = 5
ip[12:4] = ip[16:4]
ip[12:4] > ip[16:4]
tcp[0:2] >= tcp[2:2]
ip[10:2] & ip[4:2] != 0
link[0] = 2
""".strip().splitlines()

COMBINATIONS = """
tcp port 443 and host 10.0.0.5
tcp and not port 443
not arp and not icmp6
host 10.0.0.1 and (port 53 or port 80)
host 10.0.0.1 or host 10.0.0.2 or host 10.0.0.3
host 10.0.0.1 and not host 10.0.0.5
src host 10.0.0.1 and dst host 10.0.0.2
(tcp or udp) and (src port 53 or dst port 443)
net 10.0.0.0/30 and not (tcp or udp)
tcp and (tcp[13] & 2 != 0 or tcp[13] & 1 != 0) and not src net 10.0.0.4/30
ip6 and tcp port 80
ip6 and udp and not port 53
ip and ip[0] & 0xf > 5 and tcp port 443
ip6 protochain 6 and host 2001:db8::5
ip6 protochain 6 or ip protochain 51
not ip6 protochain 17
vlan and ip
vlan and tcp port 443
vlan 5 and host 10.0.0.5
vlan and vlan
vlan and vlan and ip
vlan 5 and vlan 6 and tcp
not vlan
vlan or ip
ip or vlan
(vlan and tcp port 443) or (vlan and udp)
vlan and arp
vlan and ip6 and icmp6
mpls and ip
mpls 100 and tcp
mpls and mpls and host 10.0.0.5
vlan and mpls and ip
pppoes and ip
pppoes and tcp port 443
pppoes 7 and host 10.0.0.5
pppoes and ip6
vlan and pppoes and ip
geneve and ip
geneve 11 and tcp port 443
geneve and host 10.0.0.5
geneve and geneve
broadcast or multicast
ether broadcast and arp
not ether multicast and ip
ether src 02:00:00:00:00:01 and ip6
ether host 02:00:00:00:00:01 and not tcp
ether proto 0x8100 and ether[16:2] = 0x0800
less 100 and udp
greater 100 and less 1000
len > 100 and tcp[tcpflags] & tcp-push != 0
tcp[2:2] = 443 or udp[2:2] = 443
port 1 or port 2 or port 53 or port 80 or port 443 or port 8080
portrange 1-52 or portrange 54-79
net 10.0.0.0/31 or net 10.0.0.4/31 or net 192.168.0.0/16
tcp dst port 80 or 443 or 8080
host 10.0.0.1 or 10.0.0.2
icmp and icmp[0] = 3 and icmp[1] = 1
icmp6 and ip6[40] = 135
ip[6:2] & 0x3fff != 0 and udp
ip proto 50 or ip proto 51 or ip6 proto 50
stp or llc
not (llc or ip or ip6)
arp and arp[6:2] = 1 and host 10.0.0.2
ip and not (host 10.0.0.1 and port 443) and greater 70
tcp port 443 and tcp[((tcp[12] & 0xf0) >> 2)] = 0x16
""".strip().splitlines()


def many_hosts(count: int) -> str:
    return " or ".join(f"host 10.0.{i // 250}.{i % 250 + 3}" for i in range(count))


LONG = [
    many_hosts(40),
    many_hosts(120),
    f"not ({many_hosts(60)})",
    f"tcp and ({many_hosts(50)}) and port 443",
    " or ".join(f"src host 10.0.0.{i}" for i in range(3, 60)),
    " or ".join(f"port {i}" for i in range(40, 90)),
    " or ".join(f"net 10.0.{i}.0/24" for i in range(1, 60)),
    " or ".join(f"host 2001:db8::{i:x}" for i in range(5, 30)),
    " or ".join(f"portrange {i}-{i + 3}" for i in range(40, 500, 17)),
    " and ".join(f"not port {i}" for i in range(50, 60)),
]

NEGATIONS = [f"not ({primitive})" for primitive in PRIMITIVES[::3]]
# Without geneve: libpcap reads its results even where it did not match, and its
# interpreter then reads scratch words that were never set.
PAIRS = [
    f"({one}) {word} ({other})"
    for (one, other), word in zip(
        product(PRIMITIVES[56::13], PRIMITIVES[60::11]),
        ("and", "or", "and not", "or not") * 100,
        strict=False,
    )
    if "geneve" not in one + other
]

ALL = [*PRIMITIVES, *COMBINATIONS, *LONG, *NEGATIONS, *PAIRS]
