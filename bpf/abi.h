/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The contract between the BPF programs and the engine (src/tccap/stream/abi.py
 * mirrors it; tests/unit/test_abi.py compares the two).
 *
 * The ring holds finished pcapng blocks, which the engine passes on without
 * looking at them. A record whose length is not a multiple of four is not a
 * block but a message for the engine; pcapng blocks never have such a length,
 * so one test tells the two apart.
 *
 * The engine gives these constants as -D definitions:
 *   SNAPLEN        bytes kept of a frame, 1 .. CAPLEN_MAX
 *   SNAPLEN_PADDED the same, rounded up to a multiple of four
 *   RING_PAGES     pages of the ring, a power of two
 *   CPUS           possible processors
 *   INTERFACES     interfaces that one capture can describe
 *   SOCKETS        sockets whose owner can be known at a time
 *   PROCESSES      processes whose name can be known at a time
 *   LABEL_MAX      bytes of a process's label, a power of two
 *   ATTRIBUTION    1: find the processes of packets
 *   HOOKS          1: kprobes tell the owners; 0: tracepoints and seed.c do;
 *                  with ATTRIBUTION 0 it is 1
 *   CALLERS        1: without hooks, the classifier may know the task that runs
 *   FENTRY         1: hooks in softirq context are fentry programs
 *   HAS_SOCK_FROM_FILE  1: the kernel has this helper
 *   SOCKET_FILE_OPS     where it has not: address of that kernel variable
 *   LABELS         1: and write them into the blocks
 *   LABEL_TIDS     1: with the thread
 *   FILTER_PIDS      1: the process filter names process ids
 *   FILTER_UIDS      1: it names users
 *   FILTER_COMMS     1: it names names
 *   FILTER_PROCESSES  1: it has any of these
 *   FOLLOW_CHILDREN  1: it takes the children of such processes, too
 *   TLS            1: packets of TLS connections wait for their secrets
 *   TLS_ANY_USER   1: probes (bpf/tls/secret.c) heed processes of every user
 *   TLS_USER       0: those of this user id
 * and the offsets into kernel structures, from BTF (src/tccap/bpf/btf.py).
 */
#ifndef TCCAP_ABI_H
#define TCCAP_ABI_H

/* Wireshark 4.0 ends a capture on a block above 262144 bytes. */
#define BLOCK_MAX 262144
/* Room for all options of a packet block, the trailing length included. */
#define OPTIONS_MAX 2048
#define CAPLEN_MAX (BLOCK_MAX - EPB_HEADER_LEN - OPTIONS_MAX)
/* Room for struct held_tail, in whole words. */
#define HELD_TAIL_LEN 12

/* Enhanced Packet Block, pcapng section 4.3. */
#define EPB_TYPE 6
#define EPB_HEADER_LEN 28
#define OPT_COMMENT 1
#define EPB_FLAGS 2
#define EPB_DROPCOUNT 4
#define EPB_PROCESS_THREAD 8
/* Wireshark 4.6: number of the process's Process Information Block. */
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

/* Where a block is built before it goes into the ring: one for each CPU. */
struct scratch {
	struct epb_header header;
	u8 body[SNAPLEN_PADDED + OPTIONS_MAX + HELD_TAIL_LEN];
};

/* What the classifier must know of a device, by its ifindex. */
struct device {
	u32 interface_id; /* of its Interface Description Block */
	u16 has_ethernet; /* frames begin with an Ethernet header */
	u16 is_loopback;
	/* Of the other end of a container's veth pair: its network namespace's
	 * id as seen from here; -1: none. */
	s32 far_namespace;
	u32 leads_away; /* what is at its other side is not on this host */
};

/* For each interface and CPU; accepted = captured + dropped. */
struct counters {
	u64 received; /* seen by the classifier */
	u64 accepted; /* passed the filters */
	u64 dropped;  /* accepted, but the ring had no room */
	u64 untold;   /* of those dropped, not yet in an epb_dropcount */
	u64 unowned;  /* passed over by a process filter: owner not known */
};

/* For each CPU: what attribution could not keep. */
struct shortages {
	u64 sockets;   /* owners not recorded: more than SOCKETS at a time */
	u64 processes; /* packets without label: the process was forgotten */
};

/* A process for its whole life and no longer: pids come round again. */
struct process_id {
	u64 start_ns; /* task_struct.start_boottime of the group leader */
	u32 tgid;
	u32 zero;
};

/* Who uses a socket; keyed by the address of the kernel's struct sock. */
struct owner {
	struct process_id process;
	u32 tid; /* which used it last; 0: not known */
	u32 seeded; /* run of seed.c that found it; 0: a hook saw its use */
	u32 doubtful; /* found open in several processes, not seen in use */
	u32 zero;
};

/* "peer_pid=4294967295 peer_comm=" and a comm with every byte escaped. */
#define PEER_MAX 128
/* Room for " tid=4294967295", a power of two. */
#define TID_MAX 32
#define COMM_LEN 16

/* What is stamped on a process's packets. Zero bytes follow each text. */
struct process {
	u32 euid;
	u32 wanted;	  /* passes the process filter */
	u32 block_number; /* its Process Information Block plus 1; 0: none */
	u16 dead; /* it has exited; its sockets may still be closing */
	u16 outdated; /* it may look different now */
	u32 forked; /* run of seed.c in which it last had a child */
	u32 version; /* counts what was written about it */
	u16 label_len; /* 0: the texts are not written yet */
	u16 peer_len;
	char comm[COMM_LEN];
	char label[LABEL_MAX]; /* "pid=1 comm=init uid=0" */
	char peer[PEER_MAX];   /* " peer_pid=1 peer_comm=init" */
};

/* What a message is: its last byte. */
#define MESSAGE_PROCESS 0
#define MESSAGE_HELLO 1
#define MESSAGE_SECRET 2
#define MESSAGE_HELD 3
#define MESSAGE_HELD_SERVER_HELLO 4

/* Message: a process was seen for the first time, or looks different now. */
struct process_message {
	struct process_id id;
	u32 euid;
	u32 version;
	char comm[COMM_LEN];
	u8 kind;
} __attribute__((packed));

/* A TCP connection, the same for its two directions: first is the end with the
 * smaller port, or else the smaller address. */
struct tls_flow {
	u8 first[16]; /* IPv4: the first four bytes */
	u8 second[16];
	__be16 first_port;
	__be16 second_port;
	u32 family;
};

/* What is known of a connection that has shown a ClientHello. The engine takes
 * it out of the map when the connection's packets shall no longer wait. */
struct tls_mark {
	u64 id;	  /* bytes 8 to 15 of its client random */
	u32 held; /* its ServerHello was seen: packets wait from there on */
	u32 zero;
};

#define TLS_RANDOM_LEN 32
/* In place of a pid: its process is on another host. */
#define ELSEWHERE 0xffffffff

/* Message: a ClientHello; the packet follows it. */
struct hello_message {
	struct tls_flow flow;
	u8 client_random[TLS_RANDOM_LEN];
	u32 sender_pid; /* 0: not known; or ELSEWHERE */
	u32 receiver_pid;
	u8 kind;
} __attribute__((packed));

#define TLS_LABEL_MAX 40
#define TLS_SECRET_MAX 48

/* Message: a process has a new secret, or half of one. */
struct secret_message {
	u32 pid;
	u32 site_kind; /* struct tls_site */
	u32 secret_len;
	char label[TLS_LABEL_MAX]; /* zero bytes follow it */
	u8 client_random[TLS_RANDOM_LEN];
	u8 secret[TLS_SECRET_MAX];
	u8 kind;
} __attribute__((packed));

/* Message: a packet that has to wait. It is the packet's block, and this. */
struct held_tail {
	u64 id; /* struct tls_mark */
	u8 kind; /* MESSAGE_HELD, MESSAGE_HELD_SERVER_HELLO; 0: need not wait */
} __attribute__((packed));

#endif
