/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The contract between the BPF programs and the engine (src/tccap/stream/abi.py
 * mirrors it; tests/unit/stream/test_abi.py compares the two).
 *
 * The ring (ring.h) holds finished pcapng blocks, which the carrier passes on without
 * parsing them. Messages for the carrier are in a ring buffer beside it; each has its
 * position in the ring.
 *
 * The engine gives these constants as -D definitions; they do not depend on a capture's
 * options (options.h), but for the last one.
 *   CPUS           possible processors
 *   INTERFACES     interfaces that one capture can describe
 *   HOOKS          1: kprobes find the owners; 0: tracepoints and the iterator do
 *   CALLERS        1: without hooks, the classifier may ask for the current task
 *   FENTRY         1: hooks in softirq context are fentry programs
 *   HAS_SOCK_FROM_FILE  1: the kernel has this helper
 *   SOCKET_FILE_OPS     if it has not: address of that kernel variable
 *   KERNEL_OFFSETS 1: there are also the offsets into kernel structures, from BTF
 *                  (src/tccap/bpf/btf.py)
 *   HAS_MPTCP      1: those of multipath TCP are among them
 *   HAS_NETFILTER  1: those of netfilter are
 *   HAS_ROUTES     1: those of routes are
 *   HAS_MIGRATION  1: the setting that has connections change their listener is
 *   HAS_GROUPS6    1: those of IPv6 multicast are
 *   HAS_CONNTRACK  1: those of tracked connections are
 *   HAS_ZONES      1: those of their zones are
 *   READS_KERNEL   1: classifiers may read kernel memory at any address
 *   CGROUP_SUBSYS  -1: containers and units are cgroups of version 2; otherwise the
 *                  number of the controller of version 1 whose hierarchy has them
 *   CGROUP_HIERARCHY  the number of that hierarchy
 *   HAS_CGROUPS    1: with KERNEL_OFFSETS, those of cgroups are among them
 *   HAS_CGROUP_NAMES  1: with HAS_CGROUPS, those of their names are, too
 *   LABEL_MAX      bytes of a process's label, a power of two: full labels are longer
 */
#ifndef TCCAP_ABI_H
#define TCCAP_ABI_H

/* Wireshark 4.0 ends a capture at a block of more than 262144 bytes. */
#define BLOCK_MAX 262144
/* Space for all options of a packet block, including the trailing length. */
#define OPTIONS_MAX 2048
#define CAPLEN_MAX (BLOCK_MAX - EPB_HEADER_LEN - OPTIONS_MAX)

/* The size of a map for which the options decide when it is made. */
#define SIZED_LATER 1

/* Enhanced Packet Block, pcapng section 4.3. */
#define EPB_TYPE 6
/* A type for local use (pcapng section 3.1): readers skip the block. */
#define FILLER_TYPE 0x80000f11
#define EPB_HEADER_LEN 28
#define OPT_COMMENT 1
#define EPB_FLAGS 2
#define EPB_DROPCOUNT 4
#define EPB_PROCESS_THREAD 8
/* Wireshark 4.6: the number of the process's Process Information Block. */
#define EPB_DARWIN_PROCESS 32769
#define EPB_INBOUND 1
#define EPB_OUTBOUND 2

struct epb_header {
	u32 block_type;
	u32 block_len;
	u32 interface_id;
	u32 timestamp_high;
	u32 timestamp_low;
	u32 captured_len;
	u32 original_len;
};

/* Bytes of the longest block, of the longest chunk of the ring, and of the longest ring:
 * the maps are made as long as the options say (options.h). */
#define RING_CHUNK_LEN_MAX (1 << 21)
#define RING_LEN_MAX (1 << 30)
/* The carrier cuts batches at starts of blocks; one start in so many bytes is noted. */
#define RING_GRANULE_LEN 65536

/* The block that a CPU writes at the moment, on a cache line of its own. */
struct unfinished {
	u64 position; /* plus 1; 0: none */
	u64 unused[7];
};

/* The state of the ring. Each position is that of a block's first byte. */
struct ring_control {
	u64 end;      /* of the last block that has begun */
	u64 released; /* by the carrier: what is before it may be overwritten */
	u64 wakes_at; /* by the carrier: a block that ends behind it wakes it up */
	u64 unused[5];
	struct unfinished unfinished[CPUS];
	/* Of each chunk, counted round: its number XOR that of the memory it has. */
	u64 moved[RING_LEN_MAX / RING_CHUNK_LEN_MAX];
	/* The first in each granule, counted round. */
	u64 starts[RING_LEN_MAX / RING_GRANULE_LEN];
};

/* A device: each network namespace numbers its own. */
struct device_key {
	s32 namespace_id; /* OWN_NAMESPACE, or less: one that the engine has entered */
	u32 ifindex;
};

/* What the classifier knows of a device; DeviceEntry in
 * src/tccap/engine/classifier.py. */
struct device {
	u32 interface_id; /* of its Interface Description Block */
	u16 first_header; /* of frames: FIRST_... */
	u16 is_loopback;
	/* The id, as seen from here, of the network namespace that has the other end of
	 * a container's veth pair; -1: none. */
	s32 far_namespace;
	u32 leads_away;	 /* its other side is not on this host */
	u32 far_netns;	 /* inode number of that namespace; 0: unknown */
	u32 far_ifindex; /* of the other end in that namespace */
	/* What may be translated (NAT) in this namespace, and in that of the other end:
	 * TRANSLATED_... and CHANGED_AT_DEVICE, or 0. */
	u16 translation;
	u16 far_translation;
	u16 is_lower;	      /* other devices receive what arrives by this one */
	u16 from_here;	      /* what arrives may come from this host */
	u32 master;	      /* the bridge or bond to which it belongs; 0: none */
	u32 vrf;	      /* to which it, or its bridge or bond, belongs; 0: none */
	u16 below_vrf;	      /* whether members of VRFs receive by it: BELOW, ... */
	u16 others_from_here; /* so may what is for other stations: macvlan devices above */
	u32 far_in_vrf;	      /* that other end belongs to a VRF there, or may */
	s32 namespace_id;     /* as in its key */
	u32 netns;	      /* inode number of that namespace; 0: own_netns has it */
};

/* Those frames that have a VLAN tag, or any. */
#define BELOW_BY_TAG 1
#define BELOW 2
#define TRANSLATED_DESTINATIONS 1
#define TRANSLATED_SOURCES 2
#define CHANGED_AT_DEVICE 4 /* what arrives by it passes a chain of its own */
/* Behind a header that the device has made itself, if there is one. */
#define FIRST_IP 0
#define FIRST_ETHERNET 1
/* No address is read: 802.11. */
#define FIRST_UNREAD 2

/* For each interface and CPU; accepted = written + dropped. */
struct counters {
	u64 received;	  /* seen by the classifier */
	u64 accepted;	  /* passed the filters */
	u64 dropped;	  /* accepted, but the ring was full */
	u64 unattributed; /* owner unknown, so a process filter passed it over */
};

/* For each CPU: what attribution could not record. */
struct overflows {
	u64 sockets;   /* owners not recorded: more than the map has room for */
	u64 processes; /* packets without label: the process was evicted */
};

/* Addresses that are this host's, or a container's whose veth end is here, and kinds of
 * them; LocalNetwork in src/tccap/owners/addresses.py. The longest prefix counts. */
struct local_network {
	u32 prefix_len;	  /* bits, of all that follows */
	s32 namespace_id; /* OWN_NAMESPACE or less, or as seen from here */
	u32 family;
	/* A link-local one of IPv6 has its device's number in the bytes 4 to 7. */
	u8 address[16];
};
#define NOT_LOCAL 0 /* an exception in a larger network */
#define LOCAL_UNICAST 1
#define LOCAL_BROADCAST 2
#define OWN_NAMESPACE (-1) /* helpers take all numbers below 0 for the packet's */

/* An address of a container behind a device: a veth end, or a bridge that has some;
 * ContainerAddress in src/tccap/owners/container_addresses.py. */
struct container_address {
	u32 ifindex; /* of the device here */
	u32 family;
	u8 address[16];
};

/* Where the socket of an endpoint is looked up; Place in the same module. */
struct place {
	s32 namespace_id; /* OWN_NAMESPACE or less, or as seen from here */
	u32 netns;	  /* inode number of that namespace; 0: unknown */
	u32 ifindex;	  /* of the device there to which a packet comes; 0: none */
	u32 translation;  /* what may be translated there, as in struct device */
	u64 station;	  /* the address of that device in frames; 0: unknown */
	u64 is_alone;	  /* nobody else behind the device here can have the address */
};

/* Identifies a process; pids are reused. */
struct process_id {
	u64 start_ns; /* task_struct.start_boottime of the group leader */
	u32 tgid;
	u32 zero;
};

/* The process that uses a socket. */
struct owner {
	struct process_id process;
	u32 tid;	    /* that used it last; 0: unknown */
	u32 found_in_round; /* of the iterator; 0: its use was seen */
	u32 ambiguous;	    /* found open in several processes, not seen in use */
	u32 zero;
};

/* "peer_pid=4294967295 peer_comm=" and a comm with every byte escaped. */
#define PEER_MAX 128
/* Space for " tid=4294967295", a power of two. */
#define TID_MAX 32
#define COMM_LEN 16

struct comm {
	char text[COMM_LEN];
};

/* The record of a process, with the texts for its packets; zero bytes follow each. */
struct process {
	u32 euid;
	u32 wanted;	  /* WANTED_... (owners/process_filter.h) */
	u32 block_number; /* its Process Information Block plus 1; 0: none (completion) */
	u16 exited;	  /* its sockets may still be closing */
	u16 stale;	  /* name or ids may have changed since */
	u32 fork_round;	  /* round of the iterator in which it last had a child */
	u32 fork_number; /* among hand_ons() (owners/hand_ons.h); 0: had none */
	u32 version;	 /* counts how often the record was written */
	u16 label_len;	 /* 0: the texts are not written yet */
	u16 peer_len;
	u64 cgroup; /* its number in the hierarchy; 0: unknown */
	char comm[COMM_LEN];
	char label[LABEL_MAX]; /* "pid=1 comm=init uid=0" */
	char peer[PEER_MAX];   /* "peer_pid=1 peer_comm=init" */
};

/* What the engine adds to the record of a process, if that is still what it was. The
 * engine does not write the record itself, in which programs note forks and exits. */
struct completion {
	u32 version; /* as in the record, and the next two */
	u32 euid;
	char comm[COMM_LEN];
	u32 block_number;
	u32 label_len; /* 0: as in the record */
	char label[LABEL_MAX];
};

/* Cgroups that are known at a time. */
#define CGROUPS 8192
/* Space for what a label says of a cgroup, zero bytes included. */
#define CGROUP_TEXT_MAX 256

/* What is known of a cgroup, by its number. The engine writes it, and of a new one programs
 * write what they know at once. */
struct cgroup_label {
	u64 matches;	  /* conditions of the capture filter, a bit each */
	u16 chosen;	  /* the options name it */
	u16 in_container; /* those below it are in the same one */
	u16 text_len;
	u16 peer_len;
	char text[CGROUP_TEXT_MAX]; /* " container=0123456789ab unit=web.service" */
	char peer[CGROUP_TEXT_MAX]; /* the same with "peer_" before each key */
};

/* TRACE_CGROUP_PATH_LEN of the kernel. */
#define CGROUP_PATH_MAX 1024
#define CGROUP_EVENT_PAGES 128
/* The ring of processes that begin to run a program, as numbers of 32 bits. */
#define NEW_PROGRAM_PAGES 16
/* Space for what a runtime writes before a container's id, zero bytes included. */
#define RUNTIME_PREFIX_MAX 24

/* In a ring of its own, which the engine reads: a cgroup was made, or a process was seen
 * in one that is not known. */
struct cgroup_event {
	u64 id;
	char path[CGROUP_PATH_MAX]; /* from the root of its hierarchy; empty: unknown */
};

/* The last byte of a message: its kind. */
#define MESSAGE_PROCESS 0
#define MESSAGE_HELLO 1
#define MESSAGE_SECRET 2
#define MESSAGE_HELD 3
#define MESSAGE_HELD_SERVER_HELLO 4
#define MESSAGE_HELD_ANSWER 5
#define MESSAGE_HELD_KEYED 6
#define MESSAGE_HELD_END 7
#define MESSAGE_QUIC 8

/* Every message begins with this. */
struct message_head {
	u64 position;  /* in the ring: it belongs before the block there */
	u64 block_len; /* of the block there, which belongs to the message; 0: none */
} __attribute__((packed));

/* Message: a process was seen for the first time, or its name or ids have changed. */
struct process_message {
	struct message_head head;
	struct process_id id;
	u32 euid;
	u32 version;
	char comm[COMM_LEN];
	u8 kind;
} __attribute__((packed));

/* A connection, the same for both directions: first is the endpoint with the
 * smaller port or, if they are equal, the smaller address. */
struct tls_flow {
	u8 first[16]; /* IPv4: the first four bytes */
	u8 second[16];
	__be16 first_port;
	__be16 second_port;
	u16 family;
	u16 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
};

/* A connection whose ClientHello was seen, or for QUIC an Initial packet. What is said of
 * QUIC goes for all that the carrier reads: DTLS, and TLS that begins with a PROXY header
 * or in small pieces. The carrier deletes the mark when the packets of the connection no
 * longer have to wait. */
struct tls_mark {
	u64 id;		     /* bytes 8 to 15 of its client random; QUIC: of the mark */
	u32 held;	     /* its ServerHello was seen: its packets wait; QUIC: 0 */
	u32 client_is_first; /* in the flow; 1 or 0 */
};

#define TLS_RANDOM_LEN 32
/* Instead of a pid: the process is on another host. */
#define ELSEWHERE 0xffffffff

/* Message: a ClientHello; the packet follows it. */
struct hello_message {
	struct message_head head;
	struct tls_flow flow;
	u8 client_random[TLS_RANDOM_LEN];
	u32 sender_pid; /* 0: unknown; or ELSEWHERE */
	u32 receiver_pid;
	u8 kind;
} __attribute__((packed));

#define TLS_LABEL_MAX 40
#define TLS_SECRET_MAX 48

/* Message: a process has a new secret, or a part of one. */
struct secret_message {
	struct message_head head;
	u32 pid;
	u32 site_kind; /* struct tls_site */
	u32 secret_len;
	char label[TLS_LABEL_MAX]; /* zero bytes follow it */
	u8 client_random[TLS_RANDOM_LEN];
	u8 secret[TLS_SECRET_MAX];
	u8 kind;
} __attribute__((packed));

/* Message: a packet that has to wait, or one for the carrier to read (QUIC). */
struct held_message {
	struct message_head head;
	struct tls_flow flow;
	u64 id;		/* struct tls_mark */
	u32 sender_pid; /* of a ServerHello and for QUIC, as in struct hello_message */
	u32 receiver_pid; /* likewise */
	u32 payload_at;	  /* QUIC: where the UDP payload begins in the block */
	u8 unused;
	u8 is_end;	/* QUIC: a FIN or RST of TCP, 1 or 0 */
	u8 from_client; /* QUIC */
	u8 kind; /* MESSAGE_HELD, MESSAGE_HELD_... or MESSAGE_QUIC; 0: it is none */
};

/* How many QUIC connections were marked, and how many marks were removed: elements of
 * quic_counts. The programs write the first, the carrier the second. */
#define QUIC_MARKED 0
#define QUIC_UNMARKED 1

#endif
