/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Raw tracepoints of processes, in every build.
 */
#include "abi.h"
#include "kernel.h"
#include "lookup_generation.h"
#include "options.h"
#include "owners/iterator_round.h"
#include "owners/passed_sockets.h"
#include "owners/process.h"
#include "owners/process_filter.h"
#include "owners/task.h"

/* sched_process_exit(task, ...): the process has left its sockets to others, or closes
 * them. */
int on_process_exit(u64 *ctx)
{
	u64 task = ARGUMENT(0), signal = FIELD(u64, task, TASK_STRUCT__SIGNAL);
	struct process_id id = id_of(leader_of(task));
	struct process *known = processes.lookup(&id);

	/* The leader may end, or be replaced by exec(2), before its threads do. */
	if (known && !FIELD(u32, signal, SIGNAL_STRUCT__LIVE))
		known->exited = 1;
	invalidate_lookups();
	return 0;
}

#if !HOOKS
/* The child has copies of the parent's descriptors. */
static __always_inline void note_fork(struct process_id *parent)
{
	count_hand_on();
	set_forked(processes.lookup(parent));
	/* Who replaces the record meanwhile sees this count (store_process), or has
	 * written another record, which is found now. */
	count_hand_on();
	set_forked(processes.lookup(parent));
	invalidate_lookups();
}
#endif

/* sched_process_fork(parent, child): a child of a wanted process is wanted. */
int on_process_fork(u64 *ctx)
{
	u64 leader = leader_of(ARGUMENT(0)), child = ARGUMENT(1);
	struct process_id id = id_of(leader), child_id = id_of(child);
	struct comm comm;
	u32 one = 1;

	if (is_thread(child))
		return 0;
#if !HOOKS
	note_fork(&id);
#endif
	if (!FOLLOW_CHILDREN)
		return 0;
	comm = comm_of(leader);
	if (is_wanted(&id, euid_of(leader), comm.text, cgroup_of(leader)))
		descendants.update(&child_id, &one);
	return 0;
}
