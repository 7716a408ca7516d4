/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Owners of TCP connections whose socket is gone, for packets that were still on their
 * way: by network namespace, addresses and ports. The next connection may have the same
 * ones, so its SYN deletes the entry, and no entry is used for longer than the kernel
 * itself remembers a connection.
 */
#ifndef TCCAP_CLOSED_CONNECTIONS_H
#define TCCAP_CLOSED_CONNECTIONS_H

#include "abi.h"

struct flow {
	u8 local[16]; /* IPv4: the first four bytes */
	u8 remote[16];
	__be16 local_port;
	__be16 remote_port;
	u32 family;
	u32 netns; /* inode number of the network namespace */
};
struct closed_connection {
	struct owner owner;
	u64 closed_ns; /* bpf_ktime_get_ns() */
};
BPF_TABLE("lru_hash", struct flow, struct closed_connection, closed, SIZED_LATER);

/* TCP_TIMEWAIT_LEN, include/net/tcp.h */
#define CLOSED_MAX_NS 60000000000ull

/* The network namespace of the capture, by its inode number. A map and not a constant,
 * so that compiled programs can be reused in every namespace. */
BPF_ARRAY(own_netns, u32, 1);

#endif
