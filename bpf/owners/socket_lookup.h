/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * From a packet to the socket that receives it, and to the owner of that socket.
 *
 * The kernel's own demultiplexer is asked (bpf_skc_lookup_tcp, bpf_sk_lookup_udp): it
 * handles wildcards, dual stack, SO_REUSEPORT and namespaces.
 */
#ifndef TCCAP_SOCKET_LOOKUP_H
#define TCCAP_SOCKET_LOOKUP_H

#include "abi.h"
#include "kernel.h"
#include "owners/closed_connections.h"
#include "owners/endpoint.h"
#include "owners/local_addresses.h"
#include "owners/owner_table.h"
#include "owners/socket_storage.h"
#include "packet/parse.h"

/* Older verifiers do not take a pointer to a socket for a number; written to a map and
 * read back it is one. */
BPF_PERCPU_ARRAY(socket_address, u64, 1);

static __always_inline u64 address_of(void *sk)
{
	u32 zero = 0;
	volatile u64 *slot = socket_address.lookup(&zero);

	if (!slot)
		return 0;
	*slot = (u64)sk;
	return *slot;
}

static __always_inline void find_owner(struct endpoint_lookup *lookup,
				       struct bpf_sock *sk, u32 state)
{
#if HOOKS
	u64 key = address_of(sk);
	struct owner *owner = state == TCP_TIME_WAIT ? timewaits.lookup(&key) :
						       owners.lookup(&key);

	if (owner && !owner->ambiguous)
		take_owner(lookup, owner);
#else
	struct socket_record *known = socket_records.sk_storage_get(sk, 0, 0);

	if (known)
		take_record(lookup, known, state);
#endif
}

static __always_inline void find_user(struct endpoint_lookup *lookup,
				      struct bpf_sock *sk, u32 protocol)
{
	u32 state = sk->state;

	/* A connection that is not established yet belongs to the listener. */
	if (state == TCP_NEW_SYN_RECV) {
		sk = bpf_get_listener_sock(sk);
		state = TCP_LISTEN;
	}
	if (sk)
		find_owner(lookup, sk, state);
	if (lookup->found)
		lookup->left_if_exited = protocol != IPPROTO_TCP || state == TCP_LISTEN;
}

static __always_inline bool is_wildcard(struct bpf_sock *sk, u32 family)
{
	if (family == AF_INET)
		return !sk->src_ip4;
	return !(sk->src_ip6[0] | sk->src_ip6[1] | sk->src_ip6[2] | sk->src_ip6[3]);
}

/* A socket that is bound to no address receives only what is sent to this host. */
static __always_inline bool
may_receive(struct bpf_sock *sk, const struct packet *packet, s32 ns, u64 generation)
{
	return !is_wildcard(sk, packet->family) ||
	       is_own_address(packet->destination, packet->family, ns, generation);
}

/* The answer to a packet, by its addresses: the sender is looked up as the receiver of
 * that. */
static __always_inline struct packet reversed(const struct packet *packet)
{
	struct packet back = *packet;

	__builtin_memcpy(back.source, packet->destination, 16);
	__builtin_memcpy(back.destination, packet->source, 16);
	back.source_port = packet->destination_port;
	back.destination_port = packet->source_port;
	return back;
}

static __always_inline u32 write_tuple(struct bpf_sock_tuple *tuple,
				       const struct packet *packet)
{
	if (packet->family == AF_INET) {
		tuple->ipv4.saddr = *(u32 *)packet->source;
		tuple->ipv4.daddr = *(u32 *)packet->destination;
		tuple->ipv4.sport = packet->source_port;
		tuple->ipv4.dport = packet->destination_port;
		return sizeof(tuple->ipv4);
	}
	__builtin_memcpy(tuple->ipv6.saddr, packet->source, 16);
	__builtin_memcpy(tuple->ipv6.daddr, packet->destination, 16);
	tuple->ipv6.sport = packet->source_port;
	tuple->ipv6.dport = packet->destination_port;
	return sizeof(tuple->ipv6);
}

static __always_inline void find_closed(struct endpoint_lookup *lookup,
					const struct packet *packet)
{
	struct flow flow = { .family = packet->family };
	struct owner *owner;

	__builtin_memcpy(flow.local, packet->destination, 16);
	__builtin_memcpy(flow.remote, packet->source, 16);
	flow.local_port = packet->destination_port;
	flow.remote_port = packet->source_port;
	owner = closed.lookup(&flow);
	if (owner)
		take_owner(lookup, owner);
}

/* A non-SYN segment that resolves to a listener does not belong to it, but to a
 * connection that is gone, or to another host or container, to which the kernel will
 * forward it (address translation). */
static __always_inline bool is_stray(struct __sk_buff *skb, struct bpf_sock *sk,
				     const struct packet *packet, s32 ns)
{
	u8 flags = 0;

	if (ns != OWN_NAMESPACE || sk->state != TCP_LISTEN)
		return false;
	if (packet->about_inner)
		return true;
	bpf_skb_load_bytes(skb, packet->transport_at + TCP_FLAGS_AT, &flags, 1);
	return !(flags & TCP_FLAG_SYN);
}

/* Finds the owner of the socket in the namespace that receives the packet. */
static __always_inline void find_by_socket(struct __sk_buff *skb,
					   struct endpoint_lookup *lookup,
					   const struct packet *packet, s32 ns)
{
	struct bpf_sock_tuple tuple = {};
	u32 len = write_tuple(&tuple, packet);
	struct bpf_sock *sk;
	bool open = false;

	if (packet->protocol == IPPROTO_TCP) {
		sk = bpf_skc_lookup_tcp(skb, &tuple, len, (u32)ns, 0);
		if (sk) {
			bool stray = is_stray(skb, sk, packet, ns);

			/* The owner of an open socket may be ambiguous. */
			open = !HOOKS && !stray && sk->state != TCP_TIME_WAIT;
			if (!stray && may_receive(sk, packet, ns, lookup->generation))
				find_user(lookup, sk, packet->protocol);
			bpf_sk_release(sk);
		}
		if (!lookup->found && !open && ns == OWN_NAMESPACE)
			find_closed(lookup, packet);
	} else if (packet->protocol == IPPROTO_UDP) {
		sk = bpf_sk_lookup_udp(skb, &tuple, len, (u32)ns, 0);
		if (sk) {
			if (may_receive(sk, packet, ns, lookup->generation))
				find_user(lookup, sk, packet->protocol);
			bpf_sk_release(sk);
		}
	}
}

#endif
