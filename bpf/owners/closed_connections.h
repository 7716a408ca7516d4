/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Owners of TCP connections whose socket is gone, for packets that were still on their
 * way. Those of this network namespace only, by addresses and ports.
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
};
BPF_TABLE("lru_hash", struct flow, struct owner, closed, SOCKETS);

/* The network namespace of the capture, by its inode number. A map and not a constant,
 * so that compiled programs can be reused in every namespace. */
BPF_ARRAY(own_netns, u32, 1);

#endif
