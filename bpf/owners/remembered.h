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
struct echo {
	u8 remote[16];
	u32 echo_id;
	s32 namespace_id;
};
BPF_TABLE("lru_hash", struct echo, struct owner, echoes, 8192);

/* Senders and receivers of datagrams, for their later fragments. */
struct fragments {
	u8 source[16];
	u8 destination[16];
	u32 id;
	s32 namespace_id;
	u32 sent;
};
BPF_TABLE("lru_hash", struct fragments, struct owner, fragmented, 8192);

/* Finds the sender of the echo request that this packet answers. */
static __always_inline void find_pinger(struct endpoint_lookup *lookup,
					const struct packet *packet, s32 ns)
{
	struct echo key = { .echo_id = packet->echo_id, .namespace_id = ns };
	struct owner *owner;

	__builtin_memcpy(key.remote, packet->source, 16);
	owner = echoes.lookup(&key);
	if (owner)
		take_owner(lookup, owner);
}

/* Identifiers are reused, so an unknown sender replaces an earlier one, too. */
static __always_inline void remember_pinger(const struct endpoint *endpoint,
					    const struct packet *packet, s32 ns)
{
	struct echo key = { .echo_id = packet->echo_id, .namespace_id = ns };
	struct owner owner = { .process = endpoint->id, .tid = endpoint->tid };

	__builtin_memcpy(key.remote, packet->destination, 16);
	if (endpoint->process)
		echoes.update(&key, &owner);
	else
		echoes.delete(&key);
}

static __always_inline struct fragments fragments_key(const struct packet *packet,
						      s32 ns, u32 sent)
{
	struct fragments key = { .id = packet->fragment_id,
				 .namespace_id = ns,
				 .sent = sent };

	__builtin_memcpy(key.source, packet->source, 16);
	__builtin_memcpy(key.destination, packet->destination, 16);
	return key;
}

static __always_inline void find_by_first_fragment(struct endpoint_lookup *lookup,
						   const struct packet *packet, s32 ns,
						   u32 sent)
{
	struct fragments key = fragments_key(packet, ns, sent);
	struct owner *first = fragmented.lookup(&key);

	if (first)
		take_owner(lookup, first);
}

static __always_inline void remember_fragment(const struct endpoint *endpoint,
					      const struct endpoint_lookup *lookup,
					      const struct packet *packet, u32 sent)
{
	struct fragments key = fragments_key(packet, lookup->fragments_in, sent);
	struct owner whole = { .process = endpoint->id, .tid = endpoint->tid };

	if (endpoint->process)
		fragmented.update(&key, &whole);
	else
		fragmented.delete(&key);
}

#endif
