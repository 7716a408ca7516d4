/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The addresses of this host. A socket that is not connected receives only packets
 * for these; the kernel's lookup of sockets does not check that.
 */
#ifndef TCCAP_LOCAL_ADDRESSES_H
#define TCCAP_LOCAL_ADDRESSES_H

#include "abi.h"
#include "kernel.h"
#include "packet/parse.h"

BPF_LPM_TRIE(local_networks, struct local_network, u32, 16384);

/* The bits of a key before its address. */
#define KEY_BITS 64

/* Without gaps, and a multiple of eight bytes, so that it can be compared. */
struct sought_address {
	u32 zero;
	struct local_network network;
} __attribute__((aligned(8)));

/* The destination, and the source, that were found last (lookup_generation.h). */
struct cached_address {
	struct sought_address address;
	u64 generation;
	u64 kind;
};
BPF_PERCPU_ARRAY(cached_addresses, struct cached_address, 2);
#define CACHED_DESTINATION 0
#define CACHED_SOURCE 1

static __always_inline bool same_address(const struct sought_address *a,
					 const struct sought_address *b)
{
	const u64 *one = (const u64 *)a, *other = (const u64 *)b;

	return one[0] == other[0] && one[1] == other[1] && one[2] == other[2] &&
	       one[3] == other[3];
}

static __always_inline u64 kind_of(struct sought_address *address, u64 generation,
				   u32 slot)
{
	u32 *kind;
	struct cached_address *cached = cached_addresses.lookup(&slot);

	if (!cached)
		return NOT_LOCAL;
	if (cached->generation == generation && same_address(&cached->address, address))
		return cached->kind;
	kind = local_networks.lookup(&address->network);
	cached->address = *address;
	cached->generation = generation;
	cached->kind = kind ? *kind : NOT_LOCAL;
	return cached->kind;
}

/* Loopback, multicast and broadcast concern every host. */
static __always_inline u64 kind_on_every_host(const u8 *address, u32 family)
{
	if (family != AF_INET)
		return address[0] == 0xff ? LOCAL_BROADCAST : NOT_LOCAL;
	if (address[0] == 127)
		return LOCAL_UNICAST;
	if (address[0] >> 4 == 14 || *(u32 *)address == 0xffffffff)
		return LOCAL_BROADCAST;
	return NOT_LOCAL;
}

static __always_inline bool is_link_local(const struct packet *packet)
{
	return packet->family == AF_INET6 && packet->destination[0] == 0xfe &&
	       (packet->destination[1] & 0xc0) == 0x80;
}

/* Whether sockets that are not connected may receive the packet, which comes by a device.
 * Connections are made to single hosts only. */
static __always_inline bool is_for_host(const struct packet *packet, s32 ns,
					u32 ifindex, u64 generation)
{
	u64 kind = kind_on_every_host(packet->destination, packet->family);
	struct sought_address key = { .network = { .namespace_id = ns,
						   .family = packet->family } };

	if (!kind) {
		key.network.prefix_len =
			KEY_BITS + (packet->family == AF_INET ? 32 : 128);
		__builtin_memcpy(key.network.address, packet->destination, 16);
		if (is_link_local(packet))
			*(u32 *)(key.network.address + 4) = ifindex;
		kind = kind_of(&key, generation, CACHED_DESTINATION);
	}
	return packet->protocol == IPPROTO_TCP ? kind == LOCAL_UNICAST : kind;
}

/* Whether the source of a packet is this host's own address. */
static __always_inline bool has_own_source(const struct packet *packet, s32 ns,
					   u64 generation)
{
	struct sought_address key = { .network = { .prefix_len = KEY_BITS + 32,
						   .namespace_id = ns,
						   .family = AF_INET } };

	*(u32 *)key.network.address = *(const u32 *)packet->source;
	return kind_of(&key, generation, CACHED_SOURCE) != NOT_LOCAL;
}

#endif
