/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * From a packet whose addresses are translated (NAT) to the addresses that the sockets
 * at its two ends have.
 *
 * A packet that leaves carries its entry of the kernel's connection tracking
 * (skb->_nfct). An entry has a tuple for each direction: the addresses with which packets
 * of that direction arrive. Turned round, they are the addresses with which packets of
 * the other direction leave. A packet that arrives has no entry yet. So the entries of
 * packets that left are remembered, for both directions. Each time, the entry itself is
 * read to see whether the kernel would still find it.
 */
#ifndef TCCAP_CONNECTION_TRACKING_H
#define TCCAP_CONNECTION_TRACKING_H

#include "abi.h"
#include "kernel.h"
#include "owners/endpoint.h"
#include "owners/translation.h"
#include "packet/parse.h"
#include "packet/stages.h"

/* Whether to follow a packet on a device. What lo carries has been translated before, and
 * entries are remembered for one namespace. */
static __always_inline bool may_be_tracked(const struct packet *packet,
					   const struct device *device)
{
	return !device->is_loopback && !is_inside(device) &&
	       (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP) &&
	       !packet->later_fragment;
}

#if READS_KERNEL && HAS_CONNTRACK
/* include/uapi/linux/netfilter/nf_conntrack_common.h */
#define IPS_CONFIRMED (1 << 3)
#define IPS_SRC_NAT (1 << 4)
#define IPS_DST_NAT (1 << 5)
#define IPS_DYING (1 << 9)
#define IPS_TEMPLATE (1 << 11)
/* enum ip_conntrack_info, in the lower bits of skb->_nfct. A related packet is not one of
 * the connection: it is an error about one of its packets, for example. */
#define NFCT_INFO 7
#define IP_CT_ESTABLISHED 0
#define IP_CT_NEW 2
#define IP_CT_ESTABLISHED_REPLY 3

static u64 (*jiffies_now)(void) = (void *)BPF_FUNC_jiffies64;

/* struct nf_conntrack_tuple; src/tccap/bpf/btf.py checks where its members are. */
struct tracked_tuple {
	u32 source[4]; /* IPv4: the first of them */
	__be16 source_port;
	u16 family;
	u32 destination[4];
	__be16 destination_port;
	u8 protocol;
	u8 direction; /* of the entry: 0 as its first packet, 1 as the answers */
};

/* struct nf_conntrack_tuple_hash */
struct tracked_way {
	u64 chain[2];
	struct tracked_tuple tuple;
};

/* Entries of translated connections, by the addresses with which their packets arrive;
 * `direction` is 0 in a key. */
struct translated {
	u64 entry;
	u64 net; /* struct net: each network namespace has its own entries */
	u32 direction;
	/* The device by which such packets come, and the one behind which their receiver
	 * is; 0: here. */
	u32 from;
	u32 to;
	u32 zero;
};
BPF_TABLE("lru_hash", struct tracked_tuple, struct translated, translated, 16384);

/* A copy of an entry's addresses, and space for those of a packet and for a value. They
 * are not on the stack, where what they leave behind makes paths differ for the
 * verifier. */
struct tracked_connection {
	struct tracked_way ways[2]; /* by direction */
	struct tracked_tuple sought;
	struct translated value;
};
BPF_PERCPU_ARRAY(tracked_connections, struct tracked_connection, 1);

/* 1 as soon as an entry is remembered: until then packets that arrive cost nothing. */
BPF_ARRAY(has_translated, u32, 1);

static __always_inline u32 status_of(u64 entry)
{
	return READ(u64, entry, NF_CONN__STATUS);
}

/* Whether the kernel still finds the entry. Its memory may hold another entry by now,
 * with other addresses: read these after this. */
static __always_inline bool is_in_use(u64 entry, u32 status)
{
	s32 left = READ(u32, entry, NF_CONN__TIMEOUT) - (u32)jiffies_now();

	return (status & IPS_CONFIRMED) && !(status & (IPS_DYING | IPS_TEMPLATE)) &&
	       left > 0;
}

static __always_inline bool is_translating(u32 status)
{
	return status & (IPS_SRC_NAT | IPS_DST_NAT);
}

/* Connections with the same addresses may be in different zones, and a packet on another
 * device does not show its zone. */
static __always_inline bool has_zone(u64 entry)
{
#if HAS_ZONES
	return READ(u16, entry, NF_CONN__ZONE);
#else
	return false;
#endif
}

static __always_inline bool read_ways(struct tracked_connection *found, u64 entry)
{
	return !read_kernel(found->ways, sizeof(found->ways),
			    (void *)(entry + NF_CONN__TUPLEHASH));
}

static __always_inline void write_sought(struct tracked_tuple *sought,
					 const struct packet *packet)
{
	__builtin_memcpy(sought->source, packet->source, 16);
	__builtin_memcpy(sought->destination, packet->destination, 16);
	sought->source_port = packet->source_port;
	sought->destination_port = packet->destination_port;
	sought->family = packet->family;
	sought->protocol = packet->protocol;
	sought->direction = 0;
}

/* Whether the tuples are the same but for their direction. */
static __always_inline bool same_tuple(const struct tracked_tuple *one,
				       const struct tracked_tuple *other)
{
	u32 differ = (one->source_port ^ other->source_port) |
		     (one->destination_port ^ other->destination_port) |
		     (one->family ^ other->family) | (one->protocol ^ other->protocol);

#pragma unroll
	for (u32 i = 0; i < 4; i++) {
		differ |= one->source[i] ^ other->source[i];
		differ |= one->destination[i] ^ other->destination[i];
	}
	return !differ;
}

/* Gives the packet the addresses of an answer to one that arrives with this tuple. */
static __always_inline void turn_round(struct packet *packet,
				       const struct tracked_tuple *tuple)
{
	__builtin_memcpy(packet->source, tuple->destination, 16);
	__builtin_memcpy(packet->destination, tuple->source, 16);
	packet->source_port = tuple->destination_port;
	packet->destination_port = tuple->source_port;
}

static __always_inline u64 net_of(u64 entry)
{
	return READ(u64, entry, NF_CONN__CT_NET);
}

static __always_inline void remember_way(struct tracked_connection *found, u64 entry,
					 u32 direction, u32 from, u32 to)
{
	struct translated *value = &found->value;

	found->sought = found->ways[direction & 1].tuple;
	found->sought.direction = 0;
	value->entry = entry;
	value->net = net_of(entry);
	value->direction = direction;
	value->from = from;
	value->to = to;
	value->zero = 0;
	translated.update(&found->sought, value);
}

/* Remembers the entry of a packet that leaves, for packets that will arrive. What leaves
 * by a bridge is seen on one of its ports, too: the bridge counts. */
static __always_inline void remember_entry(struct tracked_connection *found, u64 entry,
					   u32 direction, u32 from, u32 to,
					   bool by_port)
{
	u32 zero = 0, *any = has_translated.lookup(&zero);
	struct translated *known;

	found->sought = found->ways[direction & 1].tuple;
	found->sought.direction = 0;
	known = translated.lookup(&found->sought);
	if (known && known->entry == entry && known->from == from &&
	    (known->to == to || by_port))
		return;
	if (!any || has_zone(entry))
		return;
	remember_way(found, entry, direction, from, to);
	remember_way(found, entry, !direction, to, from);
	*any = 1;
}

/* The entry that the packet carries, and the direction of the packet; 0: there is none,
 * or the packet is only related to it. */
static __always_inline u64 entry_of(struct __sk_buff *skb, u32 *direction)
{
	u64 entry = READ(u64, (u64)skb, SK_BUFF___NFCT);
	u32 info = entry & NFCT_INFO;

	if (info != IP_CT_ESTABLISHED && info != IP_CT_NEW &&
	    info != IP_CT_ESTABLISHED_REPLY)
		return 0;
	*direction = info == IP_CT_ESTABLISHED_REPLY;
	return entry & ~(u64)NFCT_INFO;
}

/* Replaces `answer` by the answer that the sender of a packet that leaves would get, if
 * the packet has an entry and exactly the addresses of that entry. */
static __always_inline void follow_leaving(struct __sk_buff *skb,
					   struct endpoint_lookup *lookup,
					   struct packet *answer,
					   const struct device *device, bool forwarded)
{
	u32 zero = 0, direction = 0, status;
	struct tracked_connection *found = tracked_connections.lookup(&zero);
	u64 entry = entry_of(skb, &direction);

	if (!found || !entry)
		return;
	status = status_of(entry);
	if (!(forwarded || is_translating(status)) || !is_in_use(entry, status) ||
	    !read_ways(found, entry))
		return;
	write_sought(&found->sought, answer);
	if (!same_tuple(&found->sought, &found->ways[~direction & 1].tuple))
		return;
	turn_round(answer, &found->ways[direction & 1].tuple);
	lookup->is_tracked = 1;
	if (is_translating(status))
		remember_entry(found, entry, direction, skb->ingress_ifindex,
			       skb->ifindex, device->master);
}

/* The same for a packet that a bridge device receives. If netfilter sees bridged packets
 * (br_netfilter), its destination is translated by then, and its source is not. */
static __always_inline void follow_bridged(struct __sk_buff *skb,
					   struct endpoint_lookup *lookup,
					   struct packet *answer)
{
	u32 zero = 0, direction = 0, status;
	struct tracked_connection *found = tracked_connections.lookup(&zero);
	u64 entry = entry_of(skb, &direction);
	struct tracked_tuple *came, *goes;

	if (!found || !entry)
		return;
	status = status_of(entry);
	if (!is_translating(status) || !read_ways(found, entry))
		return;
	came = &found->ways[direction & 1].tuple;
	goes = &found->ways[~direction & 1].tuple;
	__builtin_memcpy(goes->destination, came->source, 16);
	goes->destination_port = came->source_port;
	write_sought(&found->sought, answer);
	if (!same_tuple(&found->sought, goes))
		return;
	turn_round(answer, came);
	lookup->is_tracked = 1;
}

/* Replaces the addresses of a packet that arrives by those with which its receiver gets
 * it, if they are known. A SYN may begin another connection than that of the entry, which
 * the kernel then forgets. */
static __always_inline void follow_arriving(struct endpoint_lookup *lookup,
					    struct packet *packet)
{
	u32 zero = 0, direction, status, to, *any = has_translated.lookup(&zero);
	struct tracked_connection *found;
	struct translated *known;
	u64 entry, net;

	if (!any || !*any || asks_for_connection(packet))
		return;
	found = tracked_connections.lookup(&zero);
	if (!found)
		return;
	write_sought(&found->sought, packet);
	known = translated.lookup(&found->sought);
	if (!known)
		return;
	entry = known->entry;
	direction = known->direction;
	net = known->net;
	to = known->to;
	status = status_of(entry);
	if (!is_translating(status) || !is_in_use(entry, status) || has_zone(entry) ||
	    !read_ways(found, entry))
		return;
	if (!same_tuple(&found->sought, &found->ways[direction & 1].tuple) ||
	    net_of(entry) != net)
		return;
#if HAS_NETFILTER
	if (!translates(net, packet))
		return;
#endif
	turn_round(packet, &found->ways[~direction & 1].tuple);
	lookup->is_tracked = 1;
	lookup->is_behind = to;
}
#else
static __always_inline void follow_leaving(struct __sk_buff *skb,
					   struct endpoint_lookup *lookup,
					   struct packet *answer,
					   const struct device *device, bool forwarded)
{
}

static __always_inline void follow_bridged(struct __sk_buff *skb,
					   struct endpoint_lookup *lookup,
					   struct packet *answer)
{
}

static __always_inline void follow_arriving(struct endpoint_lookup *lookup,
					    struct packet *packet)
{
}
#endif

#endif
