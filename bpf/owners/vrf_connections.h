/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Connections in VRFs. The kernel looks for the socket of a packet by the VRF. A
 * classifier on a member looks by that member, and finds no socket that is bound to the
 * VRF. What leaves carries its socket, so its address is remembered. Each time, kernel
 * memory is read to see whether it still is the socket of that connection.
 */
#ifndef TCCAP_VRF_CONNECTIONS_H
#define TCCAP_VRF_CONNECTIONS_H

#include "abi.h"
#include "kernel.h"
#include "owners/endpoint.h"
#include "owners/places.h"
#include "owners/sharing.h"
#include "owners/socket_lookup.h"
#include "packet/parse.h"

/* Whether the packet may be received in the device's VRF. The VRF itself carries what this
 * host sends to itself there. */
static __always_inline bool is_received_in_vrf(struct __sk_buff *skb,
					       const struct packet *packet,
					       const struct device *device,
					       bool outbound)
{
	if (outbound)
		return device->vrf == IFINDEX_OF(skb);
	return !skb->vlan_present && !is_in_foreign_frame(skb, packet, device);
}

#if HOOKS && READS_KERNEL && KERNEL_OFFSETS
/* The addresses of sockets (struct sock). */
BPF_TABLE("lru_hash", struct vrf_flow, u64, vrf_connections, 8192);

static __always_inline struct vrf_flow *vrf_flow_key(struct endpoint_lookup *lookup,
						     const struct packet *packet,
						     const struct device *device)
{
	struct vrf_flow *key = &lookup->key.vrf_flow;

	key->flow.local_port = packet->destination_port;
	key->flow.remote_port = packet->source_port;
	key->flow.family = packet->family;
	key->flow.netns = device->netns;
	key->flow.bound = device->vrf;
	key->protocol = packet->protocol;
	__builtin_memcpy(key->flow.local, packet->destination, 16);
	__builtin_memcpy(key->flow.remote, packet->source, 16);
	return key;
}

/* Whether the socket at an address is connected, as the kernel finds it. */
static __always_inline bool is_connected(u64 sk, u32 protocol)
{
	u32 state = READ(u8, sk, SOCK_COMMON__SKC_STATE);

	if (protocol == IPPROTO_UDP)
		return state == TCP_ESTABLISHED;
	return state != TCP_TIME_WAIT && state != TCP_CLOSE && state != TCP_LISTEN &&
	       state != TCP_NEW_SYN_RECV;
}

/* An IPv6 socket with an IPv4 connection has those addresses, too. */
static __always_inline bool has_addresses(u64 sk, const struct packet *packet)
{
	const u64 *local = (const u64 *)packet->destination;
	const u64 *remote = (const u64 *)packet->source;

	if (packet->family == AF_INET)
		return READ(u32, sk, SOCK_COMMON__SKC_RCV_SADDR) == (u32)local[0] &&
		       READ(u32, sk, SOCK_COMMON__SKC_DADDR) == (u32)remote[0];
	return READ(u64, sk, SOCK_COMMON__SKC_V6_RCV_SADDR) == local[0] &&
	       READ(u64, sk, SOCK_COMMON__SKC_V6_RCV_SADDR + 8) == local[1] &&
	       READ(u64, sk, SOCK_COMMON__SKC_V6_DADDR) == remote[0] &&
	       READ(u64, sk, SOCK_COMMON__SKC_V6_DADDR + 8) == remote[1];
}

/* Whether the socket at an address is that of the packet's connection in the VRF: the
 * memory may be another socket's by now. */
static __always_inline bool connects(u64 sk, const struct packet *packet,
				     const struct device *device, u32 netns)
{
	return READ(u32, sk, SOCK_COMMON__SKC_BOUND_DEV_IF) == device->vrf &&
	       READ(u16, sk, SOCK_COMMON__SKC_DPORT) == packet->source_port &&
	       READ(u16, sk, INET_SOCK__INET_SPORT) == packet->destination_port &&
	       READ(u16, sk, SOCK__SK_PROTOCOL) == packet->protocol &&
	       has_addresses(sk, packet) && is_connected(sk, packet->protocol) &&
	       READ(u32, READ(u64, sk, SOCK_COMMON__SKC_NET),
		    NET__NS + NS_COMMON__INUM) == netns;
}

/* Remembers the socket of a packet that leaves, or that stays in the VRF; `answer` is the
 * answer to that packet. */
static __always_inline void remember_in_vrf(struct endpoint_lookup *lookup,
					    struct bpf_sock *sk,
					    const struct packet *answer,
					    const struct device *device)
{
	u64 address = address_of(sk), *known;
	struct vrf_flow *key;

	if (!connects(address, answer, device, netns_of_lookup(lookup)))
		return;
	key = vrf_flow_key(lookup, answer, device);
	known = vrf_connections.lookup(key);
	if (!known || *known != address)
		vrf_connections.update(key, &address);
}

/* Whether a lookup finds another connection with the same addresses. That is bound to
 * the member, or to nothing and takes packets of VRFs (tcp_l3mdev_accept): the kernel may
 * prefer it. */
static __always_inline bool has_rival(struct __sk_buff *skb,
				      struct endpoint_lookup *lookup,
				      const struct packet *packet, u64 address)
{
	struct bpf_sock_tuple *tuple = &lookup->key.tuple;
	u32 len = write_tuple(tuple, packet), state;
	u32 ns = lookup->place.namespace_id;
	struct bpf_sock *sk;
	bool differs;

	if (packet->protocol == IPPROTO_TCP)
		sk = bpf_skc_lookup_tcp(skb, tuple, len, ns, 0);
	else
		sk = bpf_sk_lookup_udp(skb, tuple, len, ns, 0);
	if (!sk)
		return false;
	state = STATE_OF(sk);
	differs = address_of(sk) != address;
	bpf_sk_release(sk);
	if (packet->protocol == IPPROTO_TCP)
		return differs && state != TCP_LISTEN;
	return differs && state == TCP_ESTABLISHED;
}

/* Datagram sockets that share their port may have the same peer, too. */
static __always_inline bool may_be_twins(u64 sk, const struct packet *packet)
{
	return packet->protocol == IPPROTO_UDP && (read_sharing(sk) & SHARES_PORT);
}

/* Finds the owner of the connection that receives a packet in the VRF. */
static __always_inline void find_in_vrf(struct __sk_buff *skb,
					struct endpoint_lookup *lookup,
					const struct packet *packet,
					const struct device *device)
{
	u64 *known, address;

	known = vrf_connections.lookup(vrf_flow_key(lookup, packet, device));
	if (!known)
		return;
	address = *known;
	if (!connects(address, packet, device, netns_of_lookup(lookup)) ||
	    may_be_twins(address, packet) || has_rival(skb, lookup, packet, address))
		return;
	find_owner_at(lookup, address, packet->protocol, TCP_ESTABLISHED);
	lookup->left_if_exited = packet->protocol != IPPROTO_TCP;
}
#else
static __always_inline void remember_in_vrf(struct endpoint_lookup *lookup,
					    struct bpf_sock *sk,
					    const struct packet *answer,
					    const struct device *device)
{
}

static __always_inline void find_in_vrf(struct __sk_buff *skb,
					struct endpoint_lookup *lookup,
					const struct packet *packet,
					const struct device *device)
{
}
#endif

#endif
