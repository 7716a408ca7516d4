/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a socket says about itself and its connection.
 */
#ifndef TCCAP_SOCKET_H
#define TCCAP_SOCKET_H

#include "abi.h"
#include "kernel.h"
#include "owners/closed_connections.h"

#if KERNEL_OFFSETS && HAS_MPTCP && (HOOKS || READS_KERNEL)
/* The multipath connection to which a TCP socket belongs, by the address of its socket; 0:
 * none. Processes use that one, and the kernel makes a socket for each path. */
static __always_inline u64 multipath_of(u64 sk)
{
	u64 context;

	if (!READ(u8, sk, TCP_SOCK__IS_MPTCP))
		return 0;
	context = READ(u64, sk, INET_CONNECTION_SOCK__ICSK_ULP_DATA);
	return READ(u64, context, MPTCP_SUBFLOW_CONTEXT__CONN);
}
#endif

#if KERNEL_OFFSETS
static __always_inline u32 netns_of(u64 sk)
{
	u64 net = FIELD(u64, sk, SOCK_COMMON__SKC_NET);

	return FIELD(u32, net, NET__NS + NS_COMMON__INUM);
}

static __always_inline bool is_inet(u64 sk)
{
	u16 family = FIELD(u16, sk, SOCK_COMMON__SKC_FAMILY);

	return family == AF_INET || family == AF_INET6;
}

static __always_inline void read_ipv6_address(u64 sk, u8 *to, const u32 offset)
{
	((u64 *)to)[0] = FIELD(u64, sk, offset);
	((u64 *)to)[1] = FIELD(u64, sk, offset + 8);
}

static __always_inline bool is_mapped_ipv4(const u8 *address)
{
	const u64 *words = (const u64 *)address;

	return !words[0] && (u32)words[1] == bpf_htonl(0xffff);
}

static __always_inline void read_addresses(u64 sk, struct flow *flow)
{
	flow->family = FIELD(u16, sk, SOCK_COMMON__SKC_FAMILY);
	if (flow->family == AF_INET6) {
		read_ipv6_address(sk, flow->remote, SOCK_COMMON__SKC_V6_DADDR);
		read_ipv6_address(sk, flow->local, SOCK_COMMON__SKC_V6_RCV_SADDR);
		if (!is_mapped_ipv4(flow->remote))
			return;
		/* An IPv6 socket with an IPv4 connection. */
		__builtin_memset(flow->remote, 0, 16);
		__builtin_memset(flow->local, 0, 16);
		flow->family = AF_INET;
	}
	*(u32 *)flow->local = FIELD(u32, sk, SOCK_COMMON__SKC_RCV_SADDR);
	*(u32 *)flow->remote = FIELD(u32, sk, SOCK_COMMON__SKC_DADDR);
}

/* Remembers the owner of a connection that ends, which replaces that of an earlier one
 * with the same addresses; NULL: unknown. `sk` is a struct tcp_sock for the verifier. */
static __always_inline void remember_closed(u64 sk, const struct owner *owner)
{
	struct closed_connection entry = { .closed_ns = bpf_ktime_get_ns() };
	struct flow flow = {};

	flow.remote_port = FIELD(u16, sk, SOCK_COMMON__SKC_DPORT);
	if (!flow.remote_port)
		return;
	flow.netns = netns_of(sk);
	/* skc_num, the same in host order, is already zero. */
	flow.local_port = FIELD(u16, sk, INET_SOCK__INET_SPORT);
	read_addresses(sk, &flow);
	if (!owner || owner->ambiguous) {
		closed.delete(&flow);
		return;
	}
	entry.owner = *owner;
	closed.update(&flow, &entry);
}
#endif

#endif
