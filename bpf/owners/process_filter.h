/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The process filter: which processes are wanted.
 */
#ifndef TCCAP_PROCESS_FILTER_H
#define TCCAP_PROCESS_FILTER_H

#include "abi.h"

/* pids with their start in clock ticks (0: any), effective uids, and names. */
BPF_HASH(wanted_pids, u32, u64, 1024);
BPF_HASH(wanted_uids, u32, u32, 1024);
BPF_HASH(wanted_comms, struct comm, u32, 1024);
/* Processes that descend from wanted ones: forked during the capture, and before it
 * (pids with their start, as in wanted_pids). */
BPF_TABLE("lru_hash", struct process_id, u32, descendants, PROCESSES);
BPF_TABLE("lru_hash", u32, u64, old_descendants, PROCESSES);

#define CLOCK_TICK_NS 10000000

static __always_inline bool is_wanted(const struct process_id *id, u32 euid,
				      const char *comm)
{
	u64 ticks = id->start_ns / CLOCK_TICK_NS;
	u64 *start = wanted_pids.lookup((u32 *)&id->tgid);
	bool wanted = true;

	if (FILTER_PIDS)
		wanted &= start && (!*start || *start == ticks);
	if (FILTER_UIDS)
		wanted &= wanted_uids.lookup(&euid) != NULL;
	if (FILTER_COMMS)
		wanted &= wanted_comms.lookup((struct comm *)comm) != NULL;
	if (FOLLOW_CHILDREN) {
		start = old_descendants.lookup((u32 *)&id->tgid);
		wanted |= start && *start == ticks;
		wanted |= descendants.lookup((struct process_id *)id) != NULL;
	}
	return wanted;
}

#endif
