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
#include "owners/arrival.h"
#include "owners/closed_connections.h"
#include "owners/endpoint.h"
#include "owners/local_addresses.h"
#include "owners/membership.h"
#include "owners/multipath.h"
#include "owners/owner_table.h"
#include "owners/sharing.h"
#include "owners/socket_storage.h"
#include "owners/translation.h"
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

#if READS_KERNEL
/* Whether the socket is a file of a process, unlike those that the kernel has made. */
static __always_inline bool has_file(struct bpf_sock *sk)
{
	u64 socket = READ(u64, address_of(sk), SOCK__SK_SOCKET);

	return socket && READ(u64, socket, SOCKET__FILE);
}
#endif

static __always_inline void find_owner(struct endpoint_lookup *lookup,
				       struct bpf_sock *sk, u32 protocol, u32 state)
{
#if HOOKS
	u64 key = address_of(sk);
	struct owner *owner = owner_in_state(key, state);

#if KERNEL_OFFSETS && HAS_MPTCP
	if (!owner && protocol == IPPROTO_TCP)
		owner = multipath_owner(key, state);
#endif
	if (owner && !owner->ambiguous)
		take_owner(lookup, owner);
#else
	struct socket_record *known = socket_records.sk_storage_get(sk, 0, 0);

	if (known) {
		take_record(lookup, known, state);
		lookup->sk = address_of(sk);
	}
#endif
}

/* The state of a socket. The compiler must not keep the address of the field, which the
 * verifier refuses. */
#define STATE_OF(sk) LOAD(u32, sk, __builtin_offsetof(struct bpf_sock, state))

static __always_inline void find_user(struct endpoint_lookup *lookup,
				      struct bpf_sock *sk, u32 protocol)
{
	u32 state = STATE_OF(sk);

	/* A connection that is not established yet belongs to the listener. */
	if (state == TCP_NEW_SYN_RECV) {
		sk = bpf_get_listener_sock(sk);
		state = TCP_LISTEN;
	}
	if (sk)
		find_owner(lookup, sk, protocol, state);
	if (lookup->found)
		lookup->left_if_exited = protocol != IPPROTO_TCP || state == TCP_LISTEN;
}

/* Whether the lookup is in the namespace of the packet's device. */
static __always_inline bool is_here(const struct endpoint_lookup *lookup)
{
	return lookup->place.namespace_id <= OWN_NAMESPACE;
}

/* The number of the device, in the lookup's namespace, by which the packet arrives. */
static __always_inline u32 arrives_by(struct __sk_buff *skb,
				      const struct endpoint_lookup *lookup)
{
	u32 ifindex = IFINDEX_OF(skb);

	return is_here(lookup) ? ifindex : lookup->place.ifindex;
}

/* Whether the kernel looks for the socket by another device than the lookup does: that of
 * a container, or one that lo stands for. Few sockets make a difference: ask for it
 * last. */
static __always_inline bool is_by_other_device(struct __sk_buff *skb,
					       const struct endpoint_lookup *lookup,
					       const struct packet *packet,
					       const struct device *device)
{
	return !is_here(lookup) ||
	       (device->is_loopback && comes_by_other_device(skb, packet->family));
}

/* The lookup in a container's namespace takes the number of the device here for that of
 * a device there, to which a socket may be bound. */
static __always_inline bool is_bound_elsewhere(struct __sk_buff *skb,
					       struct bpf_sock *sk,
					       const struct packet *packet,
					       const struct endpoint_lookup *lookup,
					       const struct device *device)
{
	u32 bound = sk->bound_dev_if;

	return bound && bound != lookup->place.ifindex &&
	       is_by_other_device(skb, lookup, packet, device);
}

/* A socket that is not connected receives only what is sent to this host. It may be
 * bound to an address that is another host's (IP_FREEBIND), or has become so. */
static __always_inline bool may_receive(struct __sk_buff *skb, struct bpf_sock *sk,
					const struct packet *packet,
					const struct endpoint_lookup *lookup,
					const struct device *device, bool connected)
{
	return !is_bound_elsewhere(skb, sk, packet, lookup, device) &&
	       (connected || is_for_host(packet, lookup->place.namespace_id,
					 arrives_by(skb, lookup), lookup->generation));
}

/* Whether IPv4 discards what arrives with an address of this host as its source. */
static __always_inline bool is_from_ourselves(const struct packet *packet,
					      const struct endpoint_lookup *lookup,
					      const struct device *device)
{
	return packet->family == AF_INET && !device->is_loopback && is_here(lookup) &&
	       has_own_source(packet, lookup->place.namespace_id, lookup->generation);
}

/* The answer to a packet, by its addresses: the sender is looked up as the receiver of
 * that. */
static __always_inline void write_answer(struct packet *answer,
					 const struct packet *packet)
{
	__builtin_memcpy(answer->source, packet->destination, 16);
	__builtin_memcpy(answer->destination, packet->source, 16);
	answer->source_port = packet->destination_port;
	answer->destination_port = packet->source_port;
	answer->family = packet->family;
	answer->protocol = packet->protocol;
	answer->tcp_flags = packet->tcp_flags;
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

/* The inode number of the namespace in which an endpoint is looked up; 0: unknown. */
static __always_inline u32 netns_of_lookup(const struct endpoint_lookup *lookup)
{
	u32 zero = 0, *own;

	if (lookup->place.namespace_id != OWN_NAMESPACE)
		return lookup->place.netns;
	own = own_netns.lookup(&zero);
	return own ? *own : 0;
}

/* Finds the owner of a connection whose socket is gone; a SYN replaces that
 * connection. */
static __always_inline void find_closed(struct endpoint_lookup *lookup,
					const struct packet *packet, u32 netns)
{
	struct flow *flow = &lookup->key.flow;
	struct closed_connection *closed_before;

	__builtin_memcpy(flow->local, packet->destination, 16);
	__builtin_memcpy(flow->remote, packet->source, 16);
	flow->local_port = packet->destination_port;
	flow->remote_port = packet->source_port;
	flow->family = packet->family;
	flow->netns = netns;
	if (has_syn(packet)) {
		closed.delete(flow);
		return;
	}
	closed_before = closed.lookup(flow);
	if (closed_before &&
	    bpf_ktime_get_ns() - closed_before->closed_ns < CLOSED_MAX_NS)
		take_owner(lookup, &closed_before->owner);
}

/* A listener receives nothing but SYNs, and what it sends carries its request, or the
 * lookup finds that. Other segments belong to a connection that is gone, or to another
 * host or container, to which the kernel forwards them (address translation). */
static __always_inline bool is_stray(u32 state, const struct packet *packet, bool sent)
{
	return state == TCP_LISTEN && (sent || !asks_for_connection(packet));
}

/* Whether the packet's destination may become another one behind the classifier: in the
 * first packet of a connection, and in datagrams. Some of both answer one whose source
 * was translated. What lo carries has been translated before. */
static __always_inline bool is_translated(struct endpoint_lookup *lookup,
					  struct bpf_sock *sk,
					  const struct device *device)
{
#if READS_KERNEL
	if (!is_here(lookup) || !(device->is_loopback || lookup->is_tracked))
		lookup->net = READ(u64, address_of(sk), SOCK_COMMON__SKC_NET);
	return false; /* yet: drop_unless_sure() decides */
#else
	return lookup->place.translation;
#endif
}

/* Whether the kernel will look for the socket again on another device. A socket may be
 * bound to that one, which nobody sees in time. */
static __always_inline bool is_for_upper_device(struct __sk_buff *skb,
						const struct endpoint_lookup *lookup,
						const struct device *device)
{
	return is_here(lookup) && (device->is_lower || skb->vlan_present);
}

/* Whether a listener, or a socket that is not connected, may be another one than the
 * kernel finds for the packet, if it finds any. */
static __always_inline bool may_be_another(struct __sk_buff *skb,
					   struct endpoint_lookup *lookup,
					   struct bpf_sock *sk,
					   const struct packet *packet,
					   const struct device *device, bool sent)
{
	return lookup->only_connected || is_translated(lookup, sk, device) ||
	       (lookup->place.translation & CHANGED_AT_DEVICE) ||
	       is_for_upper_device(skb, lookup, device) ||
	       (!sent && is_from_ourselves(packet, lookup, device));
}

/* Forgets the owner of a socket that may not receive the packet, or that another process
 * may have by now. This is apart from the lookup so that it is compiled once for an
 * endpoint. */
static __always_inline void drop_unless_sure(struct endpoint_lookup *lookup,
					     const struct packet *packet)
{
#if READS_KERNEL && HAS_NETFILTER
	if (lookup->net && is_changed_in(lookup->net, packet))
		drop_owner(lookup);
#endif
#if !HOOKS
	if (lookup->sk && is_passed_on(lookup->sk, &lookup->record))
		drop_owner(lookup);
#if READS_KERNEL && KERNEL_OFFSETS && HAS_MPTCP
	if (lookup->sk && packet->protocol == IPPROTO_TCP &&
	    is_multipath_of_other(lookup->sk, &lookup->record.user.process,
				  lookup->record.hand_ons))
		drop_owner(lookup);
#endif
#endif
}

/* How the socket of a lookup shares its port: SHARES_LOAD, ... */
static __always_inline u32 sharing_of(const struct endpoint_lookup *lookup, void *sk)
{
#if HOOKS && KERNEL_OFFSETS
	return read_sharing(address_of(sk));
#elif HOOKS
	return 0;
#else
	u32 sharing = lookup->record.sharing;

	/* A program may have been attached since. */
	if ((sharing & (SHARES_LOAD | SHARING_SETTLED)) == SHARES_LOAD)
		sharing |= CHOSEN_BY_PROGRAM;
	return sharing ?: SHARES_PORT;
#endif
}

/* Finds the owner of a listener or a connection. Among several listeners the kernel
 * chooses by the source port, which one that is looked up `anew` was not, and by the
 * device. */
static __always_inline void
find_tcp_user(struct __sk_buff *skb, struct endpoint_lookup *lookup,
	      struct bpf_sock *sk, const struct packet *packet,
	      const struct device *device, bool listens, bool anew)
{
	u32 sharing;

	find_user(lookup, sk, IPPROTO_TCP);
	if (!listens)
		return;
	sharing = sharing_of(lookup, sk);
	if ((sharing & CHOSEN_BY_PROGRAM) ||
	    ((sharing & SHARES_LOAD) &&
	     (anew || is_by_other_device(skb, lookup, packet, device))))
		drop_owner(lookup);
}

static __always_inline void forget_source_port(struct bpf_sock_tuple *tuple, u32 family)
{
	if (family == AF_INET)
		tuple->ipv4.sport = 0;
	else
		tuple->ipv6.sport = 0;
}

static __always_inline void find_by_tcp_socket(struct __sk_buff *skb,
					       struct endpoint_lookup *lookup,
					       const struct packet *packet,
					       const struct device *device, bool sent)
{
	struct bpf_sock_tuple *tuple = &lookup->key.tuple;
	u32 len = write_tuple(tuple, packet), state;
	u32 ns = lookup->place.namespace_id;
	struct bpf_sock *sk = bpf_skc_lookup_tcp(skb, tuple, len, ns, 0);
	bool anew = false, open = false, listens;

	/* A SYN does not belong to the connection that waits for its end, but begins
	 * another one, which the kernel hands to a listener. */
	if (sk && has_syn(packet) && STATE_OF(sk) == TCP_TIME_WAIT) {
		bpf_sk_release(sk);
		forget_source_port(tuple, packet->family);
		sk = bpf_skc_lookup_tcp(skb, tuple, len, ns, 0);
		anew = true;
	}
	if (sk) {
		state = STATE_OF(sk);
		if (!is_stray(state, packet, sent)) {
			/* Its owner may be unknown. */
			open = state != TCP_TIME_WAIT;
			listens = state == TCP_LISTEN;
			if (may_receive(skb, sk, packet, lookup, device, !listens) &&
			    !(listens &&
			      may_be_another(skb, lookup, sk, packet, device, sent)))
				find_tcp_user(skb, lookup, sk, packet, device, listens,
					      anew);
		}
		bpf_sk_release(sk);
	}
	if (has_syn(packet) || (!lookup->found && !open))
		find_closed(lookup, packet, netns_of_lookup(lookup));
}

/* Whether the kernel may find another socket before it looks for the best one: of several
 * that are connected to the sender it takes the last one (udp_v4_early_demux), which need
 * not be bound to the device. */
static __always_inline bool may_be_demuxed(struct bpf_sock *sk,
					   const struct device *device, bool connected)
{
	return connected && sk->bound_dev_if && !device->is_loopback;
}

/* Finds the owner of a datagram socket. Of several on a port, any may have sent a datagram,
 * also of those that are connected to the same peer, and the kernel may prefer one that is
 * bound to another device than the lookup's. All members of a group receive what is sent
 * to it. */
static __always_inline void
find_udp_user(struct __sk_buff *skb, struct endpoint_lookup *lookup,
	      struct bpf_sock *sk, const struct packet *packet,
	      const struct device *device, bool connected, bool sent)
{
	u32 sharing;

	find_user(lookup, sk, IPPROTO_UDP);
	if (is_multicast(packet) && !sent) {
		lookup->member = address_of(sk);
		return;
	}
	sharing = sharing_of(lookup, sk);
	if ((!connected && (sharing & CHOSEN_BY_PROGRAM)) ||
	    ((sharing & SHARES_PORT) &&
	     (sent || may_be_demuxed(sk, device, connected) ||
	      is_by_other_device(skb, lookup, packet, device))))
		drop_owner(lookup);
}

/* Whether the socket can have sent what the packet would answer: from its own port. A
 * program (of type sk_lookup) may hand it what comes to other ones. */
static __always_inline bool may_have_sent(struct bpf_sock *sk,
					  const struct packet *packet)
{
	return sk->src_port == bpf_ntohs(packet->destination_port);
}

static __always_inline void find_by_udp_socket(struct __sk_buff *skb,
					       struct endpoint_lookup *lookup,
					       const struct packet *packet,
					       const struct device *device, bool sent)
{
	struct bpf_sock_tuple *tuple = &lookup->key.tuple;
	u32 len = write_tuple(tuple, packet);
	u32 ns = lookup->place.namespace_id;
	struct bpf_sock *sk = bpf_sk_lookup_udp(skb, tuple, len, ns, 0);
	bool connected;

	if (!sk)
		return;
	connected = STATE_OF(sk) == TCP_ESTABLISHED;
	if (may_receive(skb, sk, packet, lookup, device, connected) &&
	    (!sent || may_have_sent(sk, packet)) &&
	    (connected || !may_be_another(skb, lookup, sk, packet, device, sent)))
		find_udp_user(skb, lookup, sk, packet, device, connected, sent);
	bpf_sk_release(sk);
}

/* Finds the owner of the socket in the lookup's place that receives the packet, or, with
 * `sent`, that has sent the packet that this one would answer. */
static __always_inline void find_by_socket(struct __sk_buff *skb,
					   struct endpoint_lookup *lookup,
					   const struct packet *packet,
					   const struct device *device, bool sent)
{
	if (packet->protocol == IPPROTO_TCP)
		find_by_tcp_socket(skb, lookup, packet, device, sent);
	else if (packet->protocol == IPPROTO_UDP)
		find_by_udp_socket(skb, lookup, packet, device, sent);
}

#endif
