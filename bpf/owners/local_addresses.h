/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The addresses of this host. A socket that is bound to no address receives only
 * packets for these; the kernel's lookup of sockets does not check that.
 */
#ifndef TCCAP_LOCAL_ADDRESSES_H
#define TCCAP_LOCAL_ADDRESSES_H

#include "abi.h"
#include "kernel.h"

BPF_HASH(local_addresses, struct local_address, u32, 16384);

/* The one that was found last (lookup_generation.h). */
struct cached_address {
	struct local_address address;
	u64 generation;
};
BPF_PERCPU_ARRAY(cached_addresses, struct cached_address, 1);

static __always_inline bool same_address(const struct local_address *a,
					 const struct local_address *b)
{
	const u64 *one = (const u64 *)a, *other = (const u64 *)b;

	return one[0] == other[0] && one[1] == other[1] && one[2] == other[2];
}

static __always_inline bool is_listed(struct local_address *address, u64 generation)
{
	u32 zero = 0;
	struct cached_address *cached = cached_addresses.lookup(&zero);

	if (!cached)
		return false;
	if (cached->generation == generation && same_address(&cached->address, address))
		return true;
	if (!local_addresses.lookup(address))
		return false;
	cached->address = *address;
	cached->generation = generation;
	return true;
}

static __always_inline bool is_own_address(const u8 *address, u32 family, s32 ns,
					   u64 generation)
{
	struct local_address key
		__attribute__((aligned(8))) = { .namespace_id = ns, .family = family };

	if (family == AF_INET) {
		/* Loopback, multicast and broadcast concern every host. */
		if (address[0] == 127 || address[0] >= 224)
			return true;
	} else if (address[0] == 0xff) {
		return true;
	}
	__builtin_memcpy(key.address, address, 16);
	return is_listed(&key, generation);
}

#endif
