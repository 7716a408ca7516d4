/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * When the per-CPU lookup caches are valid.
 *
 * A lookup in a hash table costs as much as everything else that is done for a small
 * frame. So each CPU keeps its last results and uses them until an entry changes.
 * Each change or deletion of an entry is counted afterwards, in one counter each by the
 * programs, the engine and the carrier. Evictions by the kernel do not count, because
 * they make no cached value wrong; the entry written in place of the evicted one
 * counts.
 */
#ifndef TCCAP_LOOKUP_GENERATION_H
#define TCCAP_LOOKUP_GENERATION_H

BPF_ARRAY(lookup_generations, u32, 3);
#define BY_PROGRAMS 0
#define BY_ENGINE 1
#define BY_CARRIER 2

static __always_inline u32 changes_made(u32 by)
{
	u32 *count = lookup_generations.lookup(&by);

	return count ? *(volatile u32 *)count : 0;
}

/* Read before the lookup it guards; 0 marks an empty slot, and is never returned.
 * Processors that do not load in order, unlike x86, would need a barrier after it. */
static __always_inline u64 lookup_generation(void)
{
	u64 by_user_space = changes_made(BY_ENGINE) + changes_made(BY_CARRIER);

	return 1 + (u64)changes_made(BY_PROGRAMS) + (by_user_space << 32);
}

static __always_inline void invalidate_lookups(void)
{
	u32 by = BY_PROGRAMS, *count = lookup_generations.lookup(&by);

	if (count)
		__sync_fetch_and_add(count, 1);
}

#endif
