/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * From a packet to the processes at its two endpoints.
 *
 * A packet that leaves carries its socket (skb->sk); for one that arrives
 * socket_lookup.h finds the socket. The rest is known from earlier packets
 * (remembered.h), and from connections whose socket is gone (closed_connections.h).
 */
#ifndef TCCAP_LOOKUP_H
#define TCCAP_LOOKUP_H

#include "abi.h"
#include "lookup_generation.h"
#include "owners/caller.h"
#include "owners/endpoint.h"
#include "owners/membership.h"
#include "owners/remembered.h"
#include "owners/socket_lookup.h"
#include "packet/parse.h"
#include "packet/stages.h"

/* Finds the owner of the socket in the namespace that receives the packet, or of the
 * echo request that it answers. */
static __always_inline void find_receiver(struct __sk_buff *skb,
					  struct endpoint_lookup *lookup,
					  const struct packet *packet,
					  const struct device *device, s32 ns)
{
	if (packet->later_fragment) {
		find_by_first_fragment(lookup, packet, ns, 0);
		return;
	}
	lookup->fragmented = packet->fragmented;
	lookup->namespace_id = ns;
	if (packet->echo_id)
		find_pinger(lookup, packet, ns);
	else
		find_by_socket(skb, lookup, packet, device, ns, false);
}

/* Whether a packet that leaves has arrived on another device before. */
static __always_inline bool is_forwarded(struct __sk_buff *skb,
					 const struct device *device)
{
	return !device->is_loopback && skb->ingress_ifindex;
}

static __always_inline bool is_from_container(const struct device *device,
					      bool outbound)
{
	return !outbound && device->far_namespace >= 0;
}

/* A forwarded connection may have the addresses of one that has ended here. */
static __always_inline void forget_closed(struct endpoint_lookup *lookup,
					  const struct packet *packet,
					  const struct device *device)
{
	struct packet answer = reversed(packet);

	if (has_syn(packet))
		find_closed(lookup, &answer, netns_of_lookup(device, OWN_NAMESPACE));
}

/* Finds the sender of a packet that does not carry its socket: answers by the kernel on
 * a connection carry another socket or none, and packets from a container have lost
 * theirs. A forwarded packet has no sender here. */
static __always_inline void find_sender(struct __sk_buff *skb,
					const struct device *device, bool outbound,
					struct endpoint_lookup *lookup,
					const struct packet *packet)
{
	bool from_container = is_from_container(device, outbound);
	bool own_tcp = packet->protocol == IPPROTO_TCP &&
		       (outbound || device->is_loopback);
	s32 ns = from_container ? device->far_namespace : OWN_NAMESPACE;
	struct packet answer;

	if (packet->about_inner || packet->echo_id)
		return;
	if (!from_container && !own_tcp)
		return;
	if (outbound && is_forwarded(skb, device)) {
		forget_closed(lookup, packet, device);
		return;
	}
	if (packet->later_fragment) {
		find_by_first_fragment(lookup, packet, ns, 1);
		return;
	}
	lookup->fragmented = packet->fragmented;
	lookup->namespace_id = ns;
	answer = reversed(packet);
	find_by_socket(skb, lookup, &answer, device, ns, true);
#if CALLERS
	if (lookup->found && packet->protocol != IPPROTO_TCP)
		drop_others(&lookup->record);
#endif
}

#if CALLERS
/* The sender of a packet uses its socket, and may be another process than before. */
static __always_inline void find_caller(struct endpoint_lookup *sender,
					struct bpf_sock *sk,
					const struct device *device,
					const struct packet *packet)
{
	struct socket_record *known =
		record_sender(&sender->record, sk, device, packet);

	if (known) {
		take_record(sender, known, sk->state);
		sender->sk = 0;
		sender->left_if_exited = packet->protocol != IPPROTO_TCP;
	} else if (sender->found && packet->protocol != IPPROTO_TCP) {
		drop_others(&sender->record);
	}
}
#endif

/* Since Linux 6.12 the reset that answers a stray segment carries the listener. */
static __always_inline bool is_reset_for_listener(struct bpf_sock *sk,
						  const struct packet *packet)
{
	return packet->protocol == IPPROTO_TCP && STATE_OF(sk) == TCP_LISTEN &&
	       !has_syn(packet);
}

/* Whether a raw socket is a process's: the kernel has one of its own for answers of TCP,
 * which belongs to no file. */
static __always_inline bool is_opened(struct bpf_sock *raw)
{
#if READS_KERNEL
	u64 socket = READ(u64, address_of(raw), SOCK__SK_SOCKET);

	return socket && READ(u64, socket, SOCKET__FILE);
#else
	return raw->protocol != IPPROTO_TCP;
#endif
}

/* Whether the process that sends has written the packet's addresses itself, by an
 * AF_PACKET or a raw socket. They may be those of another one's connection. */
static __always_inline bool is_forged(struct bpf_sock *sk)
{
	u32 family = LOAD(u32, sk, __builtin_offsetof(struct bpf_sock, family));

	if (family != AF_INET && family != AF_INET6)
		return true;
	sk = bpf_sk_fullsock(sk);
	return sk && sk->type == SOCK_RAW && is_opened(sk);
}

/* Whether the sender may be on this host, whatever its process. */
static __always_inline bool is_sent_here(struct __sk_buff *skb,
					 const struct device *device, bool outbound)
{
	u32 ifindex = skb->ingress_ifindex;
	struct device *before;

	if (!outbound)
		return device->is_loopback || device->from_here;
	if (!is_forwarded(skb, device))
		return true;
	before = devices.lookup(&ifindex);
	return !before || before->from_here;
}

/* Finds the owners at the two endpoints of a packet. */
static __always_inline void find_owners(struct __sk_buff *skb,
					const struct device *device, bool outbound,
					bool parsed, const struct packet *packet,
					struct endpoint_lookups *lookups)
{
	bool arrives_here = !outbound || device->is_loopback, forged = false;
	struct bpf_sock *sk = outbound ? skb->sk : NULL;

	if (sk)
		forged = is_forged(sk);
	if (sk && !is_reset_for_listener(sk, packet))
		find_user(&lookups->sender, sk, packet->protocol);
#if CALLERS
	if (sk)
		find_caller(&lookups->sender, sk, device, packet);
#endif
	if (!parsed)
		return;
	if (!lookups->sender.found && !forged)
		find_sender(skb, device, outbound, &lookups->sender, packet);
	if (!packet->echo_request && (arrives_here || device->far_namespace >= 0))
		find_receiver(skb, &lookups->receiver, packet, device,
			      arrives_here ? OWN_NAMESPACE : device->far_namespace);
}

/* Forgets the owner of a socket that has not joined the group. */
static __always_inline void drop_unless_member(struct __sk_buff *skb,
					       struct endpoint_lookup *receiver,
					       const struct packet *packet,
					       const struct device *device)
{
	u32 ifindex = LOAD(u32, skb, __builtin_offsetof(struct __sk_buff, ifindex));

	if (receiver->namespace_id != OWN_NAMESPACE)
		ifindex = device->far_ifindex;
	if (receiver->member && !is_member(receiver->member, packet, ifindex))
		drop_owner(receiver);
}

/* Finds the processes at the two endpoints of a packet; `parsed` says whether parse()
 * could read it. */
static __always_inline void find_endpoints(struct __sk_buff *skb,
					   const struct frame_context *context,
					   bool parsed, const struct packet *packet,
					   struct endpoint *sender,
					   struct endpoint *receiver)
{
	u32 zero = 0;
	struct endpoint_lookups *lookups = endpoint_lookups.lookup(&zero);
	bool outbound = context->direction == EPB_OUTBOUND;
	u64 generation;

	if (!lookups)
		return;
	__builtin_memset(lookups, 0, sizeof(*lookups));
	lookups->sender.is_here = is_sent_here(skb, &context->device, outbound);
	lookups->sender.generation = lookups->receiver.generation = context->generation;
	find_owners(skb, &context->device, outbound, parsed, packet, lookups);
	drop_unless_sure(&lookups->sender, packet);
	drop_unless_sure(&lookups->receiver, packet);
	drop_unless_member(skb, &lookups->receiver, packet, &context->device);
	/* A process may have changed before it used a socket, and that use was found
	 * above: read the generation again. */
	generation = lookup_generation();
	sender->is_here = lookups->sender.is_here;
	resolve(sender, &lookups->sender, SENDER, generation);
	resolve(receiver, &lookups->receiver, RECEIVER, generation);
	if (!parsed)
		return;
	if (packet->echo_request)
		remember_pinger(sender, packet, OWN_NAMESPACE);
	if (lookups->sender.fragmented)
		remember_fragment(sender, &lookups->sender, packet, 1);
	if (lookups->receiver.fragmented)
		remember_fragment(receiver, &lookups->receiver, packet, 0);
}

#endif
