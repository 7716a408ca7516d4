/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The process filter: which processes are wanted.
 */
#ifndef TCCAP_PROCESS_FILTER_H
#define TCCAP_PROCESS_FILTER_H

#include "abi.h"
#include "options.h"
#include "owners/cgroup.h"

/* pids with their start in clock ticks (0: any), effective uids, and names. */
BPF_HASH(wanted_pids, u32, u64, 1024);
BPF_HASH(wanted_uids, u32, u32, 1024);
BPF_HASH(wanted_comms, struct comm, u32, 1024);
/* Processes that descend from wanted ones: forked during the capture, and before it
 * (pids with their start, as in wanted_pids). */
BPF_TABLE("lru_hash", struct process_id, u32, descendants, SIZED_LATER);
BPF_TABLE("lru_hash", u32, u64, old_descendants, SIZED_LATER);

#define CLOCK_TICK_NS 10000000

/* How a process is wanted: by its own pid, user and name, or as a descendant of a wanted
 * one. */
#define WANTED_ITSELF 1
#define WANTED_DESCENDANT 2

static __always_inline u32 wanted_as(const struct process_id *id, u32 euid,
				     const char *comm)
{
	u64 ticks = id->start_ns / CLOCK_TICK_NS;
	u64 *start = wanted_pids.lookup((u32 *)&id->tgid);
	bool itself = true, descends = false;

	if (FILTER_PIDS)
		itself &= start && (!*start || *start == ticks);
	if (FILTER_UIDS)
		itself &= wanted_uids.lookup(&euid) != NULL;
	if (FILTER_COMMS)
		itself &= wanted_comms.lookup((struct comm *)comm) != NULL;
	if (FOLLOW_CHILDREN) {
		start = old_descendants.lookup((u32 *)&id->tgid);
		descends |= start && *start == ticks;
		descends |= descendants.lookup((struct process_id *)id) != NULL;
	}
	return (itself ? WANTED_ITSELF : 0) | (descends ? WANTED_DESCENDANT : 0);
}

/* Whether a process passes the filter, with what is known of its cgroup. Descendants
 * pass in any cgroup. */
static __always_inline bool passes(u32 wanted, const struct cgroup_label *cgroup)
{
	if (!FILTER_CGROUPS || wanted & WANTED_DESCENDANT)
		return wanted;
	return wanted & WANTED_ITSELF && cgroup && cgroup->chosen;
}

static __always_inline bool is_wanted(const struct process_id *id, u32 euid,
				      const char *comm, u64 cgroup)
{
	u32 wanted = wanted_as(id, euid, comm);

	if (!FILTER_CGROUPS)
		return wanted;
	return passes(wanted, cgroup_labels.lookup(&cgroup));
}

#endif
