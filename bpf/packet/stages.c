/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The stages that a frame goes through, each a program that calls the next one, and
 * the maps that they share:
 *
 *   filter.c   the direction, the device, and what the capture filter says of the
 *              frame alone
 *   capture.c  the processes, and the block in the ring
 *
 * The filter is compiled by itself, so that another one costs little. The programs
 * behind it lie in a map, which the kernel empties when the engine dies: what may be
 * left on a device then filters and counts, and no more.
 */
#include "abi.h"
#include "kernel.h"

BPF_HASH(devices, u32, struct device, INTERFACES);
BPF_PERCPU_ARRAY(counters, struct counters, INTERFACES);

/* A look-up in a hash table costs as much as all else that is done for a small frame.
 * So each CPU keeps what it found last, and finds it again as long as no table has
 * changed in what is kept. That is counted by those who change something, after they
 * have: the programs, and the engine. An entry that the kernel takes out of a full table
 * is no change, but what would have been written into it is. */
BPF_ARRAY(table_changes, u32, 2);
#define BY_PROGRAMS 0
#define BY_ENGINE 1

static __always_inline u32 changes_of_tables(u32 by)
{
	u32 *count = table_changes.lookup(&by);

	return count ? *(volatile u32 *)count : 0;
}

/* To be asked before a look-up. Never 0, which nothing that is kept has. A processor
 * that, unlike x86, does not load in order would need a barrier behind this. */
static __always_inline u64 tables_version(void)
{
	return 1 + (u64)changes_of_tables(BY_PROGRAMS) +
	       ((u64)changes_of_tables(BY_ENGINE) << 32);
}

static __always_inline void tables_changed(void)
{
	u32 by = BY_PROGRAMS, *count = table_changes.lookup(&by);

	if (count)
		__sync_fetch_and_add(count, 1);
}

/* What a stage tells the next one of the frame. */
struct passage {
	u32 direction;
	u32 ifindex;
	u64 version; /* of the tables, when the frame came */
	struct device device;
};
BPF_PERCPU_ARRAY(passages, struct passage, 1);

BPF_PROG_ARRAY(stages, 2);
#define CLASSIFY 0
#define DESCRIBE 1

#define TC_ACT_UNSPEC (-1)

static __always_inline struct passage *passage_of_frame(void)
{
	u32 zero = 0;

	return passages.lookup(&zero);
}
