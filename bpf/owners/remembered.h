/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Owners that are remembered from packets seen before: those of ICMP echo requests, by
 * their identifier, and those of later fragments, which carry no ports.
 */
#ifndef TCCAP_REMEMBERED_H
#define TCCAP_REMEMBERED_H

#include "abi.h"
#include "owners/endpoint.h"
#include "packet/parse.h"

/* Senders of ICMP echo requests, for the replies. */
BPF_TABLE("lru_hash", struct echo, struct owner, echoes, 8192);

/* Senders and receivers of datagrams, for their later fragments. */
struct fragmented_owner {
	struct owner owner;
	u64 seen_ns; /* bpf_ktime_get_ns() */
};
BPF_TABLE("lru_hash", struct fragments, struct fragmented_owner, fragmented, 8192);

/* Identifiers are reused. Longer than this, no kernel waits for the rest of a datagram:
 * IPV6_FRAG_TIMEOUT, include/net/ipv6.h. */
#define FRAGMENTS_MAX_NS 60000000000ull

static __always_inline struct echo *echo_key(struct endpoint_lookup *lookup,
					     const struct packet *packet,
					     const u8 *remote, s32 ns)
{
	struct echo *key = &lookup->key.echo;

	__builtin_memcpy(key->remote, remote, 16);
	key->echo_id = packet->echo_id;
	key->namespace_id = ns;
	return key;
}

/* Finds the sender of the echo request that this packet answers. */
static __always_inline void find_pinger(struct endpoint_lookup *lookup,
					const struct packet *packet)
{
	s32 ns = lookup->place.namespace_id;
	struct owner *owner =
		echoes.lookup(echo_key(lookup, packet, packet->source, ns));

	if (owner)
		take_owner(lookup, owner);
}

/* Identifiers are reused, so an unknown sender replaces an earlier one, too. */
static __always_inline void remember_pinger(const struct endpoint *endpoint,
					    struct endpoint_lookup *lookup,
					    const struct packet *packet)
{
	s32 ns = lookup->place.namespace_id;
	struct echo *key = echo_key(lookup, packet, packet->destination, ns);
	struct owner owner = { .process = endpoint->id, .tid = endpoint->tid };

	if (endpoint->process)
		echoes.update(key, &owner);
	else
		echoes.delete(key);
}

static __always_inline struct fragments *
fragments_key(struct endpoint_lookup *lookup, const struct packet *packet, u32 sent)
{
	struct fragments *key = &lookup->key.fragments;

	__builtin_memcpy(key->source, packet->source, 16);
	__builtin_memcpy(key->destination, packet->destination, 16);
	key->id = packet->fragment_id;
	key->namespace_id = lookup->fragments_in;
	key->ifindex = lookup->fragments_by;
	key->sent = sent;
	key->protocol = packet->family == AF_INET ? packet->protocol : 0;
	return key;
}

/* Identifiers are reused: what comes after the last fragment is of another datagram. */
static __always_inline void find_by_first_fragment(struct endpoint_lookup *lookup,
						   const struct packet *packet,
						   u32 sent)
{
	struct fragments *key = fragments_key(lookup, packet, sent);
	struct fragmented_owner *first = fragmented.lookup(key);

	if (first && bpf_ktime_get_ns() - first->seen_ns < FRAGMENTS_MAX_NS)
		take_owner(lookup, &first->owner);
	if (first && packet->last_fragment)
		fragmented.delete(key);
}

static __always_inline void remember_fragment(const struct endpoint *endpoint,
					      struct endpoint_lookup *lookup,
					      const struct packet *packet, u32 sent)
{
	struct fragments *key = fragments_key(lookup, packet, sent);
	struct fragmented_owner whole = {
		.owner = { .process = endpoint->id, .tid = endpoint->tid },
		.seen_ns = bpf_ktime_get_ns(),
	};

	if (endpoint->process)
		fragmented.update(key, &whole);
	else
		fragmented.delete(key);
}

#endif
