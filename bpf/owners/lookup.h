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
#include "owners/places.h"
#include "owners/remembered.h"
#include "owners/socket_lookup.h"
#include "packet/parse.h"
#include "packet/stages.h"

/* Finds where the packet is received, and its addresses there. */
static __always_inline void locate_receiver(struct __sk_buff *skb,
					    struct endpoint_lookups *lookups,
					    const struct packet *packet,
					    const struct device *device, bool outbound)
{
	struct endpoint_lookup *lookup = &lookups->receiver;
	struct packet *arriving = &lookups->arriving;

	*arriving = *packet;
	if (!outbound && lookups->sender.is_tracked)
		write_answer(arriving, &lookups->answer);
	if (find_receiving_place(skb, lookup, arriving, device, outbound))
		lookup->is_sought = 1;
}

/* Finds the owner of the socket that receives the packet, or of the echo request that it
 * answers. */
static __always_inline void find_receiver(struct __sk_buff *skb,
					  struct endpoint_lookup *lookup,
					  const struct packet *packet,
					  const struct packet *arriving,
					  const struct device *device)
{
	if (!lookup->is_sought)
		return;
	if (packet->later_fragment) {
		find_by_first_fragment(lookup, packet, 0);
		return;
	}
	lookup->fragmented = packet->fragmented;
	if (packet->echo_request)
		return; /* the kernel answers */
	if (packet->echo_id)
		find_pinger(lookup, packet);
	else
		find_by_socket(skb, lookup, arriving, device, false);
}

/* A forwarded connection may have the addresses of one that has ended here. */
static __always_inline void forget_closed(struct endpoint_lookup *lookup,
					  const struct packet *answer)
{
	if (has_syn(answer))
		find_closed(lookup, answer, netns_of_lookup(lookup));
}

/* Finds where a packet was sent that does not carry its socket, and the answer that its
 * sender would get. Of a known sender only the addresses of its connection are
 * remembered. */
static __always_inline void locate_sender(struct __sk_buff *skb,
					  struct endpoint_lookups *lookups,
					  const struct packet *packet,
					  const struct device *device)
{
	struct endpoint_lookup *lookup = &lookups->sender;
	struct packet *answer = &lookups->answer;

	lookups->known = lookup->found || lookups->forged;
	lookups->forwarded = lookups->outbound && is_forwarded(skb, device);
	FORGET();
	if (!lookups->outbound && packet->echo_request)
		look_there(lookup, device);
	if (packet->about_inner || packet->echo_id ||
	    (lookups->known && lookups->outbound && !device->translation))
		return;
	write_answer(answer, packet);
	if (lookups->forwarded)
		forget_closed(lookup, answer);
	if (may_be_tracked(packet, device)) {
		if (lookups->outbound)
			follow_leaving(skb, lookup, answer, device, lookups->forwarded);
		else if (is_bridge(device))
			follow_bridged(skb, lookup, answer);
	}
	FORGET();
	if (!lookups->known &&
	    find_sending_place(skb, lookup, answer, device, lookups->outbound))
		lookup->is_sought = 1;
}

/* Finds the sender of a packet that does not carry its socket: answers by the kernel on
 * a connection carry another socket or none, and what was forwarded has lost its own. */
static __always_inline void find_sender(struct __sk_buff *skb,
					struct endpoint_lookup *lookup,
					const struct packet *packet,
					const struct packet *answer,
					const struct device *device)
{
	if (!lookup->is_sought)
		return;
	if (packet->later_fragment) {
		find_by_first_fragment(lookup, packet, 1);
		return;
	}
	lookup->fragmented = packet->fragmented;
	find_by_socket(skb, lookup, answer, device, true);
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
					const struct packet *packet, bool outbound)
{
	u32 protocol = protocol_of(&sender->record, sk);
	u32 role = protocol ? caller_role(&sender->record, sk, protocol, device, packet,
					  outbound) :
			      ANY_TASK;
	struct socket_record *known = NULL;

	if (role == IS_SENDER)
		known = record_sender(&sender->record, sk, protocol);
	if (known) {
		known->sharing = known->sharing ?: sharing_of_unshared(sk);
		take_record(sender, known, sk->state);
		sender->sk = 0;
		sender->left_if_exited = packet->protocol != IPPROTO_TCP;
	} else if (sender->found &&
		   (role == MAYBE_SENDER || packet->protocol != IPPROTO_TCP)) {
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

/* Whether a raw socket is a process's: the kernel has one of its own for answers of TCP. */
static __always_inline bool is_opened(struct bpf_sock *raw)
{
#if READS_KERNEL
	return has_file(raw);
#else
	return raw->protocol != IPPROTO_TCP;
#endif
}

/* Whether the socket is one by which a process sends: what the user of a tun device lets
 * arrive by it carries a socket of no family. */
static __always_inline bool is_of_process(struct bpf_sock *sk)
{
	return LOAD(u32, sk, __builtin_offsetof(struct bpf_sock, family)) != 0;
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

/* The socket that has sent the packet, if it carries that. What comes out of a container
 * still does, by a veth pair, a bridge or a macvlan device. One of the namespace in which
 * the packet arrives may be that which is to receive it (bpf_sk_assign). */
static __always_inline struct bpf_sock *carried_socket(struct __sk_buff *skb,
						       bool outbound)
{
	struct bpf_sock *sk = skb->sk;
#if READS_KERNEL
	u32 zero = 0, *own = own_netns.lookup(&zero);
	u64 net;
#endif

	if (!sk || outbound)
		return sk;
#if READS_KERNEL
	if (!own)
		return NULL;
	net = READ(u64, address_of(sk), SOCK_COMMON__SKC_NET);
	return READ(u32, net, NET__NS + NS_COMMON__INUM) == *own ? NULL : sk;
#else
	return NULL;
#endif
}

/* Whether the sender may be on this host, whatever its process. */
static __always_inline bool is_sent_here(struct __sk_buff *skb,
					 const struct device *device, bool outbound)
{
	struct device_key key = { .namespace_id = device->namespace_id,
				  .ifindex = skb->ingress_ifindex };
	struct device *before;

	if (!outbound)
		return device->is_loopback || device->from_here ||
		       (device->others_from_here && is_for_others(skb));
	if (!is_forwarded(skb, device))
		return true;
	before = devices.lookup(&key);
	return !before || before->from_here;
}

/* Finds the user of the socket that a packet carries. */
static __always_inline void find_by_carried(struct __sk_buff *skb,
					    const struct device *device,
					    const struct packet *packet,
					    struct endpoint_lookups *lookups)
{
	struct endpoint_lookup *sender = &lookups->sender;
	bool outbound = lookups->outbound;
	struct bpf_sock *sk = carried_socket(skb, outbound);

	lookups->forged = 0;
	if (!sk)
		return;
	lookups->forged = is_forged(sk);
	sender->is_here |= is_of_process(sk);
	if (!is_reset_for_listener(sk, packet))
		find_user(sender, sk, packet->protocol);
#if CALLERS
	if (outbound || packet->protocol != IPPROTO_TCP)
		find_caller(sender, sk, device, packet, outbound);
#endif
}

/* Finds the owners at the two endpoints of a packet. */
static __always_inline void find_owners(struct __sk_buff *skb,
					const struct device *device,
					const struct packet *packet,
					struct endpoint_lookups *lookups)
{
	struct endpoint_lookup *sender = &lookups->sender;

	find_by_carried(skb, device, packet, lookups);
	FORGET();
	if (!packet->is_read)
		return;
	locate_sender(skb, lookups, packet, device);
	FORGET();
	find_sender(skb, sender, packet, &lookups->answer, device);
	FORGET();
	locate_receiver(skb, lookups, packet, device, lookups->outbound);
	FORGET();
	find_receiver(skb, &lookups->receiver, packet, &lookups->arriving, device);
}

/* Forgets the owner of a socket that has not joined the group. */
static __always_inline void drop_unless_member(struct __sk_buff *skb,
					       struct endpoint_lookup *receiver,
					       const struct packet *packet)
{
	if (receiver->member &&
	    !is_member(receiver->member, packet, arrives_by(skb, receiver)))
		drop_owner(receiver);
}

static __always_inline void clear(struct endpoint_lookup *lookup)
{
	__builtin_memset(lookup, 0, __builtin_offsetof(struct endpoint_lookup, key));
}

/* Finds the processes at the two endpoints of a packet. */
static __always_inline void find_endpoints(struct __sk_buff *skb,
					   const struct frame_context *context,
					   const struct packet *packet,
					   struct endpoint *sender,
					   struct endpoint *receiver)
{
	u32 zero = 0;
	struct endpoint_lookups *lookups = endpoint_lookups.lookup(&zero);
	u64 generation;

	if (!lookups)
		return;
	lookups->outbound = context->direction == EPB_OUTBOUND;
	clear(&lookups->sender);
	clear(&lookups->receiver);
	lookups->sender.is_here =
		is_sent_here(skb, &context->device, lookups->outbound);
	lookups->sender.generation = lookups->receiver.generation = context->generation;
	look_here(&lookups->sender, &context->device);
	look_here(&lookups->receiver, &context->device);
	lookups->sender.fragments_by = lookups->receiver.fragments_by =
		context->ifindex;
	FORGET();
	find_owners(skb, &context->device, packet, lookups);
	FORGET();
	drop_unless_sure(&lookups->sender, packet);
	drop_unless_sure(&lookups->receiver, packet);
	drop_unless_member(skb, &lookups->receiver, packet);
	/* A process may have changed before it used a socket, and that use was found
	 * above: read the generation again. */
	generation = lookup_generation();
	sender->is_here = lookups->sender.is_here;
	choose_owner(&lookups->sender, SENDER, generation);
	FORGET();
	choose_owner(&lookups->receiver, RECEIVER, generation);
	FORGET();
	resolve(sender, &lookups->sender, SENDER, generation);
	resolve(receiver, &lookups->receiver, RECEIVER, generation);
	if (!packet->is_read)
		return;
	if (is_of_vrf(skb, &context->device) || context->device.far_in_vrf)
		return; /* others may have the same addresses */
	if (packet->echo_request && (lookups->outbound || !is_here(&lookups->sender)))
		remember_pinger(sender, &lookups->sender, packet);
	if (lookups->sender.fragmented)
		remember_fragment(sender, &lookups->sender, packet, 1);
	if (lookups->receiver.fragmented)
		remember_fragment(receiver, &lookups->receiver, packet, 0);
}

#endif
